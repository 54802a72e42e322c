"""A page in another language, in a browser: switched by keyboard, times and charts in the language's own words."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from tests.fleet.dashboard import sample_history

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def test_the_switch_works_by_keyboard_and_scripts_follow_it(open_page):
    page = open_page("/devices", locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    expect(page.locator("tbody time[data-when=relative]").first).to_have_text(
        re.compile(r"^\d+(秒|秒钟|分钟|小时|天)前$|^now$")
    )
    assert page.evaluate("typeof window.words") == "object"
    page.locator(".side").get_by_role("button", name="English").focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page).to_have_url(re.compile("/devices$"))
    expect(page.locator("tbody time[data-when=relative]").first).to_have_text(re.compile(r"ago$|^now$"))
    assert page.evaluate("typeof window.words") == "undefined"


def test_a_charts_dates_are_in_the_pages_language(open_page, fleet):
    sample_history.remember(fleet.devices, fleet.releases, timezone.now())
    page = open_page("/versions", locale="zh-CN")
    expect(page.locator("[data-chart] .xaxislayer-above")).to_contain_text("月", timeout=15_000)
