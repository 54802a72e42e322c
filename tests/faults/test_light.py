"""What must not break a fleet: the broker goes, a rollout is canceled, devices leave, the server is killed.

Real server processes and light devices with the real link and update machine. `make test` has 24 of them, `make soak` a
thousand.
"""

import json
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest

from bench.rollouts.light import LightFleet
from fleet.brokers.mosquitto import configuration
from tests.journeys.installation import without_proxies

DEVICES = int(os.environ.get("LIGHT_DEVICES", "24"))
PER_PROCESS = max(1, min(250, DEVICES // 2))
#: Seconds that a step may take: the more devices, the more.
PATIENCE = 60 + DEVICES * 0.3
SIZE = 400_000
#: Bytes a second to all devices together at which no download ends while a test looks.
CRAWL = 20_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    without_proxies()
    broker = "mosquitto" if configuration.program() and configuration.plugin() else "embedded"
    made = LightFleet(tmp_path_factory.mktemp("light"), broker)
    try:
        made.start().devices(DEVICES, PER_PROCESS, seconds=10 * PATIENCE)
        made.shell(WATCH_SHORTLY)
        ended(made, made.roll_out(made.release(SIZE)))
        yield made
    finally:
        made.close()
    assert made.complaints() == []


#: Ends the watch after a second on all devices.
WATCH_SHORTLY = """
from django.db import transaction
from django.db.models import F
from fleet.devices.models import Device
from fleet.gateway import outbox
with transaction.atomic():
    Device.objects.update(config={"watch_seconds": 1}, config_version=F("config_version") + 1)
    outbox.write_desired(Device.objects.values_list("pk", flat=True))
print("told")
"""


def ask(fleet: LightFleet, sql: str, *values: object) -> list[tuple]:
    """Straight from the database: what the server knows."""
    with closing(sqlite3.connect(f"file:{fleet.folder}/server/edgefleet.db?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(sql, values).fetchall()


def states(fleet: LightFleet, rollout: int) -> Counter[str]:
    return Counter(dict(ask(fleet, STATES, rollout)))


STATES = "SELECT state, count(*) FROM rollouts_deployment WHERE rollout_id = ? GROUP BY state"


def ended(fleet: LightFleet, rollout: int) -> Counter[str]:
    """Until it is finished; how its deployments ended."""
    state = "SELECT state FROM rollouts_rollout WHERE id = ?"
    fleet.wait_for(f"the end of rollout {rollout}", lambda: ask(fleet, state, rollout) == [("finished",)], 2 * PATIENCE)
    return states(fleet, rollout)


def runs(fleet: LightFleet) -> dict[str, str]:
    """What each device in service says that it runs."""
    return dict(ask(fleet, "SELECT name, active_manifest FROM devices_device WHERE retired_at IS NULL"))


def whole(fleet: LightFleet, name: str) -> str:
    """What a device has on its disk, by its own record: the active artifact, installed whole, and nothing half done."""
    folder = fleet.disks / name
    saved = json.loads((folder / "state.json").read_bytes())
    assert saved["attempt"]["state"] in {"active", "superseded"}, "nothing is under way"
    assert list((folder / "parts").iterdir()) == []
    active = str(saved["active"]["manifest"])
    assert sum(path.stat().st_size for path in (folder / "artifacts" / active).iterdir()) > SIZE
    return active


def crawling(fleet: LightFleet, share: float = 1.0, **more: object) -> int:
    """A rollout of something new that is on its way to that share of the devices, and does not arrive."""
    fleet.api.call("PUT", "/transfer", {"bytes_per_second": CRAWL})
    time.sleep(5)  # the gateway looks for the limit this often
    rollout = fleet.roll_out(fleet.release(SIZE), **more)
    fleet.wait_for("downloads", lambda: states(fleet, rollout)["downloading"] >= share * len(runs(fleet)), PATIENCE)
    return rollout


def full_speed(fleet: LightFleet) -> None:
    fleet.api.call("PUT", "/transfer", {"bytes_per_second": 0})


def heard_since(fleet: LightFleet, at: float) -> int:
    """Devices in service that have said something since then."""
    sql = "SELECT count(*) FROM devices_device WHERE retired_at IS NULL AND last_seen > datetime(?, 'unixepoch')"
    return int(ask(fleet, sql, at)[0][0])


def test_all_devices_reconnect_at_once_and_nothing_is_lost(fleet):
    """The broker is killed: every device loses its link at the same moment, and comes back."""
    fleet.kill("broker")
    time.sleep(3)
    began = time.time()
    fleet.run(fleet.process_of("broker"))
    fleet.wait_for("all devices", lambda: heard_since(fleet, began + 1) == len(runs(fleet)), PATIENCE)
    print(f"{len(runs(fleet))} devices were back {time.time() - began:.1f} s after the broker")

    fleet.wait_for("all samples", lambda: gaps(fleet) == 0, PATIENCE)
    rollout = fleet.roll_out(fleet.release(SIZE))
    assert ended(fleet, rollout) == {"active": len(runs(fleet))}, "orders reach everybody again"


def gaps(fleet: LightFleet) -> int:
    """Devices of which a sample is missing between the first and the last that came."""
    sql = """SELECT count(*) FROM (SELECT device_id FROM telemetry_sample GROUP BY device_id, boot_id
        HAVING max(seq) - min(seq) + 1 > count(*))"""
    return int(ask(fleet, sql)[0][0])


def test_cancel_midway_leaves_every_device_on_a_whole_known_variant(fleet):
    before = runs(fleet)
    rollout = crawling(fleet)
    began = time.monotonic()
    fleet.api.post(f"/rollouts/{rollout}/cancel")
    assert states(fleet, rollout) == {"canceled": len(before)}
    print(f"{len(before)} downloads were canceled in {time.monotonic() - began:.1f} s")
    full_speed(fleet)

    def at_rest() -> bool:
        return all(not any((fleet.disks / name / "parts").iterdir()) for name in before)

    fleet.wait_for("the devices to let go of it", at_rest, PATIENCE)
    assert runs(fleet) == before
    assert {name: whole(fleet, name) for name in before} == before


def test_devices_that_leave_during_a_rollout_hold_nobody_up(fleet):
    rollout = crawling(fleet)
    ids = [pk for (pk,) in ask(fleet, "SELECT id FROM devices_device WHERE retired_at IS NULL ORDER BY name")]
    leaving = ids[:: max(2, len(ids) // 10)]
    for pk in leaving:
        fleet.api.call("DELETE", f"/devices/{pk}")
    full_speed(fleet)
    assert ended(fleet, rollout) == {"active": len(ids) - len(leaving), "canceled": len(leaving)}

    began = time.time() + 1
    fleet.wait_for("the others", lambda: heard_since(fleet, began) == len(ids) - len(leaving), PATIENCE)
    marks = ",".join("?" * len(leaving))
    late = f"SELECT count(*) FROM devices_device WHERE id IN ({marks}) AND last_seen > datetime(?, 'unixepoch')"  # noqa: S608
    assert ask(fleet, late, *leaving, began) == [(0,)], "who has left is not heard any more"


def test_a_server_that_is_killed_during_a_rollout_goes_on(fleet):
    rollout = crawling(fleet, 0.5, phases=[{"percent": 50}, {"percent": 100}])
    fleet.kill(*(process.name for process in fleet.stack.server() if process.name in fleet.processes))
    time.sleep(2)
    fleet.start_server()
    full_speed(fleet)
    assert ended(fleet, rollout) == {"active": len(runs(fleet))}
    assert {name: whole(fleet, name) for name in runs(fleet)} == runs(fleet)
    assert len(set(runs(fleet).values())) == 3, "one variant for each class"
