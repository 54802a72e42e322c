"""The geometry of charts: rulers, breaks in lines, running rates, frontiers."""

from dataclasses import replace

import pytest

from fleet.dashboard.figures import NBSP
from fleet.dashboard.pareto import Gate, Point, figure, frontier
from fleet.dashboard.placement import Mark, places
from fleet.dashboard.recipes import recipe_words
from fleet.dashboard.scale import ruler
from fleet.dashboard.series import MAX_POINTS, RANGES, rolling, with_breaks
from fleet.dashboard.templatetags.drawing import plan_bars
from fleet.planner.plan import plan
from fleet.planner.situation import Situation
from tests.fleet.planner.situations import ROOMY


def test_the_limit_and_every_value_fit_on_a_ruler():
    assert [tick.text for tick in ruler(100).ticks] == ["0", "20", "40", "60", "80", "100", "120 ms"]
    long = ruler(100, [420])
    assert long.top >= 420 * 1.1
    assert long.percent(1e9) == "100.00"
    assert long.percent(-1) == "0.00"
    assert 0 < float(long.limit_x) < 100


@pytest.mark.parametrize("limit", [0.8, 1, 7, 33, 100, 5000])
def test_rulers_have_round_steps(limit):
    measured = ruler(limit)
    step = measured.top / 6
    assert float(f"{step:.1e}"[0:3]) in (1.0, 2.0, 2.5, 5.0)
    assert limit * 1.2 <= measured.top <= limit * 3.2


def rows(*times: int) -> list[dict]:
    return [{"at": time * 1000, "p50": 1.0} for time in times]


def test_a_line_breaks_where_nothing_was_measured():
    drawn = with_breaks(rows(0, 5, 10, 60, 65), bucket=2)
    assert [(row["at"], row["p50"]) for row in drawn] == [
        (0, 1.0),
        (5000, 1.0),
        (10_000, 1.0),
        (12_000, None),
        (58_000, None),
        (60_000, 1.0),
        (65_000, 1.0),
    ]


def test_a_slow_reporter_has_no_breaks():
    assert len(with_breaks(rows(0, 60, 120, 180), bucket=2)) == 4
    assert with_breaks([], 2) == []
    assert len(with_breaks(rows(1), 2)) == 1


def test_a_rate_is_taken_over_its_window():
    episodes = [{"at": n * 1000, "hit": n % 2, "all": 1} for n in range(10)]
    assert rolling(episodes, "hit", "all", 4)[-1] == 0.5
    assert rolling(episodes, "hit", "all", 1) == [n % 2 for n in range(10)]
    nothing = [{"at": 0, "hit": None, "all": 0}]
    assert rolling(nothing, "hit", "all", 4) == [None]


def test_no_range_has_more_points_than_a_chart_can_show():
    for chosen in RANGES.values():
        assert chosen.span / chosen.bucket <= MAX_POINTS
        assert chosen.span % chosen.bucket == 0


FAST = Point("fast", 1.0, 90.0, size=10, number=1)
GOOD = Point("good", 2.0, 97.0, 96.0, 98.0, size=20, won=True, number=2)
POOR = Point("poor <b>", 2.5, 95.0, size=5, number=3)
BROKEN = Point("broken", 0.5, 99.0, usable=False, number=4)


def test_the_frontier_is_what_nothing_beats():
    assert frontier([POOR, GOOD, FAST]) == [FAST, GOOD]
    assert frontier([]) == []


def test_the_chart_marks_the_winner_the_beaten_and_the_failed():
    drawn = figure([FAST, GOOD, POOR, BROKEN], "Task success (%)", 100)
    names = {trace["name"]: trace for trace in drawn["data"] if "name" in trace}
    assert names["Chosen"]["text"] == ["2"]
    assert names["Chosen"]["error_y"]["arrayminus"] == [1.0]
    assert names["Beaten by another"]["customdata"] == [["poor &lt;b>", f"5{NBSP}B", ""]]
    assert names["Chosen"]["customdata"][0][2] == " (95 % interval 96.0 to 98.0)"
    assert names["Gates not passed"]["x"] == [0.5]
    assert drawn["data"][0]["x"] == [1.0, 2.0], "a trial that failed is no part of the frontier"
    assert drawn["layout"]["shapes"] == [], "the promise is far away and would flatten the chart"
    assert [said["text"] for said in drawn["layout"]["annotations"]] == ["100 ms allowed →"]


