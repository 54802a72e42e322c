"""Where the local API listens: a port on loopback, or a unix socket."""

import functools
import ipaddress
import os
import socket
import stat
from pathlib import Path
from typing import Any

from agent.addresses import Listen


def listening(where: Listen) -> socket.socket:
    """A socket that listens. Raises OSError."""
    if where.path is None:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        address: Any = (where.host, where.port)
    else:
        _remove_left_over(where.path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = str(where.path)
    try:
        if where.path is None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if where.path is not None:
            os.chmod(where.path, 0o660)  # before it listens, so nobody slips in
        made.listen(32)
    except BaseException:
        made.close()
        raise
    return made


def _remove_left_over(path: Path) -> None:
    """The socket of an agent that was killed; one that somebody listens on stays, and so does any other file."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a Host header names this device, whatever the port."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
