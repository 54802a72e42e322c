"""A broker for each way to run one, and a cast of logins."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.brokers.mosquitto import configuration
from tests.fleet.brokers.peers import Peer
from tests.fleet.brokers.targets import Certificates, Embedded, OurMosquitto, Target

SECRETS = {
    name: f"secret-of-{name}".ljust(32, "_")
    for name in ("server", *(f"dev{n:03d}" for n in range(500)), "enroll-aa", "enroll-bb")
}

TARGETS: dict[str, Callable[[Certificates], Target]] = {
    "embedded": lambda certificates: Embedded(),
    "embedded over TLS": Embedded,
    "mosquitto": lambda certificates: OurMosquitto(),
    "mosquitto over TLS": OurMosquitto,
}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Certificates:
    folder: Path = tmp_path_factory.mktemp("certificates")

    def make(name: str, *more: str) -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", *more),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    make("authority")
    make(
        *("broker", "-CA", "authority.crt", "-CAkey", "authority.key"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return Certificates(folder / "authority.crt", folder / "broker.crt", folder / "broker.key")


@pytest.fixture(scope="module", params=TARGETS)
def target(request, certificates) -> Iterator[Target]:
    if request.param.startswith("mosquitto") and (configuration.program() is None or configuration.plugin() is None):
        pytest.skip("mosquitto is not installed: install it (Debian: apt install mosquitto) to try the fleet on it")
    made = TARGETS[request.param](certificates)
    made.start(SECRETS)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def _names() -> Iterator[str]:
    return iter([name for name in SECRETS if name.startswith("dev")])


@pytest.fixture
def new_name(_names) -> Callable[[], str]:
    """A device that no test has used yet, so that no session is left over from another."""
    return lambda: next(_names)


@pytest.fixture
def join(target) -> Iterator[Callable[..., Peer]]:
    """Connect as somebody: `join("dev001", clean=False)`. Everybody leaves when the test ends."""
    joined: list[Peer] = []
    numbers = itertools.count(1)

    def connect(name: str, *, secret: str | None = None, **options) -> Peer:
        local = name == "server"
        if name.startswith("enroll-"):
            options.setdefault("client_id", f"enroll-nonce{next(numbers)}")
        if local:
            options.setdefault("client_id", "server-inbox")
        joined.append(
            Peer(
                target.server_port if local else target.device_port,
                name,
                SECRETS.get(name, "") if secret is None else secret,
                ca=target.ca,
                **options,
            )
        )
        return joined[-1]

    yield connect
    for peer in joined:
        peer.leave()
