"""Uploading a model, reading what was made of it, optimizing and releasing it."""

import json
import re

import onnx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from onnx import TensorProto, helper

from fleet.audit.models import Event
from fleet.catalog.models import Model, ModelVersion, Release, Trial
from fleet.dashboard.selectors.trials import trials
from fleet.dashboard.selectors.versions import by_class, comparison
from fleet.devices.models import Device
from fleet.jobs.models import Job
from tests.fleet.builders import make_release, make_variant, make_version

HTMX = {"HX-Request": "true"}
CARD = {
    "schema": 1,
    "name": "doubler",
    "inputs": {"x": {"kind": "state", "size": 2}},
    "actions": {"output": "y", "chunk": 1, "size": 2, "execute": 1, "low": [-1, -1], "high": [1, 1]},
}


def model_bytes() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def form(**given) -> dict:
    return {
        "name": "Doubler",
        "upload": SimpleUploadedFile("doubler.onnx", model_bytes()),
        "evaluator": "",
        "notes": "a note that must not be lost",
        **given,
    }


# --- Upload ---------------------------------------------------------------------------------------------------------


def test_an_upload_becomes_the_next_version_and_leads_to_its_page(operating, db):
    card = SimpleUploadedFile("card.json", json.dumps(CARD).encode())
    answer = operating.post("/upload", form(card=card), headers=HTMX)
    assert answer.headers["HX-Redirect"] == "/models/doubler/1"
    version = ModelVersion.objects.get()
    assert (version.format, version.card["name"], version.file_name) == ("onnx", "doubler", "doubler.onnx")
    text = operating.get("/models/doubler/1").text
    assert "a note that must not be lost" in text
    assert "No variant yet" in text
    size = f"{version.size} B"
    assert size in text.replace("\N{NO-BREAK SPACE}", " ")
    assert Event.objects.get(kind="version.uploaded").text == f"doubler@1 was uploaded, {size}"
    assert operating.post("/upload", form()).url == "/models/doubler/2"


def test_a_model_of_a_few_bytes_is_a_real_one():
    onnx.checker.check_model(onnx.load_from_string(model_bytes()))


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"name": ""}, "name", "This field is required."),
        ({"name": "***"}, None, "needs at least one letter or digit"),
        ({"upload": ""}, "upload", "This field is required."),
        (
            {"upload": SimpleUploadedFile("weights.pth", b"x")},
            "upload",
            "weights.pth is neither a .pt2 nor an .onnx file.",
        ),
        ({"upload": SimpleUploadedFile("empty.onnx", b"")}, "upload", "The submitted file is empty."),
        ({"upload": SimpleUploadedFile("m.onnx", b"\x80\x04pickle")}, None, "pickle"),
        ({"card": SimpleUploadedFile("card.json", b"{")}, "card", "The policy card is not valid"),
        ({"card": SimpleUploadedFile("c.json", json.dumps({**CARD, "speed": 9}).encode())}, "card", "speed"),
        ({"evaluator": "os.system"}, "evaluator", "Select a valid choice."),
        ({"evaluator": "tabletop"}, None, "The evaluator tabletop needs a policy card"),
        ({"notes": "x" * 1025}, "notes", "at most 1024 characters"),
    ],
)
def test_a_bad_upload_is_said_where_it_is_wrong_and_nothing_is_lost(operating, db, given, field, says):
    answer = operating.post("/upload", form(**given), headers=HTMX)
    assert answer.status_code == 422
    assert "<html" not in answer.text, "the form alone: chosen files stay in the browser"
    assert says in answer.text
    if field:
        assert f'id="id_{field}-error"' in answer.text
    else:
        assert 'role="alert"' in answer.text
    if "notes" not in given:
        assert "a note that must not be lost" in answer.text
    assert not ModelVersion.objects.exists()


def test_without_scripts_a_bad_upload_is_the_whole_page(operating, db):
    answer = operating.post("/upload", form(name=""))
    assert answer.status_code == 422
    assert "<html" in answer.text
    assert "a note that must not be lost" in answer.text


