"""The agent's settings: a TOML file, environment variables (EDGE_AGENT_*) and flags; the later of these wins."""

import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.addresses import Listen, Server, Web, listen, web
from agent.wire import tags

ENVIRONMENT = "EDGE_AGENT_"
RUNTIMES = ("onnxruntime", "openvino")
#: Names the settings file, as --config does. Without either, the service's file is taken where there is one.
FILE_VARIABLE = ENVIRONMENT + "CONFIG"
SERVICE_FILE = Path("/etc/edge-agent/agent.toml")


class ConfigError(ValueError):
    """A setting that is missing or wrong; the message names the setting, where it came from and its value."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Hardware that a simulated device declares instead of measuring it."""

    cores: float
    memory_gib: float
    storage_gib: float
    board: str = ""
    platform: str = ""
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the agent is told. threads 0 means as many as the device has cores; api None: there is none.

    inference None: whatever mode is asked for, nothing that the device sees goes to a server.
    """

    data: Path
    server: Server
    token: str = field(default="", repr=False)
    name: str = ""
    tags: tuple[str, ...] = ()
    source: str = ""
    instruction: str = ""
    seed: int = 0
    nice: int = 0
    threads: int = 0
    runtime: str = ""
    ahead: bool = False
    cache_mib: float = 8
    cache_seconds: float = 60
    http: bool = False
    log_level: str = "INFO"
    log_format: str = ""
    api: Listen | None = None
    api_token: str = field(default="", repr=False)
    inference: Web | None = None
    declared: Declared | None = None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise ValueError(f"is no whole number from {low} to {high}")
        return number

    return parse


def _positive(value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise ValueError("is no positive number")
    return number


def _not_negative(value: object) -> float:
    return 0.0 if value in (0, "0") else _positive(value)


def _names(value: object) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("is no list of names (in the environment and in flags: separated by commas)")
    return tuple(word.strip() for word in words if word.strip())


def _tags(value: object) -> tuple[str, ...]:
    try:
        found = tags.collect(_names(value))
    except ValueError as problem:
        raise ValueError(f"is no list of tags: {problem}") from None
    return tuple(tags.written(*each) for each in found.items())


def _token(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,180}", text):
        raise ValueError("is no enrollment token (it looks like id.secret; copy it from the server once more)")
    return text


def _api_token(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[!-~]{16,256}", text):
        raise ValueError("is no token (16 to 256 letters, digits and signs, without blanks)")
    return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool | str) or value not in (True, False, "0", "1"):
        raise ValueError("is neither 0 nor 1")
    return value in (True, "1")


def _runtime(value: object) -> str:
    name = _text(value)
    if name not in RUNTIMES:
        raise ValueError(f"is no runtime ({' or '.join(RUNTIMES)})")
    return name


def _level(value: object) -> str:
    level = _text(value).upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("is no log level (DEBUG, INFO, WARNING or ERROR)")
    return level


def _format(value: object) -> str:
    form = _text(value).lower()
    if form not in {"human", "json"}:
        raise ValueError("is no log format (human or json)")
    return form


def _source(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*|(camera|folder):/.+", text):
        raise ValueError("does not look like module:factory, camera:/dev/video0 or folder:/path")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its key in the file (`declared.…` lies in the table of that name), how it is read, what it is."""

    key: str
    parse: Callable[[object], Any]
    help: str
    secret: bool = False

    @property
    def flag(self) -> str:
        return "--" + re.sub(r"[._]", "-", self.key)

    @property
    def variable(self) -> str:
        return ENVIRONMENT + self.key.upper().replace(".", "_")


OPTIONS = (
    Option("data", _text, "folder of everything the agent keeps (default ~/.local/state/edge-agent)"),
    Option("server", _text, "mqtt://host:port, or mqtts://host:port for TLS"),
    Option("ca", _text, "PEM file with the authorities that mqtts:// trusts (default: the system's)"),
    Option("token", _token, "enrollment token, id.secret; needed until the device is enrolled", secret=True),
    Option("name", _text, "the device's name (default: the host's)"),
    Option("tags", _tags, "tags that the device enrolls with, site=berlin,floor=2 (default: none)"),
    Option(
        "source",
        _source,
        "where observations come from: module:factory, camera:/dev/video0 or folder:/path; without one the agent does "
        "not act",
    ),
    Option("instruction", _text, "what the device is to do, for a camera or a folder (default: no words)"),
    Option("seed", _whole(0, 2**31 - 1), "number handed to the source (default 0)"),
    Option("nice", _whole(0, 19), "how far the agent steps back for other processes, 0 to 19 (default 0)"),
    Option("threads", _whole(0, 1024), "threads of a decision (default 0: as many as the device has cores)"),
    Option("runtime", _runtime, "onnxruntime or openvino (default: whichever is measured to be faster here)"),
    Option("ahead", _flag, "1: decide on the next actions while the present ones are carried out (default 0)"),
    Option("cache_mib", _not_negative, "memory for decisions that were made before, MiB (default 8; 0: none)"),
    Option("cache_seconds", _positive, "for how long such a decision counts (default 60)"),
    Option(
        "api", lambda value: listen(_text(value)), "local API: host:port on loopback, or unix:/path (default: none)"
    ),
    Option("api_token", _api_token, "token that the local API wants of every program (default: none)", secret=True),
    Option(
        "inference",
        lambda value: web(_text(value)),
        "the server's web address for hybrid mode, https://host (default: none, so no hybrid mode)",
    ),
    Option("http", _flag, "1: fetch models from the server's web address where it offers that (default 0)"),
    Option("log_level", _level, "DEBUG, INFO, WARNING or ERROR (default INFO)"),
    Option("log_format", _format, "human or json (default: human on a terminal, else json)"),
    Option("declared.cores", _positive, "cores of a simulated device"),
    Option("declared.memory_gib", _positive, "memory of a simulated device, GiB"),
    Option("declared.storage_gib", _positive, "storage of a simulated device, GiB"),
    Option("declared.board", _text, "board of a simulated device"),
    Option("declared.platform", _text, "platform of a simulated device"),
    Option("declared.accelerators", _names, "accelerators of a simulated device, separated by commas"),
)
_DECLARED = ("cores", "memory_gib", "storage_gib")


