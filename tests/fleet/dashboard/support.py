"""A fleet in the database: rows as the server itself would have written them, so that pages have something to show."""

import json
import math
import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from agent.wire import manifest as wire
from agent.wire.hardware import GIB
from agent.wire.states import Admission
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
from fleet.audit.models import Event
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from fleet.devices.models import Device, EnrollmentToken, Group
from fleet.jobs.models import Job, JobLine
from fleet.rollouts.models import Command, Deployment, Rollout
from fleet.telemetry.models import Sample
from tests.fleet.dashboard import sample_trials

BOARDS = {
    "embedded": ("Raspberry Pi 4", 4, 4, "linux/arm64", 1.0),
    "mobile": ("Jetson Orin NX", 8, 16, "linux/arm64", 0.6),
    "edge_server": ("Industrial PC", 16, 64, "linux/amd64", 0.3),
}
PASSWORD = "a password of 12 letters"


def people() -> dict[Role, User]:
    return {role: create_person(f"{role.label}-person", role, None, PASSWORD)[0] for role in Role}


class SampleFleet:
    """Fills an empty database; the same seed gives the same fleet. The first device has samples of the last hours."""

    def __init__(self, devices: int, hours: int = 1, seed: int = 7, now: datetime | None = None) -> None:
        self.count = devices
        self.hours = hours
        self.random = random.Random(seed)  # noqa: S311  # sample data, no secrets
        self.now = now or timezone.now()

    def fill(self, operator: User) -> None:
        self.operator = operator
        self.versions = [self._version(1), self._version(2)]
        self.releases = [self._release(version) for version in self.versions]
        self.devices = self._devices()
        self.groups = self._groups()
        self._tokens()
        self._rollout(self.releases[0], self.groups[1], RolloutState.FINISHED, age=timedelta(days=3))
        self._rollout(self.releases[1], self.groups[0], RolloutState.RUNNING, age=timedelta(minutes=40))
        self._jobs()
        self._commands()
        self._events()
        if self.hours:
            self._samples(self.devices[0], self.hours)

    # --- Catalog ------------------------------------------------------------------------------------------------------

    def _version(self, number: int) -> ModelVersion:
        model, _ = Model.objects.get_or_create(
            name="tabletop", defaults={"description": "Grasps what it is told to on a table."}
        )
        version = ModelVersion.objects.create(
            model=model,
            number=number,
            format="pt2",
            file_name=f"tabletop-{number}.pt2",
            digest=wire.digest_of(f"file {number}".encode()),
            size=5_260_000,
            card={"name": "tabletop", "parts": {name: [f"{name}."] for name in ("vision", "language", "action")}},
            evaluator="tabletop",
            notes="" if number == 1 else "Trained 2,000 steps longer, with the lamp at the left.",
            uploaded_by=self.operator,
            created_at=self.now - timedelta(days=12 - 4 * number),
        )
        for device_class in BOARDS:
            self._trials(version, device_class)
        return version

    def _trials(self, version: ModelVersion, device_class: str) -> None:
        for tried in sample_trials.TRIED:
            trial = Trial.objects.create(
                version=version,
                device_class=device_class,
                key=wire.digest_of(f"{version.pk} {device_class} {tried.name}".encode()),
                name=tried.name,
                recipe=tried.recipe,
                figures=tried.figures(),
                lineage=sample_trials.LINEAGE,
                verdict=tried.verdict,
                reason=tried.reason,
                score=tried.score,
            )
            if tried.verdict in ("won", "passed"):
                self._variant(trial, tried.size)

    def _variant(self, trial: Trial, size: int) -> Variant:
        parts = tuple(
            wire.Part(wire.digest_of(f"{trial.key} {role}".encode()), length, role)
            for role, length in (("model", size), ("card", 2400), ("golden", 64_000))
        )
        made = wire.Manifest(
            model="tabletop",
            version=str(trial.version.number),
            variant=trial.name,
            device_class=trial.device_class,
            digest=wire.digest_of(trial.key.encode()),
            size=sum(part.size for part in parts),
            parts=parts,
            memory_bytes=52_000_000,
        )
        data = wire.encode(made)
        return Variant.objects.create(
            version=trial.version,
            device_class=trial.device_class,
            trial=trial,
            manifest_digest=wire.digest_of(data),
            manifest=json.loads(data),
            bytes=made.size,
        )

    def _release(self, version: ModelVersion) -> Release:
        release = Release.objects.create(version=version, number=1, created_by=self.operator)
        release.variants.set(version.variants.filter(trial__verdict="won"))
        return release

    # --- Devices ------------------------------------------------------------------------------------------------------

    def _devices(self) -> list[Device]:
        old = {variant.device_class: variant for variant in self.releases[0].variants.all()}
        made = [self._device(number, old) for number in range(self.count)]
        Device.objects.bulk_create(made, batch_size=200)
        return made

    def _device(self, number: int, old: dict[str, Variant]) -> Device:
        pick = self.random
        device_class = pick.choices(list(BOARDS), weights=(5, 4, 1))[0]
        board, cores, memory, platform, speed = BOARDS[device_class]
        name = {"embedded": "cam", "mobile": "arm", "edge_server": "ipc"}[device_class]
        away = pick.random() if number else 0.0  # the first one is always there
        fresh = self.now - timedelta(seconds=pick.uniform(0, 8))
        seen = fresh if away < 0.92 else self.now - timedelta(hours=pick.uniform(0.1, 60))
        state = "never" if away > 0.995 else "offline" if away > 0.93 else "silent" if away > 0.92 else "online"
        episodes = pick.randint(40, 900)
        latency = pick.gauss(48, 12) * speed + 8
        device = Device(
            id=f"d-{number:08x}",
            name=f"{name}-{number:04d}",
            nonce=f"n-{number:08x}",
            salt=b"",
            digest=b"",
            admission=Admission.PENDING if number % 125 == 124 else Admission.ACCEPTED,
            simulated=number % 3 == 2,
            created_at=self.now - timedelta(days=20, minutes=number),
            hardware={
                "cores": cores,
                "memory_bytes": memory * GIB,
                "storage_bytes": memory * 8 * GIB,
                "platform": platform,
                "board": board,
                "accelerators": [],
                "sensors": ["camera"],
                "declared": number % 3 == 2,
            },
            device_class=device_class,
        )
        if state == "never" or device.admission == Admission.PENDING:
            return device
        device.agent_version = "0.1.0"
        device.boot_id = f"b-{number:08x}"
        device.online = state in ("online", "silent")
        device.last_seen = seen
        device.sample_at = seen if state != "silent" else self.now - timedelta(minutes=4)
        device.active_manifest = old[device_class].manifest_digest
        device.active_since = self.now - timedelta(days=3)
        device.desired_manifest = device.active_manifest
        device.cpu_percent = pick.uniform(8, 60)
        device.memory_used = int(memory * GIB * pick.uniform(0.2, 0.8))
        device.memory_total = memory * GIB
        device.temperature = pick.gauss(56, 8) if number % 5 else None
        device.power = pick.uniform(2.5, 9) if number % 7 else None
        device.power_source = "" if device.power is None else "measured" if number % 2 else "estimated"
        device.latency_p50, device.latency_p95 = latency * 0.7, latency if number % 60 else latency + 60
        device.decisions, device.episodes = episodes * 40, episodes
        device.successes = int(episodes * min(max(pick.gauss(0.95, 0.03), 0), 1))
        device.cache_lookups, device.cache_hits = episodes * 40, episodes * pick.randint(2, 20)
        device.errors = 3 if number % 90 == 1 else 0
        return device

    def _groups(self) -> list[Group]:
        floor = Group.objects.create(name="factory-floor", description="Everything that moves in hall A")
        lab = Group.objects.create(name="lab", description="Benches; first to get anything")
        Group.objects.create(name="spare", description="")
        floor.devices.set(self.devices[: max(1, self.count * 4 // 5)])
        lab.devices.set(self.devices[-max(1, self.count // 10) :])
        return [floor, lab]

    def _tokens(self) -> None:
        for name, uses, limit, hours, revoked in (
            ("benches in hall A", 12, 40, 20, False),
            ("first shipment", 25, 25, 400, False),
            ("lost laptop", 1, 10, 90, True),
        ):
            EnrollmentToken.objects.create(
                name=name,
                salt=b"",
                digest=b"",
                uses=uses,
                max_uses=limit,
                created_by=self.operator,
                expires_at=self.now + timedelta(hours=hours),
                auto_accept=limit > 30,
                group=self.groups[0] if limit > 30 else None,
                revoked_at=self.now if revoked else None,
            )

    # --- Work ---------------------------------------------------------------------------------------------------------

    def _rollout(self, release: Release, group: Group, state: RolloutState, age: timedelta) -> Rollout:
        variants = {variant.device_class: variant for variant in release.variants.all()}
        started = self.now - age
        rollout = Rollout.objects.create(
            release=release,
            group=group,
            target=group.name,
            state=state,
            created_by=self.operator,
            created_at=started,
            started_at=started,
            finished_at=started + timedelta(minutes=9) if state == RolloutState.FINISHED else None,
            reason="every deployment has ended" if state == RolloutState.FINISHED else "",
        )
        rows = [
            self._deployment(rollout, device, variants[device.device_class], number)
            for number, device in enumerate(group.devices.filter(admission=Admission.ACCEPTED))
        ]
        Deployment.objects.bulk_create(rows, batch_size=200)
        if state == RolloutState.RUNNING:
            new = [row.device for row in rows if row.state == State.ACTIVE]
            for device in new:
                device.active_manifest = device.desired_manifest = variants[device.device_class].manifest_digest
            Device.objects.bulk_update(new, ["active_manifest", "desired_manifest"], batch_size=200)
        return rollout

    def _deployment(self, rollout: Rollout, device: Device, variant: Variant, number: int) -> Deployment:
        state, step, progress, reason = State.ACTIVE, "", 1.0, ""
        if rollout.state == RolloutState.RUNNING:
            place = number % 20
            if not device.online:
                state, progress = State.NOTIFIED, 0.0
            elif place in (11, 12):
                state, step, progress = State.DOWNLOADING, "1.2 of 2.0 MB", self.random.uniform(0.2, 0.9)
            elif place == 13:
                state, step, progress = State.SELF_TESTING, "golden observation 5 of 8", 0.6
            elif place == 14:
                state, step, progress = State.WATCHING, "38 s of 60 s", 0.63
            elif place in (15, 16):
                state, progress = State.QUEUED, 0.0
            elif number % 97 == 17:
                state, reason = State.ROLLED_BACK, "p95 118 ms in the first minute, the limit is 100 ms"
            elif number % 113 == 18:
                state, reason = State.REJECTED, "needs 2.1 MB of storage, 1.4 MB are free"
        ended = state in (State.ACTIVE, State.ROLLED_BACK, State.REJECTED)
        moved = rollout.started_at + timedelta(seconds=10 + number)
        return Deployment(
            id=f"p-{rollout.pk}-{number}",
            rollout=rollout,
            device=device,
            variant=variant,
            state=state,
            step=step,
            progress=progress,
            reason=reason,
            created_at=rollout.started_at,
            changed_at=min(moved, self.now),
            finished_at=min(moved, self.now) if ended else None,
            deadline=rollout.started_at + timedelta(days=7),
        )

    def _jobs(self) -> None:
        version = self.versions[1]
        for number, (state, progress, device_class, reason) in enumerate(
            (
                ("succeeded", 1.0, "embedded", ""),
                ("succeeded", 1.0, "mobile", ""),
                ("failed", 0.3, "edge_server", "the export of aten::foo is not supported by ONNX opset 18"),
                ("running", 0.46, "edge_server", ""),
                ("queued", 0.0, "mobile", ""),
            )
        ):
            made = self.now - timedelta(hours=5 - number)
            job = Job.objects.create(
                kind="optimize",
                state=state,
                version=version,
                device_class=device_class,
                params={"goal": "balanced", "max_success_loss": 3},
                step="Running episodes of 50 % cut, fp16 storage: 460 of 1,000"
                if state == "running"
                else "In the queue",
                progress=progress,
                reason=reason,
                created_by=self.operator,
                created_at=made,
                started_at=made if state != "queued" else None,
                finished_at=made + timedelta(minutes=14) if state in ("succeeded", "failed") else None,
                heartbeat_at=self.now,
                attempts=1,
            )
            if state == "succeeded":
                job.result = {"gates": sample_trials.GATES}
                job.save()
                asked = {"job": job.pk, "asked_by": self.operator.username, "asked_at": made.isoformat()}
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

    def _commands(self) -> None:
        device = self.devices[0]
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
                deadline=self.now + timedelta(minutes=2),
                created_by=self.operator,
            )

    def _events(self) -> None:
        device, rollout = self.devices[0], Rollout.objects.first()
        for minutes, kind, level, text, detail, subject in (
            (4000, "device.connected", "ok", f"{device.name} connected for the first time", "", {"device": device}),
            (900, "version.uploaded", "info", "tabletop@2 was uploaded, 5.26 MB", "", {"version": self.versions[1]}),
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
                at=self.now - timedelta(minutes=minutes),
                kind=kind,
                level=level,
                text=text,
                detail=detail,
                actor=self.operator if level == "info" else None,
                **subject,
            )

    def _samples(self, device: Device, hours: int) -> None:
        """A sample each 5 s, and some minutes in which nothing was measured."""
        steps = hours * 720
        gap = range(steps // 2, steps // 2 + 60 * hours)
        rows = [self._sample(device, number, steps) for number in range(steps) if number not in gap]
        Sample.objects.bulk_create(rows, batch_size=400)
        last = rows[-1]
        for name in (
            "latency_p50",
            "latency_p95",
            "cpu_percent",
            "memory_used",
            "memory_total",
            "temperature",
            "power",
            "power_source",
        ):
            setattr(device, name, getattr(last, name))
        device.online, device.last_seen, device.sample_at = True, self.now, self.now
        device.save()

    def _sample(self, device: Device, number: int, steps: int) -> Sample:
        wave = math.sin(number / 300)
        at = self.now - timedelta(seconds=5 * (steps - number))
        p50 = 38 + 3 * wave + self.random.uniform(-1, 1)
        done = 1 if number % 3 == 0 else 0
        return Sample(
            device=device,
            at=at,
            received_at=at,
            boot_id="b-0",
            seq=number,
            cpu_percent=31 + 6 * wave + self.random.uniform(-2, 2),
            memory_used=int((1.9 + 0.1 * wave) * GIB),
            memory_total=4 * GIB,
            agent_memory=int(0.21 * GIB),
            temperature=58 + 4 * wave,
            power=4.2 + 0.4 * wave,
            power_source="estimated",
            interval=5,
            decisions=25,
            latency_p50=p50,
            latency_p95=p50 * 1.4 + (45 if number % 900 == 880 else 0),
            stage_queue=0.4,
            stage_preprocess=3.1,
            stage_compute=p50 - 5,
            stage_postprocess=1.5,
            cache_lookups=25,
            cache_hits=self.random.randint(2, 9),
            episodes=done,
            successes=done if self.random.random() < 0.95 else 0,
        )


def keep_alive() -> None:
    """Let the devices that are there go on being there: what their next state and samples would do."""
    now = timezone.now()
    there = Device.objects.filter(online=True)
    there.filter(sample_at__gte=F("last_seen") - timedelta(minutes=1)).update(last_seen=now, sample_at=now)
    there.filter(sample_at__lt=F("last_seen") - timedelta(minutes=1)).update(last_seen=now)
