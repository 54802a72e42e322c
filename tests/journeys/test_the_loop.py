"""The whole loop in a real browser with real agents, in the order in which a newcomer walks it.

Each journey changes something through a page, and reads the device's own report back.
"""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from fleet.demo.loop import ASSETS

GROUP = "robots"
#: The lone agent detects this machine; the simulated one declares a small board.
LONE, SIMULATED = "lone-board", "sim-arm"
#: Milliseconds in which two classes are optimized on a busy machine.
SLOW = 480_000


@pytest.fixture(scope="module")
def pt2(tmp_path_factory):
    from fleet.demo.policy import build_pt2

    path = tmp_path_factory.mktemp("model") / "tabletop_policy.pt2"
    build_pt2(path)
    return path


def reload_until(page: Page, locator, seconds: float = 60) -> None:
    """Pages are live, but an expectation on a page that was not open yet starts with a fresh look."""
    end = time.monotonic() + seconds
    while not locator.first.is_visible():
        assert time.monotonic() < end, f"{locator} did not appear on {page.url}"
        page.wait_for_timeout(500)
        page.reload()


def test_a_board_introduces_itself_and_a_person_lets_it_in(page_of, installation, lone_agent):
    page = page_of("admin")
    page.goto("/groups")
    page.get_by_role("button", name="New group").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill(GROUP)
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Make|Create")).click()
    expect(page.get_by_role("heading", name=GROUP)).to_be_visible()

    page.goto("/enrollment")
    form = page.locator("form", has=page.get_by_role("button", name="Make a token"))
    form.get_by_label("Name").fill("two boards")
    form.get_by_role("spinbutton", name="Devices").fill("2")
    form.get_by_label("Group").select_option(label=GROUP)
    form.get_by_role("button", name="Make a token").click()
    command = page.locator("#enroll-command").inner_text()
    token = command.split("--token ")[1].strip()
    assert f"mqtt://127.0.0.1:{installation.stack.mqtt_port}" in command

    installation.start_agent(LONE, token, command=(str(lone_agent), "run"))
    row = page.get_by_role("row", name=re.compile(LONE))
    expect(row).to_be_visible(timeout=30_000)  # live, without a reload
    row.get_by_role("checkbox").check()
    page.get_by_role("toolbar").get_by_role("button", name="Accept").click()
    installation.wait_for("the board online", lambda: installation.device(LONE).get("liveness") == "online", 60)

    device = installation.device(LONE)
    assert not device["simulated"]
    assert device["hardware"]["cores"] >= 1
    page.goto(f"/devices/{device['id']}")
    expect(page.get_by_role("heading", name=LONE)).to_be_visible()
    expect(page.locator("main").get_by_text(re.compile("Online", re.IGNORECASE)).first).to_be_visible()

    installation.api.post("/enrollment-tokens", {"name": "simulated", "auto_accept": True, "group": GROUP})
    token = installation.api.post("/enrollment-tokens", {"name": "sim", "auto_accept": True, "group": GROUP})["token"]
    installation.start_agent(
        SIMULATED,
        token,
        source="fleet.demo.source:tabletop",
        declared_cores=4,
        declared_memory_gib=4,
        declared_storage_gib=32,
        declared_board="Raspberry Pi 4 Model B",
    )
    installation.wait_for("the simulated one", lambda: installation.device(SIMULATED).get("liveness") == "online", 60)
    assert installation.device(SIMULATED)["device_class"] == "embedded"
    for name in (LONE, SIMULATED):
        found = installation.device(name)
        installation.api.call("PATCH", f"/devices/{found['id']}", {"config": {"watch_seconds": 3}})


def version_id(installation) -> int:
    """Of tabletop@1, the only version of its model."""
    [version] = installation.api.get("/models/tabletop/versions")
    return version["id"]


