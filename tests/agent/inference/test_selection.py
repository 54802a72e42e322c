"""Which runtime runs an artifact here: measured, checked, and never at the price of an update."""

import sys

import pytest

from agent.child import ChildStoppedError
from agent.inference import selection
from agent.inference.selection import Choice, Row, fastest, is_open, thread_counts
from tests.agent.inference.folders import folder_of
from tests.agent.variants import golden, variant

MEMORY = 2**30


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """This machine may do much else at once."""
    monkeypatch.setattr(selection, "TIMEOUT", 120.0)


def row(runtime="onnxruntime", threads=1, p50=1.0, reason="") -> Row:
    return Row(runtime, "CPU", threads, p50, 0.0, reason)


def test_a_costlier_one_has_to_be_clearly_faster():
    assert fastest([row(p50=10), row(threads=2, p50=9.5)]).threads == 1
    assert fastest([row(p50=10), row(threads=2, p50=9), row(threads=4, p50=8.5)]).threads == 2
    assert fastest([row(p50=10, reason="wrong"), row(threads=2, p50=20)]).threads == 2
    assert fastest([row(reason="wrong")]) is None


def test_threads_go_up_by_doubling_to_what_there_is():
    assert [thread_counts(most) for most in (1, 2, 4, 6, 16)] == [
        [1],
        [1, 2],
        [1, 2, 4],
        [1, 2, 4, 6],
        [1, 2, 4, 8, 16],
    ]


@pytest.mark.parametrize(
    ("threads", "installed", "only", "expected"),
    [
        (1, ("onnxruntime-1.32.0",), "", False),
        (2, ("onnxruntime-1.32.0",), "", True),
        (1, ("onnxruntime_gpu-1.32.0",), "", True),
        (1, ("onnxruntime-1.32.0", "openvino-2026.4.1"), "", True),
        (1, ("onnxruntime-1.32.0", "openvino-2026.4.1"), "onnxruntime", False),
    ],
)
def test_measures_only_where_there_is_a_choice(threads, installed, only, expected):
    assert is_open(threads, installed, only) is expected


def test_measures_every_runtime_that_is_here_and_chooses_one(tmp_path):
    folder = folder_of(variant(2.0, loops=2), tmp_path / "a")
    choice = selection.choose(folder, threads=2, memory=MEMORY)

    assert [(each.runtime, each.threads) for each in choice.measured] == [
        ("onnxruntime", 1),
        ("onnxruntime", 2),
        ("openvino", 1),
        ("openvino", 2),
    ]
    assert all(each.reason == "" and each.p50 > 0 and each.error < 1e-4 for each in choice.measured)
    own = [each for each in choice.measured if each.runtime == choice.runtime]
    assert choice.p50 == fastest(own).p50
    evidence = choice.evidence()
    assert evidence["runtime"] == str(choice)
    assert evidence["p50 ONNX Runtime on CPU, 2 threads"] > 0
    assert len(evidence) == 5


def test_an_operator_may_name_the_runtime(tmp_path):
    folder = folder_of(variant(2.0), tmp_path / "a")

    assert selection.choose(folder, threads=1, memory=MEMORY, only="openvino").runtime == "openvino"
    choice = selection.choose(folder, threads=2, memory=MEMORY, only="onnxruntime")
    assert {each.runtime for each in choice.measured} == {"onnxruntime"}


def test_one_that_answers_otherwise_is_not_chosen(tmp_path):
    folder = folder_of(variant(2.0, golden_bytes=golden(2.5)), tmp_path / "off")
    choice = selection.choose(folder, threads=2, memory=MEMORY)

    assert all("its answers differ by" in each.reason for each in choice.measured)
    assert (choice.runtime, choice.threads) == ("onnxruntime", 2), "for the self-test to say what is wrong"


def test_a_runtime_that_crashes_spoils_neither_the_others_nor_the_caller(tmp_path, monkeypatch):
    _broken_openvino(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    choice = selection.choose(folder_of(variant(2.0), tmp_path / "a"), threads=1, memory=MEMORY)

    assert choice.runtime == "onnxruntime"
    crashed = choice.measured[-1]
    assert (crashed.runtime, crashed.reason) == ("openvino", "The runtime crashed the process (SIGSEGV).")


def test_a_runtime_that_never_ends_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "TIMEOUT", 10.0)
    _broken_openvino(tmp_path, monkeypatch, "import time; time.sleep(60)")
    choice = selection.choose(folder_of(variant(2.0), tmp_path / "a"), threads=1, memory=MEMORY)

    assert choice.runtime == "onnxruntime"
    assert choice.measured[-1].reason == "The runtime did not get through its test within 10 s."


def _broken_openvino(tmp_path, monkeypatch, what: str) -> None:
    """A library of that name which finds a processor, and then does `what` when it is to load a model."""
    package = tmp_path / "broken" / "openvino"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        f"class Core:\n    available_devices = ['CPU']\n    def compile_model(self, *_):\n        {what}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_it_does_not_take_more_memory_than_it_may(tmp_path):
    choice = selection.choose(folder_of(variant(2.0), tmp_path / "a"), threads=2, memory=2**20)

    assert all("its budget is 1 MiB" in each.reason for each in choice.measured)
    assert choice == Choice(threads=2, measured=choice.measured)


def test_what_does_not_fit_together_is_measured_one_after_the_other(tmp_path):
    folder = folder_of(variant(2.0), tmp_path / "a")
    rows = selection.measure(folder, [row(threads=1), row(threads=2)], memory=1)

    assert all(each.p50 > 0 and not each.reason for each in rows)


def test_stops_when_the_agent_stops(tmp_path):
    with pytest.raises(ChildStoppedError):
        selection.choose(folder_of(variant(), tmp_path / "a"), threads=2, memory=MEMORY, interrupted=lambda: True)


def test_the_caller_imports_no_runtime():
    import subprocess

    code = "import sys, agent.inference.selection; print({'numpy', 'onnxruntime', 'openvino'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
