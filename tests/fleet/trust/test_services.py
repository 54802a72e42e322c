"""What the server signs is what a device takes, and it stays so while keys and days pass."""

from datetime import timedelta

import pytest
from django.utils import timezone
from securesystemslib.signer import CryptoSigner

from agent.deployment.verification import RefusedError
from agent.wire.metadata import MAX_FILE
from agent.wire.states import Deployment as State
from fleet.audit.models import Event
from fleet.catalog.services import create_release
from fleet.errors import Refused
from fleet.gateway.drain import restore
from fleet.gateway.models import Outbox
from fleet.rollouts import services as rollouts
from fleet.trust import keys, repository, services
from fleet.trust.models import Metadata, Target
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_variant, make_version
from tests.fleet.trust.conftest import Reader, broker

pytestmark = pytest.mark.django_db


@pytest.fixture
def release():
    return make_release()


def test_a_release_is_signed_for_and_nothing_else_is(reader, operator):
    version = make_version()
    variant, other = make_variant(version, "embedded"), make_variant(version, "mobile")
    create_release(version, [variant], operator)

    assert reader.check(variant.manifest_digest)["vouched"] == {}
    with pytest.raises(RefusedError, match="not among its targets"):
        reader.check(other.manifest_digest)


def test_a_rollout_signs_before_it_tells_a_device(reader, release, operator):
    device = make_device()
    rollouts.start(release, operator, devices=[device])
    topics = list(Outbox.objects.order_by("id").values_list("topic", flat=True))
    desired = next(place for place, topic in enumerate(topics) if topic.endswith("/desired"))
    signed = max(place for place, topic in enumerate(topics) if "/cast/tuf/" in topic)

    assert signed < desired
    assert reader.check(release.variants.get(device_class="embedded").manifest_digest)


def test_what_is_signed_for_already_costs_one_query(release, django_assert_num_queries):
    variants = list(release.variants.select_related("version"))
    services.vouch(variants)
    with django_assert_num_queries(3):  # and the two of a savepoint
        services.vouch(variants)


def test_only_the_present_files_and_the_ones_before_stay_published(release):
    version = make_version("other")
    for number in range(6):
        services.vouch([make_variant(version, "embedded", f"fp16-{number}")])
    names = sorted(broker())

    assert [name.partition("-")[2] or name for name in names] == ["root", *["snapshot", "targets"] * 2, "timestamp"]


def test_targets_never_outgrow_a_message_and_those_that_devices_wait_for_stay(reader, release, operator, monkeypatch):
    monkeypatch.setattr(services, "MAX_TARGETS", 5)
    rollouts.start(release, operator, devices=[make_device()])
    waited = release.variants.get(device_class="embedded").manifest_digest
    version = make_version("other")
    made = [make_variant(version, "embedded", f"fp16-{number}") for number in range(8)]
    for variant in made:
        services.vouch([variant])

    assert Target.objects.count() == 5
    assert reader.check(waited) and reader.check(made[-1].manifest_digest)
    with pytest.raises(RefusedError):
        reader.check(made[0].manifest_digest)


def test_a_full_list_of_targets_fits_into_a_message():
    services.ensure()
    now = timezone.now()
    Target.objects.bulk_create(
        Target(digest=f"{number:064x}", length=4_000_000, over=9_999, until=now)
        for number in range(services.MAX_TARGETS)
    )
    services._sign(now, targets=True)

    assert len(bytes(Metadata.objects.filter(role="targets").last().body)) < MAX_FILE


def test_a_broker_that_lost_everything_gets_all_of_it_again(reader, release):
    variants = list(release.variants.select_related("version"))
    services.vouch(variants)
    before = broker()
    Outbox.objects.all().delete()
    restore()

    assert broker() == before
    assert reader.check(variants[0].manifest_digest)


# --- Going back ---


