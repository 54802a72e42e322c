"""The bodies on the wire, one struct for each kind of topic. Unknown fields are ignored; known ones have ranges."""

from typing import Annotated, Any, Literal

import msgspec

from agent.wire import latency
from agent.wire.hardware import Hardware
from agent.wire.manifest import Digest

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Reason = Annotated[str, msgspec.Meta(max_length=1000)]
#: Seconds since 1970-01-01 UTC by the sender's clock.
Epoch = Annotated[float, msgspec.Meta(ge=0, le=32_503_680_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Figure = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
#: What is counted between two samples, and added up for a fleet over an hour.
Tally = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
#: What is counted between two samples, and is looked at sample by sample.
Few = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Bin = Annotated[int, msgspec.Meta(ge=latency.FIRST, le=latency.LAST)]
Bins = Annotated[dict[Bin, Annotated[int, msgspec.Meta(ge=1, le=2**31)]], msgspec.Meta(max_length=latency.MOST)]
Secret = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{32,128}$")]


#: The runtime's name, and the stand-in's in a deployment's evidence, on a device that infers nothing.
LIGHT = "light: no inference"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A body; absent fields have their defaults."""


class EnrollRequest(Message, frozen=True):
    """A device introduces itself. It made `secret` and keeps it; the server stores only a hash."""

    token: Annotated[str, msgspec.Meta(max_length=256)]
    secret: Secret
    name: Name
    hardware: Hardware
    agent_version: Annotated[str, msgspec.Meta(max_length=64)]
    simulated: bool = False
    #: As in `site=berlin` (agent.wire.tags). They are the device's first ones; people may change them on the server.
    tags: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=128)], ...], msgspec.Meta(max_length=32)] = ()


class EnrollReply(Message, frozen=True):
    status: Literal["accepted", "pending", "rejected"]
    device_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    reason: Reason = ""
    #: With `accepted`: the root metadata (JSON) from which on the device trusts what chains to it.
    root: Annotated[str, msgspec.Meta(max_length=64 * 1024)] = ""


class Active(Message, frozen=True):
    """What the device runs, by its manifest's digest."""

    manifest: Digest
    deployment_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    since: Epoch = 0


class Budgets(Message, frozen=True):
    """What a decision may take in ms, by stage and in all."""

    preprocess: Figure = 50
    compute: Figure = 30
    total: Figure = 100


class Runtime(Message, frozen=True):
    """What runs the model: the library, what that uses, threads of a decision, and what a decision may take.

    p50 is of the golden observations, in ms; tried is how many ways of running this model were measured here.
    """

    name: Annotated[str, msgspec.Meta(max_length=64)]
    provider: Annotated[str, msgspec.Meta(max_length=64)] = "CPU"
    threads: Count = 1
    p50: Figure = 0
    tried: Count = 0
    budgets: Budgets = Budgets()


class Restraint(Message, frozen=True):
    """A step that the device has taken to stay within a budget, in force since `since`.

    used and limit are what led to it, in the budget's unit: bytes, percent of all cores, W or °C. level is what is
    left: threads of a decision, or the share (0 to 1) of the usual rate, or of the time for other programs' requests.
    source is that of a power.
    """

    step: Literal["drop_caches", "fewer_threads", "lower_rate", "smaller_variant", "refuse"]
    budget: Literal["memory", "cpu", "power", "temperature"]
    since: Epoch
    used: Figure
    limit: Figure
    level: Figure = 0
    source: Literal["", "measured", "estimated"] = ""


class State(Message, frozen=True):
    """Reported state; also the last will. `seq` rises within one boot, the will passing every state of its connection.

    With online false only boot_id, seq and at are told: the rest stays as it was reported last.
    """

    online: bool
    boot_id: Id
    seq: Count = 0
    at: Epoch = 0
    agent_version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    device_class: Annotated[str, msgspec.Meta(max_length=32)] = ""
    hardware: Hardware | None = None
    active: Active | None = None
    runtime: Runtime | None = None
    config_version: Count = 0
    mode: Literal["full", "slim", "hybrid"] = "full"
    #: True: nothing depends on the next decision, so this is a good moment to change something.
    idle: bool = True
    #: The oldest first.
    restraints: Annotated[tuple[Restraint, ...], msgspec.Meta(max_length=8)] = ()


class Stages(Message, frozen=True):
    """Mean milliseconds of a decision in each stage; L_total is their sum. network: asking the server (hybrid mode)."""

    queue: Figure = 0
    preprocess: Figure = 0
    compute: Figure = 0
    postprocess: Figure = 0
    network: Figure = 0


class Over(Message, frozen=True):
    """Budgets that were broken: decisions by stage and in all; 1 for bandwidth or power when the mean was over it."""

    preprocess: Few = 0
    compute: Few = 0
    total: Few = 0
    bandwidth: Few = 0
    power: Few = 0


class Sample(Message, frozen=True):
    """One look at a device. Bytes, percent of all cores, bytes/s (network), °C, W, J, ms.

    What this device cannot know is absent. Counters (decisions, errors, …) are those since the previous sample.
    remote_…: requests that went to the server in hybrid mode, those that it answered, and bytes of them that were sent.
    """

    seq: Count
    at: Epoch
    cpu_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    memory_used: Count | None = None
    memory_total: Count | None = None
    disk_used: Count | None = None
    disk_total: Count | None = None
    network_rx: Figure | None = None
    network_tx: Figure | None = None
    temperature: Annotated[float, msgspec.Meta(ge=-100, le=300)] | None = None
    power: Figure | None = None
    power_source: Literal["", "measured", "estimated"] = ""
    energy_per_action: Figure | None = None
    agent_memory: Count | None = None
    interval: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0
    decisions: Tally = 0
    latency_p50: Figure | None = None
    latency_p95: Figure | None = None
    #: How many decisions took how long, by the bins of agent.wire.latency.
    latency: Bins = {}
    stages: Stages | None = None
    over: Over | None = None
    #: Requests whose deadline passed while they waited: not computed, and no decisions.
    refused: Few = 0
    errors: Tally = 0
    not_finite: Tally = 0
    cache_lookups: Tally = 0
    cache_hits: Tally = 0
    episodes: Tally = 0
    successes: Tally = 0
    remote_asked: Tally = 0
    remote_answered: Tally = 0
    remote_bytes: Count = 0
    queued: Count = 0
    manifest: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""


class Telemetry(Message, frozen=True):
    boot_id: Id
    samples: Annotated[tuple[Sample, ...], msgspec.Meta(min_length=1, max_length=500)]
    #: Samples that the device had to drop since the boot, because its queue was full.
    dropped: Count = 0


class DeploymentReport(Message, frozen=True):
    """Where one deployment stands on the device. (deployment, boot, seq) orders reports."""

    deployment_id: Id
    boot_id: Id
    seq: Count
    at: Epoch
    state: Literal[
        "notified",
        "downloading",
        "verified",
        "installing",
        "self_testing",
        "watching",
        "active",
        "failed",
        "rejected",
        "rolled_back",
    ]
    step: Annotated[str, msgspec.Meta(max_length=200)] = ""
    progress: Share = 0
    reason: Reason = ""
    evidence: Annotated[dict[str, float | str], msgspec.Meta(max_length=32)] = {}


class WantPart(Message, frozen=True):
    """Missing blocks of one part: bit i (least significant first) of the hex string `missing` is block first + i."""

    digest: Digest
    first: Annotated[int, msgspec.Meta(ge=0, le=2**24)]
    missing: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,512}$")]


class Want(Message, frozen=True):
    """Blocks to send now (`parts`), and all that the device lacks of `manifest` (`lacks`, when it begins to fetch).

    A device that says what it lacks also takes the blocks that are cast for the manifest. With `links`, it can fetch
    the blocks from the server's web address, and prefers to.
    """

    parts: Annotated[tuple[WantPart, ...], msgspec.Meta(min_length=1, max_length=64)]
    manifest: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    lacks: Annotated[tuple[WantPart, ...], msgspec.Meta(max_length=512)] = ()
    links: bool = False


class Link(Message, frozen=True):
    """Where a part can be fetched by HTTP Range, by this device, for a while."""

    digest: Digest
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=2048)]


