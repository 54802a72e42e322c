"""A device's usage, detected and declared, on this very machine and on recorded limits."""

from pathlib import Path

import pytest

from agent.config import Declared
from agent.device.device_adapter import DeclaredDevice, DetectedDevice
from agent.wire.hardware import GIB, classify
from tests.agent.device import trees

DECLARED = Declared(cores=4, memory_gib=3.7, storage_gib=1, board="Raspberry Pi 4", accelerators=("none",))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def burn(seconds: float) -> None:
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_this_machine_is_some_device(tmp_path):
    device = DetectedDevice(tmp_path)
    hardware, usage = device.hardware(), device.usage()

    assert classify(hardware) in {"embedded", "mobile", "edge_server"}
    assert 0 < usage.memory_used < usage.memory_total == hardware.memory_bytes
    assert 0 < usage.disk_used <= usage.disk_total
    assert 0 < device.free_storage() < usage.disk_total
    assert usage.disk_total - usage.disk_used == pytest.approx(device.free_storage(), abs=64 * 2**20)
    assert 2**20 < usage.agent_memory < usage.memory_total
    assert usage.power > 0
    assert not device.simulated


def test_under_a_quota_only_the_containers_own_time_counts(tmp_path):
    root, clock = trees.write(tmp_path, trees.INDUSTRIAL_PC, trees.DOCKER_V2), Clock()
    device = DetectedDevice(tmp_path, root, clock)
    clock.now += 10
    trees.write(root, {"sys/fs/cgroup/cpu.stat": "usage_usec 10000000\n"})  # 7.5 s of the 15 that the quota allows
    usage = device.usage()

    assert usage.cpu_percent == pytest.approx(50.0)
    assert usage.memory_used == 400_000_000


def test_a_declared_device_is_what_it_declares(tmp_path):
    hardware = DeclaredDevice(DECLARED, tmp_path).hardware()

    assert (hardware.cores, hardware.memory_bytes, hardware.storage_bytes) == (4, int(3.7 * GIB), GIB)
    assert (hardware.board, hardware.accelerators, hardware.declared) == ("Raspberry Pi 4", ("none",), True)
    assert classify(hardware) == "embedded"


def test_its_usage_is_that_of_its_own_process(tmp_path):
    clock = Clock()
    device = DeclaredDevice(DECLARED, tmp_path, clock)
    burn(0.2)
    clock.now += 1
    usage = device.usage()

    assert usage.cpu_percent == pytest.approx(100 * 0.2 / 4, rel=0.3)
    assert usage.memory_used == usage.agent_memory
    assert usage.memory_total == int(3.7 * GIB)
    assert usage.power_source == "estimated"
    assert 2.7 < usage.power < 6.4
    assert (usage.temperature, usage.network_rx) == (None, None)


def test_its_storage_is_what_is_left_of_the_declared(tmp_path):
    device = DeclaredDevice(DECLARED, tmp_path)
    before = device.free_storage()
    Path(tmp_path / "model").write_bytes(b"x" * 10 * 1024**2)

    assert before - device.free_storage() == pytest.approx(10 * 1024**2, rel=0.05)
    assert device.usage().disk_used == pytest.approx(10 * 1024**2, rel=0.05)
    assert device.usage().disk_total == GIB
