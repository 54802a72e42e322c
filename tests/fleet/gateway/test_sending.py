"""What is sent next: to one device after the other, and once for a crowd."""

import math

import pytest

from agent.wire.manifest import BLOCK
from agent.wire.messages import Want, WantPart
from fleet.gateway.sending import ECHO, GATHER, LINGER, PER_DEVICE, Plan, Sending

A, B, MANIFEST, OTHER = "ab" * 32, "cd" * 32, "ef" * 32, "12" * 32


def part(digest: str, *numbers: int) -> WantPart:
    first = min(numbers) // 8 * 8
    bits = sum(1 << number - first for number in numbers)
    return WantPart(
        digest=digest, first=first, missing=bits.to_bytes(max(numbers) // 8 - first // 8 + 1, "little").hex()
    )


def want(*numbers: int, digest: str = A) -> Want:
    return Want(parts=(part(digest, *numbers),))


def lacks(*numbers: int, digest: str = A, manifest: str = MANIFEST) -> Want:
    parts = (part(digest, *numbers),)
    return Want(parts=parts, manifest=manifest, lacks=parts)


def everything(plan: Plan, now: float) -> list[Sending]:
    sent = []
    while isinstance(chosen := plan.next(now), Sending):
        sent.append(chosen)
    return sent


def cast(digest: str, number: int) -> Sending:
    return Sending(digest, number, manifest=MANIFEST)


# --- One device ---


def test_bits_are_read_least_significant_first_from_the_first_block_on():
    plan = Plan(0)
    plan.ask("d-1", Want(parts=(WantPart(digest=A, first=8, missing="0580"), part(B, 0))), 0)

    assert everything(plan, 0) == [
        Sending(A, 8, "d-1"),
        Sending(A, 10, "d-1"),
        Sending(A, 23, "d-1"),
        Sending(B, 0, "d-1"),
    ]
    assert plan.next(0) == math.inf


def test_devices_take_turns_and_none_queues_without_end():
    plan, greedy = Plan(0), Want(parts=(WantPart(digest=A, first=0, missing="ff" * 512),))
    for _ in range(3):
        plan.ask("greedy", greedy, 0)
    plan.ask("modest", want(0, 1, digest=B), 0)
    sent = everything(plan, 0)

    assert [each.device for each in sent[:4]] == ["greedy", "modest", "greedy", "modest"]
    assert sum(each.device == "greedy" for each in sent) == PER_DEVICE


def test_a_block_that_waits_already_is_not_queued_twice():
    plan = Plan(0)
    plan.ask("d-1", want(1, 2), 0)
    plan.ask("d-1", want(2, 3), 0)

    assert [each.number for each in everything(plan, 0)] == [1, 2, 3]


# --- A crowd ---


def test_what_many_lack_is_sent_once_and_what_one_lacks_to_that_one():
    plan = Plan(0)
    plan.ask("d-1", lacks(0, 1, 2), 0, crowd=True)
    plan.ask("d-2", lacks(0, 1), 1, crowd=True)
    plan.ask("d-3", lacks(1, 4), 1.5, crowd=True)

    assert plan.next(1.5) == pytest.approx(GATHER - 1.5), "the rest of the crowd may be a moment later"
    assert everything(plan, GATHER) == [cast(A, 0), cast(A, 1), Sending(A, 2, "d-1"), Sending(A, 4, "d-3")]


def test_few_devices_do_not_wait_for_a_crowd():
    plan = Plan(0)
    plan.ask("d-1", lacks(0, 1), 0, crowd=False)

    assert everything(plan, 0) == [Sending(A, 0, "d-1"), Sending(A, 1, "d-1")]


def test_who_asks_while_it_is_being_cast_costs_nothing():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(*range(8)), 0, crowd=True)
    assert plan.next(GATHER) == cast(A, 0)
    plan.ask("d-1", Want(parts=(part(A, 0, 1, 2),), manifest=MANIFEST), GATHER + 0.1)

    assert everything(plan, GATHER + 0.2) == [cast(A, number) for number in range(1, 8)]


def test_what_was_lost_is_gathered_and_repaired():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(0, 1, 2), 0, crowd=True)
    everything(plan, GATHER)
    later = GATHER + ECHO + 1
    plan.ask("d-1", Want(parts=(part(A, 1, 2),), manifest=MANIFEST), later)
    plan.ask("d-2", Want(parts=(part(A, 2),), manifest=MANIFEST), later + 0.1)

    assert plan.next(later + 0.1) == pytest.approx(GATHER - 0.1)
    assert everything(plan, later + GATHER) == [Sending(A, 1, "d-1"), cast(A, 2)]


