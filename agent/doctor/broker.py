"""Checks of the way to the server: its name, its port, TLS, and the login."""

import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import paho.mqtt.client as paho
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from agent.addresses import Server
from agent.config import Settings
from agent.doctor.finding import Finding, note, ok, problem
from agent.link import enrollment
from agent.lock import holder
from agent.wire.access import enroll_login

#: Seconds for each of the steps.
PATIENCE = 5.0


def reach(settings: Settings) -> Iterator[Finding]:
    """Each step on the way, up to the first that fails."""
    server = settings.server
    link = (yield from _port(server)) if (yield from _name(server)) else None
    if link is None:
        return
    with link:
        safe = (yield from _tls(server, link)) if server.tls else True
    if safe:
        yield from _login(settings)


def _name(server: Server) -> Generator[Finding, None, set[str]]:
    """The addresses; none where the name is not known."""
    start = time.monotonic()
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)}
    except OSError as trouble:
        yield problem(
            "broker's name",
            f"{server.host} is not known: {trouble.strerror or trouble}.",
            "Correct the name in `server`, or this device's resolver (/etc/resolv.conf); is its network up?",
        )
        return set()
    shown = ", ".join(sorted(found)[:4])
    yield ok("broker's name", f"{server.host} is {shown} ({1e3 * (time.monotonic() - start):.0f} ms).")
    return found


def _port(server: Server) -> Generator[Finding, None, socket.socket | None]:
    """A connection; None where nothing answers."""
    start = time.monotonic()
    try:
        link = socket.create_connection((server.host, server.port), timeout=PATIENCE)
    except OSError as trouble:
        refused = isinstance(trouble, ConnectionRefusedError)
        yield problem(
            "broker's port",
            f"Nothing answers on {server.host}:{server.port}: {trouble.strerror or trouble}.",
            "Is the server running, and is this its port? It listens on its own loopback alone until MQTT_BIND is set."
            if refused
            else "Is there a way to it (gateway, firewall)? Outgoing TCP to that port has to be allowed.",
        )
        return None
    yield ok("broker's port", f"{server.host}:{server.port} answers ({1e3 * (time.monotonic() - start):.0f} ms).")
    return link


def _tls(server: Server, link: socket.socket) -> Generator[Finding, None, bool]:
    """Whether TLS is agreed on with somebody who is trusted."""
    try:
        context = ssl.create_default_context(cafile=str(server.ca) if server.ca else None)
        with context.wrap_socket(link, server_hostname=server.host) as safe:
            words = f"{safe.version()}, and the certificate is trusted."
    except ssl.SSLCertVerificationError as trouble:
        yield problem(
            "broker's TLS",
            f"Its certificate is not trusted: {trouble.verify_message}.",
            "Give the authority that signed it as `ca`, write the name that it was made for in `server`, or renew it; "
            "a clock that is wrong makes every certificate look expired.",
        )
        return False
    except (OSError, ssl.SSLError) as trouble:
        yield problem(
            "broker's TLS",
            f"TLS is not agreed on: {getattr(trouble, 'reason', None) or trouble}.",
            "Is this port one for TLS? Without it the address is mqtt://, on another port.",
        )
        return False
    yield ok("broker's TLS", words)
    return True


def _login(settings: Settings) -> Iterator[Finding]:
    """With the device's own login, or the token's. Two sessions of one device would throw each other out."""
    pid = holder(settings.data)
    if pid is not None:
        yield _of_the_running(pid, settings.server.port)
        return
    identity = enrollment.read(settings.data) if settings.data.is_dir() else None
    token_id, _, secret = settings.token.partition(".")
    if identity and identity.device_id:
        name, login, secret = identity.device_id, identity.device_id, identity.secret
        remedy = "Was the device retired, or the server's database replaced? Clear the data folder and enroll it anew."
    elif secret:
        name, login = "enroll-doctor", enroll_login(token_id, 0)
        remedy = "The token may be used up, expired or revoked: make another one on the server's page Enrollment."
    else:
        yield problem(
            "login",
            "The device is not enrolled and has no enrollment token.",
            "Make one on the server's page Enrollment, and give it as EDGE_AGENT_TOKEN.",
        )
        return
    reason = _refusal(settings.server, name, login, secret)
    if reason:
        yield problem("login", f"The broker refuses the login of {login}: {reason}.", remedy)
    else:
        yield ok("login", f"The broker takes the login of {login}.")


def _of_the_running(pid: int, port: int) -> Finding:
    try:
        links = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return note("login", "An agent is running; its login is its own.", "Its log says how its link is.")
    if any(link.raddr and link.raddr.port == port and link.status == psutil.CONN_ESTABLISHED for link in links):
        return ok("login", "The running agent has its link.")
    return problem("login", "The running agent has no link.", "Its log says why, with each attempt.")


def _refusal(server: Server, client_id: str, login: str, secret: str) -> str:
    """Why the broker does not let this login in; empty when it does."""
    answered, codes = threading.Event(), []

    def heard(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        codes.append(code)
        answered.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, clean_session=False)
    client.username_pw_set(login, secret)
    if server.tls:
        client.tls_set(ca_certs=str(server.ca) if server.ca else None)
    client.on_connect = heard
    client.on_disconnect = lambda *_: answered.set()
    client.connect_timeout = PATIENCE
    try:
        client.connect(server.host, server.port)
        client.loop_start()
        answered.wait(PATIENCE)
        client.disconnect()
        client.loop_stop()
    except OSError as trouble:
        return str(trouble)
    finally:
        client._reset_sockets()
    if not codes:
        return "it gave no answer"
    return str(codes[0]) if codes[0].is_failure else ""
