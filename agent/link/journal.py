"""Which orders this device has taken, and how each stands: on disk, so that none runs twice and no answer is lost."""

import sqlite3
import threading
from pathlib import Path

import msgspec

from agent.wire.messages import CommandOrder, CommandReport

#: Finished orders that are remembered; an order that comes again after more than these is refused by its deadline.
KEPT = 256

_TABLE = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    order_body BLOB NOT NULL,
    report_body BLOB NOT NULL,
    state TEXT NOT NULL,
    acknowledged INTEGER NOT NULL DEFAULT 0
)
"""
_ENDS = ("succeeded", "rejected", "failed")


class Journal:
    """Every order with its last report. Any thread may use it."""

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._kept = kept
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Every commit is synced: an order that was acknowledged must be known after a power cut, or it could run twice.
        self._database.execute("PRAGMA journal_mode=TRUNCATE")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(_TABLE)

    def take(self, order: CommandOrder, report: CommandReport) -> bool:
        """Write a new order with its first report. False when its id is known already: then nothing changes."""
        with self._lock:
            taken = self._database.execute(
                "INSERT OR IGNORE INTO orders (id, order_body, report_body, state) VALUES (?, ?, ?, ?)",
                (order.id, msgspec.json.encode(order), msgspec.json.encode(report), report.state),
            ).rowcount
            if taken:
                self._database.execute(
                    "DELETE FROM orders WHERE state IN (?, ?, ?) AND number NOT IN "
                    "(SELECT number FROM orders ORDER BY number DESC LIMIT ?)",
                    (*_ENDS, self._kept),
                )
            return bool(taken)

    def write(self, report: CommandReport) -> None:
        """Replace the last report of the order."""
        with self._lock:
            self._database.execute(
                "UPDATE orders SET report_body = ?, state = ?, acknowledged = 0 WHERE id = ?",
                (msgspec.json.encode(report), report.state, report.id),
            )

    def last(self, order_id: str) -> CommandReport | None:
        with self._lock:
            row = self._database.execute("SELECT report_body FROM orders WHERE id = ?", (order_id,)).fetchone()
        return msgspec.json.decode(row[0], type=CommandReport) if row else None

    def acknowledged(self, report: CommandReport) -> None:
        """The broker has this report; it counts only while it is still the last one."""
        with self._lock:
            self._database.execute(
                "UPDATE orders SET acknowledged = 1 WHERE id = ? AND report_body = ?",
                (report.id, msgspec.json.encode(report)),
            )

    def unacknowledged(self) -> list[CommandReport]:
        """The last reports that the broker may not have, oldest order first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT report_body FROM orders WHERE acknowledged = 0 ORDER BY number"
            ).fetchall()
        return [msgspec.json.decode(body, type=CommandReport) for (body,) in rows]

    def unfinished(self) -> list[tuple[CommandOrder, CommandReport]]:
        """Orders that were taken and have not ended, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT order_body, report_body FROM orders WHERE state NOT IN (?, ?, ?) ORDER BY number", _ENDS
            ).fetchall()
        return [
            (msgspec.json.decode(order, type=CommandOrder), msgspec.json.decode(report, type=CommandReport))
            for order, report in rows
        ]

    def close(self) -> None:
        with self._lock:
            self._database.close()
