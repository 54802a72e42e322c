"""What a model may use of a device."""

import pytest

from agent.device import resource_manager
from agent.device.resource_manager import Budget
from agent.wire.hardware import GIB, Hardware


def hardware(cores=4.0, memory=4 * GIB):
    return Hardware(cores=cores, memory_bytes=memory, storage_bytes=32 * GIB)


def test_a_model_may_take_three_quarters_of_the_memory():
    assert resource_manager.budget(hardware(), 9 * GIB) == Budget(3 * GIB, 9 * GIB, 4)


@pytest.mark.parametrize(
    ("cores", "wanted", "threads"), [(4, 0, 4), (4, 2, 2), (4, 16, 4), (1.5, 0, 1), (0.5, 0, 1), (0.5, 8, 1)]
)
def test_never_more_threads_than_whole_cores(cores, wanted, threads):
    assert resource_manager.budget(hardware(cores=cores), GIB, wanted).threads == threads
