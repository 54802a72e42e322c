"""How each state is shown: its word, colour and icon; and what stands between words. Pure.

The states are those of agent.wire.states and models.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _


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
        "online": _ok(_("Online")),
        "silent": Word(_("Silent"), "warn", "warn"),
        "offline": Word(_("Offline"), "offline", "offline"),
        "never": _waiting(_("Never connected")),
    },
    "admission": {
        "pending": _waiting(_("Waits for admission")),
        "accepted": _ok(_("Accepted")),
        "rejected": _bad(_("Rejected")),
        "preauthorized": _waiting(_("Preauthorized")),
    },
    "deployment": {
        "queued": _waiting(_("Queued")),
        "notified": _waiting(_("Notified")),
        "downloading": _moving(_("Downloading")),
        "verified": _moving(_("Verified")),
        "installing": _moving(_("Installing")),
        "self_testing": _moving(_("Self-testing")),
        "watching": _moving(_("Watching")),
        "active": _ok(_("Active")),
        "failed": _bad(_("Failed")),
        "rejected": _bad(_("Rejected")),
        "rolled_back": Word(_("Rolled back"), "bad", "back"),
        "skipped": _ended(_("Skipped")),
        "canceled": _ended(_("Canceled")),
        "superseded": _ended(_("Superseded")),
        "timed_out": _bad(_("Timed out")),
    },
    "command": {
        "queued": _waiting(_("Queued")),
        "sent": _waiting(_("Sent")),
        "accepted": _moving(_("Accepted")),
        "running": _moving(_("Running")),
        "succeeded": _ok(_("Succeeded")),
        "rejected": _bad(_("Rejected")),
        "failed": _bad(_("Failed")),
        "expired": _bad(_("Expired")),
        "canceled": _ended(_("Canceled")),
    },
    "rollout": {
        "draft": _waiting(_("Waits for approval")),
        "scheduled": _waiting(_("Scheduled")),
        "running": _moving(_("Running")),
        "paused": Word(_("Paused"), "warn", "pause"),
        "finished": _ok(_("Finished")),
        "aborted": _ended(_("Canceled")),
    },
    "job": {
        "queued": _waiting(_("Queued")),
        "running": _moving(_("Running")),
        "succeeded": _ok(_("Succeeded")),
        "failed": _bad(_("Failed")),
        "canceled": _ended(_("Canceled")),
    },
    "verdict": {
        "won": Word(_("Chosen"), "accent", "star"),
        "passed": _ok(_("Passed")),
        "lost": Word(_("Lost"), "warn", "down"),
        "failed": _bad(_("Failed")),
    },
    "preview": {
        "update": _moving(_("Will update")),
        "already": _ok(_("Runs it already")),
        "blocked": _bad(_("Does not fit")),
        "no_variant": Word(_("No variant"), "warn", "warn"),
        "pinned": Word(_("Pinned"), "offline", "pause"),
    },
    "phase": {
        "waiting": _waiting(_("Waiting")),
        "open": _moving(pgettext_lazy("phase", "Open")),
        "passed": _ok(_("Passed")),
    },
    "level": {
        "info": Word(_("Info"), "info", "info"),
        "ok": _ok(_("Done")),
        "warn": Word(_("Warning"), "warn", "warn"),
        "bad": _bad(_("Failure")),
    },
    "severity": {
        "critical": _bad(_("Critical")),
        "warning": Word(_("Warning"), "warn", "warn"),
        "info": Word(_("Info"), "info", "info"),
    },
    "alert": {
        "waiting": Word(_("Open"), "bad", "bell"),
        "acknowledged": Word(_("Acknowledged"), "info", "check"),
        "silenced": Word(_("Silenced"), "offline", "pause"),
        "recovered": _ok(_("Recovered")),
    },
    "delivery": {
        "queued": _waiting(_("Waiting")),
        "sent": _ok(_("Sent")),
        "failed": _bad(_("Given up")),
    },
    "role": {
        "viewer": Word(_("Viewer"), "offline", "search"),
        "operator": Word(_("Operator"), "info", "term"),
        "admin": Word(_("Admin"), "accent", "key"),
    },
}


def word(kind: str, state: str) -> Word:
    """The word of a state; an unknown state is shown as it is, without a colour."""
    known = WORDS.get(kind, {}).get(str(state))
    return known or Word(str(state).replace("_", " "), "offline", "info")


CLASS_LABELS = {
    "embedded": _("embedded"),
    "mobile": _("mobile"),
    "edge_server": _("edge server"),
}


def class_label(device_class: str) -> str:
    """A device class as people say it; an unknown one is shown as it is."""
    return str(CLASS_LABELS.get(device_class, device_class))


def listed(words: Iterable[str]) -> str:
    """`a, b, c`, with the comma of the language of now."""
    return gettext(", ").join(words)


def clauses(words: Iterable[str]) -> str:
    """`a; b; c`, with its semicolon."""
    return gettext("; ").join(words)
