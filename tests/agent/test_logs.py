"""The log: lines for a person or for programs, bounded, and without secrets."""

import io
import json
import logging
import os
import socket
import stat
import subprocess
import sys

import pytest

from agent import logs
from tests.agent.disks import fill, small_disk
from tests.agent.support import ROOT, TOKEN
from tests.agent.waiting import wait_for


@pytest.fixture
def log(tmp_path):
    """`log(**settings)` sets the log up as the agent does; what pytest had comes back after it."""
    root = logging.getLogger()
    before, level, hidden = list(root.handlers), root.level, set(logs._secrets)

    def set_up(data=tmp_path, level="INFO", form="json", stream=None, environment=None):
        logs.set_up(data, level, form, stream or io.StringIO(), environment or {})
        return logging.getLogger("agent.test")

    yield set_up
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logs._secrets.clear()
    logs._secrets.update(hidden)


def test_a_line_is_one_json_object_also_with_a_traceback(log):
    stream = io.StringIO()
    made = log(stream=stream)
    made.info("a line\nand %s", "another")
    try:
        raise ValueError("it broke")
    except ValueError:
        made.exception("a step broke")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["part"], first["message"]) == ("info", "agent.test", "a line\nand another")
    assert first["time"].endswith("+00:00") and first["thread"] == "MainThread"
    assert "ValueError: it broke" in second["trace"]


def test_a_person_reads_words(log):
    stream = io.StringIO()
    log(stream=stream, form="human").warning("the %s is full", "disk")

    assert stream.getvalue().endswith("WARNING agent.test: the disk is full\n")


def test_no_secret_is_ever_shown(log, tmp_path):
    stream = io.StringIO()
    made = log(stream=stream)
    logs.hide(TOKEN, "short")
    made.error("a login with %s failed in short", TOKEN)
    try:
        raise RuntimeError(f"refused: {TOKEN}")
    except RuntimeError:
        made.exception("no")

    for text in (stream.getvalue(), (tmp_path / "log/agent.log").read_text()):
        assert TOKEN not in text
        assert text.count("(hidden)") == 2 and "in short" in text


def test_the_files_are_bounded_and_so_is_a_message(log, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 20_000)
    made = log()
    for number in range(3000):
        made.info("line %d of many", number)
    made.info("long %s", "x" * 1_000_000)

    files = sorted((tmp_path / "log").iterdir())
    assert [path.name for path in files] == ["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"]
    assert sum(path.stat().st_size for path in files) <= logs.FILES * 20_000
    assert len(json.loads((tmp_path / "log/agent.log").read_text().splitlines()[-1])["message"]) < 10_000


def test_a_full_disk_costs_lines_and_stops_nothing(log, capsys):
    with small_disk("1m") as disk:
        stream = io.StringIO()
        made = log(data=disk, stream=stream)
        made.info("before")
        ballast = fill(disk)
        for number in range(200):
            made.info("while it is full, %d %s", number, "x" * 100)
        ballast.unlink()
        made.info("after")

        assert len(stream.getvalue().splitlines()) == 202
        assert '"after"' in (disk / "log/agent.log").read_text()
        for handler in logging.getLogger().handlers:
            handler.close()
    assert capsys.readouterr().err == ""


def test_under_systemd_the_journal_has_it_alone(log, tmp_path):
    here, there = socket.socketpair()
    found = os.fstat(here.fileno())
    assert stat.S_ISSOCK(found.st_mode)
    with here, there, here.makefile("w") as stream:
        made = log(stream=stream, form="human", environment={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        made.error("no link")
        stream.flush()
        assert there.recv(1000) == b"<3>agent.test: no link\n"
    assert not (tmp_path / "log").exists()


def test_a_whole_life_at_the_finest_level_shows_no_secret(server, agent, tmp_path):
    there = agent(log_level="DEBUG", api="unix:" + str(tmp_path / "api.sock"), api_token="another-secret-of-the-device")
    wait_for("the device", lambda: server.states)
    secret = json.loads((there.data / "identity.json").read_text())["secret"]
    there.terminate()

    for text in (there.log.read_text(), (there.data / "log/agent.log").read_text()):
        assert "enrolled as d-1" in text
        for each in (secret, TOKEN, TOKEN.partition(".")[2], "another-secret-of-the-device"):
            assert each not in text
    assert all(json.loads(line) for line in there.log.read_text().splitlines())
    assert there.data.stat().st_mode & 0o077 == 0, "the log's folder is not made before the data's, for all to see"


def test_a_setting_that_is_none_is_said(tmp_path):
    environment = {**os.environ, "EDGE_AGENT_SERVR": "x", "EDGE_AGENT_LOG_FORMAT": "human"}
    done = subprocess.run(
        [sys.executable, "-m", "agent", "run", "--data", str(tmp_path), "--server", "mqtt://127.0.0.1:1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the variable EDGE_AGENT_SERVR is no setting of the agent and is ignored" in done.stderr