def test_a_file_over_the_limit_is_refused(operating, db, settings):
    settings.MAX_UPLOAD_BYTES = 10
    answer = operating.post("/upload", form(), headers=HTMX)
    assert "the limit is 10" in answer.text.replace("\N{NO-BREAK SPACE}", " ")


# --- A version ------------------------------------------------------------------------------------------------------


def test_variants_stand_beside_the_original_of_their_class(sample_fleet):
    version = sample_fleet(4).versions[1]
    work = by_class(trials(version))
    assert [one.device_class for one in work] == ["embedded", "mobile", "edge_server"]
    lines = {line.name: line for line in comparison(work, version.size)}
    size = lines["Model file"].cells[0]
    assert (str(size.figure), str(size.change), size.better) == (
        "1.99\N{NO-BREAK SPACE}MB",
        "−62\N{NO-BREAK SPACE}%",
        True,
    )
    transfer = lines["To transfer"].cells[0].figure
    assert str(transfer) == "2.06\N{NO-BREAK SPACE}MB", "the release dialog and the rollout's preview say as much"


def test_latencies_are_those_that_the_verdicts_were_made_of(sample_fleet):
    """Both were timed in turn: by milliseconds of two moments the winner would be slower than the original."""
    version = sample_fleet(4).versions[1]
    stored = {trial.name: trial.figures for trial in version.trials.filter(device_class="embedded")}
    won = "50 % cut, fp16 storage"
    assert stored[won]["p50_ms"] > stored["original"]["p50_ms"]
    work = by_class(trials(version))
    shown = {one.name: one for one in work[0].trials}
    assert shown["original"].p50 == stored["original"]["p50_ms"]
    assert shown[won].p50 == pytest.approx(stored["original"]["p50_ms"] * stored[won]["ratio_p50"])
    assert shown[won].p95 / shown[won].p50 == pytest.approx(stored[won]["p95_ms"] / stored[won]["p50_ms"])
    lines = {line.name: line for line in comparison(work, version.size)}
    p50 = lines["Decision p50"].cells[0]
    assert (str(p50.change), p50.better) == ("−18\N{NO-BREAK SPACE}%", True)
    assert p50.between == "−20 to −16\N{NO-BREAK SPACE}%"
    drawn = {point.name: point.latency for point in work[0].points}
    assert drawn[won] == shown[won].p95


@pytest.mark.parametrize(
    ("ratio", "low", "high", "better"), [(0.98, 0.95, 1.01, None), (1.1, 1.05, 1.15, False), (0.9, 0.85, 0.95, True)]
)
def test_a_difference_within_the_noise_is_neither_better_nor_worse(sample_fleet, ratio, low, high, better):
    version = sample_fleet(4).versions[1]
    for trial in version.trials.filter(verdict="won"):
        trial.figures |= {"ratio_p50": ratio, "ratio_low": low, "ratio_high": high}
        trial.save()
    lines = {line.name: line for line in comparison(by_class(trials(version)), version.size)}
    assert [cell.better for cell in lines["Decision p50"].cells] == [better] * 3


def test_a_class_whose_original_was_timed_at_another_time_says_what_it_is_compared_with(sample_fleet, viewer):
    version = sample_fleet(4).versions[1]
    for trial in version.trials.filter(device_class="mobile"):
        trial.figures |= {"p50_ms": trial.figures["p50_ms"] / 2}
        trial.save()
    text = viewer.get("/models/tabletop/2").text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("of 0.650 ms") == 1
    assert "latency: timed in turn with the original on this server" in text


def test_the_page_says_why_one_won_and_why_each_other_did_not(sample_fleet, viewer):
    sample_fleet(4)
    text = re.sub(r"\s+", " ", viewer.get("/models/tabletop/2?class=mobile").text)
    assert "Why 50 % cut, fp16 storage won on mobile:</b> The least objective, 0.580," in text
    for reason in (
        "It lost 3.6 points (95 % interval 2.7 to 4.5); 2 points are allowed.",
        "has the lesser objective (0.580 against 0.714)",
    ):
        assert reason in text
    assert "n = 1,000" in text
    assert "prune (share 0.5, samples 512), store (bits 16)" in text


