"""What a decision may take: the source document's numbers, unless a policy card or an operator names others. Pure."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.inference.meter import Timing
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Config

if TYPE_CHECKING:  # it needs numpy
    from agent.inference.policy_card import Card

#: Milliseconds until the model is fed, and in the model.
PREPROCESS_MS, COMPUTE_MS = 50.0, 30.0
#: Bits a second that the device sends and receives, on average over a sample.
BANDWIDTH = 10e6
#: Watts of a mobile device, on average over a sample; a device of another class has no such budget.
MOBILE_WATTS = 5.0


@dataclass(frozen=True, slots=True)
class Budgets:
    """Milliseconds of a decision, by stage and in all."""

    preprocess: float = PREPROCESS_MS
    compute: float = COMPUTE_MS
    total: float = 100.0

    def broken(self, timing: Timing) -> tuple[str, ...]:
        """The names of those that a decision did not keep to."""
        if timing.preprocess <= self.preprocess and timing.compute <= self.compute and timing.total <= self.total:
            return ()  # nearly always
        stages = (("preprocess", timing.preprocess), ("compute", timing.compute), ("total", timing.total))
        return tuple(name for name, took in stages if took > getattr(self, name))


def budgets(config: Config, card: "Card | None", deadline_ms: float) -> Budgets:
    """The operator's where they are set, else the card's, else the defaults; in all, the deadline of the variant."""
    return Budgets(
        preprocess=config.preprocess_budget or (card.budgets.preprocess_ms if card else PREPROCESS_MS),
        compute=config.compute_budget or (card.budgets.compute_ms if card else COMPUTE_MS),
        total=config.total_budget or deadline_ms,
    )


def bandwidth(config: Config) -> float:
    """Bits a second."""
    return 1e6 * config.bandwidth_budget or BANDWIDTH


def watts(config: Config, device_class: DeviceClass) -> float:
    """The operator's, else a mobile device's; infinity for a device that has none."""
    return config.power_budget or (MOBILE_WATTS if device_class is DeviceClass.MOBILE else math.inf)
