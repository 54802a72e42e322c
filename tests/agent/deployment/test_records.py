"""What the machine remembers: desired states, swaps, power cuts, each as data."""

import msgspec
import pytest

from agent.deployment import records
from agent.deployment.records import Attempt, Installed, Saved
from agent.wire.messages import Config, Desired
from agent.wire.states import Deployment as State
from tests.agent.variants import variant

OLD, NEW, NEWER = "0a" * 32, "0b" * 32, "0c" * 32


def desired(version=5, manifest=NEW, deployment="p-2", **config) -> Desired:
    return Desired(
        version=version, manifest=manifest, deployment_id=deployment, config_version=version, config=Config(**config)
    )


def attempt(state="active", manifest=NEW, deployment="p-2", **more) -> Attempt:
    return Attempt(deployment_id=deployment, manifest=manifest, state=State(state), **more)


def saved(running=OLD, **more) -> Saved:
    active = Installed(manifest=running, deployment_id="p-1", since=1.0, proven=True) if running else None
    return Saved(**{"desired_version": 4, "active": active, **more})


# --- What a desired state changes ---


def test_something_new_begins_an_attempt():
    after = records.converge(saved(), desired())

    assert after.attempt == attempt("notified")
    assert after.active.manifest == OLD
    assert after.desired_version == 5


@pytest.mark.parametrize("version", [4, 3, 0])
def test_an_older_or_repeated_one_changes_nothing(version):
    before = saved()

    assert records.converge(before, desired(version)) is before


def test_what_runs_already_is_active_at_once():
    after = records.converge(saved(running=NEW), desired())

    assert after.attempt == attempt("active")
    assert (after.active.deployment_id, after.active.proven, after.active.since) == ("p-2", True, 1.0)


@pytest.mark.parametrize("state", ["notified", "downloading", "verified", "installing", "self_testing", "watching"])
def test_a_newer_wish_supersedes_in_every_open_state(state):
    before = saved(attempt=attempt(state))
    after = records.converge(before, desired(manifest=NEWER, deployment="p-3"))

    assert records.turns_away(before, desired(manifest=NEWER, deployment="p-3"))
    assert after.attempt == attempt("notified", NEWER, "p-3")


@pytest.mark.parametrize("state", ["notified", "downloading", "self_testing", "watching", "failed", "rolled_back"])
def test_new_settings_alone_turn_nothing_away(state):
    before = saved(attempt=attempt(state))
    after = records.converge(before, desired(telemetry_interval=9))

    assert not records.turns_away(before, desired(telemetry_interval=9))
    assert after.attempt == before.attempt
    assert (after.config.telemetry_interval, after.config_version) == (9, 5)


def test_a_canceled_deployment_ends_and_the_old_one_goes_on():
    before = saved(attempt=attempt("downloading"))
    after = records.converge(before, desired(manifest=OLD, deployment=""))

    assert after.attempt == attempt("active", OLD, "")
    assert after.active.manifest == OLD


def test_the_first_deployment_of_all_can_be_canceled():
    after = records.converge(saved(running="", attempt=attempt("downloading")), desired(manifest="", deployment=""))

    assert after.attempt.state is State.SUPERSEDED
    assert after.active is None


def test_what_is_being_watched_goes_on_when_nothing_is_wanted():
    before = saved(attempt=attempt("watching"))

    assert records.converge(before, desired(manifest="", deployment="")).attempt == before.attempt


def test_a_canceled_one_that_runs_already_is_brought_back():
    watching = saved(running=NEW, attempt=attempt("watching"))
    after = records.converge(watching, desired(manifest=OLD, deployment=""))

    assert after.attempt == attempt("notified", OLD, "")


def test_a_second_deployment_of_what_is_being_watched_does_not_skip_the_watch():
    watching = saved(running=NEW, attempt=attempt("watching", crashes=1))
    after = records.converge(watching, desired(deployment="p-3"))

    assert after.attempt == attempt("watching", deployment="p-3", crashes=1)


