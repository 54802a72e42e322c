"""Alerts over the API: what is open, acknowledged, silenced; rules and channels; and who may."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.accounts.roles import Role
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Channel, Delivery, Rule, Silence
from tests.conftest import make_device

pytestmark = pytest.mark.django_db
RULE = {"name": "Hot", "condition": "temperature", "threshold": 80, "query": "arm", "for_seconds": 60}


@pytest.fixture(autouse=True)
def only_ones_own_rules(db):
    Rule.objects.all().delete()


@pytest.fixture
def ask(client, bearer, people):
    """Ask the API as somebody of a role."""
    headers = {role: bearer(user) for role, user in people.items()}

    def asked(role: Role, method: str, path: str, body=None):
        return getattr(client, method)(f"/api{path}", body, content_type="application/json", **headers[role])

    return asked


@pytest.fixture
def hot():
    now = timezone.now()
    for number in range(2):
        make_device(name=f"arm-{number}", online=True, last_seen=now, sample_at=now, temperature=85)
    rule = Rule.objects.create(name="Hot", condition="temperature", threshold=80)
    look(rule, now)
    return rule


def test_alerts_are_listed_and_acknowledged(ask, hot):
    answer = ask(Role.VIEWER, "get", "/alerts").json()
    assert answer["count"] == 2
    first = answer["items"][0]
    assert (first["device_name"], first["said"], first["stage"]) == ("arm-1", "is at 85\u00a0°C", "open")
    body = {"alerts": [first["id"]], "note": "I look"}
    assert ask(Role.OPERATOR, "post", "/alerts/acknowledge", body).json() == {"changed": 1}
    again = ask(Role.VIEWER, "get", f"/alerts?device={first['device']}").json()["items"][0]
    assert (again["acknowledged_by"], again["note"]) == ("operator-person", "I look")
    assert ask(Role.OPERATOR, "post", "/alerts/acknowledge", {"rule": hot.pk}).json() == {"changed": 1}
    assert ask(Role.VIEWER, "get", "/alerts?stage=recovered").json()["count"] == 0
    assert ask(Role.VIEWER, "get", f"/alerts?rule={hot.pk}&limit=1").json()["count"] == 2
    assert ask(Role.VIEWER, "get", "/alerts?stage=pending").status_code == 422


def test_a_rule_is_previewed_made_changed_and_deleted(ask, hot):
    found = ask(Role.OPERATOR, "post", "/alert-rules/preview", RULE).json()
    assert found == {"watched": 2, "met": 2, "names": ["arm-0", "arm-1"]}
    assert ask(Role.OPERATOR, "post", "/alert-rules", RULE).status_code == 409
    made = ask(Role.OPERATOR, "post", "/alert-rules", RULE | {"name": "Hotter"})
    assert made.status_code == 201
    path = f"/alert-rules/{made.json()['id']}"
    assert ask(Role.OPERATOR, "patch", path, {"threshold": 90, "clear": 85}).json()["clear"] == 85
    assert ask(Role.OPERATOR, "patch", path, {"clear": None, "name": None}).json()["clear"] is None
    assert ask(Role.OPERATOR, "patch", path, {"enabled": False}).json()["enabled"] is False
    unreadable = ask(Role.OPERATOR, "patch", path, {"query": "clas:x"})
    assert (unreadable.status_code, unreadable.json()["instead"]) == (422, "class")
    assert len(ask(Role.VIEWER, "get", "/alert-rules").json()) == 2
    assert ask(Role.OPERATOR, "delete", path).status_code == 204
    assert ask(Role.OPERATOR, "delete", path).status_code == 404


def test_a_silence_is_made_and_ended(ask, hot):
    ends = (timezone.now() + timedelta(hours=1)).isoformat()
    body = {"rule": hot.pk, "query": "arm-1", "ends_at": ends, "reason": "New fan"}
    made = ask(Role.OPERATOR, "post", "/silences", body)
    assert made.status_code == 201
    assert Alert.objects.filter(silenced=True).count() == 1
    assert ask(Role.VIEWER, "get", "/silences").json()[0]["created_by"] == "operator-person"
    path = f"/silences/{made.json()['id']}"
    assert ask(Role.OPERATOR, "delete", path).status_code == 204
    assert ask(Role.OPERATOR, "delete", path).status_code == 409
    assert ask(Role.VIEWER, "get", "/silences").json() == []


def test_a_channel_is_made_tested_changed_and_deleted(ask):
    body = {"name": "ops", "kind": "webhook", "target": "https://example.org/hook"}
    made = ask(Role.ADMIN, "post", "/alert-channels", body)
    assert made.status_code == 201
    assert made.json()["secret"] == Channel.objects.get().secret
    path = f"/alert-channels/{made.json()['id']}"
    assert "secret" not in ask(Role.ADMIN, "get", "/alert-channels").json()[0]
    assert ask(Role.ADMIN, "post", f"{path}/test").status_code == 202
    assert Delivery.objects.get().body["kind"] == "test"
    assert ask(Role.ADMIN, "patch", path, {"target": "ftp://x"}).status_code == 409
    assert ask(Role.ADMIN, "patch", path, {"enabled": False}).json()["enabled"] is False
    assert ask(Role.ADMIN, "delete", path).status_code == 204


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        (Role.VIEWER, "post", "/alerts/acknowledge"),
        (Role.VIEWER, "post", "/alert-rules"),
        (Role.VIEWER, "patch", "/alert-rules/1"),
        (Role.VIEWER, "delete", "/alert-rules/1"),
        (Role.VIEWER, "post", "/silences"),
        (Role.VIEWER, "delete", "/silences/1"),
        (Role.OPERATOR, "get", "/alert-channels"),
        (Role.OPERATOR, "post", "/alert-channels"),
        (Role.OPERATOR, "patch", "/alert-channels/1"),
        (Role.OPERATOR, "post", "/alert-channels/1/test"),
        (Role.OPERATOR, "delete", "/alert-channels/1"),
    ],
)
def test_a_role_that_is_too_low_is_refused(ask, role, method, path):
    assert ask(role, method, path, {}).status_code == 403
    assert not Silence.objects.exists()
