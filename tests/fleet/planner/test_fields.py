"""Numbers are typed with a unit or without, and shown so that they could be typed again."""

import re

import pytest

from agent.wire.hardware import GIB, DeviceClass
from fleet.planner.estimates import class_of, slim_estimates
from fleet.planner.fields import BASE, FIELDS, GROUPS, UNITS, held, parse, rounded, show
from fleet.planner.filling import Known, fill
from fleet.planner.situation import NAMES, Situation


def test_every_number_of_the_situation_can_be_typed():
    assert set(FIELDS) == set(NAMES)
    assert {field.group for field in FIELDS.values()} == set(GROUPS)
    assert set(BASE) == set(UNITS)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("memory", "8", 8 * GIB),
        ("memory", "512 MiB", 512 * 2**20),
        ("memory", "16gb", 16e9),
        ("size", "1,024 kB", 1_024_000),
        ("link", "160", 20e6),
        ("link", "20 MB/s", 20e6),
        ("link", "160 mbps", 20e6),
        ("link", "0", 0),
        ("network_ms", "0.5 s", 500),
        ("sent", "25", 0.25),
        ("sent", "25 %", 0.25),
        ("observation_s", "200 ms", 0.2),
        ("alpha", ".5", 0.5),
    ],
)
def test_typed(name, text, value):
    assert parse(FIELDS[name], text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("memory", "much", "Write a number with a point, as in 1.5 GiB."),
        ("memory", "1,5", "Write a number with a point, as in 1.5 GiB."),
        ("memory", "-1", "Write a number with a point, as in 1.5 GiB."),
        ("memory", "inf", "Write a number with a point, as in 1.5 GiB."),
        ("memory", "9" * 400, "Memory is 0.001 to 1,048,576 GiB, not"),
        ("memory", "8 Mbit/s", "Mbit/s is no unit here; there are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB."),
        ("alpha", "1 kg", "kg is no unit here; there is none."),
        ("memory", "0", "Memory is 0.001 to 1,048,576 GiB, not 0."),
        ("sent", "120 %", "Decisions sent in hybrid is 0 to 100 %, not 120."),
    ],
)
def test_what_cannot_be_read_says_what_to_type(name, text, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse(FIELDS[name], text)


def test_what_is_not_a_number_is_out_of_every_range():
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="Memory is"):
            held(FIELDS["memory"], wrong)


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_shown_can_be_typed_again(name):
    field = FIELDS[name]
    for share in (0.001, 0.0371, 0.9, 1.0):
        value = max(field.low, field.high * share) * field.factor
        assert parse(field, show(field, value)) == pytest.approx(value, rel=0.005)
        for up in (True, False):
            near = rounded(field, value, up=up)
            assert near == pytest.approx(value, rel=0.01)
            assert near >= value * (1 - 1e-9) if up else near <= value * (1 + 1e-9)


# --- What the form is filled with -----------------------------------------------------------------------------------


def test_a_hand_goes_over_what_is_known_and_what_was_known_stays_to_be_seen():
    measured = Known(30.0, "measured", "cam-1")
    filled = fill({"compute_ms": 20.0}, {"compute_ms": measured})
    assert filled.situation.compute_ms == 20
    assert filled.known["compute_ms"] == measured
    assert filled.known["sent"].kind == "assumed"


def test_a_slim_variant_is_estimated_by_what_a_search_for_the_class_aims_at():
    given = Situation(memory=8 * GIB, cores=8, need_memory=10 * GIB, size=100.0, need_tflops=10, slim_size=1.0)
    assert class_of(given) is DeviceClass.MOBILE
    guesses = slim_estimates(given, DeviceClass.MOBILE)
    assert {name: value for name, (value, _) in guesses.items()} == {
        "slim_memory": pytest.approx(6 * GIB),
        "slim_tflops": pytest.approx(7),
    }
    filled = fill({"need_memory": 10.0 * GIB}, {}, DeviceClass.EMBEDDED)
    assert filled.situation.slim_memory == pytest.approx(4 * GIB)
    assert filled.known["slim_memory"].kind == "estimated"
    assert class_of(Situation()) is None
