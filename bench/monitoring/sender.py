"""Sends telemetry for many devices, as fast as it is stored: `python -m bench.monitoring.sender`, JSON on stdin.

MQTT packets are written by hand, because a client library would need as much of the processor as what is measured. No
more messages are under way between here and the store than there are devices, for an agent sends the next when the last
is acknowledged; what is stored is asked of the database. With a rate it sends so many a second, as a fleet does.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

#: Messages of one write.
CHUNK = 250
BODY = (
    '{"boot_id":"%s","samples":[{"seq":%d,"at":%.3f,"cpu_percent":23.41,"memory_used":1533284352,'
    '"memory_total":4294967296,"disk_used":9123456789,"disk_total":32000000000,"network_rx":1204.5,"network_tx":811.2,'
    '"temperature":51.5,"power":4.512,"power_source":"measured","energy_per_action":0.4211,"agent_memory":215048192,'
    '"interval":5.003,"decisions":25,"latency_p50":38.1204,"latency_p95":55.9312,'
    '"latency":{"86":1,"88":2,"89":3,"90":5,"91":4,"92":4,"93":2,"95":1,"97":1,"99":1,"101":1},'
    '"stages":{"queue":0.4123,"preprocess":3.1204,"compute":34.9012,"postprocess":1.5011},'
    '"cache_lookups":25,"cache_hits":5,"episodes":1,"successes":1,"manifest":"%s"}]}'
)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def packet(kind: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, byte = divmod(length, 128)
        size.append(byte | (128 if length else 0))
        if not length:
            return bytes((kind, *size)) + body


def connect(port: int, login: str, secret: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    head = text("MQTT") + bytes((4, 0xC2)) + struct.pack("!H", 60)
    connection.sendall(packet(0x10, head + text(login) + text(login) + text(secret)))
    answer = connection.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"the broker answered {answer!r}")
    return connection


def packets(devices: list[str], boot: str, manifests: list[str]) -> Iterator[bytes]:
    """One after the other of all devices in turn."""
    topics = [text(f"edgefleet/v1/up/{each}/telemetry") for each in devices]
    number = 0
    while True:
        now, seq = time.time(), number // len(devices)
        for place, topic in enumerate(topics):
            number += 1
            mid = struct.pack("!H", number % 65_535 + 1)
            yield packet(0x32, topic + mid + (BODY % (boot, seq, now, manifests[place])).encode())


def counter(url: str) -> Callable[[], int]:
    """The highest number of a stored sample."""
    question = "SELECT COALESCE(MAX(id), 0) FROM telemetry_sample"
    if url.startswith("sqlite:"):
        import sqlite3

        database = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
        return lambda: int(database.execute(question).fetchone()[0])
    import psycopg

    server = psycopg.connect(url, autocommit=True)
    return lambda: int(server.execute(question).fetchone()[0])


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    connection = connect(asked["port"], "server-bench", asked["secret"])
    made, stored = packets(asked["devices"], asked["boot"], asked["manifests"]), counter(os.environ["DATABASE_URL"])
    before, sent, answered, seen = stored(), 0, 0, 0
    began = time.monotonic()
    warm, end = began + asked["warm"], began + asked["warm"] + asked["seconds"]
    at_warm: tuple[float, int] | None = None
    rate = asked.get("rate")
    while (now := time.monotonic()) < end:
        if rate and sent > rate * (now - began):
            time.sleep(0.02)
            continue
        seen = stored() - before
        if at_warm is None and now >= warm:
            at_warm = now, seen
        if sent - seen < len(asked["devices"]):
            connection.sendall(b"".join(next(made) for _ in range(CHUNK)))
            sent += CHUNK
        else:
            time.sleep(0.005)
        while select.select([connection], [], [], 0)[0]:
            answered += len(connection.recv(65_536)) // 4
    first, known = at_warm or (began, 0)
    taken = (seen - known) / (time.monotonic() - first)
    deadline = time.monotonic() + 30
    while (stored() - before < sent or answered < sent) and time.monotonic() < deadline:
        if select.select([connection], [], [], 0.05)[0]:
            answered += len(connection.recv(65_536)) // 4
    said = {"sent": sent, "answered": answered, "rate": taken, "seconds": asked["seconds"], "cpu": time.process_time()}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
