"""The power goes: kill -9 of the real agent, in each state, and a boot after it."""

import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from agent.deployment import window
from agent.deployment.parts import PartFile
from agent.deployment.records import Attempt, Installed, Saved
from agent.deployment.store import Store
from agent.inference import inference_engine
from agent.wire import manifest as wire
from agent.wire.messages import Config
from agent.wire.states import Deployment as State
from tests.agent.deployment.test_model_faults import ON_X86
from tests.agent.support import AgentProcess
from tests.agent.variants import Variant, variant
from tests.agent.waiting import wait_for

WATCHED = Config(telemetry_interval=1, watch_seconds=60)


#: How often the counted test kills; `make soak` has it do so a hundred times.
KILLS = int(os.environ.get("SOAK_KILLS", "4"))


def test_a_killed_agent_fetches_nothing_again_but_what_was_in_flight(server, agent):
    """kill -9 at a random moment of the download; what is asked for after it was not on the disk."""
    rng = random.Random(1)  # noqa: S311 -- moments for a test
    made = variant(2.0, ballast=200 * wire.BLOCK, part_bytes=70 * wire.BLOCK)
    sent: set[tuple[str, int]] = set()

    def slowly(digest: str, number: int, data: bytes) -> bytes:
        time.sleep(0.01)
        sent.add((digest, number))
        return data

    server.spoil = slowly
    server.offer(made)
    kills = rounds = 0
    there = agent()
    while kills < KILLS:
        rounds += 1
        server.wish(made.digest, f"p-{rounds}")
        sent.clear()
        here: set[tuple[str, int]] = set()
        while "verified" not in server.path(f"p-{rounds}"):
            begun = len(sent)
            wait_for("blocks", lambda: len(sent) > begun or "verified" in server.path(f"p-{rounds}"))  # noqa: B023
            time.sleep(rng.random() / 2)  # the moment is what is tried
            there.kill()
            kills += 1
            # The last will comes behind everything that the agent had asked for.
            wait_for("the last will", lambda: not server.states[-1].online)
            before, here = here, _on_disk(there.data, made)
            assert before <= here
            assert len(sent - here) <= window.SIZE, "what was sent is on the disk, but for what was in flight"
            server.wanted.clear()
            boots = {report.boot_id for report in server.reports(f"p-{rounds}")}
            there.start()
            wait_for("the boot", lambda: {r.boot_id for r in server.reports(f"p-{rounds}")} - boots)  # noqa: B023
            assert not here & set(server.wanted)
        server.ended(f"p-{rounds}", "active")
        assert not here & set(server.wanted)
        there.kill()
        shutil.rmtree(there.data / "artifacts")
        (there.data / "state.json").unlink()
        there.start()


def _on_disk(data: Path, made: Variant) -> set[tuple[str, int]]:
    found = set()
    for part in made.manifest.parts:
        missing = set()
        if not (data / "parts" / part.digest).exists() and not (data / "artifacts" / made.digest).exists():
            missing = set(PartFile(data / "parts", part).missing())
        found |= {(part.digest, number) for number in range(wire.block_count(part.size)) if number not in missing}
    return found


def test_a_download_goes_on_from_what_is_there(server, agent):
    made = variant(2.0, ballast=20 * wire.BLOCK, part_bytes=80 * wire.BLOCK)
    part = made.manifest.of("model")[0]
    server.spoil = lambda digest, number, data: data if digest != part.digest or number < 15 else None
    there = agent()
    partial = there.data / "parts" / f"{part.digest}.partial"
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for("15 blocks on the disk", lambda: _written(partial) >= 15 * wire.BLOCK)
    there.kill()
    there.start()
    wait_for("the second boot", lambda: len({report.boot_id for report in server.reports("p-1")}) == 2)
    there.kill()
    server.wanted.clear()
    server.spoil = lambda _digest, _number, data: data
    there.start()

    server.ended("p-1", "active")
    asked = {number for digest, number in server.wanted if digest == part.digest}
    assert asked == set(range(15, wire.block_count(part.size)))


