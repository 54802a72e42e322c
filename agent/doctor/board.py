"""Checks of the board: its clock, its disk, the data folder's rights, its power sensors."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.config import Settings
from agent.deployment.records import Saved
from agent.device import device_adapter
from agent.doctor.finding import Finding, note, ok, problem
from agent.files import write_atomically
from agent.link.enrollment import FILE as IDENTITY
from agent.wire.fit import STORAGE_RESERVE

#: No agent of this version ran before it was written: an earlier time is a clock that was never set.
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
#: Seconds that the server's clock and this one may differ unnoticed.
APART = 300.0
#: Bytes that should be free: below, a large update is refused.
ROOMY = 512 * 1024**2
#: Seconds that a synced write may take before it is worth a word.
SLOW_WRITE = 1.0
#: What adjtimex(2) returns for a clock that nobody keeps right.
_TIME_ERROR = 5


def clock(data: Path, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Whether the clock is set: releases expire, so an update needs the time."""
    seconds = now()
    shown = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    keep = "Have it kept right: `timedatectl set-ntp true`, or chrony."
    remedy = f"{keep} Until it is set, no update is taken."
    told = _told(data)
    if seconds < WRITTEN:
        yield problem("clock", f"It says {shown}, which is before this agent was written.", remedy)
    elif told and seconds < told - APART:
        there = f"{datetime.fromtimestamp(told, UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield problem("clock", f"It says {shown}, but the server's said {there} when it gave its last order.", remedy)
    elif _unsynchronized():
        yield note("clock", f"It says {shown}, and the kernel does not know of anything that keeps it right.", keep)
    else:
        yield ok("clock", f"{shown}, kept right.")


def _told(data: Path) -> float:
    """The server's clock at its last order, or 0."""
    try:
        saved = msgspec.json.decode((data / "state.json").read_bytes(), type=Saved)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return 0.0
    return saved.attempt.told if saved.attempt else 0.0


def _unsynchronized() -> bool:
    """What the kernel knows; False where it does not tell."""
    try:
        answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # `modes` 0 only reads
    except (OSError, AttributeError):
        return False
    return answer == _TIME_ERROR


def disk(data: Path) -> Iterator[Finding]:
    """Whether the data folder can be written, has room, and is this user's alone."""
    if not data.is_dir():
        yield from _not_there(data)
        return
    try:
        taken = _try_to_write(data)
    except OSError as trouble:
        yield problem(
            "disk",
            f"The data folder {data} cannot be written: {trouble.strerror}.",
            "Give it to the user that runs the agent (chown), mount its disk for writing, or make room on it.",
        )
    else:
        yield (
            ok("disk", f"{data} can be written, {1e3 * taken:.0f} ms for a synced file.")
            if taken < SLOW_WRITE
            else note(
                "disk",
                f"A synced file takes {taken:.1f} s.",
                "The card or disk may be wearing out: replace it in time.",
            )
        )
    yield from _room(data)


def _not_there(data: Path) -> Iterator[Finding]:
    parent = next(each for each in data.parents if each.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        yield note("disk", f"There is no data folder {data} yet.", "The agent makes it at its first start.")
    else:
        yield problem(
            "disk",
            f"There is no data folder {data}, and this user may not make it in {parent}.",
            "Make it and give it to the user that runs the agent, or name another one with --data.",
        )


def _try_to_write(data: Path) -> float:
    """Seconds of a file that is written, synced and renamed, as the agent's own are."""
    path = data / "doctor.probe"
    start = time.monotonic()
    try:
        write_atomically(path, os.urandom(4096))
    finally:
        path.unlink(missing_ok=True)
    return time.monotonic() - start


def _room(data: Path) -> Iterator[Finding]:
    found = os.statvfs(data)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    words = f"{free / 1024**2:,.0f} MiB are free."
    remedy = "Remove what is not needed, or put the data folder on a larger disk (--data)."
    if free < STORAGE_RESERVE:
        yield problem("space", words + " Every update is refused.", remedy)
    elif found.f_files and inodes < 1000:
        yield problem("space", f"Only {inodes} more files can be made on this disk.", remedy)
    elif free < ROOMY:
        yield note("space", words + " A large update may be refused.", remedy)
    else:
        yield ok("space", words)


def rights(data: Path) -> Iterator[Finding]:
    """Who else can read what makes this device this device."""
    if not data.is_dir():
        return
    wrong = [path for path in (data, data / IDENTITY) if path.exists() and path.stat().st_mode & 0o077]
    foreign = [path for path in data.iterdir() if path.lstat().st_uid != data.stat().st_uid]
    if wrong:
        yield problem(
            "rights",
            f"Others on this device can read or change {', '.join(map(str, wrong))}.",
            f"chmod go-rwx {' '.join(map(str, wrong))}",
        )
    if foreign:
        yield problem(
            "rights",
            f"{', '.join(path.name for path in foreign[:5])} in the data folder belong to another user: was the agent "
            "started as root once?",
            f"chown -R {data.stat().st_uid} {data}",
        )
    if not wrong and not foreign:
        yield ok("rights", "The data folder is its owner's alone.")


def power(settings: Settings | None, data: Path) -> Iterator[Finding]:
    """Whether power is measured on this board, or estimated."""
    declared = settings.declared if settings else None
    # Storage is asked of the nearest folder that is there: looking makes none.
    here = next(each for each in (data, *data.parents) if each.exists())
    device = device_adapter.adapter(declared, here)
    device.usage()
    time.sleep(0.2)  # RAPL counts: a figure needs two looks
    used = device.usage()
    if used.power_source == "measured":
        yield ok("power", f"Measured, {used.power:.2f} W now.")
        return
    words = f"No sensor answers: {used.power:.1f} W is an estimate, and labelled so everywhere."
    locked = [path for path in Path("/sys/class/powercap").glob("*:*/energy_uj") if not os.access(path, os.R_OK)]
    yield note(
        "power",
        words,
        f"Let the agent read {locked[0]} (root's alone by default): a udev or tmpfiles.d rule with `chmod a+r`."
        if locked
        else "Nothing has to be done. A board with RAPL, an INA sensor in hwmon, or a battery measures.",
    )
