"""Kombu's file-system transport, with whole files only.

Kombu writes a message into its final name, so a worker that looks at the wrong moment takes an empty file, cannot
decode it and dies; its exchange tables have the same gap. Here both are written aside and renamed.
"""

import fcntl
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.transport.filesystem import exchange_queue_t
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps


def use() -> None:
    """Let `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"


class Channel(filesystem.Channel):
    """Same folders and file names as kombu's own."""

    def _put(self, queue: str, payload: object, **_: object) -> None:
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write(Path(self.data_folder_out) / name, payload)

    def _queue_bind(self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None) -> None:
        bound = exchange_queue_t(routing_key or "", pattern or "", queue or "")
        self.control_folder.mkdir(exist_ok=True)
        with _alone(self.control_folder / ".lock"):
            table = self.get_table(exchange)
            if bound not in table:
                _write(self._exchange_file(exchange), [bound, *table])


class Transport(filesystem.Transport):
    Channel = Channel


def _write(final: Path, content: object) -> None:
    """The whole content under its name, or nothing."""
    handle, aside = tempfile.mkstemp(dir=final.parent, prefix=".")
    with os.fdopen(handle, "wb") as file:
        file.write(str_to_bytes(dumps(content)))
    os.replace(aside, final)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
