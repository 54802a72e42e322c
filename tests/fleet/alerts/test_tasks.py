"""The periodic looks."""

from datetime import timedelta

from django.utils import timezone

from fleet.alerts import services, tasks
from fleet.alerts.models import Alert, Look
from fleet.rollouts.models import Command
from tests.conftest import make_device
from tests.fleet.alerts.rows import NOW, rule, there


def test_a_tick_looks_at_every_rule_and_says_when(operator):
    now = timezone.now()
    device = make_device(online=True, last_seen=now, sample_at=now, temperature=90)
    rule()
    off = rule(name="off", enabled=False)
    slow = rule("commands", threshold=0)
    Command.objects.create(device=device, kind="ping", state="failed", deadline=now)
    tasks.tick()
    assert list(Alert.objects.values_list("name", flat=True)) == ["temperature"]
    assert Look.objects.get().at >= now
    tasks.count()
    assert Alert.objects.filter(rule=slow).exists()
    services.enable_rule(off, True, operator)
    Look.objects.all().delete()
    tasks.tick()
    assert Alert.objects.filter(rule=off).exists()


def test_looks_that_take_long_are_further_apart():
    assert not tasks.rests(NOW - timedelta(seconds=5), 0.06, NOW)
    assert tasks.rests(NOW - timedelta(seconds=5), 1.0, NOW)
    assert not tasks.rests(NOW - timedelta(seconds=10), 1.0, NOW)
    assert not tasks.rests(NOW + timedelta(hours=1), 1.0, NOW), "the clock was put back"
    there(temperature=90)
    rule()
    Look.objects.create(pk=1, at=timezone.now() - timedelta(seconds=2), seconds=1.0)
    tasks.tick()
    assert not Alert.objects.exists()


def test_a_rule_that_fails_does_not_blind_the_others(caplog):
    now = timezone.now()
    make_device(online=True, last_seen=now, sample_at=now, temperature=90)
    rule(name="a broken one", query='"' * 300 + "x")
    rule()
    tasks.tick()
    assert list(Alert.objects.values_list("name", flat=True)) == ["temperature"]


def test_old_alerts_go():
    hot = rule()
    old = timezone.now() - timedelta(days=400)
    for stage, at in (("recovered", old), ("recovered", timezone.now()), ("open", None)):
        Alert.objects.create(
            rule=hot, name="x", condition="temperature", severity="info", stage=stage, since=old, recovered_at=at
        )
    tasks.retention()
    assert sorted(Alert.objects.values_list("stage", flat=True)) == ["open", "recovered"]
