"""Samples that wait for the link: on the disk, or, on a device that keeps no history, the newest few in memory."""

from collections import deque

from agent.link.offline_queue import Batch, OfflineQueue
from agent.wire.messages import Sample, Telemetry

#: Samples that wait without a history: enough for a link that stumbles, and for a message.
FEW = 24


class History:
    """Used by one thread, but for `use`, which any thread may call. A batch from memory has a number below zero."""

    def __init__(self, queue: OfflineQueue, few: int = FEW) -> None:
        self._disk = queue
        self._few: deque[tuple[int, str, Sample]] = deque()
        self._most = few
        self._number = 0
        self._dropped: dict[str, int] = {}
        self._keep = True

    def use(self, keep: bool) -> bool:
        """Keep a history on the disk, or write nothing more; what lies there already is sent first.

        Whether it is so now: without a history, whether the disk is empty.
        """
        self._keep = keep
        return keep or not len(self._disk)

    def __len__(self) -> int:
        return len(self._disk) + len(self._few)

    def put(self, boot_id: str, sample: Sample) -> None:
        if self._keep:
            while self._few:  # they are older
                _, boot, each = self._few.popleft()
                self._disk.put(boot, each)
            self._disk.put(boot_id, sample)
            return
        self._number += 1
        self._few.append((self._number, boot_id, sample))
        if len(self._few) > self._most:
            _, boot, _ = self._few.popleft()
            self._dropped[boot] = self._dropped.get(boot, 0) + 1

    def peek(self) -> Batch | None:
        """The oldest of one boot, to be removed with `remove` once the broker has them. None when there are none."""
        batch = self._disk.peek() if len(self._disk) else None
        if batch is not None or not self._few:
            return batch
        boot = self._few[0][1]
        waiting = [(number, sample) for number, each, sample in self._few if each == boot]
        samples = tuple(sample for _, sample in waiting)
        telemetry = Telemetry(boot_id=boot, samples=samples, dropped=self._dropped.get(boot, 0))
        return Batch(-waiting[-1][0], telemetry)

    def remove(self, batch: Batch) -> None:
        if batch.last > 0:
            self._disk.remove(batch)
            return
        while self._few and self._few[0][0] <= -batch.last:
            self._few.popleft()

    def close(self) -> None:
        self._disk.close()
