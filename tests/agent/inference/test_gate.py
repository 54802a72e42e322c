"""Other programs are answered for a share of the time."""

import pytest

from agent.inference.gate import Gate, RefusedError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(clock)


def answered(gate, clock, seconds: float, each: float) -> float:
    """A program that asks without a pause: the share of the time in which it is answered."""
    end, busy = clock.now + seconds, 0.0
    while clock.now < end:
        try:
            gate.check()
        except RefusedError:
            clock.now += 0.001
        else:
            clock.now += each
            busy += each
            gate.took(each)
    return busy / seconds


def test_open_as_long_as_nothing_else_is_said(gate):
    for _ in range(1000):
        gate.check()
        gate.took(10)


@pytest.mark.parametrize("share", [0.02, 0.25, 0.8])
@pytest.mark.parametrize("each", [0.001, 0.04, 0.5])
def test_the_share_holds_whatever_a_request_costs(gate, clock, share, each):
    gate.set(share, "its processor time was at 120 % of its budget")
    answered(gate, clock, 60, each)
    assert answered(gate, clock, 300, each) == pytest.approx(share, rel=0.1)


def test_nothing_is_answered_at_none(gate, clock):
    gate.set(0.0, "its memory was at 99 % of its budget (99 of 100 MiB)")
    clock.now += 100
    with pytest.raises(RefusedError, match=r"does not answer now: its memory was at 99 % of its budget \(99 of"):
        gate.check()


def test_opened_again_it_is_open(gate, clock):
    gate.set(0.0, "x")
    gate.took(50)
    gate.set(1.0)
    gate.check()
