"""What mosquitto's dynamic-security plugin is told: its state file, and commands that change it live. Pure.

The rules are those of `agent.wire.access`, in the plugin's words. It expands no `%u`, so each device has a role of its
own. Client ids are bound by the listener (`use_username_as_clientid`), not here.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from agent.wire.access import Kind
from agent.wire.topics import PREFIX
from fleet.brokers.identities import ADMIN, SERVERS, Credential, name_ok
from fleet.devices.credentials import ROUNDS, digest, new_salt

Document = dict[str, Any]
Command = dict[str, Any]

WRITE, READ, SUBSCRIBE, LITERAL = "publishClientSend", "publishClientReceive", "subscribePattern", "subscribeLiteral"
#: What nobody has allowed is refused.
DEFAULTS = {WRITE: False, READ: False, "subscribe": False, "unsubscribe": True}


def _acl(kind: str, topic: str, *, allow: bool = True, priority: int = 0) -> Document:
    return {"acltype": kind, "topic": topic, "allow": allow, "priority": priority}


ROLES: dict[str, list[Document]] = {
    "server": [_acl(kind, f"{PREFIX}/#") for kind in (WRITE, READ, SUBSCRIBE)],
    "admin": [_acl(kind, "$CONTROL/dynamic-security/#") for kind in (WRITE, READ, SUBSCRIBE)],
    "enroll": [
        _acl(WRITE, f"{PREFIX}/enroll/+/request"),
        *(_acl(kind, f"{PREFIX}/enroll/+/reply") for kind in (READ, SUBSCRIBE)),
        # The pattern matches itself, and a `+` would read the replies to others.
        _acl(LITERAL, f"{PREFIX}/enroll/+/reply", allow=False, priority=10),
    ],
}


def _device_acls(name: str) -> list[Document]:
    readable = (f"{PREFIX}/down/{name}/#", f"{PREFIX}/cast/#")
    return [
        _acl(WRITE, f"{PREFIX}/up/{name}/#"),
        *(_acl(kind, topic) for topic in readable for kind in (READ, SUBSCRIBE)),
    ]


def role_of(name: str, kind: Kind) -> str:
    return f"device-{name}" if kind == "device" else kind


def state(credentials: Mapping[str, Credential], server_secret: str) -> Document:
    """The plugin's whole state file: roles, clients with their hashed secrets, defaults."""
    known = {name: row for name, row in credentials.items() if name_ok(name, row.kind)}
    roles = [{"rolename": name, "acls": acls} for name, acls in ROLES.items()]
    roles += [
        {"rolename": role_of(name, "device"), "acls": _device_acls(name)}
        for name, row in known.items()
        if row.kind == "device"
    ]
    clients = []
    for name in SERVERS:
        salt = new_salt()
        held = ["server", "admin"] if name == ADMIN else ["server"]
        clients.append(_client(name, Credential("server", True, salt, digest(server_secret, salt)), held))
    clients += [_client(name, row, [role_of(name, row.kind)]) for name, row in known.items()]
    return {"defaultACLAccess": DEFAULTS, "roles": roles, "clients": clients}


def _client(name: str, row: Credential, roles: Iterable[str]) -> Document:
    return {
        "username": name,
        "roles": [{"rolename": role} for role in roles],
        "password": base64.b64encode(row.digest).decode(),
        "salt": base64.b64encode(row.salt).decode(),
        "iterations": ROUNDS,
        **({} if row.active else {"disabled": True}),
    }


# --- Commands -------------------------------------------------------------------------------------------------------


def prepare() -> list[Command]:
    """Defaults and the roles that every installation has; for a broker that was started with another state file."""
    defaults = [{"acltype": kind, "allow": allow} for kind, allow in DEFAULTS.items()]
    return [
        {"command": "setDefaultACLAccess", "acls": defaults},
        *({"command": "createRole", "rolename": name, "acls": acls} for name, acls in ROLES.items()),
    ]


def create(name: str, kind: Kind, secret: str, *, active: bool) -> list[Command]:
    """A new login. The live commands take secrets only in plain text: the plugin hashes them itself."""
    commands: list[Command] = []
    if kind == "device":
        commands.append({"command": "createRole", "rolename": role_of(name, kind), "acls": _device_acls(name)})
    roles = [{"rolename": role_of(name, kind)}]
    commands.append({"command": "createClient", "username": name, "password": secret, "roles": roles})
    if not active:
        commands.append(switch(name, active=False))
    return commands


def switch(name: str, *, active: bool) -> Command:
    """Let it in again, or shut it out; who is shut out is disconnected at once."""
    return {"command": "enableClient" if active else "disableClient", "username": name}


def new_secret(name: str, secret: str) -> Command:
    """Whoever holds the connection is disconnected."""
    return {"command": "setClientPassword", "username": name, "password": secret}


def delete(name: str, kind: Kind) -> list[Command]:
    commands: list[Command] = [{"command": "deleteClient", "username": name}]
    if kind == "device":
        commands.append({"command": "deleteRole", "rolename": role_of(name, kind)})
    return commands


def list_clients(offset: int, count: int) -> Command:
    return {"command": "listClients", "verbose": True, "offset": offset, "count": count}


#: Answers that mean: it is as wanted already.
HARMLESS = frozenset({"Client already exists", "Role already exists", "Client not found", "Role not found"})
