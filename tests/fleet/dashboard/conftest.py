"""Browsers of three people, and fleets to show them."""

import pytest
from django.test import Client

from fleet.accounts.roles import Role
from tests.fleet.dashboard.server import same_database, web
from tests.fleet.dashboard.support import SampleFleet


@pytest.fixture
def sign_in(people):
    """A client that is signed in as the person with that role."""

    def signed_in(role: Role) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return signed_in


@pytest.fixture
def viewer(sign_in) -> Client:
    return sign_in(Role.VIEWER)


@pytest.fixture
def operating(sign_in) -> Client:
    return sign_in(Role.OPERATOR)


@pytest.fixture
def managing(sign_in) -> Client:
    return sign_in(Role.ADMIN)


@pytest.fixture(scope="session")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    """The real web process over the tests' database; every test that asks for it sees its own rows."""
    with django_db_blocker.unblock():
        environment = same_database()
    with web(environment, tmp_path_factory.mktemp("web") / "web.log") as running:
        yield running


@pytest.fixture
def sample_fleet(people):
    """Fills the database with a fleet of that many devices."""

    def filled(devices: int = 30, hours: int = 0) -> SampleFleet:
        fleet = SampleFleet(devices, hours)
        fleet.fill(people[Role.OPERATOR])
        return fleet

    return filled
