"""The signature of a webhook: HMAC-SHA256 over the time and the body, so that neither can be changed or replayed later.
Pure; a receiver in any language does what `verified` does."""

import hashlib
import hmac

#: `t=<Unix seconds>,v1=<hex>`
HEADER = "Edgefleet-Signature"
#: A receiver refuses what was signed longer ago, or is ahead by more.
TOLERANCE_SECONDS = 300


def sign(secret: str, body: bytes, at: int) -> str:
    return f"t={at},v1={_digest(secret, body, at)}"


def verified(secret: str, body: bytes, header: str, now: float) -> bool:
    """Whether somebody who knows the secret signed this body within the last minutes."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    at = parts.get("t", "")
    if not (at.isascii() and at.isdigit() and len(at) <= 12) or abs(now - int(at)) > TOLERANCE_SECONDS:
        return False
    return hmac.compare_digest(_digest(secret, body, int(at)), parts.get("v1", ""))


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