def file_of(given: str | None, environment: Mapping[str, str]) -> Path | None:
    """The settings file: the one that was given, else the variable's, else the service's if it is there."""
    name = given or environment.get(FILE_VARIABLE)
    if name:
        return Path(name).expanduser()
    return SERVICE_FILE if SERVICE_FILE.exists() else None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: a slip of the pen, or another version's."""
    known = {option.variable for option in OPTIONS} | {FILE_VARIABLE}
    return sorted(name for name in environment if name.startswith(ENVIRONMENT) and name not in known)


def load(
    flags: Mapping[str, str | None], environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """The settings from `flags` (by key), `environment` and the TOML `file`. Raises ConfigError with a sentence."""
    return build(gather(flags, environment, file))


def gather(flags: Mapping[str, str | None], environment: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    """Each option that was given anywhere, parsed. Raises ConfigError."""
    in_file = _read(file) if file else {}
    unknown = set(in_file) - {option.key for option in OPTIONS}
    if unknown:
        raise ConfigError(f"{file} has the unknown setting {min(unknown)}. Remove it, or correct its name.")
    found: dict[str, Any] = {}
    for option in OPTIONS:
        for origin, value in (
            (option.flag, flags.get(option.key)),
            (option.variable, environment.get(option.variable)),
            (f"{option.key} in {file}", in_file.get(option.key)),
        ):
            if value is None or value == "":
                continue
            try:
                found[option.key] = option.parse(value)
            except ValueError as problem:
                shown = "its value" if option.secret else repr(value)
                raise ConfigError(f"{origin}: {shown} {problem}.") from problem
            break
    return found


def _read(file: Path) -> dict[str, Any]:
    """The file's settings, tables flattened; a relative path in it is relative to the file."""
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigError(f"The settings file {file} cannot be read: {problem}.") from problem
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    for key in ("data", "ca"):
        if isinstance(flat.get(key), str):
            flat[key] = str(file.parent / Path(flat[key]).expanduser())
    return flat


def build(found: Mapping[str, Any]) -> Settings:
    """Settings from parsed options. Raises ConfigError for what is missing or does not go together."""
    if "server" not in found:
        raise ConfigError("No server is set. Give --server mqtt://host:port, EDGE_AGENT_SERVER, or server in the file.")
    declared = {key.removeprefix("declared."): found[key] for key in found if key.startswith("declared.")}
    missing = [f"declared.{key}" for key in _DECLARED if declared and key not in declared]
    if missing:
        raise ConfigError(f"A simulated device declares {', '.join(_DECLARED)}; missing: {', '.join(missing)}.")
    if "api_token" in found and "api" not in found:
        raise ConfigError("A token for the local API is set, but no API. Set api as well, or leave the token out.")
    keys = (
        *("token", "tags", "source", "instruction", "seed", "nice", "threads", "runtime", "ahead", "cache_mib"),
        *("cache_seconds", "http", "log_level", "log_format", "api", "api_token"),
    )
    plain = {key: found[key] for key in keys if key in found}
    server = _server(found["server"], found.get("ca", ""))
    return Settings(
        data=data_folder(found),
        server=server,
        inference=_inference(found.get("inference"), server),
        name=str(found.get("name") or socket.gethostname() or "device")[:128],
        declared=Declared(**declared) if declared else None,
        **plain,
    )


def _inference(web: Web | None, server: Server) -> Web | None:
    if web and server.tls and not web.tls:
        raise ConfigError(
            "inference is an http:// address, and the broker's is mqtts://. Give the https:// address: what the device "
            "sees, and its secret, must not go in the clear."
        )
    return replace(web, ca=server.ca) if web else None


def data_folder(found: Mapping[str, Any]) -> Path:
    return Path(found.get("data") or "~/.local/state/edge-agent").expanduser().absolute()


def _server(url: str, ca: str) -> Server:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise ConfigError(f"The server {url!r} is no address: {problem}.") from problem
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.path not in {"", "/"}:
        raise ConfigError(f"The server {url!r} is not of the form mqtt://host:port or mqtts://host:port.")
    if parts.username or parts.password:
        raise ConfigError("The server's address holds a login. Leave it out: the device makes its own.")
    tls = parts.scheme == "mqtts"
    if ca and not tls:
        raise ConfigError(f"A CA file is set, but {url!r} does not use TLS. Write mqtts://, or leave the CA file out.")
    path = Path(ca).expanduser().absolute() if ca else None
    if path and not path.is_file():
        raise ConfigError(f"The CA file {path} does not exist.")
    return Server(parts.hostname, port or (8883 if tls else 1883), tls, path)
