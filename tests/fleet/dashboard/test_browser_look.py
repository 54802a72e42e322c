"""The theme, phones, long names, and pages without scripts."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from fleet.catalog.models import Model
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout
from tests.fleet.dashboard.support import PASSWORD

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def test_the_theme_follows_the_system_until_one_chooses(open_page, fleet):
    page = open_page("/", color_scheme="dark")

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = background()
    page.get_by_role("button", name="Switch between light and dark").click()
    light = background()
    assert light != dark
    page.reload(wait_until="commit")
    page.wait_for_selector("body", state="attached")
    assert background() == light, "the choice is there before the first paint"


def test_no_page_scrolls_sideways_on_a_phone(open_page, fleet):
    page = open_page("/", viewport={"width": 390, "height": 844})
    rollout = Rollout.objects.get(state="running").pk
    for path in ("/", "/devices", "/devices/d-00000000", f"/rollouts/{rollout}", "/models/tabletop/2", "/enrollment"):
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, path
        expect(page.locator(".bottom")).to_be_visible()
    page.locator(".bottom summary").click()
    expect(page.locator(".bottom .more")).to_be_visible()


def test_the_longest_names_stay_in_their_tables(open_page, fleet):
    long = "w" * 128
    Device.objects.filter(pk=fleet.devices[2].pk).update(name=long, simulated=True)
    Group.objects.filter(name="lab").update(name=long[:64], description=long)
    Model.objects.update(name=long[:64])
    User.objects.filter(username="viewer-person").update(username=long)
    for width in (390, 768, 1280, 1440):
        page = open_page("/", viewport={"width": width, "height": 844})
        pages = {"/devices?sort=-name": long, "/groups": long[:64], "/models": long[:64], "/people": long}
        for path, name in pages.items():
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            over = page.locator(".table-wrap").first.evaluate("wrap => wrap.scrollWidth - wrap.clientWidth")
            assert (wide, over) == (0, 0), f"{path} at {width}"
            assert page.locator(f"tbody [title='{name}']").count() == 1, path


def test_two_trials_with_like_names_can_be_told_apart_on_a_phone(open_page, fleet):
    page = open_page("/models/tabletop/2", viewport={"width": 390, "height": 844})
    for name in ("75 % cut, distilled, fp16 storage", "75 % cut, distilled, int8 storage"):
        cell = page.locator("#version-class tbody th", has_text=name)
        assert cell.evaluate("cell => cell.scrollWidth <= cell.clientWidth"), name
    for table in page.locator(".table-wrap").all():
        assert table.evaluate("wrap => wrap.scrollWidth - wrap.clientWidth") == 0


def test_without_scripts_everything_can_be_read(chromium, server, fleet):
    context = chromium.new_context(base_url=server.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/login?next=/devices")
    page.fill("[name=username]", "operator-person")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    expect(page.locator("tbody tr")).to_have_count(40)
    expect(page.locator("tbody time").first).to_have_text(re.compile(r"UTC$"))
    page.fill("#device-q", fleet.devices[5].name)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=fleet.devices[5].name).click()
    expect(page.locator("h1")).to_have_text(fleet.devices[5].name)
    context.close()
