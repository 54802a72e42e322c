"""Models that do not do their job, on a device that acts."""

import itertools
import platform
import subprocess
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent import child
from agent.deployment import self_test
from agent.deployment.proving import Proving
from agent.inference.policy_card import Observation
from agent.wire.messages import Config
from tests.agent.inference.folders import folder_of
from tests.agent.variants import golden, variant
from tests.agent.waiting import wait_for

WATCHED = Config(telemetry_interval=1, watch_seconds=60)
#: -2^63 / -1 raises SIGFPE there; ARM gives a number.
ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="this division ends a process on x86 only")
MIB = 1024**2


# --- Before it may act: the self-test ---


def try_out(tmp_path, made, memory=1024 * MIB):
    return self_test.run(folder_of(made, tmp_path / "artifact"), threads=1, memory=memory)


@pytest.mark.parametrize("with_card", [True, False])
def test_a_good_model_passes_with_its_figures(tmp_path, with_card):
    result = try_out(tmp_path, variant(2.0, with_card=with_card))

    assert result["ok"] and result["reason"] == ""
    assert result["error"] < 1e-4
    assert 0 < result["p50"] <= result["p95"] < 100
    assert result["runs"] == self_test.RUNS
    assert 20 * MIB < result["memory"] < 400 * MIB


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (variant(2.0, golden_bytes=golden(2.1)), "outputs differ from the golden ones by"),
        (variant(poison=True, golden_bytes=golden(lead=0.0)), "NaN or infinity"),
        (variant(loops=3, deadline_ms=0.5), "the deadline is 0.5 ms"),
        (variant(model_bytes=b"\x08\x08 no model"), "does not load"),
        (variant(golden_bytes=b"no golden observations"), "cannot be read"),
        (variant(with_card=False, golden_bytes=golden(2.1)), "outputs differ from the golden ones by"),
        (variant(with_card=False, poison=True, golden_bytes=golden(lead=0.0)), "NaN or infinity"),
        (variant(with_card=False, golden_bytes=golden(name="eyes")), "has no input 'eyes'"),
        (variant(card_changes={"inputs": {"eyes": {"kind": "state", "size": 4}}}), "names the inputs ['eyes']"),
        (variant(card_changes={"inputs": {"state": {"kind": "state", "size": 5}}}), "[1, 5] of the input state"),
    ],
    ids=[
        *("other answers", "NaN", "too slow", "no model", "no golden observations"),
        *("other answers, no card", "NaN, no card", "other inputs, no card", "other inputs", "another size"),
    ],
)
def test_a_bad_model_fails_with_the_reason(tmp_path, made, words):
    result = try_out(tmp_path, made)

    assert not result["ok"]
    assert words in result["reason"]


def test_a_model_that_takes_too_much_memory_is_stopped(tmp_path):
    result = try_out(tmp_path, variant(ballast=40 * MIB), memory=60 * MIB)

    assert not result["ok"]
    assert "memory, its budget is 60 MiB" in result["reason"]


@pytest.mark.parametrize("elements", [2**40, 2**60])
def test_a_model_that_asks_for_more_memory_than_there_is_fails_and_the_old_one_goes_on(server, device, elements):
    good, bad = variant(1.0), variant(2.0, model_bytes=greedy_model(elements))
    there = device(source="tests.agent.worlds:steady")
    server.offer(good)
    server.offer(bad)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(bad.digest, "p-2")

    assert server.ended("p-2", "failed").reason.startswith("Self-test: The model does not")
    assert there.saved.active.manifest == good.digest
    decided = len(server.telemetry)
    wait_for("more decisions", lambda: any(s.decisions for m in server.telemetry[decided:] for s in m.samples))


