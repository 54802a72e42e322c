"""Light devices: what a real one does, but for inference; and they say so."""

import json
import threading

from agent.wire import manifest as wire
from agent.wire.messages import LIGHT, CommandOrder, Config
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

NAMES = ("light-0000", "light-0001", "light-0002")
STATES = ["downloading", "verified", "installing", "self_testing", "watching", "active"]
SHORT = Config(telemetry_interval=1, watch_seconds=0.2)


def roll_out(server, made, number=""):
    """To three devices; ends when all run it."""
    server.offer(made)
    for device in ("d-1", "d-2", "d-3"):
        server.wish(made.digest, f"p{number}-{device}", SHORT, device)
    return [server.ended(f"p{number}-{device}", "active") for device in ("d-1", "d-2", "d-3")]


def test_each_enrolls_as_a_device_of_its_own_and_says_that_it_is_light(server, fleet):
    fleet(3)
    assert {request.name for _, request in server.enrollments} == set(NAMES)
    assert len({request.secret for _, request in server.enrollments}) == 3
    assert all(request.simulated and request.tags == ("kind=light",) for _, request in server.enrollments)
    wait_for("their states", lambda: len(server.states) >= 3)
    assert {(state.online, state.runtime.name, state.device_class) for state in server.states} == {
        (True, LIGHT, "embedded")
    }
    assert {state.hardware.declared for state in server.states} == {True}


def test_an_update_goes_through_the_real_machine_and_only_the_self_test_is_a_stand_in(server, fleet, tmp_path):
    fleet(3)
    made = variant(2.0, ballast=300_000, part_bytes=100_000)
    for report in roll_out(server, made):
        assert server.path(report.deployment_id)[-len(STATES) :] == STATES
        assert report.evidence["stand_in"] == LIGHT
        assert not {"p50", "p95", "error", "latency_p95"} & set(report.evidence), "nothing is passed off as measured"
    for name in NAMES:
        folder = tmp_path / name
        saved = json.loads((folder / "state.json").read_bytes())
        assert saved["active"]["manifest"] == made.digest
        files = sorted(path.name for path in (folder / "artifacts" / made.digest).iterdir())
        assert files == ["card.json", "golden.npz", "manifest.json", "model.onnx"]
        assert (folder / "trust" / "trusted" / "timestamp.json").exists(), "it was proven"


def test_what_is_not_signed_for_is_refused(server, fleet):
    fleet(3)
    made = variant(2.0)
    server.offer(variant(1.0))
    server._parts.update(made.parts)
    server.publish(f"edgefleet/v1/cast/manifest/{made.digest}", made.data, retain=True)
    server.wish(made.digest, "p-1", SHORT)
    assert "has not signed for the manifest" in server.ended("p-1", "rejected").reason


def test_samples_have_the_links_traffic_and_nothing_that_would_be_made_up(server, fleet):
    fleet(3)
    made = variant(2.0)
    roll_out(server, made)
    server.telemetry.clear()
    wait_for("samples of it", lambda: [m for m in server.telemetry for s in m.samples if s.manifest == made.digest])
    sample = server.telemetry[-1].samples[-1]
    assert sample.network_tx is not None and sample.network_tx > 0
    for name in ("cpu_percent", "memory_used", "agent_memory", "power", "temperature", "latency_p95", "stages"):
        assert getattr(sample, name) is None, name
    assert (sample.decisions, sample.latency) == (0, {})


def test_orders_are_answered_and_a_benchmark_is_refused_with_the_reason(server, fleet):
    fleet(3)
    server.order(CommandOrder(id="c-1", kind="ping", deadline=4_000_000_000), "d-2")
    wait_for("the ping", lambda: "succeeded" in server.command_states("c-1"))
    digest = wire.digest_of(b"something")
    order = CommandOrder(id="c-2", kind="benchmark", deadline=4_000_000_000, args={"manifests": [digest]})
    server.order(order, "d-2")
    wait_for("the answer", lambda: "failed" in server.command_states("c-2"))
    assert server.commands[-1].reason == "This is a light device: it has no inference, so there is nothing to measure."


def test_all_come_back_after_the_broker_was_away_and_lose_no_sample(server, fleet, broker, server_comes_first):
    there = fleet(3)
    server.wish("", "", Config(telemetry_interval=1))
    wait_for("samples of all", lambda: {m.boot_id for m in server.telemetry} and len(boots(server)) == 3)
    broker.stop()
    wait_for("the loss", lambda: not any(each.connected for each in there.made.devices))
    broker.start()
    server.wait_until_subscribed()
    there.are_there(3)
    wait_for("samples after it", lambda: min(max(numbers) for numbers in boots(server).values()) >= 4, 60)
    for numbers in boots(server).values():
        assert set(range(min(numbers), max(numbers) + 1)) == set(numbers)


def boots(server) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for message in list(server.telemetry):
        found.setdefault(message.boot_id, []).extend(sample.seq for sample in message.samples)
    return found


def test_a_next_boot_runs_what_was_installed_and_enrolls_no_more(server, fleet):
    first = fleet(3)
    made = variant(2.0)
    roll_out(server, made)
    first.stop()
    wait_for("the farewells", lambda: sum(not state.online for state in server.states) == 3)
    server.states.clear()
    fleet(3)
    wait_for("their states", lambda: len(server.states) >= 3)
    assert {state.active.manifest for state in server.states if state.online} == {made.digest}
    assert len(server.enrollments) == 3


def test_a_fleet_at_rest_has_two_threads_and_an_update_one_each_only_while_it_goes_on(server, fleet):
    before = threading.active_count()
    there = fleet(3)
    at_rest = threading.active_count()
    assert at_rest - before == 3, "the simulation's own, the links', and the telemetry's"
    roll_out(server, variant(2.0))
    wait_for("the updates' threads to end", lambda: threading.active_count() == at_rest)
    there.stop()
    assert threading.active_count() == before
