"""What a rollout does next, row by row."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.rollouts.policy import Action, Counts, Figures, Limits, Look, breach, decide

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOAK = timedelta(minutes=10)
LIMITS = Limits(success=0.9, failures=0.2, soak=SOAK)
HOLD, ADVANCE, PAUSE, ABORT, ROLL_BACK = Action


def row(limits: Limits = LIMITS, settled: float | None = None, now: float = 0, **counts: int):
    """Seconds are counted from NOW."""
    settled_at = None if settled is None else NOW + timedelta(seconds=settled)
    return decide(Look(Counts(**counts), settled_at=settled_at), limits, NOW + timedelta(seconds=now))


@pytest.mark.parametrize(
    ("counts", "action", "said"),
    [
        # Nobody at all, or nobody who counts: there is nothing to wait for.
        ({}, ADVANCE, "No device of this phase is left to wait for."),
        ({"bad": 3, "forgiven": 3}, ADVANCE, "No device"),
        # One device.
        ({"open": 1}, HOLD, "0 of 1 device took it; 1 have to."),
        ({"good": 1}, HOLD, "1 of 1 device took it; they are watched for the soak time."),
        ({"bad": 1}, PAUSE, "1 of 1 device failed (100%); the limit is 20%."),
        ({"open": 1, "offline": 1}, HOLD, "0 of 1 device took it; 1 have to. 1 is offline."),
        # All offline: they are waited for, and are no failures.
        ({"open": 10, "offline": 10}, HOLD, "0 of 10 devices took it; 9 have to. 10 are offline."),
        # Half of them offline: the others are not enough.
        ({"good": 5, "open": 5, "offline": 5}, HOLD, "5 of 10 devices took it; 9 have to. 5 are offline."),
        # On both sides of the success threshold.
        ({"good": 8, "open": 2}, HOLD, "8 of 10 devices took it; 9 have to."),
        ({"good": 9, "open": 1}, HOLD, "9 of 10 devices took it; they are watched"),
        # On both sides of the error threshold.
        ({"good": 8, "bad": 1, "open": 1}, HOLD, "8 of 10 devices took it"),
        ({"good": 8, "bad": 2}, PAUSE, "2 of 10 devices failed (20%)"),
        # Few enough failed, and still it cannot be reached any more: a person has to say what now.
        ({"good": 17, "bad": 3}, PAUSE, "Only 17 of 20 devices can still take it; 18 have to."),
        # What a person has accepted counts on neither side.
        ({"good": 8, "bad": 2, "forgiven": 2}, HOLD, "8 of 8 devices took it"),
        ({"good": 6, "bad": 4, "forgiven": 2}, PAUSE, "2 of 8 devices failed (25%)"),
    ],
)
def test_counts_decide(counts, action, said):
    decision = row(**counts)
    assert decision.action is action
    assert decision.reason.startswith(said)


def test_a_phase_soaks_and_then_opens_the_next():
    assert row(good=10).next == NOW + SOAK
    assert row(good=10, settled=0, now=599).action is HOLD
    assert row(good=10, settled=0, now=599).next == NOW + SOAK
    assert row(good=10, settled=0, now=600).action is ADVANCE


def test_a_device_that_fails_while_it_soaks_counts():
    assert row(good=8, bad=2, settled=0, now=300).action is PAUSE


@pytest.mark.parametrize("action", [PAUSE, ABORT, ROLL_BACK])
def test_the_error_threshold_does_what_it_was_told_to(action):
    assert row(Limits(failures=0.5, on_error=action), good=1, bad=1).action is action


def test_without_thresholds_a_phase_opens_the_next_at_once_whatever_happens():
    free = Limits(success=0, failures=None)
    assert row(free, open=5, offline=5).action is ADVANCE
    assert row(free, bad=5).action is ADVANCE


@pytest.mark.parametrize(
    ("counts", "action"),
    [
        ({"good": 9, "open": 1, "offline": 1}, HOLD),
        ({"good": 5, "bad": 1, "open": 4}, HOLD),
        ({"good": 17, "bad": 3}, ADVANCE),
        ({"bad": 1}, PAUSE),
        ({}, ADVANCE),
    ],
)
def test_the_last_phase_ends_with_its_devices(counts, action):
    assert decide(Look(Counts(**counts), settled_at=NOW), LIMITS, NOW + SOAK, last=True).action is action


BEFORE = Figures(decisions=100, episodes=40, latency_p95=20, error_rate=0.01, success=0.95, energy=0.5)
STRICT = Limits(latency_rise=0.2, error_rise=0.02, success_loss=0.05, energy_rise=0.1, on_error=ROLL_BACK)


def look(before: Figures = BEFORE, accepted: bool = False, **after) -> Look:
    figures = {"decisions": 100, "episodes": 40, "latency_p95": 20, "error_rate": 0.01, "success": 0.95, "energy": 0.5}
    return Look(Counts(good=5), before, Figures(**{**figures, **after}), NOW, accepted)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({}, ""),
        ({"latency_p95": 24}, ""),
        ({"latency_p95": 30}, "p95 latency rose from 20 to 30 ms on the same devices (+50%); the limit is +20%."),
        ({"error_rate": 0.03}, ""),
        ({"error_rate": 0.2}, "20.0% of decisions fail or are not finite, 1.0% before; the limit is 2 points more."),
        ({"success": 0.9}, ""),
        ({"success": 0.8}, "task success fell from 95.0% to 80.0% on the same devices; the limit is 5 points less."),
        ({"energy": 0.6}, "energy per action rose from 0.5 to 0.6 J on the same devices (+20%); the limit is +10%."),
        # Too little was measured to say anything, or the device cannot measure it.
        ({"latency_p95": 30, "decisions": 29}, ""),
        ({"success": 0.1, "episodes": 19}, ""),
        ({"energy": None, "latency_p95": None, "success": None}, ""),
    ],
)
def test_inference_figures_are_held_against_those_before(after, said):
    assert breach(look(**after), STRICT) == said
    assert decide(look(**after), STRICT, NOW).action is (
        ROLL_BACK if said else HOLD if after.get("decisions") else ADVANCE
    )


def test_without_a_variant_before_only_errors_can_be_judged():
    nothing = Figures()
    assert breach(look(nothing, latency_p95=1000, energy=9, success=0), STRICT) == ""
    assert breach(look(nothing, error_rate=0.5), STRICT).startswith("50.0% of decisions fail")
    assert decide(look(nothing, decisions=0), STRICT, NOW).action is ADVANCE


def test_what_was_measured_before_and_is_not_yet_after_is_waited_for():
    decision = decide(look(decisions=0), STRICT, NOW)
    assert (decision.action, "telemetry of the new variant is not here yet" in decision.reason) == (HOLD, True)
    assert decide(look(decisions=0), Limits(), NOW).action is ADVANCE, "nobody asked for a comparison"


def test_who_resumes_has_seen_the_worse_figures():
    assert decide(look(accepted=True, latency_p95=99), STRICT, NOW).action is ADVANCE
