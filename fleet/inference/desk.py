"""Takes the requests of devices: who asks, may it, which model answers, and how long that took.

Lives on the web process's event loop. Queries run in a thread of their own; each model in a process of its own.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from fleet.brokers.follower import DatabaseThread
from fleet.brokers.rates import TokenBucket
from fleet.inference import quotas, serving
from fleet.inference.host import Host, Reply
from fleet.inference.logins import BEAT, Login, Logins
from fleet.inference.metering import Meter, write
from fleet.inference.quotas import Quota
from fleet.inference.refusal import Refusal
from fleet.inference.serving import Served

log = logging.getLogger(__name__)

#: Seconds for which it is remembered what answers for a version, and a device waits that broke a model.
SERVED_SECONDS, BROKE_SECONDS = 30.0, 60.0
#: Devices and versions that are remembered at once; beyond that everything is looked up anew.
MOST = 20_000
#: Bytes of all bodies that are on their way or being answered, together.
HELD = 256 * 1024**2


@dataclass(slots=True)
class _Device:
    """What this process remembers of one device."""

    bucket: TokenBucket
    broke_until: float = 0.0


class Desk:
    """One for each web process; made on its event loop."""

    def __init__(self) -> None:
        self._thread = DatabaseThread()
        self.meter = Meter()
        self._logins = Logins(self._thread.run, self.meter.process)
        self._quota = Quota(settings.INFERENCE_DEVICE_REQUESTS, settings.INFERENCE_DEVICE_BYTES)
        self._fleet = Quota(settings.INFERENCE_FLEET_REQUESTS, settings.INFERENCE_FLEET_BYTES)
        self._together = self._fleet.bucket(time.monotonic())
        self._devices: dict[str, _Device] = {}
        self._served: dict[tuple[str, ...], tuple[Served | None, float]] = {}
        self._hosts: dict[str, Host] = {}
        self._held = 0
        self._beating: asyncio.Task[None] | None = None

    async def enter(self, authorization: str) -> Login:
        """The device that asks. Raises Refusal."""
        self._beat()
        return await self._logins.check(authorization)

    def admit(self, login: Login, size: int) -> None:
        """Whether the device may send `size` bytes now; counts it. Raises Refusal: 429 beyond a quota."""
        now, today = time.monotonic(), timezone.now()
        device = self._device(login.device, now)
        if now < device.broke_until:
            wait = int(device.broke_until - now) + 1
            words = "A request of this device broke the model a moment ago; it is asked nothing for a minute."
            raise Refusal(429, "crash", words, wait, login.device)
        spent = login.elsewhere + self.meter.today(login.device, today)
        together = self._logins.elsewhere + self.meter.today("", today)
        for said in (
            quotas.refused(self._quota, "This device", device.bucket, spent, size, now),
            quotas.refused(self._fleet, "The fleet", self._together, together, size, now),
        ):
            if said:
                wait = said[1] or quotas.until_midnight(today.timestamp())
                raise Refusal(429, "quota", said[0], wait, login.device)
        device.bucket.take(now)
        self._together.take(now)

    @contextlib.contextmanager
    def room(self, login: Login, size: int) -> Iterator[None]:
        """Memory for a body while it is received and answered. Raises Refusal."""
        if self._held + size > HELD:
            raise Refusal(503, "busy", "Too many large requests at once. Try again in a moment.", 1, login.device)
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def served(self, login: Login, model: str, version: str) -> Served:
        """What answers the device: for the version it names, or for the one it should run. Raises Refusal."""
        key = (model, version) if model else ("", login.device, login.runs, login.should_run)
        known, until = self._served.get(key, (None, 0.0))
        if known is None or time.monotonic() >= until:
            ask = (lambda: serving.for_version(model, version)) if model else (lambda: serving.for_device(login))
            try:
                known = await self._thread.run(ask)
            except (DatabaseError, InterfaceError) as problem:
                raise Refusal(503, "model", "The database is away.", 5, login.device) from problem
            if len(self._served) >= MOST:
                self._served.clear()
            self._served[key] = (known, time.monotonic() + SERVED_SECONDS)
        if known is None:
            words = (
                f"The server has no variant of {model[:64]}@{version[:16]} that passed."
                if model
                else ("This device runs no model and should run none, so the server knows of none for it.")
            )
            raise Refusal(404, "model", words, device=login.device)
        return known

    async def ready(self, login: Login, served: Served, seconds: float) -> None:
        """Return once the model is loaded. Raises Refusal."""
        until = time.monotonic() + seconds
        await self._wait(login, self._host(served).warm(until), until)

    async def ask(
        self, login: Login, served: Served, kind: str, body: bytes, json_size: int | None, until: float
    ) -> Reply:
        """The model's answer, by `until` of the steady clock. Raises Refusal."""
        try:
            return await self._wait(login, self._host(served).ask(kind, body, json_size, until), until)
        except Refusal as refusal:
            if refusal.reason == "crash":
                self._device(login.device, time.monotonic()).broke_until = time.monotonic() + BROKE_SECONDS
            raise

    async def _wait(self, login: Login, answer, until: float) -> Reply:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise Refusal(504, "late", "There was no answer within the deadline.", device=login.device) from None
        except Refusal as refusal:
            refusal.device = login.device
            raise

    def _device(self, name: str, now: float) -> _Device:
        found = self._devices.get(name)
        if found is None:
            if len(self._devices) >= MOST:
                self._devices.clear()
            found = self._devices[name] = _Device(self._quota.bucket(now))
        return found

    def _host(self, served: Served) -> Host:
        """The process of a model, the one used last at the end; beyond the limit, the one used first gives way."""
        host = self._hosts.pop(served.manifest, None)
        if host is None or host.over:
            host = Host(served, lambda: self._folder(served), settings.INFERENCE_MEMORY)
        self._hosts[served.manifest] = host
        while len(self._hosts) > max(1, settings.INFERENCE_MODELS):
            self._hosts.pop(next(iter(self._hosts))).stop()
        return host

    @staticmethod
    def _folder(served: Served):
        from django.db import connection

        try:
            return serving.folder_of(served)
        finally:
            connection.close()  # of the host's thread, which needs none any more

    # --- What is done for all at once ---

    def _beat(self) -> None:
        if self._beating is None or self._beating.done():
            # A context of its own: the request's one ends with the request.
            self._beating = asyncio.create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        """Store what was counted and look at the logins again, while anybody comes."""
        rows: list = []
        while True:
            await asyncio.sleep(BEAT)
            rows = self.meter.take() or rows
            try:
                if rows:
                    await self._thread.run(lambda rows=rows: write(rows))
                    rows = []
                await self._logins.refresh()
            except (DatabaseError, InterfaceError) as problem:
                log.warning("usage of the server's inference is stored later: %s", str(problem).strip())
                continue
            if not self._logins.any and not rows:
                return
