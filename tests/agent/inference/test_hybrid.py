"""Heavy requests go to the server while it is there, in time and right; everything else, and the rest, is decided here.

The model here gives once the sum of the state, the one on the server twice that: so one sees who decided.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.inference import inference_engine
from agent.inference.gate import Gate
from agent.inference.hybrid import Hybrid, LocalTimes
from agent.inference.inference_engine import InferenceEngine, NoModelError
from agent.inference.meter import Meter
from agent.inference.policy_card import Observation
from agent.inference.remote import Remote
from tests.agent.inference.apis import Program
from tests.agent.inference.apis import serving as serving_api
from tests.agent.inference.endpoint import Endpoint, serving
from tests.agent.inference.folders import folder_of
from tests.agent.inference.pictures import seeing_variant
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

HERE, THERE = 10.0, 20.0
TENSOR = {"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
STATE = {"state": [1, 2, 3, 4]}


def seen(*state: float) -> Observation:
    return Observation(np.zeros((8, 8, 3), np.uint8), "", np.array(state or (1, 2, 3, 4), np.float32))


class Device:
    """An engine with its model, and the server in reach."""

    def __init__(self, folder: Path, endpoint: Endpoint, deadline_ms: float = 1000.0, model: bool = True) -> None:
        self.engine, self.meter = InferenceEngine(), Meter()
        self.engine.attach(self.meter)
        if model:
            self.engine.swap(inference_engine.load(folder, name="tiny", version="1", deadline_ms=deadline_ms))
        self.hybrid = Hybrid(self.engine)
        self.endpoint = endpoint
        self.remotes: list[Remote] = []

    def use_server(self) -> None:
        def model() -> tuple[str, str] | None:
            return ("tiny", "1") if self.engine.model else None

        def sent(size: int) -> None:
            self.engine.count(remote_asked=1, remote_bytes=size)

        def make() -> Remote:
            self.remotes.append(Remote(self.endpoint.address, "d-1", "s" * 43, model, sent))
            return self.remotes[-1]

        self.hybrid.use(make)
        self.wait()

    def wait(self, seconds: float = 20.0) -> None:
        wait_for("the server in reach", lambda: self.remotes[-1].ready, seconds)

    def decided(self, heavy: bool = True) -> float:
        return float(self.hybrid.process(seen(), heavy=heavy)[0, 0])


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """`devices()` is a device in hybrid mode whose server answers; further arguments are those of Device."""
    here = folder_of(variant(1.0), tmp_path / "here")
    there = folder_of(variant(2.0), tmp_path / "there")
    made: list[Device] = []
    with serving(there) as endpoint:

        def device(on: bool = True, **how: Any) -> Device:
            made.append(Device(here, endpoint, **how))
            if on:
                made[-1].use_server()
            return made[-1]

        yield device
        for each in made:
            each.hybrid.use(None)


def test_heavy_goes_to_the_server_and_the_rest_stays(devices):
    device = devices()

    assert device.decided(heavy=True) == THERE
    assert device.decided(heavy=False) == HERE
    assert len(device.endpoint.asked) == 1
    path, headers, body = device.endpoint.asked[0]
    assert path == "/infer/act?model=tiny&version=1"
    assert json.loads(body)["state"] == [1, 2, 3, 4]
    assert 0 < int(headers["Deadline-Ms"]) <= 1000
    window = device.meter.look()
    assert (window.decisions, window.remote_asked, window.remote_answered) == (2, 1, 1)
    assert window.remote_bytes == len(body)
    assert window.stages.network > 0
    assert window.stages.total == pytest.approx(sum(window.latencies) / 2)


def test_in_full_mode_nothing_is_asked_and_a_mode_changes_at_once(devices):
    device = devices(on=False)
    assert device.decided(heavy=True) == HERE
    device.use_server()
    assert device.decided(heavy=True) == THERE
    device.hybrid.use(None)
    assert device.decided(heavy=True) == HERE
    assert len(device.endpoint.asked) == 1


@contextmanager
def trouble(endpoint: Endpoint, **how: Any) -> Iterator[None]:
    before = {name: getattr(endpoint, name) for name in how}
    for name, value in how.items():
        setattr(endpoint, name, value)
    yield
    for name, value in before.items():
        setattr(endpoint, name, value)


@pytest.mark.parametrize(
    "how",
    [
        {"delay": 2.0},
        {"drip": True},
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"spoil": lambda body: b"no JSON at all"},
        {"spoil": lambda body: body.replace(b"20.0", b"1e999")},
        {"spoil": lambda body: body.replace(b"20.0", b"700.0")},
        {"spoil": lambda body: body.replace(b'"actions":[', b'"actions":[[1.0,1.0,1.0],')},
        {"spoil": lambda body: body.replace(b'"model_version":"1"', b'"model_version":"2"')},
    ],
    ids=[
        "late",
        "dripping",
        "broken",
        "over quota",
        "no answer",
        "infinite",
        "beyond limits",
        "another shape",
        "another",
    ],
)
def test_a_server_that_does_not_answer_rightly_in_time_is_replaced_within_the_deadline(devices, how):
    device = devices(deadline_ms=800.0)
    with trouble(device.endpoint, **how):
        began = time.monotonic()
        assert device.decided() == HERE
        assert 1e3 * (time.monotonic() - began) < 800.0
        assert not device.remotes[-1].ready, "it is not asked again at once"
        assert device.decided() == HERE
        assert len(device.endpoint.asked) == 1
    device.wait()
    assert device.decided() == THERE, "and it is asked again later"
    assert device.meter.look().late == 0


def test_a_request_of_the_programs_own_fault_closes_nothing(devices):
    device = devices()
    with trouble(device.endpoint, status=400):
        assert device.decided() == HERE
    assert device.decided() == THERE


def test_a_server_that_dies_costs_nothing_and_comes_back(devices, tmp_path):
    device = devices(deadline_ms=800.0)
    assert device.decided() == THERE
    device.endpoint.gone()
    began = time.monotonic()
    assert device.decided() == HERE
    assert 1e3 * (time.monotonic() - began) < 800.0
    with serving(tmp_path / "there", port=device.endpoint.port) as again:
        device.endpoint = again
        device.wait()
        assert device.decided() == THERE


def test_time_that_was_lost_counts_as_network_and_not_against_a_new_variant(devices):
    device = devices(deadline_ms=150.0)
    watch = Meter(local_only=True)
    device.engine.attach(watch)
    with trouble(device.endpoint, delay=1.0):
        assert device.decided() == HERE
    assert device.meter.look().stages.network > 50
    assert watch.look().stages.network == 0
    assert watch.look().latencies[0] < 100


def test_what_the_device_cannot_decide_in_time_goes_to_the_server(devices, tmp_path):
    device = devices()
    device.engine.swap(
        inference_engine.load(
            folder_of(variant(1.0, loops=150), tmp_path / "slow"), name="tiny", version="1", deadline_ms=60.0
        )
    )
    assert device.decided(heavy=False) == HERE, "nobody knows yet how slow it is"
    with trouble(device.endpoint):
        assert device.decided(heavy=False) == THERE


def test_what_the_device_refuses_to_stay_within_its_budgets_goes_to_the_server(devices):
    device, gate = devices(), Gate()
    with serving_api(device.engine, hybrid=device.hybrid, gate=gate) as api:
        program = Program(api.port)
        gate.set(0.0, "its memory was at 99 % of its budget")
        body = {"inputs": [TENSOR]}
        for path, asked in (("/act", STATE), ("/v2/models/tiny/infer", body)):
            status, headers, _ = program.raw("POST", path, asked)
            assert (status, headers["Answered-By"]) == (200, "server")
        with trouble(device.endpoint, status=500):
            status, reply = program.ask("POST", "/act", STATE)
            assert (status, "99 % of its budget" in reply["error"]) == (503, True)
        program.close()
        gate.set(1.0)
        program = Program(api.port)
        status, headers, _ = program.raw("POST", "/act", STATE)
        assert (status, headers["Answered-By"]) == (200, "device")
        program.close()


def test_how_long_a_decision_takes_here_is_forgotten_after_a_while():
    now = [0.0]
    times = LocalTimes(lambda: now[0])
    assert times.expected() == 0.0
    assert times.reserve(200.0) == 100.0, "nobody knows: half of the deadline"
    for milliseconds in (5.0, 500.0, 7.0):
        times.add(milliseconds)
    assert times.expected() == 500.0
    assert times.reserve(2000.0) == 1.25 * 500.0 + 5.0
    now[0] += 31
    assert times.expected() == 0.0
    assert times.reserve(2000.0) == 1.25 * 500.0 + 5.0, "what was known is better than nothing"


def test_programs_mark_a_request_as_heavy_and_hear_who_decided(devices):
    device = devices()
    with serving_api(device.engine, hybrid=device.hybrid) as api:
        program = Program(api.port)
        for heavy, by, value in ((True, "server", THERE), (False, "device", HERE)):
            status, headers, data = program.raw("POST", "/act", {**STATE, "heavy": heavy})
            assert (status, headers["Answered-By"]) == (200, by)
            assert json.loads(data)["actions"][0][0] == value
            body = {"inputs": [TENSOR], "parameters": {"heavy": heavy}}
            status, headers, data = program.raw("POST", "/v2/models/tiny/infer", body)
            assert (status, headers["Answered-By"]) == (200, by)
            assert json.loads(data)["outputs"][0]["data"] == [value] * 6
        _, text = program.ask("GET", "/metrics")
        assert b"edge_agent_remote_answered_total 2" in text
        device.hybrid.use(None)
        status, headers, data = program.raw("POST", "/act", {**STATE, "heavy": True})
        assert "Answered-By" not in headers
        assert json.loads(data)["actions"][0][0] == HERE
        program.close()


def test_raw_tensors_are_relayed_as_they_are(devices):
    device = devices()
    described = {**TENSOR, "parameters": {"binary_data_size": 16}}
    del described["data"]
    head = json.dumps({"inputs": [described], "parameters": {"heavy": True, "binary_data_output": True}}).encode()
    body = head + np.array([1, 2, 3, 4], np.float32).tobytes()
    with serving_api(device.engine, hybrid=device.hybrid) as api:
        program = Program(api.port)
        status, headers, data = program.raw(
            "POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=str(len(head))
        )
        size = int(headers["Inference-Header-Content-Length"])
        assert (status, headers["Answered-By"]) == (200, "server")
        assert np.frombuffer(data[size:], np.float32).tolist() == [THERE] * 6
        with trouble(device.endpoint, spoil=lambda answer: answer[:-4] + np.float32(np.nan).tobytes()):
            status, headers, data = program.raw(
                "POST", "/v2/models/tiny/infer", body, Inference_Header_Content_Length=str(len(head))
            )
        assert (status, headers["Answered-By"]) == (200, "device"), "NaN is wrong"
        program.close()


def test_without_a_model_the_server_decides_and_without_both_a_sentence(devices):
    device = devices(model=False)
    with serving_api(device.engine, hybrid=device.hybrid) as api:
        program = Program(api.port)
        status, reply = program.ask("POST", "/act", STATE)
        assert (status, reply["actions"][0][0]) == (200, THERE)
        assert device.endpoint.asked[-1][0] == "/infer/act", "the server knows which one"
        assert program.infer([TENSOR])[1]["outputs"][0]["data"] == [THERE] * 6
        assert program.infer([TENSOR], model="another")[0] == 404
        with trouble(device.endpoint, status=500):
            status, reply = program.ask("POST", "/act", STATE)
            assert (status, "the server refused it" in reply["error"]) == (503, True)
        status, reply = program.ask("POST", "/act", STATE)
        assert (status, "roll one out" in reply["error"]) == (503, True)
        program.close()
    with pytest.raises(NoModelError):
        device.hybrid.process(seen(), heavy=True)


def test_no_more_of_a_picture_is_sent_than_the_model_looks_at(tmp_path):
    folder = folder_of(variant(**seeing_variant(4, 2, "look there")), tmp_path / "seeing")
    with serving(folder) as endpoint:
        device = Device(folder, endpoint, deadline_ms=1000.0)
        device.use_server()
        picture = np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8)
        observation = Observation(picture, "look there", np.zeros(0, np.float32))
        there = device.hybrid.process(observation, heavy=True)
        assert (endpoint.last["image"]["height"], endpoint.last["image"]["width"]) == (4, 4)
        assert endpoint.last["instruction"] == "look there"
        assert there == pytest.approx(device.hybrid.process(observation, heavy=False), abs=1e-6), "and it is the same"
        device.hybrid.use(None)


def test_several_programs_at_once(devices):
    device = devices()
    found: list[float] = []

    def ask() -> None:
        found.extend(device.decided() for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert set(found) <= {HERE, THERE}
    assert found.count(THERE) > 40
