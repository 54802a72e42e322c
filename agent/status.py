"""`edge-agent status`: what this device is and runs, read from its data folder. Works beside a running agent."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__, lock
from agent.config import ConfigError
from agent.deployment.records import Attempt, Installed, Saved
from agent.link import enrollment
from agent.wire import codec
from agent.wire import manifest as wire


def read(data: Path) -> dict[str, Any]:
    """Everything as plain values. Raises ConfigError when the folder or a file in it cannot be read."""
    if not data.is_dir():
        raise ConfigError(f"There is no data folder {data}. Name it with --data, or start the agent once.")
    identity = enrollment.read(data)
    saved = _saved(data / "state.json")
    return {
        "agent_version": __version__,
        "data": str(data),
        "running": lock.held(data),
        "enrolled": bool(identity and identity.device_id),
        "device_id": identity.device_id if identity else "",
        "desired_version": max(0, saved.desired_version),
        "config": msgspec.to_builtins(saved.config),
        "active": _installed(data, saved.active),
        "previous": _installed(data, saved.previous),
        "deployment": _attempt(saved.attempt),
        "samples_waiting": _waiting(data / "telemetry.db"),
    }


def lines(status: dict[str, Any]) -> list[str]:
    """The same for a person."""
    told = [
        f"agent        {status['agent_version']}, {'running' if status['running'] else 'not running'}",
        f"data folder  {status['data']}",
        f"device       {status['device_id'] if status['enrolled'] else 'not enrolled yet'}",
    ]
    for key in ("active", "previous"):
        each = status[key]
        told.append(f"{key:<12} {_artifact_words(each) if each else 'nothing'}")
    deployment = status["deployment"]
    if deployment:
        words = f"{deployment['deployment_id'] or 'desired state'}: {deployment['state'].replace('_', ' ')}"
        told.append(f"deployment   {words}{', ' + deployment['reason'] if deployment['reason'] else ''}")
    told.append(f"telemetry    {status['samples_waiting']} samples wait to be sent")
    return told


def _artifact_words(each: dict[str, Any]) -> str:
    since = datetime.fromtimestamp(each["since"], UTC)
    name = f"{each['model']}@{each['version']} {each['variant']}" if each["model"] else "an artifact without manifest"
    return f"{name} ({each['manifest'][:12]}), since {since:%Y-%m-%d %H:%M} UTC"


def _saved(path: Path) -> Saved:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        return Saved()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem}.") from problem


def _installed(data: Path, installed: Installed | None) -> dict[str, Any] | None:
    if installed is None:
        return None
    path = data / "artifacts" / installed.manifest / "manifest.json"
    try:
        manifest = codec.decode(path.read_bytes(), wire.Manifest, limit=wire.MAX_MANIFEST)
        names = {"model": manifest.model, "version": manifest.version, "variant": manifest.variant}
    except (OSError, codec.WireError):
        names = {"model": "", "version": "", "variant": ""}
    return {**msgspec.to_builtins(installed), **names}


def _attempt(attempt: Attempt | None) -> dict[str, Any] | None:
    if attempt is None:
        return None
    built: dict[str, Any] = msgspec.to_builtins(attempt)
    return {key: built[key] for key in ("deployment_id", "manifest", "state", "reason", "evidence")}


def _waiting(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(database.execute("SELECT count(*) FROM samples").fetchone()[0])
        finally:
            database.close()
    except sqlite3.Error as problem:
        raise ConfigError(f"The telemetry queue {path} cannot be read: {problem}.") from problem
