"""Searches, keys and Ctrl K."""

import re

import pytest
from playwright.sync_api import expect

from fleet.rollouts.models import Rollout
from tests.fleet.dashboard.browsing import live

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def test_filters_act_while_one_types_and_stand_in_the_address(open_page, fleet):
    page = open_page("/devices")
    live(page)
    page.keyboard.press("/")
    page.keyboard.type("cam-000")
    expect(page).to_have_url(re.compile(r"/devices\?q=cam-000$"))
    shown = page.locator("tbody tr")
    expect(shown).not_to_have_count(40)
    page.keyboard.type(" simulated")
    expect(page).to_have_url(re.compile(r"/devices\?q=cam-000(\+|%20)simulated$"))
    count = shown.count()
    page.reload()
    expect(shown).to_have_count(count)
    page.go_back()
    expect(page).to_have_url(re.compile(r"q=cam-000$"))
    expect(page.locator("h1")).to_have_text("Devices")


def test_the_search_field_offers_what_could_stand_there(open_page, fleet):
    page = open_page("/devices")
    live(page)
    field = page.locator("#device-q")
    field.press_sequentially("cl")
    offers = page.get_by_role("option")
    expect(offers).to_have_count(1)
    expect(offers.first).to_contain_text("class:")
    field.press("ArrowDown")
    expect(field).to_have_attribute("aria-activedescendant", "offer-0")
    field.press("Enter")
    expect(field).to_have_value("class:")
    expect(offers).to_have_count(3)
    offers.nth(1).click()
    expect(field).to_have_value("class:mobile ")
    expect(field).to_be_focused()
    expect(page).to_have_url(re.compile("class%3Amobile"))
    field.press("ArrowDown")
    expect(page.get_by_role("listbox", name="Completions")).to_be_visible()
    field.press("Escape")
    expect(page.get_by_role("listbox", name="Completions")).to_be_hidden()
    expect(field).to_have_value("class:mobile ")


def test_ctrl_k_finds_a_device_and_goes_there(open_page, fleet):
    page = open_page("/")
    device = fleet.devices[7]
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()
    page.keyboard.type(device.name)
    expect(page.locator("#palette [role=option]").first).to_contain_text(device.name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/devices/{device.pk}")
    page.keyboard.press("Control+k")
    page.keyboard.type("berl")
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()


def test_rows_are_walked_and_opened_by_keys(open_page, fleet):
    page = open_page("/devices")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    second = page.locator("tbody tr").nth(1)
    expect(second).to_be_focused()
    page.keyboard.press("x")
    expect(second.locator("input")).to_be_checked()
    second.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/devices/d-"))


def test_g_and_a_letter_go_to_a_section_and_a_question_mark_tells_the_keys(open_page, fleet):
    page = open_page("/devices")
    page.keyboard.type("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_visible()
    expect(keys).to_contain_text("Next and previous row")
    page.keyboard.press("j")  # a dialog has its own keys
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    for letter, address in (("e", "/events"), ("j", "/jobs"), ("d", "/devices")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"**{address}")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url("**/events")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".rows > li").nth(1)).to_be_focused()
    page.locator("#event-q").focus()
    page.keyboard.type("gd?")
    expect(page.locator("#event-q")).to_have_value("gd?")
    expect(keys).to_be_hidden()


def test_what_one_sees_is_kept_by_a_key_and_found_with_ctrl_k(open_page, fleet):
    page = open_page("/devices")
    live(page)
    page.keyboard.press("/")
    page.keyboard.type("cam")
    expect(page).to_have_url(re.compile(r"q=cam$"))
    page.keyboard.press("Tab")
    page.locator("h1").click()
    page.keyboard.press("s")
    dialog = page.get_by_role("dialog", name="Save this view")
    dialog.get_by_label("Name").fill("Cameras")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Cameras")).to_have_attribute("aria-current", "true")
    elsewhere = open_page("/jobs?state=failed")
    elsewhere.keyboard.press("Control+k")
    elsewhere.keyboard.type("Camer")
    expect(elsewhere.locator("#palette [role=option]").first).to_contain_text("Cameras")
    elsewhere.keyboard.press("Enter")
    elsewhere.wait_for_url("**/devices?q=cam")


def test_the_map_is_one_stop_and_arrows_move_in_it(open_page, fleet):
    page = open_page(f"/rollouts/{Rollout.objects.get(state='running').pk}")
    squares = page.locator("[data-map] a")
    squares.first.focus()
    page.keyboard.press("ArrowRight")
    expect(squares.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(squares.last).to_be_focused()
    assert page.locator("[data-map] a[tabindex='0']").count() == 1
    name = squares.last.get_attribute("title").partition(":")[0]
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(name)
