"""The baseline: a client that saves each message by itself, then acknowledges it.

`python -m bench.monitoring.plain`
"""

import os
from datetime import UTC, datetime

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    django.setup()
    import paho.mqtt.client as paho
    from django.conf import settings
    from django.db import transaction

    from agent.wire import codec, topics
    from agent.wire.messages import Telemetry
    from fleet.devices.models import Device
    from fleet.telemetry import sketches
    from fleet.telemetry.models import Sample

    fields = [field.attname for field in Sample._meta.concrete_fields]
    latest = ("cpu_percent", "memory_used", "memory_total", "temperature", "power", "power_source", "latency_p95")

    def on_message(client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        owner = topics.parse(message.topic).owner
        body = codec.decode(message.payload, Telemetry)
        now = datetime.now(UTC)
        with transaction.atomic():
            device = Device.objects.get(pk=owner)
            for sample in body.samples:
                given = {name: getattr(sample, name) for name in fields if hasattr(sample, name)}
                given["at"] = datetime.fromtimestamp(sample.at, UTC)
                given["latency"] = sketches.pack(sample.latency) or None
                Sample(device_id=owner, boot_id=body.boot_id, received_at=now, **given).save()
                for name in latest:
                    setattr(device, name, getattr(sample, name))
                device.sample_at, device.last_seen = given["at"], now
            device.save(update_fields=[*latest, "sample_at", "last_seen"])
        client.ack(message.mid, message.qos)

    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id="server-inbox",
        clean_session=True,  # what an earlier reader left is none of its business
        protocol=paho.MQTTv311,
        manual_ack=True,
    )
    client.username_pw_set("server-inbox", settings.MQTT_SERVER_SECRET)
    client.on_connect = lambda c, *_: c.subscribe("edgefleet/v1/up/#", 1)
    client.on_message = on_message
    client.connect(settings.MQTT_HOST, settings.MQTT_PORT)
    print("ready", flush=True)
    client.loop_forever()


if __name__ == "__main__":
    main()
