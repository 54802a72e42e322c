"""What mode and restraints amount to, and the thread that brings it about."""

from dataclasses import replace

import msgspec
import pytest

from agent.device.device_adapter import DetectedDevice, Usage
from agent.device.governor import Governor, Hands, Pace, Plan, plan
from agent.device.resource_manager import Can, Standing
from agent.wire.messages import Config, Restraint
from tests.agent.device import trees
from tests.agent.waiting import wait_for

MIB = 1024**2
QUICK = Pace(look=0.01, hardware=0.05, haste=200.0)


def restraint(step, level=0.0, budget="memory"):
    return Restraint(step=step, budget=budget, since=1.0, used=95 * MIB, limit=100 * MIB, level=level)


@pytest.mark.parametrize(
    ("mode", "restraints", "expected"),
    [
        ("full", (), Plan(threads=4)),
        ("slim", (), Plan(cache=False, history=False, threads=1)),
        ("hybrid", (), Plan(threads=4)),
        ("full", (restraint("drop_caches"),), Plan(cache=False, threads=4)),
        ("full", (restraint("fewer_threads", 2),), Plan(threads=2)),
        ("slim", (restraint("fewer_threads", 2),), Plan(cache=False, history=False, threads=1)),
        ("full", (restraint("lower_rate", 0.3), restraint("smaller_variant")), Plan(threads=4, pace=0.3)),
        (
            "full",
            (restraint("refuse", 0.2),),
            Plan(threads=4, answered=0.2, refusal="its memory was at 95 % of its budget (95 of 100 MiB)"),
        ),
    ],
)
def test_plan(mode, restraints, expected):
    assert plan(mode, Standing(restraints), 4) == expected


class Board(DetectedDevice):
    """This machine; the figures that a test sets stand in for what the agent uses."""

    memory = 50 * MIB

    def usage(self) -> Usage:
        return replace(super().usage(), agent_memory=self.memory, memory_used=0)


class Acts:
    """Remembers what it was told. `loads` says whether other threads can be had."""

    def __init__(self) -> None:
        self.cache, self.history, self.threads, self.pace = None, None, 4, None
        self.answered, self.loads, self.again = (1.0, ""), True, 0

    def use_threads(self, threads: int) -> bool:
        if self.loads:
            self.threads = threads
        return self.threads == threads

    def hands(self) -> Hands:
        def use_history(keep: bool) -> bool:
            self.history = keep
            return True

        return Hands(
            cache=lambda use: setattr(self, "cache", use),
            history=use_history,
            threads=self.use_threads,
            pace=lambda share: setattr(self, "pace", share),
            answered=lambda *told: setattr(self, "answered", told),
            can=lambda: Can(cache=True, threads=self.threads, rate=True, model=True, refuse=True),
            again=lambda: self.again,
        )


@pytest.fixture
def governed(tmp_path):
    """`governed()` gives board, what acts, what was reported, and the running governor."""
    started = []

    def start(root=None):
        root = trees.write(tmp_path / "root", trees.RASPBERRY_PI_4)
        board, acts, told, hardware = Board(tmp_path, root), Acts(), [], []
        governor = Governor(
            device=board,
            hands=acts.hands(),
            threads=lambda: 4,
            on_change=lambda restraints, mode: told.append((tuple(each.step for each in restraints), mode)),
            on_hardware=hardware.append,
            pace=QUICK,
        )
        governor.settle()
        governor.start()
        started.append(governor)
        return board, acts, told, hardware, governor

    yield start
    for each in started:
        each.stop()
        assert not each.is_alive()


def test_without_budgets_nothing_is_held_back(governed):
    _, acts, told, _, _ = governed()

    assert (acts.cache, acts.history, acts.threads, acts.pace, acts.answered) == (True, True, 4, 1.0, (1.0, ""))
    assert set(told) == {((), "full")}


