"""What tests in a browser wait for."""

from playwright.sync_api import Page, expect


def live(page: Page) -> None:
    """The page hears of changes."""
    expect(page.locator("[data-live-state]")).to_have_text("Live")
