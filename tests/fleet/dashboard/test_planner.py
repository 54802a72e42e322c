"""Planning from what is measured, typing over it, putting it back, and reading why."""

import json
import re
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone
from django.utils.html import strip_tags

from agent.wire.hardware import GIB
from fleet.accounts.roles import Role
from fleet.catalog.models import ModelVersion
from fleet.dashboard.planning import examples
from fleet.dashboard.selectors import planning as select
from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.planner.examples import EXAMPLES
from fleet.planner.filling import Known
from fleet.telemetry.models import Sample
from tests.fleet.telemetry import rows as stored

pytestmark = pytest.mark.django_db
CARD = json.loads((Path(settings.BASE_DIR) / "fleet" / "demo" / "assets" / "card.json").read_text())


def text_of(answer) -> str:
    return re.sub(r"\s+", " ", unescape(strip_tags(answer.text))).replace("\N{NO-BREAK SPACE}", " ")


def sampled(device: Device, **given) -> None:
    """Ten samples of the last minutes: 40 ms on average, 30 of them computing."""
    now = timezone.now()
    values = {
        "latency_p50": 40.0,
        "latency_p95": 60.0,
        "stage_queue": 1.0,
        "stage_preprocess": 6.0,
        "stage_compute": 30.0,
        "stage_postprocess": 3.0,
        "network_tx": 200.0,
        "energy_per_action": 0.25,
        "decisions": 25,
        **given,
    }
    Sample.objects.bulk_create(
        Sample(device=device, at=now - timedelta(seconds=5 * n), received_at=now, boot_id="b", seq=n, **values)
        for n in range(10)
    )
    Device.objects.filter(pk=device.pk).update(latency_p95=60.0, power_source="measured", mode="full")
    device.refresh_from_db()


@pytest.fixture
def fleet(sample_fleet):
    return sample_fleet(12)


@pytest.fixture
def device(fleet) -> Device:
    """It runs the first version, and told what it does."""
    found = fleet.devices[0]
    sampled(found)
    return found


def known_of(**asked) -> dict[str, Known]:
    return select.known(select.choose(asked), timezone.now())


# --- What is filled in ----------------------------------------------------------------------------------------------


def test_a_device_brings_its_hardware_its_latency_by_stage_and_what_it_sends(device):
    found = known_of(device=device.pk)
    assert found["memory"].value == device.hardware["memory_bytes"]
    assert (found["memory"].kind, found["memory"].source) == ("reported", device.name)
    # p95, cut as the stages' means are: 45 + 15 = 60.
    assert (found["compute_ms"].value, found["other_ms"].value) == pytest.approx((45, 15))
    assert (found["compute_ms"].kind, found["telemetry"].value, found["energy"].value) == ("measured", 200, 0.25)
    assert found["compute_ms"].url == f"/devices/{device.pk}"


def test_a_device_that_runs_slim_measured_the_slim_mode(device):
    Device.objects.filter(pk=device.pk).update(mode="slim")
    found = known_of(device=device.pk)
    assert found["slim_ms"].value == pytest.approx(45)
    assert found["compute_ms"].kind == "estimated", "what the trial took on the server"


def test_milliseconds_of_two_machines_never_stand_beside_each_other(device):
    """One variant was timed on the device: the other takes as many times as long as on the server that timed both."""
    chosen = select.choose({"device": device.pk})
    assert chosen.slim.pk != chosen.full.pk
    ratio = chosen.slim.p95 / (chosen.full.stored["p95_all_ms"] * chosen.full.moment)
    found = known_of(device=device.pk)
    assert found["slim_ms"].value == pytest.approx(45 * ratio)
    assert found["slim_ms"].kind == "estimated"
    assert found["slim_ms"].source.endswith(f"{ratio:.2f} times what was measured, as on bench-1")
    Device.objects.filter(pk=device.pk).update(mode="slim")
    assert known_of(device=device.pk)["compute_ms"].value == pytest.approx(45 / ratio)


def test_a_device_in_hybrid_mode_does_not_tell_what_a_decision_takes_there(device):
    Device.objects.filter(pk=device.pk).update(mode="hybrid")
    assert known_of(device=device.pk)["compute_ms"].kind == "estimated"


