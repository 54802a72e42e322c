"""Worked cases: a whole situation each, to begin from and to check the formulas by. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """values are typed into the fields of those names; expect says what the planner answers."""

    key: str
    title: str
    expect: str
    values: dict[str, str]


EXAMPLES = (
    Example(
        "edge",
        "Cloud 300 ms, edge 32 ms",
        "50 + 100 + 50 + 100 = 300 ms in the cloud, 30 + 2 = 32 ms on the device: 89 % less",
        {
            "memory": "8 GiB",
            "need_memory": "2 GiB",
            "compute_ms": "30 ms",
            "other_ms": "2 ms",
            "server_ms": "50 ms",
            "server_other_ms": "100 ms",
            "network_ms": "50 ms",
            "observation": "1 MB",
            "observation_s": "1 s",
            "link": "80 Mbit/s",
        },
    ),
    Example(
        "memory",
        "4 cores, 8 GB for 8 cores, 16 GB",
        "the model does not fit the device; a part of it does, with a server's help",
        {"cores": "4", "memory": "8 GiB", "need_cores": "8", "need_memory": "16 GiB"},
    ),
    Example(
        "computing",
        "10 TFLOPS, 16 GB for 20 TFLOPS, 32 GB",
        "the model does not fit the device; hybrid is the alternative",
        {"tflops": "10 TFLOPS", "memory": "16 GiB", "need_tflops": "20 TFLOPS", "need_memory": "32 GiB"},
    ),
    Example(
        "bandwidth",
        "10 MB a second and 1 MB every 0.1 s",
        "10 MB/s and 10 MB/s are 20 MB/s, which is 160 Mbit/s",
        {
            "memory": "8 GiB",
            "need_memory": "2 GiB",
            "compute_ms": "30 ms",
            "server_ms": "10 ms",
            "network_ms": "5 ms",
            "observation": "10 MB",
            "observation_s": "1 s",
            "answer": "1 MB",
            "answer_s": "0.1 s",
            "link": "1 Gbit/s",
            "bandwidth_limit": "10 Mbit/s",
        },
    ),
)
