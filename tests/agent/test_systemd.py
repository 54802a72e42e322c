"""The service manager's side: it hears when the agent is ready, that it lives, and nothing more once a part hangs."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent import service
from agent.pulse import Pulse
from agent.systemd import Notifier, Watchdog
from tests.agent.support import ROOT, AgentProcess
from tests.agent.waiting import wait_for

ANALYZE = shutil.which("systemd-analyze") or ""


class Manager:
    """systemd's end of NOTIFY_SOCKET: a real datagram socket that keeps what it hears, and when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.heard += [(time.monotonic(), line) for line in data.decode().splitlines()]

    def count(self, line: str) -> int:
        return sum(each == line for _, each in self.heard)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


class Service(AgentProcess):
    """The agent as systemd starts it, with a watchdog of two seconds; `hung` names the part that stands still."""

    def __init__(self, data: Path, port: int, manager: Manager, hung: str = "nothing", **settings: str) -> None:
        super().__init__(data, port, **settings)
        self._environment |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
        self._hung = hung

    def start(self) -> "Service":
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tests.agent.hanging", self._hung]
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log)
        return self


@pytest.fixture
def running(broker, manager, tmp_path):
    started = []

    def start(hung="nothing", **settings):
        made = Service(tmp_path / "data", broker.port, manager, hung, **settings).start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.kill()


def test_it_says_when_it_is_ready_that_it_lives_and_when_it_leaves(server, running, manager):
    there = running(source="tests.agent.worlds:steady")
    wait_for("three signs of life", lambda: manager.count("WATCHDOG=1") >= 3)
    assert manager.count("READY=1") >= 1
    wait_for("what it does", lambda: manager.count("STATUS=d-1, connected, no model"))
    there.terminate()

    assert manager.count("STOPPING=1") == 1


def test_a_device_that_waits_to_be_let_in_is_ready_and_alive(server, running, manager):
    from agent.wire.messages import EnrollReply

    server.answer_enrollment = lambda _: EnrollReply(status="pending")
    running()
    wait_for("signs of life", lambda: manager.count("WATCHDOG=1") >= 2)

    assert manager.count("READY=1") == 1
    assert manager.count("STATUS=not enrolled yet: asks to be let in")


def test_without_a_broker_it_is_ready_and_alive_all_the_same(server, running, broker, manager):
    there = running()
    wait_for("the device", lambda: server.states)
    there.kill()
    broker.stop()
    before = manager.count("WATCHDOG=1")
    there.start()
    wait_for("signs of life", lambda: manager.count("WATCHDOG=1") >= before + 3)
    broker.start()


@pytest.mark.parametrize("part", ["telemetry", "deployment", "link", "control"])
def test_a_part_that_hangs_ends_the_signs_of_life_and_says_which(server, running, manager, part):
    there = running(part, source="tests.agent.worlds:steady")
    if part == "control":
        from tests.agent.variants import variant

        made = variant()
        server.offer(made)
        server.wish(made.digest, "p-1")
    words = f"the part {part} has not moved for more than 2 s"
    wait_for("its end", lambda: manager.count(f"STATUS={words}"))
    alive = manager.count("WATCHDOG=1")
    time.sleep(2.2)  # the watchdog's time: systemd would restart it now
    assert manager.count("WATCHDOG=1") == alive
    assert f"{words}; the service manager restarts it" in there.log.read_text()


def test_a_thread_that_ended_is_no_part_that_lives():
    thread = threading.Thread(target=lambda: None)
    pulse = Pulse("link", 5, thread)
    assert pulse.trouble() == ""
    thread.start()
    thread.join()
    assert pulse.trouble() == "the part link has ended"


def test_one_that_rests_may_do_so_for_ever():
    now = [0.0]
    pulse = Pulse("deployment", 5, threading.main_thread(), lambda: now[0])
    pulse.beat()
    now[0] = 5.1
    assert pulse.trouble()
    pulse.rest()
    pulse.go_on()
    now[0] = 1e6
    assert pulse.trouble() == ""


def test_without_a_service_manager_nothing_is_told_and_the_trouble_is_logged_once(caplog):
    now = [0.0]
    pulse = Pulse("link", 5, threading.main_thread(), lambda: now[0])
    watchdog = Watchdog(Notifier({}), [pulse])
    pulse.beat()
    assert watchdog.look()
    now[0] = 6
    assert not watchdog.look() and not watchdog.look()
    assert caplog.text.count("has not moved") == 1
    pulse.beat()
    assert watchdog.look()


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(tmp_path):
    told = {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "2000000"}
    assert Notifier(told).watchdog == 1.0
    assert Notifier({**told, "WATCHDOG_PID": "1"}).watchdog is None
    assert Notifier({**told, "WATCHDOG_USEC": "soon"}).watchdog is None
    Notifier(told).tell("READY=1")  # nobody listens: said in the log, and no more


def test_an_abstract_address_works_too():
    name = f"edge-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1", "STATUS=well")
        assert ear.recv(100) == b"READY=1\nSTATUS=well"


# --- The unit ---


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    if not ANALYZE:
        pytest.skip("systemd-analyze is not here")
    service.install(tmp_path)
    done = subprocess.run(
        [ANALYZE, "verify", str(tmp_path / service.UNIT)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_leaves_little_to_an_attacker(tmp_path):
    if not ANALYZE:
        pytest.skip("systemd-analyze is not here")
    service.install(tmp_path)
    done = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--threshold=25", str(tmp_path / service.UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_installing_keeps_the_settings_that_are_there(tmp_path):
    assert "systemctl enable --now" in service.install(tmp_path)
    settings, secrets = tmp_path / service.SETTINGS, tmp_path / service.SECRETS
    assert secrets.stat().st_mode & 0o777 == 0o600
    settings.write_text('server = "mqtt://here"\n')
    (tmp_path / service.UNIT).write_text("an older one")
    service.install(tmp_path)

    assert settings.read_text() == 'server = "mqtt://here"\n'
    assert (tmp_path / service.UNIT).read_text() == service.unit()


def test_the_settings_that_come_with_it_can_be_read(tmp_path):
    from agent import config

    service.install(tmp_path)
    settings = config.load({}, {}, tmp_path / service.SETTINGS)
    assert (str(settings.data), settings.server.tls) == (service.DATA, True)
