"""One model in a process of its own: `python -m fleet.inference.child FOLDER ARTIFACT MODEL VERSION THREADS`.

Started behind fleet.optimizer.confine, which leaves it limits, no network and one channel to answer on. Requests come
on standard input; each is a head (`REQUEST`: kind, bytes of JSON, bytes) and a body. Each answer is a head (`REPLY`:
status, bytes of JSON or `NO_JSON_SIZE`, bytes, milliseconds) and a body; the first says whether the model has loaded.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

from agent.inference import act, inference_engine, open_inference, policy_card
from agent.inference.inference_engine import InferenceEngine, LoadedModel
from agent.inference.runtimes import InputError, ModelError

REQUEST, REPLY = struct.Struct("<BII"), struct.Struct("<HIId")
ACT, TENSORS = 1, 2
NO_JSON_SIZE = 2**32 - 1

Answer = tuple[int, bytes, int | None]


def main() -> None:
    folder, artifact, name, version, threads = sys.argv[1:6]
    channel = int(os.environ["EDGEFLEET_CHANNEL"])
    try:
        model = inference_engine.load(Path(folder), artifact, int(threads), None, name, version)
    except Exception as problem:  # whatever a model's file can do to a runtime
        _say(channel, _problem(500, str(problem) or type(problem).__name__), 0.0)
        return
    engine = InferenceEngine()
    engine.swap(model)
    _say(channel, (200, b"", None), 0.0)
    requests = sys.stdin.buffer
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        kind, json_size, size = REQUEST.unpack(head)
        body = requests.read(size)
        if len(body) < size:
            return
        began = time.perf_counter()
        answer = answered(engine, model, kind, body, json_size)
        _say(channel, answer, 1e3 * (time.perf_counter() - began))


def answered(engine: InferenceEngine, model: LoadedModel, kind: int, body: bytes, json_size: int) -> Answer:
    """Status, body, and the bytes of it that are JSON where raw tensors follow."""
    try:
        return _act(engine, model, body) if kind == ACT else _infer(engine, model, body, json_size)
    except (InputError, policy_card.CardError) as problem:
        return _problem(400, str(problem))
    except (ModelError, FloatingPointError) as problem:
        return _problem(500, str(problem))


def _act(engine: InferenceEngine, model: LoadedModel, body: bytes) -> Answer:
    if model.card is None:
        return _problem(409, "The model has no policy card. Send it tensors.")
    actions = engine.process(act.read(body, model.card))
    return 200, act.write(actions, model, model.card), None


def _infer(engine: InferenceEngine, model: LoadedModel, body: bytes, json_size: int) -> Answer:
    wish, feeds = open_inference.read(body, json_size)
    open_inference.check_outputs(wish, model.runtime.outputs)
    pieces, size = open_inference.write(wish, engine.infer(feeds), model)
    return 200, b"".join(pieces), size


def _problem(status: int, words: str) -> Answer:
    return status, json.dumps({"error": words[:1000]}).encode(), None


def _say(channel: int, answer: Answer, milliseconds: float) -> None:
    status, body, json_size = answer
    head = REPLY.pack(status, NO_JSON_SIZE if json_size is None else json_size, len(body), milliseconds)
    view = memoryview(head + body)
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
