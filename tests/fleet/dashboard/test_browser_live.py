"""Pages that change by themselves, and what survives it."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from fleet.audit.models import Signal
from fleet.audit.services import announce
from fleet.devices import services
from fleet.devices.models import Device
from fleet.telemetry.models import Sample
from tests.fleet.dashboard.browsing import live
from tests.fleet.dashboard.server import same_database, web
from tests.fleet.dashboard.support import PASSWORD
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


def test_a_renamed_device_appears_under_its_new_name_and_typing_goes_on(open_page, fleet):
    page = open_page("/devices")
    live(page)
    page.focus("#device-q")
    page.keyboard.type("x", delay=0)
    page.keyboard.press("Backspace")
    page.evaluate("window.unreloaded = true")
    box = page.locator("tbody tr").nth(1).locator("input[type=checkbox]")
    box.check()
    page.focus("#device-q")
    device = Device.objects.order_by("name").first()
    services.rename(device, "aaa-first", fleet.operator)
    expect(page.get_by_role("link", name="aaa-first")).to_be_visible(timeout=5000)
    assert page.evaluate("document.activeElement.id") == "device-q"
    expect(box).to_be_checked()
    expect(page.locator(".bulk [data-count]")).to_have_text("1")
    assert page.evaluate("window.unreloaded")


def test_an_open_dialog_and_what_was_typed_survive_a_change(open_page, fleet):
    device = fleet.devices[0]
    page = open_page(f"/devices/{device.pk}")
    live(page)
    page.get_by_role("button", name="Rename").click()
    page.fill("#rename-form [name=name]", "half a na")
    services.set_config(device, {"telemetry_interval": 33}, fleet.operator)
    expect(page.locator("#device-facts")).to_contain_text("33 s", timeout=5000)
    expect(page.locator("#rename")).to_be_visible()
    expect(page.locator("#rename-form [name=name]")).to_have_value("half a na")


def test_a_sample_lengthens_the_charts_without_fetching_them_again(open_page, fleet):
    device = fleet.devices[0]
    now = timezone.now()
    common = {
        "device": device,
        "received_at": now,
        "boot_id": "b",
        "decisions": 10,
        "latency_p50": 40.0,
        "latency_p95": 60.0,
    }
    Sample.objects.bulk_create(Sample(at=now - timedelta(seconds=10 * n), seq=99 - n, **common) for n in range(30))
    page = open_page(f"/devices/{device.pk}")
    box = page.locator("[data-series]")
    expect(box).to_have_attribute("data-drawn", "yes", timeout=15_000)
    live(page)
    points = int(box.get_attribute("data-points"))
    assert points >= 28
    expect(page.locator("[data-figure=latency] .main-svg").first).to_be_visible()
    expect(page.locator(".chart", has=page.locator("[data-figure=power]")).locator(".chart-note")).to_have_text(
        "not reported"
    )
    with page.expect_response(lambda answer: "since=" in answer.url) as extension:
        Sample.objects.create(at=timezone.now() + timedelta(seconds=20), seq=200, **common)
        announce(f"samples:{device.pk}")
    assert len(extension.value.json()["columns"]["at"]) < 6
    expect(box).not_to_have_attribute("data-points", str(points))


def test_a_page_says_when_it_lost_the_server_and_catches_up(chromium, fleet, tmp_path):
    port = free_port()
    environment = same_database()
    with web(environment, tmp_path / "first.log", port) as server:
        context = chromium.new_context(base_url=server.address, timezone_id="Asia/Kolkata")
        page = context.new_page()
        page.goto("/login?next=/devices")
        page.fill("[name=username]", "viewer-person")
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        live(page)
        online = page.locator("#device-list .facet", has_text="Online")
        bright = online.locator(".i").evaluate("icon => getComputedStyle(icon).filter")
    said = page.locator("[data-live-state]")
    expect(said).to_have_text(re.compile(r"^Reconnecting… as of \d\d:\d\d:\d\d$"), timeout=10_000)
    as_of = said.locator(".asof").text_content()
    # In the viewer's zone, not in the server's: India is half an hour beside any full hour.
    now = timezone.now().astimezone(ZoneInfo("Asia/Kolkata"))
    assert any(f"as of {now - timedelta(seconds=ago):%H:%M:%S}" == as_of for ago in range(60)), as_of
    assert page.locator("#device-list").evaluate("part => getComputedStyle(part).opacity") == "0.55"
    assert online.locator(".i").evaluate("icon => getComputedStyle(icon).filter") == "grayscale(1)" != bright
    page.set_viewport_size({"width": 390, "height": 844})
    expect(said.locator(".asof")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    Device.objects.filter(pk=fleet.devices[0].pk).update(name="aaa-renamed-meanwhile")
    with web(environment, tmp_path / "second.log", port):
        expect(page.locator("[data-live-state]")).to_have_text("Live", timeout=15_000)
        expect(page.get_by_role("link", name="aaa-renamed-meanwhile")).to_be_visible(timeout=5000)
        assert page.locator("#device-list").evaluate("part => getComputedStyle(part).opacity") == "1"
        context.close()


def test_a_hidden_tab_asks_for_nothing(open_page, fleet):
    page = open_page("/devices")
    live(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    before = -1
    while before != len(asked):  # what the page still wanted from before
        before = len(asked)
        page.wait_for_timeout(1000)
    asked.clear()
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    announce("fleet", "devices")
    page.wait_for_timeout(1500)  # nothing may happen: there is no event to wait for
    assert asked == []
    with page.expect_request(lambda request: request.url.endswith("/devices"), timeout=30_000):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("document.querySelector('[data-live-state]').dataset.state === 'live'")


def test_a_machine_that_slept_for_an_hour_shows_what_is_true_now(open_page, fleet):
    """Its stream is dead without knowing it, and what was announced meanwhile is long forgotten."""
    page = open_page("/devices", cut=True)
    page.clock.install()
    page.reload()
    live(page)
    page.context.set_offline(True)
    services.rename(fleet.devices[0], "aaa-renamed-meanwhile", fleet.operator)
    Signal.objects.all().delete()
    page.context.set_offline(False)
    streams = []
    page.on("request", lambda request: streams.append(request.url) if "/live?" in request.url else None)
    page.clock.fast_forward("01:00:00")
    page.clock.run_for(3000)
    expect(page.get_by_role("link", name="aaa-renamed-meanwhile")).to_be_visible(timeout=5000)
    live(page)
    assert streams, "it asks for a stream of its own"
