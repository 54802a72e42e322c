"""docker-compose.yml: to the specification's schema, and the same processes and settings as PROFILE=services."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.test import override_settings

from fleet import profiles
from fleet.demo.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docker-compose.yml"
#: Processes whose health nobody can ask for: a solo worker answers nobody at work, beat never does. Jobs and ticks say.
SILENT = {"optimizer", "beat", "prepare"}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load(FILE.read_text())


def commands() -> dict[str, list[str]]:
    """What PROFILE=services runs, as a container would: its own Python, every address, the usual port."""
    with override_settings(MQTT_BROKER="mosquitto"):
        found = {process.name: list(process.command) for process in Stack(8000, 1883).server()}
    found["mosquitto"] = found.pop("broker")
    return {
        name: ["python" if word == sys.executable else "0.0.0.0" if word == "127.0.0.1" else word for word in words]  # noqa: S104  # compared, not bound
        for name, words in found.items()
    }


def test_it_is_to_the_specifications_schema():
    done = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_process_of_the_profile_is_a_service_with_the_same_command(compose):
    assert {name: compose["services"][name]["command"] for name in commands()} == commands()


def test_the_agent_is_started_as_the_simulated_ones_are(compose):
    started = next(Stack(8000, 1883).devices("token"))
    assert compose["services"]["agent"]["command"] == ["python", *started.command[1:]]
    assert set(compose["services"]["agent"]["environment"]) <= set(started.env)


def test_its_settings_are_those_of_the_profile_and_the_server_reads_them_all(compose):
    settings = (ROOT / "fleet/settings.py").read_text()
    read = set(re.findall(r'(?:environ\.get|_flag)\(\s*"([A-Z_]+)"', settings))
    read |= {f"EDGEFLEET_{name.upper()}" for name in re.findall(r'_kept_secret\("([a-z_]+)"\)', settings)}
    for name in (*commands(), "prepare"):
        given = compose["services"][name]["environment"]
        assert set(profiles.SERVICES) <= set(given), name
        assert set(given) - {"OMP_NUM_THREADS"} <= read, name
        assert given["PROFILE"] == "services"
        assert given["MQTT_BROKER"] == profiles.defaults("services", Path("/data"), {})["MQTT_BROKER"]


def test_images_are_pinned_nobody_is_root_and_health_is_asked_for(compose):
    for name, service in compose["services"].items():
        if "build" in service:
            text = (ROOT / service["build"]["dockerfile"]).read_text()
            assert re.search(r"^FROM \S+:\d+\.\d+\.\d+", text, re.MULTILINE), "a base image with its exact version"
            assert re.search(r"^USER (?!root)\w+", text, re.MULTILINE)
            assert service["cap_drop"] == ["ALL"]
        else:
            assert re.search(r":\d+\.\d+", service["image"]), name
        assert ("healthcheck" in service) is (name not in SILENT), name


def test_no_secret_is_written_down(compose):
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", key) or "@" in value:
                assert "${" in value, f"{name}: {key}"


def test_the_agents_image_holds_neither_django_nor_torch():
    text = (ROOT / "deploy/agent.Dockerfile").read_text()
    assert re.findall(r"^COPY (\S+)", text, re.MULTILINE) == ["agent"]
    assert "requirements" not in text


def test_the_first_start_makes_keys_and_an_admin_and_the_second_makes_nothing(tmp_path):
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("EDGEFLEET", "DATABASE"))},
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "EDGEFLEET_DATA": str(tmp_path / "data"),
    }

    def prepare() -> str:
        words = [sys.executable, "manage.py", "prepare"]
        return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert re.search(r"Log in as admin with the password \S{16} \(shown this once\)", prepare())
    folder = tmp_path / "data/keys"
    assert {path.name for path in folder.iterdir()} == {"mqtt_secret.secret", "secret_key.secret", "root", "online"}
    keys = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(keys) == 5, "and one key of the root, one for the targets, one for what is signed every hour"
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
    made = [path.read_text() for path in keys]
    assert prepare() == ""
    assert [path.read_text() for path in keys] == made
