"""The server's settings on a data folder of the tests' own, which goes when they end."""

import atexit
import os
import shutil
import tempfile

if "EDGEFLEET_DATA" not in os.environ:
    os.environ["EDGEFLEET_DATA"] = tempfile.mkdtemp(prefix="edgefleet-tests-")
    atexit.register(shutil.rmtree, os.environ["EDGEFLEET_DATA"], ignore_errors=True)

from fleet.settings import *  # noqa: F403  # the folder has to be known first
from fleet.settings import DATA_DIR, DATABASES, STATIC_ROOT, STORAGES

# A file, not memory: tests with threads and processes see one database, under the locks that users meet.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.db")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Static files come from where they lie: nothing is collected for a test.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a folder that is not there
