"""What planning is asked about: a device, a model, a server, the network between them, and limits. Plain data."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Bytes, milliseconds, seconds, bytes a second, shares from 0 to 1; cores may be a fraction. None: not known.

    The device: `cores`, all its `memory`, `storage` that is free, `tflops` (10^12 operations a second).
    The model on the device: need_* is what it takes there, need_memory (M) without the runtime; `size` what is
    transferred; compute_ms a decision on all threads, other_ms waiting and what is done before and after the model.
    The slim variant: the same model made smaller, on one thread.
    The server: server_ms computes a decision there, server_other_ms is all else that it takes there.
    The network: `link` is what it carries (0: there is none), network_ms a message's way to the server and back. An
    `observation` goes up every observation_s, an `answer` comes down every answer_s, `telemetry` goes up all the time.
    sent: the share of decisions that a hybrid device leaves to the server.
    alpha, beta, gamma: weights of the objective. hours: of use a day. energy: joules of a decision on the device.
    price: of 10^9 bytes, in whatever currency.
    """

    cores: float | None = None
    memory: float | None = None
    storage: float | None = None
    tflops: float | None = None

    need_cores: float | None = None
    need_memory: float | None = None
    need_tflops: float | None = None
    size: float | None = None
    compute_ms: float | None = None
    other_ms: float | None = 0.0

    slim_memory: float | None = None
    slim_tflops: float | None = None
    slim_size: float | None = None
    slim_ms: float | None = None

    server_ms: float | None = None
    server_other_ms: float | None = 0.0

    link: float | None = None
    network_ms: float | None = None
    observation: float | None = None
    observation_s: float | None = None
    answer: float | None = 0.0
    answer_s: float | None = None
    telemetry: float | None = 0.0
    sent: float = 0.2

    latency_limit: float = 100.0
    bandwidth_limit: float | None = None
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 10.0

    energy: float | None = None
    hours: float = 24.0
    price: float | None = None


NAMES = tuple(field.name for field in fields(Situation))
