"""Browsers of three people, fleets to show them, and rollouts to steer."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, sync_playwright

from agent.wire.hardware import GIB
from fleet.accounts.roles import Role
from fleet.catalog.models import Release
from fleet.devices.models import Group
from fleet.rollouts import services
from fleet.rollouts.models import Rollout
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version
from tests.fleet.dashboard.server import same_database, web
from tests.fleet.dashboard.support import SampleFleet, keep_alive
from tests.fleet.dashboard.support import people as make_people


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

    def filled(devices: int = 30, hours: int = 0, history: bool = False) -> SampleFleet:
        fleet = SampleFleet(devices, hours, history=history)
        fleet.fill(people[Role.OPERATOR])
        return fleet

    return filled


# --- Rollouts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hall(db) -> Group:
    """Two that can update; others that run it already, are too small, of a class without a variant, not accepted."""
    release = make_release(make_version(), classes=("embedded", "mobile"))
    variant = {variant.device_class: variant for variant in release.variants.all()}
    now = timezone.now()
    there = {"online": True, "last_seen": now, "sample_at": now}
    group = Group.objects.create(name="hall")
    group.devices.set(
        [
            make_device(name="cam-1", **there),
            make_device(name="arm-1", device_class="mobile"),
            make_device(name="done", active_manifest=variant["embedded"].manifest_digest),
            make_device(name="tiny", hardware={"memory_bytes": GIB, "storage_bytes": 1000}),
            make_device(name="ipc-1", device_class="edge_server"),
            make_device(name="stranger", admission="pending"),
        ]
    )
    return group


@pytest.fixture
def release(hall):
    return Release.objects.get()


@pytest.fixture
def rollout(hall, release, operator) -> Rollout:
    return services.start(release, operator, group=hall)


@pytest.fixture
def crowd(db) -> Group:
    make_release(make_version(), classes=("embedded",))
    now = timezone.now()
    group = Group.objects.create(name="crowd")
    group.devices.set([make_device(online=True, last_seen=now, sample_at=now) for _ in range(20)])
    return group


# --- Browsers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    # Playwright's loop runs in this thread, and Django would take the tests' queries for a coroutine's.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def fleet(chromium, transactional_db) -> SampleFleet:
    cast = make_people()
    made = SampleFleet(40, hours=0)
    made.fill(cast[Role.OPERATOR])
    keep_alive()
    return made


@pytest.fixture
def open_page(chromium, server, fleet):
    """Opens a page in a fresh browser, signed in; a test ends badly when the browser complained about anything."""
    contexts, complaints = [], []

    def heard(said, cut: bool) -> None:
        # A form that comes back with its errors is an answer with status 422, which the browser notes down. A request
        # that a newer one overtakes is given up, which htmx notes down twice; one that failed has other words as well.
        expected = "status of 422" in said.text or (cut and ("net::ERR_" in said.text or "htmx:sendError" in said.text))
        expected = expected or said.text.startswith(("htmx:sendAbort", "htmx:afterRequest"))
        if said.type in ("error", "warning") and not expected:
            complaints.append(said.text)

    def opened(path: str, role: Role = Role.ADMIN, *, cut: bool = False, **more) -> Page:
        """cut: the test takes the page off the network, of which the browser will complain."""
        context = chromium.new_context(base_url=server.address, **more)
        context.set_default_timeout(10_000)
        client = Client()
        client.force_login(User.objects.get(username=f"{role.label}-person"))
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.address}])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: heard(said, cut))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield opened
    said = list(complaints)  # closing cuts what is just being fetched, which nobody would see
    for context in contexts:
        context.close()
    assert said == []