def test_an_older_version_needs_a_persons_order_which_is_signed_and_ends(reader, operator):
    old, new = make_release(make_version(number=1)), make_release(make_version(number=2))
    running = new.variants.get(device_class="embedded").manifest_digest
    device = make_device(active_manifest=running)
    wanted = old.variants.get(device_class="embedded").manifest_digest
    with pytest.raises(Refused, match=r"older than what 1 of the devices run \(up to version 2\). Confirm"):
        rollouts.start(old, operator, devices=[device])
    rollout = rollouts.start(old, operator, devices=[device], back=True)

    assert reader.check(wanted)["vouched"]["over"] == 2
    assert Event.objects.filter(kind="trust.order_back", actor=operator).exists()
    rollouts.cancel(rollout, operator)
    assert reader.check(wanted)["vouched"] == {}


def test_trying_a_way_back_again_needs_no_second_word(operator):
    old, new = make_release(make_version(number=1)), make_release(make_version(number=2))
    device = make_device(active_manifest=new.variants.get(device_class="embedded").manifest_digest)
    rollout = rollouts.start(old, operator, devices=[device], back=True)
    rollout.deployments.update(state=State.FAILED)

    assert rollouts.retry_failed(rollout, operator).back


# --- Time ---


def test_the_timestamp_is_signed_again_every_hour_and_the_rest_before_it_expires(reader, release):
    variants = list(release.variants.select_related("version"))
    services.vouch(variants)
    now = timezone.now()
    versions = {role: services._newest(role).version for role in ("root", "targets", "snapshot", "timestamp")}
    services.renew(now)
    assert {role: services._newest(role).version for role in versions} == versions
    services.renew(now + timedelta(hours=2))
    assert services._newest("timestamp").version > versions["timestamp"]
    assert services._newest("snapshot").version == versions["snapshot"]

    for day in range(1, 800, 5):
        at = now + timedelta(days=day)
        services.renew(at)
        assert reader.check(variants[0].manifest_digest, at)
    assert services.root().version > 1, "a root whose keys lie here renews itself"


def test_a_server_that_stopped_signing_is_not_trusted_for_ever(reader, release):
    variants = list(release.variants.select_related("version"))
    services.vouch(variants)

    assert reader.check(variants[0].manifest_digest, timezone.now() + timedelta(days=6))
    with pytest.raises(RefusedError, match="has expired"):
        reader.check(variants[0].manifest_digest, timezone.now() + timedelta(days=8))


def test_a_server_restored_from_an_old_copy_does_not_go_back(reader, release):
    variants = list(release.variants.select_related("version"))
    services.vouch(variants)
    copy = list(Metadata.objects.all())
    services.renew(timezone.now() + timedelta(days=3))
    reader.check(variants[0].manifest_digest, timezone.now() + timedelta(days=3))
    Metadata.objects.all().delete()
    Metadata.objects.bulk_create(copy)
    later = timezone.now() + timedelta(days=4)
    services._sign(later, targets=True)

    assert reader.check(variants[0].manifest_digest, later)


def test_people_hear_in_time_that_an_offline_root_expires(tmp_path):
    services.ensure()
    for path in keys.folder("root").iterdir():
        path.rename(tmp_path / path.name)
    soon = timezone.now() + timedelta(days=320)
    services.renew(soon)
    services.renew(soon)

    event = Event.objects.get(kind="trust.root_expires")
    assert "keys renew --export" in event.detail
    assert services.root().version == 1


# --- Keys ---


def test_a_second_start_makes_nothing(keys_dir):
    services.ensure()
    before = sorted(keys_dir.rglob("*.pem"))
    services.ensure()

    assert sorted(keys_dir.rglob("*.pem")) == before and len(before) == 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)
    assert Metadata.objects.count() == 4


def test_what_was_released_before_is_signed_for_at_the_first_start(release, tmp_path):
    device = Reader(tmp_path)

    assert all(device.check(variant.manifest_digest) for variant in release.variants.all())


def test_a_lost_online_key_is_a_sentence_that_says_what_to_do():
    services.ensure()
    for path in keys.folder("online").iterdir():
        path.unlink()
    with pytest.raises(Refused, match="keys rotate"):
        services.vouch([make_variant(make_version(), "embedded")])


def test_a_root_by_a_stranger_is_not_put_in_force():
    services.ensure()
    proposal = repository.following(bytes(services.root().body), timezone.now())
    repository.sign(proposal, [CryptoSigner.generate_ed25519()])
    with pytest.raises(Refused, match="needs 1 more signature"):
        services.install_root(repository.as_bytes(proposal))
    assert services.root().version == 1
