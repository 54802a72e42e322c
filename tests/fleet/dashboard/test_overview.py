"""Is my fleet well? What the first page says, and that it asks no more for a thousand devices than for one."""

import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.alerts.models import Alert
from fleet.audit.models import Event
from fleet.dashboard.selectors.lately import bandwidth, lately, parts
from fleet.dashboard.selectors.naming import Observed, Running, observed
from fleet.dashboard.selectors.overview import fleet, spread
from fleet.dashboard.selectors.worst import worst
from fleet.devices.models import Device
from fleet.telemetry.models import Sample
from fleet.telemetry.summary import Summary
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.sample_catalog import CARD
from tests.fleet.telemetry import rows

pytestmark = pytest.mark.django_db
OBSERVATION = 64 * 64 * 3 + 8 * 8 + 7 * 4


def there(**more) -> Device:
    now = timezone.now()
    return make_device(online=True, last_seen=now, sample_at=now, **more)


def decided(manifest: str = "", decisions: int = 300, **more) -> None:
    now = timezone.now()
    device = there(active_manifest=manifest)
    common = {"latency_p50": 40.0, "latency_p95": 40.0, "interval": 60, "network_rx": 50.0, "network_tx": 1000.0}
    common |= more
    sample = Sample(
        device=device, at=now - timedelta(minutes=2), received_at=now, boot_id="b", seq=1, manifest=manifest,
        decisions=decisions, **common,
    )  # fmt: skip
    rows.add([sample])


def told(span: str = "1h"):
    found = parts(span, timezone.now())
    return lately(span, found, observed(key[1] for key in found), 100.0)


def page(client, address: str = "/") -> str:
    return re.sub(r"\s+", " ", client.get(address).text)


def with_card() -> str:
    version = make_version()
    version.card = CARD
    version.save()
    return make_variant(version, "embedded").manifest_digest


# --- Queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/?range=24h", "/?range=7d"])
def test_a_thousand_devices_are_asked_for_as_one_is(sample_fleet, managing, address):
    def queries(devices: int) -> int:
        with transaction.atomic():
            sample_fleet(devices, history=True)
            with CaptureQueriesContext(connection) as asked:
                assert "Devices to look at" in managing.get(address).text
            transaction.set_rollback(True)
        return len(asked)

    one, thousand = queries(1), queries(1000)
    assert one == thousand <= 12


# --- What it says ---------------------------------------------------------------------------------------------------


def test_connected_silent_away_and_never_are_told_apart(viewer):
    now = timezone.now()
    long_ago = now - timedelta(hours=3)
    there(name="well")
    make_device(online=True, last_seen=now, sample_at=long_ago)
    make_device(online=False, last_seen=long_ago, sample_at=long_ago)
    make_device()
    found = fleet(now, 100.0)
    assert found.total.states == {"online": 1, "silent": 1, "offline": 1, "never": 1}
    assert "1 connected but silent, 1 seen before, 1 never" in page(viewer)


def test_the_latency_is_that_of_all_decisions_against_the_promise():
    decided(decisions=90)
    decided(decisions=10, latency_p50=150.0, latency_p95=150.0)
    found = told()
    assert found.timed == 100
    assert found.p50 == pytest.approx(40, rel=0.021)
    assert found.p99 == pytest.approx(150, rel=0.021)
    assert found.on_time == 0.9
    assert found.late == pytest.approx(0.1)
    assert any(bar.late for bar in found.histogram.bars)


def test_the_bandwidth_saved_is_decisions_times_the_observation_less_what_was_sent(viewer):
    decided(with_card())
    used = told().bandwidth
    assert used.each == OBSERVATION
    assert used.would == 300 * OBSERVATION
    assert used.sent == 60 * 1000.0
    assert used.saved == used.would - used.sent
    text = page(viewer)
    assert "300 decisions × 12.4" in text
    assert "estimated" in text.partition("Bandwidth saved")[2][:300]


def test_decisions_without_a_card_are_left_out_and_said(viewer):
    decided(with_card())
    decided(decisions=77)
    assert told().bandwidth.unknown == 77
    assert "77 decisions: without a policy card" in page(viewer)


def test_what_no_device_reports_to_have_sent_is_no_saving():
    digest = with_card()
    decided(digest, network_rx=None, network_tx=None)
    used = told().bandwidth
    assert (used.decisions, used.unknown, used.share) == (0, 300, None)


