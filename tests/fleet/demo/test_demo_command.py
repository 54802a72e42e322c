"""Starting over deletes what the demo made, and nothing else."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from fleet.demo.stack import free_port

ROOT = Path(__file__).resolve().parents[3]


def test_reset_leaves_what_is_not_the_demos(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "artifacts" / "ab").mkdir(parents=True)
    env = {**os.environ, "EDGEFLEET_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "fleet.settings"}
    run = subprocess.run(
        [sys.executable, "manage.py", "demo", "--reset"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "still holds thesis.txt" in run.stdout


def test_a_taken_port_is_replaced_by_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
