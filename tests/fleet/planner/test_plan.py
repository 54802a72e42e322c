"""Which mode fits: the worked cases, and the ends of every number."""

from dataclasses import replace
from itertools import product
from math import inf

import pytest

from agent.wire.fit import Need, Room, memory_budget, misfits, written
from agent.wire.hardware import GIB
from fleet.optimizer.objective import DEFAULT, objective
from fleet.planner.formulas import change
from fleet.planner.modes import Mode
from fleet.planner.plan import LEAST_PART, plan, room, whole_model
from fleet.planner.situation import Situation
from tests.fleet.planner.situations import MB, MIB, ROOMY, worked

# --- The worked cases -----------------------------------------------------------------------------------------------


def test_cloud_takes_300_ms_and_the_edge_32_which_is_89_percent_less():
    made = plan(worked("edge"))
    cloud, edge = made.of(Mode.CLOUD), made.of(Mode.FULL)
    assert cloud.latency.parts == (50, 100, 50, 100)
    assert cloud.latency.total == 300
    assert edge.latency.total == 32
    assert round(change(32, 300), 2) == -0.89
    assert (made.chosen.mode, made.certain) == (Mode.FULL, True)
    assert cloud.fits is False


def test_4_cores_and_8_gb_do_not_carry_a_model_for_8_and_16():
    made = plan(worked("memory"))
    assert [(check.name, check.need, check.have) for check in made.of(Mode.FULL).failed] == [
        ("memory", 16 * GIB, 6 * GIB),
        ("cores", 8, 4),
    ]
    assert made.of(Mode.SLIM).fits is False
    assert made.chosen.mode is Mode.HYBRID


def test_10_tflops_and_16_gb_against_20_and_32_leave_hybrid():
    made = plan(worked("computing"))
    assert [(check.name, check.need, check.have) for check in made.of(Mode.FULL).failed] == [
        ("memory", 32 * GIB, 12 * GIB),
        ("tflops", 20, 10),
    ]
    assert made.of(Mode.SLIM).fits is False
    assert (made.chosen.mode, made.certain) == (Mode.HYBRID, None), "its latency was not stated"
    assert made.chosen.local.part == 12 / 32
    sure = plan(
        replace(
            worked("computing"), compute_ms=100, server_ms=20, network_ms=5, observation=MB, observation_s=1, link=1e8
        )
    )
    assert (sure.chosen.mode, sure.certain) == (Mode.CLOUD, True)
    thrifty = plan(replace(sure.situation, beta=100.0))
    assert (thrifty.chosen.mode, thrifty.certain) == (Mode.HYBRID, True)


def test_two_streams_are_20_megabytes_a_second():
    cloud = plan(worked("bandwidth")).of(Mode.CLOUD)
    assert cloud.bandwidth == 20 * MB
    assert cloud.fits is False, "10 Mbit/s are allowed"


# --- The ends of every number -------------------------------------------------------------------------------------


def test_where_everything_fits_the_least_objective_is_chosen():
    made = plan(ROOMY)
    assert all(each.fits for each in made.modes)
    assert made.chosen.objective == min(each.objective for each in made.modes)


@pytest.mark.parametrize(
    ("changes", "mode", "certain"),
    [
        ({}, Mode.CLOUD, True),
        ({"beta": 20.0}, Mode.FULL, True),
        ({"link": 0.0}, Mode.FULL, True),
        ({"network_ms": inf}, Mode.FULL, True),
        ({"link": 0.0, "telemetry": 500.0}, Mode.FULL, True),
        ({"link": 0.0, "compute_ms": 99}, Mode.SLIM, True),
        ({"link": 0.0, "memory": 1 * GIB}, Mode.SLIM, True),
        ({"link": 0.0, "memory": 0.5 * GIB}, Mode.SLIM, False),
        ({"link": 0.0, "compute_ms": inf, "slim_ms": inf}, Mode.FULL, False),
        ({"memory": 1 * MIB}, Mode.CLOUD, True),
        ({"memory": 0.5 * GIB, "server_ms": 500}, Mode.HYBRID, False),
        ({"memory": None, "link": 0.0}, Mode.FULL, None),
        ({"need_memory": None, "link": 0.0}, Mode.SLIM, True),
        ({"server_ms": None}, Mode.FULL, True),
        ({"server_ms": None, "latency_limit": 30}, Mode.CLOUD, None),
        ({"latency_limit": 0.001}, Mode.CLOUD, False),
        ({"storage": 100 * MIB}, Mode.CLOUD, True),
        ({"storage": 100 * MIB, "link": 0.0}, Mode.FULL, False),
        ({"sent": 0.0, "link": 0.0, "compute_ms": 99, "slim_ms": 99}, Mode.FULL, False),
        ({"bandwidth_limit": 1000.0}, Mode.FULL, True),
        ({"bandwidth_limit": 1000.0, "telemetry": 2000.0}, Mode.FULL, False),
        ({"alpha": 0.0, "beta": 0.0, "gamma": 0.0}, Mode.FULL, True),
    ],
)
def test_the_choice(changes, mode, certain):
    made = plan(replace(ROOMY, **changes))
    assert (made.chosen.mode, made.certain) == (mode, certain)


