"""What a search finds, on real rows; run on SQLite and, with the store's other tests, on PostgreSQL."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agent.wire.hardware import GIB
from agent.wire.states import Admission
from fleet.devices import tagging
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment, Rollout
from fleet.search.conditions import matching
from fleet.search.errors import SearchError
from fleet.search.fields import STATES
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db


@pytest.fixture
def four(operator) -> dict[str, Device]:
    """An arm that is there and runs arm@1, a camera that is away, a PC that never came, an arm that is retired."""
    now = timezone.now()
    release = make_release()
    digest = release.variants.get(device_class="mobile").manifest_digest
    made = {
        "arm": make_device(
            id="d-arm",
            name="arm-1",
            device_class="mobile",
            online=True,
            last_seen=now,
            sample_at=now,
            latency_p95=30.0,
            memory_used=3 * GIB,
            memory_total=16 * GIB,
            storage_free=5 * GIB,
            temperature=71.0,
            power=4.5,
            cpu_percent=12.0,
            episodes=10,
            successes=9,
            errors=2,
            agent_version="0.2.0",
            active_manifest=digest,
            hardware={
                "cores": 8,
                "memory_bytes": 16 * GIB,
                "storage_bytes": 64 * GIB,
                "board": "Jetson Orin NX",
                "platform": "linux/arm64",
                "accelerators": ["cuda", "dla"],
            },
        ),
        "cam": make_device(
            id="d-cam",
            name="cam-1",
            last_seen=now - timedelta(hours=5),
            latency_p95=118.0,
            simulated=True,
            idle=False,
            restraints=[{"step": "drop_caches"}],
            episodes=10,
            successes=5,
            hardware={"memory_bytes": int(3.7 * GIB), "storage_bytes": 32 * GIB, "board": "Raspberry Pi 4"},
        ),
        "ipc": make_device(
            id="d-ipc", name="ipc 1", device_class="edge_server", admission=Admission.PENDING, hardware={}
        ),
        "old": make_device(id="d-old", name="arm-0", device_class="mobile", retired_at=now),
    }
    tagging.replace(made["arm"], ["site=berlin", "floor=2", "spare"], operator)
    tagging.replace(made["cam"], ["site=berlin", "floor=3"], operator)
    tagging.replace(made["ipc"], ["site=bern"], operator)
    hall = Group.objects.create(name="hall")
    hall.devices.set([made["arm"], made["ipc"]])
    Group.objects.create(name="berliners", query="tag:site=berlin")
    Group.objects.create(name="hall-berliners", query="group:hall tag:site=berlin")
    rollout = Rollout.objects.create(release=release, target="all")
    variant = release.variants.get(device_class="mobile")
    Deployment.objects.create(rollout=rollout, device=made["arm"], variant=variant, state="downloading")
    before = Rollout.objects.create(release=release, target="all")
    Deployment.objects.create(
        rollout=before, device=made["arm"], variant=variant, state="failed", created_at=now - timedelta(days=1)
    )
    Deployment.objects.create(rollout=before, device=made["cam"], variant=variant, state="rolled_back")
    Deployment.objects.create(rollout=rollout, device=made["cam"], variant=variant, state="skipped")
    Deployment.objects.create(rollout=before, device=made["ipc"], variant=variant, state="queued")
    return made


def found(text: str) -> list[str]:
    return sorted(matching(text).values_list("pk", flat=True))


ARM, CAM, IPC, OLD = "d-arm", "d-cam", "d-ipc", "d-old"


@pytest.mark.parametrize(
    ("text", "pks"),
    [
        ("", [ARM, CAM, IPC]),
        ("arm", [ARM]),
        ("ARM-1", [ARM]),
        ("d-c", [CAM]),
        ('"ipc 1"', [IPC]),
        ("ipc 1", [IPC]),
        ("name=arm", []),
        ("name=ARM-1", [ARM]),
        ("id:d-", [ARM, CAM, IPC]),
        ("class:mobile", [ARM]),
        ("class!=mobile", [CAM, IPC]),
        ("-class:mobile", [CAM, IPC]),
        ("not class:mobile", [CAM, IPC]),
        ("tag:site=berlin", [ARM, CAM]),
        ("tag:SITE=Berlin", [ARM, CAM]),
        ("tag:site", [ARM, CAM, IPC]),
        ("tag:site=berlin tag:floor=2", [ARM]),
        ("tag:site=berlin -tag:floor=2", [CAM]),
        ("-tag:floor", [IPC]),
        ("tag:spare", [ARM]),
        ("tag:site=bern or tag:floor=2", [ARM, IPC]),
        ("(tag:site=bern or tag:floor=2) class:mobile", [ARM]),
        ("tag:site=bern or tag:floor=2 class:embedded", [IPC]),
        ("-(arm or cam)", [IPC]),
        ("group:hall", [ARM, IPC]),
        ("group:HALL", [ARM, IPC]),
        ("-group:hall", [CAM]),
        ("group:berliners", [ARM, CAM]),
        ("group:hall-berliners", [ARM]),
        ("-group:hall-berliners", [CAM, IPC]),
        ("model:arm", [ARM]),
        ("model:arm@1", [ARM]),
        ("model:arm@2", []),
        ("model:none", [CAM, IPC]),
        ("-model:arm", [CAM, IPC]),
        ("variant:fp16", [ARM]),
        ("variant=fp16", []),
        ("memory<4", [CAM]),
        ("memory >= 16 retired or memory>=16GB", [ARM]),
        ("-memory<4", [ARM, IPC]),
        ("memory<3500MB", []),
        ("cores=8", [ARM]),
        ("cores>4", [ARM]),
        ("storage>=32GB", [ARM, CAM]),
        ("free<6GB", [ARM]),
        ("latency>50ms", [CAM]),
        ("latency>0.1s", [CAM]),
        ("p95<=30", [ARM]),
        ("-latency>50ms", [ARM, IPC]),
        ("used<20%", [ARM]),
        ("success<95%", [ARM, CAM]),
        ("success>=90", [ARM]),
        ("-success<95%", [IPC]),
        ("temperature>70", [ARM]),
        ("temperature>-5", [ARM]),
        ("power>4000mW", [ARM]),
        ("cpu>50%", []),
        ("errors>0", [ARM]),
        ("seen>3h", [CAM]),
        ("seen<1min", [ARM]),
        ("-seen<1min", [CAM, IPC]),
        ("enrolled<1d", [ARM, CAM, IPC]),
        ("enrolled>1w", []),
        ("agent:0.2", [ARM]),
        ("agent=0.2", []),
        ("board:jetson", [ARM]),
        ('board="raspberry pi 4"', [CAM]),
        ("-board:jetson", [CAM, IPC]),
        ("platform:arm64", [ARM]),
        ("accelerator:cuda", [ARM]),
        ("mode:full", [ARM, CAM, IPC]),
        ("online", [ARM]),
        ("offline", [CAM]),
        ("never", [IPC]),
        ("silent", []),
        ("is:online", [ARM]),
        ("state!=online", [CAM, IPC]),
        ("pending", [IPC]),
        ("accepted", [ARM, CAM]),
        ("updating", [ARM]),
        ("waiting", [IPC]),
        ("failing", [CAM]),
        ("busy", [CAM]),
        ("idle", [ARM, IPC]),
        ("simulated", [CAM]),
        ("restrained", [CAM]),
        ("-restrained", [ARM, IPC]),
        ("real", [ARM, IPC]),
        ("retired", [OLD]),
        ("-retired", [ARM, CAM, IPC]),
        ("retired or arm", [ARM, OLD]),
        ('"retired"', []),
        ("class:embedded tag:site=berlin memory<4 offline -model:arm@3", [CAM]),
        ("%", []),
        ("_", []),
    ],
)
def test_it_finds_what_it_says(four, text, pks):
    assert found(text) == pks


@pytest.mark.parametrize("word", STATES)
def test_every_state_has_its_devices_and_its_opposite_has_the_others(four, word):
    everybody = set(found("")) | {OLD} if word == "retired" else set(found(""))
    assert set(found(word)) | set(found(f"-{word}")) == everybody
    assert not set(found(word)) & set(found(f"-{word}"))


def test_a_group_that_there_is_not_is_said_with_the_nearest(four):
    with pytest.raises(SearchError) as refused:
        matching("online group:berlinars")
    assert str(refused.value) == "There is no group “berlinars” (character 14); the nearest is berliners."
    assert (refused.value.at, refused.value.length, refused.value.instead) == (13, 9, "berliners")


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("arm online tag:site=berlin model:arm@1 latency>5 failing", 1),
        ("group:hall -group:berliners group:lab", 2),
        ("group:berliners group:hall-berliners -group:lab or group:lab-berliners", 3),
    ],
)
def test_a_search_is_one_query_and_one_more_for_the_names_of_groups(four, django_assert_num_queries, text, queries):
    Group.objects.create(name="lab")
    Group.objects.create(name="lab-berliners", query="group:lab tag:site=berlin")
    with django_assert_num_queries(queries):
        list(matching(text))


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL reads a table of four rows whole, as it should")
@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tag:site=berlin", "tag_search"),
        ("class:mobile", "device_class"),
        ("model:arm@1", "active_manifest"),
        ("group:hall", "group_id"),
        ("updating", "deployment_states"),
        ("failing", "deployment_states"),
        ("failing", "deployment_newest"),
    ],
)
def test_what_names_something_is_found_by_an_index(four, text, index):
    plan = matching(text).order_by().explain()
    assert index in plan, plan
