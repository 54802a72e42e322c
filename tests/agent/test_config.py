"""Settings from a file, the environment and flags."""

from pathlib import Path

import pytest

from agent import config
from agent.addresses import Listen, Server
from agent.config import ConfigError, Declared
from tests.agent.support import ROOT

SERVER = {"EDGE_AGENT_SERVER": "mqtt://broker.local"}


def load(flags=None, environment=None, file: Path | None = None):
    return config.load(flags or {}, {**SERVER, **(environment or {})}, file)


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "agent.toml"
        path.write_text(text)
        return path

    return write


def test_a_server_is_enough(monkeypatch):
    monkeypatch.setenv("HOME", "/home/robot")
    settings = load()

    assert settings.server == Server("broker.local", 1883)
    assert settings.data == Path("/home/robot/.local/state/edge-agent")
    assert settings.name
    assert (settings.token, settings.source, settings.threads, settings.declared) == ("", "", 0, None)


def test_flags_win_over_the_environment_and_that_over_the_file(file):
    path = file('name = "from the file"\nseed = 1\nnice = 1\n')
    settings = load({"seed": "3"}, {"EDGE_AGENT_SEED": "2", "EDGE_AGENT_NICE": "2"}, path)

    assert (settings.seed, settings.nice, settings.name) == (3, 2, "from the file")


def test_a_declared_device_from_a_file(file):
    settings = load(
        file=file(
            '[declared]\ncores = 4\nmemory_gib = 3.7\nstorage_gib = 32\nboard = "Pi"\naccelerators = ["npu", "gpu"]\n'
        )
    )

    assert settings.declared == Declared(4.0, 3.7, 32.0, "Pi", "", ("npu", "gpu"))


def test_a_declared_device_from_the_environment():
    settings = load(
        environment={
            "EDGE_AGENT_DECLARED_CORES": "2",
            "EDGE_AGENT_DECLARED_MEMORY_GIB": "1",
            "EDGE_AGENT_DECLARED_STORAGE_GIB": "8",
            "EDGE_AGENT_DECLARED_ACCELERATORS": "npu, gpu,",
            "EDGE_AGENT_DECLARED_BOARD": "",
        }
    )

    assert settings.declared == Declared(2.0, 1.0, 8.0, "", "", ("npu", "gpu"))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mqtt://h", Server("h", 1883)),
        ("mqtt://h:2000/", Server("h", 2000)),
        ("mqtts://h", Server("h", 8883, True)),
        ("mqtt://[::1]:1884", Server("::1", 1884)),
    ],
)
def test_server_addresses(url, server):
    assert load({"server": url}).server == server


@pytest.mark.parametrize(
    ("given", "listen", "words"),
    [
        ("127.0.0.1:8008", Listen("127.0.0.1", 8008), "127.0.0.1:8008"),
        ("localhost:8008", Listen("127.0.0.1", 8008), "127.0.0.1:8008"),
        ("[::1]:8008", Listen("::1", 8008), "[::1]:8008"),
        (
            "unix:/run/api.sock",
            Listen(path=Path("/run/api.sock")),
            "unix:/run/api.sock",
        ),
    ],
)
def test_where_the_local_api_is(given, listen, words):
    settings = load({"api": given}, {"EDGE_AGENT_API_TOKEN": "0123456789abcdef"})

    assert (settings.api, str(settings.api)) == (listen, words)
    assert settings.api_token == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)
    assert load().api is None


def test_tags_from_the_command_line_and_from_a_file(file):
    assert load({"tags": "Site=Berlin, spare,site=bern"}).tags == ("site=bern", "spare")
    assert config.load({}, {}, file('server = "mqtt://h"\ntags = ["site=berlin"]\n')).tags == ("site=berlin",)
    assert load().tags == ()


def test_a_ca_file_is_found_beside_the_settings_file(file, tmp_path):
    (tmp_path / "ca.pem").write_text("x")
    settings = config.load({}, {}, file('server = "mqtts://h"\nca = "ca.pem"\n'))

    assert settings.server == Server("h", 8883, True, tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"server": "h:1883"}, "is not of the form mqtt://host:port"),
        ({"server": "http://h"}, "is not of the form mqtt://host:port"),
        ({"server": "mqtt://h:99999"}, "is no address"),
        ({"server": "mqtt://user:secret@h"}, "holds a login"),
        ({"server": "mqtts://h", "ca": "/no/such/file"}, "/no/such/file does not exist"),
        ({"ca": "/x"}, "does not use TLS"),
        ({"seed": "x"}, "--seed: 'x' is no whole number from 0 to 2147483647."),
        ({"tags": "site=berlin,a b"}, "--tags: 'site=berlin,a b' is no list of tags: “a b” is no tag: its name"),
        ({"nice": "20"}, "--nice: '20' is no whole number from 0 to 19."),
        ({"log_level": "loud"}, "--log-level: 'loud' is no log level"),
        ({"source": "module.factory"}, "does not look like module:factory"),
        ({"api": "0.0.0.0:8008"}, "--api: '0.0.0.0:8008' is not on loopback"),
        ({"api": "robot.example:8008"}, "is not on loopback"),
        ({"api": "8008"}, "is neither host:port nor unix:/path"),
        ({"api": "127.0.0.1:0"}, "is neither host:port nor unix:/path"),
        ({"api": "127.0.0.1:99999"}, "is neither host:port nor unix:/path"),
        ({"api": "127.0.0.1:8008/x"}, "is neither host:port nor unix:/path"),
        ({"api": "unix:api.sock"}, "is no absolute path of at most 100 bytes"),
        ({"api": "unix:/" + "x" * 100}, "is no absolute path of at most 100 bytes"),
        ({"api_token": "0123456789abcdef"}, "A token for the local API is set, but no API."),
        ({"declared.cores": "0"}, "--declared-cores: '0' is no positive number."),
        ({"declared.cores": "4"}, "missing: declared.memory_gib, declared.storage_gib"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(flags, words):
    with pytest.raises(ConfigError) as problem:
        load(flags)

    assert words in str(problem.value)


def test_a_wrong_token_is_not_shown():
    with pytest.raises(ConfigError, match="EDGE_AGENT_TOKEN: its value is no enrollment token") as problem:
        load(environment={"EDGE_AGENT_TOKEN": "very secret"})

    assert "very secret" not in str(problem.value)
    with pytest.raises(ConfigError, match="EDGE_AGENT_API_TOKEN: its value is no token"):
        load(environment={"EDGE_AGENT_API": "127.0.0.1:8008", "EDGE_AGENT_API_TOKEN": "short"})
    assert "s3cret" not in repr(load(environment={"EDGE_AGENT_TOKEN": "id.s3cret"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("servr = 'x'", "unknown setting servr"),
        ("[declared]\ncoers = 4", "unknown setting declared.coers"),
        ("= 1", "cannot be read"),
        ("seed = true", "seed in .*: True is no whole number"),
        ("name = 5", "name in .*: 5 is no text"),
    ],
)
def test_a_wrong_file_says_where(file, text, words):
    with pytest.raises(ConfigError, match=words):
        load(file=file(text))


def test_every_setting_is_described():
    text = (ROOT / "agent/README.md").read_text()
    for option in config.OPTIONS:
        table, _, key = option.key.rpartition(".")
        words = [key, "EDGE_AGENT_DECLARED_…"] if table else [option.key, option.flag, option.variable]
        assert all(f"`{word}`" in text for word in words), option.key


def test_without_a_server_it_says_how_to_give_one():
    with pytest.raises(ConfigError, match="--server mqtt://host:port, EDGE_AGENT_SERVER"):
        config.load({}, {})
