"""What goes down: outbox rows are published in order, and deleted once the broker has them."""

import logging
import threading

from django.db import InterfaceError, OperationalError, close_old_connections

from agent.wire import topics
from agent.wire.topics import PREFIX
from fleet.gateway import mqtt, outbox
from fleet.gateway.models import Outbox

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
BATCH = 200
ACK_SECONDS = 30
#: Retained, and read back at each connect: when it is missing the broker has lost what it kept for the devices.
MARKER = f"{PREFIX}/server/marker"


class Drain:
    """Runs until stopped."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._marker_seen = threading.Event()
        self._check_marker = threading.Event()
        self.client = mqtt.client("outbox", on_ready=self._ready)
        self.client.on_message = lambda *_: self._marker_seen.set()

    def _ready(self, client) -> None:
        self._marker_seen.clear()
        client.subscribe(MARKER, 1)
        self._check_marker.set()
        self._connected.set()

    def run(self) -> None:
        mqtt.start(self.client)
        try:
            while not self._stop.wait(POLL_SECONDS):
                if not self.client.is_connected():
                    continue
                try:
                    close_old_connections()
                    if self._check_marker.is_set():
                        self._restore()
                    while self._drain():
                        pass
                except (OperationalError, InterfaceError) as problem:
                    log.error("the database is away: %s", str(problem).strip())
                    self._stop.wait(1)
        finally:
            self.client.disconnect()
            self.client.loop_stop()

    def stop(self) -> None:
        self._stop.set()

    def _drain(self) -> bool:
        """Publish one batch. True when there may be more."""
        rows = list(Outbox.objects.all()[:BATCH])
        if not rows:
            return False
        sent = [(row, self.client.publish(row.topic, bytes(row.payload), qos=1, retain=row.retain)) for row in rows]
        done = []
        for row, info in sent:
            try:
                info.wait_for_publish(ACK_SECONDS)
            except (RuntimeError, ValueError) as problem:
                log.warning("not published yet: %s (%s)", row.topic, problem)
                break
            if not info.is_published():
                break
            done.append(row.pk)
        Outbox.objects.filter(pk__in=done).delete()
        return len(done) == BATCH

    def _restore(self) -> None:
        """After a broker lost its retained messages: say every desired state and every manifest in use again."""
        self._check_marker.clear()
        if self._marker_seen.wait(2):
            return
        count = restore()
        self.client.publish(MARKER, b"1", qos=1, retain=True).wait_for_publish(ACK_SECONDS)
        log.info("the broker kept nothing: %d retained messages are on their way again", count)


def restore() -> int:
    """Queue every retained message that devices rely on; returns how many."""
    from fleet.catalog.models import Variant
    from fleet.catalog.services import manifest_bytes
    from fleet.devices.models import Device
    from fleet.trust import services as trust

    count = 0
    used = Variant.objects.filter(releases__isnull=False).distinct()
    batch = list(trust.retained())
    batch += [
        outbox.message(topics.manifest(variant.manifest_digest), manifest_bytes(variant), retain=True)
        for variant in used.iterator()
    ]
    devices = Device.objects.filter(retired_at=None, desired_version__gt=0).only(
        "desired_version", "config_version", "config", "desired_deployment", "desired_manifest"
    )
    for device in devices.iterator(chunk_size=1000):
        batch.append(outbox.desired_message(device))
        if len(batch) >= 1000:
            count += len(batch)
            outbox.put(batch)
            batch = []
    outbox.put(batch)
    return count + len(batch)
