"""Looks at the device and at what the model did, and makes a sample of it."""

import time
from collections.abc import Callable

from agent.device.device_adapter import DeviceAdapter, Usage
from agent.device.energy import joules_per_action
from agent.inference import budgets
from agent.inference.meter import Meter, Window
from agent.link.connection import Connection
from agent.wire import latency
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Config, Over, Sample, Stages


class Monitor:
    """Samples of one boot, numbered from 1. Used by the telemetry thread alone.

    manifest gives the digest of the artifact that is active now, or an empty text; kind the device's class now, and
    config its settings: what they allow is compared with what was used.
    """

    def __init__(
        self,
        *,
        device: DeviceAdapter,
        meter: Meter,
        connection: Connection,
        manifest: Callable[[], str],
        kind: Callable[[], DeviceClass],
        config: Callable[[], Config] = Config,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._meter = meter
        self._connection = connection
        self._manifest = manifest
        self._kind = kind
        self._config = config
        self._clock = clock
        self._steady_clock = steady_clock
        self._seq = 0
        self._last = steady_clock()
        self._traffic = self._counted(device.usage())  # the first look only starts the counters

    def sample(self, queued: int) -> Sample:
        """What happened since the last sample; `queued` samples wait to be sent."""
        usage, window = self._device.usage(), self._meter.take()
        now = self._steady_clock()
        interval, self._last = max(1e-3, now - self._last), now
        before, self._traffic = self._traffic, self._counted(usage)
        received, sent = (max(0, new - old) / interval for new, old in zip(self._traffic, before, strict=True))
        self._seq += 1
        return Sample(
            seq=self._seq,
            at=self._clock(),
            cpu_percent=round(min(100.0, usage.cpu_percent), 2),
            memory_used=usage.memory_used,
            memory_total=usage.memory_total,
            disk_used=usage.disk_used,
            disk_total=usage.disk_total,
            network_rx=round(received, 1),
            network_tx=round(sent, 1),
            temperature=usage.temperature,
            power=round(usage.power, 3),
            power_source=usage.power_source,
            energy_per_action=_rounded(joules_per_action(usage.power, usage.agent_share, interval, window.decisions)),
            agent_memory=usage.agent_memory,
            interval=round(interval, 3),
            decisions=window.decisions,
            latency_p50=_rounded(window.percentile(0.5)),
            latency_p95=_rounded(window.percentile(0.95)),
            latency=latency.bounded(window.bins),
            stages=_stages(window),
            over=self._over(window, 8 * (received + sent), usage.power),
            refused=window.refused,
            errors=window.errors,
            not_finite=window.not_finite,
            cache_lookups=window.cache_lookups,
            cache_hits=window.cache_hits,
            episodes=window.episodes,
            successes=window.successes,
            remote_asked=window.remote_asked,
            remote_answered=window.remote_answered,
            remote_bytes=window.remote_bytes,
            queued=queued,
            manifest=self._manifest(),
        )

    def _over(self, window: Window, bits: float, power: float) -> Over | None:
        over = Over(
            preprocess=window.over_preprocess,
            compute=window.over_compute,
            total=window.over_total,
            bandwidth=int(bits > budgets.bandwidth(self._config())),
            power=int(power > budgets.watts(self._config(), self._kind())),
        )
        return over if over != Over() else None

    def _counted(self, usage: Usage) -> tuple[int, int]:
        """Bytes received and sent so far: the device's, or the link's own where only that can be known."""
        if usage.network_rx is None or usage.network_tx is None:
            return self._connection.received, self._connection.sent
        return usage.network_rx, usage.network_tx


def _stages(window: Window) -> Stages | None:
    if not window.decisions:
        return None
    means = window.stages
    return Stages(
        queue=round(means.queue, 4),
        preprocess=round(means.preprocess, 4),
        compute=round(means.compute, 4),
        postprocess=round(means.postprocess, 4),
        network=round(means.network, 4),
    )


def _rounded(value: float | None) -> float | None:
    """Digits that mean nothing cost bytes, in every sample of every device."""
    return None if value is None else round(value, 4)
