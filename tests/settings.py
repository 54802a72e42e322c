"""The server's settings on a data folder of the tests' own, which goes when they end.

Tests that run side by side have a folder for each of their processes, which the processes that they start share.
"""

import atexit
import os
import shutil
import tempfile

_worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
_made = os.environ.get("EDGEFLEET_TESTS_MADE", "").partition(":")
if "EDGEFLEET_DATA" not in os.environ or (_made[2] == os.environ["EDGEFLEET_DATA"] and _made[0] != _worker):
    _folder = tempfile.mkdtemp(prefix="edgefleet-tests-")
    os.environ |= {"EDGEFLEET_DATA": _folder, "EDGEFLEET_TESTS_MADE": f"{_worker}:{_folder}"}
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)

from fleet.settings import *  # noqa: E402, F403  # the folder has to be known first
from fleet.settings import DATA_DIR, DATABASES, STATIC_ROOT, STORAGES  # noqa: E402

# A file, not memory: tests with threads and processes see one database, under the locks that users meet.
if DATABASES["default"]["ENGINE"].endswith("sqlite"):
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.db")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Static files come from where they lie: nothing is collected for a test.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a folder that is not there
