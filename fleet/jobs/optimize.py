"""Optimization: from one upload and one class to measured trials, variants of those that passed, and a winner."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings
from django.db import transaction

from agent.wire.hardware import DeviceClass
from fleet.catalog import store
from fleet.catalog.models import Trial
from fleet.catalog.services import EVALUATORS, add_variant
from fleet.jobs import queue
from fleet.jobs.models import Job

if TYPE_CHECKING:
    from fleet.jobs.tasks import Heartbeat
    from fleet.optimizer.contract import Outcome, Request

#: Progress is stored at most this often; a search may speak faster.
TELL_SECONDS = 0.5


def run(job: Job, heartbeat: "Heartbeat") -> dict:
    """Search, then store every trial and the variants of those that passed. Returns the job's result."""
    from fleet.optimizer import search
    from fleet.optimizer.errors import Cancelled

    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"job-{job.pk}-", dir=settings.WORK_DIR))
    try:
        outcome = search.optimize(_request(job), work, _teller(job), heartbeat.must_stop)
        heartbeat.check()
        return _keep(job, outcome)
    except Cancelled:
        heartbeat.check()
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _request(job: Job) -> "Request":
    from fleet.optimizer.contract import BUDGETS, Request, constraints
    from fleet.optimizer.objective import Weights
    from fleet.optimizer.recipe import recipe_for

    version, params = job.version, job.params
    device_class = DeviceClass(job.device_class)
    given = {name: params[name] for name in ("compression", "bits", "pruning", "parts") if name in params}
    return Request(
        source=str(store.path(version.digest)),
        format=version.format,
        device_class=device_class,
        recipe=recipe_for(device_class, params.get("goal", "balanced"), **given, known=version.card.get("parts", {})),
        cache=str(settings.DATA_DIR / "trials"),
        card=msgspec.json.encode(version.card) if version.card else None,
        evaluation=str(store.path(version.evaluation_digest)) if version.evaluation_digest else None,
        evaluator=EVALUATORS[version.evaluator] if version.evaluator else None,
        budget=BUDGETS[params.get("budget", "brief")],
        constraints=constraints(
            max_loss_points=params.get("max_success_loss"),
            **{name: params.get(name) for name in ("max_latency_ms", "max_bytes", "max_memory_bytes")},
        ),
        weights=Weights(**params["weights"]) if params.get("weights") else None,
    )


def _teller(job: Job):
    """Carries the search's words to the job's row, not faster than people read."""
    last = {"text": "", "at": 0.0}

    def tell(share: float, text: str) -> None:
        now = time.monotonic()
        if text == last["text"] and now - last["at"] < TELL_SECONDS:
            return
        if text != last["text"]:
            queue.log(job, text)
        last.update(text=text, at=now)
        Job.objects.filter(pk=job.pk, claim=job.claim).update(step=text[:256], progress=share)
        queue.tell(job)

    return tell


@transaction.atomic
def _keep(job: Job, outcome: "Outcome") -> dict:
    """A row for every trial. Those of an earlier search that were not tried again stay, but have not won."""
    version = job.version
    before = version.trials.filter(device_class=job.device_class)
    before.filter(verdict="won").update(verdict="passed")
    known = dict(before.values_list("key", "lineage"))
    asked = {
        "job": job.pk,
        "asked_by": job.created_by.username if job.created_by else "",
        "asked_at": job.created_at.isoformat(timespec="seconds"),
    }
    for tried in outcome.trials:
        trial, _ = Trial.objects.update_or_create(
            version=version,
            device_class=job.device_class,
            key=tried.key,
            defaults={
                "job": job,
                "name": tried.name,
                "recipe": tried.recipe,
                "figures": tried.figures,
                "lineage": _lineage(known.get(tried.key, {}), tried.lineage | asked),
                "verdict": tried.verdict,
                "reason": tried.reason[:1000],
                "score": tried.score,
            },
        )
        if tried.artifact:
            add_variant(trial, Path(tried.artifact))
    for line in outcome.log:
        queue.log(job, line)
    return {
        "summary": outcome.summary,
        "winner": outcome.winner,
        "lineage": outcome.lineage,
        "gates": outcome.gates,
    }


def _lineage(known: dict, new: dict) -> dict:
    """That of a measurement that was found again stays: it was made for who asked first."""
    same = known.get("job") and known.get("measured_at") and known["measured_at"] == new.get("measured_at")
    return known if same else new
