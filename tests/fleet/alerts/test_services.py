"""What people do with rules, alerts, silences and channels, and what is refused."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from fleet.alerts import channels, services
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Channel, Rule, Silence
from fleet.audit.models import Event
from fleet.errors import Refused
from fleet.search.errors import SearchError
from tests.fleet.alerts.rows import NOW, make_many, rule, there

pytestmark = pytest.mark.django_db
GIVEN = {"name": "Hot", "condition": "temperature", "threshold": 80.0}


def test_the_first_rules_are_ones_that_a_person_could_have_made(operator):
    import_module("fleet.alerts.migrations.0002_first_rules").make(apps, None)
    made = list(Rule.objects.all())
    assert {"Offline", "Too slow", "Too hot", "Gateway stopped", "Update rolled back"} <= {each.name for each in made}
    for each in made:
        services.checked(each)
    assert services.described(Rule.objects.get(name="Too slow")) == "Latency, p95 above 100\u00a0ms for 5 min"


def test_a_well_fleet_has_no_alert_of_the_first_rules():
    import_module("fleet.alerts.migrations.0002_first_rules").make(apps, None)
    make_many(20, temperature=50, latency_p95=40, memory_used=1, memory_total=2)
    for each in Rule.objects.all():
        look(each, NOW)
    assert not Alert.objects.exists()


def test_a_rule_is_made_and_the_log_says_who(operator):
    made = services.create_rule(operator, **GIVEN, query="  tag:site=berlin ", for_seconds=300, clear=75)
    assert made.query == "tag:site=berlin"
    event = Event.objects.get(kind="alert_rule.created")
    assert (event.actor, event.text) == (operator, "Alert rule Hot: Temperature above 80\u00a0°C for 5 min")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": " "}, "Give the rule a name"),
        ({"condition": "mood"}, "There is no condition “mood”"),
        ({"threshold": None}, "Say from which value on"),
        ({"threshold": float("nan")}, "is compared with a number"),
        ({"clear": 81}, "cannot lie above 80"),
        ({"comparison": "<", "clear": 79}, "cannot lie below 80"),
        ({"condition": "errors", "comparison": "<"}, "is compared with >"),
        ({"for_seconds": -1}, "A rule waits for up to 7 d"),
        ({"for_seconds": 8 * 86_400}, "A rule waits for up to 7 d"),
        ({"severity": "dreadful"}, "A rule is critical, warning, info"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(operator, given, says):
    with pytest.raises(Refused, match=says):
        services.create_rule(operator, **GIVEN | given)
    assert not Rule.objects.exists()


def test_a_search_that_cannot_be_read_is_refused_with_its_place(operator):
    with pytest.raises(SearchError, match="There is no field “clas”"):
        services.create_rule(operator, **GIVEN, query="clas:mobile")


def test_a_name_is_used_once(operator):
    services.create_rule(operator, **GIVEN)
    with pytest.raises(Refused, match="There is already a rule called Hot"):
        services.create_rule(operator, **GIVEN)


def test_a_state_has_no_threshold_and_the_server_no_search(operator):
    made = services.create_rule(operator, **GIVEN | {"condition": "gateway", "query": "online"})
    assert (made.threshold, made.query) == (None, "")


def test_a_preview_says_whom_it_would_watch_and_who_meets_it_now():
    make_many(30, temperature=70)
    for number in range(3):
        there(temperature=85, name=f"oven-{number}")
    found = services.preview(Rule(**GIVEN, query="class:embedded", for_seconds=600), NOW)
    assert (found.watched, found.met) == (33, 3)
    assert [name for _, name in found.names] == ["oven-0", "oven-1", "oven-2"]
    assert not Alert.objects.exists()
    assert not Rule.objects.exists()
    server = services.preview(Rule(name="x", condition="gateway"), NOW)
    assert (server.server, server.met) == (True, 0)


def opened(number: int = 3) -> Rule:
    make_many(number, temperature=85)
    hot = rule()
    look(hot, NOW)
    return hot


def test_another_threshold_ends_what_was_found_by_the_old_one(operator):
    hot = opened()
    services.update_rule(hot, operator, for_seconds=5.0)
    assert Alert.objects.filter(stage="open").count() == 3
    services.update_rule(hot, operator, threshold=90.0)
    assert set(Alert.objects.values_list("stage", "reason")) == {("recovered", "its rule was changed")}


def test_a_rule_is_turned_off_and_on(operator):
    hot = opened()
    services.enable_rule(hot, False, operator)
    assert set(Alert.objects.values_list("stage", "reason")) == {("recovered", "its rule was turned off")}
    with pytest.raises(Refused, match="is off already"):
        services.enable_rule(hot, False, operator)
    assert not look(Rule.objects.get(), NOW), "a look that was under way stores nothing"
    services.enable_rule(hot, True, operator)
    assert look(Rule.objects.get(), NOW)


def test_what_a_deleted_rule_found_stays_to_be_read(operator):
    hot = opened()
    services.delete_rule(hot, operator)
    assert set(Alert.objects.values_list("name", "stage", "reason", "rule")) == {
        ("temperature", "recovered", "its rule was deleted", None)
    }
    assert Event.objects.filter(kind="alert_rule.deleted").exists()


def test_an_alert_is_acknowledged_once_with_a_note(operator, admin):
    opened()
    numbers = list(Alert.objects.values_list("pk", flat=True))
    assert services.acknowledge(numbers[:1], " a fan is on its way ", operator) == 1
    alert = Alert.objects.get(pk=numbers[0])
    assert (alert.acknowledged_by, alert.note) == (operator, "a fan is on its way")
    assert services.acknowledge(numbers, "", admin) == 2, "the first is somebody's"
    assert Event.objects.filter(kind="alert.acknowledged").count() == 2
    assert Event.objects.filter(kind="alert.acknowledged", device=alert.device).exists()


def test_all_of_a_rule_are_acknowledged_in_few_queries(operator, django_assert_max_num_queries):
    hot = opened(500)
    with django_assert_max_num_queries(7):
        assert services.acknowledge_rule(hot, "", operator) == 500


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reason": ""}, "Say why"),
        ({"ends_at": NOW - timedelta(days=1)}, "would already be over"),
        ({"ends_at": NOW + timedelta(days=400)}, "lasts up to 365 days"),
        ({"query": "clas:mobile"}, "There is no field"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(operator, given, says):
    wanted = {"rule": None, "query": "", "ends_at": NOW + timedelta(days=1), "reason": "moving"} | given
    with pytest.raises(Refused, match=says):
        services.create_silence(**wanted, by=operator)
    assert not Silence.objects.exists()


def test_a_silence_is_ended_once(operator):
    silence = services.create_silence(None, "", timezone.now() + timedelta(hours=1), "moving", operator)
    services.end_silence(silence, operator)
    with pytest.raises(Refused, match="over already"):
        services.end_silence(silence, operator)
    kinds = list(Event.objects.filter(kind__startswith="silence.").values_list("kind", flat=True))
    assert kinds == ["silence.ended", "silence.created"]


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("webhook", "ftp://example.org/", "begins with http:// or https://"),
        ("webhook", "https://", "names a host"),
        ("webhook", "http://me:secret@example.org/", "no user name"),
        ("webhook", "http://[::1", "begins with http"),
        ("email", "", "Say where it goes to"),
        ("email", "nobody", "is no e-mail address"),
        ("email", "a@b\nBcc: c@d", "control characters"),
        ("email", ", ".join(f"a{n}@example.org" for n in range(21)), "Give 1 to 20"),
        ("pigeon", "x", "A channel is email or webhook"),
    ],
)
def test_an_address_that_is_none_is_refused(admin, kind, target, says):
    with pytest.raises(Refused, match=says):
        channels.create(admin, name="ops", kind=kind, target=target)
    assert not Channel.objects.exists()


def test_a_channel_is_made_changed_and_deleted(admin):
    made = channels.create(admin, name="ops", kind="webhook", target="https://example.org/hook")
    assert made.secret.startswith("whsec_")
    Channel.objects.update(busy_until=NOW, error="it was away")
    channels.update(made, admin, target="https://example.org/other")
    made.refresh_from_db()
    assert (made.target, made.busy_until, made.error) == ("https://example.org/other", NOW, "it was away")
    before = made.secret
    assert channels.renew_secret(made, admin) != before
    with pytest.raises(Refused, match="There is already a channel called ops"):
        channels.create(admin, name="ops", kind="email", target="a@example.org")
    channels.delete(made, admin)
    kinds = [kind for kind in Event.objects.values_list("kind", flat=True) if kind.startswith("channel")]
    assert kinds == ["channel.deleted", "channel.secret", "channel.updated", "channel.created"]
    assert made.secret not in str(list(Event.objects.values_list("text", "detail")))
