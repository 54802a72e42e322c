"""What a sample says."""

import pytest

from agent.device.device_adapter import Usage
from agent.inference.meter import Meter, Timing
from agent.monitor import Monitor
from agent.wire import codec, latency
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Config, Over, Sample


class Board:
    """A device whose figures a test sets."""

    simulated = False

    def __init__(self, **more) -> None:
        self.now = Usage(
            cpu_percent=25.0,
            agent_share=0.5,
            memory_used=1,
            memory_total=2,
            disk_used=3,
            disk_total=4,
            agent_memory=5,
            power=4.0,
            power_source="measured",
            **more,
        )

    def usage(self) -> Usage:
        return self.now


class Link:
    received = sent = 0


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


def monitor(clock, board, meter=None, link=None, kind=DeviceClass.EMBEDDED, **config) -> Monitor:
    return Monitor(
        device=board,
        meter=meter or Meter(),
        connection=link or Link(),
        manifest=lambda: "ab" * 32,
        kind=lambda: kind,
        config=lambda: Config(**config),
        clock=lambda: 1795000000.0,
        steady_clock=clock,
    )


def test_counters_are_those_since_the_last_sample(clock):
    meter = Meter()
    watcher = monitor(clock, Board(), meter)
    for _ in range(20):
        meter.decided(Timing(0, 1, 2, 3), late=False)
    meter.count(errors=1, not_finite=2, episodes=3, successes=2, cache_lookups=20, cache_hits=4)
    clock.now += 5
    first, second = watcher.sample(7), watcher.sample(0)

    assert (first.seq, first.interval, first.queued, first.manifest) == (1, 5.0, 7, "ab" * 32)
    assert (first.decisions, first.errors, first.not_finite, first.episodes, first.successes) == (20, 1, 2, 3, 2)
    assert (first.cache_lookups, first.cache_hits) == (20, 4)
    assert (first.latency_p50, first.stages.compute) == (6, 2)
    assert (first.latency, second.latency) == ({latency.bin_of(6): 20}, {})
    assert first.energy_per_action == pytest.approx(4.0 * 0.5 * 5 / 20)
    assert (second.seq, second.decisions, second.latency_p50, second.stages) == (2, 0, None, None)
    assert second.energy_per_action is None


def test_network_figures_are_rates_of_the_device(clock):
    board = Board(network_rx=1000, network_tx=0)
    watcher = monitor(clock, board)
    clock.now += 2
    board.now = Board(network_rx=3000, network_tx=500).now
    sample = watcher.sample(0)

    assert (sample.network_rx, sample.network_tx) == (1000.0, 250.0)


def test_a_simulated_device_counts_its_own_messages(clock):
    link = Link()
    watcher = monitor(clock, Board(), link=link)
    clock.now += 2
    link.received, link.sent = 4000, 200
    sample = watcher.sample(0)

    assert (sample.network_rx, sample.network_tx) == (2000.0, 100.0)


def test_a_counter_that_began_anew_gives_no_negative_rate(clock):
    board = Board(network_rx=1000, network_tx=1000)
    watcher = monitor(clock, board)
    board.now = Board(network_rx=10, network_tx=10).now

    assert watcher.sample(0).network_rx == 0


def test_every_sample_is_one_that_the_server_takes(clock):
    sample = monitor(clock, Board(temperature=48.2)).sample(0)

    assert codec.decode(codec.encode(sample), Sample) == sample


def test_budgets_that_were_kept_take_no_byte(clock):
    meter = Meter()
    meter.decided(Timing(0, 1, 2, 3), late=False)
    sample = monitor(clock, Board(), meter).sample(0)

    assert sample.over is None
    assert b"over" not in codec.encode(sample) and b"refused" not in codec.encode(sample)


def test_budgets_that_were_broken_are_counted(clock):
    meter, link = Meter(), Link()
    watcher = monitor(clock, Board(), meter, link, bandwidth_budget=1)
    for over in ((), ("compute",), ("compute", "total")):
        meter.decided(Timing(0, 1, 2, 3, 4), late=False, over=over)
    meter.count(refused=4)
    clock.now += 2
    link.received, link.sent = 200_000, 60_000  # 1.04 Mbit/s
    first = watcher.sample(0)
    clock.now += 2

    assert first.over == Over(compute=2, total=1, bandwidth=1)
    assert (first.refused, first.stages.network) == (4, 4)
    assert codec.decode(codec.encode(first), Sample) == first
    assert watcher.sample(0).over is None


@pytest.mark.parametrize(("kind", "watts", "expected"), [("mobile", 5.1, 1), ("mobile", 4.9, 0), ("embedded", 9.0, 0)])
def test_a_mobile_device_has_five_watts(clock, kind, watts, expected):
    board = Board()
    object.__setattr__(board.now, "power", watts)
    sample = monitor(clock, board, kind=DeviceClass(kind)).sample(0)

    assert (sample.over or Over()).power == expected
