"""What changed, to every open page: one reader of the signals for the whole process, whatever the number of viewers.

1. The first stream starts the reader; the last one to leave stops it.
2. Every `INTERVAL`, or after a knock (fleet.audit.wake), the reader asks once for signals it has not seen. Those of
   the last `OVERLAP` are asked for again: a transaction that began earlier may commit later with a smaller number.
3. Each stream holds the set of its topics that changed and were not sent yet: it coalesces, and cannot grow.
4. A device that falls silent announces nothing: every `SILENCE` the reader asks which ones did since it asked last.
5. A new stream first hears the signals of the last `OVERLAP`, which its page may just have missed.
"""

import asyncio
import contextvars
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from fleet.audit.models import Signal
from fleet.audit.wake import Door
from fleet.devices.liveness import passed
from fleet.devices.models import Device

log = logging.getLogger(__name__)

INTERVAL = 0.4
#: The same, where a knock is waited for on top.
KNOCK_INTERVAL = 0.1
OVERLAP = timedelta(seconds=5)
SILENCE = timedelta(seconds=5)
#: Devices that are named when they fall silent; lists of devices hear of any number.
NAMED = 1000
KEEP_ALIVE = 15.0
#: A stream ends after this long, and the browser opens the next: a person who lost access is noticed.
LIFETIME = 600.0
MAX_STREAMS = 2000
MAX_TOPICS = 32
#: Signals read at once; more than this between two looks only costs another look.
BATCH = 10_000


@dataclass(eq=False, slots=True)
class Listener:
    """One open page. changed: its topics that are to be sent; fresh: whether the signals can be read, None unsaid."""

    topics: frozenset[str]
    changed: set[str] = field(default_factory=set)
    fresh: bool | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, topics: Iterable[str]) -> None:
        mine = self.topics.intersection(topics)
        if mine:
            self.changed |= mine
            self.woken.set()

    def health(self, fresh: bool) -> None:
        if self.fresh is not fresh:
            self.fresh = fresh
            self.woken.set()


class Hub:
    """The reader and its listeners. Lives on one event loop; only `_read` runs in a thread of its own."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.closing = False
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[int, tuple[datetime, tuple[str, ...]]] = {}
        self._low = 0
        self._asked = timezone.now()

    def join(self, topics: frozenset[str]) -> Listener:
        listener = Listener(topics)
        for _, announced in self._seen.values():
            listener.tell(announced)
        self.listeners.add(listener)
        if self._task is None or self._task.done():
            # A context of its own: the request's one holds a thread pool that ends with the request.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        return listener

    def leave(self, listener: Listener) -> None:
        self.listeners.discard(listener)
        if not self.listeners and self._task is not None:
            self._task.cancel()
            self._task = None
            self._seen = {}

    def close(self) -> None:
        """The server stops: let every stream end by itself, so that it need not wait for any of them."""
        self.closing = True
        for listener in self.listeners:
            listener.woken.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._seen, self._low, self._asked = {}, 0, timezone.now()
        thread = ThreadPoolExecutor(1, thread_name_prefix="live")
        door = Door()
        try:
            while True:
                await self._look(loop, thread)
                await door.knocked(INTERVAL if not settings.EVENTS_URL else KNOCK_INTERVAL)
        finally:
            await door.close()
            thread.submit(connection.close)
            thread.shutdown(wait=False)

    async def _look(self, loop: asyncio.AbstractEventLoop, thread: ThreadPoolExecutor) -> None:
        try:
            rows = await loop.run_in_executor(thread, _read, self._low)
            announced = set(await loop.run_in_executor(thread, self._silent))
        except Error as problem:
            if any(listener.fresh is not False for listener in self.listeners):
                log.warning("Open pages are not told of changes: the signals cannot be read: %s", problem)
            for listener in self.listeners:
                listener.health(False)
            return
        for number, at, topics in rows:
            if number not in self._seen:
                self._seen[number] = (at, tuple(topics))
                announced.update(topics)
        self._forget(timezone.now() - OVERLAP)
        for listener in self.listeners:
            listener.health(True)
            listener.tell(announced)

    def _silent(self) -> list[str]:
        now = timezone.now()
        if now - self._asked < SILENCE:
            return []
        fell = list(Device.objects.filter(passed(self._asked, now)).values_list("pk", flat=True)[:NAMED])
        self._asked = now
        return ["fleet", "devices", "groups", *(f"device:{pk}" for pk in fell)] if fell else []

    def _forget(self, before: datetime) -> None:
        old = [number for number, (at, _) in self._seen.items() if at < before]
        if old:
            self._low = max(self._low, *old)
            for number in old:
                del self._seen[number]


def _read(low: int) -> list[tuple[int, datetime, list[str]]]:
    close_old_connections()
    rows = Signal.objects.filter(id__gt=low).order_by("id")
    if low == 0:
        rows = rows.filter(at__gt=timezone.now() - OVERLAP)
    return list(rows.values_list("id", "at", "topics")[:BATCH])


hub = Hub()


async def stream(topics: frozenset[str]) -> AsyncIterator[str]:
    """Server-sent events: `hello`, `changed` with its topics, `stale`, `fresh`; `here` when there is nothing to say."""
    _end_with_the_server()
    listener = hub.join(topics)
    ends = asyncio.get_running_loop().time() + LIFETIME
    told: bool | None = None
    try:
        yield "retry: 2000\nevent: hello\ndata: {}\n\n"
        while not hub.closing and asyncio.get_running_loop().time() < ends:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await listener.woken.wait()
            except TimeoutError:
                yield "event: here\ndata: {}\n\n"
                continue
            listener.woken.clear()
            if listener.fresh is not None and listener.fresh is not told:
                if not (told is None and listener.fresh):
                    yield f"event: {'fresh' if listener.fresh else 'stale'}\ndata: {{}}\n\n"
                told = listener.fresh
            if listener.changed:
                changed, listener.changed = sorted(listener.changed), set()
                yield f"event: changed\ndata: {json.dumps(changed)}\n\n"
    finally:
        hub.leave(listener)


_hooked = False


def _end_with_the_server() -> None:
    """Hear of the server's end. A server waits for its responses, and these ones would never end by themselves."""
    global _hooked
    if _hooked or threading.current_thread() is not threading.main_thread():
        return
    _hooked = True
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            continue

        def ending(received, frame, before=before):
            loop.call_soon_threadsafe(hub.close)
            before(received, frame)

        signal.signal(number, ending)
