"""Checks of what the agent is made of: versions, and the runtime with a first inference.

`python -m agent.doctor.software` is that inference, in a child process: a processor that lacks an instruction would
take the doctor along.
"""

import re
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from importlib import metadata

from agent import __version__, child
from agent.doctor.finding import Finding, note, ok, problem

PACKAGE = "edgefleet-agent"
#: Interpreters that the agent is tried with.
OLDEST, NEWEST = (3, 11), (3, 13)
#: The least model that computes: y = x · x for a float32 [64, 64] (ONNX, opset 18).
MODEL = b64decode(
    "CAkSADpAChEKAXgKAXgSAXkiBk1hdE11bBIBZ1oTCgF4Eg4KDAgBEggKAghACgIIQGITCgF5Eg4KDAgBEggKAghACgIIQEIECgAQEg=="
)
#: The child imports the runtime; an SD card takes its time. Bytes and seconds.
MEMORY, PATIENCE = 512 * 1024**2, 60.0


def versions() -> Iterator[Finding]:
    """Python, the agent, and each package that it needs."""
    python = ".".join(map(str, sys.version_info[:3]))
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        tried = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        yield note("python", f"{python}; the agent is tried with {tried}.", "Use one of these if something fails.")
    try:
        needed = [each for each in metadata.requires(PACKAGE) or [] if ";" not in each]
    except metadata.PackageNotFoundError:
        yield ok("versions", f"agent {__version__} from a checkout, Python {python}")
        return
    wrong = [words for words in map(_wrong, needed) if words]
    remedy = "Install the agent again into an environment of its own: pip install ./agent"
    yield (
        problem("versions", "; ".join(wrong) + ".", remedy)
        if wrong
        else ok("versions", f"agent {__version__}, Python {python}, {len(needed)} packages as they should be")
    )


def _wrong(requirement: str) -> str:
    """Why an installed package is not what `name[extra]>=1.2,<3` asks for; empty when it is."""
    name, wanted = re.match(r"([\w.-]+)(?:\[[^\]]*\])?(.*)", requirement).groups()  # type: ignore[union-attr]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    for sign, bound in re.findall(r"(>=|<)([\d.]+)", wanted):
        if (_numbers(found) < _numbers(bound)) == (sign == ">="):
            return f"{name} is {found}, and not {wanted.strip()}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def runtime() -> Iterator[Finding]:
    """Whether ONNX Runtime can be imported and computes."""
    try:
        told = child.run("agent.doctor.software", [], seconds=PATIENCE, memory=MEMORY, subject="A first inference")
    except child.ChildError as trouble:
        yield problem(
            "runtime",
            str(trouble),
            "SIGILL: this processor lacks instructions that the package uses, take an older onnxruntime. Else install "
            "the agent again, and look whether memory is short.",
        )
        return
    yield ok(
        "runtime",
        f"ONNX Runtime {told['version']} on {', '.join(told['providers'])}: imported in {told['import_ms']:.0f} ms, "
        f"computes in {told['run_ms']:.2f} ms.",
    )


def _try_out() -> dict[str, object]:
    start = time.perf_counter()
    import numpy as np
    import onnxruntime

    imported = time.perf_counter()
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    eye = np.eye(64, dtype=np.float32)
    session.run(None, {"x": eye})
    began = time.perf_counter()
    answer = session.run(None, {"x": eye * 2})[0]
    ended = time.perf_counter()
    if not np.array_equal(answer, eye * 4):
        raise ArithmeticError("the runtime computes wrong numbers")
    return {
        "version": onnxruntime.__version__,
        "providers": [each.removesuffix("ExecutionProvider") for each in onnxruntime.get_available_providers()],
        "import_ms": 1e3 * (imported - start),
        "run_ms": 1e3 * (ended - began),
    }


if __name__ == "__main__":
    child.leave_with_parent()
    child.answer(_try_out())
