"""A device goes away: the open page says so unasked, somebody takes it, a webhook is told, and it comes back."""

import re
import time

from playwright.sync_api import expect

from fleet.alerts import signature
from tests.fleet.alerts.receivers import Webhook

NAME = "board-that-leaves"
BOARD = {"declared_cores": 4, "declared_memory_gib": 4, "declared_storage_gib": 32}


def test_a_device_that_goes_away_is_an_alert_until_it_is_back(page_of, installation):
    token = installation.api.post("/enrollment-tokens", {"name": NAME, "auto_accept": True})["token"]
    installation.start_agent(NAME, token, **BOARD)
    installation.wait_for("the board", lambda: installation.device(NAME).get("liveness") == "online", 60)
    with Webhook() as hook:
        channel = installation.api.post("/alert-channels", {"name": "ops", "kind": "webhook", "target": hook.url})

        # A rule, with what it would find.
        page = page_of("operator")
        page.goto("/alerts/rules/new")
        page.get_by_label("Name").fill("The board is away")
        page.get_by_label("Severity").select_option("critical")
        page.get_by_label("Devices").fill(f"name:{NAME}")
        page.get_by_label("Condition").select_option("offline")
        page.locator("#id_for_seconds").fill("1 s")
        expect(page.get_by_label("Compared")).to_be_hidden()
        expect(page.locator("#rule-preview")).to_contain_text("It would watch 1 device; at this moment 0 of them")
        page.get_by_role("button", name="Make the rule").click()
        expect(page.get_by_role("link", name="The board is away")).to_be_visible()

        # It goes, as in a power cut: the list says so by itself, and so do the bell and a notice.
        page.goto("/alerts")
        installation.kill(NAME)
        alert = page.locator("#alert-list tbody tr", has=page.get_by_role("link", name=NAME))
        expect(alert).to_be_visible(timeout=60_000)
        expect(alert).to_contain_text("Open")
        expect(page.locator("#bell")).to_have_attribute("aria-label", re.compile(r"[1-9]\d* open alert"))
        expect(page.locator(".toast").filter(has_text="The board is away: 1 alert opened")).to_be_visible()

        # Somebody takes it.
        alert.get_by_role("checkbox").check()
        page.get_by_label("Note").fill("I walk over")
        page.get_by_role("button", name="Acknowledge", exact=True).click()
        expect(page.get_by_text("1 alert acknowledged.")).to_be_visible()
        page.goto("/alerts?show=acknowledged")
        expect(alert).to_contain_text("operator: I walk over")
        device = installation.device(NAME)["id"]
        other = page_of("viewer")
        other.goto(f"/devices/{device}")
        expect(other.locator("#device-alerts")).to_contain_text("It is offline. operator looks after it: I walk over")

        # It is back: both pages say so by themselves.
        installation.start_agent(NAME, token, **BOARD)
        expect(alert).to_have_count(0, timeout=60_000)
        expect(other.locator("#device-alerts")).to_be_hidden(timeout=60_000)
        page.goto("/alerts?show=recovered")
        expect(alert.first).to_contain_text("Recovered")

        # Somebody who is told gets what can be proven to be ours.
        installation.api.post(f"/alert-channels/{channel['id']}/test", {})
        request = installation.wait_for(
            "the webhook", lambda: next((each for each in hook.requests if each.body["kind"] == "test"), None), 30
        )
        installation.api.call("DELETE", f"/alert-channels/{channel['id']}")
        rule = next(each for each in installation.api.get("/alert-rules") if each["name"] == "The board is away")
        installation.api.call("DELETE", f"/alert-rules/{rule['id']}")
    assert signature.verified(channel["secret"], request.raw, request.headers[signature.HEADER], time.time())
