"""Lists and charts as files: all that a list has pages of, in a few queries and little memory."""

import csv
import io
import tracemalloc
from datetime import timedelta

import httpx
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.accounts.roles import Role
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Rule
from fleet.alerts.services import acknowledge
from fleet.audit.models import Event
from fleet.dashboard.export import formats, tables
from fleet.dashboard.export.table import BLOCK
from fleet.devices.models import Device, Group, Tag
from fleet.rollouts.models import Deployment, Rollout
from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_variant, make_version
from tests.fleet.telemetry import rows as stored

pytestmark = pytest.mark.django_db


def rows(client: Client, address: str) -> list[dict[str, str]]:
    answer = client.get(address)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode(), newline="")))


def many(number: int) -> None:
    now = timezone.now()
    Device.objects.bulk_create(
        Device(
            id=f"m-{place:06d}",
            name=f"device-{place:06d}",
            nonce=f"m-{place}",
            salt=b"",
            digest=b"",
            admission="accepted",
            device_class="embedded",
            online=True,
            last_seen=now,
            sample_at=now,
            latency_p95=float(place),
        )
        for place in range(number)
    )


def test_devices_as_the_list_finds_and_sorts_them(viewer):
    variant = make_variant(make_version(), "embedded")
    now = timezone.now()
    fast = make_device(name="arm-1", latency_p95=10.0, active_manifest=variant.manifest_digest, last_seen=now)
    slow = make_device(name="=cmd()", latency_p95=90.0, memory_used=2**30, hardware={"board": "@board"})
    make_device(name="cam", device_class="mobile")
    Tag.objects.create(device=fast, key="site", value="berlin")
    found = rows(viewer, "/export/devices.csv?q=class:embedded&sort=-p95")
    assert [row["device"] for row in found] == [slow.pk, fast.pk]
    assert (found[0]["name"], found[0]["board"], found[0]["state"]) == ("'=cmd()", "'@board", "never")
    assert (found[0]["memory_used_bytes"], found[0]["temperature_celsius"]) == (str(2**30), "")
    assert (found[1]["model_version"], found[1]["variant"], found[1]["tags"]) == ("arm@1", "fp16", "site=berlin")
    assert found[1]["last_seen"] == now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_search_that_cannot_be_read_is_no_empty_file(viewer):
    answer = viewer.get("/export/devices.csv?q=clas:mobile")
    assert answer.status_code == 422
    assert "There is no field “clas”" in answer.text


def test_a_groups_members_and_a_rollouts_devices(viewer, operator):
    group = Group.objects.create(name="berlin")
    inside, other = make_device(name="arm-1"), make_device(name="arm-2")
    group.devices.set([inside, other])
    make_device(name="arm-3")
    assert [row["name"] for row in rows(viewer, "/export/group/berlin.csv?q=arm")] == ["arm-1", "arm-2"]
    release = make_release()
    rollout = Rollout.objects.create(release=release, group=group, target="berlin", state="running")
    for device, state in ((inside, "active"), (other, "failed")):
        Deployment.objects.create(
            rollout=rollout, device=device, variant=release.variants.first(), state=state, reason="-1 block"
        )
    found = rows(viewer, f"/export/rollout/{rollout.pk}.csv?kind=failed")
    assert [(row["name"], row["state"], row["reason"], row["phase"]) for row in found] == [
        ("arm-2", "failed", "'-1 block", "1")
    ]
    listed = rows(viewer, "/export/rollouts.csv")
    assert [(row["target"], row["devices"], row["done"], row["failed"]) for row in listed] == [
        ("berlin", "2", "1", "1")
    ]


def test_events_are_all_there_and_not_a_page_of_them(viewer, operator):
    Event.objects.bulk_create(
        Event(kind="device.renamed", text=f"event {number}", actor=operator) for number in range(BLOCK + 5)
    )
    Event.objects.create(kind="job.failed", text="a job", level="bad")
    found = rows(viewer, "/export/events.csv?kind=device")
    assert [row["text"] for row in found[:2]] == [f"event {BLOCK + 4}", f"event {BLOCK + 3}"]
    assert len(found) == BLOCK + 5
    assert rows(viewer, "/export/events.csv?level=bad")[0]["text"] == "a job"


