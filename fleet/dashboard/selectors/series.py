"""What one device measured over time: from its samples, or from roll-ups where the range is long."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import connection
from django.db.models import (
    Aggregate,
    BigIntegerField,
    Case,
    Count,
    F,
    FloatField,
    Func,
    Max,
    Min,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, NullIf
from django.utils.translation import gettext

from agent.wire.latency import added, quantile
from fleet.dashboard import listing
from fleet.dashboard.figures import share
from fleet.dashboard.series import (
    DEFAULT_RANGE,
    HOUR,
    MAX_POINTS,
    MINUTE,
    RANGES,
    SAMPLE,
    Range,
    Row,
    View,
    columns,
    note,
    rolling,
    view_of,
    with_breaks,
    zoom_of,
)
from fleet.telemetry.models import DeviceHour, DeviceMinute, DeviceRollup, Sample
from fleet.telemetry.sketches import unpack

STAGES = ("stage_queue", "stage_preprocess", "stage_compute", "stage_postprocess", "stage_network")
#: Drawn with a band from the least to the greatest.
GAUGES = ("cpu_percent", "memory_used", "temperature", "power")
COLUMNS = (
    "latency_p50",
    "latency_p95",
    *STAGES,
    *(f"{name}{end}" for name in GAUGES for end in ("", "_min", "_max")),
    "memory_total",
    "agent_memory",
    "network_rx",
    "network_tx",
    "disk_used",
    "energy",
    "rate",
    "errors",
    "not_finite",
    "queued",
    "success",
    "cache",
)
_COUNTED = ("episodes", "successes", "cache_hits", "cache_lookups", "decisions", "interval", "errors", "not_finite")
_HIGHEST = ("memory_total", "disk_used", "queued")
#: Figures whose mean is drawn, with the column that says of how many it is.
_MEANS = {name: f"{name}_count" for name in (*GAUGES, "agent_memory", "energy")} | {
    **dict.fromkeys(STAGES, "stage_count"),
    "network_rx": "network_count",
    "network_tx": "network_count",
}


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


#: Seconds for which what charts are drawn from is kept, by its own seconds.
KEPT = {
    source: days * 86_400
    for source, days in ((SAMPLE, settings.SAMPLE_DAYS), (MINUTE, settings.MINUTE_DAYS), (HOUR, settings.HOUR_DAYS))
}


def asked(params: Mapping[str, str], now: datetime) -> View:
    """`?range=1h` and, where somebody zoomed, `&from=&to=` in Unix ms."""
    key, at = listing.choice(params, "range", tuple(RANGES), DEFAULT_RANGE), now.timestamp()
    return view_of(key, zoom_of(params, at), at, KEPT)


def series(device_id: str, view: View, now: datetime, since: int = 0) -> dict[str, object]:
    """The points of a view for charts; with `since` (Unix ms) only those from that point's bucket on.

    The bucket of `since` is sent again, because it may have been half full. One query.
    """
    chosen, start = view.chosen, datetime.fromtimestamp(view.start, UTC)
    later = not view.fixed and since > start.timestamp() * 1000
    if later:
        start = datetime.fromtimestamp(since / 1000, UTC)
    # The rates of the first points are taken over what lies before them.
    earlier = start - timedelta(seconds=chosen.window)
    read = _of_samples if chosen.source == SAMPLE else _of_rollups
    end = datetime.fromtimestamp(view.end, UTC) if view.fixed else now + timedelta(minutes=1)
    points = read(device_id, chosen, earlier, end)
    every = [_row(point, chosen.bucket) for point in points]
    for name, part, whole in (("success", "successes", "episodes"), ("cache", "cache_hits", "cache_lookups")):
        for row, value in zip(every, rolling(every, part, whole, chosen.window), strict=True):
            row[name] = value
    first = (start.timestamp() // chosen.bucket) * chosen.bucket * 1000
    drawn = [row for row in every if (row["at"] or 0) >= first]
    # A roll-up that is not there is a time in which nothing was measured; samples come when they come.
    broken = with_breaks(drawn, chosen.bucket, 3 if chosen.source == SAMPLE else 1.5)
    return {
        "now": round(now.timestamp() * 1000),
        "from": round(view.start * 1000),
        "to": round(view.end * 1000),
        "bucket": chosen.bucket,
        "full": not later,
        "columns": columns(broken[-MAX_POINTS:], COLUMNS),
        "power_source": _source(points),
        "note": note(chosen),
    }


def _of_samples(device_id: str, chosen: Range, start: datetime, end: datetime) -> list[dict]:
    """As roll-ups have it, made by the database."""
    rows = Sample.objects.filter(device_id=device_id, at__gte=start, at__lte=end)
    weight = Cast("decisions", FloatField())
    figures: dict[str, Aggregate | Func] = {name: Sum(name) for name in _COUNTED}
    figures |= {f"{name}_max": Max(name) for name in (*GAUGES, *_HIGHEST)}
    figures |= {f"{name}_min": Min(name) for name in GAUGES}
    for name in (*GAUGES, "agent_memory", "network_rx", "network_tx"):
        figures |= {f"{name}_sum": Sum(name, output_field=FloatField()), f"{name}_count": Count(name)}
    for name, column in (*((stage, stage) for stage in STAGES), ("energy", "energy_per_action")):
        figures[f"{name}_sum"] = Sum(F(column) * weight, output_field=FloatField())
    for name, column in (("stage", "stage_compute"), ("energy", "energy_per_action")):
        figures[f"{name}_count"] = Sum("decisions", filter=Q(**{f"{column}__isnull": False}))
    measured = Q(power__isnull=False, power_source="measured")
    return _slots(
        rows.annotate(slot=Epoch("at") / Value(chosen.bucket, output_field=BigIntegerField())),
        # Named beside the columns, which an aggregate of the same name would hide from those after it.
        network_count=Count("network_rx"),
        power_measured=Sum(Case(When(measured, then=1), default=0)),
        p50=weighted("latency_p50"),
        p95=Max("latency_p95"),
        **{f"of_{name}": figure for name, figure in figures.items()},
    )


def _of_rollups(device_id: str, chosen: Range, start: datetime, end: datetime) -> list[dict]:
    """Each row is looked up by its own start: the index begins with it (fleet.telemetry.models)."""
    model: type[DeviceRollup] = DeviceMinute if chosen.source == MINUTE else DeviceHour
    first = int(start.timestamp()) // chosen.bucket * chosen.bucket
    starts = _starts(first, int(end.timestamp()), chosen.source)
    rows = model.objects.filter(start__in=starts, device_id=device_id).order_by("start")
    points = []
    for slot, some in groupby(rows.values_list("start", "latency", *_READ), lambda row: row[0] // chosen.bucket):
        _, sketches, *figures = zip(*some, strict=True)
        point = {name: _READ[name](values) for name, values in zip(_READ, figures, strict=True)}
        bins = unpack(sketches[0]) if len(sketches) == 1 else added(map(unpack, sketches))
        points.append({**point, "slot": slot, "p50": quantile(bins, 0.5), "p95": quantile(bins, 0.95)})
    return points


def _starts(first: int, last: int, step: int) -> RawSQL:
    """first, first + step, …, last at most, made by the database: to hand over thousands costs more than their rows."""
    if connection.vendor == "postgresql":
        return RawSQL("SELECT generate_series(%s::bigint, %s::bigint, %s::bigint)", (first, last, step))
    counted = "WITH RECURSIVE s(at) AS (SELECT %s UNION ALL SELECT at + %s FROM s WHERE at + %s <= %s) SELECT at FROM s"
    return RawSQL(counted, (first, step, step, last))  # noqa: S611


def _least(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _greatest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


#: Columns of a roll-up, and what several of them make.
_READ: dict[str, Callable] = {
    **dict.fromkeys((f"{name}_sum" for name in _MEANS), sum),
    **dict.fromkeys((*_MEANS.values(), *_COUNTED, "power_measured"), sum),
    **dict.fromkeys((f"{name}_min" for name in GAUGES), _least),
    **dict.fromkeys((f"{name}_max" for name in (*GAUGES, *_HIGHEST)), _greatest),
}


def _slots(rows: QuerySet, **figures: Aggregate | Func) -> list[dict]:
    grouped = rows.order_by().values("slot").annotate(**figures).order_by("slot")
    return [{name.removeprefix("of_"): value for name, value in point.items()} for point in grouped]


def _row(point: dict, bucket: int) -> Row:
    made: Row = {name: point[name] for name in _COUNTED}
    made |= {name: share(point[f"{name}_sum"], point[count]) for name, count in _MEANS.items()}
    made |= {f"{name}_{end}": point[f"{name}_{end}"] for name in GAUGES for end in ("min", "max")}
    made |= {name: point[f"{name}_max"] for name in _HIGHEST}
    made |= {"at": point["slot"] * bucket * 1000, "latency_p50": point["p50"], "latency_p95": point["p95"]}
    made["rate"] = share(point["decisions"], point["interval"])
    return made


def _source(points: Iterable[dict]) -> str:
    """Whether the power of these points was measured or estimated: never left unsaid."""
    measured = sum(point["power_measured"] or 0 for point in points)
    estimated = sum(point["power_count"] or 0 for point in points) - measured
    named = ((gettext("measured"), measured), (gettext("estimated"), estimated))
    return gettext(" and ").join(name for name, count in named if count)
