"""What a board is made of, from recorded file trees."""

import pytest

from agent.device import hardware
from agent.device.cgroup import Cgroup
from agent.wire.hardware import GIB, classify
from tests.agent.device import trees


def detect(root, *recorded):
    trees.write(root, *recorded)
    return hardware.detect(root, 30 * GIB, Cgroup(root).limits())


def test_a_raspberry_pi(tmp_path):
    found = detect(tmp_path, trees.RASPBERRY_PI_4)

    assert (found.cores, found.memory_bytes) == (4, 3884396 * 1024)
    assert found.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert found.sensors == ("camera: mmal service 16.1", "temperature")
    assert found.accelerators == ()
    assert found.declared is False
    assert classify(found) == "embedded"


def test_a_jetson(tmp_path):
    found = detect(tmp_path, trees.JETSON_ORIN_NANO)

    assert (found.cores, found.board) == (6, "NVIDIA Jetson Orin Nano Developer Kit")
    assert found.accelerators == ("nvidia-tegra-gpu",)
    assert found.sensors == ("temperature", "power")
    assert classify(found) == "mobile"


def test_an_industrial_pc_with_a_gpu_and_a_coral_stick(tmp_path):
    found = detect(tmp_path, trees.INDUSTRIAL_PC)

    assert found.cores == 8  # physical ones, of 16 logical
    assert found.board == "ADLINK Technology Inc. MVP-6100"
    assert found.accelerators == ("NVIDIA RTX A2000", "coral-edgetpu")
    assert classify(found) == "edge_server"


def test_a_container_is_what_its_limits_are(tmp_path):
    found = detect(tmp_path, trees.INDUSTRIAL_PC, trees.DOCKER_V2)

    assert (found.cores, found.memory_bytes) == (1.5, 2 * GIB)
    assert classify(found) == "embedded"


def test_an_older_container_too(tmp_path):
    found = detect(tmp_path, trees.INDUSTRIAL_PC, trees.DOCKER_V1)

    assert (found.cores, found.memory_bytes) == (4, 3 * GIB)


def test_a_set_of_processors_limits_the_cores(tmp_path):
    pinned = {"proc/self/status": "Cpus_allowed_list:\t0-2\n"}

    assert detect(tmp_path, trees.INDUSTRIAL_PC, pinned).cores == 3


def test_a_limit_above_what_is_there_limits_nothing(tmp_path):
    found = detect(tmp_path, trees.RASPBERRY_PI_4, {"sys/fs/cgroup/memory.max": str(64 * GIB)})

    assert found.memory_bytes == 3884396 * 1024


def test_two_sockets_count_both(tmp_path):
    assert hardware.physical_cores(trees._x86_cpuinfo(sockets=2, cores=4, threads=2)) == 8


def test_a_board_that_tells_nothing_is_still_a_device(tmp_path):
    found = detect(tmp_path, {"proc/meminfo": "MemTotal: 1000 kB\n"})

    assert (found.cores, found.board, found.sensors) == (1, "", ())


def test_without_memory_figures_it_says_so(tmp_path):
    with pytest.raises(OSError, match="MemTotal"):
        detect(tmp_path, {"proc/meminfo": "nothing\n"})


@pytest.mark.parametrize(
    ("tree", "degrees"),
    [
        (trees.RASPBERRY_PI_4, 48.199),
        (trees.JETSON_ORIN_NANO, 51.093),  # one zone is switched off
        (trees.INDUSTRIAL_PC, 41.0),
        (trees.LAPTOP_ON_BATTERY, None),
    ],
)
def test_temperature(tmp_path, tree, degrees):
    assert hardware.temperature(trees.write(tmp_path, tree)) == degrees
