"""Models that do not do their job, on a device that acts."""

import itertools
import platform
import threading

import numpy as np
import pytest

from agent.deployment import self_test
from agent.deployment.steps import Steps
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
    assert (server.states[-1].mode, server.states[-1].config_version) == ("slim", 2)


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
    tested = Steps.self_test

    def then_swap(self, attempt):
        outcome = tested(self, attempt)
        model = there.data / "artifacts" / new.digest / "model.onnx"
        model.write_bytes(variant(3.0).parts[variant(3.0).manifest.parts[0].digest])
        return outcome

    monkeypatch.setattr(Steps, "self_test", then_swap)
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
