"""Orders: taken once, acknowledged at every step, never started late."""

import threading

import msgspec
import pytest

from agent.addresses import Server
from agent.link.commands import CommandDesk, CommandError, Kind, Nothing
from agent.link.connection import Connection, Credentials
from agent.link.journal import Journal
from agent.wire import codec, topics
from agent.wire.messages import BenchmarkArgs, CommandOrder
from tests.agent.waiting import wait_for

NOW = 1_795_000_000.0


class Bench:
    """A desk on a real link, with commands that record what ran."""

    def __init__(self, broker, path, clock=lambda: NOW):
        self.ran: list[str] = []
        self.gate = threading.Event()
        self.journal = Journal(path / "commands.db")
        self.connection = Connection(
            Server("127.0.0.1", broker.port),
            Credentials("d-1", "d-1", "x"),
            on_message=lambda topic, body: self.desk.receive(topics.parse(topic).key, body),
            on_connected=lambda: self.desk.resend(),
            subscriptions=(topics.device_filter("d-1"),),
        )
        self.desk = CommandDesk(
            device_id="d-1",
            journal=self.journal,
            connection=self.connection,
            clock=clock,
            kinds={
                "ping": Kind(Nothing, lambda _args, _progress: self._run("ping"), quick=True),
                "slow": Kind(Nothing, self._slow),
                "benchmark": Kind(BenchmarkArgs, lambda args, _progress: self._run(f"benchmark {args.runs}")),
                "impossible": Kind(Nothing, self._impossible),
                "broken": Kind(Nothing, lambda _args, _progress: {"x": 1 // 0}),
                "large": Kind(Nothing, lambda _args, _progress: {"x": "y" * 200_000}),
            },
        )

    def _run(self, what: str):
        self.ran.append(what)
        return {"ran": what}

    def _slow(self, _args, progress):
        self.ran.append("slow")
        self.gate.wait(20)
        progress(0.5)
        return {}

    def _impossible(self, _args, _progress):
        raise CommandError("There is no camera on this device.")

    def start(self):
        self.desk.start()
        self.connection.start()
        wait_for("the link", lambda: self.connection.connected)
        return self

    def stop(self):
        self.gate.set()
        self.connection.stop()
        self.desk.stop(5)
        self.journal.close()


@pytest.fixture
def bench(broker, server, tmp_path):
    made = []

    def start(**how) -> Bench:
        each = Bench(broker, tmp_path, **how).start()
        made.append(each)
        return each

    yield start
    for each in made:
        each.stop()


def order(kind="ping", number=1, deadline=NOW + 60, args=None) -> CommandOrder:
    return CommandOrder(id=f"c-{number}", kind=kind, deadline=deadline, args=args or {})


def test_each_step_is_acknowledged(bench, server):
    bench()
    server.order(order())

    wait_for("success", lambda: server.command_states("c-1") == ["accepted", "running", "succeeded"])
    assert server.commands[-1].result == {"ran": "ping"}
    assert [report.seq for report in server.commands] == [0, 1, 2]


def test_arguments_are_checked_and_handed_over(bench, server):
    bench()
    server.order(order("benchmark", args={"manifests": ["ab" * 32], "runs": 7}))

    wait_for("success", lambda: "succeeded" in server.command_states("c-1"))
    assert server.commands[-1].result == {"ran": "benchmark 7"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (order("reboot"), "does not know the command 'reboot'; it knows benchmark, broken"),
        (order("benchmark", args={"manifests": []}), "arguments of benchmark are not valid"),
        (order(deadline=NOW - 1), "deadline was 2026-11-18 11:06:39 UTC; this device's clock says 2026-11-18 11:06:40"),
    ],
)
def test_what_it_will_not_do_is_rejected_with_the_reason(bench, server, sent, words):
    desk = bench()
    server.order(sent)

    wait_for("an answer", lambda: server.command_states("c-1"))
    assert server.commands[-1].state == "rejected"
    assert words in server.commands[-1].reason
    assert desk.ran == []


def test_an_order_that_cannot_be_read_is_rejected(bench, server):
    bench()
    server.publish(topics.down("d-1", "command", "c-9"), b"{nonsense")

    wait_for("an answer", lambda: server.command_states("c-9") == ["rejected"])
    assert "cannot be read" in server.commands[-1].reason


def test_an_order_under_another_ones_id_is_rejected(bench, server):
    desk = bench()
    server.publish(topics.down("d-1", "command", "c-9"), codec.encode(order(number=1)))

    wait_for("an answer", lambda: server.command_states("c-9") == ["rejected"])
    assert desk.ran == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("impossible", "There is no camera on this device."),
        ("broken", "ZeroDivisionError"),
        ("large", "more than the 131072 of one message"),
    ],
)
def test_what_fails_says_why(bench, server, kind, words):
    bench()
    server.order(order(kind))

    wait_for("an end", lambda: "failed" in server.command_states("c-1"))
    assert words in server.commands[-1].reason


