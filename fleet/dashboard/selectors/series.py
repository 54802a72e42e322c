"""What one device measured over time, averaged into buckets by the database."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db.models import Avg, BigIntegerField, F, FloatField, Func, Max, Min, QuerySet, Sum, Value
from django.db.models.functions import Cast, NullIf

from fleet.dashboard.figures import share
from fleet.dashboard.series import MAX_POINTS, Range, Row, columns, note, rolling, with_breaks
from fleet.telemetry.models import Sample

COLUMNS = (
    "latency_p50",
    "latency_p95",
    "stage_queue",
    "stage_preprocess",
    "stage_compute",
    "stage_postprocess",
    "cpu_percent",
    "memory_used",
    "memory_total",
    "agent_memory",
    "temperature",
    "power",
    "rate",
    "success",
    "cache",
)
_MEAN = ("cpu_percent", "memory_used", "memory_total", "agent_memory", "power")
#: Figures of decisions count by how many decisions they are of.
_WEIGHTED = ("latency_p50", "stage_queue", "stage_preprocess", "stage_compute", "stage_postprocess")
_HIGHEST = ("latency_p95", "temperature")
_COUNTED = ("episodes", "successes", "cache_hits", "cache_lookups", "decisions", "interval")


class Epoch(Func):
    """Whole seconds since 1970 of a time column."""

    output_field = BigIntegerField()

    def as_sqlite(self, compiler, connection, **more):
        return self.as_sql(compiler, connection, template="CAST(strftime('%%%%s', %(expressions)s) AS INTEGER)", **more)

    def as_postgresql(self, compiler, connection, **more):
        return self.as_sql(
            compiler, connection, template="CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s)) AS BIGINT)", **more
        )


def weighted(column: str) -> Func:
    """The mean of `column`, each sample counting as often as it has decisions."""
    weight = Cast("decisions", FloatField())
    return Sum(F(column) * weight, output_field=FloatField()) / NullIf(Sum(weight), Value(0.0))


def series(device_id: str, chosen: Range, now: datetime, since: int = 0) -> dict[str, object]:
    """The points of a range for charts; with `since` (Unix ms) only those from that point's bucket on.

    The bucket of `since` is sent again, because it may have been half full. One query.
    """
    start = now - timedelta(seconds=chosen.span)
    later = since > start.timestamp() * 1000
    if later:
        start = datetime.fromtimestamp(since / 1000, UTC)
    # The rates of the first points are taken over what lies before them.
    earlier = start - timedelta(seconds=chosen.window)
    rows = Sample.objects.filter(device_id=device_id, at__gte=earlier, at__lte=now + timedelta(minutes=1))
    points = list(_bucketed(rows, chosen.bucket)[: MAX_POINTS + MAX_POINTS // 6])
    every = [_row(point, chosen.bucket) for point in points]
    for name, part, whole in (("success", "successes", "episodes"), ("cache", "cache_hits", "cache_lookups")):
        for row, value in zip(every, rolling(every, part, whole, chosen.window), strict=True):
            row[name] = value
    first = (start.timestamp() // chosen.bucket) * chosen.bucket * 1000
    drawn = [row for row in every if (row["at"] or 0) >= first]
    return {
        "now": round(now.timestamp() * 1000),
        "span": chosen.span,
        "bucket": chosen.bucket,
        "full": not later,
        "columns": columns(with_breaks(drawn, chosen.bucket), COLUMNS),
        "power_source": _source(points),
        "note": note(chosen),
    }


def _bucketed(rows: QuerySet[Sample], bucket: int) -> QuerySet:
    return (
        rows.order_by()
        .annotate(slot=Epoch("at") / Value(bucket, output_field=BigIntegerField()))
        .values("slot")
        .annotate(
            **{f"{name}_": Avg(name) for name in _MEAN},
            **{f"{name}_": weighted(name) for name in _WEIGHTED},
            **{f"{name}_": Max(name) for name in _HIGHEST},
            **{f"{name}_": Sum(name) for name in _COUNTED},
            source_low=Min("power_source"),
            source_high=Max("power_source"),
        )
        .order_by("slot")
    )


def _row(point: dict, bucket: int) -> Row:
    made: Row = {name: point[f"{name}_"] for name in (*_MEAN, *_WEIGHTED, *_HIGHEST, *_COUNTED)}
    made["at"] = point["slot"] * bucket * 1000
    made["rate"] = share(point["decisions_"], point["interval_"])
    return made


def _source(points: Iterable[dict]) -> str:
    """Whether the power of these points was measured or estimated: never left unsaid."""
    sources = {point[end] for point in points for end in ("source_low", "source_high")} - {"", None}
    return " and ".join(sorted(sources, reverse=True))
