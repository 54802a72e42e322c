"""The agent's log: for a person or for programs, bounded wherever it goes, and never with a secret.

Lines go to the standard error. Under systemd that is the journal, which has bounds of its own; anywhere else they also
go to `log/agent.log` in the data folder, as JSON, which is renamed when it is full, so that a board keeps the last
`FILES * FILE_BYTES` bytes at most.
"""

import json
import logging
import os
import stat
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from agent.files import private_folder

#: Bytes of one file, and how many there are in all.
FILE_BYTES, FILES = 1024 * 1024, 4
#: Characters of one message, and of one traceback; a longer one loses its middle.
MAX_TEXT = 8000
#: A shorter text is no secret, and hiding it would tear words apart.
_SHORTEST_SECRET = 8

_HIDDEN = "(hidden)"
_secrets: set[str] = set()
#: What systemd reads at the start of a line (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def hide(*secrets: str) -> None:
    """From now on no line shows any of these, whoever logs them."""
    _secrets.update(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)


def set_up(
    data: Path, level: str, form: str = "", stream: TextIO | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Log from now on. form is human or json; empty: human on a terminal, else json. Raises OSError."""
    stream = stream or sys.stderr
    journal = _is_journal(stream, environment.get("JOURNAL_STREAM", ""))
    shown = logging.StreamHandler(stream)
    human = form == "human" or (not form and stream.isatty())
    shown.setFormatter(Human(journal) if human else Json(journal))
    handlers: list[logging.Handler] = [shown]
    if not journal:
        kept = BoundedFile(private_folder(private_folder(data) / "log") / "agent.log")
        kept.setFormatter(Json())
        handlers.append(kept)
    logging.basicConfig(level=level, handlers=handlers, force=True)


def _is_journal(stream: TextIO, told: str) -> bool:
    """systemd says which file its journal is; a stream that was redirected since is another one (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return stat.S_ISSOCK(found.st_mode) and told == f"{found.st_dev}:{found.st_ino}"


def _safe(text: str) -> str:
    """Without secrets, and not endless."""
    for secret in _secrets:
        text = text.replace(secret, _HIDDEN)
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT // 2]} … {text[-MAX_TEXT // 2 :]}"
    return text


class Human(logging.Formatter):
    """A line as a person reads it; a traceback follows on lines of its own."""

    def __init__(self, journal: bool = False) -> None:
        # The journal has the time and the level of each line itself.
        words = "%(name)s: %(message)s" if journal else "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        super().__init__(words)
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        return _priority(record, self._journal) + _safe(super().format(record))


class Json(logging.Formatter):
    """One JSON object on one line: time (RFC 3339, UTC), level, part, thread, message, and trace where there is one."""

    def __init__(self, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": record.name,
            "thread": record.threadName,
            "message": _safe(record.getMessage()),
        }
        if record.exc_info:
            told["trace"] = _safe("".join(traceback.format_exception(*record.exc_info)))
        return _priority(record, self._journal) + json.dumps(told, ensure_ascii=False)


def _priority(record: logging.LogRecord, journal: bool) -> str:
    return f"<{_PRIORITIES.get(record.levelno, 6)}>" if journal else ""


class BoundedFile(RotatingFileHandler):
    """`path`, then `path.1` and so on. A disk that takes nothing costs lines, and stops nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        """The standard error has the line already; there is nobody else to tell."""
