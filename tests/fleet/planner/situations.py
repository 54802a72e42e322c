"""Situations that tests begin from."""

from agent.wire.hardware import GIB
from fleet.planner.examples import EXAMPLES
from fleet.planner.fields import FIELDS, parse
from fleet.planner.filling import fill
from fleet.planner.situation import Situation

MB, MIB = 1e6, 1024**2
#: Everything is known, and everything fits.
ROOMY = Situation(
    cores=4,
    memory=8 * GIB,
    storage=32 * GIB,
    tflops=10,
    need_cores=2,
    need_memory=1 * GIB,
    need_tflops=5,
    size=500 * MB,
    compute_ms=40,
    other_ms=2,
    slim_memory=0.5 * GIB,
    slim_tflops=2,
    slim_size=200 * MB,
    slim_ms=60,
    server_ms=5,
    server_other_ms=1,
    link=100 * MB,
    network_ms=4,
    observation=1 * MB,
    observation_s=0.2,
    answer=1000,
    latency_limit=100,
)


def worked(key: str) -> Situation:
    values = next(example for example in EXAMPLES if example.key == key).values
    return fill({name: parse(FIELDS[name], text) for name, text in values.items()}, {}).situation
