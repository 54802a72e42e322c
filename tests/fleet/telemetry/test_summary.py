"""What many devices did together: of a class, of a variant, of minutes or of hours."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.telemetry.models import Sample
from fleet.telemetry.summary import summaries
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version
from tests.fleet.telemetry import rows

pytestmark = pytest.mark.django_db


def told(took: float, *, decisions: int = 100, ago: float = 5, device_class: str = "embedded", **more) -> None:
    now = timezone.now()
    device = make_device(device_class=device_class)
    sample = Sample(
        device=device,
        at=now - timedelta(minutes=ago),
        received_at=now,
        boot_id="b",
        seq=1,
        interval=5,
        decisions=decisions,
        latency_p50=took,
        latency_p95=took,
        stage_compute=took / 2,
        **more,
    )
    rows.add([sample])


def test_classes_and_variants_stand_beside_each_other():
    variant = make_variant(make_version(), "embedded").manifest_digest
    told(10.0, energy_per_action=0.1, episodes=10, successes=9)
    told(90.0, decisions=300, energy_per_action=0.3, episodes=10, successes=5)
    told(5.0, device_class="mobile")
    told(7.0, manifest=variant)
    now = timezone.now()
    lately = now - timedelta(minutes=30), now

    by_class = summaries(*lately, "device_class")
    assert by_class.keys() == {("embedded",), ("mobile",)}
    assert by_class["mobile",].latency(0.5) == pytest.approx(5.0, rel=0.021)
    assert by_class["embedded",].sums["decisions"] == 500

    one = summaries(*lately, device_class="embedded", manifests=[""])[()]
    assert one.latency(0.2) == pytest.approx(10.0, rel=0.021)
    assert one.latency(0.95) == pytest.approx(90.0, rel=0.021)
    assert one.energy == pytest.approx((100 * 0.1 + 300 * 0.3) / 400)
    assert one.stage("compute") == pytest.approx((100 * 5 + 300 * 45) / 400)
    assert (one.success, one.cache) == (0.7, None)

    assert summaries(*lately, "manifest", device_class="embedded").keys() == {("",), (variant,)}


def test_long_times_are_read_by_the_hour_and_nothing_is_an_empty_answer(django_assert_num_queries):
    for days in (0.1, 20, 60):
        told(10.0, ago=days * 24 * 60)
    now = timezone.now()
    with django_assert_num_queries(1):
        found = summaries(now - timedelta(days=30), now)
    assert found[()].sums["samples"] == 2
    assert summaries(now - timedelta(minutes=5), now) == {}
