"""The tests of the store once more, on PostgreSQL: what holds on SQLite holds there; and how it is connected to."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import httpx
import psycopg
import pytest
from django.conf import settings

from fleet.asgi import CONNECTIONS
from tests.fleet.dashboard.server import web
from tests.ports import free_port

#: Where a server is looked for; any database that may create others.
URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
#: Open pages: more than PostgreSQL has connections.
PAGES = 150
SIGN_IN = """
from django.test import Client
from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
client = Client()
client.force_login(create_person("somebody", Role.VIEWER, by=None)[0])
print(client.cookies["sessionid"].value)
"""
#: Rooms whose tests read and write rows. Those that start processes of their own do so on SQLite.
ROOMS = (
    *(
        "telemetry",
        "gateway",
        "rollouts",
        "jobs",
        "devices",
        "catalog",
        "api",
        "search",
        "alerts",
        "brokers/test_following.py",
    ),
    *(
        f"dashboard/test_{name}.py"
        for name in ("alerts", "device", "devices", "groups", "jobs", "models", "queries", "rollouts")
    ),
)


@pytest.fixture
def server():
    try:
        psycopg.connect(URL, connect_timeout=3).close()
    except psycopg.Error as problem:
        pytest.skip(f"PostgreSQL is not there ({' '.join(str(problem).split())}): start it to test the store on it")
    # Django puts test_ in front: a name of this run's own, so that two runs do not meet.
    return URL.rpartition("/")[0] + f"/edgefleet_{os.getpid()}_{free_port()}"


@pytest.fixture
def pages(server, tmp_path):
    """The web process over a database of its own, and how many connections that has."""
    name, where = server.rpartition("/")[2], {"DATABASE_URL": server, "EDGEFLEET_DATA": str(tmp_path)}
    env = {**os.environ, **where, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with psycopg.connect(URL, autocommit=True) as postgres:
        postgres.execute(f'CREATE DATABASE "{name}"')

        def connected() -> int:
            found = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]).fetchone()
            assert found is not None
            return found[0]

        def manage(*words: str) -> str:
            run = [sys.executable, "manage.py", *words]
            done = subprocess.run(run, cwd=settings.BASE_DIR, env=env, check=True, capture_output=True, text=True)
            return done.stdout

        try:
            manage("migrate", "-v0")
            with web({**where, "DJANGO_SETTINGS_MODULE": "tests.settings"}, tmp_path / "web.log") as running:
                yield running.address, manage, connected
        finally:
            postgres.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_requests_share_a_few_connections(pages):
    """Each request has a thread of its own, which cannot pass a connection on."""
    address, _, connected = pages
    # A token that nobody has is looked up in the database, and refused.
    headers = {"Authorization": "Bearer eft_nobody"}
    with ThreadPoolExecutor(40) as people:
        asked = [people.submit(httpx.get, f"{address}/api/me", headers=headers, timeout=30) for _ in range(200)]
    assert {each.result().status_code for each in asked} == {401}
    assert 1 <= connected() <= CONNECTIONS


def test_an_open_page_holds_no_connection(pages):
    address, manage, connected = pages
    cookies = {"sessionid": manage("shell", "-v0", "-c", SIGN_IN).strip()}

    async def opened() -> int:
        limits = httpx.Limits(max_connections=PAGES)
        async with httpx.AsyncClient(base_url=address, cookies=cookies, timeout=60, limits=limits) as client:
            streams = [client.stream("GET", "/live?topics=fleet") for _ in range(PAGES)]
            async with AsyncExitStack() as stack:
                answers = await asyncio.gather(*(stack.enter_async_context(each) for each in streams))
                assert {each.status_code for each in answers} == {200}
                first = [await anext(answer.aiter_lines()) for answer in answers]
                assert set(first) == {"retry: 2000"}
                again = await client.get("/devices")
                assert again.status_code == 200
                return connected()

    assert asyncio.run(opened()) <= CONNECTIONS


def test_the_store_holds_on_postgresql(server):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/fleet/{room}" for room in ROOMS)],
        cwd=settings.BASE_DIR,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "EDGEFLEET_"))},
            "DATABASE_URL": server,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
