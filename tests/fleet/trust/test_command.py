"""`manage.py keys`, as a person uses it: look, rotate, revoke, and keep the root elsewhere."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from tuf.api.metadata import Metadata as Signed

from agent.deployment.verification import RefusedError
from agent.wire import topics
from fleet.gateway import outbox
from fleet.trust import keys, repository, services
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db


def run(*words: object) -> str:
    out = StringIO()
    call_command("keys", *map(str, words), stdout=out)
    return out.getvalue()


@pytest.fixture
def digest() -> str:
    variants = list(make_release().variants.select_related("version"))
    services.vouch(variants)
    return variants[0].manifest_digest


def root():
    return repository.read_root(bytes(services.root().body)).signed


def test_it_shows_roles_keys_and_expiry():
    shown = run()

    for role in ("root", "targets", "snapshot", "timestamp"):
        assert role in shown
    assert "1 of 1" in shown and "elsewhere" not in shown and "EXPIRED" not in shown


@pytest.mark.parametrize("kind", ["root", "targets", "online"])
def test_keys_are_rotated_and_devices_follow(reader, digest, kind, django_capture_on_commit_callbacks):
    reader.check(digest)
    before = set(root().keys)
    with django_capture_on_commit_callbacks(execute=True):
        assert "Root 2 is in force" in run("rotate", kind)
    gone = before - set(root().keys)

    assert len(gone) == 1
    assert not gone & {*keys.here("root"), *keys.here("online")}, "a key that nobody trusts is not kept"
    assert reader.check(digest)


def test_a_revoked_online_key_is_replaced(reader, digest, django_capture_on_commit_callbacks):
    (revoked,) = root().roles["targets"].keyids
    with django_capture_on_commit_callbacks(execute=True):
        run("revoke", revoked[:8])

    assert revoked not in root().keys
    assert reader.check(digest)


def test_the_root_is_taken_offline_and_signs_from_there(reader, digest, tmp_path, django_capture_on_commit_callbacks):
    stick = tmp_path / "stick"
    (first,) = root().roles["root"].keyids
    for name in ("a", "b"):
        run("create", stick / f"{name}.pem")
        run("add", stick / f"{name}.pem.pub")
    run("threshold", 2, "--export", stick / "next.json")
    _signed(stick, "a")
    assert "Root 4 is in force" in run("import", stick / "next.json")
    # The key that lay here goes; what is left is on the stick, and both have to sign.
    answer = run("revoke", first[:8], "--export", stick / "next.json")
    assert "Nothing has changed yet" in answer and "keys sign" in answer
    _signed(stick, "a")
    with pytest.raises(CommandError, match="needs 1 more signature"):
        run("import", stick / "next.json")
    _signed(stick, "b")
    with django_capture_on_commit_callbacks(execute=True):
        run("import", stick / "next.json")

    assert keys.here("root") == {}
    assert first not in root().keys and root().roles["root"].threshold == 2
    assert "(elsewhere)" in run("show")
    assert reader.check(digest), "a device follows from the first root to the fifth"
    with pytest.raises(CommandError, match="--export FILE"):
        run("rotate", "targets")


def _signed(stick: Path, name: str) -> None:
    assert "have to sign" in run("sign", stick / "next.json", "--key", stick / f"{name}.pem")


def test_an_online_key_is_rotated_while_the_root_is_elsewhere(reader, digest, tmp_path):
    (path,) = keys.folder("root").iterdir()
    key = path.rename(tmp_path / "root.pem")
    run("rotate", "online", "--export", tmp_path / "next.json")
    assert reader.check(digest), "until it is signed, nothing changes"
    run("sign", tmp_path / "next.json", "--key", key)
    run("import", tmp_path / "next.json")

    assert root().version == 2
    assert reader.check(digest)


def test_what_was_exported_before_another_change_is_refused(tmp_path, digest):
    (path,) = keys.folder("root").iterdir()
    away = path.rename(tmp_path / "root.pem")
    run("renew", "--export", tmp_path / "next.json")
    run("sign", tmp_path / "next.json", "--key", away)
    away.rename(path)
    run("renew")
    with pytest.raises(CommandError, match="It is root 2; the next one is root 3"):
        run("import", tmp_path / "next.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("threshold", "2"), "the root would have 1 keys and need 2 signatures"),
        (("threshold", "0"), "At least one key"),
        (("revoke", "zz"), "0 keys of the root begin with"),
        (("import", "{junk}"), "no metadata of The Update Framework"),
        (("add", "{junk}"), "no public key"),
        (("create", "{junk}"), "never written over"),
        (("import", "/nowhere/at/all"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tmp_path, words, said):
    junk = tmp_path / "junk"
    junk.write_text("{}")
    with pytest.raises(CommandError, match=f"(?i){said}"):
        run(*(word.format(junk=junk) for word in words))
    assert root().version == 1


def test_a_thief_of_the_online_keys_does_not_outlive_their_rotation(reader, digest, django_capture_on_commit_callbacks):
    """What was signed by the old key after the device has seen the new root is refused."""
    old = dict(keys.here("online"))
    with django_capture_on_commit_callbacks(execute=True):
        run("rotate", "online")
    reader.check(digest)
    forged = Signed.from_bytes(bytes(services._newest("timestamp").body))
    forged.signed.version += 1
    forged.signatures.clear()
    for signer in old.values():
        forged.sign(signer, append=True)
    outbox.put([outbox.message(topics.metadata("timestamp"), forged.to_bytes(), retain=True)])
    with pytest.raises(RefusedError, match="lacks a signature"):
        reader.check(digest)