def test_the_chart_is_drawn_from_the_same_figures(sample_fleet, viewer):
    sample_fleet(4)
    text = viewer.get("/models/tabletop/2?class=embedded").text
    drawn = json.loads(re.search(r'<script id="pareto-embedded" type="application/json">(.*?)</script>', text)[1])
    chosen = next(trace for trace in drawn["data"] if trace.get("name") == "Chosen")
    assert chosen["text"] == ["2"], "the number that the table beside it gives it"
    assert re.search(r">2</span>\s*50 % cut, fp16 storage", text)
    assert [line["y0"] for line in drawn["layout"]["shapes"] if line["type"] == "line"] == [pytest.approx(95.0)]
    assert chosen["y"] == [pytest.approx(95.8)]
    assert chosen["error_y"]["array"] == [pytest.approx(0.9)], "the interval of the loss, which the gates are held to"
    assert "The mark must stay above the line, 2 points below the original; its bar may reach below." in flat(text)


def test_a_full_budgets_gate_is_drawn_for_the_interval(sample_fleet, viewer):
    version = sample_fleet(4).versions[1]
    job = Job.objects.filter(version=version, device_class="mobile", state="succeeded").get()
    job.result["gates"] |= {"loss_high": 1.5, "latency_ms": 20.0}
    job.save()
    work = by_class(trials(version))[1]
    assert (work.gate.least, work.gate.whole) == (pytest.approx(95.5), True)
    assert work.limit_ms(100.0) == 20.0
    text = viewer.get("/models/tabletop/2?class=mobile").text
    drawn = json.loads(re.search(r'<script id="pareto-mobile" type="application/json">(.*?)</script>', text)[1])
    assert "intervals above 95.5 %" in {said["text"] for said in drawn["layout"]["annotations"]}
    assert "The whole bar must stay above the line, 1.5 points below the original" in flat(text)
    assert f'These are the gates of <a href="/jobs/{job.pk}">job {job.pk}</a>.' in flat(text)


def test_a_trial_given_up_early_stands_where_its_paired_loss_puts_it(sample_fleet):
    """Its own success is of the first episodes alone, in which the original did better or worse than in all."""
    version = sample_fleet(4).versions[1]
    lost = version.trials.get(device_class="embedded", name="int8")
    lost.figures |= {"success": 0.98, "loss_points": 5.0, "loss_low": 3.0, "loss_high": 7.0, "episodes": 200}
    lost.save()
    point = next(point for point in by_class(trials(version))[0].points if point.name == "int8")
    assert (point.quality, point.low, point.high) == (pytest.approx(92.0), pytest.approx(90.0), pytest.approx(94.0))


# --- All figures, and where they come from --------------------------------------------------------------------------


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


def part_of(text: str, trial: Trial) -> str:
    return flat(re.search(rf'<tbody id="trial-{trial.pk}">(.*?)</tbody>', text, re.S)[1])


