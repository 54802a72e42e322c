"""Latencies in bins: those of DDSketch, as its authors' own library has them."""

import random

import pytest
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

from agent.link.offline_queue import BATCH
from agent.wire import codec, latency
from agent.wire.messages import Sample, Stages, Telemetry

SHARES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


def theirs(values) -> BaseDDSketch:
    sketch = BaseDDSketch(LogarithmicMapping(latency.ACCURACY), DenseStore(), DenseStore(), 0.0)
    for value in values:
        sketch.add(value)
    return sketch


def ours(values) -> dict[int, int]:
    return latency.added({latency.bin_of(value): 1} for value in values)


@pytest.fixture
def took() -> list[list[float]]:
    """What the decisions of twenty devices took, some fast, some slow."""
    chance = random.Random(5)  # noqa: S311  # no secret
    return [[chance.lognormvariate(n / 4, 0.6) for _ in range(500)] for n in range(20)]


def test_a_latency_has_the_bin_that_the_library_gives_it(took):
    mapping = LogarithmicMapping(latency.ACCURACY)
    for value in (each for some in took for each in some):
        assert latency.bin_of(value) == mapping.key(value)
        assert latency.middle(latency.bin_of(value)) == pytest.approx(mapping.value(mapping.key(value)))
        assert latency.middle(latency.bin_of(value)) == pytest.approx(value, rel=latency.ACCURACY)


def test_sketches_that_were_added_up_say_what_the_librarys_say_and_what_is_true(took):
    merged = theirs(())
    for some in took:
        merged.merge(theirs(some))
    total = latency.added(ours(some) for some in took)
    every = sorted(each for some in took for each in some)
    for share in SHARES:
        found = latency.quantile(total, share)
        assert found == pytest.approx(merged.get_quantile_value(share))
        assert found == pytest.approx(every[int(share * (len(every) - 1))], rel=latency.ACCURACY)


def test_what_is_beyond_all_bins_counts_in_the_last_one():
    assert latency.bin_of(0) == latency.bin_of(-1) == latency.bin_of(1e-9) == latency.FIRST
    assert latency.bin_of(1e15) == latency.LAST


def test_without_a_decision_there_is_no_quantile():
    assert latency.quantile({}, 0.95) is None


def test_few_bins_keep_the_slow_decisions_as_they_were():
    bins = dict.fromkeys(range(0, 300, 3), 10)
    few = latency.bounded(bins)
    assert len(few) == latency.MOST
    assert sum(few.values()) == sum(bins.values())
    assert latency.quantile(few, 0.95) == latency.quantile(bins, 0.95)
    assert latency.bounded({5: 2}) == {5: 2}
    assert latency.bounded({}) == {}


def test_the_longest_batch_of_a_device_still_fits_into_a_message():
    whole = dict.fromkeys(
        ("network_rx", "network_tx", "power", "energy_per_action", "latency_p50", "latency_p95"), 123456789012.5
    )
    counts = dict.fromkeys(("decisions", "errors", "not_finite", "cache_lookups", "cache_hits", "episodes"), 2**31)
    sizes = dict.fromkeys(("memory_used", "memory_total", "disk_used", "disk_total", "agent_memory"), 2**47)
    sample = Sample(
        seq=2**40,
        at=1_795_000_000.123456,
        cpu_percent=99.99,
        temperature=-40.125,
        power_source="estimated",
        interval=3600.123,
        latency=dict.fromkeys(range(-128, -128 + latency.MOST), 2**20),
        stages=Stages(**dict.fromkeys(Stages.__struct_fields__, 12_345.6789)),
        successes=2**31,
        queued=20_000,
        manifest="ab" * 32,
        **whole,
        **counts,
        **sizes,
    )
    body = codec.encode(Telemetry(boot_id="b" * 64, samples=(sample,) * BATCH))
    assert codec.decode(body, Telemetry).samples[-1] == sample
