"""What devices themselves have measured of a version's variants: on other machines than the optimizer did."""

from collections.abc import Iterable, Iterator

from django.db.models import Avg, Count, Max, Q
from django.urls import reverse
from django.utils.translation import gettext

from fleet.catalog.models import ModelVersion
from fleet.dashboard import figures
from fleet.dashboard.details import Row
from fleet.dashboard.words import listed
from fleet.devices.models import Device
from fleet.jobs.models import Job

#: The newest re-optimizations that are looked through, and devices that are named for each variant.
MOST_JOBS, NAMED = 200, 4


def on_devices(version: ModelVersion, digests: Iterable[str]) -> dict[str, tuple[Row, ...]]:
    """By manifest digest: benchmarks on single devices, the newest first, then all that run it now. Two queries."""
    found: dict[str, list[Row]] = {}
    for digest, row in _benchmarks(version):
        found.setdefault(digest, []).append(row)
    shown = {digest: _cut(rows) for digest, rows in found.items()}
    for digest, row in _running(set(filter(None, digests))):
        shown.setdefault(digest, []).append(row)
    return {digest: tuple(rows) for digest, rows in shown.items()}


def _cut(rows: list[Row]) -> list[Row]:
    left = len(rows) - NAMED
    return (
        [
            *rows[:NAMED],
            Row(
                gettext("on {devices}").format(devices=figures.plural(left, "other device")),
                gettext("on their own pages"),
            ),
        ]
        if left > 0
        else rows
    )


def _benchmarks(version: ModelVersion) -> Iterator[tuple[str, Row]]:
    """The newest of each device for each variant."""
    jobs = version.jobs.filter(kind="reoptimize", state="succeeded").select_related("device").order_by("-id")
    seen: set[tuple[str, str]] = set()
    for job in jobs[:MOST_JOBS]:
        for each in job.result.get("candidates", ()):
            key = (each["manifest"], job.device_id)
            if job.device is None or "p50_ms" not in each or key in seen:
                continue
            seen.add(key)
            yield each["manifest"], _benchmark(job, each)


def _benchmark(job: Job, each: dict) -> Row:
    times = f"p50 {figures.milliseconds(each['p50_ms'])}, p95 {figures.milliseconds(each['p95_ms'])}"
    words = [gettext("peak {memory}").format(memory=figures.memory_size(each["memory"]))] if each.get("memory") else []
    words += (
        [gettext("largest difference {error}").format(error=f"{each['error']:.2g}")]
        if each.get("error") is not None
        else []
    )
    words += [gettext("simulated: this host's time")] if job.device.simulated else []
    url = reverse("jobs.detail", args=(job.pk,))
    return Row(gettext("on {device}").format(device=job.device.name), times, listed(words), url=url, at=job.finished_at)


def _running(digests: set[str]) -> Iterator[tuple[str, Row]]:
    rows = (
        Device.objects.filter(retired_at=None, active_manifest__in=digests, latency_p95__isnull=False)
        .order_by()
        .values("active_manifest")
        .annotate(n=Count("pk"), simulated=Count("pk", filter=Q(simulated=True)), p50=Avg("latency_p50"))
        .annotate(p95=Max("latency_p95"))
    )
    for row in rows:
        note = (
            gettext("{simulated} of them simulated").format(simulated=f"{row['simulated']:,}")
            if row["simulated"]
            else ""
        )
        yield (
            row["active_manifest"],
            Row(
                gettext("on {devices} now").format(devices=figures.plural(row["n"], "device")),
                gettext("p50 {p50} on average, p95 at most {p95}").format(
                    p50=figures.milliseconds(row["p50"]), p95=figures.milliseconds(row["p95"])
                ),
                listed(filter(None, (gettext("whole decisions of the newest samples"), note))),
            ),
        )
