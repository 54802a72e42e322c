"""Charts as somebody uses them: one cursor over all, a zoom that a link keeps, marks that can be put away."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from fleet.audit.models import Event
from fleet.telemetry.models import Sample
from tests.fleet.dashboard import sample_history
from tests.fleet.dashboard.support import SampleFleet

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]
TEMPERATURE = "Temperature in degrees Celsius"


@pytest.fixture
def measured(fleet) -> SampleFleet:
    """The first device has half an hour of samples, and started anew ten minutes ago."""
    now, device = timezone.now(), fleet.devices[0]
    Sample.objects.bulk_create(
        Sample(
            device=device, at=now - timedelta(seconds=10 * n), received_at=now, boot_id="b", seq=999 - n, decisions=10,
            latency_p50=40.0, latency_p95=60.0, stage_queue=1.0, stage_preprocess=4.0, stage_compute=30.0,
            stage_postprocess=2.0, stage_network=0.0, temperature=50.0 + n / 10, power=4.0, power_source="estimated",
            energy_per_action=0.3,
        )
        for n in range(180)
    )  # fmt: skip
    at = now - timedelta(minutes=10)
    Event.objects.create(at=at, kind="device.booted", text=f"{device.name} <b>started</b> anew", device=device)
    return fleet


def drawn(page: Page) -> None:
    expect(page.locator("[data-series][data-drawn=yes]")).to_be_attached(timeout=15_000)


def zoomed(page: Page) -> tuple[int, int]:
    query = parse_qs(urlsplit(page.url).query)
    return int(query["from"][0]), int(query["to"][0])


def path_of(page: Page) -> str:
    """A link to what it shows."""
    parts = urlsplit(page.url)
    return f"{parts.path}?{parts.query}"


def drag(page: Page, figure: str, start: float, end: float) -> None:
    """Over the drawing of a figure, from one share of its width to another."""
    place = page.locator(f"[data-figure={figure}] .nsewdrag").bounding_box()
    height = place["y"] + place["height"] / 2
    page.mouse.move(place["x"] + place["width"] * start, height)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * end, height, steps=4)
    page.mouse.up()


def x_range(page: Page, figure: str) -> list:
    return page.evaluate(f"document.querySelector('[data-figure={figure}]').layout.xaxis.range.map(Number)")


def test_one_cursor_runs_over_all_charts(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    page.locator("[data-figure=latency]").scroll_into_view_if_needed()
    place = page.locator("[data-figure=latency] .nsewdrag").bounding_box()
    page.mouse.move(place["x"] + place["width"] * 0.9, place["y"] + 60)
    here = page.locator(".chart", has=page.locator("[data-figure=latency]")).locator(".chart-read")
    expect(here).to_contain_text("p50 40 ms")
    expect(here).to_contain_text("p95 60 ms")
    other = page.locator(".chart", has=page.locator("[data-figure=temperature]")).locator(".chart-read")
    expect(other).to_contain_text("temperature 5")
    assert here.text_content()[:15] == other.text_content()[:15], "both tell the same time"
    stages = page.locator(".chart", has=page.locator("[data-figure=stages]")).locator(".chart-read")
    expect(stages).to_contain_text("in all 37 ms")
    page.mouse.move(5, 5)
    expect(here).to_be_hidden()


def test_the_cursor_follows_the_arrow_keys(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    chart = page.get_by_role("group", name=TEMPERATURE)
    chart.focus()
    page.keyboard.press("ArrowRight")
    words = page.locator("[data-cursor-words]")
    expect(words).to_contain_text("temperature 50")
    last = page.locator("[data-series]").get_attribute("data-cursor")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-series]")).to_have_attribute("data-cursor", str(int(last) - 30_000))
    page.keyboard.press("Escape")
    expect(page.locator("[data-series]")).to_have_attribute("data-cursor", "")


def test_a_zoom_in_one_chart_is_a_zoom_of_all_and_a_link_shows_it_again(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    before = x_range(page, "temperature")
    page.locator("[data-figure=latency]").scroll_into_view_if_needed()
    with page.expect_response(lambda answer: "&from=" in answer.url) as finer:
        drag(page, "latency", 0.7, 0.9)
    assert finer.value.json()["bucket"] == 2, "the zoom is drawn from finer points"
    drawn(page)
    start, end = zoomed(page)
    assert 700_000 < end - start < 740_000
    for figure in ("latency", "temperature"):
        low, high = x_range(page, figure)
        assert high - low == end - start
    again = open_page(path_of(page))
    drawn(again)
    assert zoomed(again) == (start, end)
    file = page.locator("#device-charts a[download]").first
    expect(file).to_have_attribute("href", re.compile(rf"\?range=1h&from={start}&to={end}$"))
    assert x_range(again, "temperature") == x_range(page, "temperature")
    page.get_by_role("button", name="Reset zoom").click()
    drawn(page)
    expect(page).to_have_url(re.compile(r"\?range=1h$"))
    low, high = x_range(page, "temperature")
    assert high - low == before[1] - before[0]
    page.locator("[data-range-key='24h']").click()
    expect(file).to_have_attribute("href", re.compile(r"\?range=24h$"))


def test_a_double_click_takes_the_zoom_back(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    page.locator("[data-figure=latency]").scroll_into_view_if_needed()
    drag(page, "latency", 0.5, 0.9)
    expect(page).to_have_url(re.compile("from="))
    drawn(page)
    place = page.locator("[data-figure=temperature] .nsewdrag")
    place.scroll_into_view_if_needed()
    place.dblclick()
    expect(page).not_to_have_url(re.compile("from="))


def test_buttons_move_and_zoom_where_nobody_can_drag(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h", viewport={"width": 390, "height": 844}, has_touch=True)
    drawn(page)
    page.get_by_role("button", name="Zoom in").click()
    drawn(page)
    start, end = zoomed(page)
    assert end - start == pytest.approx(1_800_000, abs=2)
    page.get_by_role("button", name="Earlier").click()
    drawn(page)
    assert zoomed(page)[0] == pytest.approx(start - 900_000, abs=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_times_are_the_viewers(open_page, measured):
    page = open_page("/devices/d-00000000?range=15m", timezone_id="Asia/Kolkata")
    drawn(page)
    expect(page.locator("[data-shown]")).to_contain_text("Asia/Calcutta")
    high = x_range(page, "latency")[1]
    shift = (high - timezone.now().timestamp() * 1000) / 60_000
    assert shift == pytest.approx(330, abs=1)


def test_marks_are_words_on_the_charts_and_can_be_put_away(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    boots = page.get_by_role("button", name="Boots")
    expect(boots).to_have_text("Boots 1")
    words = page.locator("[data-figure=latency] .annotation-text", has_text="started")
    expect(words).to_have_count(1)
    expect(words).to_contain_text("<b>started</b>")
    page.locator("#device-charts summary").click()
    expect(page.locator("[data-mark-list]")).to_contain_text("<b>started</b> anew")
    boots.click()
    expect(words).to_have_count(0)
    expect(boots).to_have_attribute("aria-pressed", "false")
    expect(page).to_have_url(re.compile(r"hide=boot$"))
    page.reload()
    drawn(page)
    expect(words).to_have_count(0)
    boots.click()
    expect(words).to_have_count(1)


def test_another_range_is_one_click_and_stands_in_the_address(open_page, measured):
    page = open_page("/devices/d-00000000?range=1h")
    drawn(page)
    page.evaluate("window.unreloaded = true")
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="15 min").click()
    expect(page).to_have_url(re.compile(r"range=15m"))
    drawn(page)
    low, high = x_range(page, "latency")
    assert high - low == 900_000
    assert page.evaluate("window.unreloaded")


def test_a_comparison_is_chosen_drawn_and_linked(open_page, fleet):
    sample_history.remember(fleet.devices, fleet.releases, timezone.now())
    page = open_page("/models/tabletop/2")
    page.get_by_role("link", name="Compare").last.click()
    expect(page).to_have_url(re.compile(r"a=tabletop%402&b=tabletop%401"))
    expect(page.locator("#compare-latency-figure[data-drawn]")).to_be_attached()
    expect(page.locator(".modebar-btn[data-title^=Share]")).to_have_count(0)  # nothing leaves for somebody's cloud
    page.select_option("#compare-class", "mobile")
    expect(page).to_have_url(re.compile("class=mobile"))
    expect(page.locator("#compare-figures")).to_contain_text("tabletop@1 is slower")
    page.get_by_role("link", name="1 h", exact=True).click()
    expect(page).to_have_url(re.compile("range=1h"))
    page.get_by_role("link", name="Keep this time").click()
    expect(page).to_have_url(re.compile(r"from=\d+&to=\d+"))
    figures = page.locator(".compare-table").text_content()
    other = open_page(path_of(page))
    assert other.locator(".compare-table").text_content() == figures
    assert other.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_map_leads_from_a_cell_to_its_devices(open_page, fleet):
    sample_history.remember(fleet.devices, fleet.releases, timezone.now())
    page = open_page("/versions")
    expect(page.locator("#story-figure[data-drawn]")).to_be_attached()
    cell = page.locator("#version-matrix tbody tr").nth(1).locator("td a").first
    count = cell.text_content().strip()
    cell.click()
    page.wait_for_url(re.compile(r"/devices\?q="))
    expect(page.locator("#device-list tbody tr")).to_have_count(int(count))