def test_of_equals_the_one_is_chosen_that_keeps_more_on_the_device():
    equal = replace(ROOMY, compute_ms=5, slim_ms=5, link=0.0)
    made = plan(equal)
    assert made.of(Mode.FULL).objective == made.of(Mode.SLIM).objective
    assert made.chosen.mode is Mode.FULL


def test_nothing_known_is_no_answer():
    made = plan(Situation())
    assert [each.fits for each in made.modes] == [None] * 4
    assert made.of(Mode.FULL).missing == ("memory", "need_memory", "compute_ms")
    assert made.of(Mode.CLOUD).missing == ("server_ms", "link", "network_ms", "observation", "observation_s")


def test_a_link_that_is_too_narrow_for_the_stream_fails_even_without_a_limit():
    narrow = plan(replace(ROOMY, link=2 * MB, latency_limit=10_000)).of(Mode.CLOUD)
    assert [check.name for check in narrow.failed] == ["bandwidth"]


def test_hybrid_is_held_to_the_way_that_takes_longer():
    hybrid = plan(replace(ROOMY, server_ms=500)).of(Mode.HYBRID)
    assert hybrid.latency.total == pytest.approx(0.8 * 42 + 0.2 * (500 + 1 + 4 + 10.01))
    assert hybrid.worst_ms == pytest.approx(515.01)
    assert [check.name for check in hybrid.failed] == ["latency"]
    alone = plan(replace(ROOMY, server_ms=None, sent=0.0)).of(Mode.HYBRID)
    assert (alone.fits, alone.worst_ms) == (True, 42)


@pytest.mark.parametrize(("memory", "part"), [(8, 1.0), (1, 1.0), (0.5, 0.375), (0.1, 0.075)])
def test_hybrid_keeps_as_much_as_there_is_room_for(memory, part):
    hybrid = plan(replace(ROOMY, memory=memory * GIB)).of(Mode.HYBRID)
    assert hybrid.local.part == pytest.approx(part, rel=1e-6)
    assert hybrid.local.memory <= memory_budget(int(memory * GIB))
    assert hybrid.fits is (part >= LEAST_PART)


def test_a_full_disk_leaves_no_part_of_a_model():
    hybrid = plan(replace(ROOMY, storage=10 * MIB)).of(Mode.HYBRID)
    assert (hybrid.local.part, hybrid.fits) == (0, False)


# --- One rule with the rest of the house --------------------------------------------------------------------------


def test_memory_and_storage_fit_exactly_where_the_device_itself_would_accept():
    sizes = [0, 1, MIB, 100 * MIB, 750 * MIB, 768 * MIB, 769 * MIB, GIB]
    for need, size, memory, storage in product(sizes, sizes, sizes[2:], [0, 32 * MIB, 300 * MIB, 2080 * MIB]):
        given = Situation(memory=memory, storage=storage, need_memory=need, size=size)
        mine = all(check.fits for check in room(given, whole_model(given)))
        assert mine == (not misfits(Need(need, written(size)), Room(memory_budget(memory), storage))), given


def test_the_objective_is_the_one_by_which_variants_are_chosen():
    full = plan(replace(ROOMY, telemetry=1000.0, need_memory=7 * GIB)).of(Mode.FULL)
    assert full.objective == objective(
        latency_ms=42,
        latency_limit_ms=100,
        size=1000,
        size_limit=100_000_000,
        memory=7 * GIB,
        memory_limit=6 * GIB,
        weights=DEFAULT,
    )


def test_without_any_network_to_compare_with_bandwidth_is_a_share_of_the_telemetry():
    given = Situation(memory=4 * GIB, storage=GIB, need_memory=GIB, size=MIB, compute_ms=10.0, telemetry=900.0)
    assert plan(given).of(Mode.FULL).objective == pytest.approx(10 / 100 + 1)


def test_a_month_is_of_stated_numbers_only():
    made = plan(replace(ROOMY, telemetry=100.0, hours=8.0, energy=0.5))
    assert made.of(Mode.FULL).month == 100 * 8 * 3600 * 30
    assert made.of(Mode.FULL).energy == pytest.approx(0.5 / 0.2 * 8 * 3600 * 30)
    assert made.of(Mode.CLOUD).energy == 0
    assert plan(replace(ROOMY, observation=None)).of(Mode.CLOUD).month is None
    assert plan(ROOMY).of(Mode.FULL).energy is None
