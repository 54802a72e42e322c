"""One installation and one browser for all journeys: starting them takes longer than most journeys."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.installation import ROOT, Installation, without_proxies

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "journeys" in item.path.parts:
            item.add_marker(pytest.mark.journey)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    without_proxies()
    made = Installation(tmp_path_factory.mktemp("installation"))
    try:
        yield made.start()
    finally:
        made.stop()
    assert made.complaints() == []


# For a module: as long as it runs, its event loop keeps Django from the database in this thread.
@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the journeys that need one are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: install it (Debian: apt install chromium) to run the browser journeys")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield made
        made.close()


@pytest.fixture
def page_of(browser, installation):
    """A page on which a person has logged in: `page_of("operator")`. Console errors fail the test."""
    contexts, problems = [], []

    def heard(message) -> None:
        # A form that comes back with its errors is an answer with status 422, which the browser notes down.
        if message.type == "error" and "status of 422" not in message.text:
            problems.append(message.text)

    def log_in(username: str, width: int = 1440, height: int = 900):
        context = browser.new_context(viewport={"width": width, "height": height}, base_url=installation.address)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", heard)
        page.goto("/login")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(installation.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(installation.address + "/")
        return page

    yield log_in
    said = list(problems)  # closing cuts what is just being fetched, which nobody would see
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture(scope="session")
def lone_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`edge-agent` in an environment that holds ./agent alone: no Django, no torch, no sight of this checkout."""
    folder = tmp_path_factory.mktemp("lone")
    source = folder / "agent"
    shutil.copytree(ROOT / "agent", source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(source)], check=True)
    return folder / "venv/bin/edge-agent"
