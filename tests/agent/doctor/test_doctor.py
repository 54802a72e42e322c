"""The doctor on devices that lack something: a finding for each, with what to do about it."""

import json
import os
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime

import pytest

from agent import child, config
from agent.addresses import Server
from agent.cli import main
from agent.config import Settings
from agent.deployment.records import Attempt, Saved
from agent.deployment.store import Store
from agent.doctor import board, examination, software
from agent.doctor.broker import _login
from agent.doctor.broker import reach as reached
from agent.link.enrollment import FILE
from agent.wire.states import Deployment as State
from tests.agent.disks import fill, small_disk
from tests.agent.support import TOKEN
from tests.agent.waiting import wait_for
from tests.ports import free_port


def results(findings) -> dict[str, str]:
    return {finding.check: finding.result for finding in findings}


def one(findings, check):
    found = [finding for finding in findings if finding.check == check]
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def data(tmp_path):
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in [name for name in os.environ if name.startswith("EDGE_AGENT_")]:
        monkeypatch.delenv(name)


# --- As a command ---


def test_a_healthy_device_gets_status_0_and_json_for_programs(data, broker, capsys):
    arguments = ["--data", str(data), "--server", f"mqtt://localhost:{broker.port}", "--token", TOKEN]
    assert main(["doctor", "--json", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    found = {finding["check"]: finding["result"] for finding in told["findings"]}
    assert told["ok"]
    assert set(found) >= {"versions", "clock", "disk", "space", "rights", "runtime", "power", "broker's port", "login"}
    assert all(finding["remedy"] for finding in told["findings"] if finding["result"] != "ok")
    assert TOKEN.partition(".")[2] not in json.dumps(told)

    assert main(["doctor", *arguments]) == 0
    assert capsys.readouterr().out.endswith("Nothing keeps the agent from working.\n")
    assert list(data.iterdir()) == [], "looking changes nothing"


def test_without_a_server_the_board_is_examined_all_the_same(data, capsys):
    assert main(["doctor", "--data", str(data)]) == 1
    words = capsys.readouterr().out
    assert "PROBLEM  settings" in words and "No server is set" in words
    assert "ok       runtime" in words and "\n1 problem\n" in words


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(data, monkeypatch):
    monkeypatch.setattr(board, "clock", lambda _: 1 / 0)
    findings = examination.examine({"data": str(data)})
    assert "could not be checked" in one(findings, "clock").words
    assert one(findings, "disk").result == "ok"


# --- The board ---


def test_a_clock_that_was_never_set_is_a_problem(data):
    finding = one(board.clock(data, lambda: 0.0), "clock")
    assert (finding.result, "1970-01-01" in finding.words, "timedatectl" in finding.remedy) == ("problem", True, True)


def test_a_clock_that_is_behind_the_servers_last_order_is_a_problem(data):
    told = datetime(2036, 5, 1, tzinfo=UTC).timestamp()
    attempt = Attempt(deployment_id="p-1", manifest="ab" * 32, state=State.ACTIVE, told=told)
    Store(data).write_state(Saved(attempt=attempt))
    assert one(board.clock(data), "clock").result == "problem"
    assert one(board.clock(data, lambda: told + 60), "clock").result in {"ok", "note"}


def test_a_folder_that_others_can_read_is_a_problem(data):
    (data / FILE).write_bytes(b"{}")
    (data / FILE).chmod(0o644)
    finding = one(board.rights(data), "rights")
    assert (finding.result, finding.remedy) == ("problem", f"chmod go-rwx {data / FILE}")


def test_files_that_root_left_behind_are_a_problem(data):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    (data / "telemetry.db").touch()
    os.chown(data / "telemetry.db", 12345, -1)
    assert "telemetry.db in the data folder belong to another user" in one(board.rights(data), "rights").words


def test_a_full_disk_is_a_problem():
    with small_disk("2m") as disk:
        fill(disk)
        findings = list(board.disk(disk))
    assert results(findings) == {"disk": "problem", "space": "problem"}
    assert "No space left on device" in findings[0].words


def test_a_folder_that_is_not_there_yet_is_none(tmp_path):
    assert results(board.disk(tmp_path / "not" / "yet")) == {"disk": "note"}
    assert not (tmp_path / "not").exists()


def test_a_board_without_sensors_is_told_that_figures_are_estimates(data):
    declared = config.Declared(cores=4, memory_gib=4, storage_gib=32)
    finding = one(board.power(Settings(data, Server("x", 1), declared=declared), data), "power")
    assert finding.result == "note" and "estimate" in finding.words


# --- What it is made of ---


def test_the_runtime_computes_in_a_child():
    finding = one(software.runtime(), "runtime")
    assert finding.result == "ok", finding
    assert "ONNX Runtime 1." in finding.words and "CPU" in finding.words


def test_a_runtime_that_ends_the_process_is_named(monkeypatch):
    def crash(*_, **__):
        raise child.ChildError("A first inference crashed the process (SIGILL).")

    monkeypatch.setattr(child, "run", crash)
    finding = one(software.runtime(), "runtime")
    assert finding.result == "problem" and "older onnxruntime" in finding.remedy


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("msgspec>=0.22,<0.23", ""),
        ("securesystemslib[crypto]>=1.6,<2", ""),
        ("msgspec>=99", "msgspec is 0.22.0, and not >=99"),
        ("numpy<1", "numpy is"),
        ("no-such-package>=1", "no-such-package is not installed"),
    ],
)
def test_packages_are_what_the_agent_asks_for(requirement, words):
    told = software._wrong(requirement)
    assert told.startswith(words) and bool(told) == bool(words)


