"""The catalogues of translations: nothing of the source is missing, every sentence keeps its places."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.utils.translation import to_locale

from fleet.dashboard.gathering import gathered
from fleet.dashboard.management.commands.words import collect_marked, script_of

CODES = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
DOMAINS = ("django", "djangojs", "sentences")
#: `{0}`, `{0:n}`, `{name}`, `%(name)s`.
PLACES = re.compile(r"\{[a-z0-9_]+(?::n)?\}|%\([a-z0-9_]+\)[sd]")


def po(code: str, domain: str) -> Path:
    return settings.LOCALE_PATHS[0] / to_locale(code) / "LC_MESSAGES" / f"{domain}.po"


CATALOGUES = [pytest.param(po(code, domain), id=f"{code} {domain}") for code in CODES for domain in DOMAINS]


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def by_sentence(entries: Iterable[polib.POEntry]) -> dict[tuple[str | None, str], list[str]]:
    return {(entry.msgctxt, entry.msgid): translations(entry) for entry in entries}


@pytest.mark.parametrize("path", CATALOGUES)
def test_every_sentence_is_translated(path):
    missing = [entry.msgid for entry in polib.pofile(str(path)) if not all(translations(entry)) or entry.fuzzy]
    assert missing == []


@pytest.mark.parametrize("path", CATALOGUES)
def test_a_translation_has_the_places_of_its_sentence(path):
    """Of a plural, those of its general form: a single thing may be without its number."""
    for entry in polib.pofile(str(path)):
        wanted = set(PLACES.findall(entry.msgid_plural or entry.msgid))
        for said in filter(None, translations(entry)):
            assert set(PLACES.findall(said)) == wanted, entry.msgid


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("domain", ["django", "sentences"])
def test_what_the_server_reads_is_what_is_written(code, domain):
    path = po(code, domain)
    written = by_sentence(polib.pofile(str(path)).translated_entries())
    assert by_sentence(polib.mofile(str(path.with_suffix(".mo")))) == written


@pytest.mark.parametrize("code", CODES)
def test_what_scripts_read_is_what_is_written(code):
    script = settings.BASE_DIR / "static/js/words" / f"{code}.js"
    assert script.read_text() == script_of(po(code, "djangojs"))


@pytest.mark.parametrize("code", CODES)
def test_no_sentence_of_the_source_is_missing(code):
    """`make words` brings them in."""
    known = {entry.msgid for entry in polib.pofile(str(po(code, "sentences")))}
    assert known == set(gathered(settings.BASE_DIR))


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="GNU gettext is not installed")
@pytest.mark.parametrize("code", CODES)
def test_nothing_that_is_marked_is_missing(code, tmp_path, settings, monkeypatch):
    monkeypatch.chdir(settings.BASE_DIR)
    kept = settings.LOCALE_PATHS
    settings.LOCALE_PATHS = [tmp_path]
    (tmp_path / to_locale(code) / "LC_MESSAGES").mkdir(parents=True)
    collect_marked([to_locale(code)], "fleet/locale")
    for domain in ("django", "djangojs"):
        marked, path = po(code, domain), kept[0] / to_locale(code) / "LC_MESSAGES" / f"{domain}.po"
        assert set(by_sentence(polib.pofile(str(path)))) == set(by_sentence(polib.pofile(str(marked))))