def test_a_verdict_says_what_it_rests_on_that_nobody_measured(viewer, device):
    asked = {"device": device.pk, "link": "0"}
    assert "Not measured" not in text_of(viewer.get("/planner", asked | {"slim_ms": "50"}))
    Device.objects.filter(pk=device.pk).update(latency_p95=None)
    page = text_of(viewer.get("/planner", asked | {"slim_ms": "50"}))
    assert "Not measured: computing a decision (model, estimated) and all else on the device (model, assumed)." in page


def test_a_simulated_device_says_whose_time_it_is(fleet):
    simulated = next(each for each in fleet.devices if each.simulated and each.active_manifest)
    sampled(simulated)
    found = known_of(device=simulated.name)
    assert found["memory"].kind == "declared"
    assert found["compute_ms"].source.endswith("simulated: this host's time")


def test_without_telemetry_a_device_is_planned_by_its_own_benchmark(device):
    other = ModelVersion.objects.exclude(variants__manifest_digest=device.active_manifest).get()
    won = other.variants.get(device_class=device.device_class, trial__verdict="won")
    row = {"name": "x", "manifest": won.manifest_digest, "p50_ms": 7.0, "p95_ms": 9.0, "memory": 3}
    job = Job.objects.create(
        kind="reoptimize", state="succeeded", version=other, device=device, result={"candidates": [row]}
    )
    found = known_of(device=device.pk, version=str(other))
    assert (found["compute_ms"].value, found["compute_ms"].kind) == (9, "measured")
    assert found["compute_ms"].url == f"/jobs/{job.pk}"


def test_what_the_server_timed_is_an_estimate_for_a_device_and_a_measurement_for_itself(fleet):
    Device.objects.update(active_manifest="")
    found = known_of(version="tabletop@2", **{"class": "embedded"})
    assert found["compute_ms"].kind == "estimated"
    assert "bench-1" in found["compute_ms"].source
    assert (found["server_ms"].kind, found["need_memory"].kind, found["size"].kind) == ("measured",) * 3
    assert found["slim_size"].value < found["size"].value


def test_a_class_is_planned_by_its_least_device(fleet):
    Device.objects.filter(device_class="embedded").update(memory_total=4 * GIB)
    weak = Device.objects.filter(device_class="embedded").first()
    Device.objects.filter(pk=weak.pk).update(memory_total=2 * GIB)
    found = known_of(**{"class": "embedded"}, version="tabletop@1")
    assert found["memory"].value == 2 * GIB
    assert found["memory"].source.startswith("the least of ")


def test_a_class_is_planned_by_all_decisions_that_its_devices_took(fleet):
    """p95 of all of them, not a mean of the devices' own."""
    won = ModelVersion.objects.get(number=1).variants.get(device_class="embedded", trial__verdict="won")
    embedded = [device for device in fleet.devices if device.device_class == "embedded"][:3]
    now = timezone.now()
    rows = [
        Sample(
            device=device,
            at=now - timedelta(minutes=5, seconds=n),
            received_at=now,
            boot_id="b",
            seq=n,
            decisions=100 if number else 2,
            latency_p50=40.0 if number else 900.0,
            latency_p95=60.0 if number else 900.0,
            stage_queue=1.0,
            stage_preprocess=6.0,
            stage_compute=30.0,
            stage_postprocess=3.0,
            manifest=won.manifest_digest,
        )
        for number, device in enumerate(embedded)
        for n in range(5)
    ]
    stored.add(rows)
    found = known_of(**{"class": "embedded"}, version="tabletop@1")
    assert found["compute_ms"].value == pytest.approx(60 * 0.75, rel=0.03)
    assert found["other_ms"].value == pytest.approx(60 * 0.25, rel=0.03)
    assert found["compute_ms"].kind == "measured"
    assert found["compute_ms"].source.startswith("p95 of 1,010 decisions on embedded devices, last hour")


def test_a_class_without_devices_is_what_searches_assume(db):
    assert known_of(**{"class": "mobile"})["memory"] == Known(8 * GIB, "assumed", "what mobile devices are taken for")


