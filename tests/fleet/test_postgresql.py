"""The tests of the store once more, on PostgreSQL: what holds on SQLite holds there."""

import os
import subprocess
import sys

import psycopg
import pytest
from django.conf import settings

from fleet.demo.stack import free_port

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
