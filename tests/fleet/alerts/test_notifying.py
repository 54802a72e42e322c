"""Who is told what, and how often."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.alerts import notifying, services, silencing
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Channel, Delivery, Rule
from fleet.alerts.notifying import INTERVAL, WAIT, due, tell
from fleet.devices.models import Device, Group
from fleet.gateway.models import Lease
from tests.fleet.alerts.rows import NOW, make_many, rule, there

pytestmark = pytest.mark.django_db


@pytest.fixture
def channel(db) -> Channel:
    return Channel.objects.create(name="ops", kind="webhook", target="http://127.0.0.1:9/")


def later(**given: float):
    return NOW + timedelta(**given)


@pytest.mark.parametrize(
    ("oldest", "last", "expected"),
    [
        (NOW, None, False),
        (NOW - WAIT, None, True),
        (NOW - WAIT, NOW - INTERVAL, True),
        (NOW - WAIT, NOW - INTERVAL + timedelta(seconds=1), False),
        (NOW + timedelta(hours=1), None, True),  # the clock was put back: better at once than an hour late
        (NOW - WAIT, NOW + timedelta(hours=1), True),
    ],
)
def test_when_something_is_told(oldest, last, expected):
    assert due(oldest, last, NOW) is expected


def test_a_thousand_alerts_at_once_are_one_notification(channel, settings):
    settings.ADDRESS = "https://fleet.example"
    make_many(1000, temperature=85)
    hot = rule()
    look(hot, NOW)
    assert tell(later(seconds=5)) == 0, "others may open with it"
    assert tell(later(seconds=10)) == 1
    (delivery,) = Delivery.objects.all()
    body = delivery.body
    assert (body["count"], len(body["alerts"]), body["text"]) == (1000, 50, "temperature: 1,000 devices")
    assert body["alerts"][0]["said"] == "is at 85\u00a0°C"
    assert body["alerts"][0]["url"] == "https://fleet.example/devices/m-000000"
    assert body["rule"]["limit"] == "above 80\u00a0°C"
    assert tell(later(seconds=20)) == 0
    Device.objects.update(temperature=60)
    look(hot, later(seconds=30))
    assert tell(later(seconds=40)) == 1
    assert Delivery.objects.count() == 2
    assert Delivery.objects.first().body["text"] == "temperature is over: 1,000 devices"


def test_telling_of_a_thousand_takes_as_many_queries_as_of_ten(channel):
    hot = rule()
    counted = []
    for number in (10, 1000):
        Alert.objects.all().delete()
        Device.objects.all().delete()
        Rule.objects.update(opened_told_at=None)
        make_many(number, temperature=85)
        look(hot, NOW)
        with CaptureQueriesContext(connection) as asked:
            assert tell(later(seconds=10)) == 1
        counted.append(len(asked))
    assert counted[0] == counted[1] <= 12


def test_what_opens_one_after_the_other_is_told_together_after_a_while(channel):
    hot = rule()
    for number in range(20):
        there(temperature=85)
        look(hot, later(seconds=5 * number))
        tell(later(seconds=5 * number))
    assert Delivery.objects.count() == 1
    assert tell(later(seconds=10) + INTERVAL) == 1
    first, second = Delivery.objects.order_by("pk")
    assert first.body["count"] + second.body["count"] == 20


def test_what_recovered_before_it_was_told_is_not_told(channel):
    there(temperature=85)
    hot = rule()
    look(hot, NOW)
    Device.objects.update(temperature=60)
    look(hot, later(seconds=5))
    assert tell(later(seconds=60)) == 0


def test_what_somebody_looks_after_is_not_told(channel, operator):
    there(temperature=85)
    look(rule(), NOW)
    services.acknowledge([Alert.objects.get().pk], "I see it", operator)
    assert tell(later(seconds=60)) == 0


def test_a_silence_keeps_it_to_itself_until_it_ends(channel, operator):
    covered, other = there(temperature=85, name="arm-1"), there(temperature=85, name="cam-1")
    hot = rule()
    silence = services.create_silence(hot, "arm", NOW + timedelta(days=1), "maintenance", operator)
    look(hot, NOW)
    silencing.mark(NOW)
    tell(later(seconds=10))
    assert [line["device"] for line in Delivery.objects.get().body["alerts"]] == [other.pk]
    assert Alert.objects.get(subject=covered.pk).silenced
    services.end_silence(silence, operator)
    assert not Alert.objects.get(subject=covered.pk).silenced
    tell(later(seconds=20) + INTERVAL)
    assert [line["device"] for line in Delivery.objects.first().body["alerts"]] == [covered.pk]


def test_a_silence_ends_by_itself(channel, operator):
    there(temperature=85)
    hot = rule()
    services.create_silence(None, "", NOW + timedelta(minutes=30), "moving house", operator)
    look(hot, NOW)
    silencing.mark(NOW)
    assert Alert.objects.get().silenced
    assert tell(later(minutes=20)) == 0
    silencing.mark(later(minutes=31))
    assert tell(later(minutes=31)) == 1


def test_a_silence_whose_search_cannot_be_read_any_more_covers_nothing(channel, operator):
    there(temperature=85)
    hot = rule()
    group = Group.objects.create(name="lab")
    services.create_silence(hot, "-group:lab", NOW + timedelta(days=1), "x", operator)
    look(hot, NOW)
    silencing.mark(NOW)
    assert Alert.objects.get().silenced
    group.delete()
    silencing.mark(NOW)
    assert not Alert.objects.get().silenced


def test_a_channel_is_told_from_its_severity_on_and_of_ends_where_it_wants(channel):
    quiet = Channel.objects.create(name="night", kind="webhook", target="http://x/", severity="critical")
    brief = Channel.objects.create(name="brief", kind="webhook", target="http://x/", recoveries=False)
    Channel.objects.create(name="off", kind="webhook", target="http://x/", enabled=False)
    there(temperature=85)
    warm, hot = rule(name="warm"), rule(name="hot", severity="critical")
    for each in (warm, hot):
        look(each, NOW)
    tell(later(seconds=10))
    Device.objects.update(temperature=60)
    for each in (warm, hot):
        look(each, later(seconds=20))
    tell(later(seconds=30))
    told = {(each.channel.name, each.body["kind"], each.body["rule"]["name"]) for each in Delivery.objects.all()}
    assert told == {
        ("ops", "opened", "warm"),
        ("ops", "opened", "hot"),
        ("ops", "recovered", "warm"),
        ("ops", "recovered", "hot"),
        (quiet.name, "opened", "hot"),
        (quiet.name, "recovered", "hot"),
        (brief.name, "opened", "warm"),
        (brief.name, "opened", "hot"),
    }


def test_an_alert_of_the_server_says_so(channel):
    look(rule("gateway"), NOW)
    Lease.objects.create(name="gateway", holder="", until=NOW)
    look(Rule.objects.get(), NOW)
    tell(later(seconds=10))
    body = Delivery.objects.get().body
    assert (body["text"], body["alerts"][0]["on"]) == ("gateway: the server", "the server")


def test_no_links_where_the_address_is_not_known(settings):
    settings.ADDRESS = ""
    assert notifying.link("/alerts") == ""
