"""What runs an artifact is measured once, remembered, reported, and forgotten when the machine is another one."""

import json

import msgspec
import pytest

from agent.deployment import choices as choices_module
from agent.deployment.choices import MOST, Choices
from agent.inference import runtimes, selection
from agent.inference.selection import Choice, Row
from agent.wire.hardware import Hardware
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

BOARD = Hardware(cores=4, memory_bytes=4 * 2**30, storage_bytes=2**35, platform="linux-aarch64", board="Board 1")
CHOICE = Choice("openvino", "CPU", 2, 3.1, (Row("onnxruntime", "CPU", 1, 9.0), Row("openvino", "CPU", 2, 3.1)))


def kept(tmp_path, hardware=BOARD, threads=4, only="") -> Choices:
    return Choices(tmp_path / "runtimes.json", hardware, threads, only)


def test_it_is_there_after_a_restart(tmp_path):
    kept(tmp_path).keep("a" * 64, CHOICE)

    assert kept(tmp_path).get("a" * 64) == CHOICE
    assert kept(tmp_path).get("b" * 64) is None


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"board": "Board 2"}, {}),
        ({"cores": 2}, {}),
        ({"accelerators": ("hailo",)}, {}),
        ({}, {"threads": 2}),
        ({}, {"only": "onnxruntime"}),
    ],
)
def test_another_machine_knows_nothing_of_it(tmp_path, changes, settings):
    kept(tmp_path).keep("a", CHOICE)

    assert kept(tmp_path, msgspec.structs.replace(BOARD, **changes), **settings).get("a") is None


def test_nor_does_another_version_of_a_library(tmp_path, monkeypatch):
    kept(tmp_path).keep("a", CHOICE)
    monkeypatch.setattr(choices_module.runtimes, "installed", lambda: ("onnxruntime-9.9.9",))

    assert kept(tmp_path).get("a") is None


def test_a_damaged_file_is_only_a_measurement_lost(tmp_path):
    (tmp_path / "runtimes.json").write_text("{no")

    assert kept(tmp_path).get("a") is None


def test_it_stays_small(tmp_path):
    made = kept(tmp_path)
    for number in range(MOST + 5):
        made.keep(f"a{number}", CHOICE)

    assert kept(tmp_path).get("a0") is None
    assert kept(tmp_path).get(f"a{MOST + 4}") == CHOICE
    assert (tmp_path / "runtimes.json").stat().st_size < 32 * 1024


# --- On a device ---

#: Seconds: on a machine that does much else at once, three children take their time.
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(selection, "TIMEOUT", PATIENCE)


def test_a_deployment_says_what_was_measured_and_the_device_what_runs(server, device):
    made = variant(2.0)
    there = device(threads=2, runtime="")
    server.offer(made)
    server.wish(made.digest, "p-1")
    report = server.ended("p-1", "active", PATIENCE)

    measured = [key for key in report.evidence if key.startswith("p50 ")]
    assert len(measured) == 4 and all(report.evidence[key] > 0 for key in measured)
    assert report.evidence["runtime"].removesuffix("s") in {
        key.removeprefix("p50 ").removesuffix("s") for key in measured
    }
    assert report.evidence["decisions"] >= 0, "the watch's figures stand beside the self-test's"
    wait_for("its word of it", lambda: server.states[-1].runtime is not None)
    told = server.states[-1].runtime
    assert (told.tried, told.p50) == (4, pytest.approx(report.evidence["p50"], abs=1e-3))
    model = there.agent._engine.model
    assert (told.name, told.provider, told.threads) == (model.backend.runtime, model.backend.provider, model.threads)


def test_it_is_measured_once_and_again_on_other_libraries(server, device, monkeypatch):
    measured = []
    choose = selection.choose
    monkeypatch.setattr(selection, "choose", lambda *a, **k: measured.append(1) or choose(*a, **k))
    made = variant(2.0)
    there = device(threads=2, runtime="")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active", PATIENCE)
    there.stop()
    again = device(threads=2, runtime="")
    wait_for("the model", lambda: again.agent._engine.model)
    wait_for("its word of it", lambda: server.states[-1].online and server.states[-1].runtime)
    assert (measured, server.states[-1].runtime.tried) == ([1], 4)
    again.stop()

    installed = runtimes.installed()
    monkeypatch.setattr(runtimes, "installed", lambda: (*installed, "openvino-9.9.9"))
    third = device(threads=2, runtime="")
    wait_for("another measurement", lambda: measured == [1, 1], PATIENCE)
    wait_for(
        "its result",
        lambda: "openvino-9.9.9" in json.loads((third.data / "runtimes.json").read_text())["machine"],
        PATIENCE,
    )


def test_a_runtime_that_does_not_pass_makes_no_update_fail(server, device, monkeypatch):
    """It was the fastest and is broken now: the default one takes its place, and the deployment goes on."""
    wrong = Choice("openvino", "GPU", 1, 0.1, (Row("openvino", "GPU", 1, 0.1),))
    monkeypatch.setattr(selection, "choose", lambda *_, **__: wrong)
    made = variant(2.0)
    there = device(threads=2, runtime="")
    server.offer(made)
    server.wish(made.digest, "p-1")

    assert server.ended("p-1", "active", PATIENCE).evidence["runtime"] == "ONNX Runtime on CPU, 2 threads"
    assert there.agent._engine.model.backend == runtimes.DEFAULT


def test_a_chosen_runtime_that_is_gone_gives_way_to_the_default_one(server, device):
    made = variant(2.0)
    there = device(threads=2, runtime="")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active", PATIENCE)
    there.agent._choices.keep(made.digest, msgspec.structs.replace(CHOICE, provider="GPU"))
    there.stop()
    again = device(threads=2, runtime="")
    wait_for("the model", lambda: again.agent._engine.model)

    assert again.agent._engine.model.backend == runtimes.DEFAULT
    wait_for("its word of it", lambda: server.states[-1].online and server.states[-1].runtime)
    assert server.states[-1].runtime.name == "onnxruntime"


def test_a_chosen_runtime_that_ended_the_agent_while_it_loaded_is_not_tried_again(server, device):
    made = variant(2.0)
    there = device(threads=2, runtime="openvino")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active", PATIENCE)
    assert there.agent._engine.model.backend.runtime == "openvino"
    there.stop()
    state = there.data / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "loads": 1}))
    again = device(threads=2, runtime="openvino")
    wait_for("the model", lambda: again.agent._engine.model)

    assert again.agent._engine.model.backend == runtimes.DEFAULT
    assert again.saved.active.manifest == made.digest, "the model itself is not given up for it"
    assert json.loads((again.data / "runtimes.json").read_text())["choices"][made.digest]["runtime"] == "onnxruntime"
