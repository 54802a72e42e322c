"""Which device asks. A device's row is read when it comes, and then again with those of all others that come.

A login that is refused is looked up once more, at a bounded rate: it may have changed a moment ago. Who is retired, or
not set to hybrid any more, is refused within `BEAT` seconds.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models import Sum
from django.utils import timezone

from agent.wire.states import Admission
from agent.wire.topics import SAFE_ID
from fleet.brokers.rates import TokenBucket
from fleet.devices import credentials
from fleet.devices.models import Device
from fleet.inference.models import Usage
from fleet.inference.refusal import Refusal

#: Seconds between two looks at all the devices that come, and after which one that came no more is forgotten.
BEAT, FORGET = 2.0, 60.0
#: Seconds before a refused login is looked up again; lookups at once, and in the long run.
AGAIN, LOOKUPS, LOOKUPS_PER_SECOND = 0.5, 50, 20.0

Run = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Login:
    """A device as its row has it; elsewhere: bytes that other web processes had of it today."""

    device: str
    salt: bytes
    digest: bytes
    active: bool
    hybrid: bool
    runs: str
    should_run: str
    elsewhere: int
    read_at: float


class Logins:
    """`run` runs a query off the event loop; process is this one's name in Usage."""

    def __init__(self, run: Run, process: str) -> None:
        self._run = run
        self._process = process
        self._known: dict[str, Login] = {}
        self._used: dict[str, float] = {}
        self._lookups = TokenBucket(LOOKUPS, LOOKUPS_PER_SECOND, time.monotonic())
        salt = credentials.new_salt()
        #: Names that nobody has take as long as those that somebody has.
        self._decoy = (salt, credentials.digest(secrets.token_urlsafe(32), salt))
        #: Bytes that other web processes had of all devices today.
        self.elsewhere = 0

    async def check(self, authorization: str) -> Login:
        """Who asks. Raises Refusal: 401 for a wrong login, 403 for a device that is not set to hybrid."""
        name, secret = _parts(authorization)
        login = self._known.get(name)
        if (login is None or not (login.active and login.hybrid)) and SAFE_ID.match(name):
            login = await self._look_up(name, login)
        salt, digest = (login.salt, login.digest) if login else self._decoy
        if not credentials.matches(secret, salt, digest) or login is None or not login.active:
            raise Refusal(401, "login", "There is no such login: a device comes with its id and its own secret.")
        self._used[name] = time.monotonic()
        if not login.hybrid:
            words = "This device is not set to hybrid, so the server takes no observation of it."
            raise Refusal(403, "mode", words, device=name)
        return login

    async def refresh(self) -> None:
        """Look at all that are known again: three queries, however many they are. Raises DatabaseError."""
        cut = time.monotonic() - FORGET
        for name in [name for name in self._known if self._used.get(name, 0.0) < cut]:
            del self._known[name]
            self._used.pop(name, None)
        names = list(self._known)
        if names:
            self._known, self.elsewhere = await self._run(lambda: (read(names, self._process), _fleet(self._process)))

    @property
    def any(self) -> bool:
        return bool(self._known)

    async def _look_up(self, name: str, login: Login | None) -> Login | None:
        now = time.monotonic()
        if login is not None and now - login.read_at < AGAIN:
            return login
        if not self._lookups.take(now):
            raise Refusal(503, "busy", "Too many logins are looked up at once. Try again in a moment.", 1)
        try:
            found = await self._run(lambda: read([name], self._process))
        except (DatabaseError, InterfaceError) as problem:
            raise Refusal(503, "login", "The database is away, so the login cannot be checked.", 5) from problem
        if name not in found:
            return None
        self._known[name] = found[name]
        self._used[name] = now
        return found[name]


def read(names: Iterable[str], process: str) -> dict[str, Login]:
    """The logins of those names, by name. Two queries."""
    names, now = list(names), time.monotonic()
    rows = Device.objects.filter(pk__in=names).order_by()
    columns = ("pk", "salt", "digest", "admission", "retired_at", "config", "active_manifest", "desired_manifest")
    elsewhere = dict(_today(process).filter(device__in=names).values_list("device").annotate(Sum("bytes_in")))
    return {
        name: Login(
            name,
            bytes(salt),
            bytes(digest),
            admission == Admission.ACCEPTED and retired_at is None,
            config.get("mode") == "hybrid",
            runs,
            should_run,
            elsewhere.get(name, 0),
            now,
        )
        for name, salt, digest, admission, retired_at, config, runs, should_run in rows.values_list(*columns)
    }


def _today(process: str):
    midnight: datetime = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return Usage.objects.filter(hour__gte=midnight).exclude(process=process).order_by()


def _fleet(process: str) -> int:
    return _today(process).aggregate(total=Sum("bytes_in"))["total"] or 0


def _parts(authorization: str) -> tuple[str, str]:
    """Name and secret of a Basic login; both empty for what is none."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic" or len(given) > 512:
        return "", ""
    try:
        name, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, secret
