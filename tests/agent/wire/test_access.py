"""Who may read and write what."""

import pytest

from agent.wire.access import Identity, client_id_ok, may

DEVICE, OTHER = Identity("d-1", "device"), "d-2"
ENROLL, SERVER = Identity("enroll-tk1", "enroll"), Identity("server-inbox", "server")
GONE = Identity("d-1", "device", active=False)

CASES = [
    # who, what, topic, allowed
    (DEVICE, "publish", "edgefleet/v1/up/d-1/state", True),
    (DEVICE, "publish", "edgefleet/v1/up/d-1/command/c-1", True),
    (DEVICE, "publish", "edgefleet/v1/up/d-1", False),
    (DEVICE, "publish", f"edgefleet/v1/up/{OTHER}/state", False),
    (DEVICE, "publish", "edgefleet/v1/up/d-10/state", False),
    (DEVICE, "publish", "edgefleet/v1/down/d-1/desired", False),
    (DEVICE, "publish", "edgefleet/v1/cast/manifest/x", False),
    (DEVICE, "publish", "edgefleet/v1/enroll/n/request", False),
    (DEVICE, "publish", "edgefleet/v1/up/d-1/#", False),
    (DEVICE, "publish", "edgefleet/v1/up/d-1/+", False),
    (DEVICE, "publish", "$SYS/broker", False),
    (DEVICE, "subscribe", "edgefleet/v1/down/d-1/#", True),
    (DEVICE, "subscribe", "edgefleet/v1/cast/#", True),
    (DEVICE, "subscribe", f"edgefleet/v1/down/{OTHER}/#", False),
    (DEVICE, "subscribe", "edgefleet/v1/down/+/desired", False),
    (DEVICE, "subscribe", "edgefleet/v1/#", False),
    (DEVICE, "subscribe", "#", False),
    (DEVICE, "subscribe", "edgefleet/v1/up/d-1/#", False),
    (DEVICE, "receive", "edgefleet/v1/down/d-1/desired", True),
    (DEVICE, "receive", f"edgefleet/v1/down/{OTHER}/desired", False),
    (DEVICE, "publish", "", False),
    (DEVICE, "publish", "edgefleet/v1/up/d-1/state\0", False),
    (ENROLL, "publish", "edgefleet/v1/enroll/nonce/request", True),
    (ENROLL, "publish", "edgefleet/v1/enroll/nonce/reply", False),
    (ENROLL, "publish", "edgefleet/v1/enroll/a/b/request", False),
    (ENROLL, "publish", "edgefleet/v1/up/d-1/state", False),
    (ENROLL, "subscribe", "edgefleet/v1/enroll/nonce/reply", True),
    (ENROLL, "subscribe", "edgefleet/v1/enroll/+/reply", False),
    (ENROLL, "subscribe", "edgefleet/v1/enroll/#", False),
    (ENROLL, "subscribe", "edgefleet/v1/cast/#", False),
    (SERVER, "publish", "edgefleet/v1/down/d-1/desired", True),
    (SERVER, "subscribe", "edgefleet/v1/up/#", True),
    (SERVER, "publish", "$SYS/broker", False),
    (GONE, "publish", "edgefleet/v1/up/d-1/state", False),
    (GONE, "receive", "edgefleet/v1/down/d-1/desired", False),
]


@pytest.mark.parametrize(("who", "action", "topic", "allowed"), CASES)
def test_access(who, action, topic, allowed):
    assert may(who, action, topic) is allowed


@pytest.mark.parametrize(
    ("who", "client_id", "fine"),
    [
        (DEVICE, "d-1", True),
        (DEVICE, "d-2", False),
        (DEVICE, "", False),
        (ENROLL, "enroll-nonce", True),
        (ENROLL, "d-1", False),
        (ENROLL, "", False),
        (SERVER, "server-inbox", True),
        (SERVER, "d-1", False),
    ],
)
def test_nobody_takes_the_session_of_another(who, client_id, fine):
    assert client_id_ok(who, client_id) is fine
