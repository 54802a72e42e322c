"""What an agent costs a board: memory, the time from power to the first answer, the processor while nothing happens.

The real agent in a process of its own, enrolled, with the small model of `bench.agent` installed as an update installs
it, its local API on a unix socket and a real broker. Beside it in the same run: a bare Python process that loads the
same model into ONNX Runtime; for the processor, a bare MQTT client that stays connected and sends a message of the same
size at the same interval. Memory is resident memory (shared libraries count in full), less the model's bytes.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from agent.deployment.records import Installed, Saved
from agent.deployment.store import Store
from agent.link.enrollment import FILE, Identity
from agent.wire import manifest as wire
from agent.wire.messages import Config
from bench.rows import Row
from tests.agent.broker import TestBroker
from tests.agent.waiting import wait_for

MB = 1e6
#: Seconds that an agent settles before its memory is read, and over which the processor is counted; boots.
SETTLE, COUNTED, BOOTS = 15.0, 90.0, 11
BARE_MODEL = """
import os, sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"x": np.zeros((1, 256), np.float32)})
print(time.time(), flush=True)
sys.stdin.read()
"""
BARE_CLIENT = """
import sys, time
import paho.mqtt.client as paho
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "bare")
client.connect("127.0.0.1", int(sys.argv[1]), 20)
client.loop_start()
while True:
    client.publish("bare/telemetry", b"x" * 450, qos=1)
    time.sleep(5)
"""


def rows(folder: Path) -> list[Row]:
    """`folder` has the model, as `bench.agent` writes it."""
    broker = TestBroker().start()
    try:
        return [*_memory(folder, broker.port), _boot(folder, broker.port), _processor(folder, broker.port)]
    finally:
        broker.stop()


def _memory(folder: Path, port: int) -> list[Row]:
    model = folder / "model.onnx"
    with _bare(model) as bare:
        baseline = (bare.memory_info().rss - model.stat().st_size) / MB
    found = []
    for mode, goal in (("full", 80.0), ("slim", 65.0)):
        with _agent(folder, port, mode) as process:
            time.sleep(SETTLE)
            used = (process.memory_info().rss - model.stat().st_size) / MB
        name = f"memory beyond the model, idle, connected, {mode}"
        found.append(Row(name, used, "MB", goal, "lower", baseline, used / baseline))
    return found


def _boot(folder: Path, port: int) -> Row:
    """From the start of the process to the first answer over the local API, and of the bare one to its first."""
    agents, bares = [], []
    for number in range(BOOTS + 1):
        start = time.time()
        with _agent(folder, port, "full"):
            took = time.time() - start
        start = time.time()
        with _bare(folder / "model.onnx") as process:
            bare = process.answered - start
        if number:  # the first one fills the disk's cache
            agents.append(took)
            bares.append(bare)
    value, baseline = statistics.median(agents), statistics.median(bares)
    return Row("boot to first inference", value, "s", 2.0, "lower", baseline, value / baseline, BOOTS)


def _processor(folder: Path, port: int) -> Row:
    with _agent(folder, port, "full") as process, _running([sys.executable, "-c", BARE_CLIENT, str(port)]) as client:
        time.sleep(SETTLE)
        before = [_seconds(each) for each in (process, client)]
        time.sleep(COUNTED)
        used = [100 * (_seconds(each) - was) / COUNTED for each, was in zip((process, client), before, strict=True)]
    name = f"CPU of an idle agent, telemetry every 5 s, over {COUNTED:.0f} s"
    return Row(name, used[0], "% of a core", 0.5, "lower", used[1], used[0] / used[1] if used[1] else None)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


@contextlib.contextmanager
def _running(command: list[str], **environment: str) -> Iterator[psutil.Process]:
    started = subprocess.Popen(  # noqa: S603 -- this project's own processes
        command,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with started:
        process = psutil.Process(started.pid)
        process.output = started.stdout
        try:
            yield process
        finally:
            started.kill()


@contextlib.contextmanager
def _bare(model: Path) -> Iterator[psutil.Process]:
    with _running([sys.executable, "-c", BARE_MODEL, str(model)]) as process:
        process.answered = float(process.output.readline())
        yield process


@contextlib.contextmanager
def _agent(folder: Path, port: int, mode: str) -> Iterator[psutil.Process]:
    """An agent that has answered once and is connected."""
    data, path = folder / f"data-{mode}", folder / "api.sock"
    if not data.exists():
        _enrolled(data, folder, mode)
    path.unlink(missing_ok=True)
    settings = {"DATA": str(data), "SERVER": f"mqtt://127.0.0.1:{port}", "API": f"unix:{path}", "THREADS": "1"}
    environment = {f"EDGE_AGENT_{key}": value for key, value in settings.items()}
    with _running([sys.executable, "-m", "agent", "run"], **environment) as process:
        wait_for("its first answer", lambda: _answers(path))
        yield process


def _answers(path: Path) -> bool:
    """Whether the model answers over the local API. Looking every 10 ms is part of the figure."""
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,256],"data":[' + b"0," * 255 + b"0]}]}"
    head = f"POST /v2/models/small/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(head.encode() + body)
        return client.recv(64).startswith(b"HTTP/1.1 200")
    return False


def _enrolled(data: Path, folder: Path, mode: str) -> None:
    """A data folder as an update leaves it: the model installed, proven and active."""
    store = Store(data)
    files: list[tuple[wire.Role, bytes]] = [
        ("model", (folder / "model.onnx").read_bytes()),
        ("golden", (folder / "golden.npz").read_bytes()),
    ]
    whole = b"".join(content for _, content in files)
    parts = tuple(wire.Part(wire.digest_of(content), len(content), role) for role, content in files)
    manifest = wire.Manifest(
        model="small",
        version="1",
        variant="bench",
        device_class="embedded",
        digest=wire.digest_of(whole),
        size=len(whole),
        parts=parts,
        memory_bytes=80 * 1024**2,
        deadline_ms=100.0,
    )
    for part, (_, content) in zip(parts, files, strict=True):
        (store.parts / part.digest).write_bytes(content)
    encoded = wire.encode(manifest)
    digest = wire.digest_of(encoded)
    store.install(digest, manifest, encoded)
    store.write_state(
        Saved(
            desired_version=1,
            config=Config(mode=mode),  # type: ignore[arg-type]  # one of the three
            active=Installed(manifest=digest, deployment_id="p-1", since=time.time(), proven=True),
        )
    )
    identity = Identity(nonce="n-1", secret="s" * 43, device_id="d-1")
    (data / FILE).write_bytes(msgspec.json.encode(identity))
