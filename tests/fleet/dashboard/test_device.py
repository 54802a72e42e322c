"""One device: what it reported against what it should be, and where its decisions' time goes."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from agent.wire.latency import bin_of
from agent.wire.states import Deployment as State
from fleet.dashboard.selectors.device import budget, phases
from fleet.devices import services
from fleet.devices.models import Device
from fleet.rollouts.models import Deployment
from fleet.telemetry.models import Sample
from fleet.telemetry.sketches import pack
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.device_page import page, samples


def test_memory_and_storage_count_alike(viewer, device):
    gib = 1024**3
    device.hardware |= {"cores": 12.0, "memory_bytes": 4 * gib, "storage_bytes": 32 * gib}
    device.save()
    text = page(viewer, device)
    for name, said in (("Cores", "12"), ("Memory", "4 GiB"), ("Storage", "32 GiB")):
        assert re.search(rf"<dt>{name}</dt> <dd> ?{said} ?</dd>", text), name


# --- Reported against desired ---------------------------------------------------------------------------------------


def test_a_device_in_step_says_so(viewer, device):
    assert "In step" in page(viewer, device)


def test_a_setting_that_was_not_confirmed_yet_differs(operating, device, operator):
    services.set_config(device, {"telemetry_interval": 30, "mode": "slim"}, operator)
    text = page(operating, device)
    assert "7 differ</span>" in text  # both settings, those that came with them unchanged, and their number
    assert "not confirmed yet" in text
    assert "<ins>30 s</ins>" in text
    assert "<ins>slim</ins>" in text


def test_a_model_that_is_still_on_its_way_differs(viewer, device):
    old, new = (make_variant(make_version("arm", number), "embedded", f"fp16-{number}") for number in (1, 2))
    Device.objects.update(active_manifest=old.manifest_digest, desired_manifest=new.manifest_digest)
    text = page(viewer, device)
    assert "1 differs" in text
    assert "arm@1 fp16-1" in text
    assert "arm@2 fp16-2</a></ins>" in text


def test_an_artifact_that_nobody_knows_is_named_by_its_digest(viewer, device):
    Device.objects.update(active_manifest="cd" * 32)
    assert "unknown artifact cdcdcdcdcdcd" in page(viewer, device)


# --- Where it stands ------------------------------------------------------------------------------------------------


def test_the_steps_of_an_update_are_done_now_or_ahead():
    found = phases(Deployment(state=State.SELF_TESTING, progress=0.5, step="golden observation 4 of 8"))
    assert [(phase.name, phase.state) for phase in found] == [
        ("Waiting", "done"),
        ("Download", "done"),
        ("Verify and install", "done"),
        ("Self-test", "now"),
        ("Watch", "todo"),
    ]
    assert (found[3].share, found[3].detail) == (0.5, "golden observation 4 of 8")


@pytest.mark.parametrize(
    "state", [state for state in State if state.value in ("queued", "notified", "verified", "watching")]
)
def test_every_open_state_has_its_step(state):
    assert [phase.state for phase in phases(Deployment(state=state))].count("now") == 1


def test_the_time_of_a_decision_is_weighed_by_how_many_there_were(viewer, device):
    now = timezone.now()
    stages = {"stage_queue": 1.0, "stage_preprocess": 2.0, "stage_postprocess": 1.0}
    samples(device, now - timedelta(minutes=5), 1, decisions=90, stage_compute=10.0, **stages)
    Sample.objects.create(
        device=device, at=now, received_at=now, boot_id="b-2", seq=0, decisions=10, stage_compute=110.0, **stages
    )
    text = page(viewer, device)
    assert "100 decisions" in text
    assert re.search(r"<span>compute</span> <b class=\"num\">20.ms</b> <span class=\"num muted\">83.%", text)


def test_one_slow_sample_is_not_the_p95_of_all_decisions(viewer, device):
    now = timezone.now()
    common = {"device": device, "received_at": now, "boot_id": "b", "stage_compute": 5.0}
    for seq, (count, took) in enumerate(((97, 5.0), (3, 200.0))):
        latency = pack({bin_of(took): count})
        Sample.objects.create(**common, at=now, seq=seq, decisions=count, latency_p95=took, latency=latency)
    assert 4.9 <= budget(device.pk, now).p95 <= 5.1


def test_without_timed_decisions_the_page_says_so(viewer, device):
    assert "Not reported: no decision was timed in the last 15 minutes." in page(viewer, device)


def test_the_energy_of_a_decision_stands_beside_its_source(viewer, device):
    Device.objects.update(power=4.2, power_source="estimated", energy_per_action=0.35)
    assert re.search(r"estimated, 350.mJ a decision", page(viewer, device))


# --- What runs the model --------------------------------------------------------------------------------------------


def test_a_device_says_what_runs_its_model_and_how_it_was_chosen(viewer, device):
    assert "ONNX Runtime" not in page(viewer, device)
    device.runtime = {"name": "onnxruntime", "provider": "CPU", "threads": 2, "p50": 3.1, "tried": 4}
    device.save()
    assert "ONNX Runtime on CPU, 2 threads: p50 3.10 ms (chosen of 4 measured)" in page(viewer, device)
    device.runtime = {"name": "openvino", "provider": "CPU", "threads": 1, "p50": 0.0, "tried": 0}
    device.save()
    assert "OpenVINO on CPU, 1 thread" in page(viewer, device)
