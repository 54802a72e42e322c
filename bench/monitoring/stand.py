"""Fills one database, and measures pages, chart and gateway on it: `python -m bench.monitoring.stand DEVICES SAMPLES`.

The database is DATABASE_URL's, and new. Prints what was found as a line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.monitoring import fill, live, taking

#: Seconds that are measured.
SECONDS, PLAIN_SECONDS = 60, 15
#: What 10,000 devices send at their usual interval.
USUAL = 2000.0
REQUESTS = 50
FEW = 1000


def main() -> None:
    devices, samples = (int(word) for word in sys.argv[1:])
    os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"
    import django

    django.setup()
    from django.core.management import call_command

    for words in (("migrate",), ("collectstatic", "--noinput", "-i", "datasets", "-i", "templates")):
        call_command(*words, verbosity=0)
    browser, now = _browser(), int(time.time())
    fill.catalog()
    fill.devices(0, FEW)
    few = _pages(browser)
    fill.devices(FEW, devices)
    _say(f"filling {samples:,} samples")
    began = time.monotonic()
    fill.samples(samples // devices, now)
    fill.rollups(samples // devices * fill.EVERY // 60, 24, now)
    _settle()
    _say(f"filled in {time.monotonic() - began:.0f} s")
    _fresh()
    found: dict[str, Any] = {"pages": [few, _pages(browser)], "chart": _chart(browser)}
    _say(json.dumps(found))
    ids = [f"d-{number:06d}" for number in range(devices)]
    with taking.Mosquitto(Path(os.environ["EDGEFLEET_DATA"])) as broker:
        found |= _open_pages(broker, browser, ids)
        _say(json.dumps({name: found[name] for name in ("to_the_chart", "waiting")}))
        plain = taking.taken(broker, ["-m", "bench.monitoring.plain"], ids, "plain", PLAIN_SECONDS)
        _say(json.dumps(plain))
        taken = taking.taken(broker, ["manage.py", "gateway"], ids, "batched", SECONDS)
        _say(json.dumps(taken))
    print(json.dumps(found | taken | {"baseline": plain["rate"]}))


def _open_pages(broker: taking.Mosquitto, browser: Any, ids: list[str]) -> dict[str, Any]:
    """The pages of the first devices, while all others send what they usually do."""
    from fleet.demo.stack import free_port

    port = free_port(28_400)
    address, cookies = f"http://127.0.0.1:{port}", {"sessionid": browser.cookies["sessionid"].value}
    seen, others = ids[: live.PAGES], ids[live.PAGES :]
    with (
        live.web(Path(os.environ["EDGEFLEET_DATA"]), port) as process,
        taking.running(broker, ["manage.py", "gateway"]),
        live.talking(taking.order(broker, others, "usual"), USUAL),
    ):
        took = live.to_the_chart(address, cookies, broker.port, broker.secret, seen[0])
        return {"to_the_chart": sorted(took), "waiting": live.waiting(address, cookies, process, seen)}


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _settle() -> None:
    """What autovacuum would have done long before."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _fresh() -> None:
    from django.utils import timezone

    from fleet.devices.models import Device

    Device.objects.update(last_seen=timezone.now(), sample_at=timezone.now())


# --- Pages ------------------------------------------------------------------------------------------------------------


def _browser() -> Any:
    from django.test import Client

    from fleet.accounts.roles import Role
    from fleet.accounts.services import create_person

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(create_person("bench", Role.ADMIN, by=None)[0])
    return client


def _pages(browser: Any) -> dict[str, dict[str, float]]:
    """p95 of the server's time in ms, and queries, of each page."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    found = {}
    for name, address in (
        ("device list", "/devices?per=100"),
        ("search", "/devices?per=100&q=0777"),
        ("device page", "/devices/d-000007"),
        ("overview", "/"),
    ):
        p95 = _p95(lambda address=address: browser.get(address))
        with CaptureQueriesContext(connection) as queries:
            browser.get(address)
        found[name] = {"p95": p95, "queries": len(queries)}
    return found


def _p95(ask: Callable[[], Any]) -> float:
    times = []
    for _ in range(REQUESTS + 3):
        began = time.perf_counter()
        answer = ask()
        times.append((time.perf_counter() - began) * 1e3)
        if answer.status_code != 200:
            raise RuntimeError(f"the server answered {answer.status_code}")
    return sorted(times[3:])[int(0.95 * REQUESTS) - 1]


def _chart(browser: Any) -> dict[str, float]:
    """The chart of 90 days; beside it an hour of samples."""
    numbers = iter(range(10_000))

    def ask(span: str) -> Any:
        return browser.get(f"/devices/d-{next(numbers) % fill.LONG:06d}/series?range={span}")

    points = len(ask("90d").json()["columns"]["at"])
    return {"p95": _p95(lambda: ask("90d")), "raw": _p95(lambda: ask("1h")), "points": points}


if __name__ == "__main__":
    main()
