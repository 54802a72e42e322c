"""`/metrics`: the fleet and the server's own health, as Prometheus reads it. For an API token, or who is signed in.

Ten queries, whatever the fleet's size: every figure is a sum over classes, or a row that is kept for it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from agent.wire.states import DEPLOYMENT_OPEN, Admission
from fleet.accounts.roles import Role, role_of
from fleet.accounts.services import user_of_token
from fleet.alerts.models import WAITING, Alert
from fleet.alerts.policy import Severity
from fleet.devices.liveness import Liveness, query
from fleet.devices.models import Device
from fleet.gateway.lease import NAME
from fleet.gateway.models import Lease, Outbox
from fleet.jobs.models import Job
from fleet.rollouts.models import Deployment
from fleet.telemetry.summary import STAGES, summaries

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Figures of decisions are those of so many whole minutes; the present one is still being written.
MINUTES = 5
SHARES = (0.5, 0.95, 0.99)
Labels = tuple[tuple[str, str], ...]
#: name, words, values by their labels; all gauges, but those that end in _total.
Metric = tuple[str, str, Mapping[Labels, float | None]]


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    refused = _refusal(request)
    if refused:
        return refused
    now = timezone.now()
    lines = []
    for name, words, values in (*_devices(now), *_decisions(now), *_work(now), *_gateway(now)):
        lines.append(f"# HELP edgefleet_{name} {words}")
        lines.append(f"# TYPE edgefleet_{name} {'counter' if name.endswith('_total') else 'gauge'}")
        lines += [f"edgefleet_{name}{_text(key)} {value:.10g}" for key, value in values.items() if value is not None]
    return HttpResponse("\n".join(lines) + "\n", content_type=CONTENT_TYPE)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    user = user_of_token(secret.strip()) if kind.lower() == "bearer" else request.user
    if user is None or not user.is_authenticated:
        words = "Send `Authorization: Bearer <API token>`; tokens are made on the account page.\n"
        return HttpResponse(words, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    if role_of(user) is None or role_of(user) < Role.VIEWER:
        return HttpResponse(f"This needs the role {Role.VIEWER.label}.\n", status=403, content_type="text/plain")
    return None


def _text(labels: Labels) -> str:
    escaped = (
        (name, str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}" if labels else ""


def _devices(now: datetime) -> Iterator[Metric]:
    """What devices reported last; one query."""
    online = query(Liveness.ONLINE, now)
    rows = list(
        Device.objects.filter(retired_at=None, admission=Admission.ACCEPTED)
        .order_by()
        .values("device_class")
        .annotate(
            **{f"n_{word.value}": Count("pk", filter=query(word, now)) for word in Liveness},
            late=Count("pk", filter=online & Q(latency_p95__gt=settings.DECISION_PROMISE_MS)),
            watts=Sum("power", filter=online & Q(power_source="measured")),
            estimated=Sum("power", filter=online & Q(power_source="estimated")),
        )
    )
    of = [(("device_class", row["device_class"]), row) for row in rows]
    states = {(label, ("state", word.value)): row[f"n_{word.value}"] for label, row in of for word in Liveness}
    yield "devices", "Devices in service, by class and liveness.", states
    late = {(label,): row["late"] for label, row in of}
    yield "devices_late", "Online devices whose latest p95 is above the promise.", late
    power = {
        (label, ("source", source)): row[column]
        for label, row in of
        for source, column in (("measured", "watts"), ("estimated", "estimated"))
    }
    yield "power_watts", "Power of the online devices together, by where it comes from.", power


def _decisions(now: datetime) -> Iterator[Metric]:
    """What the fleet decided in the last whole minutes; one query."""
    end = now.replace(second=0, microsecond=0)
    found = summaries(end - timedelta(minutes=MINUTES), end, "device_class")
    of = [((("device_class", key[0]),), summary) for key, summary in found.items()]
    when = f"in the last {MINUTES} whole minutes"
    quantiles = {
        (*label, ("quantile", str(share))): _seconds(summary.latency(share))
        for label, summary in of
        for share in SHARES
    }
    yield "decision_seconds", f"Latency of all decisions {when}, within 2 %.", quantiles
    stages = {(*label, ("stage", name)): _seconds(summary.stage(name)) for label, summary in of for name in STAGES}
    yield "decision_stage_seconds", f"Mean time of a decision in each stage {when}.", stages
    for name, words in (
        ("decisions", "Decisions"),
        ("errors", "Decisions that failed"),
        ("not_finite", "Answers with NaN or infinity, which were refused,"),
        ("samples", "Samples that came"),
    ):
        rates = {label: summary.sums[name] / (60 * MINUTES) for label, summary in of}
        yield f"{name}_per_second", f"{words} {when}, a second.", rates
    yield "decision_joules", f"Mean energy of a decision {when}.", {label: summary.energy for label, summary in of}
    yield "success_ratio", f"Episodes that succeeded {when}.", {label: summary.success for label, summary in of}
    yield "cache_hit_ratio", f"Look-ups that the data cache knew {when}.", {label: s.cache for label, s in of}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _work(now: datetime) -> Iterator[Metric]:
    """What waits: deployments, jobs, messages to devices, alerts; four queries."""
    rows = Deployment.objects.filter(state__in=sorted(DEPLOYMENT_OPEN)).order_by().values_list("state")
    open_now = {(("state", state),): count for state, count in rows.annotate(Count("pk"))}
    yield "deployments_open", "Deployments that have not ended, by state.", open_now
    jobs = list(
        Job.objects.filter(state__in=Job.OPEN).order_by().values("state").annotate(n=Count("pk"), at=Min("created_at"))
    )
    yield (
        "jobs_open",
        "Optimizations that have not ended, by state.",
        {(("state", row["state"]),): row["n"] for row in jobs},
    )
    oldest = next((row["at"] for row in jobs if row["state"] == "queued"), None)
    yield "job_queue_lag_seconds", "How long the oldest job waits for a worker.", {(): _age(oldest, now)}
    waiting = Outbox.objects.aggregate(n=Count("pk"), at=Min("created_at"))
    yield "outbox_messages", "Messages to devices that the broker has not taken yet.", {(): waiting["n"]}
    yield "outbox_lag_seconds", "How long the oldest of them waits.", {(): _age(waiting["at"], now)}
    alerts = dict(Alert.objects.filter(WAITING).order_by().values_list("severity").annotate(Count("pk")))
    open_alerts = {(("severity", severity.value),): alerts.get(severity.value, 0) for severity in Severity}
    yield "alerts_open", "Alerts that nobody looks after, but for those that are silenced.", open_alerts


def _age(then: datetime | None, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds()) if then else 0.0


def _gateway(now: datetime) -> Iterator[Metric]:
    """How the leading gateway is doing, as it told last; one query."""
    row = Lease.objects.filter(name=NAME).first()
    up = row is not None and bool(row.holder) and row.until > now
    yield "gateway_up", "Whether a gateway leads now.", {(): float(up)}
    figures = row.figures if row and up else {}
    for key, name, words in (
        ("messages", "gateway_messages_total", "Messages from devices since it took the lead."),
        ("batches", "gateway_batches_total", "Batches that they were stored in."),
        ("storing_seconds", "gateway_storing_seconds_total", "Time that storing them took."),
        ("samples", "gateway_samples_total", "Samples that were new."),
        ("summed", "gateway_samples_summed_total", "Samples that are in roll-ups since it took the lead."),
        ("repeated", "gateway_samples_repeated_total", "Samples that had been stored already."),
        ("batch", "gateway_batch_messages", "Messages of the last batch."),
        ("batch_seconds", "gateway_batch_seconds", "How long the last batch took to store."),
        ("held", "gateway_held_messages", "Messages that were received and wait to be stored."),
        ("lag", "gateway_lag_seconds", "From the socket to the commit, for the oldest message of the last batch."),
    ):
        if key in figures:
            yield name, words, {(): figures[key]}
    rejected = {(("kind", kind),): count for kind, count in figures.get("rejected", {}).items()}
    yield "gateway_rejected_total", "Messages and samples that were not taken, by what they were about.", rejected