def test_the_points_of_a_devices_charts_have_units(viewer, device):
    now = timezone.now()
    stored.add(
        Sample(
            device=device,
            at=now - timedelta(minutes=20 * number),
            received_at=now,
            boot_id="b",
            seq=number,
            decisions=5,
            latency_p50=40.0,
            latency_p95=60.0,
            temperature=51.5,
        )
        for number in range(3)
    )
    found = rows(viewer, f"/export/device/{device.pk}.csv?range=1h")
    assert [row["temperature_celsius"] for row in found] == ["51.5"] * 3
    assert {"at", "latency_p95_ms", "memory_used_bytes", "power_watts", "energy_joules_per_action"} <= found[0].keys()


def test_alerts_as_the_list_finds_and_orders_them(viewer, operator):
    Rule.objects.all().delete()
    now = timezone.now()
    made = [
        make_device(name=f"arm-{number}", online=True, last_seen=now, sample_at=now, temperature=85 + number)
        for number in range(3)
    ]
    Tag.objects.create(device=made[0], key="site", value="berlin")
    Tag.objects.create(device=made[1], key="site", value="berlin")
    look(Rule.objects.create(name="Hot", condition="temperature", threshold=80, severity="critical"), now)
    Device.objects.filter(pk=made[1].pk).update(temperature=99.5)
    found = rows(viewer, "/export/alerts.csv?q=tag:site=berlin")
    assert [row["name"] for row in found] == ["arm-1", "arm-0"], "of one rule, the newest first"
    assert {name: found[0][name] for name in ("rule", "severity", "state", "what", "value", "now", "unit")} == {
        "rule": "Hot",
        "severity": "critical",
        "state": "waiting",
        "what": "is at 86\N{NO-BREAK SPACE}°C",
        "value": "86.0",
        "now": "99.5",
        "unit": "°C",
    }
    acknowledge([Alert.objects.get(device=made[0]).pk], "=the fan", operator)
    found = rows(viewer, "/export/alerts.csv?show=acknowledged")
    assert [(row["device"], row["acknowledged_by"], row["note"]) for row in found] == [
        (made[0].pk, operator.username, "'=the fan")
    ]
    assert len(rows(viewer, "/export/alerts.csv")) == 2
    answer = viewer.get("/export/alerts.csv?q=tga:site=berlin")
    assert (answer.status_code, "There is no field “tga”" in answer.text) == (422, True)


def test_more_alerts_are_a_few_queries_for_each_thousand(db):
    many(2 * BLOCK)
    Rule.objects.all().delete()
    rule, now = Rule.objects.create(name="Late", condition="latency", threshold=-1), timezone.now()
    look(rule, now)
    with CaptureQueriesContext(connection) as queries:
        written = b"".join(formats.csv_blocks(tables.alerts({}, "", now)))
    assert len(written.splitlines()) == 2 * BLOCK + 1
    assert len(queries) <= 1 + 2


def test_a_comparison_as_figures_and_as_distributions(viewer):
    now = timezone.now()
    for device_class, took, errors in (("embedded", 40.0, 2), ("mobile", 20.0, 0)):
        stored.add(
            Sample(
                device=make_device(device_class=device_class),
                at=now - timedelta(minutes=number),
                received_at=now,
                boot_id="b",
                seq=number,
                interval=60,
                decisions=500,
                errors=errors,
                episodes=10,
                successes=9,
                latency_p50=took,
                latency_p95=took,
                energy_per_action=took / 100,
            )
            for number in (2, 3)
        )
    asked = "kind=class&a=embedded&b=mobile&range=1h"
    first, second = rows(viewer, f"/export/compare.csv?{asked}")
    assert (first["side"], first["name"], first["decisions"], first["errors"]) == ("a", "embedded", "1000", "4")
    assert float(second["latency_p95_ms"]) == pytest.approx(20, rel=0.02)
    assert second["latency_p99_ms"], "ten of a thousand decisions lie beyond it"
    assert (second["episodes"], second["successes"], float(second["success_share"])) == ("20", "18", 0.9)
    assert float(second["success_share_low_95"]) < 0.9 < float(second["success_share_high_95"])
    bins = rows(viewer, f"/export/compare/latency.csv?{asked}")
    assert {row["side"]: row["decisions"] for row in bins} == {"a": "1000", "b": "1000"}
    assert all(float(row["from_ms"]) <= (40 if row["side"] == "a" else 20) <= float(row["to_ms"]) for row in bins)
    means = rows(viewer, f"/export/compare/energy.csv?{asked}")
    assert [(row["name"], float(row["mean_joules_per_action"])) for row in means] == [
        *[("embedded", pytest.approx(0.4))] * 2,
        *[("mobile", pytest.approx(0.2))] * 2,
    ]
    page = viewer.get(f"/compare?{asked}").text
    for of in ("", "/latency", "/energy"):
        assert f'href="/export/compare{of}.csv?kind=class&amp;a=embedded&amp;b=mobile&amp;range=1h"' in page


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("", "Name two to compare"),
        ("?kind=class&a=embedded&b=tiny", "There is no class tiny."),
        ("?kind=device&a=nobody&b=x", "There is no device called nobody. There is no device called x."),
    ],
)
def test_a_comparison_of_what_there_is_not_is_no_empty_file(viewer, asked, words):
    for what in ("compare", "compare/latency"):
        answer = viewer.get(f"/export/{what}.csv{asked}")
        assert (answer.status_code, words in answer.text) == (422, True)


