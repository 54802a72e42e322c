"""What only shows over time: hundreds of power cuts, a day without a broker, a week.

`make test` runs a few kills and some hours; `make soak` all of them. The agent is a process of its own with its real
queue, journal, store and link, beside a real broker. What runs faster than life is said in `tests.agent.fast`.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec
import psutil
import pytest

from agent import logs
from agent.device import device_adapter
from agent.link import offline_queue
from agent.link.enrollment import FILE, ROOT_FILE, Identity
from agent.wire.hardware import classify
from agent.wire.messages import CommandOrder, Config, Sample
from tests.agent import signing
from tests.agent.support import ROOT, AgentProcess
from tests.agent.variants import Variant, variant
from tests.agent.waiting import wait_for

#: How often the power goes, hours of the long run, and of the outage; an hour has 720 samples.
KILLS = int(os.environ.get("SOAK_KILLS", "6"))
HOURS = float(os.environ.get("SOAK_HOURS", "1.5"))
AWAY_HOURS = float(os.environ.get("SOAK_AWAY_HOURS", "1"))
#: Simulated seconds in one.
SPEED = 600.0
INTERVAL = 5.0


# --- The power goes ---

STATES = ("notified", "downloading", "verified", "installing", "self_testing", "watching")


def test_after_a_power_cut_at_any_moment_a_model_that_works_answers(server, agent, tmp_path):
    """kill -9 at random, from the first instruction of a boot to the watch of an update, one update after the other."""
    rng = random.Random(6)  # noqa: S311 -- moments for a test
    variants = [variant(float(weight), ballast=300_000, part_bytes=100_000) for weight in (1, 2, 3)]
    weights = {10.0 * weight: made for weight, made in enumerate(variants, 1)}
    for each in variants:
        server.offer(each)
    path, deployments = tmp_path / "api.sock", 0

    def roll_out() -> None:
        nonlocal deployments
        deployments += 1
        server.wish(variants[deployments % 3].digest, f"p-{deployments}")

    there = agent(source="tests.agent.worlds:steady", api=f"unix:{path}")
    for _ in range(2):  # from now on there is one to go back to
        roll_out()
        server.ended(f"p-{deployments}", "active")
    roll_out()
    states: Counter[str] = Counter()
    for number in range(KILLS):
        if number % 4 > 1:  # at any time; else in a state that time would rarely hit
            time.sleep(rng.uniform(0, 2))
        else:
            _await(there.data, rng.choice(STATES), 5)
            time.sleep(rng.uniform(0, 0.1))
        there.kill()
        states[_state_of(there.data)] += 1
        there.start()
        if number % 2:
            answer = wait_for(f"a model that answers after kill {number + 1}", lambda: _answer(path), 30)
            assert answer in weights
            if _over(server, f"p-{deployments}"):
                roll_out()
    wait_for("the last update to end", lambda: _over(server, f"p-{deployments}"), 60)
    roll_out()
    server.ended(f"p-{deployments}", "active", 60)
    assert weights[_answer(path)].digest == variants[deployments % 3].digest
    print(f"{KILLS} kills, {deployments} updates; states at the kill: {dict(states)}")

    _nothing_left_behind(there.data)
    assert json.loads((there.data / "identity.json").read_text())["device_id"] == "d-1"
    for boot, numbers in _samples_by_boot(server).items():
        assert numbers == set(range(1, max(numbers) + 1)), f"boot {boot} lost a sample that it had taken"


def _answer(path: Path) -> float | None:
    """The first number of the model's answer to 1, 2, 3, 4: ten times its weight. None while nothing answers."""
    tensor = {"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(head.encode() + body)
            heard = b""
            while data := client.recv(65536):
                heard += data
    except OSError:
        return None
    if not heard.startswith(b"HTTP/1.1 200"):
        return None
    return float(json.loads(heard.partition(b"\r\n\r\n")[2])["outputs"][0]["data"][0])


def _await(data: Path, state: str, seconds: float) -> None:
    """Until an update is in that state, but no longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        wait_for(state, lambda: _state_of(data) == state, seconds)


def _state_of(data: Path) -> str:
    attempt = json.loads((data / "state.json").read_bytes())["attempt"]
    return str(attempt["state"])


def _over(server, deployment: str) -> bool:
    return server.path(deployment)[-1:] and server.path(deployment)[-1] in {"active", "failed", "rolled_back"}


def _nothing_left_behind(data: Path) -> None:
    wait_for("the folders to be tidy", lambda: list((data / "parts").iterdir()) == [])
    assert len(list((data / "artifacts").iterdir())) <= 2
    assert [path for path in data.rglob("*") if path.suffix in {".tmp", ".damaged", ".new", ".partial"}] == []


def _samples_by_boot(server) -> dict[str, set[int]]:
    boots: dict[str, set[int]] = defaultdict(set)
    for message in list(server.telemetry):
        boots[message.boot_id] |= {sample.seq for sample in message.samples}
    return boots


# --- Time goes by ---


class FastAgent(AgentProcess):
    """The agent with a clock of its own speed, already enrolled, on this very machine: a real board's adapter."""

    def __init__(self, data: Path, port: int, limit: int, **settings: str) -> None:
        super().__init__(data, port, **settings)
        for name in [name for name in self._environment if "DECLARED" in name]:
            del self._environment[name]
        data.mkdir(mode=0o700)
        (data / FILE).write_bytes(msgspec.json.encode(Identity(nonce="n-1", secret="s" * 43, device_id="d-1")))
        (data / ROOT_FILE).write_bytes(signing.ROOT)
        self._command = [sys.executable, "-m", "tests.agent.fast", str(SPEED), str(limit)]

    def start(self) -> "FastAgent":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stderr=log)
        return self


