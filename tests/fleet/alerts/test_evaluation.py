"""Looks at rules over rows of devices: what opens, what recovers, in how many queries, and two at the same time."""

import threading
from datetime import timedelta

import pytest
from django.db import close_old_connections, connection
from django.test.utils import CaptureQueriesContext

from fleet.alerts import evaluation
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Rule
from fleet.audit.models import Event
from fleet.devices.models import Device, Group
from tests.fleet.alerts.rows import NOW, make_many, rule, stages, there

# --- The story of one device ----------------------------------------------------------------------------------------


def test_no_devices_no_alerts():
    assert look(rule(), NOW) is False
    assert stages() == {}


def test_an_alert_is_pending_then_open_then_recovered():
    device = there(temperature=85)
    hot = rule(clear=75, for_seconds=60, clear_seconds=30)
    assert not look(hot, NOW)
    assert stages() == {device.pk: "pending"}
    assert not Event.objects.exists(), "nobody is told of what may come to nothing"
    Device.objects.update(sample_at=NOW + timedelta(seconds=60))
    assert look(hot, NOW + timedelta(seconds=60))
    assert stages() == {device.pk: "open"}
    assert Event.objects.get().text == "temperature: it is at 85\u00a0°C"
    Device.objects.update(temperature=70)
    look(hot, NOW + timedelta(seconds=61))
    assert stages() == {device.pk: "open"}
    assert look(hot, NOW + timedelta(seconds=91))
    alert = Alert.objects.get()
    assert (alert.stage, alert.recovered_at) == ("recovered", NOW + timedelta(seconds=91))
    assert [event.kind for event in Event.objects.all()] == ["alert.recovered", "alert.opened"]
    look(hot, NOW + timedelta(seconds=92))
    assert Alert.objects.count() == 1


def test_what_came_to_nothing_leaves_no_row():
    there(temperature=85)
    hot = rule(for_seconds=60)
    look(hot, NOW)
    Device.objects.update(temperature=60)
    look(hot, NOW + timedelta(seconds=5))
    assert not Alert.objects.exists()


def test_an_old_figure_says_nothing():
    """The last sample of a device that is away was hot: that opens nothing, and closes nothing."""
    device = there(temperature=85)
    hot = rule()
    look(hot, NOW + timedelta(minutes=3))
    assert stages() == {}
    look(hot, NOW)
    assert stages() == {device.pk: "open"}
    look(hot, NOW + timedelta(minutes=3))
    assert stages() == {device.pk: "open"}
    Device.objects.update(config={"telemetry_interval": 600})
    assert not look(rule(name="other"), NOW + timedelta(minutes=31))
    assert look(rule(name="another"), NOW + timedelta(minutes=29)), "its samples come that seldom"


def test_a_device_that_leaves_the_search_has_no_alert_any_more():
    device = there(temperature=85)
    hot = rule(query="class:embedded")
    look(hot, NOW)
    Device.objects.update(device_class="mobile")
    look(hot, NOW)
    assert Alert.objects.get().reason == "its rule no longer applies to it"
    Device.objects.update(device_class="embedded")
    look(hot, NOW)
    Device.objects.filter(pk=device.pk).update(retired_at=NOW)
    look(hot, NOW)
    assert [alert.stage for alert in Alert.objects.all()] == ["recovered", "recovered"]


def test_a_rule_whose_group_is_gone_says_so_and_keeps_what_is_open():
    device = there(temperature=85)
    group = Group.objects.create(name="lab")
    group.devices.add(device)
    hot = rule(query="group:lab")
    look(hot, NOW)
    group.delete()
    look(hot, NOW)
    hot.refresh_from_db()
    assert "There is no group" in hot.problem
    assert stages() == {device.pk: "open"}
    Group.objects.create(name="lab").devices.add(device)
    look(hot, NOW)
    hot.refresh_from_db()
    assert hot.problem == ""


def test_a_device_that_flaps_is_said_three_times_and_stays_open():
    device = there()
    hot = rule()
    for minute in range(30):
        Device.objects.update(temperature=70 if minute % 2 else 85, sample_at=NOW + timedelta(minutes=minute))
        look(hot, NOW + timedelta(minutes=minute))
    opened = Alert.objects.order_by("pk")
    assert [(alert.stage, alert.opens) for alert in opened] == [("recovered", 1), ("recovered", 2), ("open", 3)]
    assert Event.objects.filter(kind="alert.opened").count() == 3
    # It is well for long enough, and begins again within the hour: that opens, and nobody is told.
    Device.objects.update(temperature=70)
    for minute in (30, 50):
        Device.objects.update(sample_at=NOW + timedelta(minutes=minute))
        look(hot, NOW + timedelta(minutes=minute))
    Device.objects.update(temperature=85, sample_at=NOW + timedelta(minutes=51))
    look(hot, NOW + timedelta(minutes=51))
    last = Alert.objects.get(subject=device.pk, stage="open")
    assert (last.opens, last.opening_told) == (4, evaluation.NOBODY)
    assert Event.objects.filter(kind="alert.opened").count() == 3


def test_a_clock_that_was_put_back_restarts_the_tolerance():
    device = there(temperature=85)
    hot = rule(for_seconds=60)
    look(hot, NOW)
    earlier = NOW - timedelta(hours=2)
    Device.objects.update(sample_at=earlier)
    look(hot, earlier)
    assert stages() == {device.pk: "pending"}
    Device.objects.update(sample_at=earlier + timedelta(seconds=60))
    look(hot, earlier + timedelta(seconds=60))
    assert stages() == {device.pk: "open"}


# --- How much it costs ----------------------------------------------------------------------------------------------


def queries_of(watched: Rule, now) -> int:
    with CaptureQueriesContext(connection) as asked:
        look(watched, now)
    return len(asked)


def test_a_thousand_that_open_at_once_are_as_many_statements_as_ten():
    hot = rule(query="group:lab or class:embedded", clear_seconds=10)
    Group.objects.create(name="lab")
    counted = {}
    for number in (10, 1000):
        Alert.objects.all().delete()
        Device.objects.all().delete()
        make_many(number, temperature=85)
        opening = queries_of(hot, NOW)
        assert Alert.objects.filter(stage="open").count() == number
        standing = queries_of(hot, NOW)
        Device.objects.update(temperature=60)
        calming = queries_of(hot, NOW)
        recovering = queries_of(hot, NOW + timedelta(seconds=10))
        assert Alert.objects.filter(stage="recovered").count() == number
        counted[number] = (opening, standing, calming, recovering)
    assert counted[10] == counted[1000]
    assert max(counted[10]) <= 13


# --- Two at once ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_looks_at_once_do_no_harm():
    make_many(300, temperature=85)
    hot = rule(clear_seconds=0)
    together = threading.Barrier(4)

    def at_once(now) -> list[BaseException]:
        failed: list[BaseException] = []

        def one() -> None:
            try:
                together.wait()
                look(Rule.objects.get(pk=hot.pk), now)
            except BaseException as problem:  # the thread has nobody else to tell
                failed.append(problem)
            finally:
                close_old_connections()
                connection.close()

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return failed

    assert at_once(NOW) == []
    assert Alert.objects.filter(stage="open").count() == Alert.objects.count() == 300
    assert Event.objects.filter(kind="alert.opened").count() == 1
    Device.objects.update(temperature=60)
    assert at_once(NOW) == []
    assert Alert.objects.filter(stage="recovered").count() == Alert.objects.count() == 300
    assert Event.objects.filter(kind="alert.recovered").count() == 1
