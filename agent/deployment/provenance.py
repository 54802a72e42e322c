"""Where a manifest comes from: brings the release metadata here, and lets a child prove it (`verification`).

What is read here are hints, to know what to fetch: the versions that an unproven timestamp and snapshot name. The child
takes none of it on trust.
"""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec

from agent import child
from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.trust import ClockError, TrustError
from agent.files import private_folder, write_atomically
from agent.link.enrollment import ROOT_FILE
from agent.wire import manifest as wire
from agent.wire import metadata as names
from agent.wire import topics
from agent.wire.metadata import Order

log = logging.getLogger(__name__)

#: A file that the timestamp names comes within this many seconds of a live link, or it is not there.
PATIENCE = 10.0
#: Roots that one check follows; a device that missed more takes the rest with the next.
MAX_ROOTS = 64
#: The metadata may change while it is fetched, so it is fetched once more before it is called bad.
TRIES = 2
#: The child takes a third of a second on a fast machine.
TIMEOUT, MEMORY = 60.0, 256 * 1024**2

#: The agent's clock; tests have their own.
clock: Callable[[], float] = time.time

T = TypeVar("T")
_Version = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class _Versioned(msgspec.Struct):
    version: _Version


class _Timestamp(msgspec.Struct, rename={"root": names.NEWEST_ROOT}):
    meta: dict[str, _Versioned]
    root: _Version = 1


class _Snapshot(msgspec.Struct):
    meta: dict[str, _Versioned]


class _File(msgspec.Struct, Generic[T]):
    signed: T


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """What the server signed for: an order for a manifest of `length` bytes, proven at the time `at`."""

    order: Order
    length: int
    at: float


#: Proves a manifest: the root, the folder, the digest, the device's clock, the server's as its order said it, and
#: whether the answer is not wanted any more. Raises TrustError or InterruptedWaitError.
Prove = Callable[[Path, Path, str, float, float, Callable[[], bool]], dict[str, object]]


def in_a_child(
    root: Path, folder: Path, digest: str, now: float, told: float, interrupted: Callable[[], bool]
) -> dict[str, object]:
    """The framework is in memory for as long as the check takes, and no longer."""
    try:
        answer: dict[str, object] = child.run(
            "agent.deployment.verification",
            [str(root), str(folder), digest, "--now", str(now), "--told", str(told)],
            seconds=TIMEOUT,
            memory=MEMORY,
            interrupted=interrupted,
            subject="The check of the release metadata",
        )
    except child.ChildStoppedError as stopped:
        raise InterruptedWaitError from stopped
    except child.ChildError as problem:
        raise TrustError(str(problem)) from problem
    return answer


class Provenance:
    """One for each device. Its folder is `trust/`: `incoming/` holds what came, `trusted/` what was proven."""

    def __init__(self, data: Path, delivery: Delivery, prove: Prove = in_a_child) -> None:
        self._root = data / ROOT_FILE
        self._folder = private_folder(data / "trust")
        self._delivery = delivery
        self._prove = prove

    def vouched(self, digest: str, told: float, interrupted: Callable[[], bool]) -> Vouched:
        """What is signed for the manifest.

        Raises TrustError with the reason (ClockError where that is the device's clock), InterruptedWaitError, OSError.
        """
        if not self._root.exists():
            raise TrustError(
                "This device has no root of trust, because it was enrolled before there was one. Retire it, clear its "
                "data folder and enroll it again."
            )
        refused = TrustError()
        for _ in range(TRIES):
            self._gather(interrupted)
            answer = self._prove(self._root, self._folder, digest, clock(), told, interrupted)
            if "reason" not in answer:
                return _vouched(answer)
            log.warning("the release metadata is refused: %s", answer["reason"])
            if answer.get("clock"):
                raise ClockError(str(answer["reason"]))
            refused = TrustError(str(answer["reason"]))
        raise refused

    def _gather(self, interrupted: Callable[[], bool]) -> None:
        """The timestamp, waited for however long it takes, and then what it names and is not here yet."""
        incoming = self._folder / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o700)
        newest = self._fetch("timestamp", interrupted, float("inf"))
        timestamp = _read(newest, _Timestamp)
        if timestamp is None or "snapshot.json" not in timestamp.meta:
            return  # the child says what is wrong with it
        first = _root_version(self._root)
        for version in range(first + 1, min(timestamp.root, first + MAX_ROOTS) + 1):
            if not (self._folder / "trusted/root_history" / f"{version}.root.json").exists():
                self._fetch(names.name("root", version), interrupted, PATIENCE)
        wanted = timestamp.meta["snapshot.json"].version
        body = self._have("snapshot", wanted) or self._fetch(names.name("snapshot", wanted), interrupted, PATIENCE)
        snapshot = _read(body, _Snapshot)
        if snapshot is None or "targets.json" not in snapshot.meta:
            return
        wanted = snapshot.meta["targets.json"].version
        if self._have("targets", wanted) is None:
            self._fetch(names.name("targets", wanted), interrupted, PATIENCE)

    def _have(self, role: str, version: int) -> bytes | None:
        """The proven file, if it is of this version. The framework then does not ask for it."""
        try:
            body = (self._folder / "trusted" / f"{role}.json").read_bytes()
        except OSError:
            return None
        read = _read(body, _Versioned)
        if read is None or read.version != version:
            return None
        # Perhaps damaged on the disk: then the framework asks for it after all.
        write_atomically(self._folder / "incoming" / names.name(role, version), body)
        return body

    def _fetch(self, name: str, interrupted: Callable[[], bool], seconds: float) -> bytes | None:
        body = self._delivery.fetch(topics.metadata(name), interrupted, seconds)
        if body is not None:
            # Of a file that is too large, one byte more than is right is enough to refuse it.
            write_atomically(self._folder / "incoming" / name, body[: names.MAX_FILE + 1])
        return body


def check_version(manifest: wire.Manifest, vouched: Vouched, newest: int) -> None:
    """Raises TrustError when this device ran a newer version, and nobody has signed that it may go back."""
    order = vouched.order
    if manifest.number >= newest or (order.over >= newest and vouched.at <= order.until):
        return
    over = " The order to go back has expired." if order.over >= newest else ""
    raise TrustError(
        f"Version {manifest.number} of {manifest.model} is older than version {newest}, which this device ran, and no "
        f"signed order lets it go back.{over}"
    )


def _vouched(answer: dict[str, object]) -> Vouched:
    try:
        order = msgspec.convert(answer["vouched"], Order)
        return msgspec.convert({"order": order, "length": answer["length"], "at": answer["at"]}, Vouched)
    except (msgspec.ValidationError, KeyError) as problem:
        raise TrustError(f"What is signed beside the manifest cannot be read: {problem}.") from problem


def _read(body: bytes | None, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body or b"", type=_File[kind]).signed  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _root_version(path: Path) -> int:
    read = _read(path.read_bytes(), _Versioned)
    return read.version if read else 0
