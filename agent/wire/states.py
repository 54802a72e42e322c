"""The state tables that device and server share. Displayed states are these words, and no others."""

from enum import StrEnum


class Deployment(StrEnum):
    """One rollout on one device."""

    QUEUED = "queued"
    NOTIFIED = "notified"
    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    INSTALLING = "installing"
    SELF_TESTING = "self_testing"
    WATCHING = "watching"
    ACTIVE = "active"
    FAILED = "failed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    SKIPPED = "skipped"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"
    TIMED_OUT = "timed_out"


_D = Deployment
_STOPS = frozenset({_D.CANCELED, _D.SUPERSEDED, _D.TIMED_OUT})
_GIVEN_UP = frozenset({_D.CANCELED, _D.TIMED_OUT})

#: Where each state may go. A state that is missing here is an end.
DEPLOYMENT_NEXT: dict[Deployment, frozenset[Deployment]] = {
    _D.QUEUED: frozenset({_D.NOTIFIED, _D.SKIPPED}) | _STOPS,
    _D.NOTIFIED: frozenset({_D.DOWNLOADING, _D.REJECTED}) | _STOPS,
    _D.DOWNLOADING: frozenset({_D.VERIFIED, _D.FAILED}) | _STOPS,
    # From here on only the device decides; a device that dies in the middle is given up at the deadline. One that is
    # retired will never report again, so there the server ends it as canceled: nothing failed, somebody took it away.
    _D.VERIFIED: frozenset({_D.INSTALLING, _D.FAILED}) | _GIVEN_UP,
    _D.INSTALLING: frozenset({_D.SELF_TESTING, _D.FAILED}) | _GIVEN_UP,
    _D.SELF_TESTING: frozenset({_D.WATCHING, _D.FAILED}) | _GIVEN_UP,
    _D.WATCHING: frozenset({_D.ACTIVE, _D.ROLLED_BACK}) | _GIVEN_UP,
}

#: The device decides these; everything else is the server's word.
DEVICE_STATES = frozenset(
    {
        _D.DOWNLOADING,
        _D.VERIFIED,
        _D.INSTALLING,
        _D.SELF_TESTING,
        _D.WATCHING,
        _D.ACTIVE,
        _D.FAILED,
        _D.REJECTED,
        _D.ROLLED_BACK,
    }
)
DEPLOYMENT_ENDS = frozenset(Deployment) - frozenset(DEPLOYMENT_NEXT)
DEPLOYMENT_OPEN = frozenset(DEPLOYMENT_NEXT)
#: The device knows of it. Others may stand queued behind one of these.
DEPLOYMENT_IN_FLIGHT = DEPLOYMENT_OPEN - {_D.QUEUED}
#: While a device that stays in service can still turn: a person may cancel it, a newer rollout may take over.
DEPLOYMENT_STOPPABLE = frozenset({_D.QUEUED, _D.NOTIFIED, _D.DOWNLOADING})
#: Ends in which the device does not run what the rollout wanted, and somebody should look.
DEPLOYMENT_BAD = frozenset({_D.FAILED, _D.REJECTED, _D.ROLLED_BACK, _D.TIMED_OUT})

_ORDER = [_D.QUEUED, _D.NOTIFIED, _D.DOWNLOADING, _D.VERIFIED, _D.INSTALLING, _D.SELF_TESTING, _D.WATCHING, _D.ACTIVE]


def reachable(old: Deployment, new: Deployment) -> bool:
    """Whether `new` can follow `old` in one or more steps: reports may be lost, but never go backwards."""
    seen: set[Deployment] = set()
    frontier = {old}
    while frontier:
        ahead = frozenset().union(*(DEPLOYMENT_NEXT.get(state, frozenset()) for state in frontier))
        if new in ahead:
            return True
        seen |= frontier
        frontier = set(ahead) - seen
    return False


def may_report(old: Deployment, new: Deployment, *, new_boot: bool) -> bool:
    """Whether a device's report of `new` may be stored over `old`.

    A new boot may resume at an earlier state of the device's own (downloading … watching); otherwise only forwards.
    """
    if new not in DEVICE_STATES or old in DEPLOYMENT_ENDS:
        return False
    if old is _D.QUEUED:
        return False
    if new_boot and old in DEVICE_STATES and new in _ORDER:
        return True
    return reachable(old, new)


class Command(StrEnum):
    """One order to one device."""

    QUEUED = "queued"
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"


_C = Command
_COMMAND_STOPS = frozenset({_C.EXPIRED, _C.CANCELED})

COMMAND_NEXT: dict[Command, frozenset[Command]] = {
    _C.QUEUED: frozenset({_C.SENT}) | _COMMAND_STOPS,
    _C.SENT: frozenset({_C.ACCEPTED, _C.REJECTED}) | _COMMAND_STOPS,
    _C.ACCEPTED: frozenset({_C.RUNNING, _C.SUCCEEDED, _C.FAILED}) | _COMMAND_STOPS,
    _C.RUNNING: frozenset({_C.SUCCEEDED, _C.FAILED}) | _COMMAND_STOPS,
}
COMMAND_ENDS = frozenset(Command) - frozenset(COMMAND_NEXT)
#: Every state but the ends, in order: a late acknowledgement never moves a command backwards.
_COMMAND_ORDER = [_C.QUEUED, _C.SENT, _C.ACCEPTED, _C.RUNNING]


def command_may_report(old: Command, new: Command) -> bool:
    """Whether a device's acknowledgement of `new` may be stored over `old`."""
    if old in COMMAND_ENDS or new in (_C.QUEUED, _C.SENT, _C.EXPIRED, _C.CANCELED):
        return False
    if new in COMMAND_ENDS:
        return True
    return _COMMAND_ORDER.index(new) >= _COMMAND_ORDER.index(old)


class Admission(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PREAUTHORIZED = "preauthorized"


class Rollout(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    ABORTED = "aborted"


_R = Rollout
ROLLOUT_NEXT: dict[Rollout, frozenset[Rollout]] = {
    _R.DRAFT: frozenset({_R.SCHEDULED, _R.RUNNING, _R.ABORTED}),
    _R.SCHEDULED: frozenset({_R.RUNNING, _R.ABORTED}),
    _R.RUNNING: frozenset({_R.PAUSED, _R.FINISHED, _R.ABORTED}),
    _R.PAUSED: frozenset({_R.RUNNING, _R.ABORTED}),
}
