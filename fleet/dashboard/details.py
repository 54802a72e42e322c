"""All that was measured of a trial, and where it comes from, in rows for a page. Pure: stored figures in, words out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext, gettext_lazy

from fleet.dashboard import figures as say
from fleet.dashboard.words import listed

Stored = Mapping[str, Any]
NO_COUNTER = gettext_lazy("not measured: this machine's processor has no energy counter that can be read")
ENDED_BEFORE = gettext_lazy("Not measured: the trial ended before.")


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
        Group(gettext("Time"), _time(got, moment)),
        Group(gettext("Size and memory"), _size(got)),
        Group(gettext("Answers beside the original's"), _answers(got)),
        Group(
            gettext("At its task"),
            _task(got),
            gettext("No episodes and no right answers: what it does at its task was not measured."),
        ),
    ]


def _time(got: Stored, moment: float) -> list[Row]:
    p50, p95 = got.get("p50_ms"), got.get("p95_ms")
    if not p50:
        return []
    alone = _times(p50 * moment, p95 * moment if p95 else None)
    apart = "" if moment == 1.0 else gettext("timed by itself: {times}").format(times=_times(p50, p95))
    rows = [Row(gettext("Decision, one thread"), alone, apart)]
    if got.get("p50_all_ms"):
        threads = say.plural(got.get("threads", 1), "thread")
        rows.append(
            Row(
                gettext("Decision, all {threads}").format(threads=threads),
                _times(got["p50_all_ms"], got.get("p95_all_ms")),
            )
        )
    if got.get("ratio_high") is not None and got["ratio_low"] != got["ratio_high"]:
        interval = gettext("95 % interval {low} to {high}").format(
            low=f"{got['ratio_low']:.2f}", high=f"{got['ratio_high']:.2f}"
        )
        rows.append(
            Row(
                gettext("Beside the original"),
                gettext("{ratio} times its latency").format(ratio=f"{got['ratio_p50']:.2f}"),
                interval,
            )
        )
    joules = got.get("joules")
    rows.append(Row(gettext("Energy of a decision"), NO_COUNTER if joules is None else str(say.joules(joules))))
    if got.get("load_ms"):
        rows.append(Row(gettext("Loading the model"), str(say.milliseconds(got["load_ms"]))))
    if got.get("seconds"):
        rows.append(Row(gettext("Measuring all this"), say.duration(got["seconds"])))
    return rows


def _times(p50: float, p95: float | None) -> str:
    words = f"p50 {say.milliseconds(p50)}"
    return f"{words}, p95 {say.milliseconds(p95)}" if p95 else words


def _size(got: Stored) -> list[Row]:
    rows = []
    if got.get("bytes"):
        rows.append(Row(gettext("Model file"), str(say.file_size(got["bytes"]))))
    if got.get("compressed_bytes"):
        rows.append(
            Row(gettext("Compressed"), str(say.file_size(got["compressed_bytes"])), gettext("gzip, its fastest level"))
        )
    if got.get("peak_bytes"):
        rows.append(
            Row(
                gettext("Peak memory"),
                str(say.memory_size(got["peak_bytes"])),
                gettext("of a process that only runs the model"),
            )
        )
        rows.append(
            Row(
                gettext("The model's share"),
                str(say.memory_size(got.get("memory_bytes"))),
                gettext("without the runtime's"),
            )
        )
    return rows


def _answers(got: Stored) -> list[Row]:
    if got.get("finite") is False:
        return [Row(gettext("Answers"), gettext("NaN or infinity"))]
    if got.get("cosine") is None:
        return []
    rows = [
        Row(
            gettext("Cosine similarity"),
            gettext("mean {cosine}{least}").format(cosine=f"{got['cosine']:.5f}", least=_least(got)),
        )
    ]
    if got.get("max_error") is not None:
        rows.append(Row(gettext("Difference"), _errors(got)))
    if got.get("tolerance"):
        rows.append(
            Row(gettext("Allowed on a device"), f"{got['tolerance']:.2g}", gettext("at its golden observations"))
        )
    outputs = got.get("outputs") or {}
    # A single output's figures are those above, but for its agreement.
    for name, each in sorted(outputs.items()):
        words = (
            []
            if len(outputs) == 1
            else [gettext("cosine {cosine}").format(cosine=f"{each['cosine']:.5f}"), _errors(each)]
        )
        if "agreement" in each:
            words.append(
                gettext("the same class in {share} of the samples").format(share=say.percent(each["agreement"]))
            )
        if words:
            rows.append(Row(gettext("Output {name}").format(name=name), listed(words)))
    return rows


def _least(got: Stored) -> str:
    return (
        gettext(", least {cosine}").format(cosine=f"{got['cosine_min']:.5f}")
        if got.get("cosine_min") is not None
        else ""
    )


def _errors(got: Stored) -> str:
    words = gettext("largest {error}").format(error=f"{got['max_error']:.2g}")
    return (
        gettext("{words}, mean {error}").format(words=words, error=f"{got['mean_error']:.2g}")
        if got.get("mean_error") is not None
        else words
    )


def _task(got: Stored) -> list[Row]:
    rows = []
    if got.get("success") is not None:
        interval = _interval(got.get("success_low"), got.get("success_high"), 100)
        episodes = say.plural(got.get("episodes") or 0, "episode")
        rows.append(Row(gettext("Success"), str(say.percent(got["success"])), f"{interval}{episodes}"))
    if got.get("loss_points") is not None:
        interval = _interval(got.get("loss_low"), got.get("loss_high"), 1)
        paired = say.plural(got.get("episodes") or 0, "paired episode")
        rows.append(
            Row(
                gettext("Lost against the original"),
                gettext("{loss} points").format(loss=_tenths(got["loss_points"])),
                f"{interval}{paired}",
            )
        )
    if got.get("right") is not None:
        rows.append(Row(gettext("Right answers"), str(say.percent(got["right"])), gettext("of the evaluation set")))
    if got.get("jerk") is not None:
        ratio = got.get("jerk_ratio")
        note = "" if ratio is None else gettext("{ratio} times the original's").format(ratio=f"{ratio:.2f}")
        rows.append(Row(gettext("Jerk of its actions"), f"{got['jerk']:.3g}", note))
    if got.get("out_of_range") is not None:
        rows.append(
            Row(
                gettext("Actions beyond the card's limits"),
                str(say.percent(got["out_of_range"], 2)),
                gettext("cut off there"),
            )
        )
    return rows


def _interval(low: float | None, high: float | None, times: int) -> str:
    return (
        ""
        if low is None or high is None
        else gettext("95 % interval {low} to {high}, ").format(low=_tenths(low * times), high=_tenths(high * times))
    )


def _tenths(value: float) -> str:
    words = f"{abs(value):.1f}"
    return f"{say.MINUS}{words}" if value < 0 and float(words) else words


def where(lineage: Stored) -> str:
    """Where it was measured, in words: `Some Processor, box (Linux x86_64, 2 cores, 24 GiB)`; empty when unknown."""
    return ", ".join(filter(None, (lineage.get("processor"), lineage.get("machine"))))


def origin(lineage: Stored, recipe: str) -> list[Row]:
    """What the trial was made of and by, for whom and when."""
    rows = [Row(gettext("Recipe"), recipe or gettext("none: the model as it was uploaded"))]
    if lineage.get("input"):
        rows = [
            _digest(gettext("Upload"), lineage["input"]),
            *rows,
            _digest(gettext("Policy card"), lineage.get("card")),
            _digest(gettext("Evaluation set"), lineage.get("evaluation")),
        ]
    if lineage.get("evaluator"):
        note = (
            gettext("its sources {digest}").format(digest=lineage["evaluator_source"][:12])
            if lineage.get("evaluator_source")
            else ""
        )
        rows.append(Row(gettext("Evaluator"), str(lineage["evaluator"]), note, lineage.get("evaluator_source", "")))
    tools = lineage.get("tools") or {}
    if tools:
        rows.append(Row(gettext("Tools"), ", ".join(f"{name} {number}" for name, number in tools.items())))
    if lineage.get("asked_at"):
        rows.append(Row(gettext("Asked for"), _by(lineage), at=_time_of(lineage["asked_at"])))
    return rows


def _by(lineage: Stored) -> str:
    return (
        gettext("by {person}").format(person=lineage["asked_by"])
        if lineage.get("asked_by")
        else gettext("by a person who is gone")
    )


def _digest(name: str, digest: str | None) -> Row:
    return (
        Row(name, gettext("sha256 {digest}…").format(digest=digest[:12]), title=digest)
        if digest
        else Row(name, gettext("none"))
    )


def measured_at(lineage: Stored) -> datetime | None:
    return _time_of(lineage.get("measured_at") or "")


def _time_of(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
