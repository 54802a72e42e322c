"""The agent's files of models."""

import pytest

from agent.deployment import trust
from agent.deployment.records import Saved
from agent.deployment.store import Store
from agent.wire.messages import Config
from tests.agent.variants import Variant, variant


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def put_parts(store: Store, made: Variant) -> None:
    for digest, data in made.parts.items():
        (store.parts / digest).write_bytes(data)


def install(store: Store, made: Variant) -> None:
    put_parts(store, made)
    assert store.install(made.digest, made.manifest, made.data)


# --- Memory ---


def test_the_state_survives(store):
    store.write_state(Saved(desired_version=7, config=Config(mode="slim")))

    assert store.read_state() == Saved(desired_version=7, config=Config(mode="slim"))


def test_there_is_no_state_at_first(store):
    assert store.read_state() == Saved()


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"schema": 2}', b'{"attempt": {"state": "lost"}}'])
def test_a_state_that_cannot_be_read_is_put_aside(store, tmp_path, damage, caplog):
    (tmp_path / "state.json").write_bytes(damage)

    assert store.read_state() == Saved()
    assert (tmp_path / "state.damaged").read_bytes() == damage
    assert "cannot be read" in caplog.text


def test_a_power_cut_while_writing_leaves_the_old_state(store, tmp_path):
    store.write_state(Saved(desired_version=1))
    (tmp_path / "state.json.tmp").write_bytes(b'{"desired_ver')  # what a cut leaves behind

    assert store.read_state().desired_version == 1
    store.write_state(Saved(desired_version=2))
    assert store.read_state().desired_version == 2


def test_nobody_else_can_read_it(store, tmp_path):
    store.write_state(Saved())
    made = tmp_path / "state.json"

    assert made.stat().st_mode & 0o077 == 0
    assert store.artifact("x").parent.stat().st_mode & 0o077 == 0


# --- Parts ---


def test_a_part_is_believed_after_its_digest_was_computed(store):
    made = variant()
    put_parts(store, made)

    assert all(store.has(part) for part in made.manifest.parts)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:]])
def test_a_damaged_part_is_removed(store, damage):
    made = variant()
    put_parts(store, made)
    part = made.manifest.parts[0]
    path = store.parts / part.digest
    path.write_bytes(damage(path.read_bytes()))

    assert not store.has(part)
    assert not path.exists()


def test_parts_of_an_installed_artifact_need_not_be_fetched(store):
    old, new = variant(1.0, ballast=500_000), variant(2.0, ballast=500_000)
    install(store, old)
    store.claim("test", [old.digest])
    store.collect()
    holdings = store.holdings()

    adopted = [part for part in new.manifest.parts if store.adopt(part, holdings)]
    shared = [part for part in new.manifest.parts if part.digest in old.parts]
    assert adopted == shared
    assert sum(part.size for part in adopted) > 0.5 * new.manifest.size
    assert all(store.has(part) for part in adopted)


def test_a_damaged_artifact_gives_no_parts(store):
    old = variant(1.0)
    install(store, old)
    for path in store.parts.iterdir():
        path.unlink()
    model = store.artifact(old.digest) / "model.onnx"
    model.write_bytes(b"x" * model.stat().st_size)
    holdings = store.holdings()

    adopted = {part.role for part in old.manifest.parts if store.adopt(part, holdings)}
    assert adopted == {"card", "golden"}


# --- Artifacts ---


def test_parts_become_files(store):
    made = variant(ballast=300_000)
    install(store, made)
    folder = store.artifact(made.digest)

    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "golden.npz", "manifest.json", "model.onnx"]
    assert (folder / "manifest.json").read_bytes() == made.data
    assert (folder / "model.onnx").read_bytes() == b"".join(made.parts[p.digest] for p in made.manifest.of("model"))
    assert store.installed(made.digest, made.manifest)
    assert store.manifest(made.digest) == made.manifest


def test_parts_of_two_releases_are_not_mixed(store):
    made, other = variant(1.0), variant(2.0)
    put_parts(store, made)
    part = made.manifest.of("golden")[0]
    (store.parts / part.digest).write_bytes(other.parts[other.manifest.of("golden")[0].digest])

    assert not store.install(made.digest, made.manifest, made.data)
    assert not store.artifact(made.digest).exists()


def test_what_lay_half_installed_is_removed_first(store):
    made = variant()
    half = store.artifact(made.digest).with_suffix(".new")
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half of it")
    install(store, made)

    assert store.installed(made.digest, made.manifest)
    assert not half.exists()


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "golden.npz", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "longer", "gone"])
def test_damage_to_any_file_is_found(store, name, damage):
    made = variant()
    install(store, made)
    path = store.artifact(made.digest) / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if damage == "flip" else data + b"x")

    assert not store.installed(made.digest, made.manifest)


def test_a_manifest_that_is_gone_says_so(store):
    with pytest.raises(trust.TrustError, match="not on the disk any more"):
        store.manifest("0" * 64)


# --- What may go ---


def test_only_what_is_claimed_stays(store):
    old, new, third = variant(1.0), variant(2.0), variant(3.0)
    for made in (old, new, third):
        install(store, made)
    store.keep_manifest(third.digest, third.data)
    store.claim("deployment", [old.digest, new.digest], fetching=new.manifest)
    store.collect()

    assert {path.name for path in store.artifact("x").parent.iterdir()} == {old.digest, new.digest}
    assert {path.name for path in store.parts.iterdir()} == set(new.parts)
    assert store.manifest_bytes(third.digest) is None


def test_partial_parts_of_what_is_being_fetched_stay(store):
    made = variant()
    partial = store.parts / f"{made.manifest.parts[0].digest}.partial"
    partial.write_bytes(b"x")
    store.claim("deployment", [], fetching=made.manifest)
    store.collect()
    assert partial.exists()

    store.claim("deployment", [])
    store.collect()
    assert not partial.exists()


def test_what_is_being_installed_stays_while_another_tidies_up(store):
    made = variant()
    half = store.artifact(made.digest).with_suffix(".new")
    half.mkdir()
    store.claim("benchmark", [made.digest], fetching=made.manifest)
    store.collect()
    assert half.exists()

    store.release("benchmark")
    store.collect()
    assert not half.exists()


def test_two_owners_keep_two_things(store):
    old, new = variant(1.0), variant(2.0)
    for made in (old, new):
        install(store, made)
    store.claim("deployment", [old.digest])
    store.claim("benchmark", [new.digest])
    store.collect()
    assert store.installed(new.digest, new.manifest)

    store.release("benchmark")
    store.collect()
    assert not store.artifact(new.digest).exists()
    assert store.installed(old.digest, old.manifest)
