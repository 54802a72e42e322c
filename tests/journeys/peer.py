"""A plain MQTT client for tests: connected when it is there, gone when the block ends."""

import threading
from types import TracebackType

import paho.mqtt.client as paho


class Peer:
    """received: (topic, body) of every message so far. Raises ConnectionError when the broker says no."""

    def __init__(self, port: int, username: str, password: str, client_id: str) -> None:
        self.received: list[tuple[str, bytes]] = []
        self._connected, self._subscribed = threading.Event(), threading.Event()
        self._refused = ""
        self._sent: list[paho.MQTTMessageInfo] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
        self._client.username_pw_set(username, password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _c, _u, message: self.received.append((message.topic, message.payload))
        self._client.connect("127.0.0.1", port)

    def _on_connect(self, _client: object, _userdata: object, _flags: object, reason: object, _more: object) -> None:
        self._refused = str(reason) if reason.is_failure else ""  # type: ignore[attr-defined]  # a ReasonCode
        self._connected.set()

    def __enter__(self) -> "Peer":
        self._client.loop_start()
        if not self._connected.wait(10) or self._refused:
            self._client.loop_stop()
            raise ConnectionError(self._refused or "the broker did not answer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self._client.subscribe(topic, 1)
        if not self._subscribed.wait(10):
            raise ConnectionError(f"no answer to the subscription of {topic}")

    def publish(self, topic: str, body: bytes, *, retain: bool = False, qos: int = 1) -> None:
        self._sent.append(self._client.publish(topic, body, qos=qos, retain=retain))

    def drain(self) -> None:
        """Wait until the broker has taken everything that was published."""
        for info in self._sent:
            info.wait_for_publish(30)
        self._sent.clear()
