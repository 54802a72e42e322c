"""A version whose variants are in the store, devices that are set to hybrid, and connections of theirs."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from fleet.catalog import store
from fleet.catalog.models import ModelVersion, Variant
from fleet.devices.models import Device
from tests.agent import variants
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version

REQUEST = {"state": [1.0, 2.0, 3.0, 4.0]}


def stored_variant(
    version: ModelVersion, device_class: str = "edge_server", weight: float = 1.0, **how: Any
) -> Variant:
    """A variant that answers: its parts are in the store."""
    made = variants.variant(
        weight, model=version.model.name, version=str(version.number), device_class=device_class, **how
    )
    for data in made.parts.values():
        store.put_bytes(data)
    row = make_variant(version, device_class)
    row.manifest_digest, row.manifest, row.bytes = made.digest, msgspec.to_builtins(made.manifest), made.manifest.size
    row.save()
    return row


def hybrid_device(variant: Variant | None = None, **given: Any) -> Device:
    running = variant.manifest_digest if variant else ""
    return make_device(**{"config": {"mode": "hybrid"}, "active_manifest": running, **given})


def secret_of(device: Device) -> str:
    return f"secret-of-{device.pk}".ljust(32, "_")


class Caller:
    """A device's connection to the endpoint."""

    def __init__(self, address: str, device: str, secret: str) -> None:
        import base64

        self._http = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        self.login = {"Authorization": "Basic " + base64.b64encode(f"{device}:{secret}".encode()).decode()}

    def ask(self, kind: str = "act", body: Any = REQUEST, query: str = "", **headers: str) -> tuple[int, Any]:
        status, _, data = self.raw("POST", f"/infer/{kind}{query}", body, **headers)
        return status, data

    def hello(self, query: str = "") -> tuple[int, Any]:
        status, _, data = self.raw("GET", f"/infer{query}")
        return status, data

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        given = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, given, {**self.login, "Deadline-Ms": "20000", **named})
        answer = self._http.getresponse()
        data = answer.read()
        plain = answer.headers.get("Content-Type") == "application/json"
        return answer.status, answer.headers, json.loads(data) if plain else data

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def caller() -> Iterator[Any]:
    """`caller(server, device)` is a connection of that device."""
    made: list[Caller] = []

    def connected(server: Any, device: Device | str, secret: str = "") -> Caller:
        name = device if isinstance(device, str) else device.pk
        made.append(Caller(server.address, name, secret or (secret_of(device) if isinstance(device, Device) else "x")))
        return made[-1]

    yield connected
    for each in made:
        each.close()


@pytest.fixture
def version(transactional_db) -> ModelVersion:
    return make_version("arm", 3)
