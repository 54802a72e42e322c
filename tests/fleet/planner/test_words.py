"""A plan says which mode fits and why, which does not and by how much, and what would have to change."""

import random
from dataclasses import replace
from itertools import combinations

import pytest

from agent.wire.hardware import GIB
from fleet.planner import words
from fleet.planner.fields import FIELDS, held
from fleet.planner.filling import fill
from fleet.planner.modes import Mode
from fleet.planner.plan import plan
from fleet.planner.remedies import changed, remedies
from fleet.planner.situation import Situation
from fleet.units import NBSP
from tests.fleet.planner.situations import MIB, ROOMY, worked

#: Ways in which a situation can be too little.
SHORT = {
    "memory": 0.6 * GIB,
    "storage": 600 * MIB,
    "cores": 0.5,
    "tflops": 1.0,
    "link": 0.5e6,
    "bandwidth_limit": 100e3,
    "compute_ms": 300.0,
    "slim_ms": 300.0,
    "server_ms": 300.0,
    "other_ms": 120.0,
}


def plain(text: str) -> str:
    return text.replace(NBSP, " ")


def said(given: Situation, mode: Mode) -> str:
    each = plan(given).of(mode)
    return plain(" ".join([*words.reasons(given, each), words.would_fit(given, each)]))


def test_the_verdict_of_the_first_worked_case():
    made = plan(worked("edge"))
    assert words.headline(made) == "Full fits."
    assert plain(words.why(made)) == (
        "The model takes 2 GiB of the 6 GiB of memory that it may. A decision takes 32 ms of the 100 ms allowed."
    )
    assert plain(words.compared(made)) == "A decision takes 32 ms in full and 300 ms in the cloud: −89 %."
    assert said(made.situation, Mode.CLOUD) == (
        "A decision takes 300 ms; 100 ms are allowed: 200 ms too long. "
        "No link is wide enough for it: without the transmission a decision there takes 200 ms."
    )


def test_what_is_too_much_and_what_would_do():
    given = worked("memory")
    assert said(given, Mode.FULL) == (
        "It needs 16 GiB of memory; a model may take 6 GiB (75 % of 8 GiB): 10 GiB too much. "
        "It needs 8 cores; there are 4. "
        "With 13.4 GiB more memory and 4 more cores, full would fit, as far as is known."
    )


def test_two_gigabytes_more_and_full_would_fit():
    given = replace(ROOMY, memory=2 * GIB, need_memory=3 * GIB, link=0.0)
    assert said(given, Mode.FULL).endswith("With 2.01 GiB more memory, full would fit.")


@pytest.mark.parametrize(
    ("changes", "mode", "sentence"),
    [
        ({"link": 0.0}, Mode.CLOUD, "It needs a network, and there is none."),
        ({"link": 0.0, "observation": None}, Mode.CLOUD, "With a network, cloud would fit, as far as is known."),
        ({"link": 1e6, "observation_s": 2.0}, Mode.CLOUD, "With a link of 11.1 MB/s (89 Mbit/s), cloud would fit."),
        ({"compute_ms": 120.0}, Mode.FULL, "A decision takes 122 ms; 100 ms are allowed: 22 ms too long."),
        ({"compute_ms": 120.0}, Mode.FULL, "With a decision computed in 98 ms, full would fit."),
        ({"other_ms": 120.0}, Mode.FULL, "What is beside the computing takes too long already."),
        ({"tflops": 4.0}, Mode.FULL, "With 1 more TFLOPS, full would fit."),
        ({"cores": 1.0}, Mode.FULL, "With 1 more core, full would fit."),
        (
            {"server_ms": 200.0},
            Mode.HYBRID,
            "A decision that is sent takes 215 ms; 100 ms are allowed: 115 ms too long.",
        ),
        ({"bandwidth_limit": 1.25e6}, Mode.CLOUD, "1.25 MB/s (10 Mbit/s) are allowed."),
        ({"bandwidth_limit": 1.25e6}, Mode.CLOUD, "With observations of at most 249 kB, cloud would fit."),
        (
            {"memory": 0.1 * GIB},
            Mode.HYBRID,
            "The device has room for 7.5 % of the model; recipes leave 10 % at the least.",
        ),
        ({"storage": 900 * MIB}, Mode.FULL, "An update writes 954 MiB; 900 MiB are free, of which 32 MiB stay free"),
    ],
)
def test_sentences(changes, mode, sentence):
    assert sentence in said(replace(ROOMY, **changes), mode)


SITUATIONS = [dict(pairs) for count in (1, 2, 3) for pairs in combinations(SHORT.items(), count)]


@pytest.mark.parametrize("changes", SITUATIONS, ids=lambda changes: "+".join(changes))
def test_with_what_is_named_the_mode_does_fit(changes):
    given = replace(ROOMY, **changes)
    for each in plan(given).modes:
        wanted = remedies(given, each) if each.fits is False else None
        if wanted:
            after = plan(changed(given, wanted)).of(each.mode)
            assert after.fits, (each.mode, wanted, after.failed)
        assert bool(words.would_fit(given, each)) is (each.fits is False)


@pytest.mark.parametrize("seed", range(300))
def test_whatever_is_typed_there_is_an_answer_and_what_is_advised_holds(seed):
    """Any of the numbers, anywhere in its range, or none."""
    dice = random.Random(seed)  # noqa: S311  # no secret
    typed = {}
    for name, field in FIELDS.items():
        low, high = field.low * field.factor, field.high * field.factor
        if dice.random() < 0.75:
            typed[name] = dice.choice([low, high, *(max(low, high * 10 ** -dice.uniform(0, 9)) for _ in range(8))])
    given = fill(typed, {}).situation
    made = plan(given)
    assert words.headline(made) and words.why(made)
    for each in made.modes:
        wanted = remedies(given, each) if each.fits is False else None
        if wanted:
            assert plan(changed(given, wanted)).of(each.mode).fits is not False
            for remedy in wanted:
                assert remedy.value is None or held(FIELDS[remedy.field], remedy.value) == remedy.value


def test_what_is_not_known_is_named_where_it_stands_in_the_form():
    given = replace(ROOMY, server_ms=None, link=None)
    cloud = plan(given).of(Mode.CLOUD)
    assert words.unknown(cloud) == "Not known: computing a decision (server) and link (network)."


def test_a_tie_says_why_it_went_this_way():
    made = plan(replace(ROOMY, compute_ms=60.0, link=0.0))
    assert words.why(made).endswith(
        "Of the 2 that fit it has the least objective, 0.620 (slim 0.620). "
        "Of equals the one is chosen that keeps more on the device."
    )


def test_nothing_fits_names_the_nearest_and_what_would_help():
    made = plan(replace(ROOMY, memory=0.6 * GIB, link=0.0))
    assert words.headline(made) == "Nothing fits. Slim comes nearest."
    assert plain(words.why(made)) == (
        "It needs 512 MiB of memory; a model may take 461 MiB (75 % of 614 MiB): 51.2 MiB too much. "
        "With 68.6 MiB more memory, slim would fit."
    )


def test_a_month_in_terabytes_megabytes_money_and_kilowatt_hours():
    given = replace(ROOMY, observation=300e3, answer=0.0, observation_s=0.243, telemetry=15.4, price=0.1, energy=2.0)
    assert [plain(each) for each in words.month(plan(replace(given, beta=100.0)))] == [
        "Full would send and get 39.9 MB a month, which costs 0.004.",
        "Cloud would send and get 3.20 TB a month, which costs 320.",
        "Its decisions on the device take 5.93 kWh a month.",
    ]
