"""A knock on every web process when there are new signals, over Redis. The signals themselves are in the database.

Where no Redis is set, nobody knocks, and the reader of the signals looks again after its own interval.
"""

import asyncio
import contextlib
import functools
import logging

import redis
import redis.asyncio
from django.conf import settings
from django.db import transaction

log = logging.getLogger(__name__)

#: Longest wait for a Redis that is away: a knock is not worth holding a transaction's end up.
TIMEOUT = 0.5
#: Seconds until the next attempt to listen, and between two looks even when nobody knocks (a knock may be lost).
RETRY, LONGEST = 2.0, 5.0


def knock() -> None:
    """After the transaction's end."""
    if settings.EVENTS_URL:
        transaction.on_commit(_knock, robust=True)


def _knock() -> None:
    try:
        _client().publish(_channel(), b"")
    except redis.RedisError as problem:
        log.warning("open pages are told a little later: %s", problem)


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.EVENTS_URL, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)


def _channel() -> str:
    return f"{settings.REDIS_PREFIX}signals"


class Door:
    """Waits for knocks; lives on one event loop. Without a Redis, `knocked` is the same as a sleep."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._task = asyncio.create_task(self._listen()) if settings.EVENTS_URL else None

    async def knocked(self, interval: float) -> None:
        """Return after a knock, at the earliest after `interval` seconds; without one after `LONGEST`."""
        await asyncio.sleep(interval)
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), LONGEST - interval)
            self._heard.clear()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            try:
                async with redis.asyncio.Redis.from_url(settings.EVENTS_URL) as client, client.pubsub() as door:
                    await door.subscribe(_channel())
                    async for _ in door.listen():  # the subscription's own answer is the first: look at once
                        self._heard.set()
            except (redis.RedisError, OSError) as problem:
                log.warning("Redis is away (%s): open pages hear of changes up to %.0f s later", problem, LONGEST)
                await asyncio.sleep(RETRY)
