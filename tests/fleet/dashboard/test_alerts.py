"""The pages of alerts: what waits, who took it, rules with their preview, silences, channels."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.accounts.roles import Role
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Channel, Delivery, Look, Rule, Silence
from fleet.dashboard.selectors.alerts import counts, open_alerts
from fleet.devices.models import Device
from tests.conftest import make_device

HTMX = {"HX-Request": "true"}
RULE = {"name": "Hot", "severity": "critical", "condition": "temperature", "comparison": ">", "threshold": "80 °C"}


@pytest.fixture
def hot(db) -> Rule:
    """A rule with three open alerts, of arm-0 to arm-2."""
    Rule.objects.all().delete()
    now = timezone.now()
    for number in range(3):
        make_device(name=f"arm-{number}", online=True, last_seen=now, sample_at=now, temperature=85 + number)
    made = Rule.objects.create(name="Hot", condition="temperature", threshold=80, severity="critical")
    look(made, now)
    return made


def text_of(answer) -> str:
    return re.sub(r"\s+", " ", answer.text)


def rows(answer) -> list[str]:
    return re.findall(r'<tr id="alert-\d+".*?title="([^"]+)"', answer.text, re.S)


# --- Alerts ---------------------------------------------------------------------------------------------------------


def test_what_is_open_stands_under_its_rule(viewer, hot):
    page = viewer.get("/alerts")
    assert sorted(rows(page)) == ["arm-0", "arm-1", "arm-2"]
    said = text_of(page)
    assert ">Hot</a>" in said
    assert "3 alerts, the newest" in said
    assert "is at 85 °C" in said
    assert "Acknowledge all" not in said, "a viewer looks"
    assert 'type="checkbox"' not in said


def test_the_bell_and_the_navigation_count_what_waits(viewer, hot, operator):
    said = text_of(viewer.get("/alerts"))
    assert 'aria-label="3 open alerts"' in said
    assert re.search(r'title="3 open alerts" data-alerts-count +>3</b>', said)
    part = viewer.get("/alerts/bell", headers=HTMX)
    assert 'data-news="Hot: 3 alerts opened"' in part.text
    assert 'data-tone="bad"' in part.text
    Alert.objects.update(acknowledged_at=timezone.now(), acknowledged_by=operator)
    part = viewer.get("/alerts/bell", headers=HTMX)
    assert 'data-waiting="0"' in part.text
    assert "data-news" not in part.text


def test_the_selectors_of_other_pages(hot, operator):
    assert [alert.device.name for alert in open_alerts(2)] == ["arm-2", "arm-1"]
    found = counts()
    assert (found.waiting, found.open, found.worst) == (3, 3, "critical")
    first, second, _ = Alert.objects.order_by("pk")
    Alert.objects.filter(pk=first.pk).update(acknowledged_at=timezone.now(), silenced=True)
    Alert.objects.filter(pk=second.pk).update(silenced=True)
    found = counts()
    assert (found.waiting, found.acknowledged, found.silenced) == (1, 1, 1)


def test_alerts_are_found_by_device_rule_and_severity(viewer, hot):
    now = timezone.now()
    warm = Rule.objects.create(name="Warm", condition="temperature", threshold=86, severity="info")
    look(warm, now)
    assert rows(viewer.get("/alerts?q=arm-1")) == ["arm-1"]
    assert rows(viewer.get("/alerts?q=temperature>86")) == ["arm-2", "arm-2"]
    assert rows(viewer.get(f"/alerts?rule={warm.pk}")) == ["arm-2"]
    assert rows(viewer.get("/alerts?severity=info")) == ["arm-2"]
    assert "No alert matches" in viewer.get("/alerts?q=nothing").text
    assert "There is no field “clas”" in viewer.get("/alerts?q=clas:x").text


def test_ticked_ones_are_acknowledged_with_a_note(operating, hot):
    numbers = list(Alert.objects.order_by("pk").values_list("pk", flat=True)[:2])
    answer = operating.post(
        "/alerts/acknowledge", {"alert": numbers, "note": "I look", "do": "acknowledge"}, follow=True
    )
    assert "2 alerts acknowledged." in answer.text
    assert len(rows(answer)) == 1
    said = text_of(operating.get("/alerts?show=acknowledged"))
    assert "operator-person: I look" in said
    assert "No alert was chosen." in operating.post("/alerts/acknowledge", {}, follow=True).text


def test_one_and_all_of_a_rule_are_acknowledged(operating, hot):
    operating.post("/alerts/acknowledge", {"one": Alert.objects.first().pk})
    assert counts().waiting == 2
    operating.post("/alerts/acknowledge", {"rule": hot.pk})
    assert counts().waiting == 0
    assert operating.post("/alerts/acknowledge", {"rule": 999}).status_code == 404
    assert operating.post("/alerts/acknowledge", {"alert": ["x", "²", "9" * 30]}).status_code == 302


def test_what_is_over_is_kept(viewer, hot):
    Device.objects.update(temperature=20)
    look(hot, timezone.now())
    assert rows(viewer.get("/alerts")) == []
    assert "Nothing waits for anybody" in viewer.get("/alerts").text
    assert len(rows(viewer.get("/alerts?show=recovered"))) == 3


def test_the_page_says_when_nobody_looks_at_the_rules(viewer, hot):
    Look.objects.create(pk=1, at=timezone.now() - timedelta(minutes=5), seconds=0.1)
    assert "No worker has looked at the rules since" in viewer.get("/alerts").text
    Look.objects.update(at=timezone.now())
    assert "No worker has looked" not in viewer.get("/alerts").text


def test_the_devices_page_has_its_open_alerts(viewer, hot):
    device = Device.objects.get(name="arm-1")
    said = text_of(viewer.get(f"/devices/{device.pk}"))
    assert "Open alerts" in said
    assert "It is at 86 °C, now 86 °C." in said
    other = make_device()
    assert "Open alerts" not in viewer.get(f"/devices/{other.pk}").text


def test_a_name_with_script_in_it_is_text(viewer, hot):
    Rule.objects.update(name="<script>x</script>")
    Alert.objects.update(name="<script>x</script>")
    for address in ("/alerts", "/alerts/rules", "/alerts/bell"):
        answer = viewer.get(address)
        assert "<script>x" not in answer.text
        assert "&lt;script&gt;x" in answer.text


# --- Rules ----------------------------------------------------------------------------------------------------------


def test_a_rule_is_made_as_it_is_typed(operating, hot):
    answer = operating.post(
        "/alerts/rules/new",
        {**RULE, "name": "Slow", "condition": "latency", "threshold": "0.1 s", "clear": "90", "for_seconds": "5 min"},
        headers=HTMX,
    )
    assert answer.headers["HX-Redirect"] == "/alerts/rules"
    made = Rule.objects.get(name="Slow")
    assert (made.threshold, made.clear, made.for_seconds, made.clear_seconds) == (100.0, 90.0, 300.0, 0.0)
    said = text_of(operating.get("/alerts/rules"))
    assert "Latency, p95 above 100 ms for 5 min" in said


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"threshold": "80 W"}, "threshold", "Give a number, as in 70."),
        ({"threshold": ""}, "threshold", "Say from which value on."),
        ({"for_seconds": "5"}, "for_seconds", "Give a number with s, min, h or d"),
        ({"query": "clas:mobile"}, "query", "There is no field “clas”"),
        ({"condition": "mood"}, "condition", "Select a valid choice"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(operating, hot, given, field, says):
    answer = operating.post("/alerts/rules/new", {**RULE, "name": "Other", **given}, headers=HTMX)
    assert answer.status_code == 422
    assert f'id="id_{field}-error"' in answer.text
    assert says in answer.text
    assert 'value="Other"' in answer.text, "nothing typed is lost"


def test_a_rule_is_previewed_while_it_is_typed(viewer, hot):
    part = viewer.get("/alerts/rules/preview", {**RULE, "threshold": "85.5 °C", "query": "arm"}, headers=HTMX)
    said = text_of(part)
    assert "It would watch <b>3 devices</b>; at this moment <b>2</b> of them meet the condition." in said
    assert "arm-1" in said
    assert "Say from which value on." in viewer.get("/alerts/rules/preview", {**RULE, "threshold": ""}).text
    server = viewer.get("/alerts/rules/preview", {"condition": "gateway", "severity": "info"})
    assert "At this moment the condition is <b>not met</b>" in text_of(server)
    assert Rule.objects.count() == 1


def test_a_rule_is_changed_turned_off_and_deleted(operating, hot):
    page = operating.get(f"/alerts/rules/{hot.pk}")
    assert 'value="80 °C"' in page.text
    assert "It would watch <b>3 devices</b>" in text_of(page)
    operating.post(f"/alerts/rules/{hot.pk}", {**RULE, "threshold": "86 °C"})
    hot.refresh_from_db()
    assert hot.threshold == 86
    assert "Hot is off" in operating.post(f"/alerts/rules/{hot.pk}/enable", {"on": "0"}, follow=True).text
    answer = operating.post(f"/alerts/rules/{hot.pk}/delete", follow=True)
    assert "The rule Hot is gone" in answer.text
    assert "No rules" in answer.text


# --- Silences -------------------------------------------------------------------------------------------------------


def test_a_silence_is_made_and_ended(operating, hot):
    form = operating.get(f"/alerts/silences?rule={hot.pk}").text
    assert f'value="{hot.pk}" selected' in form
    operating.post("/alerts/silences/new", {"rule": hot.pk, "query": "arm-1", "hours": "4", "reason": "New fan"})
    silence = Silence.objects.get()
    assert rows(operating.get("/alerts?show=silenced")) == ["arm-1"]
    said = text_of(operating.get("/alerts/silences"))
    assert "New fan · by operator-person" in said
    answer = operating.post(f"/alerts/silences/{silence.pk}/end", follow=True)
    assert "Alerts of “Hot” on “arm-1” are told again." in answer.text
    assert rows(operating.get("/alerts?show=silenced")) == []


def test_a_silence_without_a_reason_or_with_a_bad_search_is_said(operating, hot):
    answer = operating.post("/alerts/silences/new", {"hours": "4", "query": "clas:x", "reason": "x"})
    assert answer.status_code == 422
    assert "There is no field “clas”" in answer.text
    assert operating.post("/alerts/silences/new", {"hours": "4", "reason": ""}).status_code == 422
    assert not Silence.objects.exists()


# --- Channels -------------------------------------------------------------------------------------------------------


def test_a_webhook_is_made_and_shows_how_to_check_it(managing, db):
    answer = managing.post(
        "/alerts/channels/new",
        {"name": "ops", "kind": "webhook", "target": "http://127.0.0.1:9/", "severity": "warning", "enabled": "on"},
        follow=True,
    )
    channel = Channel.objects.get()
    assert channel.secret in answer.text
    assert "hmac.compare_digest" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert channel.secret not in managing.get("/alerts/channels").text
    before = channel.secret
    answer = managing.post(f"/alerts/channels/{channel.pk}/secret", follow=True)
    assert before not in answer.text


def test_a_test_is_put_into_the_outbox(managing, db):
    channel = Channel.objects.create(name="ops", kind="email", target="a@example.org")
    test = f"/alerts/channels/{channel.pk}/test"
    for page in ("/alerts/channels", f"/alerts/channels/{channel.pk}"):
        assert f'action="{test}"' in managing.get(page).text
    answer = managing.post(test, follow=True)
    assert "A test is on its way to ops" in answer.text
    assert "A test of the channel ops, sent by admin-person" in answer.text
    assert Delivery.objects.get().state == "queued"
    Channel.objects.update(enabled=False)
    assert f'action="{test}"' not in managing.get(f"/alerts/channels/{channel.pk}").text
    assert "ops is turned off" in managing.post(test, follow=True).text
    assert Delivery.objects.count() == 1


def test_why_nobody_was_told_stands_on_both_pages(managing, viewer, hot):
    Channel.objects.create(
        name="ops", kind="email", target="a@example.org", error="it answered 503", error_at=timezone.now()
    )
    assert "it answered 503" in managing.get("/alerts/channels").text
    assert "it answered 503" in managing.get("/alerts").text
    seen = viewer.get("/alerts").text
    assert "The last message to ops failed" in seen
    assert "it answered 503" not in seen, "what a receiver says is the admins' business"


def test_a_bad_address_is_said_and_a_channel_is_changed_and_deleted(managing, db):
    given = {"name": "ops", "kind": "webhook", "target": "ftp://x/", "severity": "warning"}
    answer = managing.post("/alerts/channels/new", given)
    assert answer.status_code == 422
    assert "begins with http:// or https://" in answer.text
    answer = managing.post("/alerts/channels/new", {**given, "target": "http://127.0.0.1:99999/"})
    assert "The port of a webhook&#x27;s address is 1 to 65535." in answer.text
    channel = Channel.objects.create(name="ops", kind="email", target="a@example.org")
    managing.post(f"/alerts/channels/{channel.pk}", {"name": "ops", "target": "b@example.org", "severity": "info"})
    channel.refresh_from_db()
    assert (channel.target, channel.enabled) == ("b@example.org", False)
    assert "ops is told no more." in managing.post(f"/alerts/channels/{channel.pk}/delete", follow=True).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_channels_are_the_admins(sign_in, role, db):
    assert sign_in(role).get("/alerts/channels").status_code == 403
    assert ">Channels</a>" not in sign_in(role).get("/alerts").text
