"""How long to wait before the next attempt. Pure."""

import random
from collections.abc import Callable


def delay(attempt: int, base: float, cap: float, uniform: Callable[[], float] = random.random) -> float:
    """Seconds before attempt number `attempt` (the first is 0): between half and all of min(cap, base * 2^attempt).

    The random half keeps devices apart that lost the same broker at the same moment.
    """
    whole: float = min(cap, base * 2 ** min(attempt, 30))
    return whole * (0.5 + 0.5 * uniform())
