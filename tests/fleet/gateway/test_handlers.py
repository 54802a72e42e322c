"""What comes up over MQTT, as a batch: good messages are stored, bad ones kept aside, nothing stops the stream."""

import math
import time

import msgspec
import pytest
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.hardware import GIB, Hardware
from agent.wire.messages import Active, EnrollReply, EnrollRequest, Sample, State, Telemetry, Want, WantPart
from fleet.audit.models import Event
from fleet.devices import services as device_services
from fleet.devices.models import Device, Group
from fleet.gateway import handlers
from fleet.gateway.inbox import Inbound
from fleet.gateway.models import Outbox, Rejected
from fleet.telemetry.models import Sample as Stored
from tests.conftest import make_device

pytestmark = pytest.mark.django_db

SECRET = "s" * 43
BOARD = Hardware(cores=4, memory_bytes=4 * GIB, storage_bytes=32 * GIB, board="Pi")


@pytest.fixture
def asked():
    return []


@pytest.fixture
def handle(asked):
    return handlers.make(lambda device, want, rate: asked.append((device, want, rate)))


def telemetry(device, *samples, boot="boot-1"):
    return Inbound(topics.up(device.pk, "telemetry"), codec.encode(Telemetry(boot_id=boot, samples=samples)))


def state(device, **given):
    values = {"online": True, "boot_id": "boot-1", "seq": 1, "at": time.time(), "agent_version": "0.1.0"}
    return Inbound(topics.up(device.pk, "state"), codec.encode(State(**{**values, **given})))


def test_samples_are_stored_once_under_their_own_time_and_the_device_follows_the_newest(handle, device):
    now = time.time()
    late = Sample(seq=1, at=now - 3600, cpu_percent=10.0, episodes=2, successes=1)
    new = Sample(seq=2, at=now, cpu_percent=50.0, episodes=3, successes=3, latency_p50=1.5)

    handle([telemetry(device, new), telemetry(device, late), telemetry(device, new)])
    handle([telemetry(device, late, new)])

    assert list(Stored.objects.order_by("at").values_list("seq", flat=True)) == [1, 2]
    device.refresh_from_db()
    assert (device.cpu_percent, device.latency_p50) == (50.0, 1.5)
    assert (device.episodes, device.successes) == (5, 4), "each sample counts once"


def test_a_new_boot_starts_its_numbers_again(handle, device):
    now = time.time()
    handle([telemetry(device, Sample(seq=1, at=now)), telemetry(device, Sample(seq=1, at=now + 1), boot="boot-2")])
    assert Stored.objects.count() == 2


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\x00",
        b'{"boot_id":"b","samples":[{"seq":1,"at":NaN}]}',
        b'{"boot_id":"b","samples":[{"seq":1,"at":1e400}]}',
        b'{"boot_id":"b","samples":[{"seq":1,"at":1,"cpu_percent":"high"}]}',
        b'{"boot_id":"b","samples":[{"seq":1,"at":1,"cpu_percent":-5}]}',
        b'{"boot_id":"b","samples":[{"seq":-1,"at":1}]}',
        b'{"boot_id":"b","samples":[{"seq":99999999999999999999,"at":1}]}',
        b'{"boot_id":"' + b"b" * 500 + b'","samples":[{"seq":1,"at":1}]}',
        b'{"boot_id":"b","samples":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"boot_id":"b","samples":[' + b'{"seq":1,"at":1},' * 600 + b'{"seq":1,"at":1}]}',
        b" " * 1_000_000,
        b'{"boot_id":"b","samples":[{"seq":1,"at":4000000000}]}',
        b'{"boot_id":"b","samples":[{"seq":1,"at":1000}]}',
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_poison_is_kept_aside_with_its_reason_and_the_rest_of_the_batch_is_stored(handle, device, payload):
    good = telemetry(device, Sample(seq=7, at=time.time()))
    handle([Inbound(topics.up(device.pk, "telemetry"), payload), good])
    assert list(Stored.objects.values_list("seq", flat=True)) == [7]
    assert Rejected.objects.count() == (1 if payload else 0)
    assert all(row.reason and len(row.excerpt) <= 512 for row in Rejected.objects.all())


def test_topics_that_are_none_are_kept_aside(handle):
    handle([Inbound("edgefleet/v1/up/../telemetry", b"{}"), Inbound("edgefleet/v1/up/a/nonsense", b"{}")])
    assert Rejected.objects.count() == 2


def test_a_flood_of_poison_leaves_only_a_few_rows(handle, device):
    handle([Inbound(topics.up(device.pk, "telemetry"), b"x")] * 400)
    assert Rejected.objects.count() == handlers.REJECTED_KEPT


def test_strangers_pending_and_retired_devices_are_not_heard(handle, operator):
    pending = make_device(admission="pending")
    retired = make_device(retired_at=timezone.now())
    stranger = Device(id="d-stranger")
    sample = Sample(seq=1, at=time.time())
    handle([telemetry(each, sample) for each in (pending, retired, stranger)])
    assert not Stored.objects.exists()


