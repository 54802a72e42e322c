"""The charts of one device: points, roll-ups, gaps, and hostile ranges."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from fleet.dashboard.selectors.series import COLUMNS, KEPT, series
from fleet.dashboard.series import MAX_POINTS, RANGES, view_of
from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.dashboard.device_page import samples


def drawn(device, key: str, now: datetime) -> dict:
    return series(device.pk, view_of(key, None, now.timestamp(), KEPT), now)


def test_a_range_is_averaged_into_points_of_equal_length(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=1), 720)
    Sample.objects.filter(seq=100).update(latency_p95=180.0, decisions=0, latency_p50=None)
    found = drawn(device, "1h", now)
    columns = found["columns"]
    assert set(columns) == {"at", *COLUMNS}
    assert len(columns["at"]) == 360
    assert columns["at"] == sorted(columns["at"])
    assert {value for value in columns["latency_p50"] if value} == {40.0}
    assert max(columns["latency_p95"]) == 180.0, "an average would hide what broke the promise"
    assert set(columns["rate"]) >= {2.0}
    assert found["power_source"] == ""


@pytest.mark.parametrize("key", RANGES)
def test_every_range_is_drawn_from_what_is_kept_that_long_in_one_query(device, key, django_assert_num_queries):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    chosen = RANGES[key]
    samples(device, now - timedelta(seconds=chosen.span), 2400, every=chosen.span / 2400, cpu_percent=30.0)
    with django_assert_num_queries(1):
        found = drawn(device, key, now)["columns"]
    points = [at for at, value in zip(found["at"], found["latency_p50"], strict=True) if value is not None]
    assert 150 <= len(points) <= len(found["at"]) <= MAX_POINTS
    assert all(point % (chosen.bucket * 1000) == 0 for point in points)
    assert {value for value in found["cpu_percent"] if value} == {30.0}


def test_a_roll_up_says_what_the_samples_said(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=1), 720, cpu_percent=20.0, power=2.0, power_source="measured")
    Sample.objects.update(latency_p50=None, latency_p95=None)  # the sketches are what counts
    samples(device, now - timedelta(minutes=1), 10, boot="b-2", cpu_percent=60.0, power=4.0, power_source="estimated")
    found = drawn(device, "6h", now)
    last = {name: values[-1] for name, values in found["columns"].items()}
    assert last["latency_p50"] == pytest.approx(40, rel=0.021)
    assert last["latency_p95"] == pytest.approx(60, rel=0.021)
    assert (last["cpu_percent_min"], last["cpu_percent_max"]) == (20.0, 60.0)
    assert 20 < last["cpu_percent"] < 60
    assert last["rate"] == 2.0
    assert found["power_source"] == "measured and estimated"


def test_an_hour_in_which_nothing_was_measured_is_a_gap(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=30), 25 * 60, every=60)
    samples(device, now - timedelta(hours=3), 3 * 60, every=60, boot="b-2")
    found = drawn(device, "7d", now)["columns"]
    empty = [at for at, value in zip(found["at"], found["latency_p50"], strict=True) if value is None]
    hour = 3_600_000
    assert [at - now.timestamp() * 1000 for at in empty] == [-5 * hour, -4 * hour]


def test_later_points_are_asked_for_from_the_last_one_on(viewer, device):
    start = timezone.now() - timedelta(minutes=10)
    samples(device, start, 100)
    whole = viewer.get(f"/devices/{device.pk}/series?range=1h").json()
    last = whole["columns"]["at"][-1]
    Sample.objects.create(
        device=device, at=timezone.now(), received_at=start, boot_id="b-9", seq=1, decisions=10, latency_p50=80.0
    )
    more = viewer.get(f"/devices/{device.pk}/series?range=1h&since={last}").json()
    assert whole["full"]
    assert not more["full"]
    assert more["columns"]["at"][0] == last, "its bucket may have been half full"
    assert more["columns"]["latency_p50"][-1] == 80.0
    assert len(more["columns"]["at"]) < 20


def test_success_is_a_rate_over_some_minutes(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=1), 720, episodes=1, successes=1)
    Sample.objects.filter(seq__gte=700).update(successes=0)
    success = drawn(device, "1h", now)["columns"]["success"]
    assert success[0] == 1.0
    assert 0.6 < success[-1] < 0.7  # 20 of the 60 episodes in the last 5 minutes failed


def test_power_is_never_shown_without_its_source(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(minutes=10), 60, power=4.0, power_source="estimated")
    assert drawn(device, "15m", now)["power_source"] == "estimated"
    Sample.objects.filter(seq__gte=30).update(power_source="measured")
    assert drawn(device, "15m", now)["power_source"] == "measured and estimated"


def test_other_devices_and_times_are_not_in_the_chart(viewer, device):
    samples(make_device(), timezone.now() - timedelta(minutes=5), 10)
    samples(device, timezone.now() - timedelta(days=9), 10)
    assert viewer.get(f"/devices/{device.pk}/series?range=7d").json()["columns"]["at"] == []


@pytest.mark.parametrize(
    "query",
    [
        *("range=century", "since=-5", "since=1e9", "since=99999999999999999", "since=%00", "range="),
        *("from=1&to=2", "from=-1&to=9", "from=99999999999999&to=99999999999999", "from=&to=1e9"),
    ],
)
def test_a_hostile_range_is_the_usual_one(viewer, device, query):
    answer = viewer.get(f"/devices/{device.pk}/series?{query}")
    assert answer.status_code == 200
    assert answer.json()["to"] - answer.json()["from"] == 3_600_000
