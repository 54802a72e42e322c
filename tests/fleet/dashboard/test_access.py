"""Nobody reaches what is not theirs: every address of the pages, for strangers and for each role."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from fleet.accounts.roles import Role
from fleet.accounts.services import create_api_token
from fleet.dashboard.urls import urlpatterns

#: Signing in and out is for everybody, and so is reading.
OPEN = {"login", "logout", "language"}
GUARDED = [pattern for pattern in urlpatterns if pattern.name not in OPEN]
NAMES = [pattern.name for pattern in GUARDED]
ARGUMENTS = {
    "token_id": "1",
    "user_id": 1,
    "device_id": "d-00000000",
    "command_id": "c-1",
    "name": "tabletop",
    "number": 1,
    "rollout_id": 1,
    "job_id": 1,
    "view_id": 1,
    "what": "devices",
    "of": "lab",
    "form": "csv",
    "rule_id": 1,
    "silence_id": 1,
    "channel_id": 1,
}


#: How an address that only takes a form answers to a look: see the page that the form stands on.
FORM_ONLY = 303


def address(pattern) -> str:
    wanted = pattern.pattern.converters
    given = {name: ARGUMENTS[name] for name in wanted}
    if pattern.name.startswith("groups."):
        given["name"] = "lab"
    if pattern.name == "export.of":
        given["what"] = "group"
    return reverse(pattern.name, kwargs={name: given[name] for name in wanted} if wanted else None)


def asked(client: Client, pattern):
    """The answer to the method that the view is for."""
    answer = client.get(address(pattern))
    return client.post(address(pattern)) if answer.status_code == FORM_ONLY else answer


@pytest.mark.parametrize("pattern", GUARDED, ids=NAMES)
def test_every_view_says_which_role_it_needs(pattern):
    assert isinstance(pattern.callback.required_role, Role)


@pytest.mark.parametrize("pattern", GUARDED, ids=NAMES)
def test_a_stranger_is_sent_to_sign_in(db, pattern):
    answer = asked(Client(), pattern)
    assert answer.status_code == 302
    assert answer.url.startswith("/login?next=/")


@pytest.mark.django_db
def test_a_role_that_is_too_low_is_refused_with_a_page_that_says_so(sample_fleet, sign_in):
    sample_fleet(4)
    for pattern in GUARDED:
        needed = pattern.callback.required_role
        for role in Role:
            if role < needed:
                answer = asked(sign_in(role), pattern)
                assert answer.status_code == 403, (pattern.name, role)
                assert f"This needs the role {needed.label}; yours is {role.label}." in answer.text


@pytest.mark.django_db
def test_each_role_opens_every_page_that_is_for_it(sample_fleet, sign_in):
    sample_fleet(4)
    opened = 0
    for pattern in GUARDED:
        for role in Role:
            if pattern.name == "live" or role < pattern.callback.required_role:
                continue  # the stream never ends; test_live reads it
            answer = sign_in(role).get(address(pattern))
            assert answer.status_code in (200, FORM_ONLY), (pattern.name, role, answer.status_code)
            opened += answer.status_code == 200
    assert opened > 40


@pytest.mark.parametrize(
    ("form", "stands_on"),
    [
        ("/account/tokens", "/account"),
        ("/account/tokens/3/revoke", "/account"),
        ("/account/password", "/account"),
        ("/people/add", "/people"),
        ("/people/3/role", "/people"),
        ("/devices/together", "/devices"),
        ("/devices/d-00000000/rename", "/devices/d-00000000"),
        ("/devices/d-00000000/commands/c-1/cancel", "/devices/d-00000000"),
        ("/views/save", "/account"),
        ("/alerts/acknowledge", "/alerts"),
        ("/alerts/rules/1/enable", "/alerts/rules/1"),
        ("/alerts/silences/1/end", "/alerts/silences"),
        ("/alerts/channels/1/test", "/alerts/channels/1"),
        ("/devices/d-00000000/tags", "/devices/d-00000000"),
        ("/groups/lab/members", "/groups/lab"),
        ("/enrollment/new", "/enrollment"),
        ("/enrollment/some-token/revoke", "/enrollment"),
        ("/upload", "/models"),
        ("/models/tabletop/2/optimize", "/models/tabletop/2"),
        ("/rollouts/1/steer", "/rollouts/1"),
        ("/logout", "/"),
    ],
)
def test_who_reloads_the_address_of_a_form_comes_to_the_page_it_stands_on(managing, form, stands_on):
    answer = managing.get(form, follow=True)
    assert answer.redirect_chain[-1][0] == stands_on


def test_somebody_without_a_role_sees_why_and_can_sign_out(db, django_user_model):
    client = Client()
    client.force_login(django_user_model.objects.create_user("newcomer"))
    answer = client.get("/")
    assert answer.status_code == 403
    assert "yours is none" in answer.text
    assert "Sign out" in answer.text
    assert client.post("/logout").status_code == 302


def test_viewers_are_offered_nothing_that_they_may_not_do(sample_fleet, viewer):
    sample_fleet(4)
    for page in (
        "/",
        "/devices",
        "/devices/d-00000000",
        "/groups/lab",
        "/enrollment",
        "/models",
        "/rollouts/2",
        "/jobs/4",
    ):
        text = viewer.get(page).text
        everybodys = sum(text.count(f'action="{form}"') for form in ("/logout", "/views/save", "/language"))
        forms = text.count('method="post"') - everybodys
        allowed = {"/devices": 1, "/groups/lab": 1, "/enrollment": 1}.get(page, 0)  # lists without ticks or buttons
        assert forms <= allowed, page
        assert set(re.findall(r'data-open="([^"]+)"', text)) <= {"#save-view", "#keys"}, page


@pytest.mark.django_db
def test_a_form_without_its_token_changes_nothing(sample_fleet, people):
    fleet = sample_fleet(4)
    client = Client(enforce_csrf_checks=True)
    client.force_login(people[Role.ADMIN])
    for pattern in GUARDED:
        if "POST" not in getattr(client.options(address(pattern)), "headers", {}).get("Allow", "POST"):
            continue
        answer = client.post(address(pattern))
        assert answer.status_code in (403, 405), pattern.name
    fleet.devices[0].refresh_from_db()
    assert fleet.devices[0].retired_at is None
    answer = client.post("/devices/d-00000000/rename", {"name": "forged"})
    assert answer.status_code == 403
    assert "This form is no longer valid" in answer.text
    fleet.devices[0].refresh_from_db()
    assert fleet.devices[0].name != "forged"


def test_another_devices_command_cannot_be_canceled_through_this_one(sample_fleet, operating):
    fleet = sample_fleet(4)
    command = fleet.devices[0].commands.get(state="sent")
    answer = operating.post(f"/devices/{fleet.devices[1].pk}/commands/{command.pk}/cancel")
    assert answer.status_code == 404
    command.refresh_from_db()
    assert command.state == "sent"


def test_nobody_revokes_another_persons_api_token(people, operating):
    token, _ = create_api_token(people[Role.ADMIN], "the admin's")
    assert operating.post(f"/account/tokens/{token.pk}/revoke").status_code == 404
    token.refresh_from_db()