@pytest.mark.parametrize("what", ["devices", "group/all", "rollouts", "jobs", "events", "alerts"])
def test_every_list_links_to_its_file(sample_fleet, viewer, what):
    sample_fleet(12)
    Group.objects.create(name="all").devices.set(Device.objects.all())
    page = {"group/all": "/groups/all"}.get(what, f"/{what}")
    assert f'href="/export/{what}.csv' in viewer.get(page).text
    assert rows(viewer, f"/export/{what}.csv")


def test_what_there_is_not_is_said(viewer, monkeypatch):
    assert viewer.get("/export/nothing.csv").status_code == 404
    assert viewer.get("/export/group/nobody.csv").status_code == 404
    assert viewer.get("/export/rollout/x.csv").status_code == 404
    assert viewer.get("/export/compare/weight.csv?kind=class&a=embedded&b=mobile").status_code == 404
    answer = viewer.get("/export/devices.xlsx")
    assert (answer.status_code, "There is no export as xlsx" in answer.text) == (404, True)
    monkeypatch.setattr("fleet.dashboard.export.answers.offered", lambda: ["csv"])
    answer = viewer.get("/export/devices.parquet")
    assert (answer.status_code, "pip install pyarrow" in answer.text) == (501, True)


def test_strangers_get_nothing(client, bearer, people):
    assert client.get("/export/devices.csv").headers["Location"].startswith("/login")
    assert client.get("/api/export/devices").status_code == 401
    make_device(name="arm-1")
    answer = client.get("/api/export/devices?q=arm&format=csv", **bearer(people[Role.VIEWER]))
    assert b"arm-1" in b"".join(answer.streaming_content)


def test_more_devices_are_a_few_queries_for_each_thousand(db):
    many(2 * BLOCK)
    with CaptureQueriesContext(connection) as queries:
        written = b"".join(formats.csv_blocks(tables.devices({}, "", timezone.now())))
    assert len(written.splitlines()) == 2 * BLOCK + 1
    assert len(queries) <= 1 + 2 * 3


def test_memory_stays_the_same_however_many_there_are(db):
    def peak() -> int:
        tracemalloc.start()
        for _ in formats.csv_blocks(tables.devices({}, "", timezone.now())):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    many(2 * BLOCK)
    few = peak()
    Device.objects.all().delete()
    many(8 * BLOCK)
    assert peak() < few + 6 * BLOCK * 300, "ids are held, some hundred bytes each"


@pytest.mark.django_db(transaction=True)
def test_the_real_server_streams_and_leaves_off_when_nobody_reads(server, people):
    many(3 * BLOCK)
    client = Client()
    client.force_login(people[Role.VIEWER])
    cookies = {"sessionid": client.cookies["sessionid"].value}
    address = f"{server.address}/export/devices.csv"
    before = len(server.log.read_text())  # the server is shared, and static files are streamed too
    with httpx.stream("GET", address, cookies=cookies, timeout=30) as answer:
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="devices-')
        assert len(list(answer.iter_lines())) == 3 * BLOCK + 1
    with httpx.stream("GET", address, cookies=cookies, timeout=30) as answer:
        assert next(answer.iter_raw())
    assert httpx.get(f"{server.address}/login", timeout=10).status_code == 200
    said = server.log.read_text()[before:]
    assert "Traceback" not in said
    assert "Warning" not in said