# --- The way to the server ---


def reach(data, port, host="127.0.0.1", **settings):
    tls = {key: settings.pop(key) for key in ("tls", "ca") if key in settings}
    return list(reached(Settings(data, Server(host, port, **tls), **settings)))


def test_a_name_that_is_not_known(data):
    findings = reach(data, 1883, "no-such-host.invalid")
    assert results(findings) == {"broker's name": "problem"}
    assert "resolv.conf" in findings[0].remedy


def test_a_port_where_nothing_answers(data):
    assert results(reach(data, free_port()))["broker's port"] == "problem"


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost that signed itself, and its key."""
    made = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(made), "-out", str(tmp_path / "ca.pem"), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_text(made.read_text() + (tmp_path / "ca.pem").read_text())
    return made


@pytest.fixture
def tls_port(certificate):
    """Something that speaks TLS, and nothing after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                try:
                    context.wrap_socket(link, server_side=True).close()
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_certificate_that_nobody_vouches_for(data, tls_port, tmp_path):
    found = one(reach(data, tls_port, "localhost", tls=True), "broker's TLS")
    assert found.result == "problem" and "self-signed" in found.words and "`ca`" in found.remedy

    trusted = reach(data, tls_port, "localhost", tls=True, ca=tmp_path / "ca.pem")
    assert one(trusted, "broker's TLS").result == "ok"


def test_a_certificate_for_another_name(data, tls_port, tmp_path):
    found = one(reach(data, tls_port, "127.0.0.1", tls=True, ca=tmp_path / "ca.pem"), "broker's TLS")
    assert found.result == "problem" and "127.0.0.1" in found.words


def test_tls_where_there_is_none(data, broker):
    assert one(reach(data, broker.port, tls=True), "broker's TLS").result == "problem"


def test_a_device_without_a_login_is_told_where_to_get_one(data, broker):
    found = one(reach(data, broker.port), "login")
    assert found.result == "problem" and "Enrollment" in found.remedy


def test_a_login_that_the_broker_refuses(data):
    """A broker that refuses whoever comes (CONNACK, return code 5)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        for _ in range(2):  # the look at the port, and the login
            link, _ = listener.accept()
            with link:
                if link.recv(1000):
                    link.sendall(b"\x20\x02\x00\x05")
                    link.recv(1000)

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    (data / FILE).write_bytes(json.dumps({"nonce": "n", "secret": "s" * 43, "device_id": "d-1"}).encode())
    found = one(reach(data, listener.getsockname()[1]), "login")
    thread.join(5)
    listener.close()
    assert found.result == "problem"
    assert "refuses the login of d-1" in found.words and "retired" in found.remedy


def test_a_running_agent_is_not_thrown_out_by_a_look(server, agent, broker):
    there = agent()
    wait_for("the device", lambda: server.states)
    connects = len(server.states)
    settings = Settings(there.data, Server("127.0.0.1", broker.port), token=TOKEN)
    found = one(list(_login(settings)), "login")
    assert (found.result, found.words) == ("ok", "The running agent has its link.")
    assert len(server.states) == connects
    broker.stop()
    wait_for("the loss", lambda: one(list(_login(settings)), "login").result == "problem")
    broker.start()


def test_an_identity_is_used_and_never_shown(data, broker):
    (data / FILE).write_bytes(b'{"nonce":"n-1","secret":"' + b"q" * 43 + b'","device_id":"d-7"}')
    found = one(reach(data, broker.port), "login")
    assert (found.result, found.words) == ("ok", "The broker takes the login of d-7.")