def test_state_and_will(handle, device):
    handle([state(device, device_class="mobile", active=Active(manifest="ab" * 32))])
    device.refresh_from_db()
    assert (device.online, device.device_class, device.active_manifest) == (True, "mobile", "ab" * 32)
    handle([state(device, online=False, boot_id="an-older-boot", seq=0)])
    device.refresh_from_db()
    assert device.online, "the will of a connection that is long gone says nothing about this one"
    handle([state(device, online=False, seq=0)])
    device.refresh_from_db()
    assert not device.online
    assert device.active_manifest == "ab" * 32


def test_an_unknown_class_is_refused_and_said(handle, device):
    handle([state(device, device_class="mainframe")])
    device.refresh_from_db()
    assert device.device_class == "embedded"
    assert "mainframe" in Rejected.objects.get().reason


def test_wants_reach_the_block_server_only_from_devices_that_may_speak(handle, asked, device):
    want = Want(parts=(WantPart(digest="ab" * 32, first=0, missing="ff"),))
    pending, slow = make_device(admission="pending"), make_device(config={"transfer_rate": 50_000})
    handle([Inbound(topics.up(each.pk, "want"), codec.encode(want)) for each in (device, pending, slow)])
    assert asked == [(device.pk, want, 0), (slow.pk, want, 50_000)]


def test_messages_of_a_hundred_devices_cost_few_queries(handle, django_assert_max_num_queries):
    devices = [make_device() for _ in range(100)]
    now = time.time()
    batch = [telemetry(d, *(Sample(seq=i, at=now + i) for i in range(5))) for d in devices]
    batch += [state(d) for d in devices]
    with django_assert_max_num_queries(32):  # SQLite takes 999 values a statement, so updates come in slices
        handle(batch)
    assert Stored.objects.count() == 500


class TestEnrollment:
    @pytest.fixture
    def token(self, admin):
        return device_services.create_token("boards", admin, max_uses=2, group=Group.objects.create(name="new"))

    def enroll(self, handle, text, nonce="n-1", secret=SECRET, name="board", **given) -> EnrollReply:
        request = EnrollRequest(token=text, secret=secret, name=name, hardware=BOARD, agent_version="0.1.0", **given)
        handle([Inbound(topics.enroll_request(nonce), codec.encode(request))])
        row = Outbox.objects.filter(topic=topics.enroll_reply(nonce)).last()
        assert SECRET.encode() not in bytes(row.payload), "a reply never carries a secret"
        return codec.decode(bytes(row.payload), EnrollReply)

    def test_a_device_waits_for_a_person_then_is_in(self, handle, token, operator):
        reply = self.enroll(handle, token[1])
        assert reply.status == "pending"
        device = Device.objects.get(pk=reply.device_id)
        assert (device.device_class, device.groups.get().name) == ("embedded", "new")

        device_services.accept([device], operator)

        said = Outbox.objects.filter(topic=topics.enroll_reply("n-1")).last()
        assert codec.decode(bytes(said.payload), EnrollReply).status == "accepted"
        assert self.enroll(handle, token[1]).status == "accepted"

    def test_asking_twice_makes_one_device_and_uses_the_token_once(self, handle, token):
        first, second = (self.enroll(handle, token[1]) for _ in range(2))
        assert first.device_id == second.device_id
        token[0].refresh_from_db()
        assert token[0].uses == 1

    def test_a_taken_number_is_refused(self, handle, token):
        self.enroll(handle, token[1])
        reply = self.enroll(handle, token[1], secret="t" * 43)
        assert reply.status == "rejected"
        assert "belongs to another device" in reply.reason

    def test_a_device_whose_name_cannot_be_stored_is_told_so(self, handle, token):
        reply = self.enroll(handle, token[1], name="board\0")
        assert reply.status == "rejected"
        assert reply.reason == "A device's name cannot have control characters; this has U+0000."
        assert "not known" in self.enroll(handle, "nothing", name="board\0").reason
        assert not Device.objects.exists()
        assert not [text for text in Event.objects.values_list("text", flat=True) if "\0" in text]

    def test_a_token_serves_no_more_than_its_limit(self, handle, token):
        for nonce in ("n-1", "n-2"):
            assert self.enroll(handle, token[1], nonce).status == "pending"
        assert "its limit is 2" in self.enroll(handle, token[1], "n-3").reason
        assert self.enroll(handle, token[1], "n-1").status == "pending", "those that are in may ask again"

    def test_an_expired_revoked_or_wrong_token_says_so(self, handle, token, admin):
        device_services.revoke_token(token[0], admin)
        assert "revoked" in self.enroll(handle, token[1]).reason
        type(token[0]).objects.update(revoked_at=None, expires_at=timezone.now())
        assert "expired" in self.enroll(handle, token[1]).reason
        assert "not known" in self.enroll(handle, token[0].pk + ".wrong").reason
        assert "not known" in self.enroll(handle, "nothing").reason
        assert not Device.objects.exists()


def test_nothing_that_msgspec_takes_is_infinite():
    with pytest.raises(codec.WireError):
        codec.decode(b'{"seq":1,"at":Infinity}', Sample)
    assert math.isfinite(msgspec.json.decode(b"1e308"))
