"""Two sides of a comparison in figures and words: also when there is too little to tell."""

from collections import Counter

import pytest
from django.utils import translation

from agent.wire.latency import bin_of
from fleet.dashboard.comparing import (
    Side,
    cautions,
    energy_chart,
    latency_chart,
    lines,
    overlap,
    success_chart,
    verdict,
)
from fleet.telemetry.summary import Summary


def side(
    name: str, took: float = 40.0, decisions: int = 2000, *, joules: float = 0.3, episodes=(95, 100), **more
) -> Side:
    successes, ended = episodes
    summary = Summary(bins={bin_of(took): decisions} if decisions else {}, energies=[joules] if decisions else [])
    summary.sums |= {
        "decisions": decisions,
        "successes": successes,
        "episodes": ended,
        "energy_count": decisions,
        "energy_sum": decisions * joules,
        "power_count": decisions,
        "power_measured": more.pop("measured", decisions),
        "errors": more.pop("errors", 0),
    }
    return Side(name, f"/{name}", summary, **more)


def line(name: str, a: Side, b: Side):
    return next(each for each in lines(a, b) if each.name == name)


def test_the_second_is_told_against_the_first():
    a, b = side("old"), side("new", 30.0, joules=0.24, episodes=(999, 1000))
    assert verdict(a, b).replace("\N{NO-BREAK SPACE}", " ") == (
        "new is faster: p95 30.6 ms against 40.5 ms; it needs 20 % less energy; it succeeds more often."
    )
    p95 = line("Latency p95", a, b)
    assert p95.better
    assert str(p95.apart) == "\N{MINUS SIGN}24\N{NO-BREAK SPACE}%"


def test_what_a_sketch_cannot_tell_apart_is_no_difference():
    a, b = side("old", 40.0), side("new", 42.0)
    assert bin_of(40.0) + 1 == bin_of(42.0)
    assert verdict(a, b).startswith("new takes the same time")
    assert verdict(b, a).startswith("old takes the same time"), "whichever is the first"
    assert line("Latency p95", a, b).better is None
    assert line("Latency p95", a, side("newer", 44.0)).better is False


@pytest.mark.parametrize(("decisions", "told"), [(199, False), (200, True)])
def test_too_few_decisions_are_said_and_not_compared(decisions, told):
    a, b = side("old"), side("new", 10.0, decisions)
    assert verdict(a, b).startswith("new is faster") is told
    if not told:
        assert verdict(a, b) == (
            "Too few decisions to tell: new has 199 decisions in this time, and 200 are wanted of each."
        )
        assert line("Latency p95", a, b).values[1] == "too few"
        assert str(line("Latency p95", a, b).apart) == "not reported"


def test_a_side_that_decided_nothing_has_no_figures():
    a, b = side("old"), side("new", decisions=0, episodes=(0, 0))
    assert [each.values[1] for each in lines(a, b)] == [
        "0",
        *["none"] * 3,
        "not reported",
        "no episode",
        "none",
        "none",
    ]
    assert energy_chart(b, b) is None is latency_chart(b, b, 100) is success_chart(b, b)
    assert len(latency_chart(a, b, 100)["data"]) == 1


def test_success_has_its_interval_and_is_better_only_when_intervals_part():
    few = side("a", episodes=(9, 10)), side("b", episodes=(10, 10))
    many = side("a", episodes=(900, 1000)), side("b", episodes=(1000, 1000))
    assert overlap(*few)
    assert not overlap(*many)
    assert line("Task success", *few).better is None
    assert line("Task success", *many).better
    assert line("Task success", *many).notes[0] == "95 % interval 88.0 to 91.7, of 1,000 episodes"
    assert "too few episodes" in verdict(*few)
    assert "intervals overlap" in verdict(side("a"), side("b"))


def test_energy_says_whether_it_was_measured():
    found = line("Energy of an action, mean", side("a"), side("b", measured=0))
    assert found.notes == ("measured", "estimated")
    assert "not of one kind: a measured; b estimated" in " ".join(cautions(side("a"), side("b", measured=0)))


def test_devices_that_differ_are_said():
    a = side("old", classes=Counter(embedded=90, mobile=10))
    b = side("new", classes=Counter(mobile=100))
    assert cautions(a, b) == ["Their devices differ: old embedded 90 %, mobile 10 %; new mobile 100 %."]
    assert cautions(a, side("new", classes=Counter(embedded=85, mobile=15))) == []
    one, other = side("x", facts=("Jetson",)), side("y", facts=("Pi", "simulated"))
    assert cautions(one, other) == ["x: Jetson. y: Pi, simulated."]


def test_another_language_has_its_own_commas_and_full_stops():
    a = side("old", classes=Counter({"x": 80, "y": 10, "z": 6, "w": 4}), facts=("Jetson", "Orin"))
    b = side("new", 30.0, joules=0.24, classes=Counter(y=100), measured=0)
    with translation.override("zh-hans"):
        assert cautions(a, b) == [
            "两者的设备不同：old（x 80 %，y 10 %，z 6 % 及其他 1 项）；new（y 100 %）。",
            "old：Jetson，Orin。new：未知。",
            "两者的能耗来源不同：old（实测）；new（估算）。",
        ]
        told = verdict(a, b)
    assert (told.count("；"), told[-1]) == (2, "。")
    assert not set(told) & set(",;")


def test_errors_are_told_as_a_share_too():
    found = line("Errors", side("a", errors=2), side("b"))
    assert (found.values, found.notes[0], found.better) == (
        ("2", "none"),
        "0.100\N{NO-BREAK SPACE}% of its decisions",
        True,
    )


def test_names_are_no_markup_in_charts():
    hostile = side("<b>&")
    for chart in (latency_chart(hostile, hostile, 100), success_chart(hostile, hostile)):
        assert {trace["name"] for trace in chart["data"]} == {"&lt;b>&amp;"}


def test_a_chart_reaches_as_far_as_the_slowest_decisions():
    chart = latency_chart(side("a", 20.0), side("b", 300.0), 100)
    assert chart["layout"]["xaxis"]["range"][1] > 300
    assert all(sum(trace["y"]) == pytest.approx(100, abs=0.1) for trace in chart["data"])
