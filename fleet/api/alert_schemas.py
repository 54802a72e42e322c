"""What the API takes and gives of alerts. Thresholds are in ms, °C, %, W, J, s or a number, by the rule's condition."""

from datetime import datetime
from typing import Literal

from ninja import Field, Schema
from pydantic import AwareDatetime

from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.models import Alert, Channel
from fleet.alerts.policy import Severity, flaps
from fleet.api.lists import Number

ConditionName = Literal[tuple(CONDITIONS)]
SeverityName = Literal[tuple(severity.value for severity in Severity)]


class RuleIn(Schema):
    name: str = Field(max_length=64)
    query: str = Field("", max_length=500, description="a search: which devices; empty for all in service")
    condition: ConditionName
    comparison: Literal[">", "<"] = ">"
    threshold: float | None = Field(None, description="none for a condition that is a state, as offline")
    clear: float | None = Field(None, description="what it recovers at; the threshold when absent")
    for_seconds: float = Field(0, description="how long it has to hold before an alert opens")
    clear_seconds: float = Field(0, description="how long it has to be well before the alert is over")
    severity: SeverityName = "warning"
    enabled: bool = True


class RuleChange(Schema):
    """What is absent stays."""

    name: str | None = Field(None, max_length=64)
    query: str | None = Field(None, max_length=500)
    condition: ConditionName | None = None
    comparison: Literal[">", "<"] | None = None
    threshold: float | None = None
    clear: float | None = None
    for_seconds: float | None = None
    clear_seconds: float | None = None
    severity: SeverityName | None = None
    enabled: bool | None = None


class RuleOut(RuleIn):
    id: int
    problem: str = Field(description="why its search cannot be read any more; empty while it can")


class RulePreviewOut(Schema):
    watched: int = Field(description="devices that the rule would watch now")
    met: int = Field(description="of these, those that meet its condition at this moment, whatever its tolerance")
    names: list[str] = Field(description="the first of them")

    @staticmethod
    def resolve_names(preview) -> list[str]:
        return [name for _, name in preview.names]


class AlertOut(Schema):
    id: int
    rule: int | None = Field(alias="rule_id")
    name: str
    condition: str
    severity: str
    stage: str = Field(description="open or recovered")
    device: str | None = Field(alias="device_id")
    device_name: str
    since: datetime
    opened_at: datetime | None
    recovered_at: datetime | None
    value: float | None
    said: str
    reason: str
    flapping: bool
    silenced: bool
    acknowledged_at: datetime | None
    acknowledged_by: str
    note: str

    @staticmethod
    def resolve_device_name(alert: Alert) -> str:
        return alert.device.name if alert.device else ""

    @staticmethod
    def resolve_said(alert: Alert) -> str:
        return CONDITIONS[alert.condition].sentence(alert.value)

    @staticmethod
    def resolve_flapping(alert: Alert) -> bool:
        return flaps(alert.opens)

    @staticmethod
    def resolve_acknowledged_by(alert: Alert) -> str:
        return alert.acknowledged_by.username if alert.acknowledged_by else ""


class AcknowledgeIn(Schema):
    alerts: list[Number] = Field([], max_length=5000, description="their numbers")
    rule: Number | None = Field(None, description="instead: all that is open of this rule")
    note: str = Field("", max_length=500)


class SilenceIn(Schema):
    rule: Number | None = Field(None, description="of which rule; of every one when absent")
    query: str = Field("", max_length=500, description="of which devices, as a search; of every one when empty")
    ends_at: AwareDatetime
    reason: str = Field(max_length=200)


class SilenceOut(Schema):
    id: int
    rule: int | None = Field(alias="rule_id")
    query: str
    reason: str
    created_at: datetime
    created_by: str
    ends_at: datetime

    @staticmethod
    def resolve_created_by(silence) -> str:
        return silence.created_by.username if silence.created_by else ""


class ChannelIn(Schema):
    name: str = Field(max_length=64)
    kind: Literal["email", "webhook"]
    target: str = Field(max_length=1000, description="addresses with commas between them, or a URL")
    severity: SeverityName = Field("warning", description="nothing below this is told")
    recoveries: bool = Field(True, description="whether it is told of ends as well")
    enabled: bool = True


class ChannelChange(Schema):
    """What is absent stays."""

    name: str | None = Field(None, max_length=64)
    target: str | None = Field(None, max_length=1000)
    severity: SeverityName | None = None
    recoveries: bool | None = None
    enabled: bool | None = None


class ChannelOut(ChannelIn):
    """The secret of a webhook is shown on its page and when it is made, and nowhere else."""

    id: int
    sent_at: datetime | None
    error: str = Field(description="why the last attempt failed; empty when it did not")
    error_at: datetime | None


class NewChannelOut(ChannelOut):
    secret: str = Field(description="what a webhook's bodies are signed with; empty of an e-mail channel")

    @staticmethod
    def resolve_secret(channel: Channel) -> str:
        return channel.secret if channel.kind == "webhook" else ""
