"""What devices trust: signed as it is decided, in the transaction that decided it, and published by the gateway.

Rows are the truth (`Target`); the targets' metadata is made of them. Whoever signs holds the lock of `_locked`, so
versions rise and the outbox holds them in order: what is named comes before what names it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import msgspec
from django.db import transaction
from django.utils import timezone

from agent.wire import manifest as wire
from agent.wire import metadata as names
from agent.wire import topics
from agent.wire.metadata import Order
from agent.wire.states import DEPLOYMENT_OPEN
from fleet.audit.models import Event
from fleet.audit.services import record
from fleet.catalog.models import Variant
from fleet.errors import Refused
from fleet.gateway import outbox
from fleet.gateway.models import Outbox
from fleet.trust import keys, repository
from fleet.trust.models import Metadata, Target

#: A timestamp says that nothing newer was kept back: it is signed again this often.
TIMESTAMP_EVERY = timedelta(hours=1)
#: The others are signed again when less than this share of their life is left.
RENEW_AT = 1 / 3
#: From here on people are told that the root has to be signed by somebody who has its keys.
ROOT_WARNING = timedelta(days=60)
#: Targets that fit into one message with room to spare. Beyond it, the oldest that no deployment waits for go.
MAX_TARGETS = 800
#: Versions of snapshot and targets that stay published: a device may be reading the one before.
KEPT = 2


# --- First start ----------------------------------------------------------------------------------------------------


@transaction.atomic
def ensure() -> None:
    """Keys and the first metadata, where there are none. Keys that lie here without metadata are taken.

    What was released before there was anything to sign with is signed for.
    """
    if Metadata.objects.filter(role="root").exists():
        return
    now = timezone.now()
    root = keys.here("root") or _keyed(keys.make_in("root"))
    online = keys.here("online")
    while len(online) < len(repository.ONLINE):
        online |= _keyed(keys.make_in("online"))
    first, second = list(online.values())[:2]
    made = repository.first_root([s.public_key for s in root.values()], first.public_key, second.public_key, now)
    repository.sign(made, root.values())
    _store("root", made.signed.version, repository.as_bytes(made), made.signed.expires, now)
    released = Variant.objects.filter(releases__isnull=False).order_by("-releases__created_at")[:MAX_TARGETS]
    targets = {target.digest: target for target in map(_target, released)}
    Target.objects.bulk_create(targets.values(), ignore_conflicts=True)
    _sign(now)


def _keyed(signer) -> dict:
    return {signer.public_key.keyid: signer}


def root() -> Metadata:
    """The newest root. Made when there is none yet."""
    found = Metadata.objects.filter(role="root").last()
    if found is None:
        ensure()
        found = Metadata.objects.filter(role="root").last()
    return found


def for_enrollment() -> str:
    """What a device gets with its acceptance, and trusts from then on."""
    return bytes(root().body).decode()


# --- What is vouched for --------------------------------------------------------------------------------------------


@transaction.atomic
def vouch(variants: Iterable[Variant]) -> None:
    """Let devices install these. Two queries when they may already."""
    wanted = {variant.manifest_digest: variant for variant in variants}
    known = set(Target.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    new = [variant for digest, variant in wanted.items() if digest not in known]
    if not new:
        return
    _locked()
    Target.objects.bulk_create([_target(variant) for variant in new], ignore_conflicts=True)
    _forget_oldest()
    _sign(timezone.now(), targets=True)


def _target(variant: Variant) -> Target:
    manifest = msgspec.convert(variant.manifest, wire.Manifest)
    return Target(digest=variant.manifest_digest, length=len(wire.encode(manifest)))


def _forget_oldest() -> None:
    """Rolled out again, they are vouched for again."""
    from fleet.rollouts.models import Deployment  # rollouts know trust; only this looks back

    excess = Target.objects.count() - MAX_TARGETS
    if excess > 0:
        waited = Deployment.objects.filter(state__in=sorted(DEPLOYMENT_OPEN), variant__isnull=False)
        free = Target.objects.exclude(pk__in=waited.values("variant__manifest_digest"))
        Target.objects.filter(pk__in=list(free.values_list("pk", flat=True)[:excess])).delete()


@transaction.atomic
def order_back(variants: Iterable[Variant], over: int, until: datetime, by) -> None:
    """Sign an operator's order: devices that ran a version up to `over` may go back to these, until `until`."""
    chosen = list(variants)
    vouch(chosen)
    _locked()
    Target.objects.filter(pk__in=[variant.manifest_digest for variant in chosen]).update(over=over, until=until)
    _sign(timezone.now(), targets=True)
    words = f"Signed that devices may go back from version {over} to {chosen[0].version}"
    record("trust.order_back", words, level="warn", actor=by, version=chosen[0].version)


@transaction.atomic
def end_order_back(variants: Iterable[Variant]) -> None:
    """The order is over. Nothing is signed when there was none."""
    ended = Target.objects.filter(pk__in=[variant.manifest_digest for variant in variants], over__gt=0)
    if ended.exists():
        _locked()
        ended.update(over=0, until=None)
        _sign(timezone.now(), targets=True)


# --- Renewal --------------------------------------------------------------------------------------------------------


@transaction.atomic
def renew(now: datetime) -> None:
    """Sign again what grows old. Safe to repeat."""
    ensure()
    _locked()
    if _old(_newest("root"), now, share=1 / 2):
        _renew_root(now)
    overdue = Target.objects.filter(over__gt=0, until__lt=now)
    ended = overdue.update(over=0, until=None)
    targets = bool(ended) or _old(_newest("targets"), now)
    snapshot = _old(_newest("snapshot"), now)
    if targets or snapshot or now - _newest("timestamp").signed_at >= TIMESTAMP_EVERY:
        _sign(now, targets=targets, snapshot=snapshot)


