"""Groups whose members are whom a query finds."""

import json

import pytest
from django.utils import timezone

from agent.wire.states import Admission
from fleet.devices import services, tagging
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.rollouts import services as rollouts
from fleet.rollouts.preview import preview
from fleet.search import groups as queries
from fleet.search.errors import SearchError
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(operator) -> list[Device]:
    devices = [make_device(name=name) for name in ("arm-1", "arm-2", "cam-1")]
    tagging.change(devices[:2], operator, add=["site=berlin"])
    return devices


@pytest.fixture
def berlin(three, operator) -> Group:
    return services.create_group("berlin", "Everything there", operator, "tag:site=berlin")


def names(devices) -> list[str]:
    return sorted(device.name for device in devices)


def test_who_matches_is_in_it_and_who_no_longer_does_is_not(berlin, three, operator):
    assert names(berlin.members()) == ["arm-1", "arm-2"]
    tagging.replace(three[2], ["site=berlin"], operator)
    tagging.replace(three[0], [], operator)
    assert names(berlin.members()) == ["arm-2", "cam-1"]
    services.retire(three[1], operator)
    assert names(berlin.members()) == ["cam-1"]


def test_a_static_group_has_whom_people_put_into_it(three, operator):
    hall = services.create_group("hall", "", operator)
    services.add_to_group(hall, three[1:], operator)
    assert not hall.dynamic
    assert names(hall.members()) == ["arm-2", "cam-1"]


def test_nobody_is_put_into_a_dynamic_group_by_hand(berlin, three, operator):
    for act in (
        lambda: services.add_to_group(berlin, three, operator),
        lambda: services.remove_from_group(berlin, three, operator),
        lambda: services.create_token("benches", operator, group=berlin),
    ):
        with pytest.raises(Refused, match="is decided by its query"):
            act()


def test_a_rollout_goes_to_those_who_are_in_it_when_it_starts(berlin, three, operator):
    release = make_release()
    waiting = make_device(name="arm-9", admission=Admission.PENDING)
    tagging.replace(waiting, ["site=berlin"], operator)
    shown = preview(release, berlin.members())
    assert [row.device.name for row in shown.rows] == ["arm-1", "arm-2"], "who is not accepted is left out"
    rollout = rollouts.start(release, operator, group=berlin)
    tagging.replace(three[2], ["site=berlin"], operator)
    tagging.replace(three[0], [], operator)
    assert names(row.device for row in rollout.deployments.select_related("device")) == ["arm-1", "arm-2"]
    assert rollout.target == "berlin"
    assert names(berlin.members().exclude(deployments__rollout=rollout).filter(admission="accepted")) == ["cam-1"]


def test_a_rollout_to_a_group_that_nobody_is_in_is_refused(operator):
    empty = services.create_group("empty", "", operator, "tag:site=nowhere")
    with pytest.raises(Refused, match="There is no accepted device in empty"):
        rollouts.start(make_release(), operator, group=empty)


def test_a_change_shows_who_would_join_and_who_would_leave(berlin):
    seen = queries.change(berlin, "arm-1 or cam")
    assert (seen.members, seen.joining, seen.leaving) == (2, 1, 1)
    assert (names(seen.joins), names(seen.leaves)) == (["cam-1"], ["arm-2"])
    new = queries.change(None, "arm")
    assert (new.members, new.joining, new.leaving) == (2, 2, 0)


@pytest.mark.parametrize("devices", [3, 60])
def test_a_preview_costs_the_same_however_many_match(berlin, operator, devices, django_assert_max_num_queries):
    for _ in range(devices):
        make_device(name="cam-x")
    with django_assert_max_num_queries(3):
        seen = queries.change(berlin, "cam")
    assert seen.joining == devices + 1
    assert len(seen.joins) == min(devices + 1, 20)


