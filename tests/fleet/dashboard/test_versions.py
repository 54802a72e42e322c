"""The page of a version: what was made of it, with what figures, and why."""

import json
import re

import pytest
from django.utils import timezone

from fleet.catalog.models import Trial
from fleet.dashboard.selectors.trials import trials
from fleet.dashboard.selectors.versions import by_class, comparison
from fleet.devices.models import Device
from fleet.jobs.models import Job
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.support import HTMX


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
        "It lost 3.6 points of success (95 % interval 2.7 to 4.5, 1000 paired episodes); 2 points are allowed.",
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
