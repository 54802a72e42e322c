"""The command `benchmark`, from the order to the figures."""

import pytest

from agent.deployment import benchmarks
from agent.wire.messages import CommandOrder
from tests.agent.variants import Variant, variant
from tests.agent.waiting import wait_for


def order(*variants: Variant, runs: int = 10) -> CommandOrder:
    args = {"manifests": [each.digest for each in variants], "runs": runs}
    return CommandOrder(id="c-1", kind="benchmark", deadline=4_000_000_000, args=args)


def result_of(server, state="succeeded"):
    wait_for("the end", lambda: server.command_states("c-1")[-1:] == [state], seconds=40)
    return server.commands[-1]


def test_two_variants_are_fetched_measured_and_removed_again(server, device):
    running, first, second = variant(1.0), variant(2.0, ballast=300_000), variant(3.0, loops=3)
    there = device()
    for each in (running, first, second):
        server.offer(each)
    server.wish(running.digest, "p-1")
    server.ended("p-1", "active")
    server.order(order(first, second, running))

    rows = result_of(server).result["benchmarks"]
    assert [row["manifest"] for row in rows] == [first.digest, second.digest, running.digest]
    assert all(row["ok"] and 0 < row["p50"] <= row["p95"] and row["memory"] > 2**24 for row in rows)
    assert rows[0]["p50"] < rows[1]["p50"]
    assert {path.name for path in there.data.joinpath("artifacts").iterdir()} == {running.digest}
    assert list(there.data.joinpath("parts").iterdir()) == []
    assert there.saved.active.manifest == running.digest


def test_one_that_cannot_be_had_or_run_is_a_row_with_its_reason(server, device, monkeypatch):
    monkeypatch.setattr(benchmarks, "GIVE_UP_SECONDS", 0.5)
    good, broken, absent = variant(2.0), variant(model_bytes=b"no model"), variant(3.0)
    huge = variant(4.0, memory_bytes=8 * 1024**3)
    device()
    for each in (good, broken, huge):
        server.offer(each)
    server.order(order(good, broken, absent, huge))

    rows = result_of(server).result["benchmarks"]
    assert [row["ok"] for row in rows] == [True, False, False, False]
    assert "does not load" in rows[1]["reason"]
    assert "gave no manifest" in rows[2]["reason"]
    assert "8,192.0 MiB of memory" in rows[3]["reason"]


def test_blocks_that_never_come_are_given_up(server, device, monkeypatch):
    monkeypatch.setattr(benchmarks, "GIVE_UP_SECONDS", 0.5)
    made = variant(2.0)
    server.spoil = lambda *_: None
    device()
    server.offer(made)
    server.order(order(made))

    (row,) = result_of(server).result["benchmarks"]
    assert "The server sent nothing for" in row["reason"]


def test_a_deployment_that_comes_during_a_benchmark_is_not_disturbed(server, device):
    measured, wanted = variant(2.0, loops=3, ballast=500_000), variant(3.0)
    there = device()
    server.offer(measured)
    server.offer(wanted)
    server.order(order(measured, runs=200))
    wait_for("it to run", lambda: "running" in server.command_states("c-1"))
    server.wish(wanted.digest, "p-1")

    server.ended("p-1", "active")
    assert result_of(server).result["benchmarks"][0]["ok"]
    assert {path.name for path in there.data.joinpath("artifacts").iterdir()} == {wanted.digest}


@pytest.mark.parametrize("args", [{}, {"manifests": []}, {"manifests": ["x"]}, {"manifests": ["ab" * 32], "runs": 1}])
def test_an_order_that_makes_no_sense_is_rejected(server, device, args):
    device()
    wait_for("the device", lambda: server.states)
    server.order(CommandOrder(id="c-1", kind="benchmark", deadline=4_000_000_000, args=args))

    assert "arguments of benchmark are not valid" in result_of(server, "rejected").reason