def test_the_same_order_twice_runs_once_and_is_answered_twice(bench, server):
    desk = bench()
    server.order(order())
    wait_for("success", lambda: "succeeded" in server.command_states("c-1"))
    server.order(order())

    wait_for("the same answer", lambda: server.command_states("c-1").count("succeeded") == 2)
    assert desk.ran == ["ping"]


def test_a_ping_is_answered_while_a_long_command_runs(bench, server):
    desk = bench()
    server.order(order("slow", 1))
    wait_for("the long one to run", lambda: desk.ran == ["slow"])
    server.order(order("ping", 2))

    wait_for("the ping", lambda: "succeeded" in server.command_states("c-2"))
    assert server.command_states("c-1")[-1] == "running"


def test_a_command_that_waited_past_its_deadline_is_not_started(bench, server):
    now = [NOW]
    desk = bench(clock=lambda: now[0])
    server.order(order("slow", 1))
    server.order(order("slow", 2))
    wait_for("the second to be accepted", lambda: server.command_states("c-2") == ["accepted"])
    now[0] = NOW + 61
    desk.gate.set()

    wait_for("an end", lambda: "failed" in server.command_states("c-2"))
    assert desk.ran == ["slow"]
    assert "deadline" in server.commands[-1].reason


def test_after_a_restart_nothing_runs_twice_and_what_broke_off_has_failed(bench, server, broker, tmp_path):
    first = bench()
    server.order(order("slow", 1))
    wait_for("it to run", lambda: first.ran == ["slow"])
    # The power goes here: the journal keeps `running`, and this desk is never heard of again.
    first.connection.stop()
    left = Journal(tmp_path / "commands.db")
    assert [report.state for _, report in left.unfinished()] == ["running"]
    left.close()

    second = bench()
    wait_for("the failure", lambda: server.command_states("c-1")[-1:] == ["failed"])
    assert "stopped while the command ran" in server.commands[-1].reason
    server.order(order("slow", 1))
    wait_for("the same answer again", lambda: server.command_states("c-1").count("failed") >= 2)
    assert second.ran == []


def test_an_order_taken_before_the_restart_and_not_begun_runs_after_it(bench, server, tmp_path):
    journal = Journal(tmp_path / "commands.db")
    taken = order("benchmark", args={"manifests": ["ab" * 32], "runs": 9})
    report = msgspec.convert({"id": "c-1", "seq": 0, "at": NOW, "state": "accepted"}, type=_report())
    assert journal.take(taken, report)
    journal.close()

    desk = bench()
    wait_for("success", lambda: "succeeded" in server.command_states("c-1"))
    assert desk.ran == ["benchmark 9"]


def test_an_answer_that_found_no_link_is_given_at_the_next_connect(bench, server, broker, server_comes_first):
    desk = bench()
    server.order(order("slow", 1))
    wait_for("it to run", lambda: server.command_states("c-1")[-1:] == ["running"])
    broker.stop()
    wait_for("the link to be lost", lambda: not desk.connection.connected)
    desk.gate.set()
    wait_for("the end in the journal", lambda: desk.journal.last("c-1").state == "succeeded")
    broker.start()
    server.wait_until_subscribed()

    wait_for("the answer", lambda: server.command_states("c-1")[-1:] == ["succeeded"])


def _report():
    from agent.wire.messages import CommandReport

    return CommandReport
