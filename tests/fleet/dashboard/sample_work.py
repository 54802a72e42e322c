"""What people and the server did: jobs, commands, and the events that tell of it."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User

from fleet.audit.models import Event
from fleet.catalog.models import ModelVersion, Trial
from fleet.devices.models import Device
from fleet.jobs.models import Job, JobLine
from fleet.rollouts.models import Command, Rollout
from tests.fleet.dashboard import sample_trials


def jobs(version: ModelVersion, operator: User, now: datetime) -> None:
    for number, (state, progress, device_class, reason) in enumerate(
        (
            ("succeeded", 1.0, "embedded", ""),
            ("succeeded", 1.0, "mobile", ""),
            ("failed", 0.3, "edge_server", "the export of aten::foo is not supported by ONNX opset 18"),
            ("running", 0.46, "edge_server", ""),
            ("queued", 0.0, "mobile", ""),
        )
    ):
        made = now - timedelta(hours=5 - number)
        job = Job.objects.create(
            kind="optimize",
            state=state,
            version=version,
            device_class=device_class,
            params={"goal": "balanced", "max_success_loss": 3},
            step="Running episodes of 50 % cut, fp16 storage: 460 of 1,000" if state == "running" else "In the queue",
            progress=progress,
            reason=reason,
            created_by=operator,
            created_at=made,
            started_at=made if state != "queued" else None,
            finished_at=made + timedelta(minutes=14) if state in ("succeeded", "failed") else None,
            heartbeat_at=now,
            attempts=1,
        )
        if state == "succeeded":
            job.result = {"gates": sample_trials.GATES}
            job.save()
            asked = {"job": job.pk, "asked_by": operator.username, "asked_at": made.isoformat()}
            Trial.objects.filter(version=version, device_class=device_class).update(
                job=job, lineage=sample_trials.LINEAGE | asked
            )
        if state == "running":
            Trial.objects.filter(version=version, device_class=device_class).update(job=job)
            lines = ["Started, attempt 1 of 3.", "Rewrote the archive: 41 tensors, 2 pickled entries dropped."]
            lines += [f"episode {n * 20} of 1,000: 96.{n % 10} % so far" for n in range(24)]
            JobLine.objects.bulk_create(
                JobLine(job=job, at=made + timedelta(seconds=n), text=text, level="warn" if n == 1 else "info")
                for n, text in enumerate(lines)
            )


def commands(device: Device, operator: User, now: datetime) -> None:
    for kind, state, reason in (
        ("ping", "succeeded", ""),
        ("benchmark", "rejected", "a decision is needed within 200 ms"),
        ("ping", "sent", ""),
    ):
        Command.objects.create(
            device=device,
            kind=kind,
            state=state,
            reason=reason,
            deadline=now + timedelta(minutes=2),
            created_by=operator,
        )


def events(device: Device, version: ModelVersion, operator: User, now: datetime) -> None:
    rollout = Rollout.objects.first()
    for minutes, kind, level, text, detail, subject in (
        (4000, "device.connected", "ok", f"{device.name} connected for the first time", "", {"device": device}),
        (900, "version.uploaded", "info", "tabletop@2 was uploaded, 5.26 MB", "", {"version": version}),
        (60, "job.succeeded", "ok", "Optimizing tabletop@2 for mobile succeeded", "", {}),
        (
            40,
            "rollout.started",
            "info",
            f"{rollout}: tabletop@2 release 1 to factory-floor",
            "380 to update, 0 already there",
            {"rollout": rollout},
        ),
        (
            6,
            "device.config",
            "info",
            f"Settings of {device.name}: telemetry every 5 s",
            "",
            {"device": device},
        ),
        (2, "job.failed", "bad", "Optimizing tabletop@2 for edge_server failed", "the export is not supported", {}),
    ):
        Event.objects.create(
            at=now - timedelta(minutes=minutes),
            kind=kind,
            level=level,
            text=text,
            detail=detail,
            actor=operator if level == "info" else None,
            **subject,
        )
