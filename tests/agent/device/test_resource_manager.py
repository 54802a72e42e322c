"""What fits is decided before a byte is fetched."""

import pytest

from agent.device import resource_manager
from agent.device.resource_manager import STORAGE_RESERVE, Budget, Need, misfits
from agent.wire.hardware import GIB, Hardware

MIB = 1024**2


def hardware(cores=4.0, memory=4 * GIB):
    return Hardware(cores=cores, memory_bytes=memory, storage_bytes=32 * GIB)


def test_a_model_may_take_three_quarters_of_the_memory():
    assert resource_manager.budget(hardware(), 9 * GIB) == Budget(3 * GIB, 9 * GIB, 4)


@pytest.mark.parametrize(
    ("cores", "wanted", "threads"), [(4, 0, 4), (4, 2, 2), (4, 16, 4), (1.5, 0, 1), (0.5, 0, 1), (0.5, 8, 1)]
)
def test_never_more_threads_than_whole_cores(cores, wanted, threads):
    assert resource_manager.budget(hardware(cores=cores), GIB, wanted).threads == threads


def test_what_fits_has_no_reason_against_it():
    assert misfits(Need(100 * MIB, 100 * MIB), Budget(100 * MIB, 100 * MIB + STORAGE_RESERVE, 1)) == []


def test_each_reason_is_a_sentence_with_the_figures():
    reasons = misfits(Need(101 * MIB, 100 * MIB), Budget(100 * MIB, 99 * MIB, 1))

    assert reasons == [
        "The model needs 101.0 MiB of memory; a model may take 100.0 MiB on this device.",
        "The update writes 100.0 MiB and leaves 32.0 MiB free; 99.0 MiB are free on this device.",
    ]


def test_a_model_that_was_not_measured_is_not_refused_for_its_memory():
    assert misfits(Need(0, 0), Budget(1, GIB, 1)) == []
