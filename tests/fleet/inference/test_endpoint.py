"""Devices ask the real web process, whose models run in processes of their own."""

import json
import threading

import numpy as np
import psutil
import pytest
from django.utils import timezone

from fleet.devices.models import Device
from fleet.inference.models import Usage
from tests.agent.waiting import wait_for
from tests.fleet.dashboard.server import same_database, web
from tests.fleet.inference.conftest import hybrid_device, stored_variant


@pytest.fixture
def server(transactional_db, tmp_path):
    """A web process with small quotas of its own."""
    small = {"EDGEFLEET_INFERENCE_DEVICE_REQUESTS": "40", "EDGEFLEET_INFERENCE_DEVICE_BYTES": "200000"}
    with web(same_database() | small, tmp_path / "web.log") as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def stored(device: str, **wanted: int) -> Usage:
    """The usage of a device once it says so."""

    def found() -> Usage | None:
        row = Usage.objects.filter(device=device).first()
        return row if row and all(getattr(row, name) >= least for name, least in wanted.items()) else None

    return wait_for(f"usage of {device}: {wanted}", found)


def model_processes(server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "fleet.inference.child" in child.cmdline()]


def test_a_request_is_answered_by_the_edge_servers_variant_and_counted(server, version, caller):
    own = stored_variant(version, "embedded", weight=1.0)
    stored_variant(version, "edge_server", weight=2.0)
    device = hybrid_device(own)
    asking = caller(server, device)

    status, told = asking.hello("?model=arm&version=3")
    assert (status, told["version"], told["device_class"]) == (200, "3", "edge_server")
    status, headers, reply = asking.raw("POST", "/infer/act?model=arm&version=3", {"state": [1, 2, 3, 4]})
    assert status == 200
    assert reply["actions"] == [[20.0] * 3] * 2
    assert (reply["model_name"], reply["model_version"]) == ("arm", "3")
    assert float(headers["Compute-Ms"]) > 0

    row = stored(device.pk, answered=1)
    assert (row.requests, row.bytes_in) == (1, len(json.dumps({"state": [1, 2, 3, 4]})))
    assert row.slowest == row.milliseconds > 0
    (process,) = model_processes(server)
    assert process.memory_info().rss < 400 * 2**20


def test_tensors_go_and_come_raw(server, version, caller):
    asking = caller(server, hybrid_device(stored_variant(version, with_card=False)))
    tensor = {"name": "state", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    raw = np.array([1, 2, 3, 4], np.float32).tobytes()
    status, headers, body = asking.raw(
        "POST", "/infer/tensors", head + raw, **{"Inference-Header-Content-Length": str(len(head))}
    )

    assert status == 200
    size = int(headers["Inference-Header-Content-Length"])
    assert json.loads(body[:size])["outputs"][0]["shape"] == [1, 2, 3]
    assert np.frombuffer(body[size:], np.float32).tolist() == [10.0] * 6
    assert asking.ask("act")[0] == 409


def test_who_may_not_ask(server, version, caller):
    variant = stored_variant(version)
    good = hybrid_device(variant)
    assert caller(server, good).ask()[0] == 200
    for name, secret in ((good.pk, "x" * 32), ("d-nobody", "x" * 32), ("", "")):
        status, said = caller(server, name, secret).ask()
        assert (status, "no such login" in said["error"]) == (401, True)
    assert caller(server, hybrid_device(variant, admission="pending")).ask()[0] == 401
    status, said = caller(server, hybrid_device(variant, config={"mode": "full"})).ask()
    assert (status, "not set to hybrid" in said["error"]) == (403, True)
    assert stored("", refused_login=3)


def test_a_retired_device_and_one_that_is_set_back_are_refused_within_seconds(server, version, caller):
    variant = stored_variant(version)
    retired, full = hybrid_device(variant), hybrid_device(variant)
    first, second = caller(server, retired), caller(server, full)
    assert (first.ask()[0], second.ask()[0]) == (200, 200)
    Device.objects.filter(pk=retired.pk).update(retired_at=timezone.now())
    Device.objects.filter(pk=full.pk).update(config={"mode": "full"})
    wait_for("the refusal", lambda: first.ask()[0] == 401, 6)
    wait_for("the other refusal", lambda: second.ask()[0] == 403, 6)
    # and back again, at once
    Device.objects.filter(pk=full.pk).update(config={"mode": "hybrid"})
    wait_for("an answer", lambda: second.ask()[0] == 200, 3)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "not valid"),
        ({"state": [1, 2]}, {}, 400, "shape"),
        ({}, {}, 400, "needs a state"),
        (b"x" * 9, {"Content_Length": "99999999"}, 413, "the limit is"),
        (b"{}", {"Deadline_Ms": "soon"}, 400, "no number"),
    ],
)
def test_what_the_model_does_not_take(server, version, caller, body, headers, status, words):
    asking = caller(server, hybrid_device(stored_variant(version)))
    if "Content_Length" in headers:
        asking._http.putrequest("POST", "/infer/act")
        for name, value in {**asking.login, "Content-Length": headers["Content_Length"]}.items():
            asking._http.putheader(name, value)
        asking._http.endheaders()
        answer = asking._http.getresponse()
        found, said = answer.status, json.loads(answer.read())
    else:
        found, said = asking.ask(body=body, **headers)
    assert (found, words in said["error"]) == (status, True), said


