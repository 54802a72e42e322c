"""The one way down: rows written in the transaction that decided them, published by the gateway."""

import time
from collections.abc import Iterable

import msgspec
from django.db.models import F

from agent.wire import codec, topics
from agent.wire.messages import Config, Desired
from fleet.devices.models import Device
from fleet.gateway.models import Outbox

#: Devices in one statement: every database takes so many values.
SLICE = 10_000


def message(topic: str, body: msgspec.Struct | bytes, *, retain: bool = False) -> Outbox:
    payload = body if isinstance(body, bytes) else codec.encode(body)
    return Outbox(topic=topic, payload=payload, retain=retain)


def put(messages: Iterable[Outbox]) -> None:
    Outbox.objects.bulk_create(list(messages))


def config_of(device: Device) -> Config:
    """The device's desired settings; what nobody set has its default."""
    return msgspec.convert(device.config, Config, strict=False)


def desired_of(device: Device) -> Desired:
    return Desired(
        version=device.desired_version,
        config_version=device.config_version,
        config=config_of(device),
        deployment_id=device.desired_deployment,
        manifest=device.desired_manifest,
        at=time.time(),
    )


def desired_message(device: Device) -> Outbox:
    return message(topics.down(device.id, "desired"), desired_of(device), retain=True)


def write_desired(device_ids: Iterable[str], **columns: object) -> None:
    """Raise the version of these devices' desired state and queue it; columns are written with it.

    Call inside the transaction that decided it. Three statements for ten thousand devices, whatever the fleet's size.
    """
    ids = list(device_ids)
    for start in range(0, len(ids), SLICE):
        devices = Device.objects.filter(pk__in=ids[start : start + SLICE])
        devices.update(desired_version=F("desired_version") + 1, **columns)
        rows = devices.order_by().only(
            "desired_version", "config_version", "config", "desired_deployment", "desired_manifest"
        )
        put(desired_message(device) for device in rows)
