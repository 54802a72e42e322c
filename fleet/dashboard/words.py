"""How each state is shown: its word, colour and icon. Pure; the states are those of agent.wire.states and models."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """label as people read it; tone one of ok, warn, bad, info, pending, offline, accent; icon an id of icons.svg."""

    label: str
    tone: str
    icon: str


def _ok(label: str) -> Word:
    return Word(label, "ok", "ok")


def _bad(label: str) -> Word:
    return Word(label, "bad", "bad")


def _moving(label: str) -> Word:
    return Word(label, "info", "update")


def _waiting(label: str) -> Word:
    return Word(label, "pending", "pending")


def _ended(label: str) -> Word:
    return Word(label, "offline", "x")


WORDS: dict[str, dict[str, Word]] = {
    "liveness": {
        "online": _ok("Online"),
        "silent": Word("Silent", "warn", "warn"),
        "offline": Word("Offline", "offline", "offline"),
        "never": _waiting("Never connected"),
    },
    "admission": {
        "pending": _waiting("Waits for admission"),
        "accepted": _ok("Accepted"),
        "rejected": _bad("Rejected"),
        "preauthorized": _waiting("Preauthorized"),
    },
    "deployment": {
        "queued": _waiting("Queued"),
        "notified": _waiting("Notified"),
        "downloading": _moving("Downloading"),
        "verified": _moving("Verified"),
        "installing": _moving("Installing"),
        "self_testing": _moving("Self-testing"),
        "watching": _moving("Watching"),
        "active": _ok("Active"),
        "failed": _bad("Failed"),
        "rejected": _bad("Rejected"),
        "rolled_back": Word("Rolled back", "bad", "back"),
        "skipped": _ended("Skipped"),
        "canceled": _ended("Canceled"),
        "superseded": _ended("Superseded"),
        "timed_out": _bad("Timed out"),
    },
    "command": {
        "queued": _waiting("Queued"),
        "sent": _waiting("Sent"),
        "accepted": _moving("Accepted"),
        "running": _moving("Running"),
        "succeeded": _ok("Succeeded"),
        "rejected": _bad("Rejected"),
        "failed": _bad("Failed"),
        "expired": _bad("Expired"),
        "canceled": _ended("Canceled"),
    },
    "rollout": {
        "draft": _waiting("Draft"),
        "scheduled": _waiting("Scheduled"),
        "running": _moving("Running"),
        "paused": Word("Paused", "warn", "pause"),
        "finished": _ok("Finished"),
        "aborted": _ended("Canceled"),
    },
    "job": {
        "queued": _waiting("Queued"),
        "running": _moving("Running"),
        "succeeded": _ok("Succeeded"),
        "failed": _bad("Failed"),
        "canceled": _ended("Canceled"),
    },
    "verdict": {
        "won": Word("Chosen", "accent", "star"),
        "passed": _ok("Passed"),
        "lost": Word("Lost", "warn", "down"),
        "failed": _bad("Failed"),
    },
    "preview": {
        "update": _moving("Will update"),
        "already": _ok("Runs it already"),
        "blocked": _bad("Does not fit"),
        "no_variant": Word("No variant", "warn", "warn"),
    },
    "level": {
        "info": Word("Info", "info", "info"),
        "ok": _ok("Done"),
        "warn": Word("Warning", "warn", "warn"),
        "bad": _bad("Failure"),
    },
    "role": {
        "viewer": Word("Viewer", "offline", "search"),
        "operator": Word("Operator", "info", "term"),
        "admin": Word("Admin", "accent", "key"),
    },
}


def word(kind: str, state: str) -> Word:
    """The word of a state; an unknown state is shown as it is, without a colour."""
    known = WORDS.get(kind, {}).get(str(state))
    return known or Word(str(state).replace("_", " "), "offline", "info")


CLASS_LABELS = {"embedded": "embedded", "mobile": "mobile", "edge_server": "edge server"}