def test_over_quota_says_which_and_when_again(server, version, caller):
    variant = stored_variant(version)
    device = hybrid_device(variant)
    asking = caller(server, device)
    for _ in range(100):
        status, headers, said = asking.raw("POST", "/infer/act", {"state": [1, 2, 3, 4]})
        if status != 200:
            break
    assert (status, headers["Retry-After"]) == (429, "1")
    assert "40 requests a minute" in said["error"]
    assert stored(device.pk, refused_quota=1)

    other = caller(server, hybrid_device(variant))
    bulky = json.dumps({"state": [1, 2, 3, 4]}).encode() + b" " * 150_000
    assert other.ask(body=bulky)[0] == 200
    status, headers, said = other.raw("POST", "/infer/act", bulky)
    assert (status, "bytes of today" in said["error"]) == (429, True)
    assert 0 < int(headers["Retry-After"]) <= 86_400
    assert other.ask()[0] == 200, "a small one still fits into the day"


def test_a_model_that_crashes_costs_one_answer_and_not_the_server(server, version, caller):
    variant = stored_variant(version, fatal=True)
    hostile, other = hybrid_device(variant), hybrid_device(variant)
    calm = caller(server, other)
    assert calm.ask()[0] == 200
    (before,) = model_processes(server)
    attacker = caller(server, hostile)
    status, said = attacker.ask(body={"state": [-1, 2, 3, 4]})
    assert (status, "broke over this request" in said["error"]) == (502, True)
    assert calm.ask()[0] == 200
    (after,) = model_processes(server)
    assert after.pid != before.pid
    assert server.process.poll() is None
    status, said = attacker.ask()
    assert (status, "for a minute" in said["error"]) == (429, True)
    assert stored(hostile.pk, refused_crash=2)


def test_nan_is_refused_as_the_models_fault_and_the_process_stays(server, version, caller):
    asking = caller(server, hybrid_device(stored_variant(version, poison=True)))
    assert asking.ask(body={"state": [0, 2, 3, 4]})[0] == 500
    assert asking.ask()[0] in (200, 429)


def test_a_deadline_is_kept_and_a_long_line_is_refused(server, version, caller):
    variant = stored_variant(version, loops=40)
    device = hybrid_device(variant)
    assert caller(server, device).hello()[0] == 200
    status, said = caller(server, device).ask(Deadline_Ms="40")
    assert status in (408, 504) and "deadline" in said["error"]
    statuses: list[int] = []
    connections = [caller(server, hybrid_device(variant)) for _ in range(45)]
    threads = [threading.Thread(target=lambda each=each: statuses.append(each.ask()[0])) for each in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {200, 503} <= set(statuses) <= {200, 503, 504}, "a busy machine does not come to all of them in time"
    assert caller(server, device).ask()[0] == 200, "and then it goes on"


def test_a_device_without_a_model_gets_the_version_that_it_should_run(server, version, caller):
    variant = stored_variant(version, weight=3.0)
    waiting = hybrid_device(None, desired_manifest=variant.manifest_digest)
    status, reply = caller(server, waiting).ask()
    assert (status, reply["actions"][0][0]) == (200, 30.0)
    status, said = caller(server, hybrid_device()).ask()
    assert (status, "knows of none" in said["error"]) == (404, True)
    status, said = caller(server, waiting).ask(query="?model=arm&version=77")
    assert (status, "arm@77" in said["error"]) == (404, True)


def test_a_damaged_part_never_answers(server, version, caller):
    variant = stored_variant(version, model_bytes=b"no model at all")
    status, said = caller(server, hybrid_device(variant)).ask()
    assert (status, "does not load" in said["error"]) == (503, True)


def test_killed_with_its_server_no_model_stays_behind(version, caller, tmp_path):
    with web(same_database(), tmp_path / "web.log") as running:
        assert caller(running, hybrid_device(stored_variant(version))).ask()[0] == 200
        (process,) = model_processes(running)
        running.process.kill()
        wait_for("its end", lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5)


def test_an_address_beside_it_is_a_page_of_the_server(server, caller):
    assert caller(server, "d-1").raw("GET", "/inferno")[0] == 404
