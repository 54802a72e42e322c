"""Devices are tagged, searched for and made a group of; a board that comes later with the tag is in it by itself."""

import re

import pytest
from playwright.sync_api import expect

FIRST, SECOND = "first-tagged", "second-tagged"
BOARD = {"declared_cores": 4, "declared_memory_gib": 4, "declared_storage_gib": 32}


@pytest.fixture(scope="module")
def token(installation) -> str:
    asked = {"name": "tagged boards", "auto_accept": True, "max_uses": 4}
    return installation.api.post("/enrollment-tokens", asked)["token"]


def test_a_search_becomes_a_group_and_a_new_device_joins_it_by_itself(page_of, installation, token):
    installation.start_agent(FIRST, token, **BOARD)
    installation.wait_for("the first board", lambda: installation.device(FIRST).get("liveness") == "online", 60)
    page = page_of("operator")

    # Tag it on the list.
    page.goto("/devices")
    page.get_by_role("row", name=re.compile(FIRST)).get_by_role("checkbox").check()
    page.get_by_label("Tags to add or to take away").fill("bench=north")
    page.get_by_role("toolbar").get_by_role("button", name="Tag", exact=True).click()
    expect(page.get_by_text("1 device tagged bench=north.")).to_be_visible()
    assert installation.device(FIRST)["tags"] == {"bench": "north"}

    # Search for it, by what the field offers.
    field = page.get_by_label("Search devices", exact=True)
    field.press_sequentially("tag:ben")
    offer = page.get_by_role("option", name=re.compile("^bench="))
    expect(offer).to_be_visible()
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("tag:bench=")
    expect(page.get_by_role("option", name=re.compile("^bench=north"))).to_be_visible()
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("tag:bench=north ")
    expect(page.locator("#device-list tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name=FIRST)).to_be_visible()

    # Keep the search.
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("dialog").get_by_label("Name").fill("North bench")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="North bench")).to_have_attribute("aria-current", "true")
    page.goto("/devices")
    page.get_by_role("link", name="North bench").click()
    expect(page.get_by_label("Search devices", exact=True)).to_have_value("tag:bench=north")

    # Make a group of it; who would be in it is shown first.
    page.get_by_role("link", name="Make a group").click()
    expect(page.get_by_label("Query")).to_have_value("tag:bench=north")
    expect(page.locator("#group-preview")).to_contain_text("1 device would be in it")
    page.get_by_label("Name").fill("north-bench")
    page.get_by_role("button", name="Make the group").click()
    expect(page.get_by_role("heading", name="north-bench")).to_be_visible()
    members = page.locator("#group-members tbody tr")
    expect(members).to_have_count(1)

    # A board that comes with the tag is in the group by itself, on the page that is open.
    installation.start_agent(SECOND, token, tags="bench=north", **BOARD)
    expect(members).to_have_count(2, timeout=60_000)
    expect(page.get_by_role("link", name=SECOND)).to_be_visible()
    found = installation.api.every("/devices", search="group:north-bench")
    assert sorted(device["name"] for device in found) == [FIRST, SECOND]

    # A change of the query says who would leave, before anything is saved.
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("dialog").get_by_label("Query").fill(f"tag:bench=north -{SECOND}")
    expect(page.locator("#group-preview")).to_contain_text("0 would join, 1 would leave")
    found = installation.api.every("/devices", search="group:north-bench")
    assert sorted(device["name"] for device in found) == [FIRST, SECOND]


def test_a_search_that_cannot_be_read_says_where_and_what_was_meant(page_of):
    page = page_of("viewer")
    page.goto("/devices")
    page.get_by_label("Search devices", exact=True).press_sequentially("online clas:mobile")
    problem = page.locator("#search-problem")
    expect(problem).to_contain_text("There is no field “clas” (character 8); the nearest is class.")
    expect(problem.locator("mark")).to_have_text("clas")
    problem.get_by_role("link", name="online class:mobile").click()
    expect(page.get_by_label("Search devices", exact=True)).to_have_value("online class:mobile")
    expect(page.locator("#search-problem")).to_have_count(0)