def test_a_policy_card_says_what_would_be_sent_and_how_often(fleet):
    ModelVersion.objects.update(card=CARD)
    found = known_of(version="tabletop@1")
    assert found["observation"].value == 3 * 64 * 64 + 8 * 8 + 4 * 7
    assert found["observation_s"].value == 0.2
    assert found["answer"].value == 4 * 8 * 7
    assert (found["latency_limit"].value, found["latency_limit"].source) == (100, "policy card")


def test_the_version_of_a_device_is_the_one_it_runs(device):
    chosen = select.choose({"device": device.pk})
    assert chosen.full.digest == device.active_manifest
    assert str(chosen.version) in ("tabletop@1", "tabletop@2")


# --- The form -------------------------------------------------------------------------------------------------------


def test_a_hand_typed_number_is_seen_beside_what_was_measured_and_can_be_put_back(device, viewer):
    page = viewer.get("/planner", {"device": device.pk, "compute_ms": "150"})
    assert 'value="150"' in page.text
    assert f"by hand ; measured 45 ms, {device.name}" in text_of(page).replace("hand;", "hand ;")
    assert f'href="?device={device.pk}">put back' in page.text
    assert "Full fits" not in text_of(page)
    assert "Full fits" in text_of(viewer.get("/planner", {"device": device.pk, "link": "0"}))