def test_every_mark_has_its_number_and_none_lies_on_another_mark():
    crowd = [Point(f"c{number}", 2.0 + number / 4, 96.9, 96.0, 97.9, size=1, number=number + 3) for number in range(4)]
    drawn = figure([GOOD, *crowd, Point("alone", 9.0, 80.0, number=9)], "Task success (%)", 100)
    assert sorted(name for trace in drawn["data"][1:] for name in trace["text"]) == ["2", "3", "4", "5", "6", "9"]
    beside = {place for trace in drawn["data"][1:] for place in trace["textposition"]}
    assert not beside & {"top center", "bottom center"}, "there stands the error bar"


def test_a_label_goes_where_nothing_is():
    alone = Mark(0.5, 0.5, 0.4, 0.6, 10, "1")
    right = Mark(0.56, 0.5, 0.4, 0.6, 10, "2")
    edge = Mark(0.99, 0.5, 0.4, 0.6, 10, "3")
    assert places([alone]) == ["middle right"]
    assert places([alone, right]) == ["middle left", "middle right"]
    assert places([edge]) == ["middle left"], "it stays in the plot"
    assert places([]) == []


def test_the_promise_is_drawn_where_it_is_near():
    drawn = figure([Point("slow", 80.0, 97.0)], "Task success (%)", 100)
    assert drawn["layout"]["shapes"][0]["x0"] == 100
    assert drawn["layout"]["xaxis"]["range"][1] > 100


@pytest.mark.parametrize(
    ("whole", "line", "passes", "words"),
    [
        (False, "success above 95.0 %", "passes both gates", "The mark must stay above the line, 2 points below"),
        (
            True,
            "intervals above 95.0 %",
            "passes with its whole bar here",
            "The whole bar must stay above the line, 2 ",
        ),
    ],
)
def test_the_gate_of_success_is_a_line_that_says_what_has_to_be_above_it(whole, line, passes, words):
    gate = Gate(95.0, 2.0, whole=whole)
    drawn = figure([GOOD, FAST], "Task success (%)", 100, gate)
    lines = [shape for shape in drawn["layout"]["shapes"] if shape["type"] == "line"]
    assert [(line["y0"], line["y1"]) for line in lines] == [(95.0, 95.0)]
    said = {said["text"].strip() for said in drawn["layout"]["annotations"]}
    assert said == {"100 ms allowed →", line, passes}
    assert gate.words.startswith(words)


def test_a_recipe_is_one_line():
    recipe = {
        "name": "50 % cut",
        "program": [{"pass": "prune", "share": 0.5, "samples": 512}, {"pass": "distil", "steps": 300}],
        "file": [{"pass": "quantize", "keep_sensitive": True, "max_kept": None}],
        "layers": ["a", "b"],
        "off": False,
    }
    assert recipe_words(recipe) == (
        "prune (share 0.5, samples 512), distil (steps 300), quantize (keep sensitive), layers a b"
    )
    assert recipe_words({}) == ""
    assert recipe_words({"original": True}) == ""


def test_the_modes_of_a_plan_are_stacked_by_stage_against_the_limit():
    bars = plan_bars(plan(replace(ROOMY, server_ms=250.0)))
    full, _, hybrid, cloud = bars["bars"]
    assert [part["fill"] for part in full["parts"]] == ["c1", "c4", "c2", "c6"]
    # 265.01 ms and a tenth more end below 300.
    assert sum(float(part["width"]) for part in cloud["parts"]) == pytest.approx(265.01 / 300 * 100, abs=0.1)
    assert [full["worst"], cloud["worst"]] == ["", ""]
    assert hybrid["worst"] == f"{265.01 / 300 * 100:.2f}"
    assert str(hybrid["value"]).replace("\N{NO-BREAK SPACE}", " ") == "86.6 ms on average, 265 ms at the longest"
    assert bars["label"].endswith("limit 100 ms")


def test_a_mode_without_a_network_or_without_a_figure_has_no_bar():
    cut, unknown = plan_bars(plan(replace(ROOMY, link=0.0))), plan_bars(plan(Situation()))
    assert (cut["bars"][3]["value"], cut["bars"][3]["parts"]) == ("never: no network", [])
    assert [(bar["value"], bar["parts"]) for bar in unknown["bars"]] == [("not known", [])] * 4
