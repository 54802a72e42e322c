"""What a rollout to thousands of devices costs the server, and how long a whole one takes.

Everything runs against a database of its own (SQLite, or what DATABASE_URL names) through the services, the tick and
the pages themselves. Queries are statements without BEGIN, COMMIT and savepoints; seconds are of this process's
processor (SQLite works in it too), measured in a run apart from the one whose queries are counted. The baseline of a
page is the same page at a tenth of the devices.

The whole rollout is one to light devices (`agent.simulate`) behind mosquitto, all of it on this machine, from the click
to the last report. A device is watched for a minute, as is usual, and that minute is part of the figure; the baseline
is the time until every device was being watched.
"""

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.rows import Row

FEW, MANY = 1_000, 10_000
TICKS, LOOKS = 9, 30
#: Until when a whole rollout has to have ended.
MOST_SECONDS = 600


def run() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    os.environ |= {
        "EDGEFLEET_DATA": str(folder),
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "EDGEFLEET_LOG": "WARNING",
    }
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    settings.ALLOWED_HOSTS.append("testserver")
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, ignore_patterns=["datasets", "templates"], verbosity=0)
    from fleet.accounts.first_start import ensure

    ensure()
    try:
        bench = Bench()
        rows = bench.starting(FEW, 0.5)
        page = bench.page(FEW)
        rows += bench.starting(MANY, 4.0)
        rows += bench.ticking()
        return rows + bench.showing(page) + _whole(folder / "light")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _whole(folder: Path) -> list[Row]:
    from bench.rollouts.light import LightFleet

    folder.mkdir()
    with closing(LightFleet(folder, "mosquitto")) as fleet:
        fleet.start().devices(FEW)
        release, began = fleet.release(1_000_000), time.monotonic()
        rollout = fleet.roll_out(release)
        watched = 0.0
        while (counts := fleet.counts(rollout))["active"] < FEW:
            if not watched and counts["active"] + counts["watching"] == FEW:
                watched = time.monotonic() - began
            if counts["failed"] + counts["rejected"] or time.monotonic() - began > MOST_SECONDS:
                raise RuntimeError(f"after {time.monotonic() - began:.0f} s the devices are {dict(counts)}")
            time.sleep(0.5)
        seconds = time.monotonic() - began
    figure = f"{FEW:,} light agents, 1 MB: from the click to all active, a watch of 60 s included"
    watched = watched or seconds
    return [Row(figure, seconds, "s", 120, "lower", baseline=watched, ratio=seconds / watched, n=FEW)]


