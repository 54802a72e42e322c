"""Devices that fetch and do nothing else, some in one process: `python -m bench.delivery.downloaders REQUEST.json`.

Each is the agent's own link, downloader and store. The request: port, folder, manifest (its file), and for each device
id, secret, and what befalls it when a third has come: `cut` (the connection breaks), `stall` (nothing is read for a
while) or nothing; or `urls`, where to fetch each part by HTTP Range, into the same store. Waits for a line on standard
input before it begins, and prints one JSON line: for each device the time (of this machine's clock) of the first and
the last block, the bytes that came, and of each block when it first came by a cast and when it was last asked for after
the beginning, because it had not come.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.addresses import Server
from agent.deployment.delivery import Delivery
from agent.deployment.download import Downloader
from agent.deployment.parts import PartFile
from agent.deployment.store import Store
from agent.deployment.window import Block
from agent.link.connection import Connection, Credentials
from agent.wire import codec, topics
from agent.wire import manifest as wire

CUT_SECONDS, STALL_SECONDS = 1.5, 3.0


class Recorder(Delivery):
    """Keeps what is asked for after the beginning: what did not come."""

    def __init__(self, device_id: str, connection: Connection) -> None:
        super().__init__(device_id, connection)
        self.lacked: dict[Block, float] = {}
        self._begun = False

    def ask(self, blocks: list[Block], manifest: str = "", lacks: Iterable[Block] = ()) -> bool:
        if self._begun:
            self.lacked |= dict.fromkeys((*blocks, *lacks), time.monotonic())
        self._begun = True
        return super().ask(blocks, manifest, lacks)


class Device:
    """One device; `fetch` runs in a thread of its own."""

    def __init__(self, given: dict[str, Any], request: dict[str, Any], digest: str, manifest: wire.Manifest) -> None:
        self.id, self.fault = given["id"], given.get("fault", "")
        self._digest, self._manifest = digest, manifest
        self.store = Store(Path(request["folder"]) / self.id)
        self._third = manifest.size // 3
        self._keep = wire.encode(manifest) if request["keep"] else b""
        self.result: dict[str, Any] = {"bytes": 0, "first": 0.0, "last": 0.0, "done": False}
        self._came: dict[Block, float] = {}
        self._connection = Connection(
            Server("127.0.0.1", request["port"]),
            Credentials(self.id, self.id, given["secret"]),
            on_message=self._route,
            on_connected=self._connected,
            subscriptions=(topics.device_filter(self.id),),
        )
        self._delivery = Recorder(self.id, self._connection)
        self._connection.start()

    @property
    def up(self) -> bool:
        return self._connection.connected

    def _connected(self) -> None:
        self._delivery.connected()

    def _route(self, text: str, body: bytes) -> None:
        topic = topics.parse(text)
        if topic.kind != "block":
            return
        now = time.monotonic()
        self.result["first"] = self.result["first"] or now
        self.result["bytes"] += len(body)
        cast = topic.direction == "cast"
        if cast:
            self._came.setdefault((topic.key, topic.number or 0), now)
        self._delivery.block(topic.key, topic.number or 0, body, cast=cast)
        if self.fault and self.result["bytes"] > self._third:
            fault, self.fault = self.fault, ""
            if fault == "cut":
                self._connection.client._sock_close()
                time.sleep(CUT_SECONDS)
            else:
                time.sleep(STALL_SECONDS)

    def fetch(self) -> None:
        Downloader(self.store, self._delivery).fetch(self._manifest, lambda: False, cast=self._digest)
        if self._keep:
            self.store.install(self._digest, self._manifest, self._keep)
            for path in self.store.parts.iterdir():
                path.unlink()
        self.result |= {"last": time.monotonic(), "done": True}
        self._connection.stop(seconds=0.2)

    def blocks(self) -> dict[str, dict[str, float]]:
        both = {"came": self._came, "lacked": self._delivery.lacked}
        return {
            name: {f"{digest} {number}": at for (digest, number), at in told.items()} for name, told in both.items()
        }


def by_http(device: str, folder: Path, urls: dict[str, str], manifest: wire.Manifest) -> dict[str, Any]:
    """The same parts in ranges of a block from a web server, into the same files with the same checks."""
    store = Store(folder / device)
    first, size = time.monotonic(), 0
    address = urlsplit(next(iter(urls.values())))
    link = http.client.HTTPConnection(address.hostname or "", address.port)
    for part in manifest.parts:
        file = PartFile(store.parts, part)
        link.request("GET", urlsplit(urls[part.digest]).path, headers={"Range": f"bytes=0-{part.size - 1}"})
        answer = link.getresponse()
        for number in range(file.count):
            data = answer.read(wire.block_size(part.size, number))
            size += len(data)
            file.write(number, data)
        answer.read()
        if not file.finish():
            raise RuntimeError("a part came damaged")
    return {"bytes": size, "first": first, "last": time.monotonic(), "done": True}


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    data = Path(request["manifest"]).read_bytes()
    manifest = codec.decode(data, wire.Manifest, limit=wire.MAX_MANIFEST)
    results: dict[str, dict[str, Any]] = {}
    if request.get("urls"):

        def one(device: str) -> None:
            results[device] = by_http(device, Path(request["folder"]), request["urls"], manifest)

        threads = [threading.Thread(target=one, args=(given["id"],)) for given in request["devices"]]
        _go(threads)
    else:
        devices = [Device(given, request, wire.digest_of(data), manifest) for given in request["devices"]]
        while not all(device.up for device in devices):
            time.sleep(0.05)
        _go([threading.Thread(target=device.fetch) for device in devices])
        results = {device.id: {**device.result, **device.blocks()} for device in devices}
    print(json.dumps(results), flush=True)


def _go(threads: list[threading.Thread]) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
