"""What the portal stands on, by settings: SQLite and a local socket on one machine, PostgreSQL and Redis on several.

Pure wiring: what is not set stays as it is on one machine, and what is set needs its libraries (`pip install
".[cluster]"`). A URL may hold a password, so no message repeats one.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from config.env import env_choice, env_str

INSTALL = 'Install what it needs: .venv/bin/python -m pip install ".[cluster]"'
POOL_WAIT_SECONDS = 10
CONNECT_SECONDS = 5
# Messages per web process that wait in Redis: all sockets of a process share it, and over it the newest are dropped.
CAPACITY = 2000
EXPIRY_SECONDS = 30
# Longer than daphne keeps any socket, so that none silently leaves its group.
GROUP_SECONDS = 2 * 24 * 3600
REDIS_CONNECT_SECONDS = 3
# A layer waits up to five seconds for a message; with the driver's own five, quiet sockets would break.
READ_SECONDS = 30
S3_MEMORY_BYTES = 16 * 1024 * 1024
S3_CONNECT_SECONDS, S3_READ_SECONDS = 5, 20


def databases(data: Path, url: str, pool: int) -> dict[str, Any]:
    """PostgreSQL where `url` names one, with at most `pool` connections a process; else SQLite in the data folder."""
    return {"default": _postgres(url, pool) if url else _sqlite(data)}


def channel_layers(data: Path, redis: str) -> dict[str, Any]:
    """Redis for several web processes; else a local layer over a Unix socket: one web process, many senders."""
    if not redis:
        return {"default": {"BACKEND": "core.layer.LocalChannelLayer", "CONFIG": {"folder": str(data / "run")}}}
    config = {
        "hosts": [{"address": redis, "socket_connect_timeout": REDIS_CONNECT_SECONDS, "socket_timeout": READ_SECONDS}],
        "capacity": CAPACITY,
        "expiry": EXPIRY_SECONDS,
        "group_expiry": GROUP_SECONDS,
    }
    return {"default": {"BACKEND": "core.redis_layer.PatientRedisLayer", "CONFIG": config}}


def caches(redis: str) -> dict[str, Any]:
    """Shared by all machines where there is Redis, e.g. so that login attempts are counted once."""
    if not redis:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    options = {
        "serializer": "core.json_cache.JsonSerializer",
        "socket_connect_timeout": REDIS_CONNECT_SECONDS,
        "socket_timeout": 2 * REDIS_CONNECT_SECONDS,
    }
    backend = "django.core.cache.backends.redis.RedisCache"
    return {"default": {"BACKEND": backend, "LOCATION": redis, "KEY_PREFIX": "tessera-json", "OPTIONS": options}}


def _s3_client(s3: dict[str, str]) -> Any:
    """How an S3 is asked: by itself botocore waits five minutes for one that swallows everything."""
    from botocore.config import Config

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": s3["addressing"]},
        connect_timeout=S3_CONNECT_SECONDS,
        read_timeout=S3_READ_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )


def storages(s3: dict[str, str]) -> dict[str, Any]:
    """Pictures in an S3 bucket where one is named, else in the media folder. Static files are never there."""
    static = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    if not s3:
        return {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}, "staticfiles": static}
    options = {
        "bucket_name": s3["bucket"],
        "endpoint_url": s3["endpoint"] or None,
        "region_name": s3["region"] or None,
        "access_key": s3["access_key"] or None,
        "secret_key": s3["secret_key"] or None,
        "client_config": _s3_client(s3),
        "default_acl": None,
        "file_overwrite": True,  # names are drawn by lot, and asking first would cost a question each time
        "max_memory_size": S3_MEMORY_BYTES,
    }
    return {"default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}, "staticfiles": static}


def s3_bucket() -> dict[str, str]:
    """TESSERA_S3_*; empty without TESSERA_S3_BUCKET. Without keys the machine's own role is used."""
    names = ("bucket", "endpoint", "public_endpoint", "region", "access_key", "secret_key")
    found = {name: env_str(f"TESSERA_S3_{name.upper()}") for name in names}
    if not found["bucket"]:
        return {}
    for name in ("endpoint", "public_endpoint"):
        if found[name] and urlsplit(found[name]).scheme not in {"http", "https"}:
            raise ImproperlyConfigured(f"TESSERA_S3_{name.upper()} is no address; use https://host or leave it out.")
    if bool(found["access_key"]) != bool(found["secret_key"]):
        raise ImproperlyConfigured("Set both TESSERA_S3_ACCESS_KEY and TESSERA_S3_SECRET_KEY, or neither.")
    _require("storages", "TESSERA_S3_BUCKET")
    _require("boto3", "TESSERA_S3_BUCKET")
    # An endpoint of one's own seldom has a name for each bucket.
    style = env_choice("TESSERA_S3_ADDRESSING", "path" if found["endpoint"] else "auto", ["auto", "path", "virtual"])
    return {**found, "addressing": style}


