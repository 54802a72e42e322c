"""Child processes that misbehave."""

import time

import pytest

from agent import child
from agent.child import ChildError, ChildStoppedError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(code)` is the name of a module with this code, which a child can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code: str) -> str:
        (tmp_path / "misbehaving.py").write_text(code)
        return "misbehaving"

    return write


def test_the_answer_is_its_json_line(module):
    code = "import sys; from agent import child; child.leave_with_parent(); child.answer({'got': sys.argv[1:]})"

    assert child.run(module(code), ["a", "b c"], seconds=20) == {"got": ["a", "b c"]}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"crashed the process \(SIGSEGV\)"),
        ("raise SystemExit('no such thing')", "The test process failed: no such thing"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("print('half a {')", "gave no result"),
        ("", "gave no result"),
        ("while True: pass", "did not get through its test within 1 s"),
        ("x = bytearray(200 * 2**20)\nwhile True: pass", "its budget is 100 MiB"),
        ("import sys\nfor _ in range(300): sys.stderr.write('x' * 10000)\nraise SystemExit('enough')", "enough"),
    ],
)
def test_what_it_does_instead_is_told(module, code, words):
    with pytest.raises(ChildError, match=words):
        child.run(module(code), [], seconds=1 if "while" in code else 20, memory=100 * 2**20)


def test_it_can_be_stopped(module):
    start = time.monotonic()
    with pytest.raises(ChildStoppedError):
        child.run(module("while True: pass"), [], seconds=60, interrupted=lambda: time.monotonic() > start + 0.2)

    assert time.monotonic() - start < 5
