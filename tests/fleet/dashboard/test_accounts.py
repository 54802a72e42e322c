"""Signing in, one's own account, and people."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from fleet.accounts.models import ApiToken
from fleet.accounts.roles import Role, role_of
from fleet.accounts.services import create_api_token, create_person, user_of_token
from fleet.errors import Refused

PASSWORD = "a password of 12 letters"


@pytest.fixture
def person(db) -> User:
    return create_person("somebody", Role.OPERATOR, None, PASSWORD)[0]


def test_one_signs_in_and_goes_where_one_wanted_to(person):
    client = Client()
    assert client.get("/devices?q=arm").url == "/login?next=/devices%3Fq%3Darm"
    answer = client.post(
        "/login?next=/devices?q=arm", {"username": "somebody", "password": PASSWORD, "next": "/devices?q=arm"}
    )
    assert answer.url == "/devices?q=arm"
    assert client.get("/").status_code == 200


def test_signing_in_never_leads_to_another_site(person):
    answer = Client().post("/login", {"username": "somebody", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer.url == "/"


def test_a_wrong_password_is_said_and_the_name_is_kept(person):
    answer = Client().post("/login", {"username": "somebody", "password": "wrong"})
    assert "Please enter a correct username and password" in answer.text
    assert 'value="somebody"' in answer.text
    assert 'role="alert"' in answer.text


def test_one_signs_out_with_a_form_only(person):
    client = Client()
    client.force_login(person)
    assert client.get("/logout").url == "/"
    assert client.get("/").status_code == 200, "a link signs nobody out"
    assert client.post("/logout").url == "/login"
    assert client.get("/").url.startswith("/login")


def test_a_deactivated_person_is_signed_out_at_once(person):
    client = Client()
    client.force_login(person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert client.get("/").status_code == 302


def test_the_text_of_an_api_token_is_shown_once(person):
    client = Client()
    client.force_login(person)
    answer = client.post("/account/tokens", {"token-name": "nightly", "token-expires": "30"})
    text = re.search(r'id="new-token">([^<]+)</pre>', answer.text)[1]
    assert user_of_token(text) == person
    assert "no-store" in answer.headers["Cache-Control"]
    assert text not in client.get("/account").text
    token = ApiToken.objects.get()
    assert token.expires_at is not None
    answer = client.post(f"/account/tokens/{token.pk}/revoke", follow=True)
    assert "The token nightly no longer works." in answer.text
    assert user_of_token(text) is None


def test_a_token_needs_a_name(person):
    client = Client()
    client.force_login(person)
    answer = client.post("/account/tokens", {"token-name": "  ", "token-expires": ""})
    assert answer.status_code == 422
    assert 'id="id_token-name-error"' in answer.text
    assert not ApiToken.objects.exists()


def test_others_tokens_are_not_listed(person, viewer):
    create_api_token(person, "not yours")
    assert "not yours" not in viewer.get("/account").text


def test_a_new_password_ends_other_sessions_and_keeps_this_one(person):
    here, elsewhere = Client(), Client()
    here.force_login(person)
    elsewhere.force_login(person)
    new = "another one of 12 letters"
    given = {"password-old_password": PASSWORD, "password-new_password1": new, "password-new_password2": new}
    answer = here.post("/account/password", given, follow=True)
    assert "Your password is changed." in answer.text
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    person.refresh_from_db()
    assert person.check_password(new)


@pytest.mark.parametrize(
    ("old", "new", "again", "field"),
    [
        ("wrong", "another one of 12 letters", "another one of 12 letters", "old_password"),
        (PASSWORD, "short", "short", "new_password2"),
        (PASSWORD, "passwordpassword", "different one here", "new_password2"),
        (PASSWORD, "", "", "new_password1"),
    ],
)
def test_a_bad_password_is_said_beside_its_field(person, old, new, again, field):
    client = Client()
    client.force_login(person)
    given = {"password-old_password": old, "password-new_password1": new, "password-new_password2": again}
    answer = client.post("/account/password", given, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert f'id="id_password-{field}-error"' in answer.text
    assert new == "" or f'value="{new}"' not in answer.text, "a password is never sent back"
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


# --- People ---------------------------------------------------------------------------------------------------------


def test_a_new_person_signs_in_with_the_password_that_is_shown_once(managing):
    answer = managing.post("/people/add", {"username": "new.colleague", "role": "operator"})
    password = re.search(r'id="new-password">([^<]+)</pre>', answer.text)[1]
    assert "no-store" in answer.headers["Cache-Control"]
    assert password not in managing.get("/people").text
    assert Client().login(username="new.colleague", password=password)
    assert role_of(User.objects.get(username="new.colleague")) is Role.OPERATOR


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"username": "", "role": "viewer"}, "This field is required."),
        ({"username": "two words", "role": "viewer"}, "A name has letters, digits and @ . + - _ only."),
        ({"username": "viewer-person", "role": "viewer"}, "There is already a person called viewer-person."),
        ({"username": "Viewer-Person", "role": "viewer"}, "There is already a person called viewer-person."),
        ({"username": "x", "role": "god"}, "Select a valid choice."),
    ],
)
def test_a_person_that_cannot_be_is_said_beside_the_field(managing, people, given, says):
    answer = managing.post("/people/add", given)
    assert answer.status_code == 422
    assert says in answer.text


def test_a_person_without_a_name_is_asked_for_one(db):
    for name in ("", "  "):
        with pytest.raises(Refused, match=r"^Give the person a name\.$"):
            create_person(name, Role.VIEWER, None)


def test_a_role_is_changed_and_the_last_admin_stays(managing, people):
    managing.post(f"/people/{people[Role.VIEWER].pk}/role", {"role": "operator"})
    assert role_of(User.objects.get(username="viewer-person")) is Role.OPERATOR
    answer = managing.post(f"/people/{people[Role.ADMIN].pk}/role", {"role": "viewer"}, follow=True)
    assert "This is the last admin" in answer.text
    managing.post(f"/people/{people[Role.VIEWER].pk}/role", {"role": "god"})
    assert role_of(User.objects.get(username="viewer-person")) is Role.OPERATOR


def test_a_person_is_deactivated_but_not_oneself(managing, people):
    answer = managing.post(f"/people/{people[Role.VIEWER].pk}/deactivate", follow=True)
    assert "viewer-person can no longer sign in" in answer.text
    assert "Deactivated</span>" in answer.text
    answer = managing.post(f"/people/{people[Role.ADMIN].pk}/deactivate", follow=True)
    assert "You cannot deactivate yourself." in answer.text
