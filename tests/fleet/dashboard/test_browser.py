"""What only a browser shows: pages that change by themselves, keys, dialogs, and what survives all of it."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect, sync_playwright

from fleet.accounts.roles import Role
from fleet.audit.services import announce
from fleet.catalog.models import Model
from fleet.devices import services
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout
from fleet.rollouts.services import pause
from fleet.telemetry.models import Sample
from tests.fleet.dashboard.server import free_port, same_database, web
from tests.fleet.dashboard.support import PASSWORD, SampleFleet, keep_alive
from tests.fleet.dashboard.support import people as make_people
from tests.fleet.dashboard.test_models import model_bytes

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def chromium():
    # Playwright's loop runs in this thread, and Django would take the tests' queries for a coroutine's.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def fleet(chromium, transactional_db) -> SampleFleet:
    cast = make_people()
    made = SampleFleet(40, hours=0)
    made.fill(cast[Role.OPERATOR])
    keep_alive()
    return made


@pytest.fixture
def open_page(chromium, server, fleet):
    """Opens a page in a fresh browser, signed in; a test ends badly when the browser complained about anything."""
    contexts, complaints = [], []

    def heard(said) -> None:
        # A form that comes back with its errors is an answer with status 422, which the browser notes down.
        if said.type in ("error", "warning") and "status of 422" not in said.text:
            complaints.append(said.text)

    def opened(path: str, role: Role = Role.ADMIN, **more) -> Page:
        context = chromium.new_context(base_url=server.address, **more)
        context.set_default_timeout(10_000)
        client = Client()
        client.force_login(User.objects.get(username=f"{role.label}-person"))
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.address}])
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def live(page: Page) -> None:
    expect(page.locator("[data-live-state]")).to_have_text("Live")


# --- Changing by itself ---------------------------------------------------------------------------------------------


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
        announce(f"device:{device.pk}")
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
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("document.querySelector('[data-live-state]').dataset.state === 'live'")
    page.wait_for_event("request", lambda request: request.url.endswith("/devices"), timeout=5000)


# --- Finding and filtering ------------------------------------------------------------------------------------------


def test_filters_act_while_one_types_and_stand_in_the_address(open_page, fleet):
    page = open_page("/devices")
    live(page)
    page.keyboard.press("/")
    page.keyboard.type("cam-000")
    expect(page).to_have_url(re.compile(r"/devices\?q=cam-000$"))
    shown = page.locator("tbody tr")
    expect(shown).not_to_have_count(40)
    page.select_option("[name=simulated]", "yes")
    expect(page).to_have_url(re.compile(r"/devices\?q=cam-000&simulated=yes$"))
    count = shown.count()
    page.reload()
    expect(shown).to_have_count(count)
    page.go_back()
    expect(page).to_have_url(re.compile(r"q=cam-000$"))
    expect(page.locator("h1")).to_have_text("Devices")


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


# --- Forms ----------------------------------------------------------------------------------------------------------


def test_a_serious_order_is_asked_about_with_its_numbers(open_page, fleet):
    rollout = Rollout.objects.get(state="running")
    page = open_page(f"/rollouts/{rollout.pk}", Role.OPERATOR)
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog", name=f"Cancel {rollout}?")
    expect(dialog).to_contain_text(re.compile(r"\d+ devices have not finished"))
    dialog.get_by_role("button", name="Keep as it is").click()
    expect(dialog).to_be_hidden()
    rollout.refresh_from_db()
    assert rollout.state == "running"
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog.get_by_role("button", name="Cancel the rollout").click()
    expect(page.locator(".toast")).to_contain_text(f"{rollout} is canceled")
    rollout.refresh_from_db()
    assert rollout.state == "aborted"


def test_an_order_does_not_turn_into_another_one_while_it_is_asked_about(open_page, fleet):
    rollout = Rollout.objects.get(state="running")
    page = open_page(f"/rollouts/{rollout.pk}", Role.OPERATOR)
    live(page)
    page.get_by_role("button", name="Pause", exact=True).click()
    pause(rollout, fleet.operator)  # somebody else was first
    expect(page.locator("#order-resume")).to_be_attached(timeout=5000)
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".toast")).to_contain_text("It changed meanwhile; nothing was done.")
    rollout.refresh_from_db()
    assert rollout.state == "paused"


def test_a_device_that_somebody_else_accepts_offers_its_orders_at_once(open_page, fleet):
    device = fleet.devices[2]
    Device.objects.filter(pk=device.pk).update(admission="pending")
    page = open_page(f"/devices/{device.pk}", Role.OPERATOR)
    live(page)
    expect(page.get_by_role("button", name="Ping")).to_have_count(0)
    services.accept([device], fleet.operator)
    expect(page.get_by_role("button", name="Ping")).to_be_visible(timeout=6000)


def test_an_upload_with_a_mistake_keeps_the_chosen_file(open_page, fleet, tmp_path):
    file = tmp_path / "doubler.onnx"
    file.write_bytes(model_bytes())
    page = open_page("/models", Role.OPERATOR)
    page.set_input_files("[name=upload]", file)
    page.fill("[name=notes]", "careful")
    page.evaluate("document.querySelector('[name=name]').removeAttribute('required')")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#id_name-error")).to_have_text("This field is required.")
    assert page.evaluate("document.querySelector('[name=upload]').files[0].name") == "doubler.onnx"
    expect(page.locator("[name=notes]")).to_have_value("careful")
    page.fill("[name=name]", "doubler")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/models/doubler/1")


def test_a_double_click_makes_one_release(open_page, fleet):
    version = fleet.versions[1]
    before = version.releases.count()
    page = open_page("/models/tabletop/2", Role.OPERATOR)
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.locator("[data-open='#release']").click()
    page.get_by_role("button", name="Make the release").dblclick()
    page.wait_for_url(re.compile(r"/rollouts/new\?release="))
    assert len(sent) == 1
    assert version.releases.count() == before + 1


def test_a_form_that_came_back_with_a_mistake_can_be_sent_again(open_page, fleet):
    page = open_page("/groups", Role.OPERATOR)
    page.locator("[data-open='#new-group']").click()
    form = page.locator("form[hx-post]", has=page.locator("[name=description]"))
    for name in ("lab", "lab-two"):
        form.locator("[name=name]").fill(name)
        form.locator("[type=submit]").dblclick()
        if name == "lab":
            expect(form.locator(".err, [role=alert]").first).to_be_visible()
    page.wait_for_url("**/groups/lab-two")


def test_a_device_is_retired_only_after_its_name_was_typed(open_page, fleet):
    device = fleet.devices[3]
    page = open_page(f"/devices/{device.pk}")
    page.get_by_role("button", name="Retire").click()
    button = page.locator("#retire [type=submit]")
    expect(button).to_be_disabled()
    page.fill("#retire [name=confirm]", device.name)
    button.click()
    expect(page.locator("#device-head .badge").first).to_have_text("Retired")


# --- The look -------------------------------------------------------------------------------------------------------


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
