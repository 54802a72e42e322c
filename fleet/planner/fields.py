"""The numbers that planning asks for: what they are called, their units and ranges, and how they are typed. Pure."""

import re
from dataclasses import dataclass
from math import ceil, floor, log10

from fleet import units
from fleet.units import digits

_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BITS = {"bit/s": 0.125, "kbit/s": 125.0, "Mbit/s": 125e3, "Gbit/s": 125e6}
#: Each kind of quantity: its units, as multiples of what a Situation holds.
UNITS: dict[str, dict[str, float]] = {
    "memory": _BYTES,
    "file": _BYTES,
    "rate": {**{f"{name}/s": size for name, size in _BYTES.items()}, **_BITS},
    "ms": {"ms": 1.0, "s": 1e3},
    "s": {"s": 1.0, "ms": 1e-3},
    "tflops": {"TFLOPS": 1.0, "GFLOPS": 1e-3},
    "joules": {"J": 1.0, "mJ": 1e-3},
    "share": {"%": 0.01},
    "hours": {"h": 1.0},
    "number": {"": 1.0},
}
#: The unit of each kind in a Situation, and in the API.
BASE = {
    "memory": "bytes",
    "file": "bytes",
    "rate": "bytes/s",
    "ms": "ms",
    "s": "s",
    "tflops": "TFLOPS",
    "joules": "J",
    "share": "share",
    "hours": "h",
    "number": "",
}
_ALSO = {"kbps": "kbit/s", "mbps": "Mbit/s", "gbps": "Gbit/s"}


@dataclass(frozen=True, slots=True)
class Field:
    """unit is taken where none is typed; low and high are in that unit."""

    name: str
    label: str
    kind: str
    unit: str
    low: float
    high: float
    group: str
    hint: str = ""

    @property
    def factor(self) -> float:
        return UNITS[self.kind][self.unit]


GROUPS = {
    "device": "The device",
    "model": "The model on the device",
    "slim": "A slim variant",
    "server": "The server",
    "network": "The network",
    "limits": "Limits",
    "weights": "Weights of the objective",
    "month": "A month",
}
_MS, _GIB = ("ms", "ms", 0, 3.6e6), ("memory", "GiB", 0.001, 2**20)
FIELDS = {
    field.name: field
    for field in (
        Field("cores", "Cores", "number", "", 0.01, 4096, "device"),
        Field("memory", "Memory", *_GIB, "device", "All of it; a model may take 75 %."),
        Field("storage", "Free storage", "memory", "GiB", 0, 2**20, "device"),
        Field("tflops", "Computing", "tflops", "TFLOPS", 0.001, 1e6, "device"),
        Field("need_cores", "Needs cores", "number", "", 0.01, 4096, "model"),
        Field("need_memory", "Needs memory", "memory", "GiB", 0, 2**20, "model", "What the model adds to a process."),
        Field("need_tflops", "Needs computing", "tflops", "TFLOPS", 0, 1e6, "model"),
        Field("size", "To transfer", "file", "MB", 0, 1e9, "model", "An update writes it twice."),
        Field("compute_ms", "Computing a decision", *_MS, "model", "With all threads."),
        Field("other_ms", "All else on the device", *_MS, "model", "Waiting, before and after the model."),
        Field("slim_memory", "Needs memory", "memory", "GiB", 0, 2**20, "slim"),
        Field("slim_tflops", "Needs computing", "tflops", "TFLOPS", 0, 1e6, "slim"),
        Field("slim_size", "To transfer", "file", "MB", 0, 1e9, "slim"),
        Field("slim_ms", "Computing a decision", *_MS, "slim", "On one thread."),
        Field("server_ms", "Computing a decision", *_MS, "server"),
        Field("server_other_ms", "All else on the server", *_MS, "server"),
        Field("sent", "Decisions sent in hybrid", "share", "%", 0, 100, "server"),
        Field("link", "Link", "rate", "Mbit/s", 0, 1e7, "network", "0 is no network."),
        Field("network_ms", "Way there and back", *_MS, "network", "Of an empty message."),
        Field("observation", "An observation", "file", "MB", 0, 1e6, "network"),
        Field("observation_s", "One every", "s", "s", 0.0001, 86_400, "network"),
        Field("answer", "An answer", "file", "MB", 0, 1e6, "network"),
        Field("answer_s", "One every", "s", "s", 0.0001, 86_400, "network", "Empty: as often as observations."),
        Field("telemetry", "Telemetry", "rate", "kbit/s", 0, 1e9, "network"),
        Field("latency_limit", "A decision may take", "ms", "ms", 0.001, 3.6e6, "limits"),
        Field(
            "bandwidth_limit", "May be sent", "rate", "Mbit/s", 0.000001, 1e7, "limits", "Empty: what the link carries."
        ),
        Field("alpha", "Latency, α", "number", "", 0, 1000, "weights"),
        Field("beta", "Bandwidth, β", "number", "", 0, 1000, "weights"),
        Field("gamma", "Missing memory, γ", "number", "", 0, 1000, "weights"),
        Field("hours", "In use a day", "hours", "h", 0, 24, "month"),
        Field("energy", "Energy of a decision", "joules", "J", 0, 1e6, "month"),
        Field("price", "Price of a GB sent", "number", "", 0, 1e6, "month", "In any currency."),
    )
}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?)\s*([^\d\s.,].*)?")