class Form(HTMLParser):
    """What a browser without scripts sends of the planner's form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sent: dict[str, str] = {}
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside |= given.get("id") == "planner-form"
        if self._inside and tag == "input":
            self.sent[given["name"]] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "form"


def over(page: str) -> list[str]:
    """The fields that stand there as typed over."""
    return re.findall(r'class="field over"\s+id="plan-field-(\w+)"', page)


def test_a_form_without_scripts_sends_every_field_and_none_of_them_was_typed(device, viewer):
    sent = Form(viewer.get("/planner", {"device": device.pk}).text).sent
    assert (sent["compute_ms"], sent["filled.compute_ms"]) == ("45 ms", "45 ms")
    assert sent["slim_memory"], "estimated"
    Device.objects.filter(pk=device.pk).update(latency_p95=80.0)  # while somebody looks at the form
    answer = viewer.get("/planner", sent)
    assert answer.url == f"/planner?device={device.pk}"
    changed = viewer.get("/planner", sent | {"need_memory": "1 GiB"}, follow=True)
    assert changed.redirect_chain == [(f"/planner?device={device.pk}&need_memory=1+GiB", 302)]
    assert over(changed.text) == ["need_memory"]


def test_without_scripts_another_device_brings_its_own_numbers_and_what_was_typed_stays(device, fleet, viewer):
    other = fleet.devices[1]
    sampled(other, stage_compute=3.0)
    Device.objects.filter(pk=other.pk).update(latency_p95=26.0)
    sent = Form(viewer.get("/planner", {"device": device.pk, "link": "10 Mbit/s"}).text).sent
    page = viewer.get("/planner", sent | {"device": other.name}, follow=True)
    assert over(page.text) == ["link"]
    assert f"measured · {other.name}" in text_of(page)
    assert Form(page.text).sent["compute_ms"] == "6 ms"
    back = Form(page.text).sent
    assert over(viewer.get("/planner", back | {"link": ""}, follow=True).text) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.key)
def test_a_worked_case_fills_the_form_in_one_click(viewer, example, db):
    offer = next(each for each in examples({}) if each.example is example)
    assert f'href="{offer.url}"'.replace("&", "&amp;") in viewer.get("/planner").text
    page = viewer.get("/planner" + offer.url)
    for name, value in example.values.items():
        assert re.search(rf'name="{name}"\s+value="{re.escape(value)}"', page.text), name
    expected = {
        "edge": ("Full fits.", "A decision takes 32 ms in full and 300 ms in the cloud: −89 %."),
        "memory": ("Hybrid may fit", "With 13.4 GiB more memory and 4 more cores, full would fit"),
        "computing": ("Hybrid may fit", "It needs 20 TFLOPS; there are 10."),
        "bandwidth": ("Full fits.", "It sends and gets 20 MB/s (160 Mbit/s); 1.25 MB/s (10 Mbit/s) are allowed."),
    }[example.key]
    for words in expected:
        assert words in text_of(page)


def test_nothing_asked_teaches_what_to_do(viewer, db):
    page = viewer.get("/planner")
    assert "Choose a model's version and a device" in text_of(page)
    assert "plan-modes" not in page.text


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"memory": "lots"}, "Write a number with a point, as in 1.5 GiB."),
        ({"memory": "8 Mbit/s"}, "Mbit/s is no unit here"),
        ({"device": "d-none"}, "There is no device called d-none."),
        ({"version": "arm@9"}, "There is no version arm@9."),
        ({"version": "@"}, "There is no version @."),
        ({"version": "arm@" + "9" * 40}, "There is no version arm@999"),
        ({"class": "toaster", "memory": "1"}, "By cores and memory"),
        ({"device": "\0<script>alert(1)</script>"}, "There is no device called <script>"),
    ],
)
def test_what_cannot_be_read_says_so_beside_its_field(viewer, db, asked, words):
    page = viewer.get("/planner", asked)
    assert page.status_code == 200
    assert words.removesuffix("<script>") in text_of(page)
    assert "<script>alert" not in page.text


def test_a_part_of_the_page_is_the_form_with_its_answer(viewer, device):
    headers = {"HX-Request": "true", "HX-Target": "planner"}
    part = viewer.get("/planner", {"device": device.pk}, headers=headers)
    assert part.text.lstrip().startswith('<div id="planner"')
    assert "<html" not in part.text


def test_devices_are_offered_while_one_types_and_never_all_of_them(viewer, sample_fleet):
    sample_fleet(200)
    page = viewer.get("/planner", {"device": "cam-"})
    assert 0 < page.text.count('<option value="cam-') <= select.MOST_DEVICES


def test_the_ways_to_it(viewer, operating, device):
    for client in (viewer, operating):
        assert f'href="/planner?device={device.pk}"' in client.get(f"/devices/{device.pk}").text
        assert 'href="/planner?version=tabletop%402"' in client.get("/models/tabletop/2").text
        assert 'href="/planner"' in client.get("/").text


# --- The API --------------------------------------------------------------------------------------------------------


def planned(client, bearer, people, **body):
    return client.post("/api/plan", json.dumps(body), "application/json", **bearer(people[Role.VIEWER]))


def test_a_program_gets_the_same_answer(client, bearer, people, device, viewer):
    answer = planned(client, bearer, people, device=device.name, given={"compute_ms": 150.0}).json()
    page = text_of(viewer.get("/planner", {"device": device.pk, "compute_ms": "150"}))
    for words in ("headline", "why"):
        assert answer[words].replace("\N{NO-BREAK SPACE}", " ") in page
    inputs = {each["name"]: each for each in answer["inputs"]}
    assert inputs["compute_ms"] == {
        "name": "compute_ms",
        "value": 150,
        "unit": "ms",
        "given": True,
        "known": pytest.approx(45),
        "kind": "measured",
        "source": f"{device.name}, p95, by stage in the last 15 min",
    }
    assert inputs["memory"]["unit"] == "bytes"


def test_a_program_reads_both_units_and_no_infinity(client, bearer, people, db):
    given = {"observation": 10e6, "observation_s": 1, "answer": 1e6, "answer_s": 0.1, "link": 0, "memory": 8 * GIB}
    answer = planned(client, bearer, people, given=given)
    cloud = json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))["modes"][3]
    assert (cloud["mode"], cloud["bandwidth"], cloud["bandwidth_mbit"]) == ("cloud", 20e6, 160)
    assert (cloud["endless"], cloud["latency_ms"]["total"], cloud["fits"]) == (True, None, False)
    assert cloud["reasons"] == ["It needs a network, and there is none."]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"device": "none"}, "There is no device called none."),
        ({"given": {"memroy": 1}}, "There is no input memroy; there are cores, memory,"),
        ({"given": {"memory": -1}}, "Memory is 0.001 to 1,048,576 GiB, not -9.31323e-10."),
    ],
)
def test_a_program_that_asks_wrongly_is_told_how(client, bearer, people, body, words):
    answer = planned(client, bearer, people, **body)
    assert answer.status_code == 409
    assert words in answer.json()["detail"]
