"""Ports for what a test starts: nobody else's, also when several test runs share the machine."""

import secrets
import socket

#: Below those that the system gives to connections: a broker that is started again finds its port as it left it.
FIRST, COUNT = 12_000, 20_000
#: Names in Linux's abstract space, held as long as this process: no other test run takes the same port.
_claims: list[socket.socket] = []


def free_port() -> int:
    """One on which nobody listens, and which is this process's until it ends."""
    while True:
        port = FIRST + secrets.randbelow(COUNT)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0edgefleet-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
