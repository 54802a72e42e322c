"""The four modes, and what is said of each. Plain data."""

from dataclasses import dataclass
from enum import StrEnum
from math import isinf

from fleet.planner.formulas import Latency
from fleet.planner.situation import Situation


class Mode(StrEnum):
    """In the order in which less stays on the device; of equals the first is chosen.

    full: the model on the device, with all its threads. slim: a smaller variant there, on one thread. hybrid: what fits
    there decides, and leaves a share of the decisions to the server. cloud: the server decides, the device sends.
    """

    FULL = "full"
    SLIM = "slim"
    HYBRID = "hybrid"
    CLOUD = "cloud"


#: The share of decisions that each mode sends to the server; a hybrid one what the situation says.
SENT = {Mode.FULL: 0.0, Mode.SLIM: 0.0, Mode.CLOUD: 1.0}


@dataclass(frozen=True, slots=True)
class Local:
    """What runs on the device: bytes of memory, bytes to transfer, cores, TFLOPS, milliseconds of a decision.

    asks: the fields of the situation that memory and time come from. part: of a model that has to be made smaller
    first, the share that fits; else 1.
    """

    memory: float | None
    size: float | None
    cores: float | None
    tflops: float | None
    compute_ms: float | None
    asks: tuple[str, str]
    part: float = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: need ≤ have. fits is None where it cannot be said."""

    name: str
    need: float | None
    have: float | None

    @property
    def fits(self) -> bool | None:
        if self.need is not None and isinf(self.need):
            return False
        return None if self.need is None or self.have is None else self.need <= self.have


@dataclass(frozen=True, slots=True)
class Use:
    """U = used / total of one resource, `share` from 0 on."""

    name: str
    used: float
    total: float
    share: float


@dataclass(frozen=True, slots=True)
class Placement:
    """One mode, judged.

    latency is the mean decision; worst_ms the longest way that a decision can take, which the limit is for. bandwidth
    in bytes a second. local is what runs on the device, None where nothing does. objective: less is better, None where
    it is not known. asks: the fields of the situation that the fit rests on; missing: those without which it cannot be
    said. month is in bytes, energy in joules a month, of the decisions on the device.
    """

    mode: Mode
    latency: Latency
    worst_ms: float | None
    bandwidth: float | None
    local: Local | None
    checks: tuple[Check, ...]
    uses: tuple[Use, ...]
    objective: float | None
    asks: tuple[str, ...]
    missing: tuple[str, ...]
    month: float | None
    energy: float | None

    @property
    def fits(self) -> bool | None:
        """False as soon as one check fails, None as long as one cannot be said."""
        verdicts = [check.fits for check in self.checks]
        return False if False in verdicts else None if None in verdicts else True

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.fits is False]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every mode, in order. chosen: the one that fits best; where nothing fits for sure, the likeliest or the nearest.

    certain: True: it fits. None: it may, as far as is known. False: nothing fits, and it is the nearest.
    """

    situation: Situation
    modes: tuple[Placement, ...]
    chosen: Placement
    certain: bool | None

    def of(self, mode: Mode) -> Placement:
        return next(placement for placement in self.modes if placement.mode is mode)
