"""Budgets of a device: typed, kept, broken, and what it does less of to keep them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.audit.models import Event
from fleet.devices import services
from fleet.devices.models import Device
from fleet.telemetry.models import Sample
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.device_page import page, samples


def test_budgets_are_typed_in_the_units_that_people_use(operating, device):
    given = {"telemetry_interval": "5", "watch_seconds": "60", "mode": "full", "memory_budget": "132"}
    operating.post(f"/devices/{device.pk}/config", {**given, "cpu_budget": "25", "power_budget": "5"})
    device.refresh_from_db()
    assert (device.config["memory_budget"], device.config["cpu_budget"]) == (132 * 2**20, 25)
    assert (device.config["power_budget"], device.config.get("temperature_budget", 0)) == (5, 0)

    text = page(operating, device)
    assert 'name="memory_budget" value="132"' in text
    assert "<ins>memory 132 MiB, processor time 25 % of all cores, power 5 W</ins>" in text
    operating.post(f"/devices/{device.pk}/config", {**given, "memory_budget": "", "power_budget": "4.5"})
    name = f"Settings of {device.name}"
    assert list(Event.objects.filter(kind="device.config").order_by("id").values_list("text", flat=True)) == [
        f"{name}: memory at most 132 MiB, processor time at most 25 % of all cores, power at most 5 W",
        f"{name}: no budget of memory, no budget of processor time, power at most 4.50 W",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory_budget", "-1"), ("cpu_budget", "101"), ("power_budget", "nan"), ("temperature_budget", "hot")],
)
def test_a_budget_out_of_range_is_said_beside_its_field(operating, device, field, value):
    given = {"telemetry_interval": "20", "watch_seconds": "30", "mode": "slim", field: value}
    answer = operating.post(f"/devices/{device.pk}/config", given, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert f'id="id_{field}-error"' in answer.text


def test_a_temperature_that_nobody_measures_cannot_be_kept_and_the_page_says_so(viewer, device, operator):
    services.set_config(device, {"temperature_budget": 70}, operator)
    Device.objects.update(reported_config_version=1, sample_at=timezone.now())
    assert "temperature 70 °C; no temperature is reported, so that one is not kept" in page(viewer, device)
    Device.objects.update(temperature=55.0)
    assert "is not kept" not in page(viewer, device)


# --- Of a decision --------------------------------------------------------------------------------------------------


def test_the_budgets_of_a_decision_and_how_they_were_kept(viewer, device):
    stages = {f"stage_{name}": 5.0 for name in ("queue", "preprocess", "compute", "postprocess")}
    samples(device, timezone.now() - timedelta(minutes=5), 10, stage_network=0.0, **stages)
    text = page(viewer, device)
    for name, said in (("Preprocess", "50 ms"), ("Compute", "30 ms"), ("In all", "100 ms")):
        assert f"<dt>{name}</dt> <dd> {said}, <span >kept</span> </dd>" in text, name
    assert "<span>network</span>" not in text, "all of it was decided on the device"

    Sample.objects.filter(seq=3).update(over_compute=7, over_bandwidth=1, refused=2, stage_network=4.0)
    Device.objects.update(
        runtime={"name": "onnxruntime", "budgets": {"compute": 12.5}}, config={"bandwidth_budget": 2.0}
    )
    text = page(viewer, device)
    assert '12.5 ms, <span class="t-bad">broken by 7 of 100 decisions</span>' in text
    assert '2 Mbit/s, <span class="t-bad">broken by 1 sample</span>' in text
    assert "2 requests refused: their deadline had passed" in text
    assert "<span>network</span>" in text


@pytest.mark.parametrize(("kind", "shown"), [("embedded", False), ("mobile", True), ("edge_server", False)])
def test_only_a_mobile_device_has_a_budget_of_power(viewer, device, kind, shown):
    Device.objects.update(device_class=kind)
    samples(device, timezone.now() - timedelta(minutes=5), 1, stage_compute=5.0, over_power=1)
    assert ("5 W, <span" in page(viewer, device)) is shown


def test_budgets_are_settings(operating, device):
    given = {"telemetry_interval": 5, "watch_seconds": 60, "mode": "full", "device_class": "", "compute_budget": "20"}
    operating.post(f"/devices/{device.pk}/config", given)
    device.refresh_from_db()
    assert (device.config["compute_budget"], device.config["bandwidth_budget"]) == (20, 0)
    text = page(operating, device)
    assert "computing 20 ms" in text
    assert "Settings of" in Event.objects.get(kind="device.config").text
    assert "computing 20 ms at most" in Event.objects.get(kind="device.config").text


# --- Held back ------------------------------------------------------------------------------------------------------


THREADS = {"step": "fewer_threads", "budget": "memory", "since": 1_795_000_000.0}
THREADS |= {"used": 121 * 2.0**20, "limit": 130 * 2.0**20, "level": 1.0}
ASKS = {"step": "smaller_variant", "budget": "memory", "since": 1_795_000_060.0}
ASKS |= {"used": 126 * 2.0**20, "limit": 130 * 2.0**20}


def test_what_a_device_does_less_of_is_said_with_since_when_and_why(viewer, device):
    assert "Held back" not in page(viewer, device)
    Device.objects.update(restraints=[THREADS])
    text = page(viewer, device)
    assert "Held back, to stay within its budgets" in text
    assert "<p>Runs on 1 thread</p>" in text
    assert 'since <time datetime="2026-11-18T' in text
    assert "because its memory was at 93 % of its budget (121 of 130 MiB)" in text
    assert "Give it a smaller one" not in text


def test_the_wish_for_a_smaller_variant_is_one_click_for_those_who_may(viewer, operating, device):
    version = make_version()
    runs, light = make_variant(version, "embedded", "fp16"), make_variant(version, "embedded", "int8", "passed")
    for variant, memory in ((runs, 90), (light, 40)):
        variant.manifest["memory_bytes"] = memory
        variant.save()
    Device.objects.update(restraints=[THREADS, ASKS], active_manifest=runs.manifest_digest)
    assert "Asks for a smaller variant" in page(viewer, device)
    assert "Give it a smaller one" not in page(viewer, device)
    assert "Give it a smaller one</button>" in page(operating, device)

    answer = operating.post(f"/devices/{device.pk}/reoptimize", {"lighter": "1"})
    job = device.jobs.get()
    assert answer.url == f"/jobs/{job.pk}"
    assert job.params == {"short_of": "memory"}


def test_without_anything_smaller_the_page_says_what_to_do(operating, device):
    runs = make_variant(make_version(), "embedded")
    Device.objects.update(restraints=[ASKS], active_manifest=runs.manifest_digest)
    answer = operating.post(f"/devices/{device.pk}/reoptimize", {"lighter": "1"}, follow=True)
    assert "no variant for embedded devices that takes less memory than the one" in answer.text
    assert "Optimize it for that class with a higher compression first." in answer.text
    Device.objects.update(restraints=[])
    answer = operating.post(f"/devices/{device.pk}/reoptimize", {"lighter": "1"}, follow=True)
    assert "does not ask for a smaller variant any more" in answer.text
