"""The list of devices: found, filtered, sorted, paged, and told things together."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from agent.wire.states import Admission
from fleet.devices.models import Device, Group, Tag
from fleet.search.fields import FIELDS
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version

NOW = timezone.now


def names(answer) -> list[str]:
    return re.findall(r'href="/devices/[^"?]+"\s+title="([^"]+)">\1</a>', answer.text)


@pytest.fixture
def few(db) -> dict[str, Device]:
    """An arm that is there, a camera that is not, a PC that never was, an arm that waits for admission."""
    now = NOW()
    return {
        "arm": make_device(
            name="arm-1",
            device_class="mobile",
            online=True,
            last_seen=now,
            sample_at=now,
            latency_p95=30,
            memory_used=1,
            memory_total=4,
            episodes=10,
            successes=9,
            temperature=40,
            power=5,
            power_source="estimated",
        ),
        "cam": make_device(
            name="cam-1",
            last_seen=now - timedelta(hours=3),
            latency_p95=118,
            memory_used=3,
            memory_total=4,
            episodes=10,
            successes=5,
            simulated=True,
        ),
        "ipc": make_device(name="ipc-1", device_class="edge_server"),
        "new": make_device(name="arm-2", device_class="mobile", admission=Admission.PENDING),
        "old": make_device(name="arm-0", retired_at=now),
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["arm-1", "arm-2", "cam-1", "ipc-1"]),
        ("q=ARM", ["arm-1", "arm-2"]),
        ("q=%20cam%20", ["cam-1"]),
        ("q=class:mobile", ["arm-1", "arm-2"]),
        ("q=online", ["arm-1"]),
        ("q=offline", ["cam-1"]),
        ("q=never", ["arm-2", "ipc-1"]),
        ("q=pending", ["arm-2"]),
        ("q=retired", ["arm-0"]),
        ("q=simulated", ["cam-1"]),
        ("q=real+class:mobile", ["arm-1", "arm-2"]),
        ("q=group:hall", ["cam-1"]),
        ("q=group:nobody", []),
        ("q=tag:site%3Dberlin+-offline", ["arm-1"]),
        ("q=latency%3E100ms", ["cam-1"]),
        ("q=nothing", []),
        ("sort=-name", ["ipc-1", "cam-1", "arm-2", "arm-1"]),
        ("sort=p95", ["arm-1", "cam-1", "arm-2", "ipc-1"]),
        ("sort=-p95", ["cam-1", "arm-1", "arm-2", "ipc-1"]),
        ("sort=-memory", ["cam-1", "arm-1", "arm-2", "ipc-1"]),
        ("sort=success", ["cam-1", "arm-1", "arm-2", "ipc-1"]),
        ("sort=temperature", ["arm-1", "arm-2", "cam-1", "ipc-1"]),
        ("sort=-power", ["arm-1", "arm-2", "cam-1", "ipc-1"]),
        ("sort=-seen", ["arm-1", "cam-1", "arm-2", "ipc-1"]),
        ("sort=class", ["ipc-1", "cam-1", "arm-1", "arm-2"]),
        ("sort=state", ["arm-1", "cam-1", "arm-2", "ipc-1"]),
    ],
)
def test_devices_are_found_and_sorted(viewer, few, query, found):
    group = Group.objects.create(name="hall")
    group.devices.add(few["cam"])
    Tag.objects.bulk_create(Tag(device=few[name], key="site", value="berlin") for name in ("arm", "cam"))
    assert names(viewer.get(f"/devices?{query}")) == found


def test_sorting_by_what_they_run_goes_by_its_name(viewer, few):
    first, second = make_version("alpha"), make_version("beta")
    Device.objects.filter(name="cam-1").update(active_manifest=make_variant(first, "embedded").manifest_digest)
    Device.objects.filter(name="arm-1").update(active_manifest=make_variant(second, "mobile").manifest_digest)
    answer = viewer.get("/devices?sort=version")
    assert names(answer)[:2] == ["cam-1", "arm-1"]
    assert names(viewer.get("/devices?sort=-version"))[:2] == ["arm-1", "cam-1"]
    assert "alpha@1" in answer.text


def test_an_artifact_that_the_catalog_does_not_know_is_shown_by_its_digest(viewer, few):
    Device.objects.filter(name="arm-1").update(active_manifest="ab" * 32)
    assert "abababababab" in viewer.get("/devices").text


@pytest.mark.parametrize(
    "query",
    [
        "sort=password&page=-7&per=999999",
        "q=is:dead+class:toaster",
        "q=%00%27%22%3B--&sort=%00",
        "page=99999999999999999999999",
        "q=" + "x" * 3000,
        "group=%00",
        "sort=-&page=&per=",
        "q=%25_%5C",
    ],
)
def test_a_hostile_address_is_a_list_all_the_same(viewer, few, query):
    assert viewer.get(f"/devices?{query}").status_code == 200


def test_wildcards_of_sql_are_letters_here(viewer, few):
    assert names(viewer.get("/devices?q=%25")) == []
    assert names(viewer.get("/devices?q=_")) == []


def test_the_facets_count_what_the_other_filters_leave(viewer, few):
    text = viewer.get("/devices?q=class:mobile+online").text
    facet = dict(re.findall(r"</svg>(Online|Silent|Offline|Never connected) <b>(\d+)</b>", re.sub(r"\s+", " ", text)))
    assert facet == {"Online": "1", "Silent": "0", "Offline": "0", "Never connected": "1"}
    assert "All <b>2</b>" in re.sub(r"\s+", " ", text)


def test_a_search_that_cannot_be_read_is_pointed_at_and_finds_nobody(viewer, few):
    text = re.sub(r"\s+", " ", viewer.get("/devices?q=online+clas:mobile").text)
    assert "There is no field “clas” (character 8); the nearest is class." in text
    assert "online <mark>clas</mark>:mobile" in text
    assert 'href="?q=online+class%3Amobile"' in text
    assert "The search cannot be read" in text


def test_somebody_who_is_typing_is_not_told_that_the_end_is_missing(viewer, few):
    typing = {"HX-Request": "true", "HX-Target": "device-list"}
    assert viewer.get("/devices?q=class:", headers=typing).status_code == 204
    assert "A value has to follow class:" in viewer.get("/devices?q=class:").text, "who presses Enter is"
    assert "There is no field" in viewer.get("/devices?q=clas:x", headers=typing).text


def test_a_long_list_is_cut_into_pages_and_every_device_is_on_one(viewer, db):
    for number in range(120):
        make_device(name=f"cam-{number:03}")
    pages = [names(viewer.get(f"/devices?page={page}")) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert len({name for page in pages for name in page}) == 120
    assert "101–120 of 120 devices" in re.sub(r"\s+", " ", viewer.get("/devices?page=9").text)
    assert len(names(viewer.get("/devices?per=100"))) == 100


def test_the_address_holds_the_whole_state(viewer, few):
    text = viewer.get("/devices?q=arm+class:mobile&sort=-p95&per=100").text
    link = re.search(r'href="(\?[^"]+)"[^>]*>\s*<svg[^>]*>\s*<use[^>]*/>\s*</svg>Online', text)[1]
    assert link.replace("&amp;", "&") == "?q=arm+class%3Amobile+online&sort=-p95&per=100"
    assert 'name="sort" value="-p95"' in text, "a search keeps the order"


def test_a_device_that_is_away_is_shown_as_offline_and_not_as_updating(viewer, sample_fleet):
    sample_fleet(60)
    text = viewer.get("/devices?q=offline&per=100").text
    assert "Notified" not in text
    assert text.count("Offline") > 1


def test_power_says_when_it_is_only_estimated(viewer, few):
    assert 'title="estimated, not measured"' in viewer.get("/devices?q=arm-1").text


def test_the_search_explains_its_whole_language(viewer, few):
    page = unescape(viewer.get("/devices").text)
    assert [field.name for field in FIELDS.values() if field.example not in page] == []


# --- Together -------------------------------------------------------------------------------------------------------


def test_ticked_devices_are_accepted_together(operating, few):
    other = make_device(name="arm-3", admission=Admission.PENDING)
    answer = operating.post("/devices/together", {"do": "accept", "device": [few["new"].pk, other.pk]}, follow=True)
    assert "2 devices accepted." in answer.text
    assert not Device.objects.filter(admission=Admission.PENDING).exists()


def test_the_button_of_one_row_acts_on_that_row_alone(operating, few):
    other = make_device(name="arm-3", admission=Admission.PENDING)
    operating.post("/devices/together", {"one": f"reject {other.pk}", "device": [few["new"].pk]})
    other.refresh_from_db()
    few["new"].refresh_from_db()
    assert (other.admission, few["new"].admission) == (Admission.REJECTED, Admission.PENDING)


def test_everything_that_the_list_matches_joins_a_group(operating, few):
    group = Group.objects.create(name="hall")
    answer = operating.post(
        "/devices/together",
        {
            "do": "group",
            "group": "hall",
            "everything": "yes",
            "query": "?q=class:mobile",
            "next": "/devices?q=class:mobile",
        },
        follow=True,
    )
    assert answer.redirect_chain[0][0] == "/devices?q=class:mobile"
    assert "2 devices joined hall." in answer.text
    assert sorted(group.devices.values_list("name", flat=True)) == ["arm-1", "arm-2"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"do": "accept", "device": []}, "No device was chosen."),
        ({"do": "accept", "device": ["nothing"]}, "No device was chosen."),
        ({"do": "group"}, "Choose the group that the devices should join."),
        ({"do": "explode"}, "Devices cannot be told to explode together."),
    ],
)
def test_what_cannot_be_done_together_is_said(operating, few, given, says):
    answer = operating.post("/devices/together", {"device": [few["arm"].pk], **given}, follow=True)
    assert says in answer.text


def test_a_list_never_sends_one_to_another_site(operating, few):
    for elsewhere in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
        answer = operating.post("/devices/together", {"do": "accept", "device": [few["new"].pk], "next": elsewhere})
        assert answer.url == "/devices", elsewhere
