"""Open pages of the real web process: how soon a sample is on a chart, and what many pages cost that wait for news."""

import asyncio
import json
import math
import os
import random
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.monitoring import fill, sender

#: Samples whose way is timed; pages that are open, and how long they are watched.
TIMED, PAGES, WATCHED = 20, 200, 30
#: What static/js/live.js does: the charts ask at most once in so many seconds, and not at once after news.
EVERY, SOON = 1.0, 0.03
#: Seconds of a point of the shortest range.
BUCKET = 2


@contextmanager
def web(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-m", "uvicorn", "fleet.asgi:application", "--port", str(port), "--lifespan", "off"],
            stdout=log,
            stderr=log,
        )
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/login", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError((folder / "web.log").read_text()[-2000:]) from None
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(15)


def to_the_chart(address: str, cookies: dict[str, str], port: int, secret: str, device: str) -> list[float]:
    """Seconds from the sending of a sample to a chart that has it, each: the page's stream, and then its question."""
    return asyncio.run(_to_the_chart(address, cookies, port, secret, device))


async def _to_the_chart(address: str, cookies: dict[str, str], port: int, secret: str, device: str) -> list[float]:
    connection = sender.connect(port, "server-lag", secret)
    topic, took = sender.text(f"edgefleet/v1/up/{device}/telemetry"), []
    news, chance = asyncio.Event(), random.Random(1)  # noqa: S311  # not a secret
    async with httpx.AsyncClient(base_url=address, cookies=cookies, timeout=30) as page:
        listening = asyncio.create_task(_listen(page, f"samples:{device}", news))
        await asyncio.wait_for(news.wait(), 20)  # the stream is there
        asked, since = 0.0, 0.0
        for number in range(TIMED):
            await asyncio.sleep(BUCKET + chance.random())
            began = time.time()
            body = (sender.BODY % ("lag", number, began, fill.UNKNOWN)).encode()
            connection.sendall(sender.packet(0x32, topic + struct.pack("!H", number + 1) + body))
            while since < math.floor(began / BUCKET) * BUCKET * 1000:
                await asyncio.wait_for(news.wait(), 20)
                news.clear()
                await asyncio.sleep(max(SOON, asked + EVERY - time.time()))
                asked = time.time()
                answer = await page.get(f"/devices/{device}/series", params={"range": "15m", "since": round(since)})
                since = max((at for at in answer.json()["columns"]["at"]), default=since)
            took.append(time.time() - began)
        listening.cancel()
    connection.close()
    return took


async def _listen(page: httpx.AsyncClient, topics: str, news: asyncio.Event) -> None:
    async with page.stream("GET", "/live", params={"topics": topics}, timeout=None) as answer:
        async for line in answer.aiter_lines():
            if line.startswith(("event: hello", "event: changed")):
                news.set()


def waiting(address: str, cookies: dict[str, str], process: Any, devices: list[str]) -> float:
    """Percent of a core that the web process takes while so many pages are open, and nothing that they show changes."""
    import psutil

    async def scene() -> float:
        limits = httpx.Limits(max_connections=PAGES)
        async with httpx.AsyncClient(base_url=address, cookies=cookies, timeout=60, limits=limits) as pages:
            opened = [asyncio.Event() for _ in devices]
            tasks = [
                asyncio.create_task(_listen(pages, f"fleet,jobs,device:{device},samples:{device}", event))
                for device, event in zip(devices, opened, strict=True)
            ]
            for event in opened:
                await asyncio.wait_for(event.wait(), 60)
            await asyncio.sleep(8)  # until what they may just have missed is told
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(WATCHED)
            spent = sum(process.cpu_times()[:2]) - before
            for task in tasks:
                task.cancel()
            return 100 * spent / (time.monotonic() - began)

    process = psutil.Process(process.pid)
    return asyncio.run(scene())


@contextmanager
def talking(order: dict[str, Any], rate: float) -> Iterator[None]:
    """A fleet that sends so many messages a second, as its devices do by themselves."""
    process = subprocess.Popen(  # ourselves
        [sys.executable, "-m", "bench.monitoring.sender"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
        text=True,
    )
    try:
        print(json.dumps({**order, "rate": rate, "seconds": 600}), file=process.stdin, flush=True)
        yield
    finally:
        process.terminate()
        process.wait(10)
