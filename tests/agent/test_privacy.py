"""No observation leaves a device in full and slim mode.

The real agent, over a real broker, with every byte recorded that it sends to the broker and to the server's web
address. It acts by itself, and a program asks it, also for heavy requests, while its mode is changed. What is looked
for is found in hybrid mode: so it would be found in the others.
"""

import base64
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.inference.policy_card import resized
from agent.wire.messages import CommandOrder, Config, State
from tests.agent import recording
from tests.agent.inference.endpoint import serving
from tests.agent.inference.folders import folder_of
from tests.agent.inference.pictures import seeing_variant
from tests.agent.recording import Recorder
from tests.agent.variants import variant
from tests.agent.waiting import wait_for
from tests.agent.worlds import vivid_observation

#: `make soak` records for minutes.
SECONDS = float(os.environ.get("SOAK_PRIVACY_SECONDS", "4"))
SIDE = 16
SEEN = vivid_observation()
WORDS = f"{SEEN.instruction} now"


@pytest.fixture
def recorders(broker, tmp_path: Path) -> Iterator[tuple[Recorder, Recorder, Any]]:
    """What the agent sends to the broker, what it sends to the server, and the variant that both run."""
    made = variant(**seeing_variant(SIDE, 5, WORDS, state=4))
    with serving(folder_of(made, tmp_path / "there")) as endpoint:
        both = Recorder(broker.port), Recorder(endpoint.port)
        yield (*both, made)
        for each in both:
            each.stop()


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def ask(path: Path, words: str = SEEN.instruction) -> str | None:
    """A program sends the picture, marked as heavy, as JSON and as raw tensors. Who answered the first."""
    there = OverSocket(path)
    height, width, _ = SEEN.image.shape
    image = {"height": height, "width": width, "data": base64.b64encode(SEEN.image.tobytes()).decode()}
    body = {"image": image, "instruction": words, "state": SEEN.state.tolist(), "heavy": True}
    there.request("POST", "/act", json.dumps(body))
    answer = there.getresponse()
    answer.read()
    pixels = resized(SEEN.image, SIDE, SIDE).astype(np.float32) / np.float32(255)
    arrays = {
        "camera": np.ascontiguousarray(pixels.transpose(2, 0, 1))[None],
        "words": np.array([[1, 2, 3, 4, 0]], np.int64),
        "body": SEEN.state[None],
    }
    described = [
        {
            "name": name,
            "datatype": "INT64" if array.dtype == np.int64 else "FP32",
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    head = json.dumps({"inputs": described, "parameters": {"heavy": True}}).encode()
    raw = b"".join(array.tobytes() for array in arrays.values())
    there.request("POST", "/v2/models/tiny/infer", head + raw, {"Inference-Header-Content-Length": str(len(head))})
    assert there.getresponse().read()
    there.close()
    return answer.headers.get("Answered-By")


def test_only_in_hybrid_mode_does_anything_that_the_device_sees_leave_it(server, agent, recorders, tmp_path):
    to_broker, to_server, made = recorders
    path = tmp_path / "api.sock"
    there = agent(
        source="tests.agent.worlds:vivid",
        api=f"unix:{path}",
        log_level="DEBUG",
        server=f"mqtt://127.0.0.1:{to_broker.port}",
        inference=f"http://127.0.0.1:{to_server.port}",
    )
    server.offer(made)

    def mode(word: str) -> None:
        config = Config(mode=word, telemetry_interval=1, watch_seconds=0.2)
        server.wish(made.digest, "p-1", config)

        def told() -> State | None:
            return next((state for state in reversed(server.states) if state.online and state.mode == word), None)

        wait_for(f"mode {word}", lambda: told() is not None and server.states[-1].mode == word)

    def live(word: str) -> set[str | None]:
        """A while of everything that the agent does, and who answered meanwhile."""
        answered: set[str | None] = set()
        samples = len(server.telemetry)
        until, number = time.monotonic() + SECONDS, 0
        while time.monotonic() < until or len(server.telemetry) < samples + 2:
            answered.add(ask(path))
            ask(path, "marmalade is an unknown kind of grandmother")  # the errors, too, keep what they are about
            number += 1
            time.sleep(0.1)
        server.order(CommandOrder(id=f"c-{word}-{number}", kind="ping", deadline=time.time() + 60))
        wait_for("the answer", lambda: "succeeded" in server.command_states(f"c-{word}-{number}"))
        return answered

    def leaked() -> dict[str, set[str]]:
        size = (SIDE, SIDE)
        return {
            "broker": recording.found(to_broker.streams, SEEN, size),
            "server": recording.found(to_server.streams, SEEN, size),
        }

    for word in ("full", "slim"):
        mode(word)
        if word == "full":
            server.ended("p-1", "active")
        assert live(word) == {None}, "decided on the device, whatever the request says"
        assert to_broker.size > 2000, "there was something to look through"
        assert leaked() == {"broker": set(), "server": set()}, word
        assert to_server.size == 0, "there is not even a connection"

    mode("hybrid")
    wait_for("an answer of the server", lambda: ask(path) == "server")
    assert "server" in live("hybrid")
    assert leaked() == {"broker": set(), "server": {"image", "instruction", "state"}}

    mode("full")
    time.sleep(0.2)
    to_server.forget()
    assert live("full") == {None}
    assert leaked()["server"] == set()
    assert to_server.size == 0
    # Its log is on the device; but somebody may send it to somebody.
    assert recording.found([there.log.read_bytes()], SEEN, (SIDE, SIDE)) == set()


@pytest.mark.parametrize("how", ["as they are", "in base64", "by zlib", "by gzip", "by zstd"])
def test_what_is_looked_for_would_be_found_also_in_pieces(how):
    crop = np.ascontiguousarray(SEEN.image[5:9, 7:15])
    small = resized(SEEN.image, SIDE, SIDE)
    scaled = (small.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    for name, data in (
        ("image", crop.tobytes()),
        ("image", np.ascontiguousarray(scaled).tobytes()),
        ("image", json.dumps(crop.ravel().tolist()).encode()),
        ("image", json.dumps(small.ravel().tolist(), separators=(",", ":")).encode()),
        ("instruction", b"x marmalade y"),
        ("state", SEEN.state[1:3].tobytes()),
        ("state", json.dumps(SEEN.state.tolist()).encode()),
    ):
        stream = b"before " + recording.packed(data)[how] + b" after"
        if how == "in base64" and data.startswith(b"["):
            continue  # JSON of numbers in base64: nothing in the agent does that
        assert name in recording.found([stream], SEEN, (SIDE, SIDE)), (name, how)


def test_noise_gives_nothing_away():
    noise = np.random.default_rng(1).bytes(300_000)
    assert recording.found([noise, json.dumps(list(noise[:20_000])).encode()], SEEN, (SIDE, SIDE)) == set()
