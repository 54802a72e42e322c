"""What roll-ups say is what the samples said, however these came: late, twice, out of order, in any batches."""

import random
from datetime import UTC, datetime

import pytest
from django.db import transaction

from agent.wire import latency
from agent.wire.messages import Sample as WireSample
from agent.wire.messages import Stages, Telemetry
from fleet.telemetry import ingest, sketches
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetHour, FleetMinute, Sample
from fleet.telemetry.summing import take_up, take_up_all
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def measured(seq: int, chance: random.Random, ago: float, manifest: str) -> tuple[WireSample, list[float]]:
    """A sample of that long ago, with what its decisions took."""
    took = [chance.lognormvariate(3, 0.5) for _ in range(chance.randint(0, 20))]
    bins = latency.added({latency.bin_of(each): 1} for each in took)
    sample = WireSample(
        seq=seq,
        at=NOW.timestamp() - ago,
        cpu_percent=chance.uniform(0, 100),
        memory_used=chance.randint(1, 2**33),
        memory_total=2**33,
        temperature=chance.uniform(30, 80) if chance.random() < 0.7 else None,
        power=chance.uniform(1, 9),
        power_source=chance.choice(["measured", "estimated"]),
        energy_per_action=chance.uniform(0, 2) if took else None,
        interval=5.0,
        decisions=len(took),
        latency=latency.bounded(bins),
        stages=Stages(queue=1.0, compute=chance.uniform(5, 50)) if took else None,
        errors=chance.randint(0, 2),
        episodes=2,
        successes=1,
        queued=chance.randint(0, 9),
        manifest=manifest,
    )
    return sample, took


def store(device, samples, boot="b-1"):
    with transaction.atomic():
        return ingest.telemetry([(device.pk, Telemetry(boot_id=boot, samples=tuple(samples)))], NOW)


@pytest.fixture
def story():
    """Two hours of two devices, told in disorder, in batches of any size, a third of it twice. What each said."""
    chance = random.Random(11)  # noqa: S311  # not a secret
    variant = make_variant(make_version(), "embedded")
    told, batches = {}, []
    for device in (make_device(active_manifest=variant.manifest_digest), make_device()):
        mine = [
            measured(n, chance, 7200 - n * 15, chance.choice([variant.manifest_digest, "", "ab" * 32]))
            for n in range(480)
        ]
        told[device.pk] = mine
        rest = [sample for sample, _ in mine] + [sample for sample, _ in chance.sample(mine, 160)]
        chance.shuffle(rest)
        while rest:
            size = chance.randint(1, 60)
            batches.append((device, rest[:size]))
            rest = rest[size:]
    chance.shuffle(batches)
    for device, samples in batches:
        store(device, samples)
        if chance.random() < 0.3:
            take_up()
    take_up_all()
    return told, variant.manifest_digest


def grouped(told, seconds):
    """(device, start) → samples with their latencies."""
    found = {}
    for device_id, mine in told.items():
        for sample, took in mine:
            found.setdefault((device_id, int(sample.at) // seconds * seconds), []).append((sample, took))
    return found


@pytest.mark.parametrize(("model", "seconds"), [(DeviceMinute, 60), (DeviceHour, 3600)])
def test_each_row_is_the_sum_of_its_samples(story, model, seconds):
    told = grouped(story[0], seconds)
    rows = {(row.device_id, row.start): row for row in model.objects.all()}
    assert rows.keys() == told.keys()
    for key, row in rows.items():
        samples = [sample for sample, _ in told[key]]
        hot = [sample.temperature for sample in samples if sample.temperature is not None]
        assert row.samples == row.cpu_percent_count == len(samples)
        assert row.decisions == sum(sample.decisions for sample in samples)
        assert (row.episodes, row.successes) == (2 * len(samples), len(samples))
        assert row.cpu_percent_sum == pytest.approx(sum(sample.cpu_percent for sample in samples))
        assert row.cpu_percent_min == min(sample.cpu_percent for sample in samples)
        assert row.memory_used_max == max(sample.memory_used for sample in samples)
        assert (row.temperature_count, row.temperature_min, row.temperature_max) == (
            len(hot),
            min(hot, default=None),
            max(hot, default=None),
        )
        assert row.power_measured == sum(sample.power_source == "measured" for sample in samples)
        assert row.queued_max == max(sample.queued for sample in samples)
        assert row.stage_count == row.energy_count == row.decisions
        assert row.stage_compute_sum == pytest.approx(
            sum(sample.stages.compute * sample.decisions for sample in samples if sample.stages)
        )
        assert row.energy_sum == pytest.approx(
            sum(sample.energy_per_action * sample.decisions for sample in samples if sample.energy_per_action)
        )


def test_the_p95_of_a_fleet_is_a_p95(story):
    told = story[0]
    took = sorted(each for mine in told.values() for _, part in mine for each in part)
    for model in (FleetMinute, FleetHour, DeviceMinute, DeviceHour):
        bins = latency.added(sketches.unpack(data) for data in model.objects.values_list("latency", flat=True))
        assert sum(bins.values()) == len(took)
        for share in (0.5, 0.95, 0.99):
            assert latency.quantile(bins, share) == pytest.approx(took[int(share * (len(took) - 1))], rel=0.021)


def test_a_variant_has_a_row_of_its_own_where_the_catalog_knows_it(story):
    told, known = story
    rows = FleetHour.objects.values_list("manifest", "samples")
    counts = {}
    for manifest, number in rows:
        counts[manifest] = counts.get(manifest, 0) + number
    samples = [sample for mine in told.values() for sample, _ in mine]
    assert counts == {
        known: sum(sample.manifest == known for sample in samples),
        "": sum(sample.manifest != known for sample in samples),
    }


def test_an_offline_day_comes_late_and_lands_where_it_belongs(device):
    """17,280 samples in batches of 200, beside what is sent now; then all of it once more."""
    late = [
        WireSample(seq=n, at=NOW.timestamp() - 86_400 + 5 * n, decisions=25, latency={70 + n % 9: 25}, cpu_percent=1.0)
        for n in range(0, 17_280, 4)
    ]
    store(device, [WireSample(seq=20_000, at=NOW.timestamp(), cpu_percent=50.0)])
    for _ in range(2):
        for first in range(0, len(late), 200):
            store(device, late[first : first + 200])
            take_up()
    device.refresh_from_db()
    assert Sample.objects.count() == len(late) + 1
    assert DeviceMinute.objects.count() == 24 * 60 + 1
    assert {row.samples for row in DeviceMinute.objects.exclude(start=int(NOW.timestamp()))} == {3}
    assert sum(DeviceHour.objects.values_list("decisions", flat=True)) == 25 * len(late)
    assert (device.cpu_percent, device.sample_at) == (50.0, NOW), "what comes late is not the latest"


def test_what_is_too_old_or_of_tomorrow_is_refused_with_its_reason(device, settings):
    day = 86_400
    ahead = WireSample(seq=1, at=NOW.timestamp() + 2 * day)
    behind = WireSample(seq=2, at=NOW.timestamp() - (settings.SAMPLE_DAYS + 1) * day)
    good = WireSample(seq=3, at=NOW.timestamp())
    outcome = store(device, [ahead, behind, good])
    assert ["clock is ahead" in words or "older than what is kept" in words for _, words in outcome.refused] == [
        True
    ] * 2
    assert list(Sample.objects.values_list("seq", flat=True)) == [3]
