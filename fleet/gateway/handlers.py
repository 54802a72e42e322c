"""From a batch of MQTT messages to rows: parse everything, then one transaction. Each handler is idempotent."""

import logging
from collections import defaultdict
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.messages import CommandReport, DeploymentReport, EnrollRequest, State, Telemetry, Want
from agent.wire.states import Admission
from fleet.audit.services import announce
from fleet.devices import enrollment, reports
from fleet.devices.models import Device
from fleet.gateway import limits
from fleet.gateway.inbox import Inbound
from fleet.gateway.models import Rejected
from fleet.rollouts import reports as rollout_reports
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


def make(ask_blocks: Callable[[str, Want, float], None]) -> Callable[[list[Inbound]], None]:
    """The handler of the gateway's inbox; wants are answered after the commit, and touch no row."""

    def handle(batch: list[Inbound]) -> None:
        parsed, rejected = parse(batch)
        try:
            with transaction.atomic():
                accepted = _store(parsed, rejected)
                _keep_rejected(rejected)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError):
            log.exception("a batch of %d messages was refused as a whole; storing them one by one", len(batch))
            accepted = _one_by_one(parsed, rejected)
        for topic, body, _ in parsed:
            if isinstance(body, Want) and topic.owner in accepted:
                ask_blocks(topic.owner, body, accepted[topic.owner])

    return handle


def parse(batch: list[Inbound]) -> tuple[list[Parsed], list[Rejected]]:
    """What is understood, and the rest with its reason. Empty bodies are cleared retained messages: nothing to say."""
    parsed: list[Parsed] = []
    rejected: list[Rejected] = []
    for message in batch:
        if not message.payload:
            continue
        try:
            topic = topics.parse(message.topic)
            body = codec.decode(message.payload, _BODIES[topic.kind])
        except (topics.TopicError, codec.WireError, KeyError) as problem:
            rejected.append(_rejected(message.topic, str(problem), message.payload))
        else:
            parsed.append((topic, body, message.retained))
    return parsed, rejected


def _rejected(topic: str, reason: str, payload: bytes = b"") -> Rejected:
    return Rejected(topic=topic[:256], reason=reason[:512], excerpt=repr(payload[:120])[:512])


def _store(parsed: list[Parsed], rejected: list[Rejected]) -> dict[str, float]:
    """Store a batch; returns the devices that may speak, by id, each with the rate of its blocks."""
    now = timezone.now()
    by_kind: dict[str, list[Parsed]] = defaultdict(list)
    for each in parsed:
        by_kind[each[0].kind].append(each)
    for topic, body, _ in by_kind["request"]:
        enrollment.handle(topic.owner, body, now)
    owners = {topic.owner for topic, _, _ in parsed if topic.direction == "up"}
    devices = {
        device.pk: device
        for device in Device.objects.filter(pk__in=owners, admission=Admission.ACCEPTED, retired_at=None)
    }
    for kind, handler in (
        ("state", reports.states),
        ("telemetry", ingest.telemetry),
        ("deployment", rollout_reports.deployments),
        ("command", rollout_reports.commands),
    ):
        known = [(devices[t.owner], body, retained) for t, body, retained in by_kind[kind] if t.owner in devices]
        if known:
            for device, reason in handler(known, now):
                rejected.append(_rejected(topics.up(device.pk, kind if kind != "command" else "state"), reason))
    heard = [t.owner for t, _, retained in parsed if t.owner in devices and not retained]
    if heard:
        Device.objects.filter(pk__in=set(heard)).update(last_seen=now)
        announce("devices", *(f"device:{owner}" for owner in sorted(set(heard))))
    return {device.pk: limits.rate_of(device) for device in devices.values()}


def _one_by_one(parsed: list[Parsed], rejected: list[Rejected]) -> dict[str, float]:
    accepted: dict[str, float] = {}
    for each in parsed:
        try:
            with transaction.atomic():
                accepted |= _store([each], rejected)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError) as problem:
            rejected.append(_rejected(str(each[0]), f"could not be stored: {problem}"))
    with transaction.atomic():
        _keep_rejected(rejected)
    return accepted


def _keep_rejected(rejected: list[Rejected]) -> None:
    if len(rejected) > REJECTED_KEPT:
        log.warning("%d messages of one batch were rejected, as in: %s", len(rejected), rejected[0].reason)
    Rejected.objects.bulk_create(rejected[:REJECTED_KEPT])
