import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fleet.optimizer.confine import Limits
from fleet.optimizer.errors import Cancelled, SandboxError
from fleet.optimizer.sandbox import ROOT, run
from tests.fleet.optimizer.children import Request

CHILDREN = "tests.fleet.optimizer.children"
LIMITS = Limits(memory_bytes=512 * 1024**2, file_bytes=8 * 1024**2, cpu_seconds=20, wall_seconds=30)


def child(what: str, folder: Path, path: str = "", limits: Limits = LIMITS, **given):
    return run(CHILDREN, Request(what, path), folder, limits=limits, **given)


def gone(pid: int, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_child_tells_how_far_it_is_and_gives_its_result(tmp_path):
    heard = []
    finished = child("count", tmp_path, on_progress=lambda share, text: heard.append((round(share, 2), text)))
    assert finished.result == {"value": 3}
    assert heard == [(0.33, "step 1"), (0.67, "step 2"), (1.0, "step 3")]


def test_what_libraries_print_does_not_disturb_the_result(tmp_path):
    assert child("print", tmp_path).result == {"value": "quiet"}


def test_a_child_that_wants_too_much_memory_fails_with_a_sentence(tmp_path):
    with pytest.raises(SandboxError, match="needed more memory than it may use"):
        child("hog", tmp_path)


def test_a_child_that_takes_too_long_is_stopped(tmp_path):
    with pytest.raises(SandboxError, match=r"took longer than 0\.7 s"):
        child("spin", tmp_path, limits=Limits(wall_seconds=0.7))


def test_a_child_that_burns_too_much_processor_time_is_stopped(tmp_path):
    with pytest.raises(SandboxError, match="more than 1 s of processor time"):
        child("spin", tmp_path, limits=Limits(cpu_seconds=1, wall_seconds=30))


def test_a_file_may_only_grow_so_large(tmp_path):
    with pytest.raises(SandboxError, match="File too large"):
        child("write", tmp_path)
    assert (tmp_path / "large").stat().st_size <= LIMITS.file_bytes


def test_a_child_has_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        finished = child("network", tmp_path, f"{host}:{port}")
    if finished.notes:
        assert "the work ran with the network in reach" in finished.notes[0]
        pytest.skip(finished.notes[0])
    assert finished.result["value"] != ["connected"]


def test_a_child_inherits_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEFLEET_SECRET_KEY", "hush")
    monkeypatch.setenv("DATABASE_URL", "postgres://user:hush@db/edgefleet")
    names = child("environment", tmp_path).result["value"]
    assert "EDGEFLEET_SECRET_KEY" not in names
    assert "DATABASE_URL" not in names


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("crash", "it crashed with SIGSEGV"),
        ("refuse", "the model has no feed-forward blocks: there is nothing to cut"),
        ("bug", "KeyError: 'no such weight'"),
        ("babble", "said more than it may"),
    ],
)
def test_whatever_goes_wrong_becomes_a_sentence(tmp_path, what, sentence):
    with pytest.raises(SandboxError, match=sentence):
        child(what, tmp_path)


def test_cancelling_ends_the_child_and_all_that_it_started_within_a_second(tmp_path):
    pids = tmp_path / "pids"
    asked: list[float] = []

    def cancelled() -> bool:
        if pids.exists() and pids.read_text().count(" ") and not asked:
            asked.append(time.monotonic())
        return bool(asked)

    with pytest.raises(Cancelled):
        child("linger", tmp_path, str(pids), cancelled=cancelled)
    assert time.monotonic() - asked[0] < 1
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_killed_worker_leaves_no_child_behind(tmp_path):
    """The worker is a process of its own here, and is killed with nothing that it could do about it."""
    code = (
        "from pathlib import Path; import sys; from tests.fleet.optimizer.test_sandbox import child; "
        "child('linger', Path(sys.argv[1]), sys.argv[1] + '/pids')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment) as worker:
        end = time.monotonic() + 20
        while not (tmp_path / "pids").exists() or " " not in (tmp_path / "pids").read_text():
            assert time.monotonic() < end, "the child never began"
            time.sleep(0.02)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        leader, started = map(int, (tmp_path / "pids").read_text().split())
        assert gone(leader)
        os.kill(started, signal.SIGKILL)