def test_who_sends_more_than_a_cloud_would_get_has_saved_nothing():
    each = Summary()
    each.sums |= {"decisions": 10, "interval": 60, "network_count": 1, "network_tx_sum": 1000}
    used = bandwidth([("m", each)], {"m": Observed(Running("a", 1, "v", "m", 1, "embedded"), 100)}, 60)
    assert used.saved == 1000 - 60_000
    assert used.share < 0


@pytest.mark.parametrize(
    ("source", "says"), [("measured", "measured, mean of 1 h"), ("estimated", "estimated, mean of 1 h")]
)
def test_energy_is_never_shown_without_its_source(viewer, source, says):
    decided(energy_per_action=0.31, power=3.0, power_source=source)
    text = page(viewer)
    assert "310<small> mJ" in text
    assert says in text


def test_which_variant_runs_on_how_many_and_the_search_for_them(viewer):
    version = make_version()
    first, second = (make_variant(version, "embedded", name) for name in ("fp16, small", "int8"))
    there(active_manifest=make_variant(version, "mobile", "fp16, small").manifest_digest, device_class="mobile")
    for manifest in [first.manifest_digest] * 3 + [second.manifest_digest, "ab" * 32, ""]:
        there(active_manifest=manifest)
    found = fleet(timezone.now(), 100.0)
    lines = spread(found.running, observed(found.running))
    assert [line.count for line in lines] == [3, 1, 1, 2]
    assert [(line.name, line.running.device_class) for line in lines[:1]] == [("arm@1 fp16, small", "embedded")]
    assert {line.name for line in lines} == {"arm@1 fp16, small", "arm@1 int8", "other"}
    assert lines[0].share == 3 / 7
    answer = viewer.get("/devices", {"q": lines[0].search})
    assert len(answer.context["listing"].rows) == 3


def test_the_worst_devices_say_why_they_are_here(viewer, django_assert_num_queries):
    for number in range(12):
        there(name=f"well-{number:02d}", latency_p95=20.0 + number, temperature=40.0 + number)
    late = there(name="late", latency_p95=140.0)
    there(name="wrong", latency_p95=10.0, errors=7)
    make_device(name="away", latency_p95=900.0, online=False, last_seen=timezone.now())
    with django_assert_num_queries(1):
        found = worst(timezone.now(), 100.0)
    assert [(one.name, one.why[0][1]) for one in found[:3]] == [
        ("late", "breaks the promise"),
        ("wrong", "7 errors"),
        ("well-11", "among the slowest"),
    ]
    assert "among the hottest" in [words for _, words in found[2].why]
    assert "away" not in [one.name for one in found]
    assert f'href="/devices/{late.pk}"' in viewer.get("/").text


def test_open_alerts_stand_with_their_devices_and_how_many_there_are(viewer):
    now, slow = timezone.now(), there(name="slow-one")
    for number in range(7):
        common = {"condition": "latency", "severity": "critical", "stage": "open", "since": now, "opened_at": now}
        device = slow if number == 6 else there()
        Alert.objects.create(name=f"Slow {number}", device=device, subject=device.pk, value=140.0, **common)
    panel = page(viewer).partition('id="fleet-alerts"')[2].partition("What they run")[0]
    assert panel.count('id="open-alert-') == 5
    assert ">All 7</a>" in panel
    assert f'<a href="/devices/{slow.pk}">slow-one</a>' in panel


def test_a_quiet_fleet_says_so(viewer):
    make_device()
    text = page(viewer)
    for words in (
        "No decision in this time",
        "No connected device has reported",
        "None is running.",
        "Nothing waits for a person.",
    ):
        assert words in text


def test_devices_that_start_anew_do_not_hide_what_happened(viewer):
    device = there(name="restless")
    Event.objects.create(kind="rollout.started", text="something to see")
    Event.objects.bulk_create(
        Event(kind="device.booted", text="restless started anew", device=device) for _ in range(20)
    )
    assert "something to see" in page(viewer)
    assert "restless started anew" in page(viewer, f"/devices/{device.pk}")


def test_a_range_that_there_is_not_is_the_last_hour(viewer):
    there()
    text = page(viewer, "/?range=century")
    assert re.search(r'href="\?range=1h" aria-current="true"', text)