@pytest.fixture
def fast(broker):
    """`fast(limit)` starts one. Its disk is memory: a week's synced writes would take hours, and wear this one out."""
    memory = Path("/dev/shm")  # noqa: S108 -- a folder of its own in it
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-soak-", dir=memory if memory.is_dir() else None))
    started = []

    def start(limit=offline_queue.LIMIT):
        made = FastAgent(folder / "data", broker.port, limit, source="tests.agent.worlds:steady").start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.kill()
    shutil.rmtree(folder)


def policy(weight: float) -> Variant:
    """It decides once in five seconds of its clock, and is for devices like this machine."""
    here = classify(device_adapter.adapter(None, Path("/")).hardware()).value
    return variant(weight, card_changes={"rate_hz": 1 / INTERVAL}, device_class=here)


def samples(server) -> list[Sample]:
    """In the order of their coming."""
    return [sample for message in list(server.telemetry) for sample in message.samples]


def caught_up(server, number: int) -> bool:
    """Whether a sample beyond that number came, and those before it: they come in order, the newest the last."""
    last = server.telemetry[-1].samples[-1] if server.telemetry else None
    return last is not None and last.seq > number and last.queued < SPEED / INTERVAL  # what a second brings


#: Samples that may have left when the broker goes, and come with the next connection.
ON_THEIR_WAY = 10
CONFIG = Config(telemetry_interval=INTERVAL, watch_seconds=0.2)


