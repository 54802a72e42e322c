"""Hashes of device and enrollment secrets.

Secrets are 256 bits at random, so a fast hash is enough; the parameters are those of mosquitto's dynamic security
(PBKDF2-HMAC-SHA512, 101 rounds, 64 bytes), so that one stored hash serves every broker adapter.
"""

import hashlib
import hmac
import secrets

ROUNDS = 101
SALT_BYTES = 12


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


def digest(secret: str, salt: bytes) -> bytes:
    """64 bytes."""
    return hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, ROUNDS, dklen=64)


def matches(secret: str, salt: bytes, expected: bytes) -> bool:
    """Whether `secret` hashes to `expected`, in constant time."""
    return hmac.compare_digest(digest(secret, salt), bytes(expected))
