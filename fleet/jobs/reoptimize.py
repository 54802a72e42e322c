"""Re-optimization: the device measures candidates itself, and gets the one that is best there."""

import time
from typing import TYPE_CHECKING

import msgspec
from django.db import transaction

from agent.wire import topics
from agent.wire.messages import Benchmark, BenchmarkArgs, BenchmarkResult
from agent.wire.states import COMMAND_ENDS
from fleet.catalog.models import Variant
from fleet.catalog.services import create_release, manifest_bytes
from fleet.gateway import outbox
from fleet.jobs import lighter, queue
from fleet.jobs.models import Job
from fleet.rollouts import services as rollouts
from fleet.rollouts.models import Command
from fleet.trust import services as trust

if TYPE_CHECKING:
    from fleet.jobs.tasks import Heartbeat

CANDIDATES = 2
RUNS = 100
#: How long the device has to fetch, measure and answer.
DEADLINE_SECONDS = 300
POLL_SECONDS = 0.5


class ReoptimizeError(RuntimeError):
    """There is nothing to measure, or the device did not answer."""


def run(job: Job, heartbeat: "Heartbeat") -> dict:
    """Order one benchmark of two candidates, wait for the answer, deploy the winner. Returns the job's result."""
    candidates = _candidates(job)
    names = " and ".join(variant.trial.name for variant in candidates)
    queue.log(job, f"Candidates: {names}.")
    command = _order(job, candidates)
    queue.beat(job, step=f"{job.device.name} measures {names}", progress=0.1)
    queue.tell(job)
    measured = _answer(job, command, heartbeat)
    return _decide(job, candidates, measured)


def _candidates(job: Job) -> list[Variant]:
    """What the device runs now, and the best other variant of the same version for its class.

    For a device that is short of something the best is the one that takes the least of it.
    """
    short_of = job.params.get("short_of", "")
    passed = list(
        Variant.objects.filter(version=job.version, device_class=job.device.device_class)
        .select_related("trial", "version__model")
        .order_by("trial__score")
    )
    if short_of:
        passed.sort(key=lambda variant: lighter.weight(variant, short_of))
    passed.sort(key=lambda variant: variant.manifest_digest != job.device.active_manifest)
    chosen: dict[str, Variant] = {}
    for variant in passed:
        chosen.setdefault(variant.manifest_digest, variant)
    if len(chosen) < CANDIDATES:
        words = job.device.device_class.replace("_", " ")
        raise ReoptimizeError(
            f"{job.version} has {len(chosen)} variant(s) for {words} devices; a comparison needs two. "
            "Optimize it for that class with another recipe first."
        )
    return list(chosen.values())[:CANDIDATES]


@transaction.atomic
def _order(job: Job, candidates: list[Variant]) -> Command:
    trust.vouch(candidates)
    outbox.put(
        outbox.message(topics.manifest(variant.manifest_digest), manifest_bytes(variant), retain=True)
        for variant in candidates
    )
    args = BenchmarkArgs(manifests=tuple(variant.manifest_digest for variant in candidates), runs=RUNS)
    return rollouts.send_command(
        job.device, "benchmark", msgspec.to_builtins(args), job.created_by, DEADLINE_SECONDS, job=job
    )


def _answer(job: Job, command: Command, heartbeat: "Heartbeat") -> dict[str, Benchmark]:
    """By manifest digest. Raises ReoptimizeError with the device's reason."""
    told = ""
    while True:
        try:
            heartbeat.check()
        except queue.Canceled:
            rollouts.cancel_command(command, job.created_by)
            raise
        command.refresh_from_db()
        if command.state in COMMAND_ENDS:
            break
        if command.state != told:
            told = command.state
            queue.log(job, f"The device: {told}.")
            queue.tell(job)
        time.sleep(POLL_SECONDS)
    if command.state != "succeeded":
        raise ReoptimizeError(f"the benchmark {command.state} on {job.device.name}: {command.reason}")
    result = msgspec.convert(command.result, BenchmarkResult)
    return {each.manifest: each for each in result.benchmarks}


def _decide(job: Job, candidates: list[Variant], measured: dict[str, Benchmark]) -> dict:
    """Score what was measured on the device by the objective, and roll the winner out to it."""
    from fleet.optimizer.objective import objective

    device = job.device
    device.refresh_from_db()
    memory = (device.hardware.get("memory_bytes"), device.config.get("memory_budget"))
    budget = min((int(each) for each in memory if each), default=0)
    short_of = job.params.get("short_of", "")
    whole = Variant.objects.filter(version=job.version, trial__recipe__original=True).first()
    largest = max(variant.bytes for variant in (*candidates, *([whole] if whole else [])))
    rows, ranks = [], {}
    for variant in candidates:
        figure = measured.get(variant.manifest_digest)
        row = {"name": variant.trial.name, "manifest": variant.manifest_digest, "bytes": variant.bytes}
        if figure is None or not figure.ok:
            row["reason"] = figure.reason if figure else "the device did not measure it"
        else:
            deadline = float(variant.manifest.get("deadline_ms") or 100)
            row |= {"p50_ms": figure.p50, "p95_ms": figure.p95, "memory": figure.memory, "error": figure.error}
            row["score"] = objective(
                latency_ms=figure.p50,
                latency_limit_ms=deadline,
                size=variant.bytes,
                size_limit=largest,
                memory=figure.memory,
                memory_limit=budget or figure.memory or 1,
            )
            # What a device asks for less of decides alone, as the device itself has measured it.
            ranks[variant.pk] = {"": row["score"], "memory": figure.memory}.get(short_of, figure.p50)
        rows.append(row)
        queue.log(job, _line(row))
    if not ranks:
        raise ReoptimizeError(f"neither candidate worked on {device.name}: {rows[0].get('reason', '')}")
    winner = min((v for v in candidates if v.pk in ranks), key=lambda variant: ranks[variant.pk])
    result = {"candidates": rows, "winner": winner.trial.name, "winner_manifest": winner.manifest_digest}
    if winner.manifest_digest == device.active_manifest:
        better = f"takes less {lighter.WORDS[short_of]}" if short_of else "is better"
        summary = f"{winner.trial.name} stays: measured on {device.name}, nothing {better}."
        return {"summary": summary, **result}
    with transaction.atomic():
        # Confirmed: the device runs this version, so a person has answered for it if nothing else could.
        release = create_release(
            job.version,
            [winner],
            job.created_by,
            notes=f"Measured as the best on {device.name} by job {job.pk}",
            confirmed=True,
        )
        rollout = rollouts.start(release, job.created_by, devices=[device])
    summary = f"{winner.trial.name} is better on {device.name}; {rollout} brings it there."
    return {"summary": summary, "rollout": rollout.pk, **result}


def _line(row: dict) -> str:
    if "score" not in row:
        return f"{row['name']}: not measured, {row['reason']}"
    return (
        f"{row['name']}: p50 {row['p50_ms']:.2f} ms, p95 {row['p95_ms']:.2f} ms, "
        f"{row['memory'] / 2**20:.0f} MiB, {row['bytes']:,} bytes, objective {row['score']:.4f}"
    )
