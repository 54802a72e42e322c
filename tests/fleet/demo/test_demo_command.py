"""The demo says what is there, what ended it, and starts over without touching what is not its own."""

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from fleet.demo.client import Client
from fleet.demo.management.commands import demo
from fleet.demo.management.commands.demo_guide import banner, has_model
from fleet.demo.stack import free_port
from fleet.demo.supervisor import Ended

ROOT = Path(__file__).resolve().parents[3]


def test_reset_leaves_what_is_not_the_demos(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "artifacts" / "ab").mkdir(parents=True)
    env = {**os.environ, "EDGEFLEET_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "fleet.settings"}
    run = subprocess.run(
        [sys.executable, "manage.py", "demo", "--reset"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "still holds thesis.txt" in run.stdout


def test_a_taken_port_is_replaced_by_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


#: Two processes, one of which ends; the last line says which one ended by itself.
SUPERVISED = """
import sys
from fleet.demo.supervisor import Supervisor
supervisor = Supervisor()
supervisor.add_process("web", "exec sleep 60")
supervisor.add_process("cart-lyon-1", sys.argv[1])
supervisor.loop()
print(supervisor.first)
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kill -9 $$", "cart-lyon-1 ended by itself (killed by signal 9)"),
        ("exit 3", "cart-lyon-1 ended by itself (exit code 3)"),
        ("exit 0", "cart-lyon-1 ended by itself (exit code 0)"),
    ],
)
def test_the_process_that_ended_by_itself_is_named_last(line, said):
    run = subprocess.run(
        [sys.executable, "-c", SUPERVISED, line], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stdout.splitlines()[-1] == said


def test_nobody_ended_by_itself_when_the_demo_was_told_to_end():
    supervisor = subprocess.Popen(
        [sys.executable, "-u", "-c", SUPERVISED, "exec sleep 60"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    said = [supervisor.stdout.readline() for _ in range(2)]
    assert all("started" in line for line in said)
    supervisor.send_signal(signal.SIGINT)
    rest, _ = supervisor.communicate(timeout=30)
    assert rest.splitlines()[-1] == "None"


def test_what_killed_a_process_is_said_as_a_sentence():
    assert str(Ended("gateway", -11)) == "gateway ended by itself (killed by signal 11)"


def test_the_second_start_does_not_promise_an_optimization():
    first, second = (banner("http://x", "", fresh) for fresh in (True, False))
    assert "the model is being optimized" in first
    assert "being optimized" not in second
    assert "The data of the last start are still here; nothing is uploaded or optimized anew." in second


@pytest.mark.parametrize(("status", "found"), [(404, False), (200, True)])
def test_a_start_is_the_first_one_until_the_model_is_there(status, found):
    client = Client("http://x", "token")
    answers = httpx.MockTransport(lambda request: httpx.Response(status, json=[{"id": 1}]))
    client._http = httpx.Client(base_url="http://x/api", transport=answers)
    assert has_model(client) is found


@pytest.mark.parametrize(
    ("first", "check", "said"),
    [
        (
            Ended("web", -9),
            "",
            "web ended by itself (killed by signal 9), so the others were ended too; the data stay.\n",
        ),
        (Ended("web", 1), "nightly", "web ended by itself (exit code 1), so the others were ended too.\n"),
        (Ended("demo", 0), "nightly", ""),
        (None, "", ""),
    ],
)
def test_the_last_line_says_why_everything_ended(monkeypatch, first, check, said):
    """A check ends with its guide, as it should, and its data go with it."""
    supervisor = SimpleNamespace(first=first, returncode=None, loop=lambda: None)
    monkeypatch.setattr(demo, "Supervisor", lambda: supervisor)
    monkeypatch.setattr(demo.connections, "close_all", lambda: None)
    printed = io.StringIO()
    demo.Command(stdout=printed)._supervise(None, [], check)
    assert printed.getvalue() == said
