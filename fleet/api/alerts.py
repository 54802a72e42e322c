"""Alerts, the rules behind them, silences, and who is told."""

from typing import Annotated, Literal

from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Field, Router, Status
from ninja.pagination import paginate

from fleet.accounts.roles import Role
from fleet.alerts import channels, services, silencing
from fleet.alerts.models import Alert, Channel, Rule, Silence
from fleet.alerts.policy import Stage
from fleet.api.alert_schemas import (
    AcknowledgeIn,
    AlertOut,
    ChannelChange,
    ChannelIn,
    ChannelOut,
    NewChannelOut,
    RuleChange,
    RuleIn,
    RuleOut,
    RulePreviewOut,
    SilenceIn,
    SilenceOut,
)
from fleet.api.auth import allow
from fleet.api.lists import Number, Paged
from fleet.api.schemas import Changed, Problem, SearchProblem

router = Router(tags=["alerts"])
WRONG = {409: Problem}
UNREADABLE = {422: SearchProblem}


@router.get("/alerts", response=list[AlertOut])
@paginate(Paged)
def alerts(
    request,
    stage: Literal["open", "recovered"] = "open",
    rule: Number | None = None,
    device: Annotated[str, Field(max_length=64)] = "",
):
    """The newest first."""
    rows = Alert.objects.filter(stage=Stage(stage)).select_related("device", "acknowledged_by")
    if rule is not None:
        rows = rows.filter(rule=rule)
    return rows.filter(device=device) if device else rows


@router.post("/alerts/acknowledge", response={200: Changed, **WRONG}, auth=allow(Role.OPERATOR))
def acknowledge(request, body: AcknowledgeIn):
    """Say that somebody looks after them; what is acknowledged already stays whose it is."""
    if body.rule is not None:
        rule = get_object_or_404(Rule, pk=body.rule)
        return {"changed": services.acknowledge_rule(rule, body.note, request.user)}
    return {"changed": services.acknowledge(body.alerts, body.note, request.user)}


# --- Rules ----------------------------------------------------------------------------------------------------------


@router.get("/alert-rules", response=list[RuleOut])
def rules(request):
    return Rule.objects.all()


@router.post("/alert-rules", response={201: RuleOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def create_rule(request, body: RuleIn):
    return Status(201, services.create_rule(request.user, **body.dict()))


@router.post("/alert-rules/preview", response={200: RulePreviewOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def preview(request, body: RuleIn):
    """Whom a rule would watch, and who meets its condition now; nothing is stored."""
    return services.preview(Rule(**body.dict()), timezone.now())


@router.patch("/alert-rules/{rule_id}", response={200: RuleOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def change_rule(request, rule_id: Number, change: RuleChange):
    rule = get_object_or_404(Rule, pk=rule_id)
    given = change.dict(exclude_unset=True).items()
    services.update_rule(
        rule,
        request.user,
        **{name: value for name, value in given if value is not None or name in ("threshold", "clear")},
    )
    return Rule.objects.get(pk=rule_id)


@router.delete("/alert-rules/{rule_id}", response={204: None}, auth=allow(Role.OPERATOR))
def delete_rule(request, rule_id: Number):
    """Its open alerts are over; what it found stays to be read."""
    services.delete_rule(get_object_or_404(Rule, pk=rule_id), request.user)
    return Status(204, None)


# --- Silences -------------------------------------------------------------------------------------------------------


@router.get("/silences", response=list[SilenceOut])
def silences(request):
    """Those that have not ended."""
    return silencing.active(timezone.now()).select_related("created_by")


@router.post("/silences", response={201: SilenceOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def create_silence(request, body: SilenceIn):
    rule = get_object_or_404(Rule, pk=body.rule) if body.rule is not None else None
    return Status(201, services.create_silence(rule, body.query, body.ends_at, body.reason, request.user))


@router.delete("/silences/{silence_id}", response={204: None, **WRONG}, auth=allow(Role.OPERATOR))
def end_silence(request, silence_id: Number):
    """Now, instead of at its end."""
    services.end_silence(get_object_or_404(Silence.objects.select_related("rule"), pk=silence_id), request.user)
    return Status(204, None)


# --- Channels -------------------------------------------------------------------------------------------------------


@router.get("/alert-channels", response=list[ChannelOut], auth=allow(Role.ADMIN))
def all_channels(request):
    return Channel.objects.all()


@router.post("/alert-channels", response={201: NewChannelOut, **WRONG}, auth=allow(Role.ADMIN))
def create_channel(request, body: ChannelIn):
    return Status(201, channels.create(request.user, **body.dict()))


@router.patch("/alert-channels/{channel_id}", response={200: ChannelOut, **WRONG}, auth=allow(Role.ADMIN))
def change_channel(request, channel_id: Number, change: ChannelChange):
    channel = get_object_or_404(Channel, pk=channel_id)
    channels.update(channel, request.user, **change.dict(exclude_none=True))
    return Channel.objects.get(pk=channel_id)


@router.post("/alert-channels/{channel_id}/test", response={202: None, **WRONG}, auth=allow(Role.ADMIN))
def test_channel(request, channel_id: Number):
    """Send something that says that it is a test; the channel says what became of it."""
    channels.test(get_object_or_404(Channel, pk=channel_id), request.user)
    return Status(202, None)


@router.delete("/alert-channels/{channel_id}", response={204: None}, auth=allow(Role.ADMIN))
def delete_channel(request, channel_id: Number):
    channels.delete(get_object_or_404(Channel, pk=channel_id), request.user)
    return Status(204, None)
