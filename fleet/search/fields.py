"""Everything that a search can ask of a device: the table behind the parser, the completion and the help. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from agent.wire.hardware import DeviceClass
from fleet.search import measures
from fleet.search.measures import Measure


class Kind(StrEnum):
    """text: `:` is a part of it, `=` all of it. choice: one of its words. known: the name of something that there is.
    measure: a number that is compared. age: how long ago something was."""

    TEXT = "text"
    CHOICE = "choice"
    KNOWN = "known"
    MEASURE = "measure"
    AGE = "age"


EQUAL = (":", "=", "!=")
ORDER = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Field:
    """One field. counted: its measure is a whole number, which may also be asked for exactly."""

    name: str
    kind: Kind
    help: str
    example: str
    choices: tuple[str, ...] = ()
    measure: Measure | None = None
    counted: bool = False

    @property
    def operators(self) -> tuple[str, ...]:
        if self.measure is None:
            return EQUAL
        return (*ORDER, *EQUAL) if self.counted else ORDER


def _measure(name: str, measure: Measure, words: str, example: str = "", counted: bool = False) -> Field:
    return Field(name, Kind.MEASURE, words, example or f"{name}<{measure.example}", measure=measure, counted=counted)


#: Word → what it says, in the order in which they are offered. Each may stand alone, or as `is:offline`.
STATES = {
    "online": "connected, and telemetry is fresh",
    "offline": "said goodbye, lost its link, or nothing came for too long",
    "silent": "connected, but telemetry stopped",
    "never": "enrolled, but it has not connected yet",
    "updating": "a new variant is on its way onto it",
    "waiting": "an update waits for its turn or for the device",
    "failing": "its newest update went wrong",
    "pending": "waits for admission",
    "accepted": "let in",
    "rejected": "turned away",
    "preauthorized": "let in before it first came",
    "retired": "out of service; found only when a search says so",
    "idle": "says that this is a good moment to change something",
    "busy": "says that it is not",
    "restrained": "does less, to stay within a budget",
    "simulated": "its hardware is declared, not measured",
    "real": "not simulated",
}

#: A word without a field.
ANY = Field("", Kind.TEXT, "name or id", "arm-1")
IS = Field("is", Kind.CHOICE, "its state, as the words alone say it too", "is:offline", tuple(STATES))

FIELDS = {
    field.name: field
    for field in (
        Field("tag", Kind.KNOWN, "its tag, with that value or with any", "tag:site=berlin"),
        Field("class", Kind.CHOICE, "device class", "class:embedded", tuple(value.value for value in DeviceClass)),
        Field("group", Kind.KNOWN, "a group that it is in", "group:lab"),
        Field("model", Kind.KNOWN, "the model that it runs, in a version or in any", "model:tabletop@3"),
        Field("variant", Kind.KNOWN, "the variant that it runs", "variant:fp16"),
        IS,
        Field("name", Kind.TEXT, "a part of its name", "name:arm"),
        Field("id", Kind.TEXT, "a part of its id", "id:d-00"),
        Field("mode", Kind.CHOICE, "where it infers", "mode:hybrid", ("full", "slim", "hybrid")),
        Field("agent", Kind.TEXT, "version of its agent", "agent:0.1"),
        Field("board", Kind.TEXT, "its board", "board:raspberry"),
        Field("platform", Kind.TEXT, "its platform", "platform:arm64"),
        Field("accelerator", Kind.TEXT, "an accelerator that it has", "accelerator:cuda"),
        _measure("memory", measures.BYTES, "memory of the device"),
        _measure("storage", measures.BYTES, "storage of the device", "storage>=32GB"),
        _measure("free", measures.BYTES, "storage that its newest sample had free", "free<500MB"),
        _measure("cores", measures.COUNT, "processor cores", "cores>=8", counted=True),
        _measure("latency", measures.MILLISECONDS, "p95 of its decisions", "latency>50ms"),
        _measure("cpu", measures.PERCENT, "share of its processor in use", "cpu>80%"),
        _measure("used", measures.PERCENT, "share of its memory in use", "used>90%"),
        _measure("success", measures.PERCENT, "share of its episodes that succeeded", "success<95%"),
        _measure("temperature", measures.CELSIUS, "temperature in °C", "temperature>70"),
        _measure("power", measures.WATTS, "power that it draws", "power>8W"),
        _measure("errors", measures.COUNT, "errors since its variant took over", "errors>0", counted=True),
        Field("seen", Kind.AGE, "how long ago it last spoke", "seen>3h", measure=measures.SECONDS),
        Field("enrolled", Kind.AGE, "how long ago it enrolled", "enrolled<1d", measure=measures.SECONDS),
    )
}
#: Other names that people know a field by.
ALIASES = {"state": "is", "p95": "latency", "temp": "temperature", "ram": "memory", "disk": "storage"}


def named(name: str) -> Field | None:
    lower = name.lower()
    return FIELDS.get(ALIASES.get(lower, lower))
