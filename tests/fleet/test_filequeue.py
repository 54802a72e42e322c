"""The file-system queue under many hands: every message once, none torn, no worker dead."""

import subprocess
import sys
from pathlib import Path

from kombu import Connection

from fleet import filequeue

MESSAGES, WRITERS = 200, 4
WRITER = """
import sys
from kombu import Connection
from fleet import filequeue
filequeue.use()
folder, who = sys.argv[1:]
options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control"}
with Connection("filesystem://", transport_options=options) as connection:
    queue = connection.SimpleQueue("work")
    for number in range(%d):
        queue.put({"who": who, "number": number, "padding": "x" * 5000})
    queue.close()
"""


def test_four_writers_and_a_reader_lose_and_tear_nothing(tmp_path):
    filequeue.use()
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "control").mkdir()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER % MESSAGES, str(tmp_path), str(number)], cwd=root)
        for number in range(WRITERS)
    ]
    options = {
        "data_folder_in": str(tmp_path),
        "data_folder_out": str(tmp_path),
        "control_folder": str(tmp_path / "control"),
        "polling_interval": 0.01,
    }
    seen = set()
    with Connection("filesystem://", transport_options=options) as connection:
        queue = connection.SimpleQueue("work")
        for _ in range(MESSAGES * WRITERS):
            message = queue.get(timeout=30)
            seen.add((message.payload["who"], message.payload["number"]))
            message.ack()
        queue.close()
    assert [writer.wait(10) for writer in writers] == [0] * WRITERS
    assert len(seen) == MESSAGES * WRITERS
