"""How a gateway is doing, as it tells others beside its lease: counted since it took the lead."""

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Health:
    """Written by the inbox's thread alone, but for `summed`. Times in seconds.

    held: messages that wait here; batch, batch_seconds, lag: of the last one, its messages, how long it took to store,
    and how long its oldest message took from the socket to the commit.
    """

    messages: int = 0
    batches: int = 0
    samples: int = 0
    repeated: int = 0
    summed: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    held: int = 0
    batch: int = 0
    batch_seconds: float = 0.0
    storing_seconds: float = 0.0
    lag: float = 0.0
    _began: float = 0.0
    _oldest: float = 0.0

    def began(self, size: int, oldest: float) -> None:
        """A batch is about to be stored; oldest is when its first message came, in monotonic seconds."""
        self.batch, self._began, self._oldest = size, time.monotonic(), oldest

    def took_up(self, samples: int) -> None:
        """So many are in roll-ups now; told by the thread that sums."""
        self.summed += samples

    def stored(self) -> None:
        """The batch is committed."""
        now = time.monotonic()
        self.messages += self.batch
        self.batches += 1
        self.batch_seconds = now - self._began
        self.storing_seconds += self.batch_seconds
        self.lag = now - self._oldest

    def figures(self) -> dict[str, object]:
        """As JSON has it."""
        names = ("messages", "batches", "samples", "repeated", "summed", "held", "batch")
        seconds = ("batch_seconds", "storing_seconds", "lag")
        return (
            {name: getattr(self, name) for name in names}
            | {name: round(getattr(self, name), 4) for name in seconds}
            | {"rejected": dict(self.rejected)}
        )
