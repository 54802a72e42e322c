"""Orders from the server: each is taken once, acknowledged at every step, and never started after its deadline."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from agent.link.connection import Connection, Delivery
from agent.link.journal import Journal
from agent.pulse import Pulse
from agent.wire import codec, topics
from agent.wire.messages import CommandOrder, CommandReport

log = logging.getLogger(__name__)

#: Called by a running command with the share that is done, 0 to 1.
Progress = Callable[[float], None]
#: Seconds between two reports of progress.
PROGRESS_SECONDS = 1.0
#: A result beyond this many bytes would not fit into a message.
MAX_RESULT = 128 * 1024


class CommandError(Exception):
    """A command that could not be done; the message is the reason that the server shows."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of command. `run` gets checked arguments and returns the result, or raises CommandError.

    A quick one runs at once in the network thread; the others run one after the other in a thread of their own.
    """

    arguments: type[Any]
    run: Callable[[Any, Progress], dict[str, Any]]
    quick: bool = False


class Nothing(msgspec.Struct, frozen=True):
    """The arguments of a command that takes none."""


class CommandDesk:
    """Takes orders and answers them. Where all kinds are quick, it has no thread."""

    def __init__(
        self,
        *,
        device_id: str,
        journal: Journal,
        connection: Connection,
        kinds: Mapping[str, Kind],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device_id = device_id
        self._journal = journal
        self._connection = connection
        self._kinds = kinds
        self._clock = clock
        self._work: queue.SimpleQueue[CommandOrder | None] = queue.SimpleQueue()
        self._sent: list[tuple[CommandReport, Delivery]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        #: Only whether it is there: a command may take as long as it takes.
        self.pulse = Pulse("commands", float("inf"), self._thread)

    def start(self) -> None:
        """Pick up what an earlier boot left: what ran then has failed, what had not begun runs now."""
        for order, report in self._journal.unfinished():
            if report.state == "running":
                self._report(report, "failed", reason="The agent stopped while the command ran. Order it again.")
            elif order.kind not in self._kinds:
                self._report(report, "failed", reason=f"This agent does not know the command {order.kind!r} any more.")
            else:
                self._hand_over(order)
        if not all(kind.quick for kind in self._kinds.values()):
            self._thread.start()

    def stop(self, seconds: float = 0.5) -> None:
        """A command that is running is left behind; the next boot reports it as failed."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)
        if not self._thread.is_alive():
            self._journal.close()

    # --- The network thread ---

    def receive(self, order_id: str, body: bytes) -> None:
        """An order came. It is in the journal before the broker hears that it arrived."""
        known = self._journal.last(order_id)
        if known is not None:
            self._send(known)
            return
        try:
            order = codec.decode(body, CommandOrder)
            if order.id != order_id:
                raise codec.WireError(f"the order says that it is {order.id}")
        except codec.WireError as problem:
            order = CommandOrder(id=order_id, kind="", deadline=0)
            self._refuse(order, f"The order cannot be read: {problem}.")
            return
        reason = self._objection(order)
        if reason:
            self._refuse(order, reason)
            return
        accepted = self._new_report(order.id, "accepted")
        if not self._journal.take(order, accepted):
            return
        log.info("command %s (%s) accepted", order.id, order.kind)
        self._send(accepted)
        self._hand_over(order)

    def resend(self) -> None:
        """After a connect: say again what the broker may not have."""
        self._settle()
        for report in self._journal.unacknowledged():
            self._send(report)

    def _hand_over(self, order: CommandOrder) -> None:
        if self._kinds[order.kind].quick:
            self._do(order)
        else:
            self._work.put(order)

    def _objection(self, order: CommandOrder) -> str:
        kind = self._kinds.get(order.kind)
        if kind is None:
            return f"This agent does not know the command {order.kind!r}; it knows {', '.join(sorted(self._kinds))}."
        try:
            msgspec.convert(order.args, kind.arguments)
        except msgspec.ValidationError as problem:
            return f"The arguments of {order.kind} are not valid: {problem}."
        return self._too_late(order)

    def _too_late(self, order: CommandOrder) -> str:
        now = self._clock()
        if now <= order.deadline:
            return ""
        return f"The order's deadline was {_utc(order.deadline)}; this device's clock says {_utc(now)}."

    def _refuse(self, order: CommandOrder, reason: str) -> None:
        log.warning("command %s (%s) rejected: %s", order.id, order.kind, reason)
        rejected = self._new_report(order.id, "rejected", reason=reason)
        self._journal.take(order, rejected)
        self._send(rejected)

    # --- The commands' thread ---

    def _run(self) -> None:
        while (order := self._work.get()) is not None:
            self._do(order)

    def _do(self, order: CommandOrder) -> None:
        last = self._journal.last(order.id) or self._new_report(order.id, "accepted")
        late = self._too_late(order)
        if late:
            self._report(last, "failed", reason=late)
            return
        kind = self._kinds[order.kind]
        last = self._report(last, "running")
        try:
            result = kind.run(msgspec.convert(order.args, kind.arguments), self._progress(order.id))
            size = len(msgspec.json.encode(result))
            if size > MAX_RESULT:
                raise CommandError(f"The result has {size} bytes, more than the {MAX_RESULT} of one message.")
        except CommandError as problem:
            self._end(order.id, "failed", reason=str(problem))
        except Exception as problem:
            log.exception("command %s (%s) broke", order.id, order.kind)
            self._end(order.id, "failed", reason=f"{type(problem).__name__}: {problem}")
        else:
            self._end(order.id, "succeeded", result=result)

    def _progress(self, order_id: str) -> Progress:
        told = time.monotonic()

        def tell(share: float) -> None:
            nonlocal told
            last = self._journal.last(order_id)
            if last and time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                self._report(last, "running", progress=min(1.0, max(0.0, share)))

        return tell

    def _end(
        self,
        order_id: str,
        state: Literal["succeeded", "failed"],
        reason: str = "",
        result: dict[str, Any] | None = None,
    ) -> None:
        log.info("command %s %s%s", order_id, state, f": {reason}" if reason else "")
        last = self._journal.last(order_id) or self._new_report(order_id, "running")
        self._report(last, state, progress=float(state == "succeeded"), reason=reason[:1000], result=result or {})

    # --- Reports ---

    def _new_report(
        self, order_id: str, state: Literal["accepted", "running", "rejected"], reason: str = ""
    ) -> CommandReport:
        return CommandReport(id=order_id, seq=0, at=self._clock(), state=state, reason=reason[:1000])

    def _report(self, last: CommandReport, state: str, **rest: Any) -> CommandReport:
        """The report after `last`: into the journal, then on its way."""
        fields = {"progress": 0.0, "reason": "", "result": {}, **rest}
        report = msgspec.structs.replace(last, seq=last.seq + 1, at=self._clock(), state=state, **fields)
        self._journal.write(report)
        self._send(report)
        return report

    def _send(self, report: CommandReport) -> None:
        self._settle()
        delivery = self._connection.publish(topics.up(self._device_id, "command", report.id), codec.encode(report))
        if delivery is not None:
            with self._lock:
                self._sent.append((report, delivery))

    def _settle(self) -> None:
        """Note in the journal which reports the broker has acknowledged."""
        with self._lock:
            waiting, self._sent = self._sent, []
        for report, delivery in waiting:
            if delivery.wait(0):
                self._journal.acknowledged(report)
            elif not delivery.lost:
                with self._lock:
                    self._sent.append((report, delivery))


def _utc(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s after 1970"
