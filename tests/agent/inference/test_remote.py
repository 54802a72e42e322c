"""The connection to the server: kept, proven, and never waited for."""

import base64
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.addresses import Web
from agent.inference.remote import Remote, RemoteError
from tests.agent.certificates import certified
from tests.agent.inference.endpoint import Endpoint, serving
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

BODY = b'{"state":[1,2,3,4]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(variant(2.0), tmp_path / "there")


@pytest.fixture
def endpoint(folder: Path) -> Iterator[Endpoint]:
    with serving(folder) as made:
        yield made


@pytest.fixture
def reach() -> Iterator:
    """`reach(address)` is a Remote that has begun to look for its server."""
    made: list[Remote] = []

    def remote(address: Web) -> Remote:
        made.append(Remote(address, "d-1", "s" * 43, lambda: ("tiny", "1")))
        made[-1].start()
        return made[-1]

    yield remote
    for each in made:
        each.stop()


def ask(remote: Remote, seconds: float = 5.0) -> bytes:
    return remote.ask("act", BODY, time.monotonic() + seconds, ("tiny", "1")).body


def test_one_connection_serves_all_requests_with_the_devices_own_login(endpoint, reach):
    remote = reach(endpoint.address)
    wait_for("the server", lambda: remote.ready)
    for _ in range(20):
        assert b"20.0" in ask(remote)

    assert len(endpoint._open) == 1
    login = "Basic " + base64.b64encode(b"d-1:" + b"s" * 43).decode()
    assert {headers["Authorization"] for _, headers, _ in endpoint.asked} == {login}


def test_without_a_server_a_request_is_told_so_at_once(reach):
    remote = reach(Web("192.0.2.1", 9, False))  # an address that answers nobody (RFC 5737)
    began = time.monotonic()
    with pytest.raises(RemoteError):
        ask(remote)
    assert time.monotonic() - began < 0.5
    assert not remote.ready


def test_a_connection_that_the_server_closed_is_made_again_before_anybody_asks(endpoint, reach):
    remote = reach(endpoint.address)
    wait_for("the server", lambda: remote.ready)
    endpoint._open[0].shutdown(2)
    wait_for("a second connection", lambda: endpoint.greeted == 2)
    wait_for("the server", lambda: remote.ready)
    assert b"20.0" in ask(remote)


@pytest.mark.parametrize("ends", [{}, {"Connection": "close"}], ids=["it stays", "the connection ends"])
@pytest.mark.parametrize(("status", "least"), [(401, 200.0), (403, 20.0), (404, 20.0), (429, 100.0)])
def test_a_refusal_that_will_not_pass_soon_is_not_asked_again_soon(endpoint, reach, status, least, ends):
    remote = reach(endpoint.address)
    wait_for("the server", lambda: remote.ready)
    endpoint.status, endpoint.headers = status, {"Retry-After": "120", **ends}
    with pytest.raises(RemoteError, match="as the test wishes"):
        ask(remote)
    assert remote._not_before - time.monotonic() > least


def test_each_failure_waits_longer_and_a_good_answer_begins_anew(endpoint, reach):
    remote = reach(endpoint.address)
    endpoint.status = 500
    for failures in (1, 2, 3):
        wait_for("the server", lambda: remote.ready)
        with pytest.raises(RemoteError):
            ask(remote)
        assert remote._failures == failures
        assert remote._not_before - time.monotonic() > 0.2 * 2 ** (failures - 1)
    endpoint.status = 200
    wait_for("the server", lambda: remote.ready)
    ask(remote)
    assert remote._failures == 0


def test_stopped_it_asks_nothing_any_more(endpoint, reach):
    remote = reach(endpoint.address)
    wait_for("the server", lambda: remote.ready)
    remote.stop()
    with pytest.raises(RemoteError):
        ask(remote)
    assert endpoint.asked == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key (PEM files)."""
    return certified(tmp_path_factory.mktemp("tls"))


def test_over_tls_only_a_server_that_is_proven_gets_anything(folder, reach, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(folder, context=context) as endpoint:
        assert endpoint.address.tls
        stranger = reach(endpoint.address)
        wait_for("its refusal", lambda: "certificate" in stranger._said.lower())
        assert endpoint.greeted == 0
        trusted = reach(replace(endpoint.address, ca=certificate[0]))
        wait_for("the server", lambda: trusted.ready)
        assert b"20.0" in ask(trusted)
