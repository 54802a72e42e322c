"""Tags: of one device and of many, from people, programs and the device itself."""

import json

import pytest

from agent.wire import tags
from fleet.audit.models import Event
from fleet.devices import tagging
from fleet.devices.models import Device, Tag
from fleet.errors import Refused
from tests.conftest import make_device

pytestmark = pytest.mark.django_db


def of(device: Device) -> list[str]:
    return [str(tag) for tag in device.tags.all()]


def test_a_device_gets_its_tags_all_at_once(device, operator):
    tagging.replace(device, ["Site=Berlin", "spare", "floor=2"], operator)
    assert of(device) == ["floor=2", "site=berlin", "spare"]
    tagging.replace(device, ["site=bern"], operator)
    assert of(device) == ["site=bern"]
    assert Event.objects.filter(kind="device.tags").first().text == f"Tags of {device.name}: site=bern"


def test_the_same_tags_again_are_no_event(device, operator):
    tagging.replace(device, ["site=bern"], operator)
    tagging.replace(device, ["site=bern"], operator)
    assert Event.objects.filter(kind="device.tags").count() == 1


@pytest.mark.parametrize("number", [3, 80])
def test_many_are_tagged_in_as_many_queries_as_few(operator, number, django_assert_max_num_queries):
    devices = [make_device() for _ in range(number)]
    tagging.change(devices[:1], operator, add=["site=bern", "old=1"])
    with django_assert_max_num_queries(10):
        assert tagging.change(devices, operator, add=["site=berlin", "spare"], remove=["old"]) == number
    assert Tag.objects.filter(key="site", value="berlin").count() == Tag.objects.filter(key="spare").count() == number
    assert of(devices[0]) == ["site=berlin", "spare"]


def test_a_bare_name_takes_away_any_value_and_a_whole_tag_only_itself(operator):
    one, other = make_device(), make_device()
    tagging.replace(one, ["site=berlin", "floor=1"], operator)
    tagging.replace(other, ["site=bern", "floor=2"], operator)
    tagging.change([one, other], operator, remove=["site=berlin", "floor"])
    assert (of(one), of(other)) == ([], ["site=bern"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a b"], "“a b” is no tag: its name"),
        (["=x"], "“=x” is no tag: its name"),
        (["a=b c"], "“a=b c” is no tag: its value"),
        (['a="b"'], "is no tag: its value"),
        (["a=" + "x" * 65], "a name has at most 32 characters, a value 64"),
        (["k" * 33], "a name has at most 32 characters"),
        ([f"k{n}" for n in range(33)], "A device has at most 32 tags, not 33."),
        (["a\0=b"], "is no tag"),
    ],
)
def test_what_is_no_tag_is_refused_and_changes_nothing(device, operator, words, says):
    tagging.replace(device, ["site=berlin"], operator)
    for attempt in (
        lambda: tagging.replace(device, words, operator),
        lambda: tagging.change([device], operator, add=words),
    ):
        with pytest.raises(Refused, match=says):
            attempt()
    assert of(device) == ["site=berlin"]


def test_one_device_with_too_many_refuses_it_for_all(operator):
    full, other = make_device(name="full"), make_device()
    tagging.replace(full, [f"k{n}" for n in range(tags.MOST)], operator)
    with pytest.raises(Refused, match="full would have 33"):
        tagging.change([other, full], operator, add=["one-more"])
    assert of(other) == []


def test_tags_on_the_pages(client, operator, device):
    client.force_login(operator)
    answer = client.post(f"/devices/{device.pk}/tags", {"tags": "site=berlin, floor=2 spare"}, follow=True)
    assert 'href="/devices?q=tag:site%3Dberlin"' in answer.text
    assert of(device) == ["floor=2", "site=berlin", "spare"]
    wrong = client.post(f"/devices/{device.pk}/tags", {"tags": "site=<b>"}, headers={"HX-Request": "true"})
    assert wrong.status_code == 422
    assert "is no tag: its value" in wrong.text
    together = {"do": "tag", "tags": "line=4", "everything": "yes", "query": "?q=tag:site"}
    assert "1 device tagged line=4." in client.post("/devices/together", together, follow=True).text
    untag = {"do": "untag", "tags": "line", "device": [device.pk]}
    assert "1 device no longer tagged line." in client.post("/devices/together", untag, follow=True).text
    nothing = client.post("/devices/together", {"do": "tag", "device": [device.pk]}, follow=True)
    assert "Name at least one tag" in nothing.text


def test_tags_through_the_api(client, operator, bearer, device):
    other = make_device(name="cam-1")

    def call(method, path, **body):
        return client.generic(method, f"/api{path}", json.dumps(body), "application/json", **bearer(operator))

    assert call("PATCH", f"/devices/{device.pk}", tags=["site=berlin", "spare"]).json()["tags"] == {
        "site": "berlin",
        "spare": "",
    }
    assert call("POST", "/devices/tags", search="cam", add=["site=berlin"]).json() == {"changed": 1}
    found = call("GET", "/devices?search=tag:site%3Dberlin -tag:spare").json()["items"]
    assert [(row["name"], row["tags"]) for row in found] == [("cam-1", {"site": "berlin"})]
    assert call("POST", "/devices/tags", devices=[other.pk], remove=["site"]).json() == {"changed": 1}
    assert call("POST", "/devices/tags", add=["a"]).status_code == 409
    assert call("POST", "/devices/tags", devices=[other.pk]).status_code == 409
    assert call("POST", "/devices/tags", search="cam", add=["a b"]).status_code == 409
    assert call("POST", "/devices/tags", search="(", add=["a"]).status_code == 422
    wrong = call("GET", "/devices?search=memory<")
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "A value has to follow memory<, as in memory<4GB.")


def test_a_tokens_tags_through_the_api(client, admin, bearer):
    def call(**body):
        made = {"name": "berlin", "tags": ["Site=berlin", "spare"], **body}
        return client.post("/api/enrollment-tokens", json.dumps(made), "application/json", **bearer(admin))

    assert call().json()["tags"] == ["site=berlin", "spare"]
    assert client.get("/api/enrollment-tokens", **bearer(admin)).json()["items"][0]["tags"] == ["site=berlin", "spare"]
    wrong = call(tags=["a b"])
    assert (wrong.status_code, wrong.json()["detail"][:17]) == (409, "“a b” is no tag: ")
