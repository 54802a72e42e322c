"""A local API in this process, and a connection to it that says exactly what it is told."""

import http.client
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.addresses import Listen
from agent.inference.http_server import Limits
from agent.inference.inference_engine import InferenceEngine
from agent.inference.local_api import LocalApi
from tests.agent.waiting import wait_for

LOOPBACK = Listen("127.0.0.1", 0)
STATE = {"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
#: What the model of the tests makes of it.
TWENTY = [20.0] * 6
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


class Program:
    """One of the robot's programs: a connection that stays."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status, and the body as JSON where it is."""
        status, found, data = self.raw(method, path, body, **headers)
        return status, json.loads(data) if found.get("Content-Type") == "application/json" and data else data

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
        given = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self._http.request(method, path, given, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self._http.getresponse()
        return answer.status, answer.headers, answer.read()

    def infer(self, inputs: Any, model: str = "tiny", **more: Any) -> tuple[int, Any]:
        return self.ask("POST", f"/v2/models/{model}/infer", {"inputs": inputs, **more})

    def close(self) -> None:
        self._http.close()


@contextmanager
def serving(
    engine: InferenceEngine, where: Listen = LOOPBACK, limits: Limits | None = None, **how: Any
) -> Iterator[LocalApi]:
    api = LocalApi(engine, where, limits=limits, **how)
    api.start()
    try:
        wait_for("the local API", lambda: api.port or (where.path and Path(where.path).exists()))
        yield api
    finally:
        api.stop()


def spoken(port: int, said: bytes, *, end: bool = False) -> bytes:
    """Everything that comes back for raw bytes, until the other end closes or is silent for three seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as client:
        client.sendall(said)
        if end:
            client.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while data := client.recv(65536):
                heard += data
        except TimeoutError:
            pass
        except ConnectionResetError:
            pass
        return heard


def raw(values: bytes, size: object = None, **changes: object) -> tuple[bytes, dict[str, str]]:
    """A request with one raw tensor."""
    tensor = {**STATE, "parameters": {"binary_data_size": len(values) if size is None else size}, **changes}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + values, {"Inference_Header_Content_Length": str(len(head))}