def greedy_model(elements: int) -> bytes:
    """The plain model, beside a tensor of so many numbers that it makes for nothing."""
    made = onnx.load_from_string(variant().parts[variant().manifest.parts[0].digest])
    graph = made.graph
    # The size comes out of the input, or the runtime would make the tensor while it loads.
    graph.initializer.append(numpy_helper.from_array(np.array([elements], np.int64), "many"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    last = graph.node[-1].output[0]
    inner = "without"
    graph.node[-1].output[0] = inner
    graph.node.extend(
        [
            helper.make_node("Shape", ["state"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "first"], ["batch"]),
            helper.make_node("Mul", ["batch", "many"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["greed"]),
            helper.make_node("Gather", ["greed", "first"], ["nothing"]),
            helper.make_node("Add", [inner, "nothing"], [last]),
        ]
    )
    return bytes(made.SerializeToString())


def test_a_model_that_the_kernel_ends_for_its_memory_is_named_so(tmp_path, monkeypatch):
    """As the kernel does it when memory runs out: SIGKILL, to the process that it should end first."""
    started = subprocess.Popen

    class Watched(started):
        def wait(self, timeout=None):
            score = Path(f"/proc/{self.pid}/oom_score_adj")
            if score.exists() and score.read_text() == "1000\n":
                self.kill()
            return super().wait(timeout)

    monkeypatch.setattr(child.subprocess, "Popen", Watched)
    result = try_out(tmp_path, variant(loops=8, deadline_ms=10_000))

    assert result == {"ok": False, "reason": "The model crashed the process (SIGKILL)."}


@ON_X86
def test_a_model_that_ends_the_process_is_named_so(tmp_path):
    result = try_out(tmp_path, variant(fatal=True, golden_bytes=golden(lead=-1.0)))

    assert result == {"ok": False, "reason": "The model crashed the process (SIGFPE)."}


def test_a_failed_self_test_leaves_the_old_model_running(server, device):
    good, bad = variant(1.0), variant(2.0, golden_bytes=golden(3.0))
    there = device(source="tests.agent.worlds:steady")
    server.offer(good)
    server.offer(bad)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(bad.digest, "p-2")

    report = server.ended("p-2", "failed")
    assert report.reason.startswith("Self-test: The outputs differ")
    assert report.evidence["error"] > 1
    assert there.saved.active.manifest == good.digest
    assert server.states[-1].active.manifest == good.digest
    wait_for("the bad one to be removed", lambda: not there.data.joinpath("artifacts", bad.digest).exists())


# --- In its first minutes: the watch ---


def test_a_model_that_is_too_slow_for_what_the_device_really_sees_is_rolled_back(server, device):
    """On the golden observations it is quick."""
    good, slow = variant(1.0), variant(1.0, model_bytes=moody_model())
    there = device(source="tests.agent.worlds:zero")
    server.offer(good)
    server.offer(slow)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(slow.digest, "p-2", WATCHED)

    report = server.ended("p-2", "rolled_back", 60)
    assert "the deadline is 100.0 ms" in report.reason
    assert report.evidence["late"] >= 2, "the others came out of the cache"
    assert there.saved.active.manifest == good.digest


def moody_model() -> bytes:
    """The plain model, which multiplies large matrices first when the state's first number is not positive."""
    large = numpy_helper.from_array(np.full((1024, 1024), 1 / 1024, np.float32), "large")
    zero = numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero")

    def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    rounds = [helper.make_node("MatMul", [f"l{number}", "large"], [f"l{number + 1}"]) for number in range(12)]
    slow = branch(
        "worked",
        helper.make_node("Mul", ["large", "lead"], ["l0"]),  # what the input decides cannot be done when it is loaded
        *rounds,
        helper.make_node("ReduceSum", ["l12"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["worked"]),
    )
    made = onnx.load_from_string(variant().parts[variant().manifest.parts[0].digest])
    made.graph.initializer.extend([large, zero, numpy_helper.from_array(np.array([0], np.int64), "front")])
    last, inner = made.graph.node[-1].output[0], "without"
    made.graph.node[-1].output[0] = inner
    made.graph.node.extend(
        [
            helper.make_node("Gather", ["state", "front"], ["lead"], axis=1),
            helper.make_node("ReduceSum", ["lead"], ["alone"], keepdims=0),
            helper.make_node("Cast", ["zero"], ["nil"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["nil"], ["naught"], keepdims=0),
            helper.make_node("LessOrEqual", ["alone", "naught"], ["heavy"]),
            helper.make_node(
                "If",
                ["heavy"],
                ["extra"],
                then_branch=slow,
                else_branch=branch("idle", helper.make_node("Identity", ["zero"], ["idle"])),
            ),
            helper.make_node("ReduceSum", ["extra"], ["added"], keepdims=0),
            helper.make_node("Add", [inner, "added"], [last]),
        ]
    )
    return bytes(made.SerializeToString())


def test_a_model_that_answers_nan_is_rolled_back(server, device):
    good, bad = variant(1.0), variant(1.0, poison=True)
    there = device(source="tests.agent.worlds:zero")
    server.offer(good)
    server.offer(bad)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(bad.digest, "p-2", WATCHED)

    report = server.ended("p-2", "rolled_back")
    assert "NaN" in report.reason
    assert report.evidence["not_finite"] >= 1
    assert server.path("p-2")[-2:] == ["watching", "rolled_back"]
    # The truth was told before the report: what runs is the old one again.
    assert server.states[-1].active.manifest == good.digest
    engine = there.agent._machine._running._engine
    assert engine.model.artifact == good.digest


def test_the_first_model_of_all_has_nothing_to_go_back_to(server, device):
    bad = variant(1.0, poison=True)
    there = device(source="tests.agent.worlds:zero")
    server.offer(bad)
    server.wish(bad.digest, "p-1", WATCHED)

    server.ended("p-1", "rolled_back")
    assert there.saved.active is None
    wait_for("the state to say so", lambda: server.states[-1].active is None)
    assert server.states[-1].online


def test_a_healthy_model_keeps_its_place_and_the_one_before(server, device):
    first, second = variant(1.0), variant(2.0)
    there = device(source="tests.agent.worlds:steady")
    for number, each in enumerate((first, second)):
        server.offer(each)
        server.wish(each.digest, f"p-{number}", Config(watch_seconds=0.5))
        server.ended(f"p-{number}", "active")

    report = server.ended("p-1", "active")
    assert report.evidence["decisions"] >= 5
    assert (there.saved.active.manifest, there.saved.previous.manifest) == (second.digest, first.digest)
    assert there.saved.active.proven
    kept = {path.name for path in there.data.joinpath("artifacts").iterdir()}
    assert kept == {first.digest, second.digest}


def test_a_model_without_a_card_becomes_active_and_one_with_a_card_after_it(server, device):
    bare, policy = variant(1.0, with_card=False), variant(2.0)
    there = device(source="tests.agent.worlds:steady")
    for number, each in enumerate((bare, policy, bare)):
        server.offer(each)
        server.wish(each.digest, f"p-{number}", Config(watch_seconds=0.5))
        report = server.ended(f"p-{number}", "active")
        assert (report.evidence["decisions"] > 0) == (each is policy), "without a card it does not act by itself"
        wait_for("its word of that", lambda: server.states[-1].idle is (each is bare))  # noqa: B023 -- called at once

    assert there.saved.active.manifest == bare.digest


def test_new_settings_count_during_the_watch(server, device):
    made = variant()
    there = device()
    server.offer(made)
    server.wish(made.digest, "p-1", WATCHED)
    wait_for("the watch", lambda: server.path("p-1")[-1:] == ["watching"])
    server.wish(made.digest, "p-1", Config(watch_seconds=0.1, telemetry_interval=7, mode="slim"))

    server.ended("p-1", "active")
    assert there.agent._telemetry._interval == 7
    assert server.states[-1].config_version == 2
    wait_for("its word that it is slim", lambda: server.states[-1].mode == "slim")


def test_a_canceled_deployment_is_undone_even_while_it_is_watched(server, device):
    old, new = variant(1.0), variant(2.0)
    there = device()
    server.offer(old)
    server.offer(new)
    server.wish(old.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(new.digest, "p-2", WATCHED)
    wait_for("the watch", lambda: server.path("p-2")[-1:] == ["watching"])
    server.wish(old.digest)

    wait_for("the old one", lambda: server.states[-1].active and server.states[-1].active.manifest == old.digest)
    wait_for("its watch to end", lambda: there.saved.active.proven)
    assert server.path("p-2")[-1] == "watching"  # not a word after it was given up


def test_a_newer_wish_overtakes_a_download(server, device):
    slow, quick = variant(1.0, ballast=500_000), variant(2.0)
    server.spoil = lambda digest, _number, data: data if digest in quick.parts else None
    device()
    server.offer(slow)
    server.offer(quick)
    server.wish(slow.digest, "p-1")
    wait_for("the download", lambda: server.path("p-1") == ["downloading"] and server.wanted)
    server.wish(quick.digest, "p-2")

    server.ended("p-2", "active")
    assert server.path("p-1") == ["downloading"]


def test_an_older_wish_that_comes_late_changes_nothing(server, device):
    made = variant()
    there = device()
    server.offer(made)
    server.wish("ab" * 32, "p-1")
    server.wish(made.digest, "p-2")
    server.ended("p-2", "active")
    server._version = 0
    server.wish("cd" * 32, "p-0")
    server.order(_ping())
    wait_for("a sign of life after it", lambda: server.command_states("c-1"))

    assert there.saved.active.manifest == made.digest
    assert server.path("p-0") == []


def _ping():
    from agent.wire.messages import CommandOrder

    return CommandOrder(id="c-1", kind="ping", deadline=4_000_000_000)


def test_a_file_that_is_changed_after_its_self_test_is_not_loaded(server, device, monkeypatch):
    good, new = variant(1.0), variant(2.0)
    there = device()
    server.offer(good)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    tested = Proving.test

    def then_swap(self, digest, tell, interrupted):
        outcome = tested(self, digest, tell, interrupted)
        model = there.data / "artifacts" / new.digest / "model.onnx"
        model.write_bytes(variant(3.0).parts[variant(3.0).manifest.parts[0].digest])
        return outcome

    monkeypatch.setattr(Proving, "test", then_swap)
    server.offer(new)
    server.wish(new.digest, "p-2")

    assert "damaged on the disk" in server.ended("p-2", "failed").reason
    assert there.saved.active.manifest == good.digest


def test_no_request_is_dropped_by_a_swap(server, device):
    """Requests go on without a pause while three variants follow each other; each is answered by one of them."""
    made = [variant(float(weight)) for weight in (1, 2, 3)]
    there = device()
    server.offer(made[0])
    server.wish(made[0].digest, "p-0")
    server.ended("p-0", "active")
    engine, answers, failures = there.agent._machine._running._engine, [], []
    stop = threading.Event()

    def ask() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            state = np.array([1, 2, 3, number % 10], np.float32)
            try:
                actions = engine.process(Observation(np.zeros((8, 8, 3), np.uint8), "", state))
                answers.append(round(float(actions[0, 0]) / float(state.sum()), 3))
            except Exception as problem:
                failures.append(problem)

    asking = threading.Thread(target=ask)
    asking.start()
    for number, each in enumerate(made[1:], 1):
        server.offer(each)
        server.wish(each.digest, f"p-{number}")
        server.ended(f"p-{number}", "active")
    stop.set()
    asking.join()

    assert failures == []
    assert [weight for weight, _ in itertools.groupby(answers)] == [1, 2, 3]
