"""What fits is decided by one rule, on the device and on the server."""

from agent.wire.fit import STORAGE_RESERVE, Need, Room, memory_budget, misfits, written

MIB = 1024**2


def test_a_model_may_take_three_quarters_of_the_memory():
    assert memory_budget(4 * MIB) == 3 * MIB
    assert memory_budget(4 * MIB, own=2 * MIB) == 2 * MIB
    assert memory_budget(4 * MIB, own=8 * MIB) == 3 * MIB


def test_an_update_writes_the_parts_and_the_whole_made_of_them():
    assert written(5 * MIB) == 10 * MIB


def test_what_fits_has_no_reason_against_it():
    assert misfits(Need(100 * MIB, 100 * MIB), Room(100 * MIB, 100 * MIB + STORAGE_RESERVE)) == []


def test_each_reason_is_a_sentence_with_the_figures():
    reasons = misfits(Need(101 * MIB, 100 * MIB), Room(100 * MIB, 99 * MIB))

    assert reasons == [
        "The model needs 101.0 MiB of memory; a model may take 100.0 MiB on this device.",
        "The update writes 100.0 MiB and leaves 32.0 MiB free; 99.0 MiB are free on this device.",
    ]


def test_a_model_that_was_not_measured_is_not_refused_for_its_memory():
    assert misfits(Need(0, 0), Room(1, 1024 * MIB)) == []


def test_what_is_not_known_of_a_device_refuses_nothing():
    assert misfits(Need(1024 * MIB, 1024 * MIB), Room(None, None)) == []
