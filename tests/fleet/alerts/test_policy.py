"""The table of what a reading makes of an alert, row by row, and stories over time."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.alerts.policy import FLAP_CALM, Policy, Reading, Stage, State, Step, decide, told

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOT = Policy(threshold=80, clear=75, tolerance=timedelta(minutes=5), recovery=timedelta(minutes=1))
AT_ONCE = Policy(threshold=80)
SLOW = Policy(above=False, threshold=95, clear=97)


def ago(**given: float) -> datetime:
    return NOW - timedelta(**given)


def pending(since: datetime) -> State:
    return State(Stage.PENDING, since)


def opened(calm_since: datetime | None = None, opens: int = 1) -> State:
    return State(Stage.OPEN, ago(hours=1), calm_since, opens)


@pytest.mark.parametrize(
    ("state", "value", "policy", "step"),
    [
        # nothing yet
        (None, None, HOT, Step.NOTHING),
        (None, 80, HOT, Step.NOTHING),
        (None, 80.1, HOT, Step.BEGIN),
        (None, 80.1, AT_ONCE, Step.OPEN),
        (None, 94, SLOW, Step.OPEN),
        (None, 95, SLOW, Step.NOTHING),
        # pending
        (pending(ago(minutes=4)), 81, HOT, Step.NOTHING),
        (pending(ago(minutes=5)), 81, HOT, Step.OPEN),
        (pending(ago(minutes=4)), 80, HOT, Step.DROP),
        (pending(ago(minutes=4)), None, HOT, Step.DROP),
        (pending(NOW + timedelta(hours=1)), 81, HOT, Step.RESTART),
        # open
        (opened(), 81, HOT, Step.NOTHING),
        (opened(), 78, HOT, Step.NOTHING),
        (opened(), None, HOT, Step.NOTHING),
        (opened(), 75, HOT, Step.CALM),
        (opened(ago(seconds=59)), 75, HOT, Step.NOTHING),
        (opened(ago(seconds=60)), 75, HOT, Step.RECOVER),
        (opened(ago(seconds=60)), 78, HOT, Step.UPSET),
        (opened(ago(seconds=60)), None, HOT, Step.UPSET),
        (opened(NOW + timedelta(hours=1)), 75, HOT, Step.CALM),
        (opened(), 80, AT_ONCE, Step.RECOVER),
        (opened(), 96, SLOW, Step.NOTHING),
        (opened(), 97, SLOW, Step.RECOVER),
        # one that flaps has to be well for longer, also where others recover at once
        (opened(opens=3), 80, AT_ONCE, Step.CALM),
        (opened(ago(minutes=14), opens=3), 80, AT_ONCE, Step.NOTHING),
        (opened(NOW - FLAP_CALM, opens=3), 80, AT_ONCE, Step.RECOVER),
    ],
)
def test_each_row(state, value, policy, step):
    assert decide(state, Reading(value), NOW, policy) is step


@pytest.mark.parametrize(
    ("state", "step"), [(None, Step.NOTHING), (pending(ago(minutes=9)), Step.DROP), (opened(), Step.END)]
)
def test_a_device_that_is_none_of_the_rules_any_more(state, step):
    assert decide(state, None, NOW, HOT) is step


def test_a_condition_that_knows_when_it_began_has_had_its_tolerance():
    """A device that was away for an hour while no worker ran has been away for an hour."""
    away = Policy(tolerance=timedelta(minutes=10))
    assert decide(None, Reading(1.0, ago(minutes=11)), NOW, away) is Step.OPEN
    assert decide(None, Reading(1.0, ago(minutes=9)), NOW, away) is Step.BEGIN
    assert decide(None, Reading(1.0, NOW + timedelta(days=1)), NOW, away) is Step.BEGIN


def run(values: list[float | None], policy: Policy, every: timedelta) -> list[str]:
    """What happens to one device: `+` for each opening, `-` for each recovery, with the minute."""
    state, openings, said = None, [], []
    for number, value in enumerate(values):
        now = NOW + number * every
        match decide(state, Reading(value), now, policy):
            case Step.BEGIN | Step.RESTART:
                state = State(Stage.PENDING, now)
            case Step.DROP:
                state = None
            case Step.OPEN:
                openings = [at for at in openings if at > now - timedelta(hours=1)] + [now]
                state = State(Stage.OPEN, now, None, len(openings))
                said.append(f"+{(now - NOW) / timedelta(minutes=1):g}")
            case Step.CALM:
                state = State(Stage.OPEN, state.since, now, state.opens)
            case Step.UPSET:
                state = State(Stage.OPEN, state.since, None, state.opens)
            case Step.RECOVER:
                state = None
                said.append(f"-{(now - NOW) / timedelta(minutes=1):g}")
    return said


def test_the_tolerance_begins_anew_with_each_dip():
    minute = timedelta(minutes=1)
    assert run([81] * 4 + [70] + [81] * 5 + [70], HOT, minute) == []
    assert run([81] * 4 + [70] + [81] * 6, HOT, minute) == ["+10"]


def test_a_device_that_swings_between_the_two_values_is_one_alert():
    assert run([81] * 6 + [76, 81] * 30, HOT, timedelta(minutes=1)) == ["+5"]


def test_a_device_that_flaps_opens_three_times_and_then_stays_open_until_it_is_well():
    """Bad for a minute, well for a minute, for two hours: without damping that were sixty alerts."""
    assert run([81, 70] * 60 + [70] * 20, AT_ONCE, timedelta(minutes=1)) == ["+0", "-1", "+2", "-3", "+4", "-134"]


def test_only_the_first_three_openings_of_an_hour_are_told():
    assert [told(opens) for opens in (1, 2, 3, 4)] == [True, True, True, False]
