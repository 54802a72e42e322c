"""The agent's own side against the real web process, over TLS."""

import time
from urllib.parse import urlsplit

import pytest

from agent.addresses import Web
from agent.inference import act
from agent.inference.remote import Remote, RemoteError
from fleet.devices.models import Device
from tests.agent.certificates import certified
from tests.agent.waiting import wait_for
from tests.fleet.dashboard.server import same_database, web
from tests.fleet.inference.conftest import hybrid_device, secret_of, stored_variant


def test_a_device_asks_over_tls_until_it_is_retired(version, tmp_path):
    device = hybrid_device(stored_variant(version, weight=2.0))
    files = certified(tmp_path)
    sent: list[int] = []
    with web(same_database(), tmp_path / "web.log", tls=files) as server:
        port = urlsplit(server.address).port or 0
        remote = Remote(
            Web("127.0.0.1", port, True, files[0]), device.pk, secret_of(device), lambda: ("arm", "3"), sent.append
        )
        remote.start()
        try:
            wait_for("the server", lambda: remote.ready)
            body = b'{"state": [1, 2, 3, 4]}'
            for _ in range(10):
                answer = remote.ask("act", body, time.monotonic() + 10, ("arm", "3"))
                assert act.read_reply(answer.body).actions == [[20.0] * 3] * 2
                assert answer.compute_ms > 0
            assert sent == [len(body)] * 10

            Device.objects.filter(pk=device.pk).update(admission="rejected")

            def refused() -> bool:
                try:
                    remote.ask("act", body, time.monotonic() + 10, ("arm", "3"))
                except RemoteError as problem:
                    return "401" in str(problem)
                return False

            wait_for("its refusal", refused, 8)
            assert not remote.ready
            with pytest.raises(RemoteError):
                remote.ask("act", body, time.monotonic() + 1, ("arm", "3"))
        finally:
            remote.stop()
    assert "Traceback" not in (tmp_path / "web.log").read_text()