class Links(Message, frozen=True):
    """The answer to a want with `links`, in place of blocks. seconds is how long they can be used."""

    links: Annotated[tuple[Link, ...], msgspec.Meta(max_length=64)]
    seconds: Figure


class Config(Message, frozen=True):
    """Settings that an operator may change from afar. A field that is absent stays as the device has it."""

    telemetry_interval: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 5
    watch_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60
    mode: Literal["full", "slim", "hybrid"] = "full"
    device_class: Literal["", "embedded", "mobile", "edge_server"] = ""
    #: Bytes of blocks a second, at most; 0: no limit of its own.
    transfer_rate: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0
    #: Budgets; 0: none. The agent's own, its model included: bytes of memory, and percent of all cores.
    memory_budget: Annotated[int, msgspec.Meta(ge=0, le=2**44)] = 0
    cpu_budget: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0
    #: The whole device's, since that is what sensors see: W on average, and °C of its hottest zone.
    power_budget: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0
    temperature_budget: Annotated[float, msgspec.Meta(ge=0, le=150)] = 0
    #: What a decision may take, in ms, by stage and in all; 0: what the policy card says, else the agent's default.
    preprocess_budget: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0
    compute_budget: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0
    total_budget: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0
    #: What the device may send and receive, in Mbit/s; 0: the agent's default.
    bandwidth_budget: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0


class Desired(Message, frozen=True):
    """What the device should run. `version` rises with every change; an older one is ignored.

    at: the server's clock when it said so.
    """

    version: Count
    config_version: Count = 0
    config: Config = Config()
    deployment_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    manifest: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    at: Epoch = 0


class CommandOrder(Message, frozen=True):
    """One order. After `deadline` it must not be started any more."""

    id: Id
    kind: Annotated[str, msgspec.Meta(max_length=32)]
    deadline: Epoch
    args: dict[str, Any] = {}


class BenchmarkArgs(Message, frozen=True):
    """Measure each of these variants on the golden observations, interleaved, `runs` times each."""

    manifests: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=8)]
    runs: Annotated[int, msgspec.Meta(ge=5, le=2000)] = 100


class Benchmark(Message, frozen=True):
    """What one variant did on the device. Milliseconds and bytes; error is the largest against the golden outputs."""

    manifest: Digest
    ok: bool
    p50: Figure = 0
    p95: Figure = 0
    memory: Count = 0
    error: Figure = 0
    reason: Reason = ""


class BenchmarkResult(Message, frozen=True):
    benchmarks: Annotated[tuple[Benchmark, ...], msgspec.Meta(max_length=8)]
    runs: Count = 0


class CommandReport(Message, frozen=True):
    id: Id
    seq: Count
    at: Epoch
    state: Literal["accepted", "running", "succeeded", "rejected", "failed"]
    progress: Share = 0
    reason: Reason = ""
    result: dict[str, Any] = {}
