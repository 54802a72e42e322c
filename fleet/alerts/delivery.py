"""What lies in the outbox is sent until it is taken, at least once.

1. A channel is claimed by a conditional UPDATE: one worker at a time, in the order in which things were written.
2. Each attempt is counted, and put off by `LEASE`, before it is made: another worker takes over from one
   that is killed.
3. After a failure the channel rests, twice as long each time, with jitter; after `ATTEMPTS` a delivery is given up.
"""

import logging
import random
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from fleet.alerts.models import Channel, Delivery
from fleet.alerts.sending import TOTAL, NotSent, send
from fleet.audit.services import announce, record

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
FIRST, LONGEST = timedelta(seconds=10), timedelta(hours=1)
#: Five to nine hours in all.
ATTEMPTS = 18
#: Deliveries of a channel in one run; it keeps the run within the lease.
MOST = int(LEASE.total_seconds() / TOTAL) - 1


def backoff(attempts: int, chance: float) -> timedelta:
    """How long to wait after so many attempts; chance from 0 to 1 spreads it over half to all of the step. Pure."""
    step = min(LONGEST, FIRST * 2 ** min(attempts - 1, 20))
    return step * (0.5 + chance / 2)


def deliver() -> int:
    """Send what is due. How much was taken."""
    now = timezone.now()
    waiting = Delivery.objects.filter(state=Delivery.QUEUED, next_at__lte=now, channel__enabled=True).order_by()
    return sum(_through(pk) for pk in waiting.values_list("channel", flat=True).distinct())


def _through(channel_id: int) -> int:
    now = timezone.now()
    free = Q(busy_until=None) | Q(busy_until__lte=now) | Q(busy_until__gt=now + LEASE)
    if not Channel.objects.filter(free, pk=channel_id).update(busy_until=now + LEASE):
        return 0
    sent = 0
    try:
        channel = Channel.objects.filter(pk=channel_id).first()
        if channel is None:  # deleted just now
            return 0
        due = Delivery.objects.filter(channel=channel, state=Delivery.QUEUED, next_at__lte=now).order_by("pk")
        for delivery in due[:MOST]:
            if not _attempt(channel, delivery):
                break
            sent += 1
    finally:
        Channel.objects.filter(pk=channel_id).update(busy_until=None)
    announce("alerts")
    return sent


def _attempt(channel: Channel, delivery: Delivery) -> bool:
    """Whether the receiver took it."""
    delivery.attempts += 1
    Delivery.objects.filter(pk=delivery.pk).update(attempts=delivery.attempts, next_at=timezone.now() + LEASE)
    try:
        send(channel, delivery)
    except NotSent as problem:
        _failed(channel, delivery, str(problem)[:500])
        return False
    now = timezone.now()
    Delivery.objects.filter(pk=delivery.pk).update(state=Delivery.SENT, sent_at=now, error="")
    Channel.objects.filter(pk=channel.pk).update(sent_at=now, error="", error_at=None)
    return True


def _failed(channel: Channel, delivery: Delivery, reason: str) -> None:
    now = timezone.now()
    waits = now + backoff(delivery.attempts, random.random())  # noqa: S311  # jitter, no secret
    last = delivery.attempts >= ATTEMPTS or delivery.body["kind"] == "test"
    state = Delivery.FAILED if last else Delivery.QUEUED
    Delivery.objects.filter(pk=delivery.pk).update(state=state, next_at=waits, error=reason)
    # What is behind it would meet the same: the channel rests as a whole.
    Delivery.objects.filter(channel=channel, state=Delivery.QUEUED, next_at__lt=waits).update(next_at=waits)
    Channel.objects.filter(pk=channel.pk).update(error=reason, error_at=now)
    log.warning("%s could not be told (attempt %d): %s", channel.name, delivery.attempts, reason)
    if last and delivery.body["kind"] != "test":
        text = f"The channel {channel.name} was not told: {delivery.body['text']}"
        record("channel.failed", text, level="bad", detail=reason)
