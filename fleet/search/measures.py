"""Numbers with their units, as people type them: `4GB`, `50 ms`, `3h`, `90%`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"(-?\d{1,12}(?:\.\d{1,6})?)\s*([^\d\s.]*)")


@dataclass(frozen=True, slots=True)
class Measure:
    """What a quantity is counted in: units by name to their size, and the one that a bare number has.

    Without a `usual` unit a number needs one. `least` is the lowest number that makes sense.
    """

    units: Mapping[str, float]
    usual: str = ""
    example: str = ""
    least: float = 0.0

    @property
    def unit(self) -> str:
        """The one whose size is 1: what numbers are stored in."""
        return next((name for name, size in self.units.items() if size == 1.0), "")

    def parse(self, text: str) -> float | None:
        """In the unit whose size is 1; None for what is none."""
        found = _NUMBER.fullmatch(text.strip())
        if found is None:
            return None
        unit = found[2] or self.usual
        known = {name.lower(): size for name, size in self.units.items()}
        # M and m are different things where both are units; elsewhere case is not worth an error.
        size = self.units.get(unit, known.get(unit.lower()))
        value = float(found[1])
        return None if size is None or value < self.least else value * size

    def offers(self, text: str) -> list[str]:
        """A bare number with each of the units."""
        return [f"{text}{unit}" for unit in self.units if unit] if re.fullmatch(r"-?\d+(\.\d+)?", text) else []


_KIB = 1024
#: What a device has counts in powers of two, as on its page; GB and GiB are the same here.
BYTES = Measure(
    {
        "GB": _KIB**3,
        "MB": _KIB**2,
        "TB": _KIB**4,
        "KB": _KIB,
        "GiB": _KIB**3,
        "MiB": _KIB**2,
        "TiB": _KIB**4,
        "KiB": _KIB,
        "G": _KIB**3,
        "M": _KIB**2,
    },
    usual="GB",
    example="4GB",
)
MILLISECONDS = Measure({"ms": 1.0, "s": 1000.0, "us": 0.001, "µs": 0.001}, usual="ms", example="50ms")
SECONDS = Measure(
    {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "m": 60}, example="3h"
)  # no usual unit: 3 of what?
PERCENT = Measure({"%": 1.0}, usual="%", example="90%")
CELSIUS = Measure({"°C": 1.0, "C": 1.0}, usual="C", example="70", least=-273.15)
WATTS = Measure({"W": 1.0, "mW": 0.001}, usual="W", example="5W")
COUNT = Measure({"": 1.0}, example="4")
