"""Optimizing a version, and releasing what came of it."""

import re

import pytest

from fleet.catalog.models import Model, ModelVersion, Release
from fleet.jobs.models import Job
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.support import HTMX

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
