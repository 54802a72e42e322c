"""Named sets of defaults for the settings. Each is an environment variable of its own, and what is set counts more."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

#: What `PROFILE=services` fills in, where it is not set.
SERVICES = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "EDGEFLEET_EVENTS_URL",
    "EDGEFLEET_REDIS_PREFIX",
    "MQTT_BROKER",
)


def defaults(profile: str, data: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The profile's settings. Raises ValueError for a name that is none.

    services: PostgreSQL, Redis and mosquitto of this machine. Database and keys are named after the data folder, so
    that installations side by side do not meet. A broker given by MQTT_URL runs already; else one of ours is started.
    """
    if not profile:
        return {}
    if profile != "services":
        raise ValueError(f"there is no profile {profile!r}; PROFILE is services, or not set")
    own = hashlib.sha256(str(data).encode()).hexdigest()[:8]
    redis = environment.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
    values = (
        f"postgres://postgres@127.0.0.1:5432/edgefleet_{own}",
        redis,
        redis,
        f"edgefleet-{own}:",
        "external" if "MQTT_URL" in environment else "mosquitto",
    )
    return dict(zip(SERVICES, values, strict=True))
