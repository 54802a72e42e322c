"""The update machine as tables: (state, event) → next state, and what each saved state means after power comes back.

Pure. A pair that the first table does not move is an error (`___` there): it cannot happen, and is never passed over.
"""

from enum import StrEnum

from agent.wire.states import Deployment as State


class Event(StrEnum):
    ACCEPTED = "accepted"  # class, space, memory and manifest are right
    REFUSED = "refused"  # one of them is not
    COMPLETE = "complete"  # every part is on the disk
    LACKING = "lacking"  # a part is not there any more, or damaged
    TRUSTED = "trusted"  # every part has its digest
    INSTALLED = "installed"
    PASSED = "passed"  # the self-test
    HEALTHY = "healthy"  # through the whole watch
    UNHEALTHY = "unhealthy"  # errors, NaN, latency, crashes, or it does not load
    BROKEN = "broken"  # cannot go on
    SUPERSEDED = "superseded"  # something else is wanted now


class Resume(StrEnum):
    """What to do with an attempt that power-on finds in some state."""

    NOTHING = "nothing"  # it had ended
    REPEAT = "repeat"  # the step begins again, with what is on the disk already
    REPEAT_TWICE = "repeat twice"  # the step begins again, unless it was repeated twice
    COUNT_CRASH = "count crash"  # the boot counts, and the third one rolls back


class ImpossibleError(RuntimeError):
    """An event in a state in which it cannot happen: a mistake in the machine."""


_N, _D, _V, _I = State.NOTIFIED, State.DOWNLOADING, State.VERIFIED, State.INSTALLING
_T, _W, _A = State.SELF_TESTING, State.WATCHING, State.ACTIVE
_F, _R, _B, _S = State.FAILED, State.REJECTED, State.ROLLED_BACK, State.SUPERSEDED
___ = None

# fmt: off
_EVENTS = tuple(Event)
_ROWS: dict[State, tuple[State | None, ...]] = {
    #   ACCEPTED REFUSED COMPLETE LACKING TRUSTED INSTALLED PASSED HEALTHY UNHEALTHY BROKEN SUPERSEDED
    _N: (_D,     _R,     ___,     ___,    ___,    ___,      ___,   ___,    ___,      _F,    _S),
    _D: (___,    ___,    _V,      ___,    ___,    ___,      ___,   ___,    ___,      _F,    _S),
    _V: (___,    ___,    ___,     _D,     _I,     ___,      ___,   ___,    ___,      _F,    _S),
    _I: (___,    ___,    ___,     ___,    ___,    _T,       ___,   ___,    ___,      _F,    _S),
    _T: (___,    ___,    ___,     ___,    ___,    ___,      _W,    ___,    ___,      _F,    _S),
    _W: (___,    ___,    ___,     ___,    ___,    ___,      ___,   _A,     _B,       _B,    _S),
    # Ended. Only an active one can still move: it does not load any more.
    _A: (___,    ___,    ___,     ___,    ___,    ___,      ___,   ___,    _B,       ___,   ___),
    _F: (___,    ___,    ___,     ___,    ___,    ___,      ___,   ___,    ___,      ___,   ___),
    _R: (___,    ___,    ___,     ___,    ___,    ___,      ___,   ___,    ___,      ___,   ___),
    _B: (___,    ___,    ___,     ___,    ___,    ___,      ___,   ___,    ___,      ___,   ___),
    _S: (___,    ___,    ___,     ___,    ___,    ___,      ___,   ___,    ___,      ___,   ___),
}
# fmt: on

TABLE: dict[tuple[State, Event], State | None] = {
    (state, event): new for state, row in _ROWS.items() for event, new in zip(_EVENTS, row, strict=True)
}
#: The states in which there is something to do.
OPEN = frozenset({_N, _D, _V, _I, _T, _W})

POWER_ON: dict[State, Resume] = {
    _N: Resume.REPEAT,  # the manifest is asked for again
    _D: Resume.REPEAT,  # goes on from the blocks that are there
    _V: Resume.REPEAT,  # every digest is computed again
    _I: Resume.REPEAT,  # what lies half installed is removed first
    _T: Resume.REPEAT_TWICE,  # the model may be what took the power
    _W: Resume.COUNT_CRASH,
    _A: Resume.NOTHING,
    _F: Resume.NOTHING,
    _R: Resume.NOTHING,
    _B: Resume.NOTHING,
    _S: Resume.NOTHING,
}
#: Self-tests of one attempt: the first, and two more after power cuts.
MAX_TESTS = 3
MAX_CRASHES = 3


def after(state: State, event: Event) -> State:
    """The next state. Raises ImpossibleError for a pair that the table calls an error."""
    new = TABLE.get((state, event))
    if new is None:
        raise ImpossibleError(f"the event {event} cannot happen to a deployment that is {state}")
    return new
