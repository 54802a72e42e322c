"""Which variant runs where, over time and now."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.dashboard.selectors.version_map import MOST, chart, matrix, story
from fleet.devices.models import Group
from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version
from tests.fleet.telemetry import rows

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 8, 12, 30, tzinfo=UTC)


def ran(manifest: str, hours_ago: float, seconds: float) -> None:
    at = NOW - timedelta(hours=hours_ago)
    common = {"boot_id": "b", "seq": 1, "manifest": manifest, "interval": seconds}
    rows.add([Sample(device=make_device(), at=at, received_at=at, **common)])


def variant(number: int, name: str = "fp16", device_class: str = "embedded") -> str:
    return make_variant(make_version(number=number), device_class, name).manifest_digest


def test_a_point_is_device_time_by_its_length(django_assert_num_queries):
    first, second = variant(1), variant(2)
    for _ in range(3):
        ran(first, 5, 3600)
    ran(second, 5, 1800)
    ran("", 5, 360)
    with django_assert_num_queries(2):
        told = story("24h", NOW)
    at = told.at.index(int((NOW - timedelta(hours=5, minutes=30)).timestamp()) * 1000)
    assert [(layer.name, layer.devices[at]) for layer in told.layers] == [
        ("arm@1 embedded, fp16", 3.0),
        ("arm@2 embedded, fp16", 0.5),
        ("other, or not in the catalog", 0.1),
    ]
    assert sum(map(sum, (layer.devices for layer in told.layers))) == pytest.approx(3.6)


def test_an_hour_that_is_not_over_is_divided_by_what_has_passed():
    ran(variant(1), 0.1, 1800)
    assert story("24h", NOW).layers[0].devices[-1] == 1.0


def test_what_has_just_begun_is_not_drawn_as_a_peak():
    """A sample of five past says what was done in the hour before."""
    ran(variant(1), 1, 3600)
    ran(variant(2), 25 / 60, 600)
    told = story("24h", NOW - timedelta(minutes=25))
    assert max(max(layer.devices) for layer in told.layers) == 1.0


def test_more_variants_than_colours_are_one_layer():
    for number in range(1, MOST + 3):
        ran(variant(number), 2, 100 * number)
    told = story("24h", NOW)
    assert len(told.layers) == MOST + 1
    assert told.layers[0].name == f"arm@{MOST + 2} embedded, fp16"
    assert told.layers[-1].running is None


@pytest.mark.parametrize("span", ["6h", "24h", "7d", "30d", "90d"])
def test_no_span_draws_too_much(span):
    ran(variant(1), 1, 3600)
    assert story(span, NOW).points <= 200


def test_nothing_measured_is_no_chart():
    assert chart(story("7d", NOW)) is None


def found_by(viewer, cell) -> int:
    query = parse_qs(urlsplit(cell.url).query)["q"][0]
    return viewer.get("/devices", {"q": query}).context["listing"].total


def test_every_cell_leads_to_the_devices_that_it_counts(viewer):
    version = make_version()
    small = make_variant(version, "embedded", "75 % cut, int8").manifest_digest
    plain, mobile = (make_variant(version, name, "fp16").manifest_digest for name in ("embedded", "mobile"))
    for manifest, device_class, number in ((small, "embedded", 3), (plain, "embedded", 1), (mobile, "mobile", 2)):
        for _ in range(number):
            make_device(active_manifest=manifest, device_class=device_class)
    make_device(active_manifest="ff" * 32)
    make_device(active_manifest=small, admission="pending")
    found = matrix("class", timezone.now())
    counts = [
        (line.running.variant if line.running else line.version, [c.count for c in line.cells]) for line in found.lines
    ]
    assert counts == [
        ("arm@1", [4, 2, 0]),
        ("75 % cut, int8", [3, 0, 0]),
        ("fp16", [1, 2, 0]),
        ("", [1, 0, 0]),
    ]
    for line in found.lines[:-1]:
        for cell in (*line.cells, line.total):
            assert found_by(viewer, cell) == cell.count, cell.search


def test_groups_of_both_kinds_count_who_is_in_them(viewer):
    digest = variant(1)
    devices = [make_device(active_manifest=digest, mode="slim" if number else "full") for number in range(3)]
    Group.objects.create(name="lab").devices.set(devices[:1])
    Group.objects.create(name="slim-ones", query="mode:slim")
    Group.objects.create(name="or")
    found = matrix("group", timezone.now())
    line = next(line for line in found.lines if line.running)
    assert [(name, cell.count) for (name, _), cell in zip(found.columns, line.cells, strict=True)] == [
        ("lab", 1),
        ("or", 0),
        ("slim-ones", 2),
    ]
    assert line.total.count == 3
    assert [found_by(viewer, cell) for cell in line.cells] == [1, 0, 2]


def test_the_page_asks_no_more_for_many_devices(sample_fleet, managing):
    sample_fleet(300, history=True)
    for address in ("/versions", "/versions?by=group&range=90d"):
        with CaptureQueriesContext(connection) as asked:
            assert "Map of versions" in managing.get(address).text
        assert len(asked) <= 12, address


def test_an_empty_fleet_is_taught(viewer):
    text = viewer.get("/versions").text
    assert "Nothing was measured in this time" in text
    assert "No device is in service" in text
