"""From a batch of MQTT messages to rows: parse everything, then one transaction. Each handler is idempotent."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.messages import CommandReport, DeploymentReport, EnrollRequest, State, Telemetry, Want
from agent.wire.states import Admission
from fleet.audit.services import announce
from fleet.devices import enrollment, reports
from fleet.devices.models import Device
from fleet.gateway import limits
from fleet.gateway.health import Health
from fleet.gateway.inbox import Inbound
from fleet.gateway.models import Rejected
from fleet.rollouts import reports as rollout_reports
from fleet.rows import among
from fleet.telemetry import ingest

log = logging.getLogger(__name__)

_BODIES = {
    "state": State,
    "telemetry": Telemetry,
    "deployment": DeploymentReport,
    "command": CommandReport,
    "want": Want,
    "request": EnrollRequest,
}
#: Rejected messages that one batch may leave behind; the rest is counted.
REJECTED_KEPT = 20

Parsed = tuple[topics.Topic, object, bool]


def make(
    ask_blocks: Callable[[str, Want, float], None], health: Health | None = None
) -> Callable[[list[Inbound]], None]:
    """The handler of the gateway's inbox; wants are answered after the commit, and touch no row."""
    health = health or Health()

    def handle(batch: list[Inbound]) -> None:
        parsed, rejected = parse(batch)
        try:
            with transaction.atomic():
                stored = _store(parsed)
                _keep_rejected(rejected + stored.rejected)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError):
            log.exception("a batch of %d messages was refused as a whole; storing them one by one", len(batch))
            stored = _one_by_one(parsed, rejected)
        for refused in rejected + stored.rejected:
            health.rejected[_kind(refused.topic)] += 1
        health.samples += stored.samples
        health.repeated += stored.repeated
        for topic, body, _ in parsed:
            if isinstance(body, Want) and topic.owner in stored.rates:
                ask_blocks(topic.owner, body, stored.rates[topic.owner])

    return handle


@dataclass(slots=True)
class Stored:
    """What became of a batch; rates are those of the blocks of the devices that may ask for some."""

    rates: dict[str, float] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    samples: int = 0
    repeated: int = 0


def parse(batch: list[Inbound]) -> tuple[list[Parsed], list[Rejected]]:
    """What is understood, and the rest with its reason. Empty bodies are cleared retained messages: nothing to say."""
    parsed: list[Parsed] = []
    rejected: list[Rejected] = []
    for message in batch:
        if not message.payload:
            continue
        try:
            topic = _topic(message.topic)
            if message.size > codec.MAX_BODY:
                raise codec.WireError(f"the body has {message.size} bytes, the limit is {codec.MAX_BODY}")
            body = codec.decode(message.payload, _BODIES[topic.kind])
        except (topics.TopicError, codec.WireError, KeyError) as problem:
            rejected.append(_rejected(message.topic, str(problem), message.payload))
        else:
            parsed.append((topic, body, message.retained))
    return parsed, rejected


@lru_cache(100_000)
def _topic(text: str) -> topics.Topic:
    """A fleet says few topics again and again."""
    return topics.parse(text)


def _kind(topic: str) -> str:
    """What a rejected message was about; every topic that is none counts as one."""
    kind = topic.removeprefix(topics.PREFIX + "/").split("/")[2:3]
    return kind[0] if kind and kind[0] in _BODIES else "other"


def _rejected(topic: str, reason: str, payload: bytes = b"") -> Rejected:
    topic, reason = (text.replace("\0", "\ufffd") for text in (topic, reason))
    return Rejected(topic=topic[:256], reason=reason[:512], excerpt=repr(payload[:120])[:512])


def _store(parsed: list[Parsed]) -> Stored:
    """Store a batch, in the caller's transaction."""
    now = timezone.now()
    made = Stored()
    by_kind: dict[str, list[Parsed]] = defaultdict(list)
    for each in parsed:
        by_kind[each[0].kind].append(each)
    for topic, body, _ in by_kind["request"]:
        enrollment.handle(topic.owner, body, now)
    talking = {topic.owner for topic, _, _ in parsed if topic.direction == "up" and topic.kind != "telemetry"}
    devices = {device.pk: device for device in _accepted(talking)} if talking else {}
    for kind, handler in (
        ("state", reports.states),
        ("deployment", rollout_reports.deployments),
        ("command", rollout_reports.commands),
    ):
        known = [(devices[t.owner], body, retained) for t, body, retained in by_kind[kind] if t.owner in devices]
        if known:
            for device, reason in handler(known, now):
                made.rejected.append(_rejected(topics.up(device.pk, kind if kind != "command" else "state"), reason))
    measured = _measured(by_kind["telemetry"], made, now)
    heard = {t.owner for t, _, retained in parsed if not retained and t.owner in devices}
    if heard:
        Device.objects.filter(among("pk", heard)).update(last_seen=now)
        announce("devices", *(f"device:{owner}" for owner in heard))
    announce(*(f"samples:{owner}" for owner in measured))
    made.rates = {device.pk: limits.rate_of(device) for device in devices.values()}
    return made


def _accepted(owners: Iterable[str]) -> QuerySet[Device]:
    return Device.objects.filter(among("pk", owners), admission=Admission.ACCEPTED, retired_at=None).order_by()


def _measured(messages: list[Parsed], made: Stored, now: datetime) -> set[str]:
    """Store the telemetry of a batch, of those that may speak: who they are."""
    owners = (
        set(_accepted({topic.owner for topic, _, _ in messages}).values_list("pk", flat=True)) if messages else set()
    )
    bodies = []
    for topic, body, retained in messages:
        if topic.owner not in owners:
            continue
        if retained:
            made.rejected.append(
                _rejected(str(topic), "samples that the broker keeps would say that the device is there")
            )
        else:
            bodies.append((topic.owner, body))
    if not bodies:
        return set()
    outcome = ingest.telemetry(bodies, now)
    made.rejected += [_rejected(topics.up(owner, "telemetry"), reason) for owner, reason in outcome.refused]
    made.samples, made.repeated = outcome.samples, outcome.repeated
    heard = {owner for owner, _ in bodies}
    if outcome.repeated or outcome.refused:  # what is new says so itself (fleet.telemetry.summing)
        Device.objects.filter(among("pk", heard)).update(last_seen=now)
    return heard


def _one_by_one(parsed: list[Parsed], rejected: list[Rejected]) -> Stored:
    """What can be stored of a batch that cannot be stored as a whole."""
    made = Stored()
    for each in parsed:
        try:
            with transaction.atomic():
                one = _store([each])
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError) as problem:
            made.rejected.append(_rejected(str(each[0]), f"could not be stored: {problem}"))
        else:
            made.rates |= one.rates
            made.rejected += one.rejected
            made.samples += one.samples
            made.repeated += one.repeated
    with transaction.atomic():
        _keep_rejected(rejected + made.rejected)
    return made


def _keep_rejected(rejected: list[Rejected]) -> None:
    """The same reason on the same topic is one row with its count; so many reasons of a batch, and no more."""
    rows: dict[tuple[str, str], Rejected] = {}
    for each in rejected:
        known = rows.setdefault((each.topic, each.reason), each)
        if known is not each:
            known.count += 1
    if len(rows) > REJECTED_KEPT:
        log.warning("%d messages of one batch were rejected, as in: %s", len(rejected), rejected[0].reason)
    Rejected.objects.bulk_create(list(rows.values())[:REJECTED_KEPT])
