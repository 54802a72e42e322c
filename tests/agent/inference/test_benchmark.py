"""Measuring installed variants against each other, in real child processes."""

import pytest

from agent.child import ChildStoppedError
from agent.inference import benchmark
from tests.agent.inference.folders import folder_of
from tests.agent.variants import golden, variant

MEMORY = 2**30


def test_the_slower_variant_is_the_slower_one(tmp_path):
    fast = folder_of(variant(2.0), tmp_path / "fast")
    slow = folder_of(variant(2.0, loops=4), tmp_path / "slow")
    shares = []
    first, second = benchmark.compare([fast, slow], runs=20, threads=1, memory=MEMORY, progress=shares.append)

    assert first["ok"] and second["ok"]
    assert first["p50"] < second["p50"] <= second["p95"]
    assert first["error"] == pytest.approx(0, abs=1e-4)
    assert 2**24 < first["memory"] < MEMORY
    assert shares == [0.25, 0.5]


def test_a_variant_that_does_not_run_spoils_no_other(tmp_path):
    good = folder_of(variant(2.0), tmp_path / "good")
    bad = folder_of(variant(model_bytes=b"no model"), tmp_path / "bad")
    rows = benchmark.compare([bad, good], runs=5, threads=1, memory=MEMORY)

    assert [row["ok"] for row in rows] == [False, True]
    assert "does not load" in rows[0]["reason"]
    assert rows[1]["p50"] > 0


def test_answers_that_differ_are_measured_not_judged(tmp_path):
    folder = folder_of(variant(2.0, golden_bytes=golden(2.5)), tmp_path / "off")
    (row,) = benchmark.compare([folder], runs=5, threads=1, memory=MEMORY)

    assert row["ok"]
    assert row["error"] > 0.1


def test_what_takes_more_memory_than_it_may_is_stopped(tmp_path):
    folder = folder_of(variant(2.0), tmp_path / "a")
    (row,) = benchmark.compare([folder], runs=5, threads=1, memory=2**20)

    assert not row["ok"]
    assert "its budget is 1 MiB" in row["reason"]


def test_stops_when_the_agent_stops(tmp_path):
    with pytest.raises(ChildStoppedError):
        benchmark.compare(
            [folder_of(variant(), tmp_path / "a")], runs=2000, threads=1, memory=MEMORY, interrupted=lambda: True
        )
