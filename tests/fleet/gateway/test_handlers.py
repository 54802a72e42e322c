"""What comes up over MQTT, as a batch: good messages are stored, bad ones kept aside, nothing stops the stream."""

import math
import time

import msgspec
import pytest
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.hardware import GIB, Hardware
from agent.wire.messages import Active, EnrollReply, EnrollRequest, Restraint, Sample, State, Telemetry, Want, WantPart
from fleet.audit.models import Event
from fleet.devices import services as device_services
from fleet.devices.models import Device, Group
from fleet.gateway import handlers
from fleet.gateway.inbox import Inbound
from fleet.gateway.models import Outbox, Rejected
from fleet.telemetry.models import Sample as Stored
from fleet.telemetry.summing import take_up_all
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
    take_up_all()

    assert list(Stored.objects.order_by("at").values_list("seq", flat=True)) == [1, 2]
    device.refresh_from_db()
    assert (device.cpu_percent, device.latency_p50) == (50.0, 1.5)
    assert (device.episodes, device.successes) == (5, 4), "each sample counts once"


def test_a_device_is_seen_also_by_samples_that_are_refused_or_came_before(handle, device):
    for sample in (Sample(seq=1, at=1000), Sample(seq=2, at=time.time()), Sample(seq=2, at=time.time())):
        Device.objects.update(last_seen=None)
        handle([telemetry(device, sample)])
        take_up_all()
        device.refresh_from_db()
        assert device.last_seen is not None


def test_what_the_broker_had_kept_does_not_say_that_a_device_is_there(handle, device):
    handle([telemetry(device, Sample(seq=1, at=time.time()))._replace(retained=True)])
    device.refresh_from_db()
    assert device.last_seen is None
    assert "that the broker keeps" in Rejected.objects.get().reason


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
    assert Rejected.objects.get().count == 400, "the same over and over is one row"
    handle([Inbound(f"edgefleet/v1/up/{device.pk}/nonsense-{n}", b"x") for n in range(400)])
    assert Rejected.objects.count() == 1 + handlers.REJECTED_KEPT


def test_a_body_that_was_too_long_to_hold_is_named_by_its_size(handle, device):
    handle([Inbound(topics.up(device.pk, "telemetry"), b"x" * 120, size=64 * 1024**2)])
    assert Rejected.objects.get().reason == "the body has 67108864 bytes, the limit is 262144"


def test_what_cannot_be_stored_of_one_device_does_not_stop_the_others(handle, device):
    """Texts that PostgreSQL refuses, and counts that no column holds, never come as far as the database."""
    hostile = make_device()
    for more in (b'"manifest":"\\u0000"', b'"decisions":9007199254740993', b'"latency":{"70":9007199254740993}'):
        body = b'{"boot_id":"b","samples":[{"seq":1,"at":%f,%s}]}' % (time.time(), more)
        handle([Inbound(topics.up(hostile.pk, "telemetry"), body), telemetry(device, Sample(seq=1, at=time.time()))])
    assert Stored.objects.get().device_id == device.pk
    assert Rejected.objects.count() == 3
    assert not Rejected.objects.filter(reason__contains="could not be stored").exists()


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


def test_what_a_device_does_less_of_is_kept_and_logged_when_it_begins_and_ends(handle, device):
    threads = Restraint(step="fewer_threads", budget="power", since=5e8, used=5.6, limit=5, level=2, source="measured")
    handle([state(device, restraints=(threads,))])
    less = msgspec.structs.replace(threads, level=1)
    asks = msgspec.structs.replace(threads, step="smaller_variant", level=0)
    handle([state(device, seq=2, restraints=(less, asks))])
    device.refresh_from_db()
    assert [each["step"] for each in device.restraints] == ["fewer_threads", "smaller_variant"]
    assert device.restraints[0]["level"] == 1
    handle([state(device, seq=3)])
    device.refresh_from_db()
    assert device.restraints == []

    log = Event.objects.filter(kind__in=("device.restrained", "device.freed")).order_by("id")
    because = "because the measured power was at 112 % of its budget (5.6 of 5 W)"
    assert list(log.values_list("level", "text", "detail")) == [
        ("warn", f"{device.name} runs on 2 threads", because),
        ("warn", f"{device.name} asks for a smaller variant", because),
        ("ok", f"{device.name} runs on all its threads again", ""),
        ("ok", f"{device.name} does not ask for a smaller variant any more", ""),
    ]


def test_hardware_that_changes_is_logged(handle, device):
    handle([state(device, hardware=BOARD)])
    assert not Event.objects.filter(kind="device.hardware").exists(), "the first report is no change"
    camera = msgspec.structs.replace(BOARD, sensors=("camera: USB Camera",), storage_bytes=31 * GIB)
    handle([state(device, seq=2, hardware=camera)])
    less = msgspec.structs.replace(BOARD, cores=1.5, memory_bytes=2 * GIB)
    handle([state(device, seq=3, hardware=less)])

    log = Event.objects.filter(kind="device.hardware").order_by("id").values_list("text", flat=True)
    assert list(log) == [
        f"{device.name}: sensors added, camera: USB Camera",
        f"{device.name}: sensors gone, camera: USB Camera",
        f"{device.name}: 4 cores became 1.5",
        f"{device.name}: 4 GiB of memory became 2 GiB",
    ]


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
    with django_assert_max_num_queries(24):
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

    def test_a_device_brings_its_first_tags(self, handle, token):
        reply = self.enroll(handle, token[1], tags=("site=berlin", "spare"))
        assert [str(tag) for tag in Device.objects.get(pk=reply.device_id).tags.all()] == ["site=berlin", "spare"]

    def test_a_token_tags_its_devices_whatever_they_say_themselves(self, handle, admin):
        _, text = device_services.create_token("berlin", admin, auto_accept=True, tags=["site=berlin", "spare"])
        self.enroll(handle, text, tags=("site=bern", "floor=2"))
        assert [str(tag) for tag in Device.objects.get().tags.all()] == ["floor=2", "site=berlin", "spare"]

    def test_more_tags_than_a_device_may_have_are_refused_with_the_number(self, handle, admin):
        _, text = device_services.create_token(
            "many", admin, auto_accept=True, tags=[f"k{number}" for number in range(20)]
        )
        answer = self.enroll(handle, text, tags=tuple(f"own{number}" for number in range(13)))
        assert (answer.status, answer.reason) == ("rejected", "a device has at most 32 tags, not 33")
        assert not Device.objects.exists()

    def test_a_device_with_a_tag_that_is_none_is_told_so(self, handle, token):
        reply = self.enroll(handle, token[1], tags=("site=berlin", "two words"))
        assert reply.status == "rejected"
        assert "“two words” is no tag" in reply.reason
        assert not Device.objects.exists()

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
