"""Which block to send next, and to whom. Pure: messages and a clock in, one block out.

What a device asks for is sent to it, one device after the other in turn. Where many devices fetch one manifest, what
they lack is gathered for a moment and sent in a round: once to all of them where more than one lacks a block, else to
the one.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.wire.manifest import BLOCK
from agent.wire.messages import Want, WantPart

#: Devices that fetch one manifest at a time, from which on blocks are cast.
CROWD = 3
#: Seconds for which a round is gathered: devices that are told at the same time, or come back at the same time, answer
#: within it, and what several of them lack is sent once.
GATHER = 2.0
#: A block that was sent is on its way for so long: who asks for it meanwhile will get it.
ECHO = 1.0
#: A crowd is remembered for so long after its last block.
LINGER = 60.0
#: Blocks that one device can have waiting here; it asks again for the rest.
PER_DEVICE = 64
#: Seconds of a rate that may be sent at once.
BURST = 0.25


@dataclass(frozen=True, slots=True)
class Sending:
    """A block for one device, or for everybody who fetches `manifest`."""

    digest: str
    number: int
    device: str = ""
    manifest: str = ""


class Bucket:
    """Bytes a second, at most; 0 is no limit."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = BURST * rate
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until something may be sent."""
        if self.rate <= 0:
            return 0.0
        self._left = min(BURST * self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        # What is owed is paid back first, so that a block may be larger than the burst. A byte is not worth a wait.
        return -self._left / self.rate if self._left < -1 else 0.0

    def take(self, size: int) -> None:
        if self.rate > 0:
            self._left -= size


@dataclass(slots=True)
class _Round:
    """What a crowd lacks: digest → number → the one device that lacks it, or nothing when several do."""

    due: float
    wanted: OrderedDict[str, OrderedDict[int, str]] = field(default_factory=OrderedDict)
    #: What is on its way, and to which device; nothing when to all.
    sent: dict[tuple[str, int], str] = field(default_factory=dict)
    times: deque[tuple[float, tuple[str, int]]] = field(default_factory=deque)
    last: float = 0.0

    def add(self, device: str, part: WantPart, now: float) -> None:
        self._forget(now)
        numbers = self.wanted.setdefault(part.digest, OrderedDict())
        for number in _numbers(part):
            if self.sent.get((part.digest, number)) not in ("", device):
                numbers[number] = device if numbers.get(number, device) == device else ""
        if not numbers:
            del self.wanted[part.digest]

    def pop(self, manifest: str, now: float) -> Sending:
        digest, numbers = next(iter(self.wanted.items()))
        number, device = numbers.popitem(last=False)
        if not numbers:
            del self.wanted[digest]
        self.last = now
        self.sent[digest, number] = device
        self.times.append((now, (digest, number)))
        return Sending(digest, number, device, "" if device else manifest)

    def _forget(self, now: float) -> None:
        while self.times and self.times[0][0] < now - ECHO:
            self.sent.pop(self.times.popleft()[1], None)


class Plan:
    """Everything that waits to be sent."""

    def __init__(self, now: float, rate: float = 0) -> None:
        self.fleet = Bucket(rate, now)
        self._pulls: OrderedDict[str, OrderedDict[tuple[str, int], None]] = OrderedDict()
        self._rates: dict[str, Bucket] = {}
        self._rounds: OrderedDict[str, _Round] = OrderedDict()
        self._crowds_turn = False

    def limit(self, rate: float, now: float) -> None:
        """The fleet's rate, as an operator has set it."""
        if rate != self.fleet.rate:
            self.fleet = Bucket(rate, now)

    def may_link(self, manifest: str) -> bool:
        """Whether a device may fetch for itself: not past a limit, and not what a crowd is being sent."""
        return self.fleet.rate <= 0 and manifest not in self._rounds

    def ask(self, device: str, want: Want, now: float, *, rate: float = 0, crowd: bool = False) -> None:
        """A device asks. rate is its own limit; crowd says that many fetch the manifest that it names."""
        if rate <= 0 and (want.manifest in self._rounds or (crowd and want.lacks)):
            held = self._rounds.get(want.manifest)
            if held is None or not held.wanted:
                held = self._rounds.setdefault(want.manifest, _Round(now))
                held.due = now + GATHER
            for part in want.lacks or want.parts:
                held.add(device, part, now)
            return
        if rate <= 0:
            self._rates.pop(device, None)
        elif device not in self._rates or self._rates[device].rate != rate:
            self._rates[device] = Bucket(rate, now)
        mine = self._pulls.setdefault(device, OrderedDict())
        for part in want.parts:
            for number in _numbers(part):
                if len(mine) >= PER_DEVICE:
                    return
                mine.setdefault((part.digest, number))

    def next(self, now: float) -> Sending | float:
        """The block to send now; or seconds until there may be one, infinite when nothing waits."""
        waits = self.fleet.wait(now)
        if waits > 0:
            return waits
        waits = math.inf
        for _ in range(2):
            self._crowds_turn = not self._crowds_turn
            chosen = self._next_of_rounds(now) if self._crowds_turn else self._next_pull(now)
            if isinstance(chosen, Sending):
                self.fleet.take(BLOCK)
                return chosen
            waits = min(waits, chosen)
        return waits

    def _next_of_rounds(self, now: float) -> Sending | float:
        waits = math.inf
        for manifest, held in list(self._rounds.items()):
            if not held.wanted:
                if now - max(held.last, held.due) > LINGER:
                    del self._rounds[manifest]
            elif held.due > now:
                waits = min(waits, held.due - now)
            else:
                self._rounds.move_to_end(manifest)
                return held.pop(manifest, now)
        return waits

    def _next_pull(self, now: float) -> Sending | float:
        waits = math.inf
        for _ in range(len(self._pulls)):
            device, mine = self._pulls.popitem(last=False)
            bucket = self._rates.get(device)
            wait = bucket.wait(now) if bucket else 0.0
            if wait > 0:
                self._pulls[device] = mine
                waits = min(waits, wait)
                continue
            (digest, number), _ = mine.popitem(last=False)
            if mine:
                self._pulls[device] = mine
            if bucket:
                bucket.take(BLOCK)
            return Sending(digest, number, device)
        return waits


def _numbers(part: WantPart) -> Iterator[int]:
    """The set bits, in order."""
    for place, byte in enumerate(bytes.fromhex(part.missing)):
        for bit in range(8):
            if byte >> bit & 1:
                yield part.first + place * 8 + bit
