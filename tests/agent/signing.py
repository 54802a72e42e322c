"""Release metadata as a server signs them, with the server's own functions, and as an attacker would."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from agent.wire import metadata as names
from agent.wire.metadata import Order
from fleet.trust import repository
from tests.agent.variants import Variant

ROOT_KEY, TARGETS_KEY, ONLINE_KEY, STRANGER = (CryptoSigner.generate_ed25519() for _ in range(4))
KEYS = {signer.public_key.keyid: signer for signer in (ROOT_KEY, TARGETS_KEY, ONLINE_KEY)}


def _root() -> bytes:
    made = repository.first_root(
        [ROOT_KEY.public_key], TARGETS_KEY.public_key, ONLINE_KEY.public_key, datetime.now(UTC)
    )
    repository.sign(made, [ROOT_KEY])
    return repository.as_bytes(made)


#: The first root of every test: what a device in this process was enrolled with.
ROOT = _root()


class Signer:
    """`files` are what is to be published: name → bytes. Each signing makes new versions."""

    def __init__(self) -> None:
        self.root = ROOT
        self.files: dict[str, bytes] = {}
        self.roots = {1: ROOT}
        self.keys = dict(KEYS)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._targets: dict[str, tuple[int, Order]] = {}
        self._version = 0

    def vouch(self, variant: Variant, order: Order | None = None) -> None:
        self._targets[variant.digest] = (len(variant.data), order or Order())
        self.sign()

    def withdraw(self, variant: Variant) -> None:
        del self._targets[variant.digest]
        self.sign()

    def sign(self) -> None:
        """Everything below the root, one version on."""
        now, trusted = self.now(), repository.read_root(self.root).signed
        self._version += 1
        entries = [(digest, *told) for digest, told in self._targets.items()]
        made: dict[str, Metadata[Any]] = {
            "targets": repository.targets(self._version, entries, now),
            "snapshot": repository.snapshot(self._version, self._version, now),
            "timestamp": repository.timestamp(self._version, self._version, trusted.version, now),
        }
        self.files = {names.name("root", version): body for version, body in self.roots.items()}
        for role, metadata in made.items():
            name = names.name(role, None if role == "timestamp" else self._version)
            self.files[name] = repository.signed_by(trusted, role, metadata, self.keys)

    def name_of(self, role: str) -> str:
        return names.name(role, None if role == "timestamp" else self._version)

    def follow_root(self, change: Callable[[Any], None], *signers: CryptoSigner) -> None:
        """The next root, changed and signed by these; and everything below it anew."""
        made = repository.following(self.root, self.now())
        change(made.signed)
        repository.sign(made, signers)
        self.root = repository.as_bytes(made)
        self.roots[made.signed.version] = self.root
        self.sign()

    def resigned(self, role: str, signer: CryptoSigner, change: Callable[[Any], None] = lambda _: None) -> bytes:
        """The present file of a role, changed, and signed by `signer` alone."""
        metadata = Metadata[Any].from_bytes(self.files[self.name_of(role)])
        change(metadata.signed)
        metadata.sign(signer)
        return repository.as_bytes(metadata)


def days_ago(days: float) -> Callable[[], datetime]:
    """A clock that stands that many days in the past."""
    return lambda: datetime.now(UTC) - timedelta(days=days)
