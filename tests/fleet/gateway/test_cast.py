"""A rollout to several devices through the gateway's own parts, a real broker and the agent's own downloaders."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from django.db import connections

from agent.addresses import Server
from agent.deployment.delivery import Delivery
from agent.deployment.download import Downloader
from agent.deployment.store import Store
from agent.link.connection import Connection, Credentials
from agent.wire import manifest as wire
from agent.wire import topics
from fleet.catalog import store
from fleet.catalog.models import Variant
from fleet.catalog.services import manifest_bytes
from fleet.devices.models import Device
from fleet.gateway import handlers
from fleet.gateway.blocks import BlockServer
from fleet.gateway.inbox import Inbox
from fleet.rollouts import services
from tests.agent.broker import TestBroker
from tests.agent.waiting import wait_for
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db(transaction=True)


class Downloading:
    """One device that fetches a manifest; `casts` and `own` count the blocks that came to many and to it alone."""

    def __init__(self, device_id: str, port: int, folder: Path) -> None:
        self.casts = self.own = 0
        self.store = Store(folder / device_id)
        self.connection = Connection(
            Server("127.0.0.1", port),
            Credentials(device_id, device_id, "any"),
            on_message=self._route,
            subscriptions=(topics.device_filter(device_id),),
        )
        self._delivery = Delivery(device_id, self.connection)
        self.connection.start()

    def _route(self, text: str, body: bytes) -> None:
        topic = topics.parse(text)
        if topic.kind == "block":
            cast = topic.direction == "cast"
            self.casts, self.own = self.casts + cast, self.own + (not cast)
            self._delivery.block(topic.key, topic.number or 0, body, cast=cast)

    def fetch(self, manifest: wire.Manifest, digest: str) -> None:
        Downloader(self.store, self._delivery).fetch(manifest, lambda: False, cast=digest)


@contextmanager
def gateway(port: int, settings) -> Iterator[BlockServer]:
    settings.MQTT_HOST, settings.MQTT_PORT, settings.MQTT_TLS = "127.0.0.1", port, False
    blocks = BlockServer()
    inbox = Inbox(handlers.make(blocks.ask))

    def run(part) -> None:
        try:
            part.run()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(part,)) for part in (blocks, inbox)]
    for thread in threads:
        thread.start()
    try:
        wait_for("the gateway", lambda: blocks.client.is_connected() and inbox.client.is_connected())
        yield blocks
    finally:
        for part in (blocks, inbox):
            part.stop()
        for thread in threads:
            thread.join(10)
        for part in (blocks, inbox):
            part.client._reset_sockets()  # paho itself closes them only when it is collected


@pytest.fixture
def variant() -> Variant:
    """A released variant of 30 blocks, whose parts lie in the store."""
    release = make_release(classes=("embedded",))
    variant = release.variants.get()
    data = [os.urandom(10 * wire.BLOCK) for _ in range(3)] + [b"card", b"golden"]
    roles = ["model"] * 3 + ["card", "golden"]
    parts = [
        {"digest": store.put_bytes(each), "size": len(each), "role": role}
        for each, role in zip(data, roles, strict=True)
    ]
    whole = b"".join(data)
    variant.manifest |= {"parts": parts, "size": len(whole), "digest": wire.digest_of(whole)}
    variant.manifest_digest = wire.digest_of(manifest_bytes(variant))
    variant.save()
    return variant


@pytest.mark.parametrize(("count", "cast"), [(4, True), (2, False)], ids=["a crowd", "two"])
def test_a_crowd_is_sent_each_block_once_and_few_devices_their_own(variant, operator, settings, tmp_path, count, cast):
    devices = [make_device() for _ in range(count)]
    services.start(variant.releases.get(), operator, devices=Device.objects.filter(pk__in=[d.pk for d in devices]))
    manifest = msgspec.json.decode(manifest_bytes(variant), type=wire.Manifest)
    broker = TestBroker().start()
    try:
        with gateway(broker.port, settings) as blocks:
            downloading = [Downloading(device.pk, broker.port, tmp_path) for device in devices]
            wait_for("the links", lambda: all(each.connection.connected for each in downloading))
            threads = [
                threading.Thread(target=each.fetch, args=(manifest, variant.manifest_digest)) for each in downloading
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            for each in downloading:
                each.connection.stop()
            sent = {whom: number for whom, (number, _) in blocks._counts.items()}
    finally:
        broker.stop()

    for each in downloading:
        assert all(each.store.has(part) for part in manifest.parts)
        assert (each.casts > 0) is cast
    number = sum(wire.block_count(part.size) for part in manifest.parts)
    assert sent == ({"to one": 0, "to many": number} if cast else {"to one": count * number, "to many": 0})
