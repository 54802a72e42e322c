"""All that was measured of a trial, and where it comes from, in rows for a page. Pure: stored figures in, words out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleet.dashboard import figures as say
from fleet.units import NBSP, digits

Stored = Mapping[str, Any]
NO_COUNTER = "not measured: this machine's processor has no energy counter that can be read"
ENDED_BEFORE = "Not measured: the trial ended before."


@dataclass(frozen=True, slots=True)
class Row:
    """note stands small behind the value; title is the whole of what the value cuts short; at is a time to show."""

    name: str
    value: str
    note: str = ""
    title: str = ""
    url: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under a title; without rows, `nothing` says why."""

    title: str
    rows: list[Row]
    nothing: str = ENDED_BEFORE


def measured(got: Stored, moment: float = 1.0) -> list[Group]:
    """The figures of one trial, listed in `fleet.optimizer.evaluation.Figures`, by what they are about.

    moment is what its latency is multiplied by to stand beside the original's, which was timed at another time.
    """
    return [
        Group("Time", _time(got, moment)),
        Group("Size and memory", _size(got)),
        Group("Answers beside the original's", _answers(got)),
        Group(
            "At its task", _task(got), "No episodes and no right answers: what it does at its task was not measured."
        ),
    ]


def _time(got: Stored, moment: float) -> list[Row]:
    p50, p95 = got.get("p50_ms"), got.get("p95_ms")
    if not p50:
        return []
    alone = _times(p50 * moment, p95 * moment if p95 else None)
    apart = "" if moment == 1.0 else f"timed by itself: {_times(p50, p95)}"
    rows = [Row("Decision, one thread", alone, apart)]
    if got.get("p50_all_ms"):
        threads = say.plural(got.get("threads", 1), "thread")
        rows.append(Row(f"Decision, all {threads}", _times(got["p50_all_ms"], got.get("p95_all_ms"))))
    if got.get("ratio_high") is not None and got["ratio_low"] != got["ratio_high"]:
        interval = f"95 % interval {got['ratio_low']:.2f} to {got['ratio_high']:.2f}"
        rows.append(Row("Beside the original", f"{got['ratio_p50']:.2f} times its latency", interval))
    joules = got.get("joules")
    rows.append(Row("Energy of a decision", NO_COUNTER if joules is None else _joules(joules)))
    if got.get("load_ms"):
        rows.append(Row("Loading the model", str(say.milliseconds(got["load_ms"]))))
    if got.get("seconds"):
        rows.append(Row("Measuring all this", say.duration(got["seconds"])))
    return rows


def _times(p50: float, p95: float | None) -> str:
    words = f"p50 {say.milliseconds(p50)}"
    return f"{words}, p95 {say.milliseconds(p95)}" if p95 else words


def _joules(value: float) -> str:
    return f"{digits(value * 1e3)}{NBSP}mJ" if value < 1 else f"{digits(value)}{NBSP}J"


def _size(got: Stored) -> list[Row]:
    rows = []
    if got.get("bytes"):
        rows.append(Row("Model file", str(say.file_size(got["bytes"]))))
    if got.get("compressed_bytes"):
        rows.append(Row("Compressed", str(say.file_size(got["compressed_bytes"])), "gzip, its fastest level"))
    if got.get("peak_bytes"):
        rows.append(
            Row("Peak memory", str(say.memory_size(got["peak_bytes"])), "of a process that only runs the model")
        )
        rows.append(Row("The model's share", str(say.memory_size(got.get("memory_bytes"))), "without the runtime's"))
    return rows


def _answers(got: Stored) -> list[Row]:
    if got.get("finite") is False:
        return [Row("Answers", "NaN or infinity")]
    if got.get("cosine") is None:
        return []
    rows = [Row("Cosine similarity", f"mean {got['cosine']:.5f}{_least(got)}")]
    if got.get("max_error") is not None:
        rows.append(Row("Difference", _errors(got)))
    if got.get("tolerance"):
        rows.append(Row("Allowed on a device", f"{got['tolerance']:.2g}", "at its golden observations"))
    outputs = got.get("outputs") or {}
    # A single output's figures are those above, but for its agreement.
    for name, each in sorted(outputs.items()):
        words = [] if len(outputs) == 1 else [f"cosine {each['cosine']:.5f}", _errors(each)]
        if "agreement" in each:
            words.append(f"the same class in {say.percent(each['agreement'])} of the samples")
        if words:
            rows.append(Row(f"Output {name}", ", ".join(words)))
    return rows


