"""An operator lets one device ask the server, in a real browser; its server dies, and comes back.

The device runs the sum of its state, the edge server's variant twice that: so an answer says who gave it.
"""

import json
import re
import time
from typing import Any

import msgspec
import pytest
from playwright.sync_api import expect

from tests.agent import variants
from tests.agent.inference.apis import Program
from tests.ports import free_port

DEVICE = "hybrid-arm"
HERE, THERE = 10.0, 20.0
DEADLINE_MS = 1000.0


@pytest.fixture(scope="module")
def release(installation, tmp_path_factory) -> int:
    """A release of two small variants: one for embedded devices, and one that gives twice as much for edge servers."""
    folder = tmp_path_factory.mktemp("variants")
    for device_class, weight in (("embedded", 1.0), ("edge_server", 2.0)):
        made = variants.variant(
            weight,
            device_class=device_class,
            deadline_ms=DEADLINE_MS,
            card_changes={"deadline_ms": DEADLINE_MS},
            model="sum",
            memory_bytes=0,
        )
        place = folder / device_class
        place.mkdir()
        for digest, data in made.parts.items():
            (place / digest).write_bytes(data)
        (place / "manifest.json").write_bytes(msgspec.json.encode(made.manifest))
    return int(installation.shell(_RELEASE.format(folder=str(folder))))


_RELEASE = """
import json
from pathlib import Path
import msgspec
from agent.wire import manifest as wire
from fleet.catalog import store
from fleet.catalog.models import Model, ModelVersion, Trial, Variant
from fleet.catalog.services import create_release
model = Model.objects.create(name="sum")
version = ModelVersion.objects.create(model=model, number=1, format="onnx", file_name="sum.onnx", digest="ab" * 32,
    size=1, evaluation_digest="cd" * 32)
made = []
for place in sorted(Path("{folder}").iterdir()):
    manifest = msgspec.json.decode((place / "manifest.json").read_bytes(), type=wire.Manifest)
    for part in manifest.parts:
        store.put_bytes((place / part.digest).read_bytes())
    data = wire.encode(manifest)
    trial = Trial.objects.create(version=version, device_class=place.name, key=wire.digest_of(data), name=place.name,
        verdict="won", reason="made for a test", figures={{"bytes": manifest.size}})
    made.append(Variant.objects.create(version=version, device_class=place.name, trial=trial, bytes=manifest.size,
        manifest_digest=wire.digest_of(data), manifest=json.loads(data)))
print(create_release(version, made, None).pk)
"""


@pytest.fixture(scope="module")
def program(installation, release) -> Any:
    """A program on the device, which runs its variant."""
    port = free_port()
    token = installation.api.post("/enrollment-tokens", {"name": "hybrid", "auto_accept": True})["token"]
    installation.start_agent(
        DEVICE,
        token,
        api=f"127.0.0.1:{port}",
        inference=installation.address,
        declared_cores=4,
        declared_memory_gib=4,
        declared_storage_gib=32,
    )
    installation.wait_for("the device", lambda: installation.device(DEVICE).get("liveness") == "online", 60)
    device = installation.device(DEVICE)
    installation.api.call(
        "PATCH", f"/devices/{device['id']}", {"config": {"watch_seconds": 1, "telemetry_interval": 1}}
    )
    installation.api.post("/rollouts", {"release": release, "devices": [device["id"]]})
    installation.wait_for("its variant", lambda: installation.device(DEVICE)["active_manifest"], 90)
    made = Program(port)
    yield made
    made.close()


def decided(program: Program, heavy: bool = True) -> tuple[float, str | None, float]:
    """The action, who decided by the reply's header, and the milliseconds until it was there."""
    began = time.monotonic()
    status, headers, data = program.raw("POST", "/act", {"state": [1, 2, 3, 4], "heavy": heavy})
    took = 1e3 * (time.monotonic() - began)
    assert status == 200, data
    return json.loads(data)["actions"][0][0], headers.get("Answered-By"), took


def test_an_operator_sets_a_device_to_hybrid_and_its_heavy_requests_go_to_the_server(page_of, installation, program):
    assert decided(program) == (HERE, None, pytest.approx(0, abs=DEADLINE_MS)), "in full mode it decides by itself"
    device = installation.device(DEVICE)
    page = page_of("operator")
    page.goto(f"/devices/{device['id']}")
    page.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog", name=re.compile("Settings of"))
    dialog.get_by_label("Mode", exact=True).select_option("hybrid")
    dialog.get_by_role("button", name="Send").click()
    expect(dialog.get_by_text("Confirm that they may leave the device.")).to_be_visible()
    assert installation.device(DEVICE)["config"].get("mode") != "hybrid", "not without a person's word"
    dialog.get_by_label("Observations may leave this device").check()
    dialog.get_by_role("button", name="Send").click()

    installation.wait_for("the device's own word", lambda: installation.device(DEVICE)["mode"] == "hybrid", 30)
    expect(page.get_by_role("row", name=re.compile("^Mode hybrid"))).to_be_visible(timeout=20_000)
    installation.wait_for("an answer of the server", lambda: decided(program)[:2] == (THERE, "server"), 60)
    assert decided(program, heavy=False)[:2] == (HERE, "device"), "what is not heavy stays"
    for _ in range(5):
        decided(program)

    page.goto("/inference")
    row = page.get_by_role("row", name=re.compile(DEVICE))
    expect(row).to_be_visible(timeout=20_000)
    used = installation.wait_for("the counts", lambda: _used(installation, device["id"]))
    assert used["answered"] >= 3
    assert used["bytes_in"] > 0
    assert used["mean_ms"] > 0
    page.goto("/events")
    expect(page.get_by_text(f"Settings of {DEVICE}: mode hybrid").first).to_be_visible()
    expect(page.get_by_text("observations of heavy requests leave the device").first).to_be_visible()

    def counted() -> dict[str, Any] | None:
        rows = installation.api.get(f"/devices/{device['id']}/samples", limit=50)["items"]
        return next((row for row in rows if row["remote_answered"] and row["remote_bytes"]), None)

    installation.wait_for("the device's own counts", counted)


def _used(installation, device_id: str) -> dict[str, Any] | None:
    rows = installation.api.get("/inference/devices")["items"]
    return next((row["used"] for row in rows if row["device"] == device_id and row["used"]["answered"] >= 3), None)


def test_the_server_dies_and_the_next_request_is_decided_here_in_time_and_then_it_is_back(installation, program):
    installation.wait_for("an answer of the server", lambda: decided(program)[1] == "server", 60)
    installation.kill("web")
    value, by, took = decided(program)
    assert (value, by) == (HERE, "device")
    assert took < DEADLINE_MS
    for _ in range(10):
        value, by, took = decided(program)
        assert (value, by) == (HERE, "device")
        assert took < DEADLINE_MS
    installation.run(installation.process_of("web"))
    installation.wait_for("an answer of the server", lambda: decided(program)[:2] == (THERE, "server"), 90)


def test_set_back_to_full_nothing_goes_to_the_server_any_more(installation, program):
    device = installation.device(DEVICE)
    installation.api.call("PATCH", f"/devices/{device['id']}", {"config": {"mode": "full"}})
    installation.wait_for("its word", lambda: installation.device(DEVICE)["mode"] == "full", 30)
    assert decided(program)[:2] == (HERE, None)
