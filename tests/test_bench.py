"""A benchmark says what was reached beside what was hoped, and never hides a figure that is missing."""

import subprocess
import sys
from pathlib import Path

from bench.rows import Row, table

ROOT = Path(__file__).resolve().parents[1]


def test_a_figure_is_met_on_its_own_side_of_the_goal():
    assert Row("size", 3.5, "times", 3.4, "higher").met
    assert not Row("size", 3.3, "times", 3.4, "higher").met
    assert Row("loss", -0.2, "points", 1.0, "lower").met
    assert not Row("loss", None, "points", 1.0, "lower").met


def test_the_table_shows_value_goal_and_baseline():
    lines = table([Row("size", 3.5, "times smaller", 3.4, "higher", 5.27, 3.5), Row("time", None, "min", 4, "lower")])
    assert lines.splitlines()[1].split() == ["size", "3.5", "times", "smaller", "≥", "3.4", "met", "5.27", "1"]
    assert "–" in lines.splitlines()[2]
    assert "not met" in lines.splitlines()[2]


def test_a_name_that_is_none_is_answered_with_those_there_are():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Name one of agent, delivery, " in done.stderr