def test_with_the_broker_away_it_goes_on_and_tells_it_all_later(server, fast, broker):
    """It decides, keeps what its queue can hold, says how many samples that was not, and sends the others in order."""
    limit = min(offline_queue.LIMIT, int(AWAY_HOURS * 3600 / INTERVAL * 0.8))
    made = policy(2.0)
    there = fast(limit)
    server.offer(made)
    server.wish(made.digest, "p-1", CONFIG)
    server.ended("p-1", "active")
    wait_for("a decision", lambda: any(sample.decisions for sample in samples(server)))
    broker.stop()
    before = samples(server)[-1].seq
    away = int(AWAY_HOURS * 3600 / INTERVAL)
    _pass(there.data, before + away)
    server.telemetry.clear()
    broker.start()
    wait_for("all of it", lambda: caught_up(server, before + away), 180)
    came = samples(server)
    while came[0].seq <= before + ON_THEIR_WAY:
        came = came[1:]
    dropped = max(message.dropped for message in server.telemetry)
    print(f"{AWAY_HOURS:g} h away: {len(came)} samples kept, {dropped} dropped, in {len(server.telemetry)} messages")

    numbers, times = [sample.seq for sample in came], [sample.at for sample in came]
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "in order, none twice, none missing"
    assert len(numbers) >= limit
    assert abs(numbers[0] - before - 1 - dropped) <= ON_THEIR_WAY, "what is not there was dropped, and that was said"
    assert dropped > 0.1 * away
    steps = sorted(later - earlier for earlier, later in pairwise(times))
    assert times == sorted(times)
    assert 0.8 * INTERVAL < steps[len(steps) // 2] < 1.2 * INTERVAL, "with the times at which they were taken"
    assert times[-1] - times[0] > 0.75 * AWAY_HOURS * 3600
    assert sum(sample.decisions for sample in came) > 0.8 * len(came), "it went on deciding"


def test_time_leaves_nothing_behind(server, fast, broker):
    """A rollout, four orders and an outage a day (or a quarter of the time): no growth of memory, handles or files.

    Time is counted in samples, one for each five seconds: a machine that is busy takes longer for them.
    """
    variants = [policy(1.0), policy(2.0)]
    there = fast()
    process = psutil.Process(there.pid)
    stages = max(4, round(HOURS / 24))
    looks, per_stage = [], HOURS * 3600 / INTERVAL / stages
    for stage in range(stages):
        for each in variants:
            server.offer(each)  # the broker that was away has forgotten them
        server.wish(variants[stage % 2].digest, f"p-{stage}", CONFIG)
        server.ended(f"p-{stage}", "active", 60)
        for number in range(4):
            name = f"c-{stage}-{number}"
            server.order(CommandOrder(id=name, kind="ping", deadline=4_000_000_000))
            wait_for("its answer", lambda: "succeeded" in server.command_states(name))  # noqa: B023 -- called at once
            _pass(there.data, int(per_stage * (stage + (number + 1) / 4)))
        broker.stop()
        taken = _taken(there.data)
        _pass(there.data, taken + 120)  # ten minutes
        server.telemetry.clear()
        server.commands.clear()
        broker.start()
        wait_for("what was missed", lambda: caught_up(server, taken + 120), 120)  # noqa: B023 -- called at once
        looks.append(_look(process, there.data))
        print(f"{samples(server)[-1].seq} samples", looks[-1], flush=True)

    assert max(message.dropped for message in server.telemetry) == 0
    assert samples(server)[-1].seq >= HOURS * 3600 / INTERVAL
    first, last = looks[1], looks[-1]  # only with the second variant there is one before the active
    assert last["memory"] - first["memory"] < 3e6
    for what in ("handles", "threads", "files"):
        assert last[what] <= first[what], what
    assert last["bytes"] - first["bytes"] < 256 * 1024, "the journal remembers its last 256 orders, and no more"


def _pass(data: Path, number: int) -> None:
    """Until so many samples were taken."""
    seconds = max(0, number - _taken(data)) * INTERVAL / SPEED
    wait_for(f"sample {number}", lambda: _taken(data) >= number or time.sleep(0.1), 60 + 10 * seconds)


def _taken(data: Path) -> int:
    """How many samples were ever put into the queue."""
    with contextlib.closing(sqlite3.connect(f"file:{data}/telemetry.db?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT seq FROM sqlite_sequence").fetchone()[0])


def _look(process: psutil.Process, data: Path) -> dict[str, int]:
    """The queue's file is left out: it stays as large as the longest outage made it."""
    files = [path for path in data.rglob("*") if path.is_file() and path.parent.name != "log"]
    kept = [path for path in files if not path.name.startswith("telemetry.db")]
    logged = sum(path.stat().st_size for path in (data / "log").iterdir())
    assert logged <= logs.FILES * logs.FILE_BYTES
    return {
        "memory": process.memory_info().rss,
        "handles": process.num_fds(),
        "threads": process.num_threads(),
        "files": len(files),
        "bytes": sum(path.stat().st_blocks * 512 for path in kept),
    }
