"""What the form is filled with: what is known, where from, and what somebody typed over it. Pure."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Literal

from agent.wire.hardware import DeviceClass
from fleet.planner.estimates import class_of, slim_estimates
from fleet.planner.situation import Situation

#: measured: on the device or of the very file. reported: by the device about itself; declared: by a simulated one.
#: stated: in a policy card or a setting. estimated: follows from something else that was measured. assumed: a default.
Kind = Literal["measured", "reported", "declared", "stated", "estimated", "assumed"]


@dataclass(frozen=True, slots=True)
class Known:
    """A value for a field of the situation, what kind of knowledge it is, and where it comes from."""

    value: float
    kind: Kind
    source: str
    url: str = ""


ASSUMED = {
    field.name: Known(float(field.default), "assumed", "")
    for field in fields(Situation)
    if field.default is not None and field.default is not MISSING
}


@dataclass(frozen=True, slots=True)
class Filled:
    """The situation, and by field what is known apart from what was typed. device_class: what estimates are for."""

    situation: Situation
    known: dict[str, Known]
    device_class: DeviceClass | None


def fill(given: Mapping[str, float], known: Mapping[str, Known], device_class: DeviceClass | None = None) -> Filled:
    """`given` by hand goes over what is known; what neither says of a slim variant is estimated for the class."""
    known = {**ASSUMED, **known}
    situation = Situation(**{name: each.value for name, each in known.items()} | dict(given))
    device_class = device_class or class_of(situation)
    if device_class is not None:
        guesses = slim_estimates(situation, device_class)
        known |= {name: Known(value, "estimated", source) for name, (value, source) in guesses.items()}
        situation = replace(situation, **{name: value for name, (value, _) in guesses.items()})
    return Filled(situation, known, device_class)
