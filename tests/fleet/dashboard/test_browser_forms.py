"""Dialogs, orders that are asked about, forms with a mistake."""

import re

import pytest
from playwright.sync_api import expect

from fleet.accounts.roles import Role
from fleet.audit.services import announce
from fleet.devices import services
from fleet.devices.models import Device
from fleet.rollouts.models import Rollout
from fleet.rollouts.services import pause
from tests.fleet.dashboard.browsing import live
from tests.fleet.dashboard.test_models import model_bytes

pytestmark = [pytest.mark.journey, pytest.mark.django_db(transaction=True)]


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
        form.locator(".primary[type=submit]").dblclick()
        if name == "lab":
            expect(form.locator(".err, [role=alert]").first).to_be_visible()
    page.wait_for_url("**/groups/lab-two")


def test_a_form_that_was_refused_stays_as_it_is_while_the_page_goes_on(open_page, fleet):
    device = fleet.devices[1]
    page = open_page(f"/devices/{device.pk}", Role.OPERATOR)
    live(page)
    page.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog", name=f"Settings of {device.name}")
    dialog.get_by_label("Mode", exact=True).select_option("hybrid")
    dialog.get_by_role("button", name="Send").click()
    refusal = dialog.get_by_text("Confirm that they may leave the device.")
    expect(refusal).to_be_visible()
    dialog.get_by_label("Observations may leave this device").check()
    Device.objects.filter(pk=device.pk).update(simulated=not device.simulated)
    with page.expect_response(lambda answer: answer.request.headers.get("hx-target") == "device-actions"):
        announce(f"device:{device.pk}")
    expect(refusal).to_be_visible()
    expect(dialog.get_by_label("Mode", exact=True)).to_have_value("hybrid")
    dialog.get_by_role("button", name="Send").click()
    page.wait_for_url(f"**/devices/{device.pk}")
    expect(dialog).to_be_hidden()
    device.refresh_from_db()
    assert device.config["mode"] == "hybrid"


def test_a_device_is_retired_only_after_its_name_was_typed(open_page, fleet):
    device = fleet.devices[3]
    page = open_page(f"/devices/{device.pk}")
    page.get_by_role("button", name="Retire").click()
    button = page.locator("#retire [type=submit]")
    expect(button).to_be_disabled()
    page.fill("#retire [name=confirm]", device.name)
    button.click()
    expect(page.locator("#device-head .badge").first).to_have_text("Retired")
