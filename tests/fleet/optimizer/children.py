"""What a confined child may try, for the tests of the sandbox: `what` in the request says which."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fleet.optimizer import report
from fleet.optimizer.errors import PassError


class Request(msgspec.Struct):
    what: str
    path: str = ""


class Answer(msgspec.Struct):
    value: Any


def work(request: Request) -> Answer:
    return Answer(globals()[f"do_{request.what}"](request))


def do_count(request: Request) -> int:
    for step in range(3):
        report.progress((step + 1) / 3, f"step {step + 1}")
    return 3


def do_print(request: Request) -> str:
    print("a library that talks to standard output")
    os.system("echo so does one in C")  # noqa: S605, S607 - that is the point
    return "quiet"


def do_hog(request: Request) -> int:
    held = []
    while True:
        held.append(bytearray(16 * 1024**2))


def do_spin(request: Request) -> None:
    while True:
        pass


def do_write(request: Request) -> None:
    with open("large", "wb") as file:
        for _ in range(64):
            file.write(bytes(1024**2))


def do_network(request: Request) -> list[str]:
    """Connect to what the test listens on; and look at the interfaces that are up."""
    host, port = request.path.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as problem:
        return [type(problem).__name__]
    return ["connected"]


def do_environment(request: Request) -> list[str]:
    return sorted(os.environ)


def do_crash(request: Request) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def do_refuse(request: Request) -> None:
    raise PassError("the model has no feed-forward blocks: there is nothing to cut")


def do_bug(request: Request) -> None:
    raise KeyError("no such weight")


def do_linger(request: Request) -> None:
    """Start a process of its own, write down both ids, and go on for ever."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(request.path).write_text(f"{os.getpid()} {other.pid}")
    report.progress(0.5, "lingering")
    time.sleep(600)


def do_babble(request: Request) -> None:
    while True:
        os.write(int(os.environ["EDGEFLEET_CHANNEL"]), b"x" * 65536)


if __name__ == "__main__":
    report.serve(Request, work)
