"""The stylesheet keeps its promises: contrast in both themes, and nothing named that does not exist."""

import re
from pathlib import Path

import pytest
from django.conf import settings

STATIC = Path(settings.BASE_DIR) / "static"
TEMPLATES = Path(settings.BASE_DIR) / "templates"
TOKENS = (STATIC / "css" / "tokens.css").read_text()
PAIRS = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\);", TOKENS))
STATES = ("ok", "warn", "bad", "info", "pending", "offline")
#: (foreground, background, least contrast): WCAG AA asks 4.5 of text and 3 of what is drawn.
CONTRASTS = [
    *[
        (text, ground, 4.5)
        for text in ("text", "text-2", "text-3")
        for ground in ("surface", "bg", "sunken", "overlay", "hover")
    ],
    *[("accent", ground, 4.5) for ground in ("surface", "bg", "overlay", "accent-tint")],
    *[("text", ground, 4.5) for ground in ("accent-tint", *[f"{state}-tint" for state in STATES])],
    *[(state, f"{state}-tint", 4.5) for state in STATES],
    *[(state, "surface", 4.5) for state in STATES],
    *[(f"{state}-fill", "surface", 3.0) for state in STATES],
    *[(f"c{number}", "surface", 4.5) for number in range(1, 7)],
    ("on-accent", "accent", 4.5),
    ("on-accent", "accent-hover", 4.5),
    ("surface", "bad", 4.5),
    ("line-ctl", "surface", 3.0),
]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("front", "back", "least"), CONTRASTS, ids=lambda value: str(value))
def test_everything_can_be_read_in_both_themes(front, back, least):
    for theme in (0, 1):
        measured = contrast(PAIRS[front].split(", ")[theme], PAIRS[back].split(", ")[theme])
        assert measured >= least, f"{front} on {back} has {measured:.2f} in the {('light', 'dark')[theme]} theme"


def test_every_token_that_is_used_exists():
    defined = set(re.findall(r"(--[\w-]+):", TOKENS))
    for file in [*(STATIC / "css").glob("*.css"), *(STATIC / "js").glob("*.js")]:
        assert set(re.findall(r"var\((--[a-z][\w-]*)\)", file.read_text())) <= defined, file.name


def test_a_colour_stands_in_one_place():
    for file in (STATIC / "css").glob("*.css"):
        if file.name != "tokens.css":
            assert not re.search(r"#[0-9a-f]{3,8}\b", file.read_text()), file.name


def test_every_class_of_a_page_is_styled_or_used_by_a_script():
    known = set()
    for file in (STATIC / "css").glob("*.css"):
        known |= set(re.findall(r"\.([a-z][\w-]*)", file.read_text()))
    known |= set(re.findall(r"'\.([a-z][\w-]*)", "".join(file.read_text() for file in (STATIC / "js").glob("*.js"))))
    known |= {"mono", "muted", "faint"}
    unknown: dict[str, set[str]] = {}
    for page in TEMPLATES.rglob("*.html"):
        for value in re.findall(r'class="([^"{}]*)"', page.read_text()):
            missing = set(value.split()) - known
            if missing:
                unknown.setdefault(str(page.relative_to(TEMPLATES)), set()).update(missing)
    assert unknown == {}


def test_no_static_file_comes_from_elsewhere():
    for file in [*(STATIC / "css").glob("*.css"), *(STATIC / "js").glob("*.js")]:
        assert not re.search(r"https?://|@import|//cdn", file.read_text()), file.name