def test_a_group_in_a_query_is_one_that_people_fill(berlin, operator):
    services.create_group("hall", "", operator)
    services.create_group("cameras-in-hall", "", operator, "cam group:hall")
    with pytest.raises(SearchError, match="The group berlin has a query itself"):
        services.create_group("both", "", operator, "group:hall or group:berlin")
    with pytest.raises(SearchError, match="There is no group “halle”"):
        services.create_group("both", "", operator, "group:halle")
    with pytest.raises(SearchError, match="has a query itself"):
        services.update_group(berlin, "berlin", "", operator, "group:berlin")
    with pytest.raises(SearchError, match="every device is not a group"):
        services.update_group(berlin, "berlin", "", operator, "  ")


def test_a_group_that_a_query_names_keeps_its_name(three, operator):
    hall = services.create_group("hall", "", operator)
    services.create_group("others", "", operator, "-group:HALL")
    with pytest.raises(Refused, match="hall cannot be deleted: the query of others names it"):
        services.delete_group(hall, operator)
    with pytest.raises(Refused, match="hall cannot be renamed"):
        services.update_group(hall, "hall-a", "", operator)
    services.update_group(hall, "hall", "Still here", operator)


def test_a_static_group_takes_no_query(operator):
    hall = services.create_group("hall", "", operator)
    with pytest.raises(Refused, match="hall is filled by hand"):
        services.update_group(hall, "hall", "", operator, "arm")


def test_a_query_that_cannot_be_read_any_more_finds_nobody_and_says_so(berlin, viewer_page):
    Group.objects.filter(pk=berlin.pk).update(query="colour:red")
    berlin.refresh_from_db()
    assert list(berlin.members()) == []
    assert "There is no field" in queries.problem_of(berlin)
    assert queries.count([berlin], timezone.now())[berlin.pk]["n"] == 0
    assert "its query cannot be read any more" in viewer_page("/groups/berlin").text
    assert viewer_page("/groups").status_code == 200


@pytest.fixture
def viewer_page(client, people):
    from fleet.accounts.roles import Role

    client.force_login(people[Role.VIEWER])
    return client.get


@pytest.mark.parametrize("number", [2, 40])
def test_counting_all_groups_is_one_query_for_fifty_of_them(three, operator, number, django_assert_num_queries):
    services.create_group("hall", "", operator)
    Group.objects.bulk_create(Group(name=f"g-{n}", query=f"arm-{n} -group:hall") for n in range(1, number + 1))
    groups = list(Group.objects.all())
    with django_assert_num_queries(1):
        counted = queries.count(groups, timezone.now())
    assert sum(row["n"] for row in counted.values()) == 2


def test_groups_and_their_queries_through_the_api(client, operator, bearer, berlin):
    headers = bearer(operator)

    def call(method, path, **body):
        return client.generic(method, f"/api{path}", json.dumps(body), "application/json", **headers)

    made = call("POST", "/groups", name="cams", query="cam-1")
    assert (made.status_code, made.json()["devices"], made.json()["query"]) == (201, 1, "cam-1")
    assert [(row["name"], row["devices"]) for row in call("GET", "/groups").json()] == [("berlin", 2), ("cams", 1)]
    seen = call("GET", "/groups/preview?group=cams&query=arm").json()
    assert seen == {"members": 2, "joining": 2, "leaving": 1, "joins": ["arm-1", "arm-2"], "leaves": ["cam-1"]}
    assert [row["name"] for row in call("GET", "/devices?group=cams").json()["items"]] == ["cam-1"]
    assert call("GET", "/devices?group=nobody").json()["count"] == 0
    assert call("PATCH", "/groups/cams", query="arm").json()["devices"] == 2
    wrong = call("PATCH", "/groups/cams", query="clas:mobile")
    assert wrong.status_code == 422
    assert wrong.json() == {
        "detail": "There is no field “clas” (character 1); the nearest is class.",
        "at": 0,
        "length": 4,
        "instead": "class",
    }
    assert call("POST", "/groups/cams/devices", devices=[]).status_code == 409
    release = make_release()
    rows = call("GET", f"/releases/{release.pk}/preview?group=berlin").json()["items"]
    assert [row["device_name"] for row in rows] == ["arm-1", "arm-2"]
    assert call("POST", "/rollouts", release=release.pk, group="berlin").json()["counts"] == {"notified": 2}
    assert call("DELETE", "/groups/cams").status_code == 204
