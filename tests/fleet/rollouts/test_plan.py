"""Who goes in which phase, how fast, and where it is time."""

import random
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from fleet.errors import Refused
from fleet.rollouts.pace import Window, longest, turns
from fleet.rollouts.plan import AT_ONCE, PRESETS, PhasePlan, Terms, assign, checked, for_fewer
from fleet.rollouts.policy import Action, Limits

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
CANARY = PRESETS["canary"][1]


def devices(number: int, device_class: str = "embedded", there: bool = True):
    return [(f"{device_class}-{index}-{there}", device_class, there) for index in range(number)]


@pytest.mark.parametrize(
    ("number", "sizes"),
    [(0, []), (1, [1]), (2, [1, 0, 1]), (10, [1, 0, 9]), (100, [1, 9, 90]), (1000, [1, 99, 900])],
)
def test_phases_reach_as_far_as_they_say(number, sizes):
    found = list(assign(CANARY, devices(number)).values())
    assert len(found) == number
    assert [found.count(phase) for phase in range(3)][: len(sizes)] == sizes


def test_a_canary_tries_every_class_and_is_not_held_up_by_who_is_away():
    plan = (PhasePlan(count=2), PhasePlan(percent=100))
    given = devices(5, there=False) + devices(50) + devices(1, "mobile") + devices(1, "edge_server", there=False)
    assert [key for key, phase in assign(plan, given).items() if phase == 0] == ["embedded-0-True", "mobile-0-True"]


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([PhasePlan(percent=10)], "The last phase goes to all devices"),
        ([PhasePlan(), PhasePlan(percent=100)], "Phase 1 has a percent or a number"),
        ([PhasePlan(count=0), PhasePlan(percent=100)], "Phase 1 has at least one device."),
        ([PhasePlan(percent=0), PhasePlan(percent=100)], "Phase 1 has a percent above 0"),
        ([PhasePlan(percent=50), PhasePlan(percent=20), PhasePlan(percent=100)], "Phase 2 reaches no further"),
        ([PhasePlan(percent=100, limits=Limits(success=1.1))], "0 to 100 percent"),
        ([PhasePlan(percent=100, limits=Limits(failures=0))], "more than 0 percent"),
        ([PhasePlan(percent=100, limits=Limits(on_error=Action.ADVANCE))], "it can pause, abort, roll_back"),
        ([PhasePlan(percent=100, limits=Limits(soak=timedelta(days=31)))], "30 days"),
        ([PhasePlan(percent=100, limits=Limits(latency_rise=-1))], "not below 0"),
        ([PhasePlan(count=n + 1) for n in range(10)] + [PhasePlan(percent=100)], "at most 10 phases"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_what_to_change(phases, said):
    with pytest.raises(Refused, match=said):
        checked(phases, Terms(), 86_400, NOW)


@pytest.mark.parametrize(
    ("terms", "deadline", "said"),
    [
        (Terms(), 59, "between one minute and one year"),
        (Terms(per_minute=-1), 3600, "0 (no limit) or more"),
        (Terms(zone_name="Mars/Olympus"), 3600, "no time zone called 'Mars/Olympus'"),
        (Terms(window=Window(time(2), time(2))), 86_400, "starts and ends at the same time"),
        (Terms(window=Window(time(2), time(4))), 3600, "its window may never come"),
        (Terms(starts_at=NOW), 3600, "lies in the past"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused(terms, deadline, said):
    with pytest.raises(Refused) as refused:
        checked((), terms, deadline, NOW)
    assert said in str(refused.value)


def test_presets_are_plans_and_nothing_is_one_phase():
    for _, phases in PRESETS.values():
        assert checked(phases, Terms(), 86_400, NOW) == phases
    assert checked((), Terms(), 86_400, NOW) == AT_ONCE


@pytest.mark.parametrize(("number", "kept"), [(1, [2]), (2, [0, 2]), (10, [0, 2]), (11, [0, 1, 2]), (1000, [0, 1, 2])])
def test_of_a_plan_for_many_few_devices_keep_the_phases_that_they_fill(number, kept):
    assert for_fewer(CANARY, number) == tuple(CANARY[index] for index in kept)
    found = assign(for_fewer(CANARY, number), devices(number))
    assert set(found.values()) == set(range(len(kept))), "no phase is empty"


# --- Pace -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_minute", [0.5, 7, 60, 900])
def test_devices_a_minute_are_kept_on_the_average_with_jitter(per_minute):
    luck = random.Random(1)  # noqa: S311  # a test's own dice
    since, told, gaps = None, 0, set()
    minutes = 200
    for second in range(0, minutes * 60, 2):
        number, since = turns(per_minute, since, NOW + timedelta(seconds=second), luck.random())
        told += number
        gaps.add(number)
    assert told == pytest.approx(per_minute * minutes, rel=0.02, abs=2)
    assert len(gaps) > 1, "they do not all come in step"


def test_a_rollout_that_stood_still_does_not_make_up_for_it_in_one_go():
    number, _ = turns(60, NOW - timedelta(days=1), NOW, 0.5)
    assert number == 10
    assert turns(1, NOW - timedelta(days=1), NOW, 0.5)[0] == 2


def test_how_long_telling_everybody_takes():
    assert longest(600, 60) == timedelta(minutes=10)
    assert longest(600, 0) == timedelta(0)


# --- Windows --------------------------------------------------------------------------------------------------------

NIGHT = Window(time(22), time(4))


@pytest.mark.parametrize(
    ("window", "utc", "zone", "is_open"),
    [
        (NIGHT, "2026-03-04 21:30", "Europe/Berlin", True),
        (NIGHT, "2026-03-04 20:59", "Europe/Berlin", False),
        (NIGHT, "2026-03-04 21:30", "UTC", False),
        (NIGHT, "2026-03-04 03:59", "UTC", True),
        (NIGHT, "2026-03-04 04:00", "UTC", False),
        (NIGHT, "2026-03-04 14:00", "Asia/Tokyo", True),
        (Window(time(9), time(10)), "2026-03-04 09:59", "UTC", True),
        # On Tuesday's night it is open until four on Wednesday, and Wednesday's own does not begin.
        (replace(NIGHT, days=frozenset({1})), "2026-03-04 03:00", "UTC", True),
        (replace(NIGHT, days=frozenset({1})), "2026-03-04 23:00", "UTC", False),
    ],
)
def test_a_window_is_by_the_clock_on_the_devices_wall(window, utc, zone, is_open):
    assert window.is_open(datetime.fromisoformat(f"{utc}+00:00"), zone) is is_open


def test_when_a_window_opens_next():
    assert NIGHT.opens(NOW, "Europe/Berlin") == datetime(2026, 3, 4, 21, tzinfo=UTC)
    assert replace(NIGHT, days=frozenset({0})).opens(NOW, "UTC") == datetime(2026, 3, 9, 22, tzinfo=UTC)
    assert Window(time(9), time(15)).opens(NOW, "UTC") == NOW
    # The clocks of Berlin go forward on 29 March: six in the morning comes an hour earlier.
    assert Window(time(6), time(7)).opens(datetime(2026, 3, 28, 23, tzinfo=UTC), "Europe/Berlin").hour == 4


#: Berlin's clock: put forward over 02:00 to 03:00 on 2026-03-29, put back over it on 2026-10-25.
@pytest.mark.parametrize(
    ("window", "utc", "opens"),
    [
        # The clock jumps over the start: it opens with the first moment after the jump, 03:00.
        (
            Window(time(2, 30), time(4)),
            datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
            datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        ),
        # Over the whole window: not on that day.
        (
            Window(time(2, 15), time(2, 45)),
            datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
            datetime(2026, 3, 30, 0, 15, tzinfo=UTC),
        ),
        # Once a week, and just that day: the week after.
        (
            Window(time(2, 15), time(2, 45), frozenset({6})),
            datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
            datetime(2026, 4, 5, 0, 15, tzinfo=UTC),
        ),
        # The hour comes twice: between the two it waits for the second.
        (
            Window(time(2, 15), time(2, 45)),
            datetime(2026, 10, 25, 0, 50, tzinfo=UTC),
            datetime(2026, 10, 25, 1, 15, tzinfo=UTC),
        ),
        # The day before a change, the offset of the day of the start counts.
        (
            Window(time(22), time(23)),
            datetime(2026, 10, 24, 21, 30, tzinfo=UTC),
            datetime(2026, 10, 25, 21, 0, tzinfo=UTC),
        ),
    ],
)
def test_a_window_opens_by_the_clock_that_is_changed(window, utc, opens):
    assert window.opens(utc, "Europe/Berlin") == opens
    assert window.is_open(opens, "Europe/Berlin")
    assert not window.is_open(opens - timedelta(seconds=1), "Europe/Berlin")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])
def test_opens_is_the_first_minute_at_which_it_is_open(zone):
    """Minute by minute over the days of a change; Lord Howe's is of half an hour."""
    windows = (Window(time(1, 45), time(3, 10)), Window(time(23), time(2, 20)), Window(time(2, 5), time(2, 20)))
    for month, day in ((3, 7), (3, 28), (4, 4), (10, 3)):
        minutes = [datetime(2026, month, day, tzinfo=UTC) + timedelta(minutes=number) for number in range(3 * 1440)]
        for window in windows:
            following = None
            for at in reversed(minutes):
                following = at if window.is_open(at, zone) else following
                if following and at.minute % 20 == 0:
                    assert window.opens(at, zone) == following
