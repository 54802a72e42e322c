"""Every condition tells the bad from the well, in as many queries for a thousand devices as for none."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert
from fleet.devices.models import Device
from fleet.gateway.models import Lease, Outbox, Rejected
from fleet.rollouts.models import Command, Deployment, Rollout
from fleet.telemetry.models import DeviceMinute, Sample
from tests.conftest import make_device
from tests.fleet.alerts.rows import NOW, make_many, rule, stages, there
from tests.fleet.builders import make_release
from tests.fleet.telemetry import rows as stored


def _minute(device: Device, **given) -> None:
    stored.add([Sample(device=device, at=NOW, received_at=NOW, boot_id="b", seq=1, decisions=10, interval=5, **given)])


def _deployed(device: Device, state: str) -> None:
    release = make_release()
    rollout = Rollout.objects.create(release=release)
    Deployment.objects.create(rollout=rollout, device=device, state=state, variant=release.variants.first())


def _commanded(device: Device) -> None:
    for state in ("failed", "expired", "rejected", "succeeded"):
        Command.objects.create(device=device, kind="ping", state=state, deadline=NOW, changed_at=NOW)


HARDWARE = {"storage_bytes": 1000, "cores": 4}
#: condition → (what the rule is given, a device that is well, what makes it bad)
CASES = {
    "offline": ({}, {}, {"online": False}),
    "silent": ({}, {}, {"sample_at": NOW - timedelta(minutes=5)}),
    "failing": ({}, {}, lambda device: _deployed(device, "timed_out")),
    "rolled_back": ({}, {}, lambda device: _deployed(device, "rolled_back")),
    "restrained": ({}, {}, {"restraints": [{"step": "refuse"}]}),
    "latency": ({"threshold": 100}, {"latency_p95": 100}, {"latency_p95": 101}),
    "temperature": ({"threshold": 80}, {"temperature": 80}, {"temperature": 81}),
    "memory": ({"threshold": 90}, {"memory_used": 90, "memory_total": 100}, {"memory_used": 91}),
    "storage": ({"threshold": 90}, {"storage_free": 100, "hardware": HARDWARE}, {"storage_free": 99}),
    "cpu": ({"threshold": 95}, {"cpu_percent": 50}, {"cpu_percent": 99}),
    "power": ({"threshold": 5}, {"power": 4.9}, {"power": 5.1}),
    "energy": ({"threshold": 0.5}, {"energy_per_action": 0.4}, {"energy_per_action": 0.6}),
    "success": ({"comparison": "<", "threshold": 95}, {"successes": 19, "episodes": 20}, {"successes": 18}),
    "clock": ({"threshold": 60}, {}, {"sample_at": NOW + timedelta(seconds=70)}),
    "errors": ({"threshold": 2}, {}, lambda device: _minute(device, errors=3)),
    "not_finite": ({"threshold": 0}, {}, lambda device: _minute(device, not_finite=1)),
    "queued": ({"threshold": 100}, {}, lambda device: _minute(device, queued=101)),
    "commands": ({"threshold": 2}, {}, _commanded),
}


def test_every_condition_of_a_device_has_a_case():
    assert set(CASES) == {each.key for each in CONDITIONS.values() if each.subject == "device"}


@pytest.mark.parametrize("condition", CASES)
def test_a_condition_tells_the_bad_from_the_well(condition):
    given, well, bad = CASES[condition]
    watched = rule(condition, **given)
    other, device = there(**well), there(**well)
    never = make_device()  # has not connected, and never said anything
    look(watched, NOW)
    assert stages() == {}
    if callable(bad):
        bad(device)
    else:
        Device.objects.filter(pk=device.pk).update(**bad)
    look(watched, NOW)
    assert stages() == {device.pk: "open"}, (other.pk, never.pk)
    DeviceMinute.objects.all().delete()
    Command.objects.all().delete()
    Deployment.objects.all().delete()
    Device.objects.filter(pk=device.pk).update(**{"online": True, "sample_at": NOW, "restraints": [], **well})
    look(watched, NOW)
    assert stages() == {device.pk: "recovered"}


def test_while_no_gateway_listens_nobody_is_called_offline():
    """Else a server that was down for an hour would find all of its devices away."""
    away = rule("offline", for_seconds=600)
    hour = timedelta(hours=1)
    gone, device = there(online=False, last_seen=NOW - hour), there(last_seen=NOW - hour)
    lease = Lease.objects.create(name="gateway", holder="", since=NOW - 2 * hour, until=NOW - hour)
    look(away, NOW)
    assert stages() == {}
    lease.holder, lease.since, lease.until = "me", NOW, NOW + hour
    lease.save()
    look(away, NOW)
    assert set(stages().values()) == {"pending"}
    Device.objects.filter(pk=device.pk).update(last_seen=NOW + timedelta(minutes=10))
    look(away, NOW + timedelta(minutes=10))
    assert stages() == {gone.pk: "open"}
    lease.holder = ""
    lease.save()
    look(away, NOW + 2 * hour)
    assert stages() == {gone.pk: "open"}, "what was known stays"


def test_conditions_of_the_server():
    rules = {name: rule(name, threshold=60) for name in ("outbox", "refused")} | {"gateway": rule("gateway")}
    for each in rules.values():
        look(each, NOW)
    assert stages() == {}, "nothing is stopped where nothing was started"
    Lease.objects.create(name="gateway", holder="me", until=NOW + timedelta(seconds=9))
    look(rules["gateway"], NOW)
    assert stages() == {}
    Lease.objects.update(until=NOW - timedelta(seconds=1))
    Outbox.objects.create(topic="t", payload=b"", created_at=NOW - timedelta(seconds=61))
    Rejected.objects.create(topic="t", reason="unreadable", count=61, at=NOW)
    for each in rules.values():
        look(each, NOW)
    assert Alert.objects.filter(stage="open", subject="").count() == 3
    Lease.objects.update(until=NOW + timedelta(seconds=9))
    Outbox.objects.all().delete()
    Rejected.objects.all().delete()
    for each in rules.values():
        look(each, NOW)
    assert not Alert.objects.filter(stage="open").exists()


@pytest.mark.parametrize("condition", CASES)
def test_a_look_takes_as_many_queries_for_a_thousand_devices_as_for_none(condition):
    given, well, _ = CASES[condition]
    watched = rule(condition, **given)
    make_many(3, **well)
    with CaptureQueriesContext(connection) as few:
        look(watched, NOW)
    Device.objects.all().delete()
    make_many(1000, **well)
    with CaptureQueriesContext(connection) as many:
        look(watched, NOW)
    assert len(many) == len(few) <= 3
