"""Every package that the agent needs has a wheel for each board: pip's own resolver says so, for each Python."""

import json
import subprocess
import sys
import tomllib
from functools import cache

import pytest

from tests.agent.support import ROOT

PROJECT = tomllib.loads((ROOT / "agent/pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
#: glibc 2.28 (Debian 10, Ubuntu 20.04 and later, Raspberry Pi OS, JetPack 5 and 6), and the older ones that it runs.
GLIBC = (28, 27, 26, 24, 17, 12, 5)


def resolve(python: str, machine: str, *requirements: str) -> subprocess.CompletedProcess[str]:
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC] + [
        f"--platform=manylinux2014_{machine}"
    ]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", python, "--target", "/nowhere"),
            *("--disable-pip-version-check", "--retries", "1", "--timeout", "10", *platforms, *requirements),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@cache
def index() -> str:
    """Why pip has no index; empty when it has one."""
    done = resolve("3.11", "x86_64", "paho-mqtt")
    return done.stderr.strip()[-300:] if done.returncode else ""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_there_is_a_wheel_of_everything(python, machine):
    if index():
        pytest.skip(f"pip reaches no index: {index()}")
    done = resolve(python, machine, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["images"])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = {each["metadata"]["name"].lower(): each["download_info"]["url"] for each in report["install"]}

    assert all(url.endswith(".whl") for url in found.values()), found
    assert {"onnxruntime", "numpy", "msgspec", "psutil", "cryptography", "paho-mqtt", "tuf", "pillow"} <= set(found)
    print(f"\nPython {python}, {machine}: {len(found)} wheels")


def test_the_resolver_says_no_where_there_is_none():
    """Otherwise the test above could not fail: there is no onnxruntime for a Python of long ago."""
    if index():
        pytest.skip(f"pip reaches no index: {index()}")
    assert resolve("3.5", "x86_64", "onnxruntime>=1.23").returncode != 0
