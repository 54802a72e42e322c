"""Views that people keep: a page's address under a name, found again on the list, in the palette and in the API."""

import json
import re

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
from fleet.errors import Refused
from fleet.search import services
from fleet.search.models import SavedView

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
SLOW = "/devices?q=latency%3E50ms+online&sort=-p95"


@pytest.fixture
def browser(people):
    def signed_in(role: Role) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return signed_in


def kept(client: Client) -> list[str]:
    text = client.get("/devices").text
    row = re.search(r'aria-label="Saved views">(.*?)</div>', text, re.S)
    return [name.strip() for name in re.findall(r"(?:</svg>|>)\s*([^<>]+?)\s*</a>", row[1])] if row else []


def found(client: Client, query: str = "") -> list[dict]:
    return [hit for hit in client.get(f"/find?q={query}").json()["found"] if "view" in hit["detail"]]


def test_a_view_is_kept_found_again_and_deleted(browser, device):
    operating = browser(Role.OPERATOR)
    answer = operating.post("/views/save", {"name": "Slow ones", "address": f"{SLOW}&page=3"}, headers=HTMX)
    assert answer.headers["HX-Redirect"] == SLOW, "the page of a list holds others tomorrow"
    assert kept(operating) == ["Slow ones"]
    assert found(operating, "slow") == [{"label": "Slow ones", "detail": "saved view", "url": SLOW}]
    assert kept(browser(Role.VIEWER)) == found(browser(Role.VIEWER)) == [], "it is this person's own"
    assert 'aria-label="Delete the view Slow ones"' in operating.get(SLOW).text
    assert 'aria-label="Delete the view Slow ones"' not in operating.get("/devices").text
    assert SLOW.replace("&", "&amp;") in operating.get("/account").text
    number = SavedView.objects.get().pk
    answer = operating.post(f"/views/{number}/delete", {"next": "/devices"}, follow=True)
    assert "The view Slow ones is gone." in answer.text
    assert kept(operating) == []


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/events?kind=rollout&level=bad",
        "/rollouts/1?kind=failed",
        "/devices/d-1?range=90d",
        "/groups/berlin?q=offline",
    ],
)
def test_every_page_can_be_kept_with_its_state(address):
    assert services.checked(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "https://else.where/devices", "//else.where/devices", "/nothing", "/live", "/logout", "/export/devices.csv"],
)
def test_what_is_no_page_of_ours_cannot_be_kept(address):
    with pytest.raises(Refused, match="no page that can be kept"):
        services.checked(address)


def test_the_same_name_is_given_to_the_newer_view(operator):
    services.save_view("mine", "/jobs", False, operator)
    services.save_view("mine", "/events", True, operator)
    assert list(SavedView.objects.values_list("name", "address", "shared")) == [("mine", "/events", True)]


def test_a_shared_view_is_everybodys_to_use_and_its_owners_to_delete(browser, people):
    services.save_view("Ours", "/devices?q=offline", True, people[Role.OPERATOR])
    other, _ = create_person("another-operator", Role.OPERATOR, None)
    assert kept(browser(Role.VIEWER)) == ["Ours"]
    assert found(browser(Role.VIEWER))[0]["detail"] == "view, shared by operator-person"
    view = SavedView.objects.get()
    with pytest.raises(Refused, match="belongs to operator-person"):
        services.delete_view(view, other, is_admin=False)
    assert 'aria-label="Delete the view' not in browser(Role.VIEWER).get("/devices?q=offline").text
    services.delete_view(view, people[Role.ADMIN], is_admin=True)
    assert kept(browser(Role.VIEWER)) == []


def test_a_viewer_keeps_views_and_shares_none(browser):
    browser(Role.VIEWER).post("/views/save", {"name": "mine", "address": "/jobs", "shared": "on"})
    assert not SavedView.objects.get().shared


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"name": "", "address": "/devices"}, "This field is required."),
        ({"name": "x", "address": "/devices?q=clas:mobile"}, "There is no field “clas”"),
        ({"name": "x" * 65, "address": "/devices"}, "at most 64 characters"),
        ({"name": "x", "address": "/nowhere"}, "/nowhere is no page that can be kept."),
    ],
)
def test_what_cannot_be_kept_is_said_in_the_form(browser, form, says):
    answer = browser(Role.OPERATOR).post("/views/save", form, headers=HTMX)
    assert answer.status_code == 422
    assert says in answer.text


def test_a_person_keeps_at_most_fifty(operator):
    for number in range(services.MOST):
        services.save_view(f"f-{number}", "/jobs", False, operator)
    with pytest.raises(Refused, match="at most 50 views"):
        services.save_view("one more", "/jobs", False, operator)
    services.save_view("f-0", "/events", False, operator)


def test_views_through_the_api(client, operator, admin, bearer):
    body = json.dumps({"name": "Away", "address": "/devices?q=offline", "shared": True})
    made = client.post("/api/views", body, "application/json", **bearer(operator)).json()
    assert (made["name"], made["address"], made["shared"], made["owner"]) == (
        "Away",
        "/devices?q=offline",
        True,
        operator.username,
    )
    assert [row["name"] for row in client.get("/api/views", **bearer(admin)).json()] == ["Away"]
    wrong = json.dumps({"name": "Away", "address": "/devices?q=("})
    assert client.post("/api/views", wrong, "application/json", **bearer(operator)).status_code == 422
    assert client.delete(f"/api/views/{made['id']}", **bearer(operator)).status_code == 204


@pytest.mark.django_db(transaction=True)
def test_a_search_that_was_kept_before_is_a_view_now_and_can_go_back(operator):
    def migrated(name: str):
        executor = MigrationExecutor(connection)
        executor.migrate([("search", name)])
        return MigrationExecutor(connection).loader.project_state([("search", name)]).apps

    filters = migrated("0001_initial").get_model("search", "SavedFilter").objects
    filters.create(owner_id=operator.pk, name="Away", query='offline "two words" & more')
    migrated("0002_saved_views")
    view = SavedView.objects.get()
    assert (view.name, view.address) == ("Away", "/devices?q=offline+%22two+words%22+%26+more")
    assert services.checked(view.address) == view.address
    services.save_view("Jobs", "/jobs", False, operator)
    filters = migrated("0001_initial").get_model("search", "SavedFilter").objects
    assert list(filters.values_list("name", "query")) == [("Away", 'offline "two words" & more')]
    migrated("0002_saved_views")
