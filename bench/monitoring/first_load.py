"""What a browser that has never been here loads for one page, in bytes on the wire, and what it loads the second time.

`rows()` starts a web process over a database of its own with 1,000 devices, and asks it with Chromium: every byte that
the page makes it load counts, its headers too; the stream of news does not. As a program
(`python -m bench.monitoring.first_load`) it prints what it found as a line of JSON, within one Django.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.rows import Row

DEVICES = 1000
#: Page → (address, what stands there when it is whole, kB that it may load the first time).
PAGES = {
    "overview": ("/", ".live[data-state=live]", 120.0),
    "device page, with Plotly": ("/devices/d-000007", "[data-series][data-drawn]", 1700.0),
}
CHROMIUM = "/usr/bin/chromium"


def rows() -> Iterator[Row]:
    found = measured()
    for name, (_, _, goal) in PAGES.items():
        page = found[name]
        yield Row(
            f"first load of the {name}, cold", page["cold"] / 1000, "kB", goal, "lower", page["plain"] / 1000,
            page["cold"] / page["plain"], page["requests"],
        )  # fmt: skip
        yield Row(
            f"files of the {name} loaded again on a second visit", page["again"], "", 0, "lower", n=page["requests"]
        )


def measured() -> dict[str, dict[str, Any]]:
    """By page: bytes on the wire `cold` and `warm`, bytes when unpacked (`plain`), files asked for `again`."""
    with tempfile.TemporaryDirectory(prefix="edgefleet-bench-") as folder:
        clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PROFILE")}
        done = subprocess.run(
            [sys.executable, "-m", "bench.monitoring.first_load"],
            env={**clean, "EDGEFLEET_DATA": folder, "EDGEFLEET_LOG": "WARNING"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from bench.monitoring import fill
    from fleet.accounts.roles import Role
    from fleet.accounts.services import create_person

    for words in (("migrate",), ("collectstatic", "--noinput", "-i", "datasets", "-i", "templates")):
        call_command(*words, verbosity=0)
    fill.catalog()
    fill.devices(0, DEVICES)
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(create_person("bench", Role.ADMIN, by=None)[0])
    session = client.cookies["sessionid"].value
    with _web() as address:
        print(json.dumps(_loaded(address, session)))


@contextmanager
def _web() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "fleet.asgi:application", "--port", str(port), "--lifespan", "off"]
    log = Path(os.environ["EDGEFLEET_DATA"]) / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  # ourselves
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{address}/login", timeout=5).close()  # noqa: S310  # our own address
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(log.read_text()[-2000:]) from None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(15)


def _loaded(address: str, session: str) -> dict[str, dict[str, float]]:
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for name, (path, ready, _) in PAGES.items():
            context = browser.new_context()
            context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
            cold = _visit(context, address + path, ready)
            warm = _visit(context, address + path, ready)
            found[name] = {
                "cold": cold.wire,
                "warm": warm.wire,
                "plain": cold.plain,
                "requests": cold.requests,
                "again": warm.files,
            }
            context.close()
        browser.close()
    return found


class _Traffic:
    """Adds up what Chromium's DevTools tell of a page's requests."""

    def __init__(self, session: Any) -> None:
        self.wire = self.plain = 0.0
        self.requests = self.files = 0
        self._addresses: dict[str, str] = {}
        self._streams: set[str] = set()
        self._cached: set[str] = set()
        session.on("Network.responseReceived", self._answered)
        session.on("Network.requestServedFromCache", lambda said: self._cached.add(said["requestId"]))
        session.on("Network.dataReceived", self._data)
        session.on("Network.loadingFinished", self._finished)
        session.send("Network.enable")

    def _answered(self, said: dict[str, Any]) -> None:
        number, answer = said["requestId"], said["response"]
        self._addresses[number] = answer["url"]
        if said["type"] == "EventSource":
            self._streams.add(number)
        if answer.get("fromDiskCache"):
            self._cached.add(number)

    def _data(self, said: dict[str, Any]) -> None:
        if said["requestId"] not in self._streams | self._cached:
            self.plain += said["dataLength"]

    def _finished(self, said: dict[str, Any]) -> None:
        number = said["requestId"]
        if number in self._streams | self._cached or self._addresses.get(number, "").startswith(("data:", "blob:")):
            return
        self.wire += said["encodedDataLength"]
        self.requests += 1
        self.files += "/static/" in self._addresses.get(number, "")


def _visit(context: Any, address: str, ready: str) -> _Traffic:
    page = context.new_page()
    traffic = _Traffic(context.new_cdp_session(page))
    page.goto(address, wait_until="load")
    page.wait_for_selector(ready, state="attached", timeout=30_000)
    page.wait_for_timeout(1000)  # what comes after the page itself: its icon, the first news
    page.close()
    return traffic


if __name__ == "__main__":
    main()
