"""What devices were told is safe, is safe: the gateway dies in the middle, the broker forgets."""

import time

import pytest

from agent.wire import codec, topics
from agent.wire.access import enroll_login
from agent.wire.hardware import GIB, Hardware
from agent.wire.messages import EnrollReply, EnrollRequest, Sample, State, Telemetry
from tests.journeys.peer import Peer

SECRET = "s" * 43
BOARD = Hardware(cores=4, memory_bytes=4 * GIB, storage_bytes=32 * GIB)


@pytest.fixture
def device(installation):
    """A bare MQTT client that enrolled as a device: (its connection, its id)."""
    token = installation.api.post("/enrollment-tokens", {"name": "bare", "auto_accept": True})["token"]
    login, secret = enroll_login(token.split(".")[0], 0), token.split(".")[1]
    nonce = f"bare-{time.time_ns()}"
    with Peer(installation.stack.mqtt_port, login, secret, f"enroll-{nonce}") as stranger:
        stranger.subscribe(topics.enroll_reply(nonce))
        request = EnrollRequest(
            token=token, secret=SECRET, name=nonce, hardware=BOARD, agent_version="0", simulated=True
        )
        stranger.publish(topics.enroll_request(nonce), codec.encode(request))
        installation.wait_for("the enrollment's answer", lambda: stranger.received)
        device_id = codec.decode(stranger.received[0][1], EnrollReply).device_id
    with Peer(installation.stack.mqtt_port, device_id, SECRET, device_id) as peer:
        peer.subscribe(topics.device_filter(device_id))
        state = State(online=True, boot_id="boot-1", seq=1, at=time.time())
        peer.publish(topics.up(device_id, "state"), codec.encode(state), retain=True)
        yield peer, device_id


def stored(installation, device_id: str) -> int:
    return installation.api.get(f"/devices/{device_id}/samples", limit=1)["count"]


def send(peer: Peer, device_id: str, numbers: range) -> None:
    for number in numbers:
        body = Telemetry(boot_id="boot-1", samples=(Sample(seq=number, at=time.time(), decisions=1),))
        peer.publish(topics.up(device_id, "telemetry"), codec.encode(body))


def test_a_gateway_that_is_killed_loses_nothing_it_acknowledged_and_nothing_else(installation, device):
    peer, device_id = device
    send(peer, device_id, range(0, 500))
    installation.wait_for("the first samples", lambda: stored(installation, device_id) > 0)
    installation.kill("gateway")
    send(peer, device_id, range(500, 1000))
    peer.drain()
    installation.run(installation.process_of("gateway"))
    installation.wait_for("every sample", lambda: stored(installation, device_id) == 1000, 60)


def test_a_broker_that_lost_everything_is_told_again_what_devices_rely_on(installation, device):
    _, device_id = device
    desired = topics.down(device_id, "desired")
    installation.api.call("PATCH", f"/devices/{device_id}", {"config": {"telemetry_interval": 7}})
    installation.kill("broker")
    installation.run(installation.process_of("broker"))

    def reads_again() -> bool:
        try:
            with Peer(installation.stack.mqtt_port, device_id, SECRET, device_id) as again:
                again.subscribe(topics.device_filter(device_id))
                end = time.monotonic() + 3
                while not again.received and time.monotonic() < end:
                    time.sleep(0.05)
                return any(t == desired and b'"telemetry_interval":7' in body for t, body in again.received)
        except OSError:
            return False

    installation.wait_for("the desired state, retained again", reads_again, 60)
