"""Decisions that were made before: the same image, words and state, by the same artifact, give the same actions.

Exact only: one changed pixel is another observation. It helps where the scene stands still, and costs a hash where it
does not: some 1 ms for each megabyte of image, which is nothing beside a large model and more than a small one's
decision. So cost and saving are measured, and nothing is looked up for a while where it does not pay.
"""

import hashlib
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.inference.policy_card import Floats, Observation

#: What the cache may hold, and for how many seconds an answer counts.
MAX_BYTES = 8 * 1024**2
MAX_AGE = 60.0
#: Bytes of an entry beside its actions: key, array header and table slots, rounded up.
_OVERHEAD = 512
#: Look-ups after which cost and saving are compared, and requests for which nothing is looked up if it did not pay.
TRIAL, PAUSE = 64, 1024
#: What looking up may cost beside the decisions themselves, even if it saves nothing: the scene may come to rest.
WORTH = 0.02


@dataclass(frozen=True, slots=True)
class _Entry:
    actions: "Floats"
    until: float


class DataCache:
    """Bounded in bytes and age; the entry that was used longest ago goes first. Any thread may use it."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._decision = 0.0
        self._spent = self._saved = 0.0
        self._tried = self._paused = 0
        self.bytes = 0
        self.lookups = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> "Floats | None":
        """A copy of the actions, so that the caller may change them; None when there are none, or they are too old."""
        with self._lock:
            self.lookups += 1
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.until < self._clock():
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            self.hits += 1
        return entry.actions.copy()

    def put(self, key: bytes, actions: "Floats") -> None:
        size = actions.nbytes + _OVERHEAD
        with self._lock:
            if size > self._max_bytes:
                return
            self._drop(key)
            self._entries[key] = _Entry(actions.copy(), self._clock() + self._max_age)
            self.bytes += size
            self._shrink()

    def clear(self) -> None:
        """Know nothing, also not whether it pays: another model's decisions cost something else."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0
            self._decision = self._spent = self._saved = 0.0
            self._tried = self._paused = 0

    def limit(self, max_bytes: int) -> None:
        """Hold so many bytes from now on; 0 holds nothing, and nothing is looked up."""
        with self._lock:
            self._max_bytes = max_bytes
            self._shrink()

    # --- Whether it pays ---

    def pays(self) -> bool:
        """Whether to look up the next request: not for a while after a trial that cost more than it saved."""
        with self._lock:
            if self._max_bytes <= 0:
                return False
            if self._paused > 0:
                self._paused -= 1
                return False
            return True

    def spent(self, seconds: float, hit: bool) -> None:
        """What one look-up took, and whether it saved a decision."""
        with self._lock:
            self._tried += 1
            self._spent += seconds
            self._saved += self._decision if hit else 0.0
            if self._tried < TRIAL:
                return
            if self._spent - self._saved > WORTH * self._decision * self._tried:
                self._paused = PAUSE
            self._tried, self._spent, self._saved = 0, 0.0, 0.0

    def decided(self, seconds: float) -> None:
        """What a decision took that was not known: what the next hit saves."""
        with self._lock:
            self._decision += (seconds - self._decision) / 8 if self._decision else seconds

    def _shrink(self) -> None:
        while self.bytes > max(0, self._max_bytes):
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.actions.nbytes + _OVERHEAD


def key_of(observation: "Observation", artifact: str) -> bytes:
    """32 bytes for all that a decision depends on. Lengths are hashed too, so that no two fields run together."""
    import numpy as np

    image, state = np.ascontiguousarray(observation.image), np.ascontiguousarray(observation.state)
    words = observation.instruction.encode()
    digest = hashlib.blake2b(artifact.encode(), digest_size=32)
    digest.update(f"{image.dtype.str} {state.dtype.str} {image.shape}".encode())
    digest.update(struct.pack("<qq", len(words), state.size))
    digest.update(words)
    digest.update(state.data.cast("B") if state.size else b"")
    digest.update(image.data.cast("B") if image.size else b"")
    return digest.digest()
