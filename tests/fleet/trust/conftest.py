"""Keys of a test's own, and a device that reads what the server published."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.utils import timezone

from agent.deployment import verification
from agent.wire import topics
from fleet.gateway.models import Outbox
from fleet.trust import services


@pytest.fixture(autouse=True)
def keys_dir(settings, tmp_path) -> Path:
    settings.KEYS_DIR = tmp_path / "keys"
    return settings.KEYS_DIR


class Reader:
    """A device that was enrolled when it was made, and proves what the broker would hold now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "root.json"
        self._root.write_text(services.for_enrollment())

    def check(self, digest: str, now: datetime | None = None):
        incoming = self._folder / "incoming"
        incoming.mkdir(exist_ok=True)
        for path in incoming.iterdir():
            path.unlink()
        for name, body in broker().items():
            (incoming / name).write_bytes(body)
        return verification.check(self._root, self._folder, digest, now or datetime.now(UTC), timezone.now())


def broker() -> dict[str, bytes]:
    """What the broker would have retained under `cast/tuf/`, once the outbox is drained."""
    held: dict[str, bytes] = {}
    for row in Outbox.objects.filter(topic__contains="/cast/tuf/").order_by("id"):
        assert row.retain
        held[topics.parse(row.topic).key] = bytes(row.payload)
    return {name: body for name, body in held.items() if body}


@pytest.fixture
def reader(db, tmp_path) -> Reader:
    folder = tmp_path / "device"
    folder.mkdir()
    return Reader(folder)
