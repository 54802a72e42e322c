"""What a delivery costs: bytes that the server publishes, memory of an agent, speed and processor beside HTTP Range.

Everything is real: `manage.py broker` (embedded, which keeps no blocks for devices that are cut off; mosquitto for the
speed), `manage.py gateway`, and the agent's own link, downloader and store. Bytes are those that the gateway says it
has published. The HTTP baseline is uvicorn with the least application that serves ranges of the same files; its clients
write and check the same way.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from agent.wire.manifest import BLOCK
from bench.delivery.stand import MIB, Stand, wait
from bench.rows import Row

#: Devices of the two counted runs and of the timed one, and the artifacts' bytes.
DEVICES, TIMED = 50, 20
COUNTED_BYTES, TIMED_BYTES, LARGE_BYTES = 20 * MIB, 200 * MIB, 200 * MIB
PART = MIB


def run() -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    os.environ |= {
        "EDGEFLEET_DATA": str(folder / "server"),
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "EDGEFLEET_LOG": "INFO",
    }
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from fleet.accounts.first_start import ensure

    ensure()
    try:
        with contextlib.closing(Stand(folder, "embedded", 2 * DEVICES + 1)) as stand:
            yield from _counted(stand)
            yield _head_only(stand)
            yield _memory(stand)
        with contextlib.closing(Stand(folder, "mosquitto", TIMED)) as stand:
            yield from _timed(stand)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _counted(stand: Stand) -> Iterator[Row]:
    """Bytes for fifty devices: all well, and with a tenth of them cut or stalled."""
    variant = stand.variant(_random(COUNTED_BYTES), "counted")
    size = variant.bytes
    ids = stand.devices(DEVICES)
    with stand.gateway() as sent:
        results = stand.fetch(variant, ids)
    _all_done(results)
    yield Row(
        "published for 50 devices, broadcast, of the artifact",
        sent["bytes"] / size,
        "times",
        1.05,
        "lower",
        baseline=float(DEVICES),
        ratio=sent["bytes"] / size / DEVICES,
        n=DEVICES,
    )
    ids = stand.devices(DEVICES)
    faults = {each: "cut" if number % 2 else "stall" for number, each in enumerate(ids[: DEVICES // 10])}
    with stand.gateway() as sent:
        results = stand.fetch(variant, ids, faults)
    _all_done(results)
    missed = _missed(results)
    needed = size + min(size, len(missed) * BLOCK)
    _say(
        f"{len(faults)} devices were cut or stalled; {len(missed)} blocks had been cast past them, "
        f"{sent['bytes'] / size:.2f} of the artifact was published"
    )
    yield Row(
        "the same, a tenth cut or stalled, of artifact and what they had missed",
        sent["bytes"] / needed,
        "times",
        1.05,
        "lower",
        baseline=sent["bytes"] / size,
        ratio=sent["bytes"] / needed,
        n=DEVICES,
    )


def _head_only(stand: Stand) -> Row:
    """Version 2 of the tabletop policy as the optimizer packages it, with another action head, to one device."""
    from bench.delivery.head import versions

    before, after = versions(stand.folder / "head")
    ids = stand.devices(1)
    with stand.gateway() as first:
        stand.fetch(stand.variant([], "tabletop", 1, before), ids, keep=True)
    with stand.gateway() as sent:
        stand.fetch(stand.variant([], "tabletop", 2, after), ids, keep=True)
    _say(f"version 1 took {first['bytes']:,.0f} bytes of {before.size:,}, version 2 {sent['bytes']:,.0f}")
    return Row(
        "version 2, only the action head retrained, of the full artifact",
        100 * sent["bytes"] / after.size,
        "%",
        3.0,
        "lower",
        baseline=100 * first["bytes"] / before.size,
        ratio=sent["bytes"] / first["bytes"],
    )


def _memory(stand: Stand) -> Row:
    """A whole agent, enrolled like any other, while it downloads."""
    from fleet.devices.models import Device
    from fleet.devices.services import create_token
    from fleet.rollouts import services

    variant = stand.variant(_random(LARGE_BYTES), "large")
    _, token = create_token("bench", stand.person, auto_accept=True)
    env = {
        **os.environ,
        "EDGE_AGENT_DATA": str(stand.folder / "agent"),
        "EDGE_AGENT_SERVER": f"mqtt://127.0.0.1:{stand.port}",
        "EDGE_AGENT_TOKEN": token,
        "EDGE_AGENT_NAME": "large",
        "EDGE_AGENT_DECLARED_CORES": "4",
        "EDGE_AGENT_DECLARED_MEMORY_GIB": "4",
        "EDGE_AGENT_DECLARED_STORAGE_GIB": "32",
    }
    with stand.gateway(), (stand.folder / "agent.log").open("ab") as log:
        running = subprocess.Popen([sys.executable, "-m", "agent", "run"], env=env, stdout=log, stderr=log)
        try:
            wait(lambda: Device.objects.filter(name="large", online=True).exists(), "the agent", 60)
            time.sleep(3)
            process = psutil.Process(running.pid)
            idle = peak = process.memory_info().rss
            rollout = services.start(variant.release, stand.person, devices=Device.objects.filter(name="large"))
            states = set()
            while not states & {"verified", "installing", "self_testing", "failed", "rejected"}:
                peak = max(peak, process.memory_info().rss)
                states.add(rollout.deployments.get().state)
                time.sleep(0.02)
            if "rejected" in states or "downloading" not in states:
                raise RuntimeError(f"the agent did not download it: {rollout.deployments.get().reason}")
        finally:
            running.terminate()
            running.wait(10)
    _say(f"the agent took {idle / MIB:.1f} MiB idle, {peak / MIB:.1f} MiB at most while it downloaded")
    return Row(
        "200 MB artifact: growth of the agent's memory",
        (peak - idle) / MIB,
        "MiB",
        20.0,
        "lower",
        baseline=idle / MIB,
        ratio=peak / idle,
    )


def _timed(stand: Stand) -> Iterator[Row]:
    variant = stand.variant(_random(TIMED_BYTES), "timed")
    with stand.gateway() as used:
        cast = stand.fetch(variant, stand.devices(TIMED))
    _all_done(cast)
    with stand.http() as web:
        ranged = stand.fetch(variant, [f"h-{n}" for n in range(TIMED)], urls=stand.urls(variant))
    http_cpu = web["server"]
    speeds = [_speed(results) for results in (cast, ranged)]
    _say(
        f"broadcast {speeds[0]:.0f} MB/s delivered, {used['server']:.2f} s of the gateway, "
        f"{used['broker']:.2f} s of the broker; HTTP Range {speeds[1]:.0f} MB/s, {http_cpu:.2f} s of uvicorn"
    )
    name = f"to {TIMED} devices over {stand.kind}"
    yield Row(
        f"{name}: bytes delivered, against HTTP Range",
        speeds[0] / speeds[1],
        "times",
        0.5,
        "higher",
        baseline=speeds[1],
        ratio=speeds[0] / speeds[1],
        n=TIMED,
    )
    yield Row(
        f"{name}: the server's own CPU, against HTTP Range",
        used["server"] / http_cpu,
        "times",
        0.25,
        "lower",
        baseline=http_cpu,
        ratio=used["server"] / http_cpu,
        n=TIMED,
    )
    yield Row(
        f"{name}: the broker's CPU beside it",
        used["broker"],
        "s",
        http_cpu,
        "lower",
        baseline=http_cpu,
        ratio=used["broker"] / http_cpu,
        n=TIMED,
    )


def _random(size: int) -> list[bytes]:
    """Parts that nothing makes smaller; the last two are card and golden observations."""
    return [os.urandom(PART) for _ in range(size // PART)] + [os.urandom(1000), os.urandom(10_000)]


def _missed(results: dict[str, dict[str, Any]]) -> set[str]:
    """Blocks that any device asked for after they had been cast: they went past it."""
    cast: dict[str, float] = {}
    for each in results.values():
        for block, at in each["came"].items():
            cast[block] = min(at, cast.get(block, at))
    return {
        block for each in results.values() for block, at in each["lacked"].items() if at > cast.get(block, float("inf"))
    }


def _speed(results: dict[str, dict[str, Any]]) -> float:
    """MB/s that came to all devices together, from the first block of any to the last of all."""
    seconds = max(each["last"] for each in results.values()) - min(each["first"] for each in results.values())
    return sum(each["bytes"] for each in results.values()) / seconds / 1e6


def _all_done(results: dict[str, dict[str, Any]]) -> None:
    if not all(each["done"] for each in results.values()):
        raise RuntimeError("not every device got everything")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
