"""What every page has in common: it answers full and empty, escapes names, and carries its policy."""

import re

import pytest
from django.test import Client, override_settings
from django.urls import path

from fleet.accounts.roles import Role
from fleet.catalog.models import Model
from fleet.dashboard.middleware import POLICY
from fleet.dashboard.pages import Lazy
from fleet.dashboard.urls import urlpatterns as pages_urls
from fleet.devices.models import Device, Group

FULL = (
    "/",
    "/devices",
    "/devices/d-00000000",
    "/versions",
    "/versions?by=group",
    "/compare",
    "/compare?kind=class&a=embedded&b=mobile",
    "/groups",
    "/groups/lab",
    "/groups/lab?add=1",
    "/enrollment",
    "/models",
    "/models/tabletop",
    "/models/tabletop/2",
    "/models/tabletop/2?class=mobile",
    "/rollouts",
    "/rollouts/1",
    "/rollouts/2",
    "/rollouts/new",
    "/rollouts/new?release=2&group=lab",
    "/rollouts/new?release=2&device=d-00000000",
    "/jobs",
    "/jobs/1",
    "/jobs/3",
    "/jobs/4",
    "/jobs/5",
    "/alerts",
    "/alerts?show=recovered&page=2",
    "/alerts/rules",
    "/alerts/rules/new",
    "/alerts/rules/1",
    "/alerts/silences",
    "/alerts/channels",
    "/alerts/channels/new",
    "/alerts/channels/2",
    "/events",
    "/account",
    "/people",
)
EMPTY = {
    "/": "Connect your first device",
    "/devices": "No devices yet",
    "/groups": "No groups yet",
    "/enrollment": "No tokens yet",
    "/models": "No models yet",
    "/rollouts": "No rollouts yet",
    "/rollouts/new": "There is none yet",
    "/jobs": "No jobs yet",
    "/alerts": "Nothing waits for anybody",
    "/alerts/silences": "Nothing is silenced",
    "/alerts/channels": "Nobody is told yet",
    "/account": "No tokens",
}
#: Every part that fetches itself again, by the page it is on.
PARTS = {
    "/": ("fleet-head", "fleet-tiles", "fleet-figures", "fleet-work"),
    "/versions": ("version-story", "version-matrix"),
    "/compare": ("compare-figures",),
    "/devices": ("device-list",),
    "/devices/d-00000000": (
        "device-head",
        "device-actions",
        "device-alerts",
        "device-figures",
        "device-facts",
        "device-work",
    ),
    "/groups": ("group-list",),
    "/groups/lab": ("group-members",),
    "/enrollment": ("pending-devices", "token-list"),
    "/models": ("model-list",),
    "/models/tabletop": ("version-list",),
    "/models/tabletop/2": ("version-compare", "version-class", "version-work"),
    "/rollouts": ("rollout-list",),
    "/rollouts/2": ("rollout-head", "rollout-state", "rollout-phases", "rollout-devices", "rollout-why"),
    "/jobs": ("job-list",),
    "/jobs/4": ("job-head", "job-trials", "job-log"),
    "/alerts": ("alert-list",),
    "/alerts/rules": ("rule-list",),
    "/alerts/silences": ("silence-list",),
    "/alerts/channels": ("channel-list",),
    "/events": ("event-list",),
}
HOSTILE = '<script>alert("x")</script>{{ 7|add:7 }}'


def test_every_page_answers_with_a_whole_document(sample_fleet, managing):
    sample_fleet(60)
    for address in FULL:
        answer = managing.get(address)
        assert answer.status_code == 200, address
        assert answer.text.count("<h1") == 1, address
        assert answer.text.rstrip().endswith("</html>"), address
        assert "data-live-url" in answer.text, address


@pytest.mark.parametrize(("address", "says"), EMPTY.items())
def test_a_new_installation_says_what_to_do_first(managing, address, says):
    assert says in managing.get(address).text


def test_no_id_stands_twice_on_a_page(sample_fleet, managing):
    sample_fleet(40)
    for address in FULL:
        ids = re.findall(r'\sid="([^"]+)"', managing.get(address).text)
        twice = {name for name in ids if ids.count(name) > 1}
        assert not twice, (address, twice)


def test_a_part_that_fetches_itself_gets_itself_and_nothing_else(sample_fleet, managing):
    sample_fleet(20)
    for address, parts in PARTS.items():
        whole = managing.get(address).text
        live = set(re.findall(r'id="([^"]+)" data-live="[^"]+" data-live-every="\d+" hx-get', whole))
        assert live == set(parts), address
        for part in parts:
            answer = managing.get(address, headers={"HX-Request": "true", "HX-Target": part})
            assert answer.status_code == 200
            assert "<html" not in answer.text, (address, part)
            assert answer.text.count(f'id="{part}"') == 1, (address, part)
            assert "HX-Target" in answer.headers["Vary"]


