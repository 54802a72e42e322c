"""Hashes of device and enrollment secrets.

Secrets are 256 bits at random, so a fast hash is enough; the parameters are those of mosquitto's dynamic security
(PBKDF2-HMAC-SHA512, 101 rounds, 64 bytes), so that one stored hash serves every broker adapter.
"""

import base64
import hashlib
import hmac
import secrets

ROUNDS = 101
SALT_BYTES = 12


def token_secret(key: str, token_id: str) -> str:
    """An enrollment token's secret: HMAC-SHA256 of its id, so that a broker can be told of it at any time.

    Only the server's own `key` gives it; the database, which holds its hash, does not.
    """
    made = hmac.digest(key.encode(), f"enrollment-token:{token_id}".encode(), "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


def digest(secret: str, salt: bytes) -> bytes:
    """64 bytes."""
    return hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, ROUNDS, dklen=64)


def matches(secret: str, salt: bytes, expected: bytes) -> bool:
    """Whether `secret` hashes to `expected`, in constant time."""
    return hmac.compare_digest(digest(secret, salt), bytes(expected))
