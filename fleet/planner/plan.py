"""Which mode fits a device, a model and the network between them. Pure.

M ≤ R is `agent.wire.fit`, by which devices accept and the server assigns: a model may take 75 % of the memory, an
update writes its bytes twice and leaves 32 MiB free. The objective α·L + β·B + γ·max(0, M − R) is
`fleet.optimizer.objective`, each term as a share of its limit. There β weighs a variant's bytes, because variants of
one device differ in them; here it weighs B, the bandwidth, because that is what modes differ in.
"""

from collections.abc import Iterator, Sequence
from math import inf, isinf

from agent.wire.fit import STORAGE_RESERVE, memory_budget, written
from fleet.optimizer.objective import Weights, objective
from fleet.planner.formulas import Latency, added, bandwidth, blended, longest, monthly, transmit_ms, use
from fleet.planner.modes import SENT, Check, Local, Mode, Placement, Plan, Use
from fleet.planner.situation import Situation

#: The least part of a model that can stay on a hybrid device: recipes compress by 0.9 at most.
LEAST_PART = 0.1


def plan(situation: Situation) -> Plan:
    modes = tuple(_judged(situation, mode) for mode in Mode)
    chosen = choose(modes)
    return Plan(situation, modes, chosen, chosen.fits)


def choose(modes: Sequence[Placement]) -> Placement:
    """The least objective of those that fit; else the first that may fit; else the least objective of all."""

    def costs(placement: Placement) -> float:
        return inf if placement.objective is None else placement.objective

    fitting = [placement for placement in modes if placement.fits]
    open_ = [placement for placement in modes if placement.fits is None]
    if fitting or not open_:
        return min(fitting or modes, key=costs)
    return open_[0]


def _judged(given: Situation, mode: Mode) -> Placement:
    local = _local(given, mode)
    share = SENT.get(mode, given.sent)
    here = Latency(local.compute_ms if local else None, other=given.other_ms)
    there = _remote(given)
    latency = blended(here, there, share)
    ways = [*([here.total] if share < 1 else []), *([there.total] if share > 0 else [])]
    rate = _bandwidth(given, share)
    checks = tuple(_checks(given, local, ways, rate, share))
    memory, asked = local.memory if local else 0.0, _asked(mode, local, share)
    return Placement(
        mode,
        latency,
        longest(*ways),
        rate,
        local,
        checks,
        tuple(_uses(given, local, rate)),
        _objective(given, latency.total, rate, memory),
        asked,
        tuple(name for name in asked if getattr(given, name) is None and any(check.fits is None for check in checks)),
        None if rate is None or isinf(rate) else monthly(rate, given.hours),
        _energy(given, share),
    )


def _local(given: Situation, mode: Mode) -> Local | None:
    """What runs on the device. A hybrid one keeps what fits: the model, its slim variant, or a part to be made."""
    full = whole_model(given)
    asks = ("slim_memory", "slim_ms")
    slim = Local(given.slim_memory, given.slim_size, 1.0, given.slim_tflops, given.slim_ms, asks)
    if mode is Mode.CLOUD:
        return None
    if mode is not Mode.HYBRID:
        return full if mode is Mode.FULL else slim
    for local in (full, slim):
        if local.memory is not None and all(check.fits is not False for check in room(given, local)):
            return local
    return _part(given, full)


def whole_model(given: Situation) -> Local:
    asks = ("need_memory", "compute_ms")
    return Local(given.need_memory, given.size, given.need_cores, given.need_tflops, given.compute_ms, asks)


def _part(given: Situation, full: Local) -> Local:
    """As much of the model as the device has room for: the least of R / M, and of cores, TFLOPS, storage likewise."""
    short = [check for check in room(given, full) if check.fits is False]
    part = min((max(check.have or 0.0, 0.0) / (check.need or inf) for check in short), default=1.0)

    def of(value: float | None) -> float | None:
        return None if value is None else part * value

    return Local(of(full.memory), of(full.size), of(full.cores), of(full.tflops), of(full.compute_ms), full.asks, part)


