"""Open pages hear of a change through Redis at once, and without it a little later."""

import asyncio
import os
import time
from contextlib import aclosing

import pytest
import redis
from django.db import connection, transaction
from django.test import override_settings

from fleet.audit import wake
from fleet.audit.models import Signal
from fleet.audit.services import announce
from fleet.dashboard import live

URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


@pytest.fixture
def events():
    try:
        redis.Redis.from_url(URL, socket_connect_timeout=2).ping()
    except redis.RedisError as problem:
        pytest.skip(f"Redis is not there ({problem}): start it to test live events on it")
    with override_settings(EVENTS_URL=URL, REDIS_PREFIX=f"edgefleet-test-{os.getpid()}:"):
        wake._client.cache_clear()
        yield
        wake._client().close()
        wake._client.cache_clear()


async def knocks_within(seconds: float, change) -> float | None:
    """How long after `change` a listening door was knocked at; None when it was not."""
    door = wake.Door()
    try:
        await door.knocked(0.3)  # the subscription is there
        begun = time.monotonic()
        await asyncio.to_thread(change)
        try:
            await asyncio.wait_for(door.knocked(0.01), seconds)
        except TimeoutError:
            return None
        return time.monotonic() - begun
    finally:
        await door.close()


@pytest.mark.django_db(transaction=True)
def test_a_change_knocks_at_once(events):
    waited = asyncio.run(knocks_within(2, lambda: announce("fleet")))
    assert waited is not None
    assert Signal.objects.get().topics == ["fleet"]


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_does_not_knock(events):
    def change() -> None:
        with transaction.atomic():
            announce("fleet")
            transaction.set_rollback(True)

    assert asyncio.run(knocks_within(0.7, change)) is None


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_is_away_stops_nothing(caplog):
    with override_settings(EVENTS_URL="redis://127.0.0.1:1/0"):
        wake._client.cache_clear()
        announce("fleet")
        wake._client.cache_clear()
    assert Signal.objects.count() == 1
    assert "told a little later" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_an_open_page_hears_through_redis_long_before_it_would_look_again(events, monkeypatch):
    monkeypatch.setattr(live, "hub", live.Hub())
    monkeypatch.setattr(wake, "LONGEST", 60.0)

    def tell() -> None:
        announce("fleet")
        connection.close()

    async def scene() -> float:
        async with aclosing(live.stream(frozenset({"fleet"}))) as stream:
            await anext(stream)  # hello
            await asyncio.sleep(0.5)  # its first look is over; the next is a minute away
            begun = time.monotonic()
            await asyncio.to_thread(tell)
            said = await asyncio.wait_for(anext(stream), 5)
            assert "event: changed" in said
            return time.monotonic() - begun

    assert asyncio.run(scene()) < 2


def test_without_a_redis_it_is_a_sleep():
    async def look() -> float:
        door, begun = wake.Door(), time.monotonic()
        await door.knocked(0.05)
        await door.close()
        return time.monotonic() - begun

    assert 0.04 < asyncio.run(look()) < 1
