"""Which blocks to ask for, and when to ask again: pure functions of what came and a clock."""

from collections.abc import Callable, Iterable, Iterator

from agent.wire.messages import Want, WantPart

#: (digest of the part, number of the block)
Block = tuple[str, int]

#: Blocks that are asked for and have not come: 4 MiB.
SIZE = 32
#: Seconds without any block after which the outstanding ones are asked for again: at first, and at most.
PATIENCE, LONGEST = 2.0, 60.0
#: Usual gaps between two blocks that must pass before silence means loss: a slow link is not a lost one.
_GAPS = 8.0
#: Blocks that one WantPart can name, and entries that `lacks` can have; what is beyond is asked for as usual.
_SPAN = 512 * 8
MAX_LACKS = 512


class Window:
    """At most `size` blocks are outstanding; half of them must have come before more are asked for.

    Silence is measured since the last block that came, whichever it was, so a slow link that delivers is never asked
    twice; each silence in a row doubles the patience.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._outstanding: dict[Block, None] = {}
        self._since = 0.0
        self._gap = 0.0
        self._silences = 0
        self._lost = False

    def patience(self) -> float:
        return min(LONGEST, max(PATIENCE, _GAPS * self._gap) * 2.0 ** min(self._silences, 10))

    def due(self, take: Callable[[int], list[Block]], now: float) -> list[Block]:
        """What to ask for now; `take(n)` gives up to n further missing blocks."""
        if self._outstanding and (self._lost or now - self._since > self.patience()):
            self._silences = 0 if self._lost else self._silences + 1
            self._since, self._lost = now, False
            return list(self._outstanding)
        if len(self._outstanding) > self._size // 2:
            return []
        fresh = take(self._size - len(self._outstanding))
        if fresh and not self._outstanding:
            self._since = now
        self._outstanding.update(dict.fromkeys(fresh))
        return fresh

    def arrived(self, block: Block, now: float) -> None:
        """A block came and was good. One that nobody waited for is no sign of how fast the link is."""
        if block not in self._outstanding:
            return
        del self._outstanding[block]
        self._gap += 0.25 * (now - self._since - self._gap)
        self._since = now
        self._silences = 0

    def ask_again(self) -> None:
        """The link was lost, and what was asked for with it: the next `due` asks for all of it."""
        self._lost = True


def want(blocks: Iterable[Block], manifest: str = "", lacks: Iterable[Block] = (), *, links: bool = False) -> Want:
    """The message that asks for these blocks; `lacks` are all that are missing of the manifest."""
    named = tuple(_all_parts(lacks))[:MAX_LACKS]
    return Want(parts=tuple(_all_parts(blocks)), manifest=manifest, lacks=named, links=links)


def _all_parts(blocks: Iterable[Block]) -> Iterator[WantPart]:
    numbers: dict[str, list[int]] = {}
    for digest, number in blocks:
        numbers.setdefault(digest, []).append(number)
    for digest, own in numbers.items():
        yield from _want_parts(digest, sorted(own))


def _want_parts(digest: str, numbers: list[int]) -> Iterator[WantPart]:
    while numbers:
        first = numbers[0]
        here = [number for number in numbers if number < first + _SPAN]
        numbers = numbers[len(here) :]
        bits = bytearray((here[-1] - first) // 8 + 1)
        for number in here:
            bits[(number - first) // 8] |= 1 << (number - first) % 8
        yield WantPart(digest=digest, first=first, missing=bits.hex())
