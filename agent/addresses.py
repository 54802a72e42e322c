"""Addresses in the settings: of the broker, of the server's pages, and of the local API."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Server:
    """Where the MQTT broker is. `ca` is a PEM file with the authorities to trust; without it, the system's."""

    host: str
    port: int
    tls: bool = False
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Web:
    """The server's web address. `ca` as of the broker."""

    host: str
    port: int
    tls: bool
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the local API is: a loopback address with its port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(text: str) -> Listen:
    """`127.0.0.1:port` or `unix:/path`. Raises ValueError, whose words go on from the text."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:")).expanduser()
        if not path.is_absolute() or len(os.fsencode(path)) > 100:
            raise ValueError("is no absolute path of at most 100 bytes (unix:/run/edge-agent/api.sock)")
        return Listen(path=path)
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        host, port = "", 0
    if not host or not port or parts.netloc != text or parts.username is not None:
        raise ValueError("is neither host:port nor unix:/path")
    address = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError("is not on loopback: the local API is for this device's own programs (127.0.0.1:port)")
    return Listen(address, port)


def web(text: str) -> Web:
    """`https://host`. Raises ValueError, whose words go on from the text."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as problem:
        raise ValueError(f"is no address: {problem}") from problem
    plain = parts.path in {"", "/"} and not parts.query and not parts.username
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ValueError("is not of the form https://host or https://host:port")
    tls = parts.scheme == "https"
    return Web(parts.hostname, port or (443 if tls else 80), tls)
