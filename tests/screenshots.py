"""Pictures of every page: `python -m tests.screenshots OUT [name …]`.

Starts the web process over a database of its own, walks every page in Chromium at two sizes and in both themes, with
500 devices and with none. Ends with 1 on any console error, refused resource, failed request or sideways scroll.
"""

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import TimeoutError, sync_playwright

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
#: name → (address, what must be there before the picture is taken)
PAGES = {
    "overview": ("/", ".live[data-state=live]"),
    "devices": ("/devices", ".live[data-state=live]"),
    "devices-slow": ("/devices?sort=-p95&q=online", ".live[data-state=live]"),
    "devices-none": ("/devices?q=nothing-is-called-this", ".empty"),
    "devices-searched": (
        "/devices?q=class:embedded+tag:site%3Dberlin+latency>20ms+online",
        ".live[data-state=live]",
    ),
    "devices-unreadable": ("/devices?q=online+clas:mobile+tag:site%3Dberlin", "#search-problem"),
    "device": ("/devices/d-00000000?range=1h", "[data-series][data-drawn]"),
    "device-day": ("/devices/d-00000000?range=24h", "[data-series][data-drawn]"),
    "device-updating": ("/devices/d-0000000b", "[data-series][data-drawn]"),
    "device-zoomed": ("/devices/d-00000000?range=24h&hide=command", "[data-series][data-drawn]"),
    "compare": (
        "/compare?kind=version&a=tabletop%402&b=tabletop%401&range=24h&class=mobile",
        "[data-chart][data-drawn]",
    ),
    "compare-classes": ("/compare?kind=class&a=embedded&b=mobile&range=1h", "[data-chart][data-drawn]"),
    "compare-devices": ("/compare?kind=device&a=d-00000000&b=d-00000001&range=1h", "[data-chart][data-drawn]"),
    "compare-none": ("/compare", ".empty"),
    "versions": ("/versions", "[data-chart][data-drawn]"),
    "versions-groups": ("/versions?by=group&range=24h", "[data-chart][data-drawn]"),
    "groups": ("/groups", ".live[data-state=live]"),
    "group": ("/groups/lab", ".live[data-state=live]"),
    "group-dynamic": ("/groups/berlin-cameras", ".live[data-state=live]"),
    "group-new": ("/new-group?query=class:mobile+tag:site%3Dberlin", "#group-preview b"),
    "enrollment": ("/enrollment", ".live[data-state=live]"),
    "models": ("/models", ".live[data-state=live]"),
    "model": ("/models/tabletop", ".live[data-state=live]"),
    "version": ("/models/tabletop/2?class=embedded", "[data-chart][data-drawn]"),
    "rollouts": ("/rollouts", ".live[data-state=live]"),
    "rollout-new": ("/rollouts/new?release=2&group=lab&plan=canary", "h1"),
    "rollout": ("/rollouts/2", ".live[data-state=live]"),
    "rollout-searched": ("/rollouts/2?q=class:embedded+tag:site%3Dberlin", ".live[data-state=live]"),
    "rollout-unreadable": ("/rollouts/2?q=clas:mobile", "#search-problem"),
    "planner": ("/planner?device=d-00000000&version=tabletop%401", "#plan-modes"),
    "planner-typed": (
        "/planner?device=d-00000000&version=tabletop%401&memory=64+MiB&link=20+Mbit%2Fs&observation=300+kB&observation_s=0.2"
        "&network_ms=20&storage=much",
        "#plan-modes",
    ),
    "planner-case": (
        "/planner?tflops=10+TFLOPS&memory=16+GiB&need_tflops=20+TFLOPS&need_memory=32+GiB",
        "#plan-modes",
    ),
    "planner-none": ("/planner", ".empty"),
    "jobs": ("/jobs", ".live[data-state=live]"),
    "job": ("/jobs/4", ".live[data-state=live]"),
    "inference": ("/inference", ".live[data-state=live]"),
    "alerts": ("/alerts", ".live[data-state=live]"),
    "alerts-recovered": ("/alerts?show=recovered", ".live[data-state=live]"),
    "alerts-acknowledged": ("/alerts?show=acknowledged", ".live[data-state=live]"),
    "alert-rules": ("/alerts/rules", ".live[data-state=live]"),
    "alert-rule": ("/alerts/rules/2", "#rule-preview b"),
    "alert-rule-new": ("/alerts/rules/new", "h1"),
    "silences": ("/alerts/silences?rule=3", ".live[data-state=live]"),
    "alert-channels": ("/alerts/channels", ".live[data-state=live]"),
    "alert-channel": ("/alerts/channels/2", "#channel-secret"),
    "events": ("/events", ".live[data-state=live]"),
    "account": ("/account", "h1"),
    "people": ("/people", "h1"),
    "missing": ("/nothing/here", ".empty"),
}
LIVE = ".live[data-state=live]"
#: The same, after somebody did something there: (what, where, with what).
SCENES = {
    "scene-palette": (
        "/",
        LIVE,
        [("press", "body", "Control+k"), ("fill", "#palette input", "arm-00"), ("see", "#palette [data-url]", "")],
    ),
    "scene-bulk": (
        "/devices",
        LIVE,
        [("check", "tbody tr:nth-child(2) input", ""), ("check", "tbody tr:nth-child(3) input", "")],
    ),
    "scene-complete": (
        "/devices",
        LIVE,
        [("type", "#device-q", "online tag:si"), ("see", "[role=option]", ""), ("press", "#device-q", "ArrowDown")],
    ),
    "scene-search-help": ("/devices", LIVE, [("click", "[popovertarget=search-help] >> nth=0", "")]),
    "scene-save-view": ("/devices?q=offline", LIVE, [("click", "[data-open='#save-view'] >> nth=0", "")]),
    "scene-keys": ("/devices", LIVE, [("press", "body", "?")]),
    "scene-acknowledge": ("/alerts", LIVE, [("check", "tbody tr:nth-child(2) input", "")]),
    "scene-group-change": (
        "/groups/berlin-cameras",
        LIVE,
        [
            ("click", "[data-open='#edit-group']", ""),
            ("fill", "#id_query", "class:embedded tag:line=2"),
            ("see", "#group-preview b", ""),
        ],
    ),
    "scene-tags": ("/devices/d-00000000", "[data-series][data-drawn]", [("click", "[data-open='#tags']", "")]),
    "scene-rename": ("/devices/d-00000000", "[data-series][data-drawn]", [("click", "[data-open='#rename']", "")]),
    "scene-settings": ("/devices/d-00000000", "[data-series][data-drawn]", [("click", "[data-open='#config']", "")]),
    "scene-retire": ("/devices/d-00000000", "[data-series][data-drawn]", [("click", "[data-open='#retire']", "")]),
    "scene-cursor": (
        "/devices/d-00000000?range=1h",
        "[data-series][data-drawn]",
        [("click", "#device-charts summary", ""), ("hover", "[data-figure=latency] .nsewdrag", "")],
    ),
    "scene-transfers": ("/rollouts", LIVE, [("click", "[data-open='#transfers']", "")]),
    "scene-cancel": ("/rollouts/2", LIVE, [("click", ".actions .danger", "")]),
    "scene-optimize": ("/models/tabletop/2", LIVE, [("click", "[data-open='#optimize']", "")]),
    "scene-optimize-parts": (
        "/models/tabletop/2",
        LIVE,
        [("click", "[data-open='#optimize']", ""), ("click", "#optimize summary", "")],
    ),
    "scene-trial": (
        "/models/tabletop/2?class=embedded",
        "[data-chart][data-drawn]",
        [("click", "tr.won summary", "")],
    ),
    "scene-release": ("/models/tabletop/2", LIVE, [("click", "[data-open='#release']", "")]),
    "scene-token": (
        "/enrollment",
        LIVE,
        [("fill", "[name=name]", "benches"), ("click", "text=Make a token", ""), ("see", "#enroll-command", "")],
    ),
    "scene-password": (
        "/account",
        "h1",
        [
            ("fill", "[name=password-old_password]", "x"),
            ("fill", "[name=password-new_password1]", "x"),
            ("fill", "[name=password-new_password2]", "y"),
            ("click", "text=Change password", ""),
            ("see", ".err", ""),
        ],
    ),
    "scene-person": (
        "/people",
        "h1",
        [("fill", "[name=username]", "viewer-person"), ("click", "button:text-is('Add')", ""), ("see", ".err", "")],
    ),
}
EMPTY = (
    "overview",
    "devices",
    "groups",
    "enrollment",
    "models",
    "versions-empty",
    "compare",
    "rollouts",
    "rollout-new-empty",
    "jobs",
    "inference",
    "alerts",
    "alert-rules",
    "silences",
    "alert-channels",
    "events",
)
EMPTY_PAGES = {
    **PAGES,
    "versions-empty": ("/versions", ".empty"),
    "compare": ("/compare", ".empty"),
    "rollout-new-empty": ("/rollouts/new", "h1"),
}


