"""PostgreSQL, Redis and mosquitto for a profile that brings its own database and keys: are they there, make, remove."""

from collections.abc import Iterator

import psycopg
import redis
from django.conf import settings
from django.db import connections
from psycopg import sql

from fleet.brokers.mosquitto import configuration


def missing() -> Iterator[str]:
    """What PROFILE=services needs and does not find, each in a sentence. Nothing is changed."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("postgresql"):
        try:
            _maintenance().close()
        except psycopg.Error as problem:
            yield f"PostgreSQL at {database['HOST']}:{database['PORT']} does not answer: {_line(problem)}"
    for url in {settings.CELERY_BROKER_URL, settings.EVENTS_URL}:
        if url.startswith("redis"):
            try:
                redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3).ping()
            except redis.RedisError as problem:
                yield f"Redis at {url.rpartition('@')[2]} does not answer: {_line(problem)}"
    if settings.MQTT_BROKER == "mosquitto" and (configuration.program() is None or configuration.plugin() is None):
        yield "mosquitto with its dynamic-security plugin is not installed (Debian: apt install mosquitto)"


def make_database() -> None:
    """Create the profile's database, if it is not there. One that somebody else named is somebody else's."""
    if "DATABASE_URL" not in settings.PROFILE_OWN:
        return
    name = settings.DATABASES["default"]["NAME"]
    with _maintenance() as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def remove() -> None:
    """Drop the profile's database, and delete its keys in Redis."""
    if "DATABASE_URL" in settings.PROFILE_OWN:
        connections.close_all()
        name = settings.DATABASES["default"]["NAME"]
        with _maintenance() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    if "EDGEFLEET_REDIS_PREFIX" in settings.PROFILE_OWN:
        client = redis.Redis.from_url(settings.CELERY_BROKER_URL)
        for key in client.scan_iter(match=f"{settings.REDIS_PREFIX}*", count=1000):
            client.delete(key)
        client.close()


def _maintenance() -> psycopg.Connection:
    """A connection to the server's own database, from which others are made."""
    given = settings.DATABASES["default"]
    return psycopg.connect(
        host=given["HOST"] or None,
        port=given["PORT"] or None,
        user=given["USER"] or None,
        password=given["PASSWORD"] or None,
        dbname="postgres",
        autocommit=True,
        connect_timeout=3,
    )


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())
