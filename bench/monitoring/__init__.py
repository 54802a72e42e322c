"""What monitoring costs: how many samples one gateway takes, and how long pages and charts take over a large store.

Each database has a process of its own (`bench.monitoring.stand`), for the settings are read once. What is real: the
gateway, mosquitto, the databases, the views. What is made: 10,000 devices and 5 million samples, written in bulk before
anything is measured, and the messages, which one process sends for all devices over a few connections; they have the
fields and the size of an agent's. The baseline is what a first attempt would do: a `save()` for each message.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.rows import Row

DEVICES, SAMPLES = 10_000, 5_000_000
#: messages a second, and times of what save() for each manages.
GOALS = {"SQLite": (5_000.0, 6.0), "PostgreSQL": (10_000.0, 40.0)}
PAGES = ("device list", "search", "device page", "overview")


def run() -> Iterator[Row]:
    from bench.monitoring import first_load

    with tempfile.TemporaryDirectory(prefix="edgefleet-bench-") as folder:
        yield from _rows("SQLite", _measured(f"sqlite:///{folder}/sqlite.db", Path(folder) / "sqlite"))
        yield from first_load.rows()
        url = os.environ.get("BENCH_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
        if not _there(url):
            print(f"No PostgreSQL at {url}: its rows are left out.", file=sys.stderr)
            return
        with _database(url) as own:
            yield from _rows("PostgreSQL", _measured(own, Path(folder) / "postgresql"))


def _there(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


class _database:  # noqa: N801  # used as a function
    """A PostgreSQL database of this run's own."""

    def __init__(self, url: str) -> None:
        self._url, self._name = url, f"edgefleet_bench_{os.getpid()}"

    def __enter__(self) -> str:
        self._run(f'CREATE DATABASE "{self._name}"')
        return urlsplit(self._url)._replace(path=f"/{self._name}").geturl()

    def __exit__(self, *_: object) -> None:
        self._run(f'DROP DATABASE "{self._name}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


def _measured(url: str, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-m", "bench.monitoring.stand", str(DEVICES), str(SAMPLES)],
        env={**os.environ, "DATABASE_URL": url, "EDGEFLEET_DATA": str(folder), "EDGEFLEET_LOG": "WARNING"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rows(name: str, found: dict[str, Any]) -> Iterator[Row]:
    rate, times = GOALS[name]
    taken, plain = found["rate"], found["baseline"]
    sent = int(found["sent"])
    yield Row(
        f"{name}: samples taken in {found['seconds']:.0f} s", taken, "/s", rate, "higher", plain, taken / plain, sent
    )
    yield Row(f"{name}: against save() for each message", taken / plain, "times", times, "higher", plain, n=sent)
    yield Row(f"{name}: samples lost or taken twice", found["wrong"], "", 0, "lower", n=sent)
    took = found["to_the_chart"]
    yield Row(
        f"{name}: from a sample sent to the open chart, p95",
        took[int(0.95 * len(took)) - 1],
        "s",
        2,
        "lower",
        n=len(took),
    )
    yield Row(f"{name}: 200 open live pages", found["waiting"], "% of a core", 10, "lower", n=200)
    for page in PAGES:
        few, many = found["pages"]
        label = f"{name}: {page}, p95 with {DEVICES:,} devices"
        yield Row(
            label, many[page]["p95"], "ms", 100, "lower", few[page]["p95"], many[page]["p95"] / few[page]["p95"], 50
        )
        more = many[page]["queries"] - few[page]["queries"]
        yield Row(f"{name}: {page}, queries", many[page]["queries"], "", 12, "lower", few[page]["queries"], n=1)
        yield Row(f"{name}: {page}, queries more than with 1,000 devices", more, "", 0, "lower", n=1)
    chart = found["chart"]
    yield Row(
        f"{name}: chart of 90 days, p95",
        chart["p95"],
        "ms",
        150,
        "lower",
        chart["raw"],
        chart["p95"] / chart["raw"],
        50,
    )
    yield Row(f"{name}: chart of 90 days, points", chart["points"], "", 2000, "lower", n=1)
