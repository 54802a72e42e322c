"""Decisions that were made before: the same image, words and state, by the same artifact, give the same actions.

Exact only: one changed pixel is another observation. It helps where the scene stands still.
"""

import hashlib
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.inference.policy_card import Floats, Observation

#: What the cache may hold, and for how long an answer counts.
MAX_BYTES = 8 * 1024**2
MAX_AGE = 60.0
#: Bytes of an entry beside its actions: key, array header and table slots, rounded up.
_OVERHEAD = 512


@dataclass(frozen=True, slots=True)
class _Entry:
    actions: "Floats"
    until: float


class DataCache:
    """Bounded in bytes and age; the entry that was used longest ago goes first. Used under the engine's lock."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.bytes = 0
        self.lookups = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> "Floats | None":
        """A copy of the actions, so that the caller may change them; None when there are none, or they are too old."""
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
        if size > self._max_bytes:
            return
        self._drop(key)
        self._entries[key] = _Entry(actions.copy(), self._clock() + self._max_age)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.actions.nbytes + _OVERHEAD


def key_of(observation: "Observation", artifact: str) -> bytes:
    """32 bytes for all that a decision depends on. Lengths are hashed too, so that no two fields run together."""
    image, words, state = observation.image, observation.instruction.encode(), observation.state
    digest = hashlib.blake2b(artifact.encode(), digest_size=32)
    digest.update(struct.pack(f"<{image.ndim}qqq", *image.shape, len(words), state.size))
    digest.update(words)
    digest.update(state.tobytes())
    digest.update(image.tobytes())
    return digest.digest()