def test_a_model_is_uploaded_optimized_and_released(page_of, installation, pt2):
    page = page_of("operator")
    page.goto("/models")
    page.get_by_role("button", name="Upload").first.click()
    form = page.locator("#upload-form")
    form.get_by_label("Model", exact=False).first.fill("tabletop")
    form.locator("input[type=file][name=upload]").set_input_files(pt2)
    form.locator("input[type=file][name=card]").set_input_files(ASSETS / "card.json")
    form.locator("input[type=file][name=evaluation]").set_input_files(ASSETS / "evaluation.npz")
    form.get_by_label("Evaluator", exact=False).select_option("tabletop")
    form.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="tabletop@1")).to_be_visible(timeout=30_000)

    classes = {installation.device(name)["device_class"] for name in (LONE, SIMULATED)}
    for device_class in sorted(classes):
        page.goto("/models/tabletop/1")
        page.get_by_role("button", name="Optimize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.locator("select[name=device_class]").select_option(device_class)
        dialog.locator("select[name=budget]").select_option("brief")
        dialog.get_by_role("button", name="Start").click()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))

    expect(page.locator("main").get_by_text("Succeeded", exact=False).first).to_be_visible(timeout=SLOW)
    installation.wait_for(
        "every job's end",
        lambda: all(job["state"] == "succeeded" for job in installation.api.get("/jobs")["items"]),
        480,
    )
    page.goto("/models/tabletop/1")
    trials = installation.api.get(f"/versions/{version_id(installation)}/trials", limit=100)["items"]
    winners = [trial for trial in trials if trial["verdict"] == "won"]
    assert {trial["device_class"] for trial in winners} == classes
    assert all(trial["reason"] for trial in trials), "each trial says why"
    for trial in winners:
        expect(page.locator("main").get_by_text(trial["name"]).locator("visible=true").first).to_be_visible()

    page.get_by_role("button", name="Release").first.click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile("release", re.IGNORECASE)).click()
    expect(page.get_by_role("heading", name="New rollout")).to_be_visible()
    expect(page.get_by_label("Release")).to_have_value(re.compile(r"\d+"))


def test_it_is_rolled_out_and_every_device_reports_its_own_variant(page_of, installation):
    page = page_of("operator")
    page.goto("/models/tabletop/1")
    page.get_by_role("link", name="Roll out").first.click()
    page.locator("#rollout-group").select_option(GROUP)
    start = page.get_by_role("button", name="Roll out to 2 devices")
    expect(start).to_be_visible()
    start.click()
    page.wait_for_url(re.compile(r"/rollouts/\d+$"))
    expect(page.locator("main").get_by_text("Finished", exact=False).first).to_be_visible(timeout=90_000)

    variants = {
        v["manifest_digest"]: v["device_class"]
        for v in installation.api.get(f"/versions/{version_id(installation)}/variants")
    }
    for name in (LONE, SIMULATED):
        device = installation.device(name)
        assert variants[device["active_manifest"]] == device["device_class"], "as the device itself reports"
        page.goto(f"/devices/{device['id']}")
        expect(page.locator("main").get_by_text("tabletop@1").first).to_be_visible()


def test_the_simulated_device_does_its_job_and_its_chart_is_live(page_of, installation):
    installation.wait_for("ten episodes", lambda: installation.device(SIMULATED)["episodes"] >= 10, 120)
    device = installation.device(SIMULATED)
    assert device["successes"] / device["episodes"] >= 0.7
    assert device["latency_p95"] < 100

    page = page_of("viewer")
    page.goto(f"/devices/{device['id']}")
    chart = page.locator("figure.chart").first
    expect(chart.locator(".main-svg").first).to_be_visible()
    newest = (
        "() => Math.max(...[...document.querySelectorAll('figure.chart .js-plotly-plot, figure.chart.js-plotly-plot')]"
    )
    newest += ".flatMap(p => p.data.flatMap(t => [...t.x].map(x => new Date(x).getTime()))))"
    before = page.evaluate(newest)
    page.wait_for_function(f"before => ({newest})() > before", arg=before, timeout=15_000)
    sample = installation.api.get(f"/devices/{device['id']}/samples", limit=1)["items"][0]
    assert sample["power_source"] in ("measured", "estimated")


def test_a_variant_that_fails_its_self_test_never_stays(page_of, installation):
    before = installation.device(SIMULATED)["active_manifest"]
    release = int(installation.shell(MAKE_A_LIAR))
    page = page_of("operator")
    page.goto(f"/rollouts/new?release={release}&group={GROUP}")
    page.get_by_role("button", name="Roll out to 1 device").click()
    page.wait_for_url(re.compile(r"/rollouts/\d+$"))
    rollout = page.url.rsplit("/", 1)[1]

    def ended():
        rows = installation.api.get(f"/rollouts/{rollout}/deployments")["items"]
        return next((row for row in rows if row["device_name"] == SIMULATED and row["state"] == "failed"), None)

    row = installation.wait_for("the self-test's verdict", ended, 60)
    assert "golden" in row["reason"]
    reload_until(page, page.locator("main").get_by_text(row["reason"][:40]))
    episodes = installation.device(SIMULATED)["episodes"]
    installation.wait_for("further episodes", lambda: installation.device(SIMULATED)["episodes"] > episodes, 60)
    assert installation.device(SIMULATED)["active_manifest"] == before, "the old one never stopped"


