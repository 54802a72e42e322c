"""The state tables that device and server share, walked row by row."""

import itertools

import pytest

from agent.wire import states
from agent.wire.states import Command, Deployment

ENDS = {"active", "failed", "rejected", "rolled_back", "skipped", "canceled", "superseded", "timed_out"}


@pytest.mark.parametrize("state", Deployment)
def test_every_deployment_ends_or_goes_on(state):
    assert (state in states.DEPLOYMENT_ENDS) == (state.value in ENDS)
    if state in states.DEPLOYMENT_OPEN:
        assert any(states.reachable(state, end) for end in states.DEPLOYMENT_ENDS)


@pytest.mark.parametrize("state", sorted(states.DEPLOYMENT_OPEN))
def test_every_open_deployment_can_time_out(state):
    assert states.reachable(state, Deployment.TIMED_OUT)


@pytest.mark.parametrize("state", sorted(states.DEPLOYMENT_OPEN))
def test_the_server_can_cancel_what_a_retired_device_was_doing_and_no_device_can_say_so_itself(state):
    assert states.Deployment.CANCELED in states.DEPLOYMENT_NEXT[state]
    assert not states.may_report(state, Deployment.CANCELED, new_boot=False)
    assert not states.may_report(state, Deployment.CANCELED, new_boot=True)


def test_a_device_that_has_every_byte_is_no_longer_stopped_by_people():
    assert {state.value for state in states.DEPLOYMENT_STOPPABLE} == {"queued", "notified", "downloading"}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(Deployment, Deployment)))
def test_a_report_moves_forwards_only(old, new):
    order = {state: place for place, state in enumerate(states._ORDER)}
    allowed = states.may_report(old, new, new_boot=False)
    if old in states.DEPLOYMENT_ENDS or new not in states.DEVICE_STATES or old is Deployment.QUEUED:
        assert not allowed
    elif new in order and old in order:
        assert allowed == (order[new] > order[old])


@pytest.mark.parametrize("old", sorted(states.DEVICE_STATES - states.DEPLOYMENT_ENDS))
@pytest.mark.parametrize("new", ["downloading", "verified", "installing", "self_testing", "watching"])
def test_a_new_boot_may_resume_earlier(old, new):
    assert states.may_report(old, Deployment(new), new_boot=True)


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("sent", "accepted", True),
        ("sent", "succeeded", True),
        ("accepted", "accepted", True),
        ("running", "accepted", False),
        ("running", "failed", True),
        ("succeeded", "running", False),
        ("expired", "succeeded", False),
        ("canceled", "accepted", False),
        ("accepted", "expired", False),
        ("queued", "sent", False),
    ],
)
def test_a_late_acknowledgement_moves_no_command_backwards(old, new, allowed):
    assert states.command_may_report(Command(old), Command(new)) is allowed


def test_every_command_can_end():
    for state in states.COMMAND_NEXT:
        assert states.COMMAND_NEXT[state] & (states.COMMAND_ENDS | set(states.COMMAND_NEXT))