class Bench:
    """One fleet, which grows; and rollouts to all of it."""

    def __init__(self) -> None:
        from django.test import Client

        from fleet.accounts.roles import Role
        from fleet.accounts.services import create_person
        from fleet.catalog.models import Model, ModelVersion
        from fleet.devices.models import Group

        self.person, _ = create_person("bench", Role.OPERATOR, by=None)
        self.group = Group.objects.create(name="everybody")
        model = Model.objects.create(name="bench")
        self.version = ModelVersion.objects.create(
            model=model, number=1, format="onnx", file_name="m.onnx", digest="ab" * 32, size=1
        )
        self.browser = Client()
        self.browser.force_login(self.person)
        self._made = 0

    def fleet(self, count: int) -> None:
        """So many devices, all of them there now."""
        from django.utils import timezone

        from agent.wire.hardware import GIB
        from fleet.devices.models import Device

        now = timezone.now()
        have = Device.objects.count()
        Device.objects.bulk_create(
            Device(
                id=f"d-{number:06d}",
                name=f"arm-{number:06d}",
                nonce=f"n-{number}",
                admission="accepted",
                salt=b"",
                digest=b"",
                device_class="embedded",
                hardware={"cores": 4, "memory_bytes": 4 * GIB, "storage_bytes": 32 * GIB},
                boot_id="b-1",
            )
            for number in range(have, count)
        )
        Device.objects.update(online=True, last_seen=now, sample_at=now)
        if have < count:
            self.group.devices.set(Device.objects.all())

    def release(self) -> Any:
        """Of a variant that nobody runs yet."""
        import msgspec

        from agent.wire import manifest as wire
        from fleet.catalog.models import Release, Trial, Variant
        from fleet.trust import services as trust

        self._made += 1
        key = f"bench {self._made}"
        parts = tuple(
            wire.Part(wire.digest_of(f"{key} {role}".encode()), size, role)
            for role, size in (("model", 1_000_000), ("golden", 5000))
        )
        size = sum(part.size for part in parts)
        manifest = wire.Manifest(
            model="bench",
            version="1",
            variant=key,
            device_class="embedded",
            digest=wire.digest_of(key.encode()),
            size=size,
            parts=parts,
        )
        trial = Trial.objects.create(version=self.version, device_class="embedded", key=key, name=key, verdict="won")
        variant = Variant.objects.create(
            version=self.version,
            device_class="embedded",
            trial=trial,
            manifest_digest=wire.digest_of(wire.encode(manifest)),
            manifest=msgspec.to_builtins(manifest),
            bytes=size,
        )
        release = Release.objects.create(version=self.version, number=self._made)
        release.variants.set([variant])
        trust.vouch([variant])  # as making a release does
        return release

    # --- Figures ---

    def starting(self, count: int, goal: float) -> list[Row]:
        """A rollout that tells everybody at once: the dearest start there is."""
        from fleet.rollouts import services

        self._end()
        self.fleet(count)
        release = self.release()
        queries = _queries(lambda: services.start(release, self.person, group=self.group))
        self._end()
        seconds = []
        for _ in range(3):
            release = self.release()
            self.fleet(count)
            seconds.append(_cpu(lambda release=release: services.start(release, self.person, group=self.group)))
            self._end()
        return [
            Row(f"start a rollout on {count:,} devices: queries in all", queries, "", 25, "lower", n=1),
            Row(f"start a rollout on {count:,} devices: CPU", statistics.median(seconds), "s", goal, "lower", n=3),
        ]

    def _end(self) -> None:
        from fleet.gateway.models import Outbox
        from fleet.rollouts import services
        from fleet.rollouts.models import Rollout

        for rollout in Rollout.objects.filter(state__in=["running", "paused"]):
            services.cancel(rollout, self.person)
        Outbox.objects.all().delete()

    def running(self, count: int) -> Any:
        """A rollout in its last phase: a third is done, some failed, 500 may be in flight."""
        from django.utils import timezone

        from fleet.rollouts import services
        from fleet.rollouts.models import Deployment
        from fleet.rollouts.plan import PRESETS, Terms

        self._end()
        self.fleet(count)
        phases, terms = PRESETS["canary"][1], Terms(most_in_flight=500)
        rollout = services.start(self.release(), self.person, group=self.group, phases=phases, terms=terms)
        for number in (0, 1):
            self._finish(rollout, count)
            services.open_next(rollout, self.person)
            rollout.refresh_from_db()
            if number == 0 and rollout.phase > 1:
                break
        ids = list(rollout.deployments.filter(state="queued").values_list("pk", flat=True)[: count // 3])
        Deployment.objects.filter(pk__in=ids).update(state="notified")
        Deployment.objects.filter(pk__in=ids).update(state="active", told_at=timezone.now(), finished_at=timezone.now())
        failed = rollout.deployments.filter(state="notified").values_list("pk", flat=True)[: count // 200]
        Deployment.objects.filter(pk__in=list(failed)).update(state="failed", reason="golden observation 3 is off")
        return rollout

    def _finish(self, rollout: Any, count: int) -> None:
        """So many of the told report that they are active."""
        from django.utils import timezone

        from fleet.rollouts.models import Deployment

        ids = list(rollout.deployments.filter(state="notified").values_list("pk", flat=True)[:count])
        Deployment.objects.filter(pk__in=ids).update(state="active", finished_at=timezone.now())

    def ticking(self) -> list[Row]:
        """Each tick finds 150 devices that have finished, and tells 150 others."""
        from fleet.rollouts.tasks import tick

        rollout = self.running(MANY)
        tick()
        self._finish(rollout, 150)
        self.fleet(MANY)
        queries = _queries(tick)
        seconds = []
        for _ in range(TICKS):
            self.fleet(MANY)
            self._finish(rollout, 150)
            before = rollout.deployments.filter(state="queued").count()
            seconds.append(_cpu(tick))
            if before - rollout.deployments.filter(state="queued").count() != 150:
                raise RuntimeError("a tick did not tell the devices whose turn it was")
        return [
            Row(f"one tick of a running {MANY:,}-device rollout: queries", queries, "", 15, "lower", n=1),
            Row(f"one tick of a running {MANY:,}-device rollout: CPU", max(seconds), "s", 0.5, "lower", n=TICKS),
        ]

    def page(self, count: int) -> tuple[float, int]:
        """(p95 in ms, queries) of a running rollout's page."""
        rollout = self.running(count)
        address = f"/rollouts/{rollout.pk}"

        def look() -> None:
            if self.browser.get(address).status_code != 200:
                raise RuntimeError(f"{address} was not shown")

        look()
        queries = _queries(look)
        taken = [_cpu(look) * 1000 for _ in range(LOOKS)]
        return statistics.quantiles(taken, n=20)[-1], queries

    def showing(self, few: tuple[float, int]) -> list[Row]:
        p95, queries = self.page(MANY)
        return [
            Row(
                f"rollout page at {MANY:,} devices: server time, p95",
                p95,
                "ms",
                150,
                "lower",
                baseline=few[0],
                ratio=p95 / few[0],
                n=LOOKS,
            ),
            Row(
                f"rollout page at {MANY:,} devices: queries, as many as at {FEW:,}",
                queries,
                "",
                few[1],
                "lower",
                baseline=few[1],
                ratio=queries / few[1],
                n=1,
            ),
        ]


def _queries(what: Callable[[], Any]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as asked:
        what()
    ours = re.compile(r"(?!BEGIN|COMMIT|SAVEPOINT|RELEASE|ROLLBACK)")
    found = [query["sql"] for query in asked if ours.match(query["sql"])]
    print(f"{len(found)} queries", file=sys.stderr)
    return len(found)


def _cpu(what: Callable[[], Any]) -> float:
    began = time.process_time()
    what()
    return time.process_time() - began