def test_every_figure_of_a_trial_can_be_read_with_where_it_was_measured(sample_fleet, viewer):
    version = sample_fleet(4).versions[1]
    trial = version.trials.get(device_class="embedded", name="50 % cut, fp16 storage")
    text = part_of(viewer.get("/models/tabletop/2?class=embedded").text, trial)
    for words in (
        "Measured on Intel(R) Xeon(R) Processor, bench-1 (Linux x86_64, 2 cores, 24 GiB), <time",
        'p50 1.07 ms, p95 1.33 ms <small class="faint">timed by itself: p50 1.35 ms, p95 1.69 ms</small>',
        "<dt>Decision, all 2 threads</dt> <dd > p50 0.945 ms, p95 1.28 ms",
        '0.82 times its latency <small class="faint">95 % interval 0.80 to 0.84</small>',
        "no energy counter that can be read",
        "<dt>Compressed</dt> <dd > 1.79 MB",
        "<dt>The model&#x27;s share</dt> <dd > 4.18 MiB",
        "mean 0.99890, least 0.98990",
        "largest 0.01, mean 0.0004",
        "95 % interval 94.6 to 97.0, 1,000 episodes",
        '1.2 points <small class="faint">95 % interval 0.3 to 2.1, 1,000 paired episodes</small>',
        "1.08 times the original&#x27;s",
        "<dt>Actions beyond the card&#x27;s limits</dt> <dd > 0.04 %",
        "<dt>Loading the model</dt> <dd > 14.2 ms",
        "<dt>Measuring all this</dt> <dd > 34 s",
        f'title="{"5f" * 32}"> sha256 5f5f5f5f5f5f…',
        "onnxruntime 1.32.0",
        "by operator-person, <time",
        f'Measured and judged by <a href="/jobs/{trial.job_id}">job {trial.job_id}</a>',
    ):
        assert words in text, words


def test_a_trial_that_broke_says_that_it_was_not_measured(viewer, db):
    trial = Trial.objects.create(
        version=make_version(), device_class="mobile", key="k", name="int8", verdict="failed", reason="It failed."
    )
    text = part_of(viewer.get("/models/arm/1").text, trial)
    assert text.count("Not measured: the trial ended before.") == 3
    assert "Where it was measured was not recorded." in text


def test_what_a_device_measured_itself_stands_beside(sample_fleet, viewer, device):
    version = sample_fleet(4).versions[1]
    trial = version.trials.get(device_class="embedded", name="fp16 storage")
    row = {"name": trial.name, "manifest": trial.variant.manifest_digest, "p50_ms": 9.5, "p95_ms": 12.4}
    for p95 in (99.0, 12.4):  # the newest counts
        Job.objects.create(
            kind="reoptimize",
            state="succeeded",
            version=version,
            device=device,
            finished_at=timezone.now(),
            result={"candidates": [{**row, "p95_ms": p95, "memory": 2**26, "error": 2e-4}, {"manifest": "gone"}]},
        )
    Device.objects.filter(pk=device.pk).update(
        active_manifest=trial.variant.manifest_digest, latency_p50=11, latency_p95=14, simulated=True
    )
    text = part_of(viewer.get("/models/tabletop/2?class=embedded").text, trial)
    assert f"<dt>on {device.name}</dt>" in text
    assert "p50 9.50 ms, p95 12.4 ms</a>, <time" in text
    assert "peak 64 MiB, largest difference 0.0002, simulated: this host&#x27;s time" in text
    assert "99 ms" not in text
    assert "<dt>on 1 device now</dt> <dd > p50 11 ms on average, p95 at most 14 ms" in text
    assert "1 of them simulated" in text


def test_who_released_what_and_why_stands_at_the_release_and_beside_the_trial(operating, db):
    version = make_version()
    won = make_variant(version, "mobile")
    other = make_variant(version, "mobile", "int8", "passed")
    operating.post("/models/arm/1/release", {"mobile": other.pk, "notes": "the line stops at 9 ms"}, headers=HTMX)
    text = operating.get("/models/arm/1").text
    beside = part_of(text, other.trial)
    assert re.search(r"In release 1 by operator-person, <time.*</time>: the line stops at 9 ms", beside)
    assert "In release" not in part_of(text, won.trial)
    release = flat(re.search(r'<li id="release-\d+">(.*?)</li>', text, re.S)[1])
    assert "by operator-person: the line stops at 9 ms" in release


def test_a_class_in_which_nothing_passed_says_so(viewer, db):
    version = make_version()
    Trial.objects.create(
        version=version,
        device_class="mobile",
        key="k",
        name="int8",
        verdict="failed",
        reason="the export failed",
        figures={},
    )
    text = viewer.get("/models/arm/1").text
    assert "Nothing that was tried for mobile passed its gates." in text
    assert "the export failed" in text
    assert "not reported" in text, "a trial that broke has no figures, and no zeros"
    assert "<figure" not in text


