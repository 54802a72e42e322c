"""What a rule can watch: the table behind the form, the help and the readings (fleet.alerts.readings). Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fleet import units
from fleet.search import measures
from fleet.search.measures import Measure

JOULES = Measure({"J": 1.0, "mJ": 0.001}, usual="J", example="0.5J")
#: Counted conditions look back over so many whole minutes; commands over an hour.
MINUTES = 5


class Subject(StrEnum):
    DEVICE = "device"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Condition:
    """A state (measure None) is met or not; a measure is compared with a threshold in its unit.

    bad is what is said of the subject when it is met, with the value in it. slow: its rows cost more to read, so it is
    looked at less often.
    """

    key: str
    label: str
    bad: str
    help: str
    measure: Measure | None = None
    subject: Subject = Subject.DEVICE
    below: bool = True
    slow: bool = False

    @property
    def comparisons(self) -> tuple[str, ...]:
        if self.measure is None:
            return ()
        return (">", "<") if self.below else (">",)

    def sentence(self, value: float | None) -> str:
        """What is said of a subject: `is at 84 °C`; its label where the value is not known."""
        return self.bad.format(self.said(value)) if value is not None or self.measure is None else self._within

    @property
    def _within(self) -> str:
        """The label within a sentence: `temperature`, but `NaN or infinite answers`."""
        first, *rest = self.label.split(" ")
        return " ".join((first.lower() if first == first.capitalize() else first, *rest))

    def said(self, value: float | None) -> str:
        """A value in its unit, as people read it; empty for a state, and where nothing is known."""
        if value is None or self.measure is None:
            return ""
        return next(say for measure, say in _SAID if measure is self.measure)(value)


def _in(unit: str) -> Callable[[float], str]:
    return lambda value: f"{units.digits(value)}{units.NBSP}{unit}"


_SAID: tuple[tuple[Measure, Callable[[float], str]], ...] = (
    (measures.MILLISECONDS, _in("ms")),
    (measures.PERCENT, _in("%")),
    (measures.CELSIUS, lambda value: f"{value:.0f}{units.NBSP}°C"),
    (measures.WATTS, _in("W")),
    (measures.SECONDS, lambda value: units.duration(value).replace(" ", units.NBSP)),
    (measures.COUNT, lambda value: f"{value:,.0f}"),
    (JOULES, _in("J")),
)

_D, _S = Subject.DEVICE, Subject.SERVER
CONDITIONS = {
    each.key: each
    for each in (
        Condition("offline", "Offline", "is offline", "said goodbye, lost its link, or nothing came for too long"),
        Condition("silent", "Connected, but silent", "sends no samples", "its link is up, but telemetry stopped"),
        Condition(
            "failing",
            "Newest update went wrong",
            "failed its newest update",
            "failed, rejected, timed out or rolled back",
            slow=True,
        ),
        Condition(
            "rolled_back",
            "Newest update rolled back",
            "rolled its newest update back",
            "the variant before runs again",
            slow=True,
        ),
        Condition("restrained", "Held back by a budget", "does less, to stay within a budget", "the steps of a device"),
        Condition(
            "latency",
            "Latency, p95",
            "decides in {} (p95)",
            "p95 of the decisions of its newest sample",
            measures.MILLISECONDS,
        ),
        Condition("temperature", "Temperature", "is at {}", "where it is hottest", measures.CELSIUS),
        Condition("memory", "Memory in use", "uses {} of its memory", "share of its memory", measures.PERCENT),
        Condition("storage", "Disk in use", "uses {} of its storage", "share of its storage", measures.PERCENT),
        Condition("cpu", "Processor in use", "uses {} of its processor", "share of all cores", measures.PERCENT),
        Condition("power", "Power", "draws {}", "measured or estimated", measures.WATTS),
        Condition("energy", "Energy per action", "takes {} for an action", "mean of its newest sample", JOULES),
        Condition(
            "success",
            "Task success",
            "succeeds in {} of its episodes",
            "share of the episodes since its variant took over",
            measures.PERCENT,
        ),
        Condition(
            "clock",
            "Clock ahead",
            "has its clock {} ahead",
            "its samples come from the future",
            measures.SECONDS,
            below=False,
        ),
        Condition(
            "errors",
            "Failed decisions",
            "had {} failed decisions",
            f"counted over the last {MINUTES} minutes",
            measures.COUNT,
            below=False,
            slow=True,
        ),
        Condition(
            "not_finite",
            "NaN or infinite answers",
            "had {} answers that are no number",
            f"counted over the last {MINUTES} minutes",
            measures.COUNT,
            below=False,
            slow=True,
        ),
        Condition(
            "queued",
            "Samples that wait on it",
            "holds {} samples back",
            f"most of the last {MINUTES} minutes",
            measures.COUNT,
            below=False,
            slow=True,
        ),
        Condition(
            "commands",
            "Commands that failed",
            "failed {} commands",
            "rejected, failed or expired within the last hour",
            measures.COUNT,
            below=False,
            slow=True,
        ),
        Condition(
            "gateway", "Gateway stopped", "has no gateway", "nothing comes from devices or goes to them", None, _S
        ),
        Condition(
            "outbox",
            "Messages to devices wait",
            "has kept a message to a device for {}",
            "age of the oldest",
            measures.SECONDS,
            _S,
            below=False,
        ),
        Condition(
            "jobs",
            "Optimizations wait",
            "has let an optimization wait for {}",
            "age of the oldest",
            measures.SECONDS,
            _S,
            below=False,
        ),
        Condition(
            "refused",
            "Messages that were refused",
            "refused {} messages",
            f"unreadable or out of range, over the last {MINUTES} minutes",
            measures.COUNT,
            _S,
            below=False,
        ),
    )
}


def limit(condition: Condition, comparison: str, threshold: float | None) -> str:
    """`above 80 °C`; empty for a state."""
    if threshold is None:
        return ""
    return f"{'below' if comparison == '<' else 'above'} {condition.said(threshold)}"