def _written(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.exists() else 0


@pytest.mark.parametrize("state", ["downloading", "verified", "installing", "self_testing", "watching"])
def test_a_cut_in_any_state_still_ends_well(server, agent, state):
    made = variant(2.0, ballast=400_000, part_bytes=100_000)
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for(f"it to be {state}", lambda: state in server.path("p-1"))
    there.kill()
    there.start()

    server.ended("p-1", "active")
    assert there.terminate()[0] == 0


@pytest.mark.parametrize(
    ("state", "files"),
    [
        ("notified", "none"),
        ("downloading", "parts"),
        ("verified", "parts"),
        ("verified", "damaged parts"),
        ("installing", "parts"),
        ("installing", "half installed"),
        ("self_testing", "installed"),
        ("watching", "installed"),
    ],
)
def test_every_saved_state_is_resumed(server, device, tmp_path, state, files):
    """The disk as a cut leaves it, without the luck of hitting the moment."""
    made = variant(2.0, ballast=200_000, part_bytes=100_000)
    store = Store(tmp_path / "data")
    for part in made.manifest.parts if files != "none" else ():
        (store.parts / part.digest).write_bytes(made.parts[part.digest])
    store.keep_manifest(made.digest, made.data)
    if files == "damaged parts":
        path = store.parts / made.manifest.parts[0].digest
        path.write_bytes(b"\0" * path.stat().st_size)
    if files == "half installed":
        half = store.artifact(made.digest).with_suffix(".new")
        half.mkdir()
        (half / "model.onnx").write_bytes(b"half")
    if files == "installed":
        assert store.install(made.digest, made.manifest, made.data)
        shutil.rmtree(store.parts)
        store.parts.mkdir()
    active = Installed(manifest=made.digest, deployment_id="p-1") if state == "watching" else None
    attempt = Attempt(deployment_id="p-1", manifest=made.digest, state=State(state))
    store.write_state(Saved(desired_version=1, attempt=attempt, active=active, config=Config(watch_seconds=0.1)))
    server.offer(made)
    there = device()

    server.ended("p-1", "active")
    assert there.saved.active.manifest == made.digest
    assert there.saved.attempt.state is State.ACTIVE


def test_a_self_test_that_takes_the_power_along_is_tried_three_times(server, device, tmp_path):
    made = variant()
    store = Store(tmp_path / "data")
    store.keep_manifest(made.digest, made.data)
    attempt = Attempt(deployment_id="p-1", manifest=made.digest, state=State.SELF_TESTING, tests=3)
    store.write_state(Saved(desired_version=1, attempt=attempt))
    device()

    assert "died in 3 self-tests" in server.ended("p-1", "failed").reason


@ON_X86
def test_the_third_crash_of_the_first_minutes_rolls_back(server, agent):
    good, bad = variant(1.0), variant(1.0, fatal=True)
    there = agent(source="tests.agent.worlds:negative")
    server.offer(good)
    server.offer(bad)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(bad.digest, "p-2", WATCHED)
    for crash in range(3):
        wait_for(f"crash {crash + 1}", lambda: _ended(there))
        there.start()

    report = server.ended("p-2", "rolled_back")
    assert report.reason == "The agent died 3 times while it was watched."
    assert report.evidence["crashes"] == 3
    wait_for("the good one to act", lambda: _decides(server, good.digest))


def _ended(there: AgentProcess) -> bool:
    """Whether the process has died by itself; a model that crashes takes the agent along."""
    assert there._process is not None
    return there._process.poll() is not None


def _decides(server, digest: str) -> bool:
    samples = [sample for message in server.telemetry for sample in message.samples]
    return bool(samples) and samples[-1].manifest == digest and samples[-1].decisions > 0


def test_three_cuts_in_the_watch_roll_back_to_the_old_one(server, agent):
    old, new = variant(1.0), variant(2.0)
    there = agent()
    server.offer(old)
    server.offer(new)
    server.wish(old.digest, "p-1")
    server.ended("p-1", "active")
    server.wish(new.digest, "p-2", WATCHED)
    for boots in range(1, 4):
        wait_for("the watch", lambda: _watching_boots(server) == boots)  # noqa: B023 -- called at once
        there.kill()
        there.start()

    assert "died 3 times" in server.ended("p-2", "rolled_back").reason
    assert server.states[-1].active.manifest == old.digest


def _watching_boots(server) -> int:
    return len({report.boot_id for report in server.reports("p-2") if report.state == "watching"})


def test_orderly_restarts_in_the_watch_are_no_crashes(server, agent):
    made = variant()
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-2", WATCHED)
    for boots in range(1, 5):
        wait_for("the watch", lambda: _watching_boots(server) == boots)  # noqa: B023 -- called at once
        assert there.terminate()[0] == 0
        there.start()
    server.wish(made.digest, "p-2", Config(watch_seconds=0.1))

    server.ended("p-2", "active")


# --- After it was active ---


def test_told_to_stop_while_it_loads_the_active_one_is_no_crash(server, device, tmp_path, monkeypatch):
    made, store = variant(1.0), Store(tmp_path / "data")
    for digest, data in made.parts.items():
        (store.parts / digest).write_bytes(data)
    assert store.install(made.digest, made.manifest, made.data)
    store.write_state(Saved(desired_version=1, active=Installed(manifest=made.digest, proven=True), loads=1))
    loading, over = threading.Event(), threading.Event()

    def load(*_, **__):
        loading.set()
        over.wait(20)
        raise RuntimeError("the process would have ended long ago")

    monkeypatch.setattr(inference_engine, "load", load)
    there = device()
    assert loading.wait(20)
    assert store.read_state().loads == 2
    there.stop()

    assert store.read_state().loads == 0
    over.set()


def test_an_active_one_that_was_damaged_gives_way_to_the_one_before(server, agent):
    first, second = variant(1.0), variant(2.0)
    there = agent()
    for number, each in enumerate((first, second)):
        server.offer(each)
        server.wish(each.digest, f"p-{number}")
        server.ended(f"p-{number}", "active")
    there.terminate()
    model = there.data / "artifacts" / second.digest / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    there.start()

    wait_for("the one before", lambda: server.states[-1].active and server.states[-1].active.manifest == first.digest)
    wait_for("the reason", lambda: server.reports("p-1")[-1].state == "rolled_back")
    assert "damaged on the disk" in server.reports("p-1")[-1].reason


def test_one_that_takes_the_agent_along_while_it_loads_gives_way_too(server, device, tmp_path):
    first, second = variant(1.0), variant(2.0)
    store = Store(tmp_path / "data")
    for each in (first, second):
        for digest, data in each.parts.items():
            (store.parts / digest).write_bytes(data)
        assert store.install(each.digest, each.manifest, each.data)
    attempt = Attempt(deployment_id="p-1", manifest=second.digest, state=State.ACTIVE)
    store.write_state(
        Saved(
            desired_version=1,
            attempt=attempt,
            active=Installed(manifest=second.digest, proven=True),
            previous=Installed(manifest=first.digest, proven=True),
            loads=3,
        )
    )
    there = device()

    wait_for("the one before", lambda: server.states and server.states[-1].active.manifest == first.digest)
    assert there.saved.loads == 0
    assert "died 3 times in a row" in there.saved.attempt.reason


def test_without_a_network_it_goes_on_acting_after_a_restart(server, agent, broker):
    made = variant(2.0)
    there = agent(source="tests.agent.worlds:steady")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    there.kill()
    broker.stop()
    server.telemetry.clear()
    there.start()
    queue = there.data / "telemetry.db"
    wait_for("samples on the disk", lambda: _waiting(queue) >= 2)
    broker.start()
    wait_for("the server's link", server._client.is_connected)

    samples = wait_for("them", lambda: [s for t in server.telemetry for s in t.samples if s.decisions])
    assert samples[0].manifest == made.digest
    assert [sample.seq for message in server.telemetry for sample in message.samples][:2] == [1, 2]


def _waiting(path) -> int:
    from agent.status import _waiting as count

    return count(path) if path.exists() else 0


def test_no_child_outlives_a_killed_agent(server, agent):
    made = variant(loops=6, deadline_ms=10_000)
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    child = wait_for("the self-test", lambda: _children(there.pid))[0]
    there.kill()

    wait_for("its end", lambda: not os.path.exists(f"/proc/{child}"), seconds=5)


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]