def test_an_unmeasured_figure_is_not_a_zero(viewer, db):
    make_variant(make_version(), "embedded")
    text = re.sub(r"\s+", " ", viewer.get("/models/arm/1").text)
    assert re.search(r"Peak memory </th> <td[^>]*>not reported</td> <td[^>]*> <b>not reported</b>", text)
    assert "0 B" not in text


# --- Optimize -------------------------------------------------------------------------------------------------------

OPTIMIZE = {
    "device_class": "mobile",
    "goal": "balanced",
    "budget": "quick",
    "compression": "",
    "bits": "",
    "pruning": "",
    "max_success_loss": "",
}


def test_an_optimization_starts_and_leads_to_its_job(operating, db):
    make_version()
    asked = {"bits": "16", "max_success_loss": "3", "max_latency_ms": "20", "latency": "4", "max_mb": "1.5"}
    answer = operating.post("/models/arm/1/optimize", {**OPTIMIZE, **asked}, headers=HTMX)
    job = Job.objects.get()
    assert answer.headers["HX-Redirect"] == f"/jobs/{job.pk}"
    assert (job.device_class, job.params["bits"], job.params["max_success_loss"]) == ("mobile", 16, 3.0)
    assert (job.params["budget"], job.params["max_latency_ms"]) == ("quick", 20.0)
    assert (job.params["max_bytes"], job.params["max_memory_bytes"]) == (1_500_000, None)
    assert job.params["weights"] == {"latency": 4.0, "size": 1.0, "shortage": 10.0}
    again = operating.post("/models/arm/1/optimize", OPTIMIZE, headers=HTMX)
    assert again.status_code == 422
    assert "already being optimized for mobile" in again.text


def test_parts_that_the_card_names_have_settings_of_their_own(operating, db):
    version = make_version()
    assert "bits:vision" not in operating.get("/models/arm/1").text
    version.card = {"parts": {"vision": ["vision."], "action": ["action."]}}
    version.save(update_fields=["card"])
    assert "Pruning, action" in operating.get("/models/arm/1").text
    wrong = operating.post("/models/arm/1/optimize", {**OPTIMIZE, "pruning:action": "0.7"}, headers=HTMX)
    assert wrong.status_code == 422
    assert "less than or equal to 0.5" in wrong.text
    asked = {"bits:action": "32", "pruning:action": "0", "pruning:vision": "0.25"}
    operating.post("/models/arm/1/optimize", {**OPTIMIZE, **asked}, headers=HTMX)
    assert Job.objects.get().params["parts"] == {"vision": {"pruning": 0.25}, "action": {"bits": 32, "pruning": 0.0}}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("device_class", "toaster", "Select a valid choice."),
        ("goal", "magic", "Select a valid choice."),
        ("compression", "0.95", "less than or equal to 0.9"),
        ("compression", "nan", "Enter a number."),
        ("bits", "4", "Select a valid choice."),
        ("pruning", "0.6", "less than or equal to 0.5"),
        ("pruning", "-1", "greater than or equal to 0.1"),
        ("max_success_loss", "101", "less than or equal to 100"),
        ("budget", "endless", "Select a valid choice."),
        ("max_latency_ms", "0", "greater than or equal to 0.001"),
        ("shortage", "-1", "greater than or equal to 0"),
        ("max_memory_mib", "0", "greater than or equal to 0.001"),
    ],
)
def test_a_setting_out_of_range_is_said_beside_its_field(operating, db, field, value, says):
    make_version()
    answer = operating.post("/models/arm/1/optimize", {**OPTIMIZE, field: value}, headers=HTMX)
    assert answer.status_code == 422
    assert says in answer.text
    assert f'id="id_{field}-error"' in answer.text
    assert not Job.objects.exists()