def _least(got: Stored) -> str:
    return f", least {got['cosine_min']:.5f}" if got.get("cosine_min") is not None else ""


def _errors(got: Stored) -> str:
    words = f"largest {got['max_error']:.2g}"
    return f"{words}, mean {got['mean_error']:.2g}" if got.get("mean_error") is not None else words


def _task(got: Stored) -> list[Row]:
    rows = []
    if got.get("success") is not None:
        interval = _interval(got.get("success_low"), got.get("success_high"), 100)
        episodes = say.plural(got.get("episodes") or 0, "episode")
        rows.append(Row("Success", str(say.percent(got["success"])), f"{interval}{episodes}"))
    if got.get("loss_points") is not None:
        interval = _interval(got.get("loss_low"), got.get("loss_high"), 1)
        paired = say.plural(got.get("episodes") or 0, "paired episode")
        rows.append(Row("Lost against the original", f"{_tenths(got['loss_points'])} points", f"{interval}{paired}"))
    if got.get("right") is not None:
        rows.append(Row("Right answers", str(say.percent(got["right"])), "of the evaluation set"))
    if got.get("jerk") is not None:
        ratio = got.get("jerk_ratio")
        note = "" if ratio is None else f"{ratio:.2f} times the original's"
        rows.append(Row("Jerk of its actions", f"{got['jerk']:.3g}", note))
    if got.get("out_of_range") is not None:
        rows.append(Row("Actions beyond the card's limits", str(say.percent(got["out_of_range"], 2)), "cut off there"))
    return rows


def _interval(low: float | None, high: float | None, times: int) -> str:
    return "" if low is None or high is None else f"95 % interval {_tenths(low * times)} to {_tenths(high * times)}, "


def _tenths(value: float) -> str:
    words = f"{abs(value):.1f}"
    return f"{say.MINUS}{words}" if value < 0 and float(words) else words


def where(lineage: Stored) -> str:
    """Where it was measured, in words: `Some Processor, box (Linux x86_64, 2 cores, 24 GiB)`; empty when unknown."""
    return ", ".join(filter(None, (lineage.get("processor"), lineage.get("machine"))))


def origin(lineage: Stored, recipe: str) -> list[Row]:
    """What the trial was made of and by, for whom and when."""
    rows = [Row("Recipe", recipe or "none: the model as it was uploaded")]
    if lineage.get("input"):
        rows = [
            _digest("Upload", lineage["input"]),
            *rows,
            _digest("Policy card", lineage.get("card")),
            _digest("Evaluation set", lineage.get("evaluation")),
        ]
    if lineage.get("evaluator"):
        note = f"its sources {lineage['evaluator_source'][:12]}" if lineage.get("evaluator_source") else ""
        rows.append(Row("Evaluator", str(lineage["evaluator"]), note, lineage.get("evaluator_source", "")))
    tools = lineage.get("tools") or {}
    if tools:
        rows.append(Row("Tools", ", ".join(f"{name} {number}" for name, number in tools.items())))
    if lineage.get("asked_at"):
        rows.append(Row("Asked for", _by(lineage), at=_time_of(lineage["asked_at"])))
    return rows


def _by(lineage: Stored) -> str:
    return f"by {lineage['asked_by']}" if lineage.get("asked_by") else "by a person who is gone"


def _digest(name: str, digest: str | None) -> Row:
    return Row(name, f"sha256 {digest[:12]}…", title=digest) if digest else Row(name, "none")


def measured_at(lineage: Stored) -> datetime | None:
    return _time_of(lineage.get("measured_at") or "")


def _time_of(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