class Walk:
    """One browser; collects everything that went wrong."""

    def __init__(self, browser, address: str, out: Path, before) -> None:
        self.browser, self.address, self.out, self.before = browser, address, out, before
        self.problems: list[str] = []

    def pages(self, names, pages, size: str, theme: str, suffix: str = "") -> None:
        width, height = SIZES[size]
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, has_touch=size == "phone"
        )
        page = context.new_page()
        self._listen(page)
        page.goto(f"{self.address}/login")
        if theme == "light" and not suffix:
            page.screenshot(path=self.out / f"login-{size}-{theme}.png")
        page.fill("[name=username]", "admin-person")
        page.fill("[name=password]", "a password of 12 letters")
        page.click("button[type=submit]")
        page.wait_for_selector("h1")
        for name in names:
            self._one(page, name, *pages[name][:2], f"{name}{suffix}-{size}-{theme}")
        context.close()

    def _one(self, page, name: str, path: str, ready: str, picture: str) -> None:
        self.here = picture
        self.before()
        page.goto(self.address + path, wait_until="load")
        try:
            page.wait_for_selector(ready, state="attached", timeout=20_000)
        except TimeoutError:
            self.problems.append(f"{picture}: {ready} never came")
        if "phone" in picture:
            scrolls = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        else:
            scrolls = page.evaluate("document.body.scrollWidth - document.documentElement.clientWidth")
        if scrolls > 0:
            self.problems.append(f"{picture}: the page scrolls sideways by {scrolls} pixels")
        cut = page.evaluate(
            "Array.from(document.querySelectorAll('.table-wrap')).filter(e => e.scrollWidth > e.clientWidth + 1)"
            ".map(e => `${e.parentElement.id || e.closest('[id]').id} by ${e.scrollWidth - e.clientWidth}`)"
        )
        if cut:
            self.problems.append(f"{picture}: a table is wider than its panel: {', '.join(cut)}")
        for what, where, how in SCENES.get(name, ("", "", []))[2]:
            if what == "see":
                page.wait_for_selector(where)
            elif how:
                getattr(page, what)(where, how)
            else:
                getattr(page, what)(where)
        page.screenshot(path=self.out / f"{picture}.png", full_page=name not in SCENES)

    def _listen(self, page) -> None:
        self.here = "login"
        page.on("console", lambda message: self._said(message))
        page.on("pageerror", lambda error: self.problems.append(f"{self.here}: {error}"))
        page.on("requestfailed", lambda request: self._failed(request))

    def _said(self, message) -> None:
        # An address that does not exist, and a form that comes back with its errors.
        expected = ("404" in message.text and self.here.startswith("missing")) or "422" in message.text
        if message.type in ("error", "warning") and not expected:
            self.problems.append(
                f"{self.here}: console {message.type}: {message.text} {message.location.get('url', '')}"
            )

    def _failed(self, request) -> None:
        # Leaving a page ends its event stream and what it was just fetching.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.problems.append(f"{self.here}: {request.url} failed: {request.failure}")


