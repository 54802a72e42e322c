"""Who may ask, when the database is away and when strangers come in numbers."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError

from fleet.brokers.follower import DatabaseThread
from fleet.devices.models import Device
from fleet.inference.logins import LOOKUPS, Logins
from fleet.inference.refusal import Refusal
from tests.fleet.inference.conftest import hybrid_device, secret_of


class Database:
    """The real one, in a thread of its own, counting what it is asked; `away` makes it fail as one that is gone."""

    def __init__(self) -> None:
        self._thread = DatabaseThread()
        self.asked = 0
        self.away = False

    async def run(self, query: Callable[[], Any]) -> Any:
        self.asked += 1
        if self.away:
            raise OperationalError("the server closed the connection unexpectedly")
        return await self._thread.run(query)

    def close(self) -> None:
        self._thread.close(5)


@pytest.fixture
def database(transactional_db) -> Iterator[Database]:
    made = Database()
    yield made
    made.close()


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def refusal(logins: Logins, login: str) -> Refusal:
    with pytest.raises(Refusal) as problem:
        asyncio.run(logins.check(login))
    return problem.value


def test_a_device_that_is_known_costs_no_query_and_goes_on_without_a_database(database):
    device = hybrid_device()
    logins, login = Logins(database.run, "p"), basic(device.pk, secret_of(device))
    for _ in range(50):
        assert asyncio.run(logins.check(login)).device == device.pk
    assert database.asked == 1

    database.away = True
    with pytest.raises(OperationalError):
        asyncio.run(logins.refresh())
    assert asyncio.run(logins.check(login)).device == device.pk
    other = hybrid_device()
    assert refusal(logins, basic(other.pk, secret_of(other))).status == 503, "not a wrong login: nobody knows"


def test_a_look_at_all_finds_who_was_retired_or_got_another_secret(database):
    device, deleted = hybrid_device(), hybrid_device()
    logins = Logins(database.run, "p")
    for each in (device, deleted):
        asyncio.run(logins.check(basic(each.pk, secret_of(each))))
    Device.objects.filter(pk=device.pk).update(admission="rejected")
    deleted.delete()
    asyncio.run(logins.refresh())
    assert refusal(logins, basic(device.pk, secret_of(device))).status == 401
    assert refusal(logins, basic("d-gone", "x")).status == 401


def test_strangers_in_numbers_do_not_reach_the_database_each(database):
    logins = Logins(database.run, "p")
    strangers = [basic(f"d-stranger-{number}", "x" * 32) for number in range(10 * LOOKUPS)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*map(logins.check, strangers), return_exceptions=True)

    assert {problem.status for problem in asyncio.run(all_at_once())} == {401, 503}
    assert database.asked < 2 * LOOKUPS


@pytest.mark.parametrize(
    "login", ["", "Basic", "Basic !!!", "Bearer abc", basic("d-1", ""), "Basic " + "A" * 5000, basic("../etc", "x")]
)
def test_what_is_no_login(database, login):
    assert refusal(Logins(database.run, "p"), login).status == 401
