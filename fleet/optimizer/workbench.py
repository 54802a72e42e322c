"""What the techniques that change a program work on: a copy of the program, its original, and inputs to judge by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from fleet.optimizer.inputs import Feeds

if TYPE_CHECKING:
    from fleet.optimizer.graph import Program

#: Samples that go through a program at once.
BATCH = 64


class ModelFacts(msgspec.Struct, kw_only=True):
    """What was learned while a model was made: its parameters, and what was done to its feed-forward blocks."""

    parameters: int = 0
    blocks: list[dict[str, Any]] = msgspec.field(default_factory=list)
    distilled: list[dict[str, Any]] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class Workbench:
    """`program` is changed in place; `teacher` is what was uploaded, and stays so.

    batches gives endless batches of BATCH samples, the same ones each time it is called. shared is what one technique
    has found out about the teacher and another variant can use again. hold: mean cosine similarity to the teacher's
    outputs from which on nothing more has to be learned; None where episodes decide, which tell more.
    """

    program: "Program"
    teacher: "Program"
    batches: Callable[[], Iterator[Feeds]]
    report: Callable[[float, str], None]
    seed: int = 0
    hold: float | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    shared: dict[Any, Any] = field(default_factory=dict)

    def within(self, begin: float, end: float, text: str) -> Callable[[float], None]:
        """Reports shares of a part of the work as shares of the whole."""
        return lambda share: self.report(begin + (end - begin) * share, text)
