"""mosquitto's own files: what it is configured with, and where its program and its plugin lie."""

import json
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from fleet.brokers.mosquitto.dynsec import Document

PLUGIN = "mosquitto_dynamic_security.so"
#: A block has 128 KiB, a JSON body at most 256; a packet has a topic on top.
MAX_PACKET = 300_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens and keeps its files. certificate and key are PEM files, or both empty."""

    folder: Path
    host: str
    port: int
    certificate: str = ""
    key: str = ""

    @property
    def conf(self) -> Path:
        return self.folder / "mosquitto.conf"

    @property
    def state(self) -> Path:
        return self.folder / "dynamic-security.json"


def text(place: Place, plugin: Path, connections: int = -1) -> str:
    """mosquitto.conf. One listener; whoever logs in has its user name as client id, so that nobody takes over."""
    lines = [
        "per_listener_settings false",
        "allow_anonymous false",
        f"plugin {plugin}",
        f"plugin_opt_config_file {place.state}",
        # Started as root it would become another user, who cannot read these files.
        f"user {pwd.getpwuid(os.geteuid()).pw_name}",
        f"listener {place.port} {place.host}",
        f"max_connections {connections}",
        "use_username_as_clientid true",
    ]
    if place.certificate:
        lines += [f"certfile {place.certificate}", f"keyfile {place.key}", "tls_version tlsv1.2"]
    lines += [
        f"max_packet_size {MAX_PACKET}",
        # The gateway acknowledges whole batches, after their commit; meanwhile the next two gather.
        "max_inflight_messages 6000",
        "max_inflight_bytes 16777216",
        # What waits for a client that is away: the gateway's share is the fleet's telemetry, a device's is small.
        "max_queued_messages 100000",
        "max_queued_bytes 67108864",
        "max_keepalive 300",
        "persistent_client_expiration 14d",
        "persistence true",
        f"persistence_location {place.folder}/",
        "autosave_interval 30",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%d %H:%M:%S",
        *(f"log_type {kind}" for kind in ("error", "warning")),
    ]
    return "\n".join(lines) + "\n"


def program() -> Path | None:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/opt/homebrew/sbin")
    return Path(found) if found else None


def plugin() -> Path | None:
    """The plugin comes with Debian's and Alpine's mosquitto."""
    places = [*Path("/usr/lib").glob(f"*/{PLUGIN}"), Path("/usr/lib") / PLUGIN, Path("/usr/local/lib") / PLUGIN]
    return next((path for path in places if path.is_file()), None)


def write_state(path: Path, document: Document) -> None:
    """Whole or not at all, and for its owner alone: it holds every login's hash."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
