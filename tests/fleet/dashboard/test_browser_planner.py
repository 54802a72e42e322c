"""The planner under the hand, with scripts and without."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from fleet.accounts.roles import Role
from fleet.devices.models import Device
from fleet.telemetry.models import Sample
from tests.fleet.dashboard.support import PASSWORD

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)], ids=["desktop", "phone"])
def test_a_plan_begins_from_a_real_device_and_follows_the_hand(open_page, fleet, width, height):
    device = fleet.devices[0]
    now = timezone.now()
    stages = {"stage_queue": 1.0, "stage_preprocess": 6.0, "stage_compute": 30.0, "stage_postprocess": 3.0}
    Sample.objects.bulk_create(
        Sample(device=device, at=now - timedelta(seconds=n), received_at=now, boot_id="p", seq=n, decisions=5, **stages)
        for n in range(20)
    )
    Device.objects.filter(pk=device.pk).update(latency_p95=60.0, mode="full")
    page = open_page(f"/devices/{device.pk}", Role.VIEWER, viewport={"width": width, "height": height})
    page.get_by_role("link", name="Plan", exact=True).click()
    page.wait_for_url(f"**/planner?device={device.pk}")
    verdict, compute = page.locator(".verdict"), page.locator("#plan-compute_ms")
    expect(verdict).to_contain_text("Full fits.")
    expect(compute).to_have_value("45 ms")
    expect(page.locator("#compute_ms-hint")).to_contain_text(f"measured · {device.name}")

    compute.fill("250")
    expect(verdict).not_to_contain_text("Full fits.", timeout=5000)
    expect(page.locator("#plan-full")).to_contain_text("With a decision computed in 85 ms, full would fit.")
    expect(page).to_have_url(f"/planner?device={device.pk}&compute_ms=250")
    expect(page.locator("#compute_ms-hint")).to_contain_text(f"by hand; measured 45 ms, {device.name}")
    expect(compute).to_be_focused()
    expect(verdict).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0

    compute.fill("")
    expect(verdict).to_contain_text("Full fits.", timeout=5000)
    compute.blur()
    expect(compute).to_have_value("45 ms")
    compute.fill("2 s")
    expect(page).to_have_url(re.compile("compute_ms=2"))
    page.reload()
    expect(compute).to_have_value("2 s")
    page.locator("#compute_ms-hint").get_by_role("link", name="put back").click()
    expect(verdict).to_contain_text("Full fits.")
    expect(compute).to_have_value("45 ms")


def test_a_worked_case_is_one_click_and_a_mistake_stands_beside_its_number(open_page, fleet):
    page = open_page("/planner", Role.VIEWER)
    page.get_by_role("link", name="Cloud 300 ms, edge 32 ms").click()
    expect(page.locator(".verdict")).to_contain_text("A decision takes 32 ms in full and 300 ms in the cloud: −89 %.")
    page.fill("#plan-memory", "much")
    expect(page.locator("#memory-hint .err")).to_have_text("Write a number with a point, as in 1.5 GiB.", timeout=5000)
    page.fill("#plan-memory", "2 GiB")
    expect(page.locator("#plan-full")).to_contain_text("With 686 MiB more memory, full would fit.", timeout=5000)
    expect(page.locator("#memory-hint .err")).to_have_count(0)


def test_without_scripts_a_plan_is_a_form_that_is_sent(chromium, server, fleet):
    context = chromium.new_context(base_url=server.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/login?next=/planner")
    page.fill("[name=username]", "viewer-person")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.fill("#plan-device", fleet.devices[0].name)
    page.get_by_role("button", name="Plan").click()
    expect(page.locator("#memory-hint")).to_contain_text(f"reported · {fleet.devices[0].name}")
    page.fill("#plan-memory", "4 MiB")
    page.get_by_role("button", name="Plan").click()
    expect(page.locator("#plan-full")).to_contain_text("more memory")
    expect(page.locator("#plan-field-memory.over")).to_have_count(1)
    expect(page.locator("#plan-field-cores.over")).to_have_count(0)
    context.close()
