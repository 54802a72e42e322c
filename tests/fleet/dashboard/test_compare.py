"""The page that sets two versions, classes or devices side by side."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version
from tests.fleet.telemetry import rows

pytestmark = pytest.mark.django_db


def page(client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text)


def decided(device, took: float, manifest: str = "", decisions: int = 500) -> None:
    now = timezone.now()
    sample = Sample(
        device=device, at=now - timedelta(minutes=3), received_at=now, boot_id=f"b{took}", seq=1, manifest=manifest,
        interval=60, decisions=decisions, latency_p50=took, latency_p95=took,
    )  # fmt: skip
    rows.add([sample])


@pytest.fixture
def versions():
    """Two versions of `arm`, the second one faster."""
    made = [make_variant(make_version(number=number), "embedded") for number in (1, 2)]
    for variant, took in zip(made, (40.0, 30.0), strict=True):
        decided(make_device(), took, variant.manifest_digest)
    return made


def test_two_versions_stand_beside_each_other(viewer, versions):
    text = page(viewer, "/compare?kind=version&a=arm@1&b=arm@2&range=1h")
    assert "arm@2 is faster: p95 30.6" in text
    assert '<a href="/models/arm/2">arm@2</a>' in text
    assert 'id="compare-latency"' in text


def test_a_variant_and_a_class_can_be_chosen(viewer, versions):
    other = make_variant(versions[1].version, "mobile", "int8")
    decided(make_device(device_class="mobile"), 10.0, other.manifest_digest)
    both = page(viewer, "/compare?kind=version&a=arm@1&b=arm@2&range=1h")
    assert "Their devices differ: arm@1 embedded 100 %; arm@2" in both
    variant = page(viewer, "/compare?kind=version&a=arm@1&b=arm@2:int8&range=1h")
    assert "arm@2 int8 is faster: p95 9.98" in variant
    one_class = page(viewer, "/compare?kind=version&a=arm@1&b=arm@2&class=embedded&range=1h")
    assert "Their devices differ" not in one_class


def test_two_classes(viewer):
    decided(make_device(), 50.0)
    decided(make_device(device_class="mobile"), 20.0)
    text = page(viewer, "/compare?kind=class&a=embedded&b=mobile&range=1h")
    assert "mobile is faster" in text
    assert "Their devices differ" not in text, "that is what was asked"


def test_two_devices_and_what_else_differs(viewer):
    one = make_device(name="one", hardware={"board": "Pi"})
    other = make_device(name="other", hardware={"board": "Jetson"}, simulated=True)
    decided(one, 50.0)
    decided(other, 20.0)
    text = page(viewer, f"/compare?kind=device&a={one.pk}&b=other&range=1h")
    assert "other is faster" in text
    assert "one: embedded, Pi, runs nothing" in text
    assert "Simulated devices decide in the time of the computer that they are simulated on: other." in text


def test_the_second_side_suggests_itself_and_stands_in_the_address(viewer, versions):
    answer = viewer.get("/compare?kind=version&a=arm@2&range=1h")
    assert (answer.status_code, answer.url) == (302, "/compare?kind=version&a=arm%402&b=arm%401&range=1h")
    one = make_device(name="one", active_manifest="aa")
    make_device(name="a-stranger")
    make_device(name="same", active_manifest="aa")
    assert "b=same" in viewer.get(f"/compare?kind=device&a={one.pk}").url
    assert "b=mobile" in viewer.get("/compare?kind=class&a=embedded").url


def test_too_few_decisions_and_none(viewer, versions):
    make_variant(make_version(number=3), "embedded")
    text = page(viewer, "/compare?kind=version&a=arm@1&b=arm@3&range=1h")
    assert "Too few decisions to tell: arm@3 has 0 decisions" in text


def test_a_time_can_be_kept(viewer, versions):
    answer = viewer.get("/compare?kind=version&a=arm@1&b=arm@2&range=1h")
    fixed = re.search(r'href="([^"]+from=\d+[^"]+)"', answer.text)[1].replace("&amp;", "&")
    assert "arm@2 is faster" in page(viewer, f"/compare{fixed}")
    start = int((timezone.now() - timedelta(days=3)).timestamp() * 1000)
    earlier = page(viewer, f"/compare?kind=version&a=arm@1&b=arm@2&from={start}&to={start + 3_600_000}")
    assert "Too few decisions to tell" in earlier
    assert "From <time" in earlier


def test_what_there_is_not_is_said_beside_its_field(viewer):
    for address, words in (
        ("/compare?kind=version&a=arm@9&b=x", "There is no arm@9 with a variant."),
        ("/compare?kind=class&a=tiny&b=mobile", "There is no class tiny."),
        ("/compare?kind=device&a=nobody&b=x", "There is no device called nobody."),
    ):
        text = page(viewer, address)
        assert words in text
        assert "Choose two to compare" in text
    assert "Choose two to compare" in page(viewer, "/compare?kind=nonsense&range=century&from=x")


def test_queries_do_not_grow_with_the_fleet(sample_fleet, managing):
    sample_fleet(300, history=True)
    for address in (
        "/compare",
        "/compare?kind=version&a=tabletop@2&b=tabletop@1&range=7d",
        "/compare?kind=class&a=embedded&b=mobile&range=24h",
        "/compare?kind=device&a=d-00000001&b=d-00000002&range=1h",
    ):
        with CaptureQueriesContext(connection) as asked:
            assert managing.get(address).status_code == 200
        assert len(asked) <= 12, address


def test_pages_lead_here(sample_fleet, managing):
    sample_fleet(20)
    for address, link in (
        ("/models/tabletop/2", "/compare?kind=version&amp;a=tabletop%402"),
        ("/devices/d-00000000", "/compare?kind=device&amp;a=d-00000000"),
        ("/rollouts/2", "/compare?kind=version&amp;a=tabletop%402&amp;range=1h"),
        ("/", "/compare?kind=class&amp;a=embedded"),
    ):
        assert link in managing.get(address).text, address