def test_pressure_is_acted_upon_reported_and_undone_in_reverse(governed):
    board, acts, told, _, governor = governed()
    board.memory = 95 * MIB
    governor.configure(Config(memory_budget=100 * MIB))
    wait_for("the last step", lambda: acts.answered[0] == 0.0)

    assert (acts.cache, acts.threads) == (False, 1)
    assert acts.answered[1] == "its memory was at 95 % of its budget (95 of 100 MiB)"
    steps = [each for each, _ in dict.fromkeys(told)]
    assert steps == [
        (),
        ("drop_caches",),
        ("drop_caches", "fewer_threads"),
        ("drop_caches", "fewer_threads", "smaller_variant"),
        ("drop_caches", "fewer_threads", "smaller_variant", "refuse"),
    ]
    told.clear()
    board.memory = 60 * MIB
    wait_for("the calm", lambda: acts.cache)
    assert [each for each, _ in dict.fromkeys(told)] == [*reversed(steps)]
    assert (acts.threads, acts.answered) == (4, (1.0, ""))


def test_a_budget_that_is_taken_away_frees_everything(governed):
    board, acts, told, _, governor = governed()
    board.memory = 95 * MIB
    governor.configure(Config(memory_budget=100 * MIB))
    wait_for("fewer threads", lambda: acts.threads == 1)
    governor.configure(Config())

    wait_for("freedom", lambda: told[-1] == ((), "full") and acts.threads == 4 and acts.cache)


def test_slim_mode_and_back_without_a_restart(governed):
    _, acts, told, _, governor = governed()
    governor.configure(Config(mode="slim"))
    wait_for("its word", lambda: told[-1] == ((), "slim"))
    assert (acts.cache, acts.history, acts.threads) == (False, False, 1)

    governor.configure(Config(mode="full"))
    wait_for("its word", lambda: told[-1] == ((), "full"))
    assert (acts.cache, acts.history, acts.threads) == (True, True, 4)


def test_a_mode_that_does_not_hold_is_not_reported(governed):
    _, acts, told, _, governor = governed()
    acts.loads = False
    governor.configure(Config(mode="slim"))
    wait_for("the cache to go", lambda: acts.cache is False)
    assert told[-1] == ((), "full"), "it still runs on four threads"
    acts.loads = True

    wait_for("its word", lambda: told[-1] == ((), "slim"))


def test_threads_that_cannot_be_changed_are_not_reported_as_changed(governed):
    board, acts, told, _, governor = governed()
    acts.loads, board.memory = False, 95 * MIB
    governor.configure(Config(memory_budget=100 * MIB))
    wait_for("another step", lambda: "smaller_variant" in told[-1][0])

    assert not any("fewer_threads" in steps for steps, _ in told)


def test_no_other_threads_where_the_model_does_not_fit_twice(governed):
    board, acts, told, _, governor = governed()
    board.memory, acts.again = 95 * MIB, 2**60
    governor.configure(Config(memory_budget=100 * MIB))

    wait_for("another step", lambda: "smaller_variant" in told[-1][0])
    assert acts.threads == 4


def test_a_camera_that_is_plugged_in_is_told(governed):
    board, _, _, hardware, _ = governed()
    trees.write(board._root, {"sys/class/video4linux/video1/name": "USB Camera\n"})
    wait_for("the camera", lambda: hardware and "camera: USB Camera" in hardware[-1].sensors)
    (board._root / "sys/class/video4linux/video1/name").unlink()
    wait_for("its going", lambda: "camera: USB Camera" not in hardware[-1].sensors)

    assert len(hardware) == 2


def test_a_container_that_is_given_less_is_another_device(governed):
    board, _, _, hardware, _ = governed()
    trees.write(board._root, {"sys/fs/cgroup/system.slice/edge-agent.service/memory.max": str(256 * MIB)})

    wait_for("the limit", lambda: hardware and hardware[-1].memory_bytes == 256 * MIB)
    assert msgspec.structs.replace(hardware[-1], memory_bytes=0).cores == 4
