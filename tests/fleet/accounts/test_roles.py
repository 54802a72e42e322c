"""Who may do what, and how people and their tokens come and go."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from fleet.accounts import services
from fleet.accounts.models import ApiToken
from fleet.accounts.roles import Role, role_of
from fleet.audit.models import Event
from fleet.errors import Refused

pytestmark = pytest.mark.django_db


def test_roles_contain_each_other_and_strangers_have_none(people):
    assert [role_of(people[role]) for role in Role] == list(Role)
    assert Role.VIEWER < Role.OPERATOR < Role.ADMIN
    assert role_of(AnonymousUser()) is None
    assert role_of(User.objects.create_user("nobody")) is None


def test_a_token_speaks_for_its_owner_until_it_expires_or_is_revoked(operator, admin):
    token, text = services.create_api_token(operator, "ci")
    assert services.user_of_token(text) == operator
    assert not ApiToken.objects.filter(digest=text).exists(), "the text is kept nowhere"
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert services.user_of_token(text) is None
    ApiToken.objects.update(expires_at=None)
    services.revoke_api_token(token, admin)
    assert services.user_of_token(text) is None
    assert services.user_of_token("") is None


def test_nobody_else_revokes_a_token(people):
    token, _ = services.create_api_token(people[Role.ADMIN], "mine")
    with pytest.raises(Refused, match="owner or an admin"):
        services.revoke_api_token(token, people[Role.OPERATOR])


def test_the_last_admin_stays(people):
    admin = people[Role.ADMIN]
    with pytest.raises(Refused, match="last admin"):
        services.set_role(admin, Role.VIEWER, by=admin)
    services.set_role(people[Role.OPERATOR], Role.ADMIN, by=admin)
    services.set_role(admin, Role.VIEWER, by=admin)
    assert role_of(User.objects.get(pk=admin.pk)) is Role.VIEWER


def test_what_people_do_is_on_record(people):
    services.create_person("new", Role.VIEWER, by=people[Role.ADMIN])
    event = Event.objects.get(text="new was added as viewer")
    assert event.actor == people[Role.ADMIN]
    with pytest.raises(Refused, match="already a person called new"):
        services.create_person("new", Role.VIEWER, by=people[Role.ADMIN])
