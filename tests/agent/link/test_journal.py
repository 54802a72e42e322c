"""The journal of orders is bounded, and remembers what matters."""

import pytest

from agent.link.journal import Journal
from agent.wire.messages import CommandOrder, CommandReport


def order(number: int) -> CommandOrder:
    return CommandOrder(id=f"c-{number}", kind="ping", deadline=1)


def report(number: int, state="accepted", seq=0) -> CommandReport:
    return CommandReport(id=f"c-{number}", seq=seq, at=1, state=state)


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "commands.db", kept=3)
    yield made
    made.close()


def test_an_order_is_taken_once(journal):
    assert journal.take(order(1), report(1))
    assert not journal.take(order(1), report(1, "rejected"))
    assert journal.last("c-1").state == "accepted"


def test_only_so_many_finished_orders_are_remembered(journal):
    for number in range(10):
        journal.take(order(number), report(number))
        journal.write(report(number, "succeeded", 1))

    assert journal.last("c-9") is not None
    assert [number for number in range(10) if journal.last(f"c-{number}")] == [7, 8, 9]


def test_an_unfinished_order_is_never_forgotten(journal):
    journal.take(order(0), report(0))
    for number in range(1, 10):
        journal.take(order(number), report(number, "rejected"))

    assert [taken.id for taken, _ in journal.unfinished()] == ["c-0"]


def test_an_acknowledgement_of_an_older_report_does_not_count(journal):
    journal.take(order(1), report(1))
    journal.write(report(1, "running", 1))
    journal.acknowledged(report(1))
    assert [each.state for each in journal.unacknowledged()] == ["running"]

    journal.acknowledged(report(1, "running", 1))
    assert journal.unacknowledged() == []
