"""The block server: devices say which blocks they lack (`want`), and get those, within a window."""

import logging
import threading
from collections import OrderedDict, deque

import paho.mqtt.client as paho

from agent.wire import manifest, topics
from agent.wire.messages import Want
from fleet.catalog import store
from fleet.gateway import mqtt

log = logging.getLogger(__name__)

#: Blocks that the broker has not acknowledged yet.
WINDOW = 20
#: Blocks that one device can have waiting here; it asks again for the rest.
PER_DEVICE = 64
HELD = 8192


def wanted(want: Want) -> list[tuple[str, int]]:
    """(part digest, block number) of every set bit, in order."""
    return [
        (part.digest, part.first + place * 8 + bit)
        for part in want.parts
        for place, byte in enumerate(bytes.fromhex(part.missing))
        for bit in range(8)
        if byte >> bit & 1
    ]


class BlockServer:
    """Sends each device its blocks in the order of asking, one device after the other in turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, OrderedDict[tuple[str, int], None]] = OrderedDict()
        self._more = threading.Condition()
        self._sent: deque[paho.MQTTMessageInfo] = deque()
        self._stopped = False
        self.client = mqtt.client("blocks")
        self.client.max_inflight_messages_set(WINDOW)

    def ask(self, device_id: str, want: Want) -> None:
        """Queue what a device lacks; what it already waits for is not queued twice."""
        with self._more:
            mine = self._queues.setdefault(device_id, OrderedDict())
            for block in wanted(want)[:PER_DEVICE]:
                if len(mine) >= PER_DEVICE:
                    break
                mine.setdefault(block)
            self._more.notify()

    def run(self) -> None:
        mqtt.start(self.client)
        try:
            while True:
                block = self._next()
                if block is None:
                    return
                self._send(*block)
        finally:
            self.client.disconnect()
            self.client.loop_stop()

    def stop(self) -> None:
        with self._more:
            self._stopped = True
            self._more.notify()

    def _next(self) -> tuple[str, str, int] | None:
        with self._more:
            while not self._queues and not self._stopped:
                self._more.wait(1)
            if self._stopped:
                return None
            device_id, mine = self._queues.popitem(last=False)
            (digest, number), _ = mine.popitem(last=False)
            if mine:
                self._queues[device_id] = mine
            return device_id, digest, number

    def _send(self, device_id: str, digest: str, number: int) -> None:
        try:
            data = store.read(digest, number * manifest.BLOCK, manifest.BLOCK)
        except (OSError, ValueError):
            log.warning("%s asked for part %s, which is not in the store", device_id, digest[:12])
            return
        if not data:
            return  # a block beyond the end: the device will find its mistake by the part's size
        self._wait_for_window()
        self._sent.append(self.client.publish(topics.down_block(device_id, digest, number), data, qos=1))

    def _wait_for_window(self) -> None:
        """Hold back while the broker has too many blocks to acknowledge; paho sends them again after a lost link."""
        while len(self._sent) >= WINDOW and not self._stopped:
            try:
                self._sent[0].wait_for_publish(1)
            except (RuntimeError, ValueError):
                self._sent.popleft()  # paho gave this one up; the device asks again
                continue
            if self._sent[0].is_published():
                self._sent.popleft()