def test_names_are_text_and_never_markup(sample_fleet, managing):
    """Fault 42: script in a device, group or model name."""
    fleet = sample_fleet(20)
    Device.objects.filter(pk=fleet.devices[0].pk).update(name=HOSTILE)
    Group.objects.update(description=HOSTILE)
    Model.objects.update(description=HOSTILE)
    fleet.versions[1].notes = HOSTILE
    fleet.versions[1].save()
    fleet.versions[1].trials.filter(name="original").update(reason=HOSTILE, name=HOSTILE)
    fleet.versions[1].jobs.update(step=HOSTILE, reason=HOSTILE)
    seen = 0
    for address in (
        *FULL,
        "/find?q=script",
        f"/events?q={HOSTILE}",
        f"/devices?q={HOSTILE}",
        f"/groups/lab?q={HOSTILE}",
    ):
        answer = managing.get(address)
        if answer.headers["Content-Type"].startswith("application/json"):
            assert answer.json()["found"][0]["label"] == HOSTILE  # the palette writes it as text
            continue
        assert "<script>alert" not in answer.text, address
        seen += "alert" in answer.text
    assert seen > 12


def test_every_answer_says_what_a_browser_may_load(sample_fleet, managing):
    sample_fleet(4)
    for address in ("/", "/devices/d-00000000", "/find?q=a", "/nothing", "/login"):
        policy = managing.get(address).headers["Content-Security-Policy"]
        assert policy == POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


def test_no_page_has_inline_script_or_style(sample_fleet, managing):
    sample_fleet(20)
    for address in FULL:
        text = managing.get(address).text
        scripts = re.findall(r"<script\b([^>]*)>", text)
        assert all("src=" in script or 'type="application/json"' in script for script in scripts), address
        assert " style=" not in text, address
        assert "<style" not in text, address
        assert not re.search(r"\son[a-z]+=", text), address
        assert not re.search(r'(src|href)="(https?:)?//', text), address


@pytest.mark.parametrize(
    "address",
    [
        "/devices/nothing",
        "/devices/d-1/series",
        "/groups/nothing",
        "/models/nothing",
        "/models/tabletop/99",
        "/rollouts/99999999999999",
        "/rollouts/99",
        "/rollouts/new?release=77",
        "/rollouts/new?group=nothing",
        "/jobs/77",
        "/nothing/at/all",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(managing, address):
    answer = managing.get(address)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def _break(request):
    raise RuntimeError("broken for this test")


@override_settings(ROOT_URLCONF=type("urls", (), {"urlpatterns": [path("break", _break), *pages_urls]}))
def test_a_server_error_is_a_page_and_shows_no_details():
    answer = Client(raise_request_exception=False).get("/break")
    assert answer.status_code == 500
    assert "Something broke on our side" in answer.text
    assert "broken for this test" not in answer.text


def test_times_are_utc_for_those_without_scripts(sample_fleet, viewer):
    sample_fleet(4)
    assert re.search(
        r'<time datetime="\d{4}-\d\d-\d\dT[\d:.]+Z" data-when="relative">\d{4}-\d\d-\d\d [\d:]+ UTC</time>',
        viewer.get("/devices").text,
    )


def test_a_browsers_language_changes_no_number_and_no_word(sample_fleet, operating):
    sample_fleet(4)
    german = {"Accept-Language": "de"}
    assert 'data-promise="100.0"' in operating.get("/devices/d-00000000", headers=german).text
    assert "0.9989" in operating.get("/models/tabletop/2", headers=german).text
    answer = operating.post("/new-group", {"name": ""}, headers=german | {"HX-Request": "true"})
    assert "This field is required." in answer.text


def test_what_a_device_did_not_report_says_so(operating, device):
    page = operating.get(f"/devices/{device.pk}").text
    assert page.count("not reported") >= 5
    assert "0.00" not in page


def test_the_navigation_counts_and_marks_where_one_is(sample_fleet, managing, viewer):
    sample_fleet(130)
    text = managing.get("/devices").text
    assert re.search(r'href="/devices"\s+title="Devices"\s+aria-current="page"', text)
    assert '<b class="n">129</b>' in text  # one of the 130 still waits for admission
    assert re.search(r'title="1 device to admit"\s*>1</b>', text)
    assert "/people" not in viewer.get("/devices").text


def test_a_mistake_in_a_page_is_not_swallowed_by_its_template():
    lazy = Lazy(broken=lambda: None + 1)  # templates would take the TypeError for a missing name
    with pytest.raises(RuntimeError, match="broken could not be computed"):
        lazy.broken  # noqa: B018  # looking is what is tested
    with pytest.raises(AttributeError):
        lazy.missing  # noqa: B018  # looking is what is tested


def test_the_roles_words_are_those_of_the_access_table(managing):
    text = managing.get("/people").text
    for role in Role:
        assert f'<option value="{role.label}"' in text
