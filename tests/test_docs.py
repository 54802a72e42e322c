"""What the documents say is so: links lead somewhere, targets exist, settings are the ones that are read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "agent/README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE):
        assert target in targets, f"{document.name} speaks of make {target}"


def test_every_setting_is_described_and_every_described_one_is_read():
    read = set(re.findall(r'(?:_?environ\.get|_flag)\(\s*"([A-Z_]+)"', (ROOT / "fleet/settings.py").read_text()))
    kept = re.findall(r'_kept_secret\("([a-z_]+)"\)', (ROOT / "fleet/settings.py").read_text())
    read |= {f"EDGEFLEET_{name.upper()}" for name in kept}
    text = (ROOT / "docs/operators.md").read_text()
    described = {name for name in re.findall(r"`([A-Z][A-Z_]{4,})`", text) if "_" in name or name in read}
    assert read - described == {"EDGEFLEET_DEBUG"}, "debugging is for developers"
    assert described - read == set()


def test_the_words_of_the_workshop_stay_out():
    for document in DOCUMENTS:
        assert not re.search(r"(?i)\b(todo|fixme|lorem)\b", document.read_text()), document.name
