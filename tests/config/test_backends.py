"""Servers by settings: what is taken, what is refused in words, and that no message repeats a password."""

from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from django.core.exceptions import ImproperlyConfigured

from config import backends


def test_without_settings_one_machine_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESSERA_S3_BUCKET", raising=False)
    assert backends.databases(tmp_path, "", 16)["default"]["NAME"] == tmp_path / "tessera.sqlite3"
    assert backends.channel_layers(tmp_path, "")["default"]["BACKEND"] == "core.layer.LocalChannelLayer"
    assert "locmem" in backends.caches("")["default"]["BACKEND"]
    assert backends.s3_bucket() == {}
    assert "FileSystem" in backends.storages({})["default"]["BACKEND"]


def test_postgresql_has_a_pool_and_no_persistent_connections(tmp_path: Path) -> None:
    found = backends.databases(tmp_path, "postgresql://tess:p%40ss%2F@db.example.org:5433/pictures?sslmode=require", 9)
    database = found["default"]
    assert [database[name] for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD")] == [
        "db.example.org",
        5433,
        "pictures",
        "tess",
        "p@ss/",
    ]
    assert (database["CONN_MAX_AGE"], database["OPTIONS"]["pool"]["max_size"]) == (0, 9)
    assert database["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize("url", ["mysql://root:secret@host/db", "host/db:secret", "postgresql://u:secret@host:port/db"])
def test_no_postgresql(url: str, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="TESSERA_DATABASE_URL") as refused:
        backends.databases(tmp_path, url, 9)
    assert "secret" not in str(refused.value)


def test_no_redis() -> None:
    assert backends.redis_url("rediss://:secret@host:6379/1") == "rediss://:secret@host:6379/1"
    with pytest.raises(ImproperlyConfigured, match="TESSERA_REDIS_URL") as refused:
        backends.redis_url("http://:secret@host")
    assert "secret" not in str(refused.value)


def test_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_S3_BUCKET", "pictures")
    assert backends.s3_bucket()["addressing"] == "auto"
    monkeypatch.setenv("TESSERA_S3_ENDPOINT", "https://s3.example.org")
    found = backends.s3_bucket()
    assert (found["addressing"], backends.origin_of(found)) == ("path", ["https://s3.example.org"])
    monkeypatch.setenv("TESSERA_S3_ACCESS_KEY", "somebody")
    with pytest.raises(ImproperlyConfigured, match="both"):
        backends.s3_bucket()
    monkeypatch.setenv("TESSERA_S3_SECRET_KEY", "something")
    monkeypatch.setenv("TESSERA_S3_ENDPOINT", "s3.example.org")
    with pytest.raises(ImproperlyConfigured, match="TESSERA_S3_ENDPOINT"):
        backends.s3_bucket()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
@pytest.mark.parametrize("bucket", ["pictures", "pictures.example.org"])
@pytest.mark.parametrize("addressing", ["auto", "path", "virtual"])
def test_pages_may_fetch_from_where_amazons_addresses_lead(region: str, bucket: str, addressing: str) -> None:
    s3 = {"bucket": bucket, "endpoint": "", "public_endpoint": "", "region": region, "addressing": addressing}
    client = boto3.client(
        "s3",
        region_name=region,
        aws_access_key_id="somebody",
        aws_secret_access_key="something",  # noqa: S106
        config=backends._s3_client(s3),
    )
    assert client.meta.config.read_timeout == backends.S3_READ_SECONDS < 60, "not botocore's own patience"
    address = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "images/a.png"}))
    assert f"{address.scheme}://{address.netloc}" in (found := backends.origin_of(s3))
    assert all("*" not in origin and region in origin for origin in found[:1])
    named = addressing != "path" and "." not in bucket
    assert all(urlsplit(origin).netloc.startswith(f"{bucket}.") for origin in found) == named


def test_amazons_region_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = {"bucket": "pictures", "endpoint": "", "public_endpoint": "", "region": "", "addressing": "auto"}
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ImproperlyConfigured, match="TESSERA_S3_REGION"):
        backends.origin_of(s3)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert backends.origin_of(s3) == [f"https://pictures.s3{end}.amazonaws.com" for end in (".eu-west-1", "")]


@pytest.mark.parametrize(("chosen", "s3"), [("accel", {"bucket": "x"}), ("presigned", {}), ("mail", {})])
def test_downloads_that_cannot_be(chosen: str, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DOWNLOADS", chosen)
    with pytest.raises(ImproperlyConfigured, match="TESSERA_DOWNLOADS"):
        backends.downloads(s3)