def room(given: Situation, local: Local) -> Iterator[Check]:
    """Whether it has room: memory always, the others where both sides are known."""
    budget = None if given.memory is None else float(memory_budget(int(given.memory)))
    yield Check("memory", local.memory, budget)
    if local.size is not None and given.storage is not None:
        # What an update writes, against what it may: the part of it that is not kept free.
        yield Check("storage", float(written(int(local.size))), given.storage - STORAGE_RESERVE)
    if local.cores is not None and given.cores is not None:
        yield Check("cores", local.cores, given.cores)
    if local.tflops is not None and given.tflops is not None:
        yield Check("tflops", local.tflops, given.tflops)


def _checks(
    given: Situation, local: Local | None, ways: Sequence[float | None], rate: float | None, share: float
) -> Iterator[Check]:
    if local is not None and local.part < 1:
        # It fits by construction, if a variant so small can be made at all.
        yield Check("part", LEAST_PART, local.part)
    elif local is not None:
        yield from room(given, local)
    # A way that is too long is so whatever the other one takes.
    late = [way for way in ways if way is not None and way > given.latency_limit]
    yield Check("latency", _exact(max(late, default=longest(*ways))), given.latency_limit)
    # Without observations to send a device needs no network: its telemetry waits until there is one.
    limits = [limit for limit in (given.bandwidth_limit, given.link if share else None) if limit is not None]
    if limits or share:
        yield Check("bandwidth", _exact(rate), min(limits, default=None))


def _exact(value: float | None) -> float | None:
    """Without the last digits of floating point, by which a sum can miss a limit that it reaches."""
    return None if value is None else round(value, 6)


def _remote(given: Situation) -> Latency:
    return Latency(
        given.server_ms,
        transmit_ms(added(given.observation, given.answer), given.link),
        inf if given.link == 0 else given.network_ms,
        given.server_other_ms,
    )


def _bandwidth(given: Situation, share: float) -> float | None:
    """B in bytes a second: `share` of the observations and the answers to them, and all of the telemetry."""
    if share == 0:
        return given.telemetry
    answers = bandwidth(given.answer, given.answer_s if given.answer_s is not None else given.observation_s)
    streams = added(bandwidth(given.observation, given.observation_s), answers)
    return added(None if streams is None else share * streams, given.telemetry)


def _uses(given: Situation, local: Local | None, rate: float | None) -> Iterator[Use]:
    pairs = [("bandwidth", rate, given.link)]
    if local is not None:
        writes = None if local.size is None else float(written(int(local.size)))
        pairs = [
            ("memory", local.memory, given.memory),
            ("storage", writes, given.storage),
            ("cores", local.cores, given.cores),
            ("tflops", local.tflops, given.tflops),
            *pairs,
        ]
    for name, used, total in pairs:
        if used is not None and total is not None:
            yield Use(name, used, total, use(used, total))


def bandwidth_scale(given: Situation) -> float:
    """What B is a share of: its limit, else what the link carries, else what all of it sent takes, as far as known."""
    for scale in (given.bandwidth_limit, given.link, _bandwidth(given, 1.0), given.telemetry):
        if scale and not isinf(scale):
            return scale
    return 1.0


def _objective(given: Situation, total: float | None, rate: float | None, memory: float | None) -> float | None:
    if total is None or rate is None or memory is None:
        return None
    if isinf(total) or isinf(rate):
        return inf
    budget = memory_budget(int(given.memory)) if given.memory else 0
    return objective(
        latency_ms=total,
        latency_limit_ms=given.latency_limit,
        size=round(rate),
        size_limit=max(1, round(bandwidth_scale(given))),
        memory=round(memory) if budget else 0,
        memory_limit=budget or 1,
        weights=Weights(given.alpha, given.beta, given.gamma),
    )


def _asked(mode: Mode, local: Local | None, share: float) -> tuple[str, ...]:
    """The fields that the mode's fit rests on, in the order of the situation."""
    asked: list[str] = []
    if local is not None:
        asked += ["memory", local.asks[0]]
        asked += [local.asks[1], "other_ms"] if share < 1 else []
    if share > 0:
        asked += ["server_ms", "server_other_ms", "link", "network_ms", "observation", "observation_s"]
    return (*asked, "sent") if mode is Mode.HYBRID else tuple(asked)


def _energy(given: Situation, share: float) -> float | None:
    """Joules a month of the decisions that the device takes itself."""
    if given.energy is None or not given.observation_s:
        return None
    return monthly(given.energy * (1 - share) / given.observation_s, given.hours)
