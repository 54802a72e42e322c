"""Open pages hear of changes: from one reader, through a real web process, until either side goes away."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta

import httpx
import psutil
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from fleet.audit.models import Signal
from fleet.audit.services import announce
from fleet.dashboard import live
from tests.conftest import make_device
from tests.fleet.dashboard.server import same_database, web

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh_hub(monkeypatch):
    monkeypatch.setattr(live, "hub", live.Hub())
    monkeypatch.setattr(live, "INTERVAL", 0.02)


async def told(*topics: str) -> None:
    await asyncio.to_thread(_tell, topics)


def _tell(topics: tuple[str, ...]) -> None:
    announce(*topics)
    connection.close()


def event(text: str) -> tuple[str, object]:
    """(name, data) of one server-sent event; a comment has the name `:`."""
    if text.startswith(":"):
        return ":", None
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return fields["event"], json.loads(fields["data"])


async def following(stream) -> tuple[str, object]:
    return event(await asyncio.wait_for(anext(stream), 5))


# --- The hub --------------------------------------------------------------------------------------------------------


def test_a_page_hears_of_its_topics_and_of_no_others():
    async def scene():
        async with aclosing(live.stream(frozenset({"fleet", "device:d-1"}))) as stream:
            assert await following(stream) == ("hello", {})
            await told("device:d-2", "jobs")
            await told("device:d-1", "rollout:3")
            assert await following(stream) == ("changed", ["device:d-1"])

    asyncio.run(scene())


def test_a_flood_of_changes_is_one_message():
    async def scene():
        async with aclosing(live.stream(frozenset({"fleet", "jobs"}))) as stream:
            await following(stream)
            for _ in range(40):
                await told("fleet", "jobs")
            deadline = asyncio.get_running_loop().time() + 3
            while live.hub.listeners and not all(listener.changed for listener in live.hub.listeners):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)
            assert await following(stream) == ("changed", ["fleet", "jobs"])

    asyncio.run(scene())


def test_what_happened_while_the_page_was_loading_is_not_missed():
    announce("device:d-1")

    async def scene():
        async with aclosing(live.stream(frozenset({"device:d-1"}))) as stream:
            await following(stream)
            assert await following(stream) == ("changed", ["device:d-1"])
            # Somebody who comes a little later hears of it as well.
            async with aclosing(live.stream(frozenset({"device:d-1"}))) as second:
                await following(second)
                assert await following(second) == ("changed", ["device:d-1"])

    asyncio.run(scene())


def test_a_device_that_falls_silent_is_told_of_though_nobody_announces_it(monkeypatch, settings):
    monkeypatch.setattr(live, "SILENCE", timedelta(seconds=0.1))
    settings.OFFLINE_AFTER_SECONDS = 1
    quiet = make_device(online=True, last_seen=timezone.now(), sample_at=timezone.now())
    gone = make_device(online=True, last_seen=timezone.now() - timedelta(hours=1))

    async def scene():
        async with aclosing(live.stream(frozenset({"devices", f"device:{quiet.pk}", f"device:{gone.pk}"}))) as stream:
            await following(stream)
            assert await following(stream) == ("changed", [f"device:{quiet.pk}", "devices"])

    asyncio.run(scene())


def test_old_signals_are_not_told_again():
    Signal.objects.create(topics=["fleet"], at=timezone.now() - timedelta(minutes=1))

    async def scene():
        async with aclosing(live.stream(frozenset({"fleet", "jobs"}))) as stream:
            await following(stream)
            await told("jobs")
            assert await following(stream) == ("changed", ["jobs"])

    asyncio.run(scene())


def test_a_signal_that_commits_late_is_told_all_the_same():
    """Its number is smaller than one that was already read: a longer transaction took it first."""

    def late() -> None:
        Signal.objects.create(id=1_000_000 - 1, topics=["late"])
        connection.close()

    Signal.objects.create(id=1_000_000, topics=["early"])

    async def scene():
        async with aclosing(live.stream(frozenset({"early", "late"}))) as stream:
            await following(stream)
            assert await following(stream) == ("changed", ["early"])
            await asyncio.to_thread(late)
            assert await following(stream) == ("changed", ["late"])

    asyncio.run(scene())


def test_one_reader_serves_every_page_and_stops_with_the_last(monkeypatch):
    reads: list[str] = []
    read = live._read
    monkeypatch.setattr(live, "_read", lambda low: reads.append(threading.current_thread().name) or read(low))

    async def scene():
        streams = [live.stream(frozenset({"fleet"})) for _ in range(200)]
        for stream in streams:
            await anext(stream)
        assert len(live.hub.listeners) == 200
        await told("fleet")
        for stream in streams:
            assert (await following(stream))[0] == "changed"
        assert len(set(reads)) == 1
        assert len(reads) < 200
        for stream in streams:
            await stream.aclose()
        assert not live.hub.listeners
        before = len(reads)
        await asyncio.sleep(live.INTERVAL * 5)
        assert len(reads) <= before + 1
        assert live.hub._task is None

    asyncio.run(scene())


def test_a_page_is_told_when_the_database_is_away_and_when_it_is_back(monkeypatch):
    broken = threading.Event()
    read = live._read

    def sometimes(low: int):
        if broken.is_set():
            raise OperationalError("the database is away")
        return read(low)

    monkeypatch.setattr(live, "_read", sometimes)

    async def scene():
        async with aclosing(live.stream(frozenset({"fleet"}))) as stream:
            await following(stream)
            await told("fleet")
            assert await following(stream) == ("changed", ["fleet"])
            broken.set()
            assert await following(stream) == ("stale", {})
            broken.clear()
            assert await following(stream) == ("fresh", {})

    asyncio.run(scene())


def test_a_quiet_stream_is_kept_alive_and_ends_after_its_time(monkeypatch):
    monkeypatch.setattr(live, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(live, "LIFETIME", 0.2)

    async def scene():
        seen = [event(text)[0] async for text in live.stream(frozenset({"fleet"}))]
        assert seen[0] == "hello"
        assert set(seen[1:]) == {"here"}
        assert not live.hub.listeners

    asyncio.run(scene())


@pytest.mark.parametrize(
    "query",
    [
        "",
        "topics=",
        "topics=,,",
        "topics=Fleet",
        "topics=device:../x",
        "topics=" + ",".join(f"job:{n}" for n in range(99)),
        "topics=a%0Adata:x",
    ],
)
def test_topics_that_are_none_are_refused(viewer, query):
    assert viewer.get(f"/live?{query}").status_code == 400


def test_there_is_an_end_to_the_number_of_streams(viewer, monkeypatch):
    monkeypatch.setattr(live, "MAX_STREAMS", 0)
    assert viewer.get("/live?topics=fleet").status_code == 503


# --- Through a real process -----------------------------------------------------------------------------------------


@pytest.fixture
def cookies(viewer) -> dict[str, str]:
    return {"sessionid": viewer.cookies["sessionid"].value}


def events(answer: httpx.Response) -> Iterator[tuple[str, object]]:
    block: list[str] = []
    for line in answer.iter_lines():
        if line:
            block.append(line)
        elif block:
            yield event("\n".join(block))
            block = []


def test_a_change_reaches_an_open_page_within_two_seconds(cookies, server):
    with httpx.stream("GET", f"{server.address}/live?topics=device:d-1", cookies=cookies, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Content-Security-Policy"]
        heard = events(answer)
        assert next(heard) == ("hello", {})
        began = time.monotonic()
        announce("device:d-1")
        assert next(heard) == ("changed", ["device:d-1"])
        assert time.monotonic() - began < 2


def test_strangers_get_no_stream(server):
    answer = httpx.get(f"{server.address}/live?topics=fleet", timeout=10)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login")


def test_a_session_that_ended_gets_no_stream(viewer, cookies, server):
    viewer.post("/logout")
    assert httpx.get(f"{server.address}/live?topics=fleet", cookies=cookies, timeout=10).status_code == 302


def test_pages_that_go_away_leave_nothing_behind(cookies, server):
    """Many pages come and go; the process holds as much memory and as many files as before."""

    def visit(count: int) -> None:
        for _ in range(count):
            with httpx.stream("GET", f"{server.address}/live?topics=fleet", cookies=cookies, timeout=10) as answer:
                assert next(events(answer)) == ("hello", {})

    visit(20)
    watched = psutil.Process(server.process.pid)
    files, memory = watched.num_fds(), watched.memory_info().rss
    visit(60)
    # A connection to the database is three files, and some may be open at any moment; a leak would be 60 and more.
    deadline = time.monotonic() + 5
    while watched.num_fds() > files + 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert watched.num_fds() <= files + 12
    assert watched.memory_info().rss < memory + 20e6


def test_streams_do_not_hold_up_the_end_of_the_server(cookies, tmp_path):
    with (
        web(same_database(), tmp_path / "web.log") as server,
        httpx.stream("GET", f"{server.address}/live?topics=fleet", cookies=cookies, timeout=10) as answer,
    ):
        heard = events(answer)
        assert next(heard) == ("hello", {})
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert list(heard) == [], "the stream ends by itself, and not by a cut"
        server.process.wait(5)
        assert time.monotonic() - began < 5
