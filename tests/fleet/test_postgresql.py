"""The tests of the store once more, on PostgreSQL: what holds on SQLite holds there."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from django.conf import settings

from fleet.demo.stack import free_port
from tests.fleet.dashboard.server import web

#: Where a server is looked for; any database that may create others.
URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
#: Rooms whose tests read and write rows. Those that start processes of their own do so on SQLite.
ROOMS = (
    *("telemetry", "gateway", "rollouts", "jobs", "devices", "catalog", "api", "brokers/test_following.py"),
    *(f"dashboard/test_{name}.py" for name in ("device", "devices", "groups", "jobs", "models", "queries", "rollouts")),
)


@pytest.fixture
def server():
    try:
        psycopg.connect(URL, connect_timeout=3).close()
    except psycopg.Error as problem:
        pytest.skip(f"PostgreSQL is not there ({' '.join(str(problem).split())}): start it to test the store on it")
    # Django puts test_ in front: a name of this run's own, so that two runs do not meet.
    return URL.rpartition("/")[0] + f"/edgefleet_{os.getpid()}_{free_port(20_000)}"


def test_pages_leave_no_connection_behind(server, tmp_path):
    """Each request has a thread of its own, which cannot pass a connection on."""
    name, where = server.rpartition("/")[2], {"DATABASE_URL": server, "EDGEFLEET_DATA": str(tmp_path)}
    env = {**os.environ, **where, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with psycopg.connect(URL, autocommit=True) as postgres:
        postgres.execute(f'CREATE DATABASE "{name}"')
        try:
            subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=settings.BASE_DIR, env=env, check=True)
            with web({**where, "DJANGO_SETTINGS_MODULE": "tests.settings"}, tmp_path / "web.log") as running:
                # A token that nobody has is looked up in the database, and refused.
                headers = {"Authorization": "Bearer eft_nobody"}
                with ThreadPoolExecutor(8) as people:
                    asked = [people.submit(httpx.get, f"{running.address}/api/me", headers=headers) for _ in range(120)]
                assert {each.result().status_code for each in asked} == {401}
                open_now = postgres.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]
                ).fetchone()
            assert open_now is not None
            assert open_now[0] <= 2
        finally:
            postgres.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


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
