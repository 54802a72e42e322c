"""The real web process on a free port, over a database of its own."""

import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]


def same_database() -> dict[str, str]:
    """What makes another process use the database and the keys of this one."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{database['NAME']}"
    else:
        given = urlsplit(os.environ["DATABASE_URL"])
        url = given._replace(path=f"/{database['NAME']}").geturl()
    return {"DATABASE_URL": url, "EDGEFLEET_DATA": str(settings.DATA_DIR), "DJANGO_SETTINGS_MODULE": "tests.settings"}


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    process: subprocess.Popen
    log: Path


@contextmanager
def web(environment: dict[str, str], log: Path, port: int = 0, tls: tuple[Path, Path] | None = None):
    """Yields a Server. The process is told to end, and killed when it does not within 10 s.

    tls: files of a certificate, which signs itself, and its key.
    """
    port = port or free_port()
    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "fleet.asgi:application", "--port", str(port), "--lifespan", "off"]
    if tls:
        command += ["--ssl-certfile", str(tls[0]), "--ssl-keyfile", str(tls[1])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _answers(address, process, log, ssl.create_default_context(cafile=tls[0]) if tls else None)
            yield Server(address, process, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(address: str, process: subprocess.Popen, log: Path, context: ssl.SSLContext | None) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/login", timeout=2, context=context).close()  # noqa: S310  # our own address
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"The web process did not answer:\n{log.read_text()}")
