"""Budgets and modes, set from afar on a device that acts: what it then really does, and what it says of it."""

import functools
import http.client
import json
import resource
import threading
import time
from pathlib import Path

import pytest

from agent import main
from agent.addresses import Listen
from agent.config import Declared
from agent.device.device_adapter import DeclaredDevice, DetectedDevice
from agent.device.governor import Governor, Pace
from agent.inference import selection
from agent.inference.data_cache import DataCache
from agent.inference.selection import Choice
from agent.wire.messages import Config
from tests.agent.device import trees
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

MIB = 1024**2
#: Two thousand seconds of the rules take one of a test's hundred.
QUICK = Pace(look=0.1, hardware=0.2, haste=20.0)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(main, "Governor", functools.partial(Governor, pace=QUICK))


@pytest.fixture(autouse=True)
def all_threads(monkeypatch):
    """As for a larger model: with all threads it is the fastest, so that there is something to do without."""
    monkeypatch.setattr(selection, "choose", lambda folder, *, threads, **_: Choice(threads=threads))


def said(server) -> dict[str, float]:
    """The restraints that the device reported last, with their levels."""
    return {each.step: each.level for each in server.states[-1].restraints}


def running(server, device, made, **settings):
    there = device(**{"source": "tests.agent.worlds:steady", **settings})
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    return there


def settings(made, server, **config) -> None:
    server.wish(made.digest, "p-1", Config(telemetry_interval=1, watch_seconds=0.2, **config))


# --- Power ---


class Board(threading.Thread):
    """A board's file tree, whose counters follow what the agent decides: `idle` watts, and joules for each decision."""

    def __init__(self, root, meter, idle: float, joules: float) -> None:
        super().__init__(daemon=True)
        self._root, self._meter, self._idle, self._joules = root, meter, idle, joules
        self._ended = threading.Event()
        self.used = 0.0

    def run(self) -> None:
        last, decided = time.monotonic(), self._meter.look().decisions
        while not self._ended.wait(0.02):
            now, count = time.monotonic(), self._meter.look().decisions
            joules = self._idle * (now - last) + self._joules * (count - decided)
            watts, self.used = joules / (now - last), self.used + joules
            last, decided = now, count
            self.show(watts)

    def show(self, watts: float) -> None:
        path = self._root / "sys/class/powercap/intel-rapl:0/energy_uj"
        path.with_suffix(".new").write_text(f"{self.used * 1e6:.0f}\n")
        path.with_suffix(".new").replace(path)

    def stop(self) -> None:
        self._ended.set()
        self.join(5)


def test_five_watts_of_a_mobile_device_are_held_where_power_is_measured(server, device, tmp_path, quick):
    """It would take 2 W and 0.12 J for each of 50 decisions a second: 8 W."""
    from agent.inference.meter import Meter

    root = trees.write(tmp_path / "root", trees.INDUSTRIAL_PC, {"proc/meminfo": "MemTotal: 16000000 kB\n"})
    made = variant(2.0, device_class="mobile")
    there = running(server, device, made, board=lambda data: DetectedDevice(data, root), declared=None)
    assert server.states[-1].device_class == "mobile"
    meter = Meter()
    there.agent._engine.attach(meter)
    board = Board(root, meter, idle=2.0, joules=0.12)
    board.start()
    try:
        settings(made, server, power_budget=5.0)
        wait_for("a lower rate", lambda: 0 < said(server).get("lower_rate", 0) < 0.6, 30)
        before = len(server.telemetry)
        wait_for("six seconds of samples", lambda: len(server.telemetry) >= before + 7, 30)
        samples = [sample for message in server.telemetry[before + 1 :] for sample in message.samples]
        assert {sample.power_source for sample in samples} == {"measured"}
        held = sum(sample.power for sample in samples) / len(samples)
        assert 4.5 <= held <= 5.5
        assert 20 <= sum(sample.decisions for sample in samples) / len(samples) <= 30, "the rate really is lower"
        restraint = server.states[-1].restraints[-1]
        assert (restraint.budget, restraint.limit, restraint.source) == ("power", 5.0, "measured")
        assert all(sample.energy_per_action > 0 for sample in samples)

        settings(made, server)
        wait_for("the whole rate", lambda: not server.states[-1].restraints)
        decided = meter.take()
        time.sleep(1.0)  # what it counts is a rate
        assert decided and meter.look().decisions >= 40
    finally:
        board.stop()