def test_what_is_on_its_way_to_a_device_is_not_sent_again():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(0), 0, crowd=True)
    everything(plan, GATHER)
    later = GATHER + ECHO + 1
    plan.ask("d-1", lacks(0, 1), later, crowd=True)
    assert everything(plan, later + GATHER) == [Sending(A, 0, "d-1"), Sending(A, 1, "d-1")]
    plan.ask("d-1", Want(parts=(part(A, 1),), manifest=MANIFEST), later + GATHER + 0.5)
    plan.ask("d-2", Want(parts=(part(A, 1),), manifest=MANIFEST), later + GATHER + 0.5)
    assert everything(plan, later + 2 * GATHER + 0.5) == [Sending(A, 1, "d-2")], "to another it is not on its way"
    again = later + 3 * GATHER + ECHO
    plan.ask("d-1", Want(parts=(part(A, 1),), manifest=MANIFEST), again)
    assert everything(plan, again + GATHER) == [Sending(A, 1, "d-1")], "it was lost"


def test_one_that_comes_late_gets_what_has_gone_by_too():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(0, 1, 2), 0, crowd=True)
    plan.next(GATHER)
    plan.next(GATHER)
    late = GATHER + ECHO + 0.1
    plan.ask("d-4", lacks(0, 1, 2), late, crowd=True)

    assert everything(plan, late) == [cast(A, 2), Sending(A, 0, "d-4"), Sending(A, 1, "d-4")]


def test_crowds_of_two_manifests_and_single_devices_take_turns():
    plan = Plan(0)
    for device in ("d-1", "d-2"):
        plan.ask(device, lacks(0, 1), 0, crowd=True)
        plan.ask(f"m-{device}", lacks(0, 1, digest=B, manifest=OTHER), 0, crowd=True)
    plan.ask("single", want(7, 8), 0)
    sent = everything(plan, GATHER)

    assert len(sent) == 6
    assert {each.manifest or each.device for each in sent[:3]} <= {MANIFEST, OTHER, "single"}
    assert "single" in {each.device for each in sent[:2]}


def test_a_crowd_is_forgotten_after_a_while():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(0), 0, crowd=True)
    everything(plan, GATHER)
    plan.next(GATHER + LINGER + 1)
    plan.ask("d-1", Want(parts=(part(A, 0),), manifest=MANIFEST), GATHER + LINGER + 2)

    assert everything(plan, GATHER + LINGER + 2) == [Sending(A, 0, "d-1")]


# --- Limits ---


def seconds_for(plan: Plan, now: float = 0.0) -> tuple[float, dict[str, int]]:
    """When the last block went, and how many each device got; waiting exactly as long as the plan says."""
    counts: dict[str, int] = {}
    last = now
    while True:
        chosen = plan.next(now)
        if isinstance(chosen, Sending):
            counts[chosen.device] = counts.get(chosen.device, 0) + 1
            last = now
        elif chosen == math.inf:
            return last, counts
        else:
            now += chosen


def test_the_fleets_limit_holds_for_everything_together():
    plan = Plan(0, rate=10 * BLOCK)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, want(*range(40)), 0)
    seconds, counts = seconds_for(plan)

    assert sum(counts.values()) == 120
    assert seconds == pytest.approx(12, abs=0.5)


def test_a_devices_limit_holds_for_it_alone():
    plan = Plan(0)
    plan.ask("slow", want(*range(20)), 0, rate=2 * BLOCK)
    plan.ask("fast", want(*range(20)), 0)
    fast = everything(plan, 0)

    assert sum(each.device == "fast" for each in fast) == 20 and len(fast) < 23
    seconds, _ = seconds_for(plan)
    assert seconds == pytest.approx(10, abs=1)


def test_a_device_with_a_limit_takes_no_part_in_a_crowd():
    plan = Plan(0)
    for device in ("d-1", "d-2", "d-3"):
        plan.ask(device, lacks(0, 1), 0, crowd=True)
    plan.ask("slow", want(0), 0, rate=BLOCK)

    assert plan.next(0) == Sending(A, 0, "slow")


def test_a_limit_that_changes_counts_at_once():
    plan = Plan(0, rate=BLOCK)
    plan.ask("d-1", want(*range(20)), 0)
    for _ in range(2):
        plan.next(0)
    assert isinstance(plan.next(0), float)
    plan.limit(0, 0)

    assert len(everything(plan, 0)) >= 18
