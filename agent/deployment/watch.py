"""Whether a new variant does its job in its first minutes. Pure."""

from dataclasses import dataclass
from typing import Literal

from agent.inference.meter import Window

#: One NaN is enough: a finite golden run was just seen, so this model is wrong on what the device really sees.
MAX_NOT_FINITE = 0
#: Errors are judged from this many on, when they are more than this share of all decisions.
MIN_ERRORS, MAX_ERROR_SHARE = 3, 0.05
#: Latency is judged from this many decisions on: the first ones wake caches and clocks.
MIN_DECISIONS = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """healthy: through the watch; unhealthy: roll back, for the reason; watching: no verdict yet."""

    word: Literal["watching", "healthy", "unhealthy"]
    reason: str = ""


def judge(window: Window, deadline_ms: float, elapsed: float, watch_seconds: float) -> Verdict:
    """The verdict after `elapsed` of `watch_seconds`, by what the new variant alone did."""
    if window.not_finite > MAX_NOT_FINITE:
        return Verdict("unhealthy", f"The model answered with NaN or infinity {window.not_finite} times.")
    tried = window.decisions + window.errors
    if window.errors >= MIN_ERRORS and window.errors > MAX_ERROR_SHARE * tried:
        return Verdict("unhealthy", f"{window.errors} of {tried} decisions failed.")
    p95 = window.percentile(0.95)
    if p95 is not None and window.decisions >= MIN_DECISIONS and p95 > deadline_ms:
        slow = f"A decision takes {p95:.1f} ms (95th percentile of {window.decisions})"
        return Verdict("unhealthy", f"{slow}; the deadline is {deadline_ms:.1f} ms.")
    return Verdict("healthy" if elapsed >= watch_seconds else "watching")


def evidence(window: Window, deadline_ms: float) -> dict[str, float | str]:
    """The figures behind a verdict, for the report."""
    figures: dict[str, float | str] = {
        "decisions": window.decisions,
        "late": window.late,
        "errors": window.errors,
        "not_finite": window.not_finite,
        "deadline_ms": deadline_ms,
    }
    for name, share in (("latency_p50", 0.5), ("latency_p95", 0.95)):
        found = window.percentile(share)
        if found is not None:
            figures[name] = round(found, 3)
    return figures