def test_a_budget_is_held_by_the_estimate_where_nothing_measures(server, device, quick):
    """A slice of a core of an embedded board, as busy as it can be: 6.4 W by the estimate."""
    one = Declared(cores=0.25, memory_gib=4, storage_gib=1)
    made = variant(2.0, loops=4, deadline_ms=1000.0, card_changes={"rate_hz": 25, "deadline_ms": 1000})
    running(server, device, made, board=lambda data: DeclaredDevice(one, data), source="tests.agent.worlds:restless")
    settings(made, server, power_budget=5.0)
    wait_for("a lower rate", lambda: said(server).get("lower_rate"), 30)
    wait_for("it to come to rest", lambda: server.telemetry[-1].samples[-1].power <= 5.4, 30)
    before = len(server.telemetry)
    wait_for("six seconds of samples", lambda: len(server.telemetry) >= before + 7, 30)

    samples = [sample for message in server.telemetry[before + 1 :] for sample in message.samples]
    assert {sample.power_source for sample in samples} == {"estimated"}
    assert 4.5 <= sum(sample.power for sample in samples) / len(samples) <= 5.5
    assert server.states[-1].restraints[-1].source == "estimated"


# --- Memory ---


def test_memory_that_is_scarce_costs_the_cache_then_threads_and_comes_back(server, device, quick):
    made = variant(2.0)
    there = running(server, device, made, threads=4, api=Listen("127.0.0.1", 0))
    wait_for("a sample", lambda: server.telemetry)
    engine, used = there.agent._engine, server.telemetry[-1].samples[-1].agent_memory
    loaded = engine.model
    assert isinstance(engine._cache, DataCache)
    settings(made, server, memory_budget=used // 4)
    wait_for("every step", lambda: list(said(server)) == ["drop_caches", "fewer_threads", "smaller_variant", "refuse"])

    assert said(server)["fewer_threads"] == 1
    assert engine._cache is None
    assert there.agent._machine.threads == 1
    assert engine.model is not loaded and engine.model.artifact == made.digest, "loaded again, with one thread"
    wait_for("the port", lambda: there.agent._api.port)
    caller = http.client.HTTPConnection("127.0.0.1", there.agent._api.port, timeout=10)
    inputs = [{"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]
    caller.request("POST", "/v2/models/tiny/infer", json.dumps({"inputs": inputs}))
    answer = caller.getresponse()
    assert answer.status == 503
    assert "does not answer now: its memory was at" in json.loads(answer.read())["error"]
    caller.request("GET", "/healthz")
    told = json.loads(caller.getresponse().read())["restraints"]
    assert len(told) == 4 and told[1].startswith("It runs on 1 thread, because its memory was at")
    caller.close()
    episodes = len(server.telemetry)
    wait_for("more samples", lambda: len(server.telemetry) > episodes + 1)
    assert server.telemetry[-1].samples[-1].decisions > 0, "the device itself goes on acting"

    settings(made, server, memory_budget=4 * used)
    wait_for("calm", lambda: not server.states[-1].restraints, 40)
    assert isinstance(engine._cache, DataCache)
    assert there.agent._machine.threads == 4


def test_no_request_is_dropped_while_threads_change(server, device):
    made = variant(2.0)
    there = running(server, device, made, threads=4)
    engine, machine = there.agent._engine, there.agent._machine
    answers, failures, stop = [], [], threading.Event()

    def ask() -> None:
        import numpy as np

        while not stop.is_set():
            try:
                answers.append(engine.infer({"state": np.ones((1, 4), np.float32)})["actions"][0, 0, 0])
            except Exception as problem:
                failures.append(problem)

    asking = threading.Thread(target=ask)
    asking.start()
    models = [engine.model]
    for threads in (1, 3, 2):
        before = len(answers)
        assert machine.use_threads(threads)
        models.append(engine.model)
        wait_for("answers of that one", lambda: len(answers) > before + 10)  # noqa: B023 -- called at once
    stop.set()
    asking.join(5)
    assert failures == []
    assert len({id(model) for model in models}) == 4
    assert set(answers) == {8.0}


def test_a_variant_beyond_the_memory_budget_is_refused_with_the_figures(server, device):
    small, large = variant(1.0, memory_bytes=100 * MIB), variant(2.0, memory_bytes=600 * MIB)
    there = running(server, device, small)
    server.offer(large)
    server.wish(large.digest, "p-2", Config(memory_budget=500 * MIB))

    report = server.ended("p-2", "rejected")
    assert report.reason == "The model needs 600.0 MiB of memory; a model may take 500.0 MiB on this device."
    assert there.saved.active.manifest == small.digest


def test_a_model_that_finds_no_memory_when_it_is_loaded_leaves_the_old_one_running(server, agent):
    """It passes its self-test in a child of its own; beside the one that runs there is no room for it."""
    old, new = (variant(float(number), ballast=48 * MIB, memory_bytes=200 * MIB) for number in (1, 2))
    process = agent(source="tests.agent.worlds:steady")
    server.offer(old)
    server.offer(new)
    server.wish(old.digest, "p-1")
    server.ended("p-1", "active", 60)
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    ceiling = pages * resource.getpagesize() + 24 * MIB
    resource.prlimit(process.pid, resource.RLIMIT_AS, (ceiling, ceiling))
    server.wish(new.digest, "p-2")

    report = server.ended("p-2", "failed", 60)
    assert "does not load" in report.reason or "MemoryError" in report.reason
    assert server.states[-1].active.manifest == old.digest
    before = len(server.telemetry)
    wait_for("samples after it", lambda: len(server.telemetry) > before + 1)
    assert server.telemetry[-1].samples[-1].decisions > 0, "it never stopped"


# --- Slim ---


def test_slim_and_full_follow_each_other_without_a_restart(server, device, quick):
    made = variant(2.0)
    there = running(server, device, made, threads=4)
    boot, queue = server.states[-1].boot_id, there.agent._history._disk
    settings(made, server, mode="slim")
    wait_for("its word", lambda: server.states[-1].mode == "slim")
    assert there.agent._engine._cache is None
    assert there.agent._machine.threads == 1
    before = len(server.telemetry)
    wait_for("samples without a history", lambda: len(server.telemetry) > before + 1)
    assert len(queue) == 0
    assert server.telemetry[-1].samples[-1].cache_lookups == 0

    settings(made, server, mode="full")
    wait_for("its word", lambda: server.states[-1].mode == "full")
    assert isinstance(there.agent._engine._cache, DataCache)
    assert there.agent._machine.threads == 4
    assert {state.boot_id for state in server.states} == {boot}


def test_a_device_that_was_slim_boots_slim(server, agent):
    made = variant(2.0)
    first = agent(source="tests.agent.worlds:steady", threads="4")
    server.offer(made)
    server.wish(made.digest, "p-1", Config(telemetry_interval=1, watch_seconds=0.2, mode="slim"))
    server.ended("p-1", "active")
    wait_for("its word", lambda: server.states[-1].mode == "slim")
    assert first.terminate()[0] == 0
    boot = server.states[-1].boot_id

    agent(source="tests.agent.worlds:steady", threads="4")
    again = wait_for("it to be back", lambda: [s for s in server.states if s.boot_id != boot and s.active])
    assert again[0].mode == "slim"
