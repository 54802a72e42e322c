"""Groups: made, filled, renamed, deleted."""

import re

import pytest

from fleet.devices.models import Device, Group
from tests.conftest import make_device
from tests.fleet.dashboard.support import HTMX


@pytest.fixture
def hall(db) -> Group:
    group = Group.objects.create(name="hall", description="Hall A")
    group.devices.set([make_device(name=f"cam-{number}") for number in range(3)])
    make_device(name="arm-1")
    return group


def rows(answer) -> list[str]:
    return re.findall(r'id="member-[^"]+".*?<a[^>]*>([^<]+)</a>', answer.text, re.S)


def test_a_group_is_made_and_leads_to_its_page(operating, db):
    answer = operating.post("/new-group", {"name": "Hall A", "description": "Everything there"}, headers=HTMX)
    assert answer.headers["HX-Redirect"] == "/groups/hall-a"
    assert "Everything there" in operating.get("/groups/hall-a").text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "This field is required."),
        ("***", "needs at least one letter or digit"),
        ("<script>", "has letters from a to z, digits, - and _ only; leave out &lt; &gt;."),
        ("a/b", "has letters from a to z, digits, - and _ only; leave out /."),
        ("hall", "There is already a group called hall."),
        ("x" * 65, "at most 64 characters"),
    ],
)
def test_a_bad_name_is_said_beside_the_field(operating, hall, name, says):
    answer = operating.post("/new-group", {"name": name, "description": "kept"}, headers=HTMX)
    assert answer.status_code == 422
    assert says in answer.text
    assert 'id="id_name-error"' in answer.text
    assert 'value="kept"' in answer.text


def test_the_list_counts_who_is_there(viewer, hall, sample_fleet):
    sample_fleet(60)
    text = re.sub(r"\s+", " ", viewer.get("/groups").text)
    counts = re.search(r'id="group-hall">.*?<td class="num">(\d+)</td> <td class="num">(\d+)</td>', text)
    assert counts.groups() == ("3", "0")


def test_retired_devices_are_no_members(viewer, hall):
    Device.objects.filter(name="cam-0").update(retired_at=hall.created_at)
    assert rows(viewer.get("/groups/hall")) == ["cam-1", "cam-2"]
    assert "2 devices" in viewer.get("/groups/hall").text


def test_members_are_searched_and_others_are_offered(operating, hall):
    assert rows(operating.get("/groups/hall")) == ["cam-0", "cam-1", "cam-2"]
    assert rows(operating.get("/groups/hall?q=cam-2")) == ["cam-2"]
    assert rows(operating.get("/groups/hall?add=1")) == ["arm-1"]
    assert rows(operating.get("/groups/hall?q=class:embedded+-cam-2")) == ["cam-0", "cam-1"]
    assert "No device matches" in operating.get("/groups/hall?q=nothing").text
    assert "The ( at character 1 is never closed." in operating.get("/groups/hall?q=(cam").text


def test_devices_come_and_go(operating, hall):
    arm = Device.objects.get(name="arm-1")
    answer = operating.post("/groups/hall/members", {"do": "add", "device": [arm.pk]}, follow=True)
    assert "1 device joined hall." in answer.text
    gone = list(hall.devices.filter(name__startswith="cam").values_list("pk", flat=True))
    answer = operating.post("/groups/hall/members", {"do": "remove", "device": gone}, follow=True)
    assert "3 devices left hall." in answer.text
    assert list(hall.devices.values_list("name", flat=True)) == ["arm-1"]
    assert "No device was chosen." in operating.post("/groups/hall/members", {"do": "add"}, follow=True).text


def test_a_group_is_renamed_and_its_old_address_is_gone(operating, hall):
    answer = operating.post("/groups/hall/edit", {"name": "hall-b", "description": ""})
    assert answer.url == "/groups/hall-b"
    assert operating.get("/groups/hall").status_code == 404
    Group.objects.create(name="lab")
    answer = operating.post("/groups/hall-b/edit", {"name": "lab", "description": ""}, headers=HTMX)
    assert answer.status_code == 422
    assert "There is already a group called lab." in answer.text


def test_deleting_a_group_keeps_its_devices(operating, hall):
    text = re.sub(r"\s+", " ", operating.get("/groups/hall").text)
    assert "Its 3 devices stay in the fleet" in text, "what it costs is said before"
    answer = operating.post("/groups/hall/delete", follow=True)
    assert "The group hall is gone; its devices stay." in answer.text
    assert Device.objects.count() == 4


def test_a_query_is_previewed_on_the_form_and_makes_a_group(operating, hall):
    text = re.sub(r"\s+", " ", operating.get("/new-group?query=cam").text)
    assert 'value="cam"' in text
    assert "<b>3 devices</b> would be in it at this moment." in text
    answer = operating.post("/new-group", {"name": "cams", "description": "", "query": "cam"}, headers=HTMX)
    assert answer.headers["HX-Redirect"] == "/groups/cams"
    page = operating.get("/groups/cams")
    assert rows(page) == ["cam-0", "cam-1", "cam-2"]
    assert 'href="/devices?q=cam"' in page.text
    assert "Add devices" not in page.text
    assert 'name="device"' not in page.text, "nobody is ticked where nobody can be taken out"


def test_a_change_of_a_query_is_previewed_before_it_is_saved(operating, hall):
    Group.objects.create(name="cams", query="cam")
    part = operating.get(
        "/new-group/preview?group=cams&query=cam-1+or+arm", headers=HTMX | {"HX-Target": "group-preview"}
    )
    said = re.sub(r"\s+", " ", part.text)
    assert "<b>2 devices</b> would be in it at this moment: 1 would join, 2 would leave." in said
    assert said.index("Would join") < said.index("arm-1") < said.index("Would leave") < said.index("cam-0")
    assert Group.objects.get(name="cams").query == "cam"
    operating.post("/groups/cams/edit", {"name": "cams", "description": "", "query": "cam-1 or arm"})
    assert rows(operating.get("/groups/cams")) == ["arm-1", "cam-1"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("clas:mobile", "There is no field “clas”"),
        ("group:cams", "has a query itself"),
        ("group:x", "There is no group"),
    ],
)
def test_a_query_that_cannot_be_one_is_said_beside_its_field(operating, hall, query, says):
    Group.objects.create(name="cams", query="cam")
    for address in ("/new-group", "/groups/cams/edit"):
        answer = operating.post(address, {"name": "other", "description": "", "query": query}, headers=HTMX)
        assert answer.status_code == 422
        assert says in answer.text
        assert 'id="id_query-error"' in answer.text
        assert f'value="{query}"' in answer.text, "nothing typed is lost"


def test_a_query_without_scripts_is_previewed_by_a_button(operating, hall):
    answer = operating.post("/new-group", {"name": "", "query": "cam", "do": "preview"})
    assert "<b>3 devices</b>" in answer.text
    assert not Group.objects.filter(query="cam").exists()
