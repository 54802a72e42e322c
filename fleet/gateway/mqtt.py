"""The server's connections to the broker."""

import logging
from collections.abc import Callable

import paho.mqtt.client as paho
from django.conf import settings

log = logging.getLogger(__name__)


def client(
    name: str, *, manual_ack: bool = False, on_ready: Callable[[paho.Client], None] | None = None
) -> paho.Client:
    """A client that stays connected by itself. `on_ready` runs after each (re)connect; it should (re)subscribe.

    With manual_ack a message counts as taken only when the caller acknowledges it.
    """
    login = f"server-{name}"  # user name and client id: a broker may hold to their being the same
    made = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=login,
        clean_session=False,
        protocol=paho.MQTTv311,
        manual_ack=manual_ack,
    )
    made.username_pw_set(login, settings.MQTT_SERVER_SECRET)
    if settings.MQTT_TLS:
        made.tls_set(settings.MQTT_TLS_CA or None)
    made.reconnect_delay_set(1, 15)
    made.max_inflight_messages_set(100)

    def connected(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            log.error("the broker refused %s: %s", name, reason)
            return
        log.info("%s is connected to %s:%s", name, settings.MQTT_HOST, settings.MQTT_PORT)
        if on_ready:
            on_ready(client)

    def disconnected(_client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            log.warning("%s lost the broker (%s); it will connect again", name, reason)

    made.on_connect, made.on_disconnect = connected, disconnected
    return made


def start(made: paho.Client) -> None:
    """Connect in the background, now or when the broker is there."""
    made.connect_async(settings.MQTT_HOST, settings.MQTT_PORT, keepalive=30)
    made.loop_start()
