"""Whether a manifest is vouched for: `python -m agent.deployment.verification ROOT FOLDER DIGEST --now …`.

Runs in a child process: The Update Framework with its cryptography costs 25 MB, which an agent that is not updating has
no use for. ROOT is the root that came with enrollment; FOLDER holds `incoming/` (the files that came, nothing of them
trusted) and `trusted/` (what was proven, which the framework keeps and compares the next with). Prints one JSON line:
either `vouched` (the signed order), `length` (of the manifest) and `at` (the clock), or `reason` and `clock` (whether
the device's own clock is what is wrong).
"""

import argparse
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from agent import child
from agent.wire import metadata as names

#: A clock may be this far behind the time at which something was signed.
CLOCK_SLACK = timedelta(minutes=10)
#: Metadata that expired so long ago by the device's clock tell more of the clock than of the server.
CLEARLY_AHEAD = timedelta(days=180)


class RefusedError(Exception):
    """Why the manifest is not to be installed, for a person."""

    clock = False


class ClockError(RefusedError):
    """The device's clock is off, so nothing can be said of the manifest."""

    clock = True


class _Incoming(FetcherInterface):
    """Files of a folder under the framework's names: `5.snapshot.json` lies in `5-snapshot`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        version, _, role = url.rsplit("/", 1)[1].removesuffix(".json").rpartition(".")
        path = self._folder / names.name(role, int(version) if version else None)
        if not path.exists():
            raise exceptions.DownloadHTTPError(f"{path.name} did not come", 404)
        return iter([path.read_bytes()])


def check(root: Path, folder: Path, digest: str, now: datetime, told: datetime | None) -> dict[str, Any]:
    """What is signed beside the manifest. Raises RefusedError; told is the server's clock, as its order said it."""
    trusted, incoming = folder / "trusted", folder / "incoming"
    trusted.mkdir(exist_ok=True)
    updater = _updater(root, folder)
    _clock_behind(now, _issued(trusted / "timestamp.json", updater))
    try:
        updater._trusted_set.reference_time = now  # the caller's clock is the device's, tests have their own
        updater.refresh()
        target = updater.get_targetinfo(digest)
    except exceptions.ExpiredMetadataError as problem:
        raise _expired(problem, now, told, _read(incoming / "timestamp", updater)) from problem
    except exceptions.BadVersionNumberError as problem:
        raise RefusedError(f"Older release metadata came again (a replay): {problem}.") from problem
    except exceptions.UnsignedMetadataError as problem:
        raise RefusedError(f"The release metadata lacks a signature that this device trusts: {problem}.") from problem
    except (exceptions.DownloadError, exceptions.RepositoryError, DeserializationError) as problem:
        raise RefusedError(f"The release metadata is damaged or incomplete: {problem}.") from problem
    _clock_behind(now, _issued(incoming / "timestamp", updater))
    if target is None:
        raise RefusedError(f"The server has not signed for the manifest {digest[:12]}: it is not among its targets.")
    if target.hashes != {"sha256": digest}:
        raise RefusedError(f"What is signed for {digest[:12]} names another digest.")
    return {"vouched": target.custom or {}, "length": target.length, "at": now.timestamp()}


def _updater(root: Path, folder: Path) -> Updater:
    """Begins at the first root each time, so that a damaged copy of a later one does no harm."""
    try:
        first = root.read_bytes()
        config = UpdaterConfig(
            root_max_length=names.MAX_FILE,
            timestamp_max_length=names.MAX_FILE,
            snapshot_max_length=names.MAX_FILE,
            targets_max_length=names.MAX_FILE,
        )
        fetcher = _Incoming(folder / "incoming")
        return Updater(str(folder / "trusted"), "mqtt:/tuf/", fetcher=fetcher, config=config, bootstrap=first)
    except (OSError, exceptions.RepositoryError, DeserializationError) as problem:
        raise RefusedError(f"This device's root of trust cannot be read ({problem}). Enroll it anew.") from problem


def _read(path: Path, updater: Updater) -> Timestamp | None:
    """A timestamp, old or new, that a trusted key has signed."""
    try:
        read = Metadata[Timestamp].from_bytes(path.read_bytes())
        updater._trusted_set.root.verify_delegate(Timestamp.type, read.signed_bytes, read.signatures)
    except (OSError, exceptions.RepositoryError, DeserializationError):
        return None
    return read.signed if isinstance(read.signed, Timestamp) else None


def _issued(path: Path, updater: Updater) -> datetime | None:
    """When it was signed: it is at least so late now."""
    signed = _read(path, updater)
    seconds = signed.unrecognized_fields.get(names.ISSUED) if signed else None
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


def _clock_behind(now: datetime, issued: datetime | None) -> None:
    """With a clock that is behind, nothing would ever be expired."""
    if issued is not None and now < issued - CLOCK_SLACK:
        raise ClockError(
            f"This device's clock is off: it says {_words(now)}, but the server signed its release metadata at "
            f"{_words(issued)}."
        )


def _expired(problem: Exception, now: datetime, told: datetime | None, timestamp: Timestamp | None) -> RefusedError:
    """The clock, or a server that renews nothing: what is known of either."""
    if timestamp is None:
        return RefusedError(f"The release metadata has expired, and its timestamp is not right: {problem}.")
    sure = max(filter(None, (told, timestamp.expires)))
    if now - sure > CLEARLY_AHEAD or (told is not None and told < timestamp.expires and now - told > CLEARLY_AHEAD):
        return ClockError(
            f"This device's clock is off: it says {_words(now)}, but the server's release metadata is valid until "
            f"{_words(timestamp.expires)}."
        )
    said = f" The server's clock said {_words(told)} with this order." if told else ""
    return RefusedError(
        f"The release metadata has expired ({problem}). It is valid until {_words(timestamp.expires)}; this device's "
        f"clock says {_words(now)}.{said} Nobody renews it, or what is newer is kept back, or the clock is off."
    )


def _words(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _keep(folder: Path) -> None:
    """What was proven is durable before anybody builds upon it; the framework renames, and does not sync."""
    for path in (folder / "trusted").rglob("*.json"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def answer(root: Path, folder: Path, digest: str, now: float, told: float) -> dict[str, Any]:
    """The line that is printed. now and told are seconds since 1970; told is 0 when the server did not say."""
    try:
        found = check(
            root,
            folder,
            digest,
            datetime.fromtimestamp(now, UTC),
            datetime.fromtimestamp(told, UTC) if told else None,
        )
        _keep(folder)
    except RefusedError as problem:
        return {"reason": str(problem), "clock": problem.clock}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that a manifest is vouched for.")
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("digest")
    parser.add_argument("--now", type=float, required=True, help="this device's clock, seconds since 1970")
    parser.add_argument("--told", type=float, default=0, help="the server's clock when it ordered, if it said so")
    given = parser.parse_args()
    child.leave_with_parent()
    child.answer(answer(given.root, given.folder, given.digest, given.now, given.told))


if __name__ == "__main__":
    main()
