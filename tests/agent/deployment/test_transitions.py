"""The update machine's tables, walked row by row."""

import itertools

import pytest

from agent.deployment.transitions import OPEN, POWER_ON, TABLE, Event, ImpossibleError, Resume, after
from agent.wire import states
from agent.wire.states import Deployment as State

#: Written out once more, by hand: (state, event) → next. Everything else is an error.
MOVES = {
    ("notified", "accepted"): "downloading",
    ("notified", "refused"): "rejected",
    ("notified", "broken"): "failed",
    ("notified", "superseded"): "superseded",
    ("downloading", "complete"): "verified",
    ("downloading", "broken"): "failed",
    ("downloading", "superseded"): "superseded",
    ("verified", "trusted"): "installing",
    ("verified", "lacking"): "downloading",
    ("verified", "broken"): "failed",
    ("verified", "superseded"): "superseded",
    ("installing", "installed"): "self_testing",
    ("installing", "broken"): "failed",
    ("installing", "superseded"): "superseded",
    ("self_testing", "passed"): "watching",
    ("self_testing", "broken"): "failed",
    ("self_testing", "superseded"): "superseded",
    ("watching", "healthy"): "active",
    ("watching", "unhealthy"): "rolled_back",
    ("watching", "broken"): "rolled_back",
    ("watching", "superseded"): "superseded",
    ("active", "unhealthy"): "rolled_back",
}
OURS = [State(state) for state in (*OPEN, "active", "failed", "rejected", "rolled_back", "superseded")]


@pytest.mark.parametrize(("state", "event"), sorted(itertools.product(OURS, Event)))
def test_every_pair_moves_or_is_an_error(state, event):
    if (state, event) in MOVES:
        assert after(state, event) == MOVES[state, event]
    else:
        with pytest.raises(ImpossibleError, match=f"the event {event} cannot happen to a deployment that is {state}"):
            after(state, event)


def test_the_table_leaves_no_pair_out():
    assert set(TABLE) == set(itertools.product(OURS, Event))


def test_no_open_state_is_a_dead_end():
    for state in OPEN:
        assert {TABLE[state, event] for event in Event} & {State.SUPERSEDED}
        assert {TABLE[state, event] for event in Event} & {State.FAILED, State.ROLLED_BACK}


@pytest.mark.parametrize(("state", "event"), sorted(pair for pair, new in TABLE.items() if new in states.DEVICE_STATES))
def test_the_server_takes_every_move_that_is_reported(state, event):
    new = TABLE[state, event]
    again = (state, event) == ("verified", "lacking")  # found after a power cut only
    ended = state is State.ACTIVE  # the deployment's story is over; the reported artifact tells the rest
    assert ended or states.may_report(state, new, new_boot=again)


@pytest.mark.parametrize("state", sorted(OURS))
def test_power_on_knows_what_to_do_in_every_state(state):
    assert (POWER_ON[state] is Resume.NOTHING) == (state not in OPEN)
