"""A budget and a mode set on a device's page, kept by the real agent, and its own report read back."""

import http.client
import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.ports import free_port

NAME = "tight-board"


@pytest.fixture
def port(installation):
    """The port of the local API of a small device that has enrolled and is online."""
    token = installation.api.post("/enrollment-tokens", {"name": NAME, "auto_accept": True})["token"]
    port = free_port()
    installation.start_agent(
        NAME,
        token,
        api=f"127.0.0.1:{port}",
        declared_cores=4,
        declared_memory_gib=4,
        declared_storage_gib=32,
    )
    installation.wait_for("the device", lambda: installation.device(NAME).get("liveness") == "online", 60)
    installation.wait_for("a sample", lambda: installation.device(NAME)["memory_used"], 60)
    return port


def set_on_page(page: Page, memory: str, mode: str) -> None:
    page.get_by_role("button", name="Settings").click()
    form = page.get_by_role("dialog").locator("#config-form")
    form.get_by_label("Memory, MiB").fill(memory)
    form.get_by_label("Mode").select_option(mode)
    form.get_by_role("button", name="Send").click()
    expect(form).to_be_hidden()


def asked(port: int) -> tuple[int, str]:
    """What a program on the device is told that asks for a decision."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/act", b"{}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]
    finally:
        connection.close()


def test_a_budget_set_on_the_page_is_kept_and_the_page_says_how(page_of, installation, port):
    assert "There is no model on this device yet" in asked(port)[1]
    page = page_of("operator")
    page.goto(f"/devices/{installation.device(NAME)['id']}")
    set_on_page(page, memory="16", mode="full")

    expect(page.get_by_text("Refuses the requests of other programs", exact=True)).to_be_visible(timeout=60_000)
    expect(
        page.get_by_text(re.compile(r"because its memory was at \d+ % of its budget \(\d+ of 16 MiB\)")).first
    ).to_be_visible()
    (restraint,) = installation.device(NAME)["restraints"]
    assert (restraint["step"], restraint["limit"]) == ("refuse", 16 * 2**20)
    status, words = asked(port)
    assert status == 503
    assert words.startswith("This device keeps within its budgets and does not answer now: its memory was at")

    set_on_page(page, memory="", mode="slim")
    installation.wait_for("its own word", lambda: installation.device(NAME)["mode"] == "slim", 60)
    installation.wait_for("freedom", lambda: installation.device(NAME)["restraints"] == [], 60)
    expect(page.locator("#held-back")).to_have_count(0, timeout=30_000)
    assert "There is no model on this device yet" in asked(port)[1]
    log = installation.api.get("/events", device=installation.device(NAME)["id"])["items"]
    assert {"device.config", "device.restrained", "device.freed"} <= {event["kind"] for event in log}
