"""What an attacker can do who writes every retained message, and what the device says to it.

Nothing of an artifact is asked for before its manifest is vouched for, and the variant before goes on answering.
"""

import itertools
import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent.deployment import provenance, steps
from agent.wire import topics
from agent.wire.metadata import Order
from tests.agent import signing
from tests.agent.deployment.test_power_cuts import _decides
from tests.agent.signing import ONLINE_KEY, ROOT_KEY, STRANGER, TARGETS_KEY, days_ago
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What does not come is missing after moments."""
    monkeypatch.setattr(provenance, "PATIENCE", 0.5)
    monkeypatch.setattr(steps, "CLOCK_SECONDS", 0.0)


@pytest.fixture
def good(server, device):
    """A device that runs a variant and has seen its metadata."""
    made = variant(1.0, version="3")
    there = device(source="tests.agent.worlds:steady")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    return there, made


def flipped(data: bytes) -> bytes:
    at = data.index(b'"version":') + len(b'"version":')
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def spoil_file(role, change):
    def attack(server):
        name = server.signer.name_of(role)
        server.signer.files[name] = change(server.signer.files[name])

    return attack


def resign(role, signer, change=lambda _: None):
    def attack(server):
        server.signer.files[server.signer.name_of(role)] = server.signer.resigned(role, signer, change)

    return attack


def expire(signed):
    signed.expires -= timedelta(days=3650)


def stranger_root(server):
    """A root 2 by nobody whom the device trusts, and everything below signed by the stranger."""
    server.signer.keys = {STRANGER.public_key.keyid: STRANGER}

    def change(root):
        for role in ("root", "targets", "snapshot", "timestamp"):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(STRANGER.public_key, role)

    server.signer.follow_root(change, STRANGER)


ATTACKS = {
    "a flipped bit in the timestamp": (spoil_file("timestamp", flipped), "lacks a signature"),
    "a flipped bit in the targets": (spoil_file("targets", flipped), "lacks a signature"),
    "a truncated timestamp": (spoil_file("timestamp", lambda data: data[:200]), "damaged or incomplete"),
    "a truncated snapshot": (spoil_file("snapshot", lambda data: data[:-1]), "damaged or incomplete"),
    "endless targets": (spoil_file("targets", lambda data: data + b" " * 600_000), "damaged or incomplete"),
    "a stranger's timestamp": (resign("timestamp", STRANGER), "lacks a signature"),
    "targets by the key of the timestamp": (resign("targets", ONLINE_KEY), "lacks a signature"),
    "an expired timestamp": (resign("timestamp", ONLINE_KEY, expire), "has expired"),
    "expired targets": (resign("targets", TARGETS_KEY, expire), "has expired"),
    "targets that never come": (
        lambda server: server.signer.files.pop(server.signer.name_of("targets")),
        "damaged or incomplete",
    ),
    "a stranger's root": (stranger_root, "lacks a signature"),
}


@pytest.mark.parametrize(("attack", "words"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_with_its_reason_and_the_variant_before_goes_on(server, good, attack, words):
    there, before = good
    bad = variant(2.0, version="4")
    server.signer.vouch(bad)
    server._parts.update(bad.parts)
    attack(server)
    server.publish_metadata()
    server.publish(topics.manifest(bad.digest), bad.data, retain=True)
    server.wanted.clear()
    server.wish(bad.digest, "p-2")

    reason = server.ended("p-2", "rejected").reason
    assert words in reason and reason.endswith(".")
    assert server.wanted == []
    assert there.saved.active.manifest == before.digest
    server.telemetry.clear()
    wait_for("the one before to act", lambda: _decides(server, before.digest))


def test_after_an_attack_what_is_right_is_taken(server, good):
    new = variant(2.0, version="4")
    server.signer.vouch(new)
    right = dict(server.signer.files)
    resign("timestamp", STRANGER)(server)
    server.publish_metadata()
    server._parts.update(new.parts)
    server.publish(topics.manifest(new.digest), new.data, retain=True)
    server.wish(new.digest, "p-2")
    server.ended("p-2", "rejected")
    server.signer.files = right
    server.publish_metadata()
    server.wish(new.digest, "p-3")

    server.ended("p-3", "active")


def test_older_metadata_that_come_again_are_refused(server, good):
    old = dict(server.signer.files)
    server.signer.sign()
    server.publish_metadata()
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")
    server.ended("p-2", "active")
    server.signer.files = old
    server.publish_metadata()
    server.wish(good[1].digest, "p-3")

    assert "came again (a replay)" in server.ended("p-3", "rejected").reason


def test_a_manifest_that_nobody_signed_for_is_not_fetched(server, good):
    new = variant(2.0, version="4")
    server.offer(new)
    server.signer.withdraw(new)
    server.publish_metadata()
    server.wanted.clear()
    server.wish(new.digest, "p-2")

    assert "it is not among its targets" in server.ended("p-2", "rejected").reason
    assert server.wanted == []


# --- Going back ---


def test_an_older_version_needs_an_order(server, good):
    there, new = good
    old = variant(2.0, version="2")
    server.offer(old)
    server.wish(old.digest, "p-2")
    reason = server.ended("p-2", "rejected").reason
    assert reason == (
        "Version 2 of tiny is older than version 3, which this device ran, and no signed order lets it go back."
    )
    server.signer.vouch(old, Order(over=3, until=int(time.time()) + 3600))
    server.publish_metadata()
    server.wish(old.digest, "p-3")
    server.ended("p-3", "active")
    assert there.saved.newest == {"tiny": 2}

    # The order is over: what was said then does not count again.
    server.signer.vouch(old)
    server.publish_metadata()
    server.wish(new.digest, "p-4")
    server.ended("p-4", "active")
    server.wish(old.digest, "p-5")
    server.ended("p-5", "rejected")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order(over=2, until=2_000_000_000), "no signed order"),
        (Order(over=3, until=1_000_000_000), "has expired"),
    ],
    ids=["for devices that ran an older one", "expired"],
)
def test_an_order_for_others_or_from_long_ago_does_not_count(server, good, order, words):
    old = variant(2.0, version="2")
    server.offer(old)
    server.signer.vouch(old, order)
    server.publish_metadata()
    server.wish(old.digest, "p-2")

    assert words in server.ended("p-2", "rejected").reason


# --- Clocks ---


@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_that_is_years_off_is_the_reason(server, good, monkeypatch, years):
    there, before = good
    monkeypatch.setattr(provenance, "clock", lambda: time.time() + years * 365 * DAY)
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")

    reason = server.ended("p-2", "rejected").reason
    assert reason.startswith("This device's clock is off: it says 20")
    assert there.saved.active.manifest == before.digest
    monkeypatch.undo()
    server.wish(new.digest, "p-3")
    server.ended("p-3", "active")


def test_a_clock_that_is_set_after_boot_is_waited_for(server, good, monkeypatch):
    monkeypatch.setattr(steps, "CLOCK_SECONDS", 60.0)
    monkeypatch.setattr(steps, "CLOCK_POLL_SECONDS", 0.5)
    monkeypatch.setattr(provenance, "clock", lambda: 0.0)
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")
    wait_for(
        "a word about the clock", lambda: any("it says 1970-01-01" in report.step for report in server.reports("p-2"))
    )
    assert {each.state for each in server.reports("p-2")} == {"notified"}
    monkeypatch.setattr(provenance, "clock", time.time)

    server.ended("p-2", "active")


def test_a_clock_behind_does_not_hide_what_has_expired(server, good, monkeypatch):
    """Frozen metadata of a month ago, and a clock to match: the device has seen newer ones."""
    monkeypatch.setattr(provenance, "clock", lambda: time.time() - 30 * DAY)
    server.signer.now = days_ago(30)
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")

    assert "clock is off" in server.ended("p-2", "rejected").reason


def test_metadata_that_nobody_renews_are_told_from_a_clock(server, good):
    server.signer.now = days_ago(20)
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")

    reason = server.ended("p-2", "rejected").reason
    assert "has expired" in reason and "Nobody renews it" in reason and "The server's clock said" in reason


# --- Keys that change ---


def replace_root(root, old, new):
    root.add_key(new.public_key, "root")
    root.revoke_key(old.public_key.keyid, "root")


def test_a_device_follows_every_root_that_it_missed(server, good):
    there, _ = good
    chain = [ROOT_KEY, *(signing.CryptoSigner.generate_ed25519() for _ in range(3))]
    for old, new in itertools.pairwise(chain):
        server.signer.follow_root(lambda root, old=old, new=new: replace_root(root, old, new), old, new)
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")

    server.ended("p-2", "active")
    kept = there.data / "trust/trusted/root.json"
    assert json.loads(kept.read_text())["signed"]["version"] == 4


def test_a_revoked_key_signs_nothing_any_more(server, good):
    """Signed by the key that the device trusted when it was enrolled."""
    revoked, kept = server.signer.keys.pop(TARGETS_KEY.public_key.keyid), signing.CryptoSigner.generate_ed25519()
    server.signer.keys[kept.public_key.keyid] = kept

    def change(root):
        root.revoke_key(revoked.public_key.keyid, "targets")
        root.add_key(kept.public_key, "targets")

    server.signer.follow_root(change, ROOT_KEY)
    new = variant(2.0, version="4")
    server.signer.vouch(new)
    resign("targets", revoked)(server)
    server._parts.update(new.parts)
    server.publish_metadata()
    server.publish(topics.manifest(new.digest), new.data, retain=True)
    server.wish(new.digest, "p-2")

    assert "lacks a signature" in server.ended("p-2", "rejected").reason


def test_a_damaged_copy_on_the_disk_does_no_harm(server, good):
    there, _ = good
    for path in there.data.joinpath("trust/trusted").rglob("*.json"):
        path.write_bytes(b"")
    new = variant(2.0, version="4")
    server.offer(new)
    server.wish(new.digest, "p-2")

    server.ended("p-2", "active")


def test_a_device_without_a_root_says_what_to_do(server, device):
    there = device()
    (there.data / "root.json").unlink()
    made = variant()
    server.offer(made)
    server.wish(made.digest, "p-1")

    assert "enroll it again" in server.ended("p-1", "rejected").reason


def test_the_root_of_enrollment_is_kept(server, agent):
    made = variant()
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")
    assert (there.data / "root.json").read_bytes() == signing.ROOT


def test_the_agent_itself_never_loads_the_framework(server, agent):
    """It is 25 MB that a device which is not updating has no use for."""
    made = variant()
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    maps = Path(f"/proc/{there.pid}/maps").read_text()

    assert "cryptography" not in maps and "_rust" not in maps