def _database(folder: Path, devices: int) -> None:
    """Migrate and fill the database that `_configure` pointed Django at."""
    from django.core.management import call_command

    from fleet.accounts.roles import Role
    from tests.fleet.dashboard.support import SampleFleet, people

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, ignore_patterns=["datasets", "templates"], verbosity=0)
    cast = people()
    if devices:
        SampleFleet(devices, hours=24, history=True).fill(cast[Role.OPERATOR])


def walk(out: Path, names: list[str], devices: int) -> list[str]:
    """One walk in a process whose Django has its own data folder."""
    from tests.fleet.dashboard.server import web
    from tests.fleet.dashboard.support import keep_alive

    folder = Path(os.environ["EDGEFLEET_DATA"])
    _database(folder, devices)
    pages = {**PAGES, **SCENES} if devices else EMPTY_PAGES
    possible = list(pages) if devices else EMPTY
    names = [name for name in (names or possible) if name in possible]
    # Playwright's own loop runs in this thread, and Django would take its queries for queries of a coroutine.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with web({}, folder / "web.log") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        walking = Walk(browser, server.address, out, keep_alive if devices else lambda: None)
        for size in SIZES:
            for theme in ("light", "dark"):
                if devices or theme == "light":
                    walking.pages(names, pages, size, theme, "" if devices else "-empty")
        browser.close()
    return walking.problems


def main() -> int:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    if os.environ.get("SCREENSHOTS_DEVICES") is None:
        # Each fleet needs a Django of its own: the data folder is read once, at its start.
        import subprocess

        failed = 0
        for devices in ("500", "0"):
            with tempfile.TemporaryDirectory(prefix="edgefleet-shots-") as folder:
                environment = {**os.environ, "EDGEFLEET_DATA": folder, "SCREENSHOTS_DEVICES": devices}
                command = [sys.executable, "-m", "tests.screenshots", *sys.argv[1:]]
                failed |= subprocess.run(command, env=environment, check=False).returncode
        return failed
    os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"
    import django

    django.setup()
    problems = walk(out, sys.argv[2:], int(os.environ["SCREENSHOTS_DEVICES"]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
