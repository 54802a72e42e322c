"""How many are told at a time, and where it is time."""

from datetime import time, timedelta

import pytest
from django.utils import timezone

from fleet.devices import services as devices
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.rollouts import pace, services, telling
from fleet.rollouts.pace import Window
from fleet.rollouts.plan import Terms
from tests.fleet.rollouts.ten import counts, ends, look

pytestmark = pytest.mark.django_db


def test_no_more_than_so_many_are_in_flight(release, group, operator):
    rollout = services.start(release, operator, group=group, terms=Terms(most_in_flight=3))
    assert counts(rollout) == {"notified": 3, "queued": 7}
    assert counts(look(rollout)) == {"notified": 3, "queued": 7}
    ends(rollout, count=2)
    assert counts(look(rollout)) == {"active": 2, "notified": 3, "queued": 5}
    first = rollout.deployments.filter(state="notified").first()
    Device.objects.filter(pk=first.device_id).update(online=False)
    assert counts(look(rollout)) == {"active": 2, "notified": 4, "queued": 4}, "who left holds nobody up"


def test_devices_a_minute(release, group, operator, monkeypatch):
    monkeypatch.setattr("fleet.rollouts.telling.random.random", lambda: 0.5)
    rollout = services.start(release, operator, group=group, terms=Terms(per_minute=30))
    assert counts(rollout)["notified"] == 1
    rollout.refresh_from_db()
    began = rollout.paced_at
    assert [telling.tell(rollout, began + timedelta(seconds=after)) for after in (1, 2, 3, 6)] == [0, 1, 0, 2]
    assert counts(rollout)["notified"] == 4


def test_a_window_is_open_by_the_clock_where_the_device_is(release, group, operator):
    now = timezone.now()
    tokyo = list(group.devices.order_by("name")[:4].values_list("pk", flat=True))
    Device.objects.filter(pk__in=tokyo).update(time_zone="Asia/Tokyo")
    here = now.astimezone(pace.zone("Asia/Tokyo"))
    window = Window((here - timedelta(minutes=30)).time(), (here + timedelta(minutes=30)).time())
    rollout = services.start(release, operator, group=group, terms=Terms(window=window, zone_name="UTC"))
    told = rollout.deployments.filter(state="notified").values_list("device", flat=True)
    assert set(told) == set(tokyo), "the others have no time zone and go by the rollout's"


def test_only_while_the_robot_is_idle(release, group, operator):
    busy = group.devices.order_by("name").first()
    Device.objects.filter(pk=busy.pk).update(idle=False)
    rollout = services.start(release, operator, group=group, terms=Terms(only_idle=True))
    assert rollout.deployments.get(device=busy).state == "queued"
    assert counts(rollout) == {"notified": 9, "queued": 1}
    Device.objects.filter(pk=busy.pk).update(idle=True)
    assert counts(look(rollout)) == {"notified": 10}


def test_who_is_away_is_not_told_what_it_would_do_at_any_moment(release, group, operator):
    away = group.devices.order_by("name").first()
    Device.objects.filter(pk=away.pk).update(online=False)
    rollout = services.start(release, operator, group=group, terms=Terms(most_in_flight=100))
    assert rollout.deployments.get(device=away).state == "queued"
    services.cancel(rollout, operator)
    assert counts(rollout) == {"canceled": 10}, "cancel always ends, also with a device that is away"


def test_a_window_at_night_is_stored_as_it_was_asked_for(release, group, operator):
    window = Window(time(22), time(4), frozenset({0, 4}))
    rollout = services.start(release, operator, group=group, terms=Terms(window=window, zone_name="Europe/Berlin"))
    rollout.refresh_from_db()
    assert rollout.terms == Terms(window=window, zone_name="Europe/Berlin")


def test_time_zones_are_set_for_many_at_once(group, operator, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        assert devices.set_time_zone(group.members(), "Europe/Berlin", operator) == 10
    assert set(Device.objects.values_list("time_zone", flat=True)) == {"Europe/Berlin"}
    with pytest.raises(Refused, match="no time zone called 'Berlin'"):
        devices.set_time_zone(group.members(), "Berlin", operator)
