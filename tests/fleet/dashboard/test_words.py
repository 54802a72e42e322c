"""Every state that can be stored has a word, a colour and an icon that exists."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from agent.wire import states
from fleet.alerts.models import Delivery
from fleet.alerts.policy import Severity
from fleet.audit.models import Event
from fleet.catalog.models import Trial
from fleet.dashboard.context import Section
from fleet.dashboard.selectors.alerts import SHOWN
from fleet.dashboard.selectors.progress import KINDS, kind_of
from fleet.dashboard.words import WORDS, word
from fleet.devices.liveness import Liveness
from fleet.jobs.models import Job

STATIC = Path(settings.BASE_DIR) / "static"
TEMPLATES = Path(settings.BASE_DIR) / "templates"
ICONS = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text()))
STATES = {
    "liveness": list(Liveness),
    "admission": list(states.Admission),
    "deployment": list(states.Deployment),
    "command": list(states.Command),
    "rollout": list(states.Rollout),
    "job": [value for value, _ in Job.STATES],
    "verdict": [value for value, _ in Trial.VERDICTS],
    "level": [value for value, _ in Event.LEVELS],
    "severity": list(Severity),
    "alert": SHOWN,
    "delivery": [value for value, _ in Delivery.STATES],
}


@pytest.mark.parametrize("kind", STATES)
def test_every_state_has_a_word(kind):
    assert set(WORDS[kind]) == {str(state) for state in STATES[kind]}


def test_every_icon_is_drawn_somewhere():
    used = {shown.icon for words in WORDS.values() for shown in words.values()} | {kind.word.icon for kind in KINDS}
    for page in TEMPLATES.rglob("*.html"):
        text = page.read_text()
        used |= set(re.findall(r'{% icon "([^"]+)"', text)) | set(re.findall(r'empty_icon="([^"]+)"', text))
    assert used <= ICONS
    assert Section("x", "X", "fleet").icon in ICONS


def test_a_state_without_a_word_is_shown_as_it_is():
    assert word("deployment", "on_hold").label == "on hold"


@pytest.mark.parametrize("state", list(states.Deployment))
def test_every_deployment_is_counted_once(state):
    assert sum(state in kind.states for kind in KINDS) == 1
    assert kind_of(state, there=True).key != "offline"
    assert (kind_of(state, there=False).key == "offline") == (state in states.DEPLOYMENT_OPEN)