def _old(metadata: Metadata, now: datetime, share: float = RENEW_AT) -> bool:
    return metadata.expires_at - now < repository.LIFETIMES[metadata.role] * share


def _renew_root(now: datetime) -> None:
    """By itself where the root's keys lie here; else people are told in time."""
    current = root()
    proposal = repository.following(bytes(current.body), now)
    if not _signed_here(current, proposal):
        _install(proposal, now)
        return
    today = Event.objects.filter(kind="trust.root_expires", at__gt=timezone.now() - timedelta(days=1))
    if current.expires_at - now < ROOT_WARNING and not today.exists():
        record(
            "trust.root_expires",
            f"The root of trust expires on {current.expires_at:%Y-%m-%d}: sign its successor",
            level="bad" if current.expires_at < now else "warn",
            detail="manage.py keys renew --export FILE writes what to sign. Without it devices refuse every update.",
        )


# --- Changes of the root --------------------------------------------------------------------------------------------


@transaction.atomic
def propose(change) -> tuple[bytes, list[str]]:
    """Change the next root with `change(root)` and sign it with the keys that lie here.

    Returns its bytes and what is still missing; with nothing missing it is already in force.
    """
    ensure()
    _locked()
    now = timezone.now()
    current = root()
    proposal = repository.following(bytes(current.body), now)
    change(proposal.signed)
    repository.check_threshold(proposal.signed)
    lacking = _signed_here(current, proposal)
    if not lacking:
        _install(proposal, now)
    return repository.as_bytes(proposal), lacking


@transaction.atomic
def install_root(body: bytes) -> int:
    """Put a root in force that was signed elsewhere; returns its version. Raises Refused with what it lacks."""
    _locked()
    proposal = repository.read_root(body)
    lacking = repository.missing(repository.read_root(bytes(root().body)), proposal)
    if lacking:
        raise Refused(" ".join(lacking))
    _install(proposal, timezone.now())
    return proposal.signed.version


def _signed_here(current: Metadata, proposal) -> list[str]:
    """Sign with every key of either root that lies here; what is missing after that."""
    before = repository.read_root(bytes(current.body))
    trusted = {*before.signed.roles["root"].keyids, *proposal.signed.roles["root"].keyids}
    repository.sign(proposal, [signer for keyid, signer in keys.here("root").items() if keyid in trusted])
    return repository.missing(before, proposal)


def _install(proposal, now: datetime) -> None:
    """The new root, and everything below it signed by the keys that it names. Revoked private keys are removed."""
    before = set(repository.read_root(bytes(root().body)).signed.keys)
    _store("root", proposal.signed.version, repository.as_bytes(proposal), proposal.signed.expires, now)
    _sign(now, targets=True)
    gone = before - set(proposal.signed.keys)
    transaction.on_commit(lambda: [keys.forget(keyid) for keyid in gone])
    record("trust.root", f"Root of trust {proposal.signed.version} is in force", level="warn")


# --- Signing and publishing -----------------------------------------------------------------------------------------


def _locked() -> None:
    """One signer at a time: versions must not be given twice. SQLite's transactions are one at a time anyway."""
    # The roots are the rows that stay: a lock on one that the last signer has replaced would hold nobody back.
    list(Metadata.objects.select_for_update().filter(role="root"))


def _newest(role: str) -> Metadata:
    return Metadata.objects.filter(role=role).last()


def _sign(now: datetime, *, targets: bool = False, snapshot: bool = False) -> None:
    """Sign the timestamp; before it, what changed. What was never signed is signed too."""
    current = root()
    trusted = repository.read_root(bytes(current.body)).signed
    online = keys.here("online")

    def put(role: str, made) -> int:
        _store(role, made.signed.version, repository.signed_by(trusted, role, made, online), made.signed.expires, now)
        return made.signed.version

    def version(role: str) -> int:
        last = _newest(role)
        return repository.next_version(last.version if last else 0, now)

    if targets or _newest("targets") is None:
        put("targets", repository.targets(version("targets"), _entries(), now))
        snapshot = True
    if snapshot or _newest("snapshot") is None:
        put("snapshot", repository.snapshot(version("snapshot"), _newest("targets").version, now))
    put("timestamp", repository.timestamp(version("timestamp"), _newest("snapshot").version, current.version, now))


def _entries() -> Iterator[tuple[str, int, Order]]:
    for row in Target.objects.iterator():
        until = int(row.until.timestamp()) if row.until else 0  # signed JSON has no fractions
        yield row.digest, row.length, Order(over=row.over, until=until)


def _store(role: str, version: int, body: bytes, expires: datetime, now: datetime) -> None:
    Metadata.objects.create(role=role, version=version, body=body, signed_at=now, expires_at=expires)
    outbox.put([_message(role, version, body)])
    if role == "root":
        return
    kept = 1 if role == "timestamp" else KEPT
    stale = list(Metadata.objects.filter(role=role).order_by("-version")[kept:])
    if role != "timestamp":  # the newest lies where the last one lay
        outbox.put(_message(row.role, row.version, b"") for row in stale)
    Metadata.objects.filter(pk__in=[row.pk for row in stale]).delete()


def _message(role: str, version: int, body: bytes) -> Outbox:
    name = names.name(role, None if role == "timestamp" else version)
    return outbox.message(topics.metadata(name), body, retain=True)


def retained() -> Iterator[Outbox]:
    """Everything that a broker should hold, what is named before what names it."""
    for role in ("root", "targets", "snapshot", "timestamp"):
        for row in Metadata.objects.filter(role=role):
            yield _message(row.role, row.version, bytes(row.body))
