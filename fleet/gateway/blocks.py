"""The block server: devices say which blocks they lack (`want`), and get those, within a window and under a limit."""

import logging
import socket
import threading
import time
from collections import deque

import paho.mqtt.client as paho
from django.db import DatabaseError, InterfaceError, close_old_connections

from agent.wire import codec, manifest, topics
from agent.wire.messages import Want
from agent.wire.states import DEPLOYMENT_IN_FLIGHT
from fleet.catalog import store
from fleet.gateway import limits, links, mqtt
from fleet.gateway.sending import CROWD, Plan, Sending

log = logging.getLogger(__name__)

#: Blocks that the broker has not acknowledged yet.
WINDOW = 20
#: Seconds after which the limit and the size of a crowd are looked up again.
LOOK_SECONDS = 5.0


class BlockServer:
    """Sends what the plan says."""

    def __init__(self) -> None:
        self._plan = Plan(time.monotonic())
        self._more = threading.Condition()
        self._sent: deque[paho.MQTTMessageInfo] = deque()
        self._stopped = False
        self._looked = -LOOK_SECONDS
        self._crowds: dict[str, tuple[float, bool]] = {}
        #: Blocks and their bytes that were published: to one device, and to many.
        self._counts = {"to one": [0, 0], "to many": [0, 0]}
        self.client = mqtt.client("blocks")
        self.client.max_inflight_messages_set(WINDOW)
        self.client.on_socket_open = _room_for_blocks

    def ask(self, device_id: str, want: Want, rate: float = 0) -> None:
        """Queue what a device lacks; rate is the device's own limit, in bytes a second."""
        crowd = bool(want.lacks) and self._is_crowd(want.manifest)
        with self._more:
            if want.links and not crowd and rate <= 0 and self._plan.may_link(want.manifest):
                answer = links.answer(device_id, want)
                if answer is not None:
                    self.client.publish(topics.down(device_id, "links"), codec.encode(answer), qos=1)
                    return
            self._plan.ask(device_id, want, time.monotonic(), rate=rate, crowd=crowd)
            self._more.notify()

    def run(self) -> None:
        mqtt.start(self.client)
        try:
            while True:
                self._look()
                chosen = self._next()
                if self._stopped:
                    return
                if chosen is not None:
                    self._send(chosen)
        finally:
            self.client.disconnect()
            self.client.loop_stop()
            for whom, (blocks, size) in self._counts.items():
                if blocks:
                    log.info("%d blocks, %d bytes were sent %s", blocks, size, whom)

    def stop(self) -> None:
        with self._more:
            self._stopped = True
            self._more.notify()

    def _next(self) -> Sending | None:
        """The next block; None when nothing may be sent for a moment."""
        with self._more:
            chosen = self._plan.next(time.monotonic())
            if isinstance(chosen, Sending):
                return chosen
            if not self._stopped:
                self._more.wait(min(chosen, 1.0))
            return None

    def _look(self) -> None:
        """Take the limit that an operator may have changed."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            close_old_connections()
            rate = limits.fleet_rate()
        except (DatabaseError, InterfaceError) as problem:
            log.error("the database is away: %s", str(problem).strip())
            return
        with self._more:
            self._plan.limit(rate, now)

    def _is_crowd(self, digest: str) -> bool:
        """Whether many devices are to fetch this manifest now."""
        from fleet.rollouts.models import Deployment  # rollouts know the gateway; only this looks back

        now = time.monotonic()
        at, crowd = self._crowds.get(digest, (-LOOK_SECONDS, False))
        if now - at >= LOOK_SECONDS:
            told = Deployment.objects.filter(variant__manifest_digest=digest, state__in=sorted(DEPLOYMENT_IN_FLIGHT))
            crowd = told.order_by()[:CROWD].count() >= CROWD
            self._crowds = {key: kept for key, kept in self._crowds.items() if now - kept[0] < LOOK_SECONDS}
            self._crowds[digest] = now, crowd
        return crowd

    def _send(self, chosen: Sending) -> None:
        digest, number = chosen.digest, chosen.number
        try:
            data = store.read(digest, number * manifest.BLOCK, manifest.BLOCK)
        except (OSError, ValueError):
            log.warning("%s asked for part %s, which is not in the store", chosen.device or "many", digest[:12])
            return
        if not data:
            return  # a block beyond the end: the device will find its mistake by the part's size
        topic = (
            topics.down_block(chosen.device, digest, number)
            if chosen.device
            else topics.cast_block(chosen.manifest, digest, number)
        )
        counted = self._counts["to one" if chosen.device else "to many"]
        counted[0] += 1
        counted[1] += len(data)
        self._wait_for_window()
        self._sent.append(self.client.publish(topic, data, qos=1))

    def _wait_for_window(self) -> None:
        """Hold back while the broker has too many blocks to acknowledge; paho sends them again after a lost link.

        Half a window at a time: to wake up for each block costs as much as to send it.
        """
        if len(self._sent) < WINDOW:
            return
        while len(self._sent) > WINDOW // 2 and not self._stopped:
            try:
                self._sent[0].wait_for_publish(1)
            except (RuntimeError, ValueError):
                self._sent.popleft()  # paho gave this one up; the device asks again
                continue
            if self._sent[0].is_published():
                self._sent.popleft()


def _room_for_blocks(_client: paho.Client, _data: object, connection: socket.socket) -> None:
    """The kernel takes whole blocks, where its usual room would have each sent in pieces."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WINDOW * manifest.BLOCK)
