"""Private keys as files, readable by their owner alone: those of the root apart from those that sign every day.

keys/root/    the root's; may be taken away, to a machine or a stick that is not connected
keys/online/  those of targets, and of snapshot and timestamp; the server cannot release without them
"""

import os
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from securesystemslib.signer import CryptoSigner

from fleet.errors import Refused

Place = Literal["root", "online"]
#: How many letters of a key's id people see and type.
SHORT = 12


def folder(place: Place) -> Path:
    return settings.KEYS_DIR / place


def make(path: Path) -> CryptoSigner:
    """A new key, its private half written to `path`. Raises Refused when something lies there."""
    signer = CryptoSigner.generate_ed25519()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as problem:
        raise Refused(f"{path} is there already: a key is never written over.") from problem
    with os.fdopen(descriptor, "wb") as file:
        file.write(signer.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    return signer


def make_in(place: Place) -> CryptoSigner:
    """A new key in the server's own folder, under a name that begins with its id."""
    signer = make(folder(place) / "new.pem")
    os.replace(folder(place) / "new.pem", _path(place, signer.public_key.keyid))
    return signer


def read(path: Path) -> CryptoSigner:
    """Raises Refused for a file that is no private key."""
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise Refused(f"{path} is no private key (PEM, PKCS 8, without a password): {problem}") from problem


def here(place: Place) -> dict[str, CryptoSigner]:
    """The private keys in the server's folder, by key id."""
    signers = map(read, sorted(folder(place).glob("*.pem")))
    return {signer.public_key.keyid: signer for signer in signers}


def forget(keyid: str) -> bool:
    """Remove a private key that nobody trusts any more. False when it does not lie here."""
    found = [path for place in ("root", "online") if (path := _path(place, keyid)).exists()]
    for path in found:
        path.unlink()
    return bool(found)


def _path(place: Place, keyid: str) -> Path:
    return folder(place) / f"{keyid[:SHORT]}.pem"