def parse(field: Field, text: str) -> float:
    """`512 MiB`, `20 MB/s`, `1.5`: the value in what a Situation holds. Raises ValueError with what to type instead."""
    found = _NUMBER.fullmatch(text.strip()[:64])
    if found is None:
        raise ValueError(f"Write a number with a point, as in {_sample(field)}.")
    number = float(found[1].replace(",", ""))
    unit = (found[2] or field.unit).strip()
    known = {name.lower(): name for name in UNITS[field.kind]} | _ALSO
    name = known.get(unit.lower()) if unit else ""
    if name is None or name not in UNITS[field.kind]:
        allowed = ", ".join(filter(None, UNITS[field.kind])) or "none"
        raise ValueError(f"{unit[:16]} is no unit here; there {'is' if ',' not in allowed else 'are'} {allowed}.")
    return held(field, number * UNITS[field.kind][name])


def held(field: Field, value: float) -> float:
    """The value, within the field's range. Raises ValueError with the range."""
    if not field.low * field.factor <= value <= field.high * field.factor:
        unit = f" {field.unit}" if field.unit else ""
        raise ValueError(f"{field.label} is {field.low:g} to {field.high:,.0f}{unit}, not {value / field.factor:g}.")
    return value


def _sample(field: Field) -> str:
    return f"1.5 {field.unit}".strip()


def sized(field: Field, value: float) -> tuple[float, str]:
    """Number and unit in which a value is best read."""
    kind = field.kind
    if kind == "rate":
        names = [name for name, size in _BITS.items() if abs(value) >= size] or ["bit/s"]
    elif kind in ("memory", "file"):
        texts = units.capacity(value) if kind == "memory" else units.file_size(value)
        names = [texts[1]]
    else:
        names = [field.unit]
    return value / UNITS[kind][names[-1]], names[-1]


def show(field: Field, value: float) -> str:
    """A value as it could be typed, to three digits: `49.6 MiB`, `160 Mbit/s`."""
    number, unit = sized(field, value)
    return f"{_digits(number)} {unit}".strip()


def _digits(number: float) -> str:
    return digits(number) if number == 0 or abs(number) >= 0.001 else f"{number:.3g}"


def rounded(field: Field, value: float, *, up: bool) -> float:
    """The nearest value that reads with three digits and is not less (`up`) or not more: what one would ask for."""
    number, unit = sized(field, value)
    if number <= 0:
        return max(value, 0.0)
    step = 10.0 ** (floor(log10(number)) - 2)
    count = number / step
    whole = ceil(count - 1e-9) if up else floor(count + 1e-9)
    return whole * step * UNITS[field.kind][unit]
