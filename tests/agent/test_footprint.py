"""Memory that the agent gives back."""

import subprocess
import sys

from agent import footprint
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant

MIB = 1024**2

_CHILD = """
import sys
from pathlib import Path
import numpy as np, psutil
from agent import footprint
from agent.inference import inference_engine
model = inference_engine.load(Path(sys.argv[1]), threads=1)
feeds = {"state": np.ones((1, 4), np.float32)}
before = model.runtime.run(feeds)["actions"]
used = psutil.Process().memory_info().rss
assert footprint.let_go() > 0
for _ in range(200):
    after = model.runtime.run(feeds)["actions"]
assert (after == before).all()
import json, sqlite3, ssl, decimal  # what was let go of still works, and so does what was never there
assert json.loads("[1]") == [1] and sqlite3.connect(":memory:").execute("SELECT 2").fetchone() == (2,)
ssl.create_default_context()
print(used, psutil.Process().memory_info().rss)
"""


def test_what_only_the_start_needed_is_let_go_and_everything_works_on(tmp_path):
    folder = folder_of(variant(2.0), tmp_path / "a")
    done = subprocess.run([sys.executable, "-c", _CHILD, folder], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert before - after > 15 * MIB


def test_only_files_of_which_nothing_was_changed_are_let_go_of():
    smaps = """\
7f0000000000-7f0000001000 r--p 00000000 08:01 11 /usr/lib/libx.so
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f0000001000-7f0000003000 r-xp 00001000 08:01 11 /usr/lib/libx.so
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00003000 08:01 11 /usr/lib/libx.so
Anonymous:             4 kB
7f0000004000-7f0000005000 rw-p 00004000 08:01 11 /usr/lib/libx.so
Anonymous:             0 kB
7f0000005000-7f0000006000 r--s 00000000 08:01 12 /var/lib/shared
Anonymous:             0 kB
7f0000006000-7f0000007000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f0000008000-7f0000009000 r--p 00000000 00:00 0
Anonymous:             0 kB
"""
    assert footprint._unchanged(smaps) == [(0x7F0000000000, 0x7F0000001000), (0x7F0000001000, 0x7F0000003000)]


def test_a_kernel_that_does_not_tell_changes_nothing(tmp_path):
    assert footprint.let_go(tmp_path / "smaps") == 0
