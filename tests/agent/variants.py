"""Small real models, packed as the server packs them."""

import io
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.wire import manifest as wire

CHUNK, SIZE, STATE = 2, 3, 4


def model(weight: float = 1.0, *, poison: bool = False, fatal: bool = False, loops: int = 0, ballast: int = 0) -> bytes:
    """A policy [1, 4] → [1, 2, 3]: each action is `weight` times the sum of the state.

    poison divides by the state's first number, so that a zero there gives NaN (0/0) and everything else the plain
    answer; fatal divides -2^63 by its sign, which ends the process on x86 (SIGFPE) when it is negative; loops does so
    many needless multiplications, to be slow; ballast adds so many bytes of weights that do nothing.
    """
    rng = np.random.default_rng(7)
    initializers = [numpy_helper.from_array(np.full((STATE, CHUNK * SIZE), weight, np.float32), "w")]
    initializers.append(numpy_helper.from_array(np.array([1, CHUNK, SIZE], np.int64), "shape"))
    nodes = [helper.make_node("MatMul", ["state", "w"], ["product"])]
    last = "product"
    if ballast:
        heavy = rng.standard_normal((ballast // 4 // SIZE, SIZE)).astype(np.float32)
        initializers.append(numpy_helper.from_array(heavy, "heavy"))
        initializers.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
        initializers.append(numpy_helper.from_array(np.zeros((1, 1), np.float32), "nothing"))
        nodes.append(helper.make_node("Gather", ["heavy", "first"], ["row"], axis=0))
        nodes.append(helper.make_node("ReduceSum", ["row"], ["total"], keepdims=1))
        nodes.append(helper.make_node("Mul", ["total", "nothing"], ["zero"]))
        nodes.append(helper.make_node("Add", [last, "zero"], ["loaded"]))
        last = "loaded"
    if loops:
        initializers.append(numpy_helper.from_array(rng.standard_normal((512, 512)).astype(np.float32) / 512, "slow"))
        initializers.append(numpy_helper.from_array(np.zeros((CHUNK * SIZE, 512), np.float32), "up"))
        initializers.append(numpy_helper.from_array(np.zeros((512, CHUNK * SIZE), np.float32), "down"))
        nodes.append(helper.make_node("MatMul", [last, "up"], ["s0"]))
        # 512 rows make each multiplication cost some milliseconds; none can be folded away.
        initializers.append(numpy_helper.from_array(np.ones((512, 1), np.float32), "tall"))
        nodes.append(helper.make_node("Mul", ["tall", "s0"], ["t0"]))
        nodes += [helper.make_node("MatMul", [f"t{number}", "slow"], [f"t{number + 1}"]) for number in range(loops)]
        initializers.append(numpy_helper.from_array(np.array([0], np.int64), "top"))
        nodes.append(helper.make_node("Gather", [f"t{loops}", "top"], ["u"], axis=0))
        nodes.append(helper.make_node("MatMul", ["u", "down"], ["v"]))
        nodes.append(helper.make_node("Add", [last, "v"], ["slowed"]))
        last = "slowed"
    if poison:
        initializers.append(numpy_helper.from_array(np.array([0], np.int64), "zeroth"))
        nodes.append(helper.make_node("Gather", ["state", "zeroth"], ["lead"], axis=1))
        nodes.append(helper.make_node("Div", ["lead", "lead"], ["one"]))
        nodes.append(helper.make_node("Mul", [last, "one"], ["poisoned"]))
        last = "poisoned"
    if fatal:
        initializers.append(numpy_helper.from_array(np.array([0], np.int64), "front"))
        initializers.append(numpy_helper.from_array(np.array([-(2**63)], np.int64), "least"))
        initializers.append(numpy_helper.from_array(np.zeros((1, 1), np.float32), "none"))
        nodes.append(helper.make_node("Gather", ["state", "front"], ["front_of"], axis=1))
        nodes.append(helper.make_node("Sign", ["front_of"], ["sign"]))
        nodes.append(helper.make_node("Cast", ["sign"], ["whole_sign"], to=TensorProto.INT64))
        nodes.append(helper.make_node("Div", ["least", "whole_sign"], ["quotient"]))
        nodes.append(helper.make_node("Cast", ["quotient"], ["huge"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", ["huge", "none"], ["naught"]))
        nodes.append(helper.make_node("Add", [last, "naught"], ["survived"]))
        last = "survived"
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["actions"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, STATE])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, CHUNK, SIZE])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def card(**changes: Any) -> dict[str, Any]:
    """The policy card of these models."""
    return {
        "name": "tiny",
        "rate_hz": 50,
        "deadline_ms": 100,
        "inputs": {"state": {"kind": "state", "size": STATE}},
        "actions": {
            "output": "actions",
            "chunk": CHUNK,
            "size": SIZE,
            "execute": 1,
            "low": [-100.0] * SIZE,
            "high": [100.0] * SIZE,
        },
        **changes,
    }


def golden(weight: float = 1.0, samples: int = 4, lead: float | None = None, name: str = "state") -> bytes:
    """Observations of the input `name` with the right answers; their first number is positive, or `lead`."""
    states = np.arange(1, samples * STATE + 1, dtype=np.float32).reshape(samples, 1, STATE) / 10
    if lead is not None:
        states[:, :, 0] = lead
    answers = np.repeat(states.sum(axis=2) * weight, CHUNK * SIZE, axis=1).reshape(samples, 1, CHUNK, SIZE)
    file = io.BytesIO()
    np.savez(file, **{f"input/{name}": states, "output/actions": answers.astype(np.float32)})
    return file.getvalue()


@dataclass(frozen=True)
class Variant:
    """A manifest with its parts, as the server holds them."""

    manifest: wire.Manifest
    parts: dict[str, bytes]
    data: bytes = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", wire.encode(self.manifest))
        object.__setattr__(self, "digest", wire.digest_of(self.data))


def variant(
    weight: float = 1.0,
    *,
    model_bytes: bytes | None = None,
    golden_bytes: bytes | None = None,
    card_changes: dict[str, Any] | None = None,
    with_card: bool = True,
    part_bytes: int = 64 * 1024,
    poison: bool = False,
    fatal: bool = False,
    loops: int = 0,
    ballast: int = 0,
    **changes: Any,
) -> Variant:
    """A variant for embedded devices; `changes` are fields of its manifest."""
    if model_bytes is None:
        model_bytes = model(weight, poison=poison, fatal=fatal, loops=loops, ballast=ballast)
    files: list[tuple[wire.Role, bytes]] = [
        ("model", model_bytes[start : start + part_bytes]) for start in range(0, len(model_bytes), part_bytes)
    ]
    if with_card:
        files.append(("card", msgspec.json.encode(card(**(card_changes or {})))))
    files.append(("golden", golden(weight) if golden_bytes is None else golden_bytes))
    whole = b"".join(data for _, data in files)
    fields = {
        "model": "tiny",
        "version": "1",
        "variant": "test",
        "device_class": "embedded",
        "digest": wire.digest_of(whole),
        "size": len(whole),
        "parts": tuple(wire.Part(wire.digest_of(data), len(data), role) for role, data in files),
        "memory_bytes": 80 * 1024**2,
        "deadline_ms": 100.0,
        **changes,
    }
    return Variant(wire.Manifest(**fields), {wire.digest_of(data): data for _, data in files})
