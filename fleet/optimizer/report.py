"""What a confined child says to its parent: one JSON object a line, on a channel that no library prints to."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.inference.runtimes import ModelError
from fleet.optimizer.errors import OptimizerError

T = TypeVar("T")
U = TypeVar("U", bound=msgspec.Struct)

_LONGEST = 900


def say(**message: Any) -> None:
    """Send one line. Without a parent that listens, it goes to standard output."""
    channel = int(os.environ.get("EDGEFLEET_CHANNEL", "1"))
    os.write(channel, msgspec.json.encode(message) + b"\n")


def progress(share: float, text: str) -> None:
    """How far this child is (0 … 1), and what it is doing."""
    say(progress=share, text=text)


def serve(kind: type[T], work: Callable[[T], U]) -> None:
    """A child's main: decode the request file named by the first argument, do the work, say its result or its error."""
    try:
        say(result=msgspec.to_builtins(work(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=kind))))
    except (OptimizerError, ModelError) as problem:
        say(error=str(problem)[:_LONGEST])
        sys.exit(3)
    except MemoryError:
        say(error="it needed more memory than it may use")
        sys.exit(3)
    except Exception as problem:
        traceback.print_exc()
        first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        if "alloc" in first and "memory" in first:
            first = f"it needed more memory than it may use ({first})"
        say(error=f"{type(problem).__name__}: {first}"[:_LONGEST])
        sys.exit(3)