def test_the_form_says_what_each_class_starts_from_and_what_an_onnx_cannot_have(operating, db):
    make_version()
    text = operating.get("/models/arm/1").text
    assert "embedded: compression 0.6, 8 bits, pruning 0.5" in text
    assert "Has no effect here: cutting needs the program" in text
    Model.objects.get()
    ModelVersion.objects.update(format="pt2")
    assert "Has no effect here" not in operating.get("/models/arm/1").text


# --- Release --------------------------------------------------------------------------------------------------------


def test_a_release_takes_the_winners_unless_told_otherwise(operating, db):
    version = make_version()
    winner, other = make_variant(version, "mobile"), make_variant(version, "mobile", "int8", "passed")
    text = operating.get("/models/arm/1").text
    assert re.search(rf'<option value="{winner.pk}" selected>', text)
    answer = operating.post("/models/arm/1/release", {"mobile": other.pk, "notes": "for the hall"}, headers=HTMX)
    release = Release.objects.get()
    assert answer.headers["HX-Redirect"] == f"/rollouts/new?release={release.pk}"
    assert list(release.variants.all()) == [other]
    assert "to transfer, the winner)" in text
    assert "for the hall" in operating.get("/models/arm/1").text


@pytest.mark.parametrize(
    ("given", "says"), [({}, "needs at least one variant"), ({"mobile": "999"}, "Select a valid choice.")]
)
def test_a_release_of_nothing_is_refused(operating, db, given, says):
    make_variant(make_version(), "mobile")
    answer = operating.post("/models/arm/1/release", given, headers=HTMX)
    assert answer.status_code == 422
    assert says in answer.text
    assert not Release.objects.exists()


def test_one_that_has_not_won_is_released_only_with_a_reason_which_is_kept(operating, db):
    version = make_version()
    make_variant(version, "mobile")
    other = make_variant(version, "mobile", "int8", "passed")
    answer = operating.post("/models/arm/1/release", {"mobile": other.pk}, headers=HTMX)
    assert answer.status_code == 422
    assert "int8 is not the winner of its class: say in the notes why" in answer.text
    operating.post("/models/arm/1/release", {"mobile": other.pk, "notes": "the line stops at 9 ms"}, headers=HTMX)
    assert Release.objects.get().notes == "the line stops at 9 ms"
    assert "the line stops at 9 ms" in operating.get("/events").text


def test_without_an_evaluation_a_person_has_to_answer_for_the_release(operating, db):
    variant = make_variant(make_version(evaluation=""), "mobile")
    assert "not whether they still do their job" in operating.get("/models/arm/1").text
    assert operating.post("/models/arm/1/release", {"mobile": variant.pk}, headers=HTMX).status_code == 422
    assert not Release.objects.exists()
    operating.post("/models/arm/1/release", {"mobile": variant.pk, "confirmed": "on"}, headers=HTMX)
    assert list(Release.objects.get().variants.all()) == [variant]


def test_another_versions_variant_cannot_be_released_here(operating, db):
    make_variant(make_version("arm"), "mobile")
    stranger = make_variant(make_version("other"), "mobile")
    assert operating.post("/models/arm/1/release", {"mobile": stranger.pk}, headers=HTMX).status_code == 422


def test_the_lists_count_versions_releases_and_devices(viewer, device):
    release = make_release(make_version("arm", 1))
    make_version("arm", 2)
    type(device).objects.update(active_manifest=release.variants.get(device_class="embedded").manifest_digest)
    row = re.search(r'id="model-arm">(.*?)</tr>', viewer.get("/models").text, re.S)[1]
    assert re.findall(r">\s*(\d+)\s*<", row) == ["2", "1", "1"]
    versions = re.findall(r'id="version-(\d)">(.*?)</tr>', viewer.get("/models/arm").text, re.S)
    assert [number for number, _ in versions] == ["2", "1"]
    assert "none yet" in versions[0][1]
    assert "embedded" in versions[1][1]
