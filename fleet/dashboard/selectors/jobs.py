"""Jobs: what is being made, how far it is, and what its log says."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import QuerySet

from fleet.catalog.models import Trial
from fleet.dashboard import listing
from fleet.dashboard.selectors.trials import Measured, compared, measured_of
from fleet.jobs.models import Job, JobLine

STATES = tuple(value for value, _ in Job.STATES)
#: The log shows its newest lines; the first ones are of no use while it runs.
MOST_LINES = 400


@dataclass(frozen=True, slots=True)
class JobList:
    rows: list[Job]
    pager: listing.Pager
    state: listing.State
    chosen: str


def chosen(params: Mapping[str, str]) -> QuerySet[Job]:
    """Those in the state that is asked for, newest first."""
    state = listing.choice(params, "state", STATES)
    rows = Job.objects.filter(state=state) if state else Job.objects.all()
    return rows.select_related("version__model", "device", "created_by")


def jobs(params: Mapping[str, str]) -> JobList:
    """Two queries."""
    rows, wanted = chosen(params), listing.choice(params, "state", STATES)
    pager = listing.pager(params, rows.count(), 50)
    state = listing.State({"state": wanted, "page": str(pager.number) if pager.number > 1 else ""})
    return JobList(list(rows[pager.start : pager.end]), pager, state, wanted)


@dataclass(frozen=True, slots=True)
class Log:
    """The newest lines, oldest of them first; cut says that there were more."""

    lines: list[JobLine]
    cut: bool


def log(job: Job) -> Log:
    lines = list(job.lines.order_by("-id")[: MOST_LINES + 1])
    return Log(lines[MOST_LINES - 1 :: -1] if len(lines) > MOST_LINES else lines[::-1], len(lines) > MOST_LINES)


def trials(job: Job) -> list[Measured]:
    """What this job measured so far, in the order it was measured, beside the original; one query."""
    rows = Trial.objects.filter(job=job).select_related("variant", "job").order_by("id")
    return compared([measured_of(row) for row in rows])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that a re-optimization compared on the device. What was not measured has a reason and no figures."""

    name: str
    bytes: int
    p50: float | None
    p95: float | None
    memory: int | None
    score: float | None
    reason: str
    verdict: str


def candidates(job: Job) -> list[Candidate]:
    """What the device measured for this job, from the job's result: the rows of fleet.jobs.reoptimize."""
    made = []
    for row in job.result.get("candidates", ()):
        measured = "score" in row
        won = measured and row["manifest"] == job.result.get("winner_manifest")
        made.append(
            Candidate(
                name=row["name"],
                bytes=row["bytes"],
                p50=row.get("p50_ms"),
                p95=row.get("p95_ms"),
                memory=row.get("memory"),
                score=row.get("score"),
                reason=row.get("reason", ""),
                verdict="won" if won else "lost" if measured else "failed",
            )
        )
    return made
