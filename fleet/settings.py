"""Settings of the server. What differs between installations is an environment variable, read here and nowhere else.

With none of them set, the server runs on SQLite, a file-system queue and the embedded broker, below `EDGEFLEET_DATA`;
with `PROFILE=services`, on PostgreSQL, Redis and mosquitto.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
import plotly

from fleet import profiles

BASE_DIR = Path(__file__).resolve().parent.parent
#: Where everything lives that this installation makes: database, artifacts, queue, keys.
DATA_DIR = Path(os.environ.get("EDGEFLEET_DATA", BASE_DIR / "var")).resolve()
KEYS_DIR = DATA_DIR / "keys"
#: A set of defaults by name; what is set beside it counts more.
PROFILE = os.environ.get("PROFILE", "")
_defaults = profiles.defaults(PROFILE, DATA_DIR, os.environ)
_environ = {**_defaults, **os.environ}
#: What the profile filled in, and may therefore make and remove.
PROFILE_OWN = frozenset(_defaults) - frozenset(os.environ)


def _kept_secret(name: str) -> str:
    """A secret from the environment, or one made once and kept in the data folder."""
    given = os.environ.get(f"EDGEFLEET_{name.upper()}")
    if given:
        return given
    path = KEYS_DIR / f"{name}.secret"
    KEYS_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return path.read_text()


def _flag(name: str, default: bool = False) -> bool:
    return os.environ.get(name, "1" if default else "").lower() in {"1", "true", "yes", "on"}


SECRET_KEY = _kept_secret("secret_key")
DEBUG = _flag("EDGEFLEET_DEBUG")
ALLOWED_HOSTS = os.environ.get("EDGEFLEET_HOSTS", "127.0.0.1,localhost,[::1]").split(",")
CSRF_TRUSTED_ORIGINS = [origin for origin in os.environ.get("EDGEFLEET_ORIGINS", "").split(",") if origin]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_htmx",
    "fleet.accounts",
    "fleet.audit",
    "fleet.devices",
    "fleet.catalog",
    "fleet.jobs",
    "fleet.rollouts",
    "fleet.trust",
    "fleet.telemetry",
    "fleet.gateway",
    "fleet.search",
    "fleet.brokers",
    "fleet.inference",
    "fleet.alerts",
    "fleet.dashboard",
    "fleet.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "fleet.dashboard.middleware.Language",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "fleet.dashboard.middleware.ContentSecurityPolicy",
    "fleet.dashboard.middleware.FormAddresses",
]

ROOT_URLCONF = "fleet.urls"
ASGI_APPLICATION = "fleet.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "fleet.dashboard.context.shell",
            ],
        },
    },
]

# --- Database -------------------------------------------------------------------------------------------------------

DATABASES = {"default": dj_database_url.parse(_environ.get("DATABASE_URL", f"sqlite:///{DATA_DIR / 'edgefleet.db'}"))}
# Gateway and workers keep theirs (fleet.asgi does not). It was perhaps cut meanwhile: it is looked at before use.
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["ENGINE"] = "fleet.sqlite"
    DATABASES["default"]["OPTIONS"] = {
        # A transaction takes the write lock at its start: two that read first and write later would else deadlock.
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People ---------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _flag("EDGEFLEET_TLS")
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE = SESSION_COOKIE_SECURE
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

#: For the first admin; made at random when there is none (fleet.accounts.first_start).
FIRST_PASSWORD = os.environ.get("EDGEFLEET_ADMIN_PASSWORD", "")

# --- Language, time, files ------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
#: Each under its own name. Pages are in the viewer's one; what is stored, logged and answered to programs is English.
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "fleet" / "locale"]
#: The language of e-mails and webhooks about alerts, which may have many readers.
ALERT_LANGUAGE = os.environ.get("EDGEFLEET_ALERT_LANGUAGE", LANGUAGE_CODE)
if ALERT_LANGUAGE not in dict(LANGUAGES):
    raise ValueError(f"EDGEFLEET_ALERT_LANGUAGE is {ALERT_LANGUAGE!r}; there are {', '.join(dict(LANGUAGES))}")
TIME_ZONE = "UTC"
USE_TZ = True
USE_THOUSAND_SEPARATOR = False

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    # plotly.min.js comes with the plotly package: nothing is fetched from elsewhere, nothing is vendored.
    ("vendor/plotly", str(Path(plotly.__file__).parent / "package_data")),
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names with a hash of their content, compressed once: browsers keep them for ever. Wants `collectstatic`.
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

ARTIFACTS_DIR = DATA_DIR / "artifacts"
WORK_DIR = DATA_DIR / "work"
FILE_UPLOAD_TEMP_DIR = None
#: The pages' address as people reach it: it stands in e-mails and webhooks. Empty: they have no links.
ADDRESS = os.environ.get("EDGEFLEET_ADDRESS", "").rstrip("/")
#: The pages' address as devices reach it. Where it is set, devices that ask may fetch parts from it (HTTP Range).
PARTS_URL = os.environ.get("EDGEFLEET_PARTS_URL", "").rstrip("/")
MAX_UPLOAD_BYTES = int(os.environ.get("EDGEFLEET_MAX_UPLOAD_BYTES", 8 * 1024**3))
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- Queue and live events ------------------------------------------------------------------------------------------

#: What all keys and channels in Redis begin with, so that several installations can share one.
REDIS_PREFIX = _environ.get("EDGEFLEET_REDIS_PREFIX", "edgefleet:")
#: A Redis that wakes open pages; without one, each web process asks the database again and again.
EVENTS_URL = _environ.get("EDGEFLEET_EVENTS_URL", "")
CELERY_BROKER_URL = _environ.get("CELERY_BROKER_URL", "filesystem://")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True  # a job's truth is its database row (fleet.jobs)
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
if CELERY_BROKER_URL.startswith("filesystem:"):
    _queue = DATA_DIR / "queue"
    for _folder in ("messages", "control"):
        (_queue / _folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_queue / "messages"),
        "data_folder_out": str(_queue / "messages"),
        "control_folder": str(_queue / "control"),
        "polling_interval": 0.1,
    }
elif CELERY_BROKER_URL.startswith("redis"):
    # Longer than the longest job: a task that outlasts it would be delivered twice.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 12 * 3600, "global_keyprefix": REDIS_PREFIX}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat.db")
#: How often the alert rules are looked at; those that count over minutes, each 30 s.
ALERT_SECONDS = float(os.environ.get("EDGEFLEET_ALERT_SECONDS", 5))
# A tick that no worker took in time is dropped: the next one does its work.
CELERY_BEAT_SCHEDULE = {
    name: {"task": task, "schedule": seconds, "options": {"expires": 2 * seconds}}
    for name, task, seconds in (
        ("requeue jobs whose worker died", "fleet.jobs.tasks.requeue_lost", 5.0),
        ("advance rollouts", "fleet.rollouts.tasks.tick", 2.0),
        ("measure phases", "fleet.rollouts.tasks.measure", 5.0),
        ("drop old rows", "fleet.telemetry.tasks.retention", 60.0),
        ("look at the alert rules", "fleet.alerts.tasks.tick", ALERT_SECONDS),
        ("look at the rules that count", "fleet.alerts.tasks.count", 30.0),
        ("deliver notifications", "fleet.alerts.tasks.deliver", 2.0),
        ("drop old alerts", "fleet.alerts.tasks.retention", 600.0),
        ("renew the release metadata", "fleet.trust.tasks.renew", 600.0),
    )
}

# --- E-mail -------------------------------------------------------------------------------------------------------

#: The mail server that alerts go through; without one, no e-mail is sent.
EMAIL_HOST = os.environ.get("EDGEFLEET_EMAIL_HOST", "")
EMAIL_USE_TLS = _flag("EDGEFLEET_EMAIL_STARTTLS")
EMAIL_USE_SSL = _flag("EDGEFLEET_EMAIL_TLS")
EMAIL_PORT = int(os.environ.get("EDGEFLEET_EMAIL_PORT") or (465 if EMAIL_USE_SSL else 587 if EMAIL_USE_TLS else 25))
EMAIL_HOST_USER = os.environ.get("EDGEFLEET_EMAIL_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EDGEFLEET_EMAIL_PASSWORD", "")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = os.environ.get("EDGEFLEET_EMAIL_FROM") or "edgefleet@localhost"

# --- MQTT -----------------------------------------------------------------------------------------------------------

#: `embedded`: amqtt in a process of ours; `mosquitto`: mosquitto as a process of ours; `external`: a mosquitto that
#: runs at MQTT_URL already. Each time `manage.py broker` keeps the logins.
MQTT_BROKER = _environ.get("MQTT_BROKER", "embedded")
MQTT_SERVER_SECRET = _kept_secret("mqtt_secret")
MQTT_URL = os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883")
_broker = urlsplit(MQTT_URL)
if _broker.scheme not in {"mqtt", "mqtts"} or not _broker.hostname:
    raise ValueError(f"MQTT_URL is {MQTT_URL!r}; it has the form mqtt://host:port, or mqtts://host:port for TLS")
MQTT_HOST, MQTT_TLS = _broker.hostname, _broker.scheme == "mqtts"
MQTT_PORT = (8883 if MQTT_TLS else 1883) if _broker.port is None else _broker.port
#: Where a broker of ours listens; 0.0.0.0 lets devices of other machines in.
MQTT_BIND = os.environ.get("MQTT_BIND", "127.0.0.1")
#: Certificate and key of a broker of ours, and the authority that the gateway checks it with (all PEM files).
MQTT_TLS_CERTIFICATE = os.environ.get("MQTT_TLS_CERTIFICATE", "")
MQTT_TLS_KEY = os.environ.get("MQTT_TLS_KEY", "")
MQTT_TLS_CA = os.environ.get("MQTT_TLS_CA", "")
#: A gateway that died is followed by one that stands by after so many seconds.
LEASE_SECONDS = float(os.environ.get("EDGEFLEET_LEASE_SECONDS", "10"))

# --- The server's inference, for devices in hybrid mode ---------------------------------------------------------------

#: Quotas of one device and of the fleet: requests a minute (of each web process), bytes of observations a day (UTC).
#: 0 is no limit. A device that decides ten times a second stays within its requests.
INFERENCE_DEVICE_REQUESTS = int(os.environ.get("EDGEFLEET_INFERENCE_DEVICE_REQUESTS", 600))
INFERENCE_DEVICE_BYTES = int(os.environ.get("EDGEFLEET_INFERENCE_DEVICE_BYTES", 2 * 10**9))
INFERENCE_FLEET_REQUESTS = int(os.environ.get("EDGEFLEET_INFERENCE_FLEET_REQUESTS", 6000))
INFERENCE_FLEET_BYTES = int(os.environ.get("EDGEFLEET_INFERENCE_FLEET_BYTES", 50 * 10**9))
#: Models that a web process holds ready at once, each in a process of its own, and the memory that each may take.
INFERENCE_MODELS = int(os.environ.get("EDGEFLEET_INFERENCE_MODELS", 4))
INFERENCE_MEMORY = int(os.environ.get("EDGEFLEET_INFERENCE_MEMORY", 2 * 1024**3))
#: How long it is kept who used it.
INFERENCE_USAGE_DAYS = 30

# --- Promises -------------------------------------------------------------------------------------------------------

#: A device that reported nothing for this long is shown as offline, even when its last will never came.
OFFLINE_AFTER_SECONDS = 30.0
#: How long samples are kept, and the roll-ups of a minute and of an hour: what is charted up to 1 h, 24 h, and beyond.
SAMPLE_DAYS = int(os.environ.get("EDGEFLEET_SAMPLE_DAYS", "2"))
MINUTE_DAYS = int(os.environ.get("EDGEFLEET_MINUTE_DAYS", "30"))
HOUR_DAYS = int(os.environ.get("EDGEFLEET_HOUR_DAYS", "400"))
DECISION_PROMISE_MS = 100.0

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname:7} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("EDGEFLEET_LOG", "INFO")},
    "loggers": {
        "kombu.connection": {"level": "ERROR"},  # it misses a host name in filesystem://
        "django.request": {"level": "ERROR"},  # what was not found or not allowed is the caller's business
        "amqtt": {"level": "ERROR"},
        "transitions": {"level": "WARNING"},
        "tuf": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
