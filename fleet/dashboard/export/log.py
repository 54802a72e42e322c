"""What was done and what happened: jobs and events."""

from datetime import datetime
from typing import Any

from fleet.audit.models import Event
from fleet.dashboard.export.reading import Params, newest_first
from fleet.dashboard.export.table import Table, count, number, text, time
from fleet.dashboard.selectors import events as of_events
from fleet.dashboard.selectors import jobs as of_jobs
from fleet.jobs.models import Job


def jobs(params: Params, of: str, now: datetime) -> Table[Job]:
    columns = (
        count("job", lambda j: j.pk),
        text("kind", lambda j: j.kind),
        text("state", lambda j: j.state),
        text("version", lambda j: _name(j, "version")),
        text("device", lambda j: j.device_id or ""),
        text("class", lambda j: j.device_class),
        number("progress_percent", lambda j: round(100 * j.progress, 1)),
        text("step", lambda j: j.step),
        text("reason", lambda j: j.reason),
        text("started_by", lambda j: j.created_by.username if j.created_by else ""),
        time("created_at", lambda j: j.created_at),
        time("started_at", lambda j: j.started_at),
        time("finished_at", lambda j: j.finished_at),
    )
    return Table("jobs", columns, newest_first(of_jobs.chosen(params)))


def events(params: Params, of: str, now: datetime) -> Table[Event]:
    columns = (
        count("event", lambda e: e.pk),
        time("at", lambda e: e.at),
        text("level", lambda e: e.level),
        text("kind", lambda e: e.kind),
        text("text", lambda e: e.text),
        text("detail", lambda e: e.detail),
        text("by", lambda e: e.actor.username if e.actor else ""),
        text("device", lambda e: e.device_id or ""),
        count("rollout", lambda e: e.rollout_id),
        text("version", lambda e: _name(e, "version")),
        count("job", lambda e: e.job_id),
    )
    return Table("events", columns, newest_first(of_events.with_subjects(of_events.found(params))))


def _name(row: Any, of: str) -> str:
    return str(getattr(row, of)) if getattr(row, f"{of}_id") is not None else ""