def downloads(s3: dict[str, str]) -> str:
    """TESSERA_DOWNLOADS: who sends the bytes of a picture that leaves as it is kept."""
    chosen = env_choice("TESSERA_DOWNLOADS", "stream", ["stream", "accel", "presigned"])
    if chosen == "accel" and s3:
        raise ImproperlyConfigured(
            "TESSERA_DOWNLOADS is 'accel', for which pictures must lie in a folder that the proxy reads; "
            "with TESSERA_S3_BUCKET use presigned or stream."
        )
    if chosen == "presigned" and not s3:
        raise ImproperlyConfigured("TESSERA_DOWNLOADS is 'presigned', which needs TESSERA_S3_BUCKET.")
    return chosen


def origin_of(s3: dict[str, str]) -> list[str]:
    """Where browsers fetch presigned pictures, for the content security policy."""
    address = s3["public_endpoint"] or s3["endpoint"]
    if not address:
        return [f"https://{host}" for host in _amazon_hosts(s3)]
    parts = urlsplit(address)
    hosts = [parts.netloc] if s3["addressing"] == "path" else [parts.netloc, f"{s3['bucket']}.{parts.netloc}"]
    return [f"{parts.scheme}://{host}" for host in hosts]


def _amazon_hosts(s3: dict[str, str]) -> list[str]:
    """Of the bucket alone where its name can be part of a host: in its region, and the name that leads there."""
    region = s3["region"] or env_str("AWS_DEFAULT_REGION")
    if not region:
        raise ImproperlyConfigured("TESSERA_DOWNLOADS is 'presigned': set TESSERA_S3_REGION to the bucket's region.")
    if region.startswith("cn-"):
        ends = [f"s3.{region}.amazonaws.com.cn"]
    else:
        ends = [f"s3.{region}.amazonaws.com", "s3.amazonaws.com"]
    if s3["addressing"] == "path" or "." in s3["bucket"]:  # no certificate covers a name with dots
        return ends if region == "us-east-1" else ends[:1]
    return [f"{s3['bucket']}.{end}" for end in ends]


def redis_url(value: str) -> str:
    """TESSERA_REDIS_URL, checked."""
    if not value:
        return ""
    if urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured("TESSERA_REDIS_URL is no address of a Redis; use redis://host:6379/0.")
    _require("channels_redis", "TESSERA_REDIS_URL")
    return value


def _sqlite(data: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": data / "tessera.sqlite3",
        "CONN_MAX_AGE": None,  # the threads that make pages live on, and opening it takes as long as a query
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": os.environ.get("TESSERA_TEST_DATABASE") or None},
    }


def _postgres(url: str, pool: int) -> dict[str, Any]:
    """A pool and no persistent connections: each thread that makes pages would keep one."""
    for module in ("dj_database_url", "psycopg", "psycopg_pool"):
        _require(module, "TESSERA_DATABASE_URL")
    import dj_database_url

    if urlsplit(url).scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "TESSERA_DATABASE_URL is no address of a PostgreSQL; use postgresql://user:password@host:5432/tessera, "
            "or leave it out for SQLite."
        )
    try:
        found = dict(dj_database_url.parse(url, conn_max_age=0, conn_health_checks=True))
    except ValueError as error:
        raise ImproperlyConfigured(
            "TESSERA_DATABASE_URL cannot be read; write special characters of the password as %XX."
        ) from error
    found["OPTIONS"] = {
        "application_name": "tessera",
        "connect_timeout": CONNECT_SECONDS,
        **found.get("OPTIONS", {}),
        "pool": {"min_size": 0, "max_size": pool, "timeout": POOL_WAIT_SECONDS},
    }
    return found


def _require(module: str, setting: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ImproperlyConfigured(f"{setting} is set, but {module} is not installed. {INSTALL}")