@pytest.mark.parametrize("state", ["failed", "rejected", "rolled_back"])
def test_what_has_failed_is_tried_again_by_a_new_deployment_only(state):
    before = saved(attempt=attempt(state))

    assert records.converge(before, desired(deployment="p-3")).attempt == attempt("notified", deployment="p-3")
    assert records.converge(before, desired(deployment="")).attempt == before.attempt
    assert records.converge(before, desired()).attempt == before.attempt


# --- Swaps ---


def installed(manifest, proven=True) -> Installed:
    return Installed(manifest=manifest, proven=proven)


@pytest.mark.parametrize(
    ("active", "previous", "kept"),
    [
        (None, None, None),
        (installed(OLD), None, OLD),
        (installed(OLD), installed(NEWER), OLD),
        # An unproven one does not displace a proven one …
        (installed(OLD, proven=False), installed(NEWER), NEWER),
        # … unless there is no other.
        (installed(OLD, proven=False), None, OLD),
        (installed(OLD, proven=False), installed(NEW), OLD),
    ],
)
def test_the_last_good_one_is_kept(active, previous, kept):
    saved = Saved(active=active, previous=previous)
    after = records.swapped(saved, attempt("watching"), variant(version="3").manifest, now=7.0)

    assert (after.active.manifest, after.active.since, after.active.proven) == (NEW, 7.0, False)
    assert (after.previous and after.previous.manifest) == kept
    assert after.newest == {}, "only what went through its watch moves the version that cannot be gone behind"
    assert records.proven(after).newest == {"tiny": 3}


def test_falling_back_goes_back_in_version_too():
    first = Installed(manifest=OLD, proven=True, model="tiny", version=2)
    saved = Saved(active=Installed(manifest=NEW, model="tiny", version=3), previous=first, newest={"tiny": 3, "arm": 9})

    assert records.fallen_back(saved).newest == {"tiny": 2, "arm": 9}


def test_falling_back_and_proving():
    before = Saved(active=installed(NEW, proven=False), previous=installed(OLD))

    assert records.fallen_back(before).active == installed(OLD)
    assert records.fallen_back(before).previous is None
    assert records.proven(before).active == installed(NEW)


# --- Power cuts: each state × a crash or an orderly stop ---


@pytest.mark.parametrize("state", ["notified", "downloading", "verified", "installing"])
@pytest.mark.parametrize("clean", [True, False])
def test_these_steps_are_simply_repeated(state, clean):
    resumed, event, _ = records.at_power_on(attempt(state, clean=clean))

    assert (resumed, event) == (attempt(state), None)


@pytest.mark.parametrize("state", ["active", "failed", "rejected", "rolled_back", "superseded"])
def test_what_had_ended_stays_ended(state):
    assert records.at_power_on(attempt(state, reason="so")) == (attempt(state, reason="so"), None, "")


@pytest.mark.parametrize(("tests", "event"), [(1, None), (2, None), (3, "broken")])
def test_a_self_test_is_repeated_twice_at_most(tests, event):
    _, found, reason = records.at_power_on(attempt("self_testing", tests=tests))

    assert found == event
    assert ("died in 3 self-tests" in reason) == (event is not None)


def test_an_orderly_stop_does_not_count_as_a_test():
    resumed, event, _ = records.at_power_on(attempt("self_testing", tests=3, clean=True))

    assert (resumed.tests, resumed.clean, event) == (2, False, None)


@pytest.mark.parametrize(("before", "event"), [(0, None), (1, None), (2, "unhealthy")])
def test_the_third_crash_of_the_watch_rolls_back(before, event):
    resumed, found, reason = records.at_power_on(attempt("watching", crashes=before))

    assert (resumed.crashes, found) == (before + 1, event)
    assert ("died 3 times" in reason) == (event is not None)


def test_an_orderly_stop_is_no_crash():
    resumed, event, _ = records.at_power_on(attempt("watching", crashes=2, clean=True))

    assert (resumed.crashes, event) == (2, None)


def test_everything_survives_the_disk():
    full = saved(
        attempt=attempt("watching", tests=1, crashes=2, reason="r", evidence={"p95": 1.5, "word": "x"}),
        previous=installed(NEWER),
        config=Config(mode="slim"),
        loads=2,
    )

    assert msgspec.json.decode(msgspec.json.encode(full), type=Saved) == full
