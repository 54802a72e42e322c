"""Limits and usage of containers."""

import pytest

from agent.device.cgroup import Cgroup, Limits
from agent.wire.hardware import GIB
from tests.agent.device import trees


@pytest.mark.parametrize(
    ("tree", "limits"),
    [
        (trees.DOCKER_V2, Limits(1.5, 2 * GIB)),
        (trees.DOCKER_V1, Limits(4.0, 3 * GIB)),
        (trees.UNLIMITED_V1, Limits(None, None)),
        (trees.RASPBERRY_PI_4, Limits(None, None)),
        ({}, Limits(None, None)),
    ],
)
def test_limits(tmp_path, tree, limits):
    assert Cgroup(trees.write(tmp_path, tree)).limits() == limits


def test_the_tightest_limit_on_the_way_up_holds(tmp_path):
    nested = {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "proc/self/cgroup": "0::/fleet.slice/agent.service\n",
        "sys/fs/cgroup/fleet.slice/memory.max": "1000000000\n",
        "sys/fs/cgroup/fleet.slice/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/fleet.slice/agent.service/memory.max": "4000000000\n",
        "sys/fs/cgroup/fleet.slice/agent.service/cpu.max": "200000 100000\n",
    }

    assert Cgroup(trees.write(tmp_path, nested)).limits() == Limits(2.0, 1_000_000_000)


def test_usage_leaves_out_what_the_kernel_can_drop(tmp_path):
    assert Cgroup(trees.write(tmp_path / "v2", trees.DOCKER_V2)).memory_used() == 400_000_000
    assert Cgroup(trees.write(tmp_path / "v1", trees.DOCKER_V1)).memory_used() == 500_000_000


def test_processor_time(tmp_path):
    assert Cgroup(trees.write(tmp_path / "v2", trees.DOCKER_V2)).cpu_seconds() == 2.5
    assert Cgroup(trees.write(tmp_path / "v1", trees.DOCKER_V1)).cpu_seconds() == 7.0


def test_without_limits_there_is_no_container_usage(tmp_path):
    group = Cgroup(trees.write(tmp_path, trees.UNLIMITED_V1))

    assert (group.memory_used(), group.cpu_seconds()) == (None, None)


@pytest.mark.parametrize("nonsense", ["", "max", "-5 100000", "100000 0", "a b", "1 2 3"])
def test_odd_quotas_are_no_limits(tmp_path, nonsense):
    tree = {**trees.DOCKER_V2, "sys/fs/cgroup/cpu.max": nonsense}

    assert Cgroup(trees.write(tmp_path, tree)).limits().cores is None


def test_a_path_that_climbs_out_stays_below_the_mount(tmp_path):
    tree = {**trees.DOCKER_V2, "proc/self/cgroup": "0::/../../..\n"}

    assert Cgroup(trees.write(tmp_path, tree)).limits() == Limits(1.5, 2 * GIB)


@pytest.mark.parametrize(
    ("listed", "count"), [("0-3", 4), ("0", 1), ("0-1,4,6-7", 5), ("", None), ("nonsense", None), ("3-x", None)]
)
def test_processors_that_this_process_may_run_on(tmp_path, listed, count):
    status = {"proc/self/status": f"Name:\tagent\nCpus_allowed:\tf\nCpus_allowed_list:\t{listed}\n"}

    assert Cgroup(trees.write(tmp_path, trees.DOCKER_V2, status)).limits() == Limits(1.5, 2 * GIB, count)
