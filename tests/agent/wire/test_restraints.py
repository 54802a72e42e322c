"""Restraints as a person reads them."""

import pytest

from agent.wire import restraints
from agent.wire.messages import Restraint

MIB = 1024**2


def made(step="fewer_threads", budget="memory", used=121 * MIB, limit=130 * MIB, level=1, source=""):
    return Restraint(step=step, budget=budget, since=1.0, used=used, limit=limit, level=level, source=source)


@pytest.mark.parametrize(
    ("restraint", "words"),
    [
        (made("drop_caches"), "keeps no cache"),
        (made("fewer_threads", level=1), "runs on 1 thread"),
        (made("fewer_threads", level=2), "runs on 2 threads"),
        (made("lower_rate", level=0.45), "acts at 45 % of its rate"),
        (made("smaller_variant"), "asks for a smaller variant"),
        (made("refuse", level=0), "refuses the requests of other programs"),
        (made("refuse", level=0.2), "refuses the requests of other programs, but for 20 % of the time"),
    ],
)
def test_what_is_done(restraint, words):
    assert restraints.doing(restraint) == words


@pytest.mark.parametrize(
    ("restraint", "words"),
    [
        (made(), "its memory was at 93 % of its budget (121 of 130 MiB)"),
        (
            made(budget="cpu", used=26, limit=25),
            "its processor time was at 104 % of its budget (26 of 25 % of all cores)",
        ),
        (
            made(budget="power", used=5.6, limit=5, source="estimated"),
            "the estimated power was at 112 % of its budget (5.6 of 5 W)",
        ),
        (made(budget="temperature", used=71.2, limit=70), "the temperature was 71 °C, and its budget is 70 °C"),
    ],
)
def test_why(restraint, words):
    assert restraints.why(restraint) == words


def test_as_one_sentence():
    assert restraints.sentence(made()) == (
        "It runs on 1 thread, because its memory was at 93 % of its budget (121 of 130 MiB)."
    )
