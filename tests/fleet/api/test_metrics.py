"""`/metrics`: what Prometheus reads of the fleet and of the server."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.alerts.models import Alert
from fleet.gateway.lease import NAME
from fleet.gateway.models import Lease, Outbox
from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.telemetry import rows

LINE = re.compile(r'edgefleet_[a-z_]+(\{([a-z_]+="[^"\n]*",?)+\})? [-+0-9.e]+')


def read(client, **headers) -> dict[str, float]:
    answer = client.get("/metrics", **headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in lines), lines
    return {line.rpartition(" ")[0].removeprefix("edgefleet_"): float(line.rpartition(" ")[2]) for line in lines}


def test_strangers_are_told_how_to_ask(client, db):
    answer = client.get("/metrics")
    assert answer.status_code == 401
    assert "Bearer" in answer.text
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer eft_nobody").status_code == 401


def test_it_speaks_of_the_fleet_and_of_the_server(client, bearer, operator):
    now = timezone.now()
    fast, slow = (
        make_device(online=True, last_seen=now, sample_at=now, power=watts, power_source=source)
        for watts, source in ((4.0, "measured"), (6.0, "estimated"))
    )
    make_device(device_class="mobile")
    for device, took, decisions in ((fast, 10.0, 900), (slow, 200.0, 100)):
        rows.add(
            [
                Sample(
                    device=device,
                    at=now - timedelta(minutes=2),
                    received_at=now,
                    boot_id="b",
                    seq=1,
                    decisions=decisions,
                    latency_p50=took,
                    latency_p95=took,
                    energy_per_action=took / 100,
                    errors=3,
                )
            ]
        )
    kept = {"name": "Too hot", "condition": "temperature", "severity": "critical", "since": now, "stage": "open"}
    for number, given in enumerate(({}, {"silenced": True}, {"acknowledged_at": now}, {"stage": "recovered"})):
        Alert.objects.create(**kept | given, subject=f"d-{number}")
    Outbox.objects.create(topic="t", payload=b"", created_at=now - timedelta(seconds=90))
    figures = {"messages": 7, "batch": 5, "lag": 0.25, "rejected": {"telemetry": 2}}
    Lease.objects.create(name=NAME, holder="here", until=now + timedelta(seconds=10), figures=figures)

    found = read(client, **bearer(operator))

    assert found['alerts_open{severity="critical"}'] == 1
    assert found['alerts_open{severity="info"}'] == 0
    assert found['devices{device_class="embedded",state="online"}'] == 2
    assert found['devices{device_class="mobile",state="never"}'] == 1
    assert found['power_watts{device_class="embedded",source="estimated"}'] == 6
    assert found['decision_seconds{device_class="embedded",quantile="0.5"}'] == pytest.approx(0.01, rel=0.021)
    assert found['decision_seconds{device_class="embedded",quantile="0.95"}'] == pytest.approx(0.2, rel=0.021), (
        "a mean of the devices' own would be 0.105"
    )
    assert found['decision_joules{device_class="embedded"}'] == pytest.approx(0.9 * 0.1 + 0.1 * 2.0)
    assert found['errors_per_second{device_class="embedded"}'] == pytest.approx(6 / 300)
    assert found["outbox_messages"] == 1
    assert 90 <= found["outbox_lag_seconds"] < 100
    assert (found["gateway_up"], found["gateway_messages_total"], found["gateway_lag_seconds"]) == (1, 7, 0.25)
    assert found['gateway_rejected_total{kind="telemetry"}'] == 2


def test_a_gateway_that_is_gone_is_said_to_be(client, bearer, operator):
    Lease.objects.create(name=NAME, holder="here", until=timezone.now() - timedelta(seconds=1), figures={"messages": 7})
    found = read(client, **bearer(operator))
    assert found["gateway_up"] == 0
    assert "gateway_messages_total" not in found


def test_the_number_of_queries_does_not_grow_with_the_fleet(client, bearer, operator):
    headers, now = bearer(operator), timezone.now()

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            read(client, **headers)
        return len(asked)

    make_device()
    few = queries()
    for device in [make_device(device_class=name) for name in ("embedded", "mobile", "edge_server") for _ in range(20)]:
        rows.add([Sample(device=device, at=now - timedelta(minutes=2), received_at=now, boot_id="b", seq=1)])
    assert queries() <= few <= 10
