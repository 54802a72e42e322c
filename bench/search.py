"""Typical searches of a fleet of 10,000 devices, on SQLite and on PostgreSQL.

Each is what the list of devices asks: how many match, by liveness, and the first fifty by name. Beside it stands the
same list without a search. PostgreSQL is looked for at TEST_POSTGRES_URL, and left out where there is none.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from bench.rows import Row

ROOT = Path(__file__).resolve().parents[1]
DEVICES, ROUNDS = 10_000, 15
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
SEARCHES = (
    "arm-07",
    "offline",
    "class:embedded online",
    "tag:site=berlin",
    "tag:site=berlin -tag:spare class:mobile",
    "memory<4",
    "model:tabletop@2 latency>50ms",
    "failing or updating",
    "group:half -seen>3h",
    "class:embedded tag:site=berlin memory<4 model:tabletop@2 offline",
)
COUNTED = "the list of groups, 50 of them by query"
GOALS = {COUNTED: 500.0}
GOAL = 100.0  # ms, of a search


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="edgefleet-bench-") as folder:
        rows = _measured("SQLite", f"sqlite:///{folder}/bench.db", folder)
        name = f"edgefleet_bench_{os.getpid()}"
        try:
            _postgres(f'CREATE DATABASE "{name}"')
        except Exception as problem:  # whatever keeps it away, the other half is measured
            print(f"PostgreSQL is not there ({problem}): SQLite alone is measured.", file=sys.stderr)
            return rows
        try:
            return rows + _measured("PostgreSQL", f"{POSTGRES.rpartition('/')[0]}/{name}", folder)
        finally:
            _postgres(f'DROP DATABASE "{name}" WITH (FORCE)')


def _postgres(statement: str) -> None:
    import psycopg

    with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3) as server:
        server.execute(statement)


def _measured(kind: str, url: str, folder: str) -> list[Row]:
    env = {**os.environ, "DATABASE_URL": url, "EDGEFLEET_DATA": folder, "DJANGO_SETTINGS_MODULE": "fleet.settings"}
    done = subprocess.run([sys.executable, "-m", "bench.search"], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    times = json.loads(done.stdout.splitlines()[-1])
    everything = times.pop("")
    return [
        Row(f"{kind}: {what}", round(ms, 2), "ms", GOALS.get(what, GOAL), "lower", everything, ms / everything, ROUNDS)
        for what, ms in {"no search": everything, **times}.items()
    ]


# --- In a process whose Django has that database --------------------------------------------------------------------


def _main() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    _fill()
    from django.utils import timezone

    from fleet.dashboard.selectors.devices import device_list
    from fleet.dashboard.selectors.groups import groups

    times = {search: _time(lambda search=search: device_list({"q": search}, timezone.now())) for search in SEARCHES}
    times[""] = _time(lambda: device_list({}, timezone.now()))
    _groups()
    times[COUNTED] = _time(lambda: groups(timezone.now()))
    print(json.dumps(times))


def _time(look: Callable[[], object]) -> float:
    """Milliseconds of processor and database for one look, the median."""
    took = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        look()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[1:])


def _groups() -> None:
    from fleet.devices.models import Group

    queries = [f"tag:line={n} online" for n in range(40)] + [f"class:mobile tag:serial=00{n:04}" for n in range(10)]
    Group.objects.bulk_create(Group(name=f"line-{n}", query=query) for n, query in enumerate(queries))


def _fill() -> None:
    """Devices of three classes, three of four online, each with three tags and two deployments."""
    from django.db import connection
    from django.utils import timezone

    from agent.wire.hardware import GIB
    from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
    from fleet.devices.models import Device, Group, Tag
    from fleet.rollouts.models import Deployment, Rollout

    pick, now = random.Random(7), timezone.now()  # noqa: S311  # sample data
    model = Model.objects.create(name="tabletop")
    variants: dict[tuple[int, str], Variant] = {}
    rollouts = []
    classes = ("embedded", "mobile", "edge_server")
    for number in (1, 2):
        version = ModelVersion.objects.create(model=model, number=number, format="onnx", size=1, digest="0" * 64)
        for place, name in enumerate(classes):
            trial = Trial.objects.create(version=version, device_class=name, key=f"{number}{name}", name="fp16")
            variants[number, name] = Variant.objects.create(
                version=version,
                device_class=name,
                trial=trial,
                manifest={},
                bytes=1,
                manifest_digest=f"{number}{place}" * 32,
            )
        release = Release.objects.create(version=version, number=1)
        rollouts.append(Rollout.objects.create(release=release, target="all", state="running"))

    def device(number: int) -> Device:
        name = classes[number % 3]
        away = pick.random() < 0.25
        seen = now - timedelta(hours=pick.uniform(0.1, 60)) if away else now + timedelta(hours=1)
        return Device(
            id=f"d-{number:08x}",
            name=f"{('cam', 'arm', 'ipc')[number % 3]}-{number:05}",
            nonce=f"n-{number}",
            salt=b"",
            digest=b"",
            admission="accepted",
            device_class=name,
            online=not away,
            last_seen=seen,
            sample_at=seen,
            latency_p95=pick.gauss(40, 15),
            active_manifest=variants[pick.choice((1, 2)), name].manifest_digest,
            hardware={
                "cores": 4,
                "memory_bytes": int((1.9, 3.7, 15.6)[number % 3] * GIB),
                "storage_bytes": 32 * GIB,
                "board": "Raspberry Pi 4 Model B",
                "platform": "linux-aarch64",
                "accelerators": [],
                "sensors": ["camera", "temperature"],
                "declared": False,
            },
        )

    devices = Device.objects.bulk_create(map(device, range(DEVICES)), batch_size=1000)
    sites = ("berlin", "lisbon", "osaka", "lima")
    words: tuple[tuple[str, Callable[[int], str]], ...] = (
        ("site", lambda n: sites[n % 4]),
        ("line", lambda n: str(n % 40)),
        ("serial", lambda n: f"{n:06}"),
    )
    Tag.objects.bulk_create(
        (Tag(device=each, key=key, value=of(n)) for n, each in enumerate(devices) for key, of in words), batch_size=2000
    )
    Tag.objects.bulk_create((Tag(device=each, key="spare") for each in devices[::50]), batch_size=2000)
    Group.objects.create(name="half").devices.set(devices[::2])

    def deployments() -> Iterator[Deployment]:
        for place, rollout in enumerate(rollouts):
            for n, each in enumerate(devices):
                last = "failed" if n % 50 == 0 else "downloading" if n % 20 == 1 else "active"
                yield Deployment(
                    rollout=rollout,
                    device=each,
                    state=last if place else "active",
                    created_at=now + timedelta(hours=place),
                )

    Deployment.objects.bulk_create(deployments(), batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    _main()
