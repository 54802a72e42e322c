"""A small cast: three people, and a way to make devices."""

import itertools

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import translation

from agent.wire.hardware import GIB
from agent.wire.states import Admission
from fleet.accounts.roles import Role
from fleet.accounts.services import create_api_token, create_person
from fleet.devices import credentials
from fleet.devices.models import Device

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def ids_begin_at_one(request, django_db_blocker):
    """Tests name rows by their ids, and one that commits would leave SQLite's counters behind for the next."""
    yield
    marker = request.node.get_closest_marker("django_db")
    commits = "transactional_db" in request.fixturenames or (marker and marker.kwargs.get("transaction"))
    if commits and connection.vendor == "sqlite":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence")


@pytest.fixture(autouse=True)
def no_language_is_left():
    """Django's test client leaves its last page's language to the thread, and so to the next test."""
    yield
    translation.deactivate()


@pytest.fixture
def people(db) -> dict[Role, User]:
    """One person for each role."""
    return {role: create_person(f"{role.label}-person", role, by=None)[0] for role in Role}


@pytest.fixture
def operator(people) -> User:
    return people[Role.OPERATOR]


@pytest.fixture
def admin(people) -> User:
    return people[Role.ADMIN]


@pytest.fixture
def bearer():
    """The header that lets a program speak for a user."""
    return lambda user: {"HTTP_AUTHORIZATION": f"Bearer {create_api_token(user, 'test')[1]}"}


def make_device(**given) -> Device:
    """An accepted embedded device. Its secret is `secret-of-<id>`, long enough for the wire."""
    number = next(_numbers)
    device_id = given.pop("id", f"d-{number:06d}")
    salt = credentials.new_salt()
    values = {
        "name": f"device-{number:06d}",
        "nonce": f"nonce-{number:06d}",
        "admission": Admission.ACCEPTED,
        "salt": salt,
        "digest": credentials.digest(f"secret-of-{device_id}".ljust(32, "_"), salt),
        "device_class": "embedded",
        "hardware": {"cores": 4, "memory_bytes": 4 * GIB, "storage_bytes": 32 * GIB},
    }
    return Device.objects.create(id=device_id, **{**values, **given})


@pytest.fixture
def device(db) -> Device:
    return make_device()
