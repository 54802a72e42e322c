"""What the update machine remembers over a power cut, and how a desired state changes it. Pure."""

from typing import Literal

import msgspec

from agent.deployment.transitions import MAX_CRASHES, MAX_TESTS, OPEN, POWER_ON, Event, Resume, after
from agent.wire.manifest import Manifest
from agent.wire.messages import Config, Desired
from agent.wire.states import Deployment as State


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that runs, or ran before. proven: it went through its watch."""

    manifest: str
    deployment_id: str = ""
    since: float = 0.0
    proven: bool = False
    model: str = ""
    version: int = 0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The last deployment: where it stands, or how it ended.

    tests counts the self-tests that began, crashes the boots that ended badly during the watch; clean says that the
    agent was told to stop, so that the next boot counts nothing. told is the server's clock when it ordered this.
    """

    deployment_id: str
    manifest: str
    state: State
    tests: int = 0
    crashes: int = 0
    clean: bool = False
    told: float = 0.0
    reason: str = ""
    evidence: dict[str, float | str] = {}

    @property
    def open(self) -> bool:
        return self.state in OPEN


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The content of state.json.

    loads counts the boots that began to load the active artifact and never finished; newest is the version of each
    model that ran here last: an older one needs a signed order.
    """

    schema: Literal[1] = 1
    desired_version: int = -1
    config: Config = Config()
    config_version: int = 0
    attempt: Attempt | None = None
    active: Installed | None = None
    previous: Installed | None = None
    loads: int = 0
    newest: dict[str, int] = {}


def target(desired: Desired) -> tuple[str, str]:
    """What a desired state asks for; two with the same target differ at most in their settings."""
    return desired.deployment_id, desired.manifest


def turns_away(saved: Saved, desired: Desired) -> bool:
    """Whether the desired state is newer and asks for something else than the attempt is about."""
    attempt = saved.attempt
    if desired.version <= saved.desired_version:
        return False
    if attempt is None:
        return bool(desired.manifest)
    if target(desired) == (attempt.deployment_id, attempt.manifest):
        return False
    if not desired.manifest:
        # Nothing is wanted: give up what is under way. What runs already goes on, and goes on being watched.
        return attempt.open and attempt.state is not State.WATCHING
    # An artifact that has just failed here is tried again by a new deployment only, not by a wish without one.
    return bool(desired.deployment_id) or attempt.open or desired.manifest != attempt.manifest


def converge(saved: Saved, desired: Desired) -> Saved:
    """What to remember once the desired state is taken. An older or repeated one changes nothing."""
    if desired.version <= saved.desired_version:
        return saved
    taken = msgspec.structs.replace(
        saved, desired_version=desired.version, config=desired.config, config_version=desired.config_version
    )
    old = saved.attempt
    if not turns_away(saved, desired):
        return taken
    if not desired.manifest and old is not None:
        ended = after(old.state, Event.SUPERSEDED)
        old = msgspec.structs.replace(old, state=ended, reason="The server does not want it any more.")
        return msgspec.structs.replace(taken, attempt=old)
    attempt = Attempt(
        deployment_id=desired.deployment_id, manifest=desired.manifest, state=State.NOTIFIED, told=desired.at
    )
    active = saved.active
    if active is None or active.manifest != desired.manifest:
        return msgspec.structs.replace(taken, attempt=attempt)
    # It runs already. One that is being watched is watched to the end, under the new deployment's name.
    if old is not None and old.state is State.WATCHING:
        attempt = msgspec.structs.replace(old, deployment_id=desired.deployment_id)
    else:
        attempt = msgspec.structs.replace(attempt, state=State.ACTIVE)
    active = msgspec.structs.replace(active, deployment_id=desired.deployment_id)
    return msgspec.structs.replace(taken, attempt=attempt, active=active)


def swapped(saved: Saved, attempt: Attempt, manifest: Manifest, now: float) -> Saved:
    """The attempt's artifact takes over. What ran before is kept; if it was never proven, what was before that is."""
    old, previous = saved.active, saved.previous
    if old and (old.proven or previous is None or previous.manifest == attempt.manifest):
        previous = old
    new = Installed(
        manifest=attempt.manifest,
        deployment_id=attempt.deployment_id,
        since=now,
        model=manifest.model,
        version=manifest.number,
    )
    return msgspec.structs.replace(saved, attempt=attempt, active=new, previous=previous, loads=0)


def fallen_back(saved: Saved) -> Saved:
    """The previous artifact, if there is one, is the active one again."""
    back = saved.previous
    return msgspec.structs.replace(saved, active=back, previous=None, loads=0, newest=_newest(saved, back))


def proven(saved: Saved) -> Saved:
    """The active artifact went through its watch."""
    active = msgspec.structs.replace(saved.active, proven=True) if saved.active else None
    return msgspec.structs.replace(saved, active=active, newest=_newest(saved, active))


def _newest(saved: Saved, active: Installed | None) -> dict[str, int]:
    return {**saved.newest, active.model: active.version} if active and active.version else saved.newest


def at_power_on(attempt: Attempt) -> tuple[Attempt, Event | None, str]:
    """The attempt with its counters, and the event (with its reason) that the power cut amounts to, if any."""
    resume = POWER_ON[attempt.state]
    clean, attempt = attempt.clean, msgspec.structs.replace(attempt, clean=False)
    if resume is Resume.REPEAT_TWICE:
        if clean:
            attempt = msgspec.structs.replace(attempt, tests=max(0, attempt.tests - 1))
        if attempt.tests >= MAX_TESTS:
            return attempt, Event.BROKEN, f"The agent died in {attempt.tests} self-tests of it."
    if resume is Resume.COUNT_CRASH and not clean:
        attempt = msgspec.structs.replace(attempt, crashes=attempt.crashes + 1)
        if attempt.crashes >= MAX_CRASHES:
            return attempt, Event.UNHEALTHY, f"The agent died {attempt.crashes} times while it was watched."
    return attempt, None, ""
