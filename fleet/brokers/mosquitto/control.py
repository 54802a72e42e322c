"""The one connection that administers mosquitto's logins, and hears the secrets that devices enroll with."""

import json
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho

from agent.wire import codec, topics
from agent.wire.messages import EnrollReply, EnrollRequest
from fleet.brokers.identities import ADMIN
from fleet.brokers.mosquitto import dynsec
from fleet.brokers.mosquitto.dynsec import Command
from fleet.gateway import mqtt

log = logging.getLogger(__name__)

TOPIC = "$CONTROL/dynamic-security/v1"
ANSWER_SECONDS = 30.0
#: Clients asked for at once, and requests remembered until they are answered.
PAGE, REQUESTS = 200, 10_000


class ControlError(Exception):
    """The broker did not do what it was told; the text says what."""


class Control:
    """`run` blocks and is called by one thread at a time; the callbacks run in the network thread.

    on_connected after each (re)connect; on_enrolled with the id and the secret of a device that was answered.
    """

    def __init__(self, on_connected: Callable[[], None], on_enrolled: Callable[[str, str], None]) -> None:
        self._on_enrolled = on_enrolled
        self._answers: dict[str, dict[str, Any]] = {}
        self._new = threading.Condition()
        self._requests: OrderedDict[str, str] = OrderedDict()
        self._on_connected = on_connected
        self.client = mqtt.client(ADMIN.removeprefix("server-"), on_ready=self._subscribe)
        self.client.on_message = self._message
        self.client.on_subscribe = lambda *_: self._on_connected()

    def start(self) -> None:
        mqtt.start(self.client)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()  # paho leaves its wake-up sockets to the garbage collector

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """The answers, in order. What was so already counts as done. Raises ControlError."""
        tags = [secrets.token_hex(8) for _ in commands]
        with self._new:
            self._answers.clear()  # late ones, to a call that gave up
        body = json.dumps(
            {"commands": [{**each, "correlationData": tag} for each, tag in zip(commands, tags, strict=True)]}
        )
        if self.client.publish(TOPIC, body, 1).rc != paho.MQTT_ERR_SUCCESS:
            raise ControlError("there is no link to the broker")
        with self._new:
            if not self._new.wait_for(lambda: all(tag in self._answers for tag in tags), ANSWER_SECONDS):
                raise ControlError(f"the broker did not answer {commands[0]['command']} in {ANSWER_SECONDS:.0f} s")
            answers = [self._answers.pop(tag) for tag in tags]
        wrong = [answer for answer in answers if answer.get("error", "") not in dynsec.HARMLESS | {""}]
        if wrong:
            raise ControlError(f"the broker refused {wrong[0].get('command')}: {wrong[0]['error']}")
        return answers

    def clients(self) -> dict[str, bool]:
        """Every login that the broker knows, and whether it is let in."""
        found: dict[str, bool] = {}
        while True:
            data = self.run([dynsec.list_clients(len(found), PAGE)])[0].get("data", {})
            page = data.get("clients", [])
            found |= {each["username"]: not each.get("disabled", False) for each in page}
            if len(page) < PAGE:
                return found

    def _subscribe(self, client: paho.Client) -> None:
        client.subscribe(
            [(f"{TOPIC}/response", 1), *((f"{topics.PREFIX}/enroll/+/{kind}", 1) for kind in ("request", "reply"))]
        )

    def _message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        try:
            if message.topic.startswith("$"):
                self._answered(message.payload)
            elif message.payload:
                self._overheard(topics.parse(message.topic), message.payload)
        except (ValueError, KeyError, codec.WireError) as problem:
            log.warning("a message on %s was not understood: %s", message.topic[:200], problem)

    def _answered(self, payload: bytes) -> None:
        with self._new:
            for answer in json.loads(payload)["responses"]:
                if "correlationData" in answer:
                    self._answers[answer["correlationData"]] = answer
            self._new.notify_all()

    def _overheard(self, topic: topics.Topic, payload: bytes) -> None:
        if topic.kind == "request":
            self._requests[topic.owner] = codec.decode(payload, EnrollRequest).secret
            self._requests.move_to_end(topic.owner)
            if len(self._requests) > REQUESTS:
                self._requests.popitem(last=False)
            return
        reply = codec.decode(payload, EnrollReply)
        secret = self._requests.get(topic.owner)
        if secret and reply.device_id:
            self._on_enrolled(reply.device_id, secret)
