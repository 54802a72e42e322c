"""Nothing of a page stays English but names, figures and code: read with a catalogue in which every word is `译`."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module

import polib
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.utils.translation import trans_real

from fleet import sentences
from fleet.alerts.models import Channel, Delivery, Rule, Silence
from fleet.audit.models import Event
from fleet.catalog.models import Model, ModelVersion, Trial
from fleet.dashboard.details import where
from fleet.dashboard.recipes import recipe_words
from fleet.devices.models import Device, EnrollmentToken, Group, Tag
from fleet.jobs.models import Job, JobLine
from fleet.rollouts.models import Command, Rollout
from fleet.search.fields import STATES
from fleet.search.models import SavedView
from tests.fleet.dashboard.test_queries import PAGES

FIRST_RULES = import_module("fleet.alerts.migrations.0002_first_rules").RULES
MORE_PAGES = (
    "/account",
    "/people",
    "/upload",
    "/models/tabletop/2",
    "/devices/d-00000001",
    "/alerts/rules/new",
    "/alerts/channels/new",
    "/planner",
    "/rollouts/new",
    "/compare",
    "/nowhere",
)
KEPT = re.compile(r"(<[^>]*>|\{[^}]*\}|%\(\w+\)[sd]|%%|&\w+;)|[A-Za-z]+")
#: What people of every language call so: units, formats, products, the classes' and the search language's own words.
SAME = frozenset(
    """Edgefleet English UTC CPU GPU RAM NaN MQTT JSON CSV ONNX API URL ID NVIDIA TLS TUF HTTP HTTPS USB IP OS
    ms min kB MB GB KiB MiB GiB TiB mJ kJ Hz TFLOPS Mbit Gbit kbit bit kWh Ctrl Esc Enter Shift Parquet Plotly Linux
    arm amd linux csv parquet out order vision language action beta alpha gamma""".split()  # noqa: SIM905  # a list of so many short words reads better so
)
DATA = re.compile(r"\S*[\d_@:=/\\.]\S*")
SPOKEN = ("title", "aria-label", "placeholder", "alt", "data-confirm", "data-confirm-text", "data-confirm-do", "label")
SILENT = {"script", "style", "code", "pre", "kbd", "time", "textarea", "template"}


def spoken(text: str) -> str:
    return KEPT.sub(lambda found: found[1] or "译", text)


@pytest.fixture
def another_language(tmp_path, settings):
    """Simplified Chinese with catalogues in which every word of a translation is the same letter."""
    folder = tmp_path / "zh_Hans" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    for domain in ("django", "sentences"):
        catalogue = polib.pofile(str(django_settings.LOCALE_PATHS[0] / "zh_Hans" / "LC_MESSAGES" / f"{domain}.po"))
        for entry in catalogue:
            if entry.msgid_plural:
                entry.msgstr_plural = {0: spoken(entry.msgid_plural)}
            else:
                entry.msgstr = spoken(entry.msgid)
        catalogue.save_as_mofile(str(folder / f"{domain}.mo"))
    settings.LOCALE_PATHS = [tmp_path]
    _forget()
    yield
    _forget()


def _forget() -> None:
    trans_real._translations.clear()
    sentences._sentences.cache_clear()
    sentences._said.cache_clear()


class Words(HTMLParser):
    """Every text of a page that somebody reads or hears."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in SPOKEN and value]
        if tag in SILENT or dict(attrs).get("aria-hidden") == "true":
            self._silent.append(tag)

    def handle_endtag(self, tag):
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data):
        if not self._silent and data.strip():
            self.found.append(" ".join(data.split()))


def names() -> Iterator[str]:
    """What people, devices, tools and receivers called things or wrote."""
    for rows, *columns in (
        (Device, "name"),
        (Group, "name", "description", "query"),
        (Model, "name", "description"),
        (ModelVersion, "notes"),
        (Trial, "name"),
        (Rule, "query"),
        (Channel, "name", "target", "error"),
        (Delivery, "error"),
        (Silence, "reason", "query"),
        (EnrollmentToken, "name"),
        (Tag, "key", "value"),
        (User, "username"),
        (SavedView, "name", "address"),
        (JobLine, "text"),
        # In words of the sample's own, which nothing in the source says.
        (Job, "reason"),
        (Event, "detail"),
        (Command, "reason"),
    ):
        for row in rows.objects.values_list(*columns):
            yield from filter(None, row)
    yield from Rule.objects.exclude(name__in=[rule["name"] for rule in FIRST_RULES]).values_list("name", flat=True)
    for name in Trial.objects.values_list("name", flat=True):
        yield from name.split(", ")
    for recipe, lineage in Trial.objects.values_list("recipe", "lineage"):
        yield recipe_words(recipe)
        yield where(lineage)
        yield from lineage.get("tools", {})
    for hardware in Device.objects.values_list("hardware", flat=True):
        yield from (value for value in hardware.values() if isinstance(value, str))
    yield from STATES


def english(text: str, known: re.Pattern[str]) -> str:
    words = re.findall(r"[A-Za-z]{2,}", DATA.sub(" ", known.sub(" ", text)))
    return " ".join(word for word in words if word not in SAME)


@pytest.mark.django_db
def test_no_word_of_a_page_is_left_in_english(another_language, sample_fleet, managing):
    fleet = sample_fleet(12, hours=1, history=True)
    places = {
        "rollout": Rollout.objects.get(state="running").pk,
        "release": fleet.releases[1].pk,
        "job": Job.objects.get(state="running").pk,
        "rule": Rule.objects.get(name="Too hot").pk,
    }
    longest_first = sorted({name for name in names() if len(name) > 1}, key=len, reverse=True)
    known = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first))
    left = {}
    for address in (*PAGES, *MORE_PAGES):
        answer = managing.get(address.format(**places), headers={"Accept-Language": "zh-CN"})
        if answer.headers["Content-Type"].startswith("text/html"):
            for text in Words(answer.text).found:
                if english(text, known):
                    left.setdefault(text, []).append(address)
    assert left == {}, "\n".join(f"{text!r} on {pages[0]}" for text, pages in left.items())
