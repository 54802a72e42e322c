"""How a step of an update ends, and how it says what it is at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.deployment.transitions import Event

#: Says what a step is at: words for a person, and the share that is done.
Tell = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended."""

    event: Event
    reason: str = ""
    evidence: Mapping[str, float | str] = field(default_factory=dict)
