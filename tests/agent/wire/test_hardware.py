"""The class that follows from what a device is made of."""

import pytest

from agent.wire.hardware import GIB, Hardware, classify


@pytest.mark.parametrize(
    ("cores", "memory_gib", "device_class"),
    [
        (1, 0.5, "embedded"),
        (4, 4, "embedded"),
        (4, 3.7, "embedded"),  # sold as a 4
        (4, 4.01, "mobile"),
        (4.5, 4, "mobile"),
        (5, 1, "mobile"),
        (8, 16, "mobile"),
        (6, 15.4, "mobile"),
        (8, 16.1, "edge_server"),
        (9, 8, "edge_server"),
        (8.01, 16, "edge_server"),
        (64, 512, "edge_server"),
        (0.5, 64, "edge_server"),
    ],
)
def test_classify(cores, memory_gib, device_class):
    hardware = Hardware(cores=cores, memory_bytes=int(memory_gib * GIB), storage_bytes=32 * GIB)

    assert classify(hardware) == device_class
