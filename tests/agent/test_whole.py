"""From the first boot to a running variant, as a device and its server see it."""

from tests.agent.variants import variant
from tests.agent.waiting import wait_for


def test_enrolls_gets_its_model_and_runs_it(server, agent):
    made = variant(weight=2.0)
    server.offer(made)
    server.wish(made.digest, "p-1")
    agent(source="tests.agent.worlds:steady")

    server.ended("p-1", "active")

    assert server.path("p-1") == ["downloading", "verified", "installing", "self_testing", "watching", "active"]
    running = wait_for("the state to name it", lambda: [s for s in server.states if s.active])[-1]
    assert running.active.manifest == made.digest
    sample = wait_for(
        "a sample with decisions", lambda: [s for t in server.telemetry for s in t.samples if s.decisions]
    )[-1]
    assert sample.manifest == made.digest
    assert sample.latency_p50 < 100
