"""What admins do with channels: who is told. Each call is one transaction with its event."""

from django.db import IntegrityError, transaction
from django.utils import timezone

from fleet import text
from fleet.alerts import notifying, sending
from fleet.alerts.models import Channel, Delivery, new_secret
from fleet.alerts.policy import Severity
from fleet.audit.services import announce, record
from fleet.errors import Refused

MOST = 20
#: What a person says of a channel.
FIELDS = ("name", "kind", "target", "severity", "recoveries", "enabled")


def checked(channel: Channel) -> Channel:
    """Raises Refused."""
    channel.name = text.line(channel.name, "A channel's name", 64, "Give the channel a name.")
    given = text.line(channel.target, "The address", 1000, "Say where it goes to.")
    if channel.kind == "email":
        channel.target = ", ".join(sending.addresses(given))
    elif channel.kind == "webhook":
        channel.target = sending.url(given)
    else:
        raise Refused(f"A channel is email or webhook; not “{channel.kind[:32]}”.")
    if channel.severity not in list(Severity):
        raise Refused(f"A channel is told from {', '.join(Severity)} on; not “{channel.severity[:32]}”.")
    return channel


@transaction.atomic
def create(by, **given: object) -> Channel:
    """Of FIELDS; what a webhook is signed with is made here."""
    channel = checked(Channel(created_by=by, **given))
    if Channel.objects.count() >= MOST:
        raise Refused(f"There are at most {MOST} channels; delete one first.")
    _save(channel)
    record("channel.created", f"Alerts are told to {channel.name}", detail=channel.target, actor=by)
    announce("alerts")
    return channel


@transaction.atomic
def update(channel: Channel, by, **given: object) -> None:
    channel = Channel.objects.select_for_update().get(pk=channel.pk)
    before = channel.target
    for name, value in given.items():
        setattr(channel, name, value)
    _save(checked(channel))
    said = f"Its address was {before}, and is {channel.target}" if channel.target != before else ""
    record("channel.updated", f"The channel {channel.name} was changed", detail=said, actor=by)
    announce("alerts")


@transaction.atomic
def delete(channel: Channel, by) -> None:
    """What it was not told yet goes with it."""
    name = channel.name
    channel.delete()
    record("channel.deleted", f"Alerts are no longer told to {name}", level="warn", actor=by)
    announce("alerts")


@transaction.atomic
def renew_secret(channel: Channel, by) -> str:
    """Another secret; what is signed from now on is signed with it."""
    secret = new_secret()
    Channel.objects.filter(pk=channel.pk).update(secret=secret)
    record("channel.secret", f"The channel {channel.name} has another secret", level="warn", actor=by)
    announce("alerts")
    return secret


@transaction.atomic
def test(channel: Channel, by) -> Delivery:
    """Send something that says that it is a test, as everything is sent; once."""
    body = notifying.test_body(channel, by.username, timezone.now())
    delivery = Delivery.objects.create(channel=channel, notification=body["id"], body=body)
    if not channel.enabled:
        raise Refused(f"{channel.name} is turned off; turn it on first.")
    record("channel.tested", f"A test was sent to {channel.name}", actor=by)
    announce("alerts")
    return delivery


def _save(channel: Channel) -> None:
    try:
        with transaction.atomic():
            channel.save(update_fields=FIELDS if channel.pk else None)
    except IntegrityError as problem:
        raise Refused(f"There is already a channel called {channel.name}.") from problem