def test_a_device_is_re_optimized_by_its_own_measurement(page_of, installation):
    device = installation.device(SIMULATED)
    page = page_of("operator")
    page.goto(f"/devices/{device['id']}")
    page.get_by_role("button", name="Re-optimize").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Re-optimize").click()

    def done():
        jobs = [job for job in installation.api.get("/jobs")["items"] if job["kind"] == "reoptimize"]
        return jobs[0] if jobs and jobs[0]["state"] not in ("queued", "running") else None

    job = installation.wait_for("the device's answer", done, 120)
    assert job["state"] == "succeeded", job["reason"]
    assert len(job["result"]["candidates"]) == 2
    assert all(row["p50_ms"] > 0 for row in job["result"]["candidates"]), "measured on the device"
    winner = job["result"]["winner_manifest"]
    installation.wait_for("the winner", lambda: installation.device(SIMULATED)["active_manifest"] == winner, 60)
    page.goto(f"/jobs/{job['id']}")
    expect(page.locator("main").get_by_text(job["result"]["winner"]).locator("visible=true").first).to_be_visible()


def test_a_worker_killed_in_the_middle_loses_no_job(installation):
    order = {"device_class": "mobile", "budget": "brief"}
    job = installation.api.post(f"/versions/{version_id(installation)}/optimize", order)
    now = lambda: installation.api.get(f"/jobs/{job['id']}")  # noqa: E731  # the job as it is at each look
    installation.wait_for("the worker at work", lambda: now()["state"] == "running" and now()["progress"] > 0, 60)
    installation.kill("optimizer")
    installation.run(installation.process_of("optimizer"))
    ended = installation.wait_for("the job's end", lambda: now() if now()["state"] == "succeeded" else None, 300)
    assert ended["attempts"] == 2


def test_a_job_is_canceled_within_seconds(page_of, installation):
    job = installation.api.post(
        f"/versions/{version_id(installation)}/optimize", {"device_class": "mobile", "pruning": 0.17}
    )
    now = lambda: installation.api.get(f"/jobs/{job['id']}")  # noqa: E731  # the job as it is at each look
    installation.wait_for("the worker at work", lambda: now()["state"] == "running", 60)
    page = page_of("operator")
    page.goto(f"/jobs/{job['id']}")
    page.get_by_role("button", name="Cancel").first.click()
    confirm = page.get_by_role("dialog").get_by_role("button", name=re.compile("Cancel|Stop"))
    if confirm.count():
        confirm.first.click()
    installation.wait_for("its end", lambda: now()["state"] == "canceled", 10)


def test_a_viewer_looks_and_does_not_touch(page_of, installation):
    device = installation.device(SIMULATED)
    page = page_of("viewer", width=390, height=844)
    for path in ("/", "/devices", f"/devices/{device['id']}", "/models/tabletop/1", "/rollouts", "/jobs", "/groups"):
        page.goto(path)
        expect(page.locator("h1").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{path} scrolls sideways"
    page.goto(f"/devices/{device['id']}")
    expect(page.get_by_role("button", name="Re-optimize")).to_have_count(0)
    assert page.request.get("/people").status == 403


#: A variant like the active one, whose golden outputs are off by one: as if the file had gone bad on the way here.
MAKE_A_LIAR = """
import io, json
import numpy as np
from agent.wire import manifest as wire
from fleet.catalog import store
from fleet.catalog.models import Release, Trial, Variant
import msgspec
good = Variant.objects.get(version__model__name="tabletop", trial__verdict="won", device_class="embedded")
manifest = msgspec.convert(good.manifest, wire.Manifest)
golden = manifest.of("golden")[0]
arrays = dict(np.load(io.BytesIO(store.read(golden.digest))))
arrays = {name: value + 1 if name.startswith("output/") else value for name, value in arrays.items()}
buffer = io.BytesIO()
np.savez(buffer, **arrays)
digest = store.put_bytes(buffer.getvalue())
parts = [p for p in manifest.parts if p.role != "golden"] + [wire.Part(digest, len(buffer.getvalue()), "golden")]
whole = b"".join(store.read(p.digest) for p in parts)
replaced = {"variant": "liar", "parts": tuple(parts), "size": len(whole), "digest": wire.digest_of(whole)}
lying = msgspec.structs.replace(manifest, **replaced)
data = wire.encode(lying)
trial = Trial.objects.create(version=good.version, device_class="embedded", key=wire.digest_of(data), name="liar",
    verdict="passed", reason="made for a test", figures=good.trial.figures)
variant = Variant.objects.create(version=good.version, device_class="embedded", trial=trial, bytes=lying.size,
    manifest_digest=wire.digest_of(data), manifest=json.loads(data))
release = Release.objects.create(version=good.version, number=99)
release.variants.add(variant)
print(release.pk)
"""
