"""The artifact store keeps what it was given, whole or not at all."""

import hashlib

import pytest

from fleet.catalog import store
from fleet.errors import Refused


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.ARTIFACTS_DIR = tmp_path / "artifacts"
    return settings.ARTIFACTS_DIR


def test_what_is_put_in_comes_out_by_its_digest():
    digest, size = store.put([b"abc", b"def"])
    assert (digest, size) == (hashlib.sha256(b"abcdef").hexdigest(), 6)
    assert store.read(digest) == b"abcdef"
    assert store.read(digest, 2, 3) == b"cde"


def test_too_much_is_refused_and_leaves_nothing_behind(folder):
    with pytest.raises(Refused, match="limit of 5 bytes"):
        store.put(iter([b"abc"] * 1000), limit=5)
    assert list(folder.iterdir()) == []


def test_a_stream_that_breaks_leaves_nothing_behind(folder):
    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.put(broken())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "AB" * 32, "ab" * 31, "ab" * 32 + "\n"])
def test_what_is_no_digest_is_no_path(name):
    with pytest.raises(ValueError, match="is no SHA-256"):
        store.path(name)
