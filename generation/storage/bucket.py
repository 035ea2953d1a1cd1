"""Files in an S3 bucket, by django-storages. Reads ranges, so that no picture has to fit into memory twice.

A connection of boto3 takes a tenth of a second to make and belongs to one thread, while under ASGI every request has a
thread of its own. So what writes goes through a few threads that keep theirs, and what reads shares one client, which
boto3 allows.
"""

import functools
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, TypeVar, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages

T = TypeVar("T")
THREADS = 4
BLOCK = 256 * 1024
NOT_THERE = frozenset({"404", "NoSuchKey", "NotFound"})


@contextmanager
def _speaking_os(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in NOT_THERE:
            raise FileNotFoundError(f"There is no {name} in the bucket.") from error
        raise OSError(f"The bucket refuses {name}: {code}.") from error
    except BotoCoreError as error:
        raise OSError(f"The bucket does not answer: {type(error).__name__}.") from error


class Ranges(io.RawIOBase):
    """A file of the bucket that is fetched as it is read. A buffered reader around it decides how much at once."""

    def __init__(self, client: Any, bucket: str, key: str, size: int) -> None:
        super().__init__()
        self._client, self._bucket, self._key, self._size, self._at = client, bucket, key, size, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """From any place."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Nothing is fetched."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """One request."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with _speaking_os(self._key):
            span = f"bytes={self._at}-{self._at + wanted - 1}"
            body = self._client.get_object(Bucket=self._bucket, Key=self._key, Range=span)["Body"].read()
        buffer[: len(body)] = body
        self._at += len(body)
        return len(body)


class Bucket:
    """The shelf in S3."""

    def __init__(self) -> None:
        self._storage = cast(Any, storages["default"])
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._name = str(self._storage.bucket_name)
        self._client = self._apart("bucket", lambda: self._storage.connection.meta.client)
        self._outside = _outside_client(self._client)

    def write(self, name: str, data: bytes) -> None:
        """S3 shows a file only when all of it is there."""
        self._apart(name, lambda: self._storage.save(name, ContentFile(data)))

    def open(self, name: str) -> BinaryIO:
        """Fetched in blocks."""
        return io.BufferedReader(Ranges(self._client, self._name, name, self.size(name)), BLOCK)

    def size(self, name: str) -> int:
        """One question."""
        with _speaking_os(name):
            return int(self._client.head_object(Bucket=self._name, Key=name)["ContentLength"])

    def remove(self, name: str) -> None:
        """S3 minds no file that is gone."""
        self._apart(name, lambda: self._storage.delete(name))

    def remove_beside(self, *names: str) -> None:
        """One after the other."""
        for name in names:
            try:
                self.remove(name)
            except OSError:
                continue  # swept later

    def old_pictures(self, folder: str, picture: str, seconds: float) -> Iterator[str]:
        """By the newest file of each."""
        newest: dict[str, datetime] = {}
        for key, changed in self._files(folder):
            made = key.rpartition("/")[0]
            newest[made] = max(changed, newest.get(made, changed))
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        return (f"{made}/{picture}" for made, changed in newest.items() if changed < before)

    def old_files(self, folder: str, seconds: float) -> Iterator[str]:
        """By their own time."""
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        return (key for key, changed in self._files(folder) if changed < before)

    def address(self, name: str, *, content_type: str, disposition: str) -> str:
        """Signed here, nothing is asked."""
        told = {"ResponseContentType": content_type}
        if disposition:
            told["ResponseContentDisposition"] = disposition
        with _speaking_os(name):
            return str(
                self._outside.generate_presigned_url(
                    "get_object",
                    Params={"Bucket": self._name, "Key": name, **told},
                    ExpiresIn=settings.DOWNLOAD_SECONDS,
                )
            )

    def _files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        with _speaking_os(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=f"{folder}/")
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"], found["LastModified"]

    def _apart(self, name: str, work: Callable[[], T]) -> T:
        with _speaking_os(name):
            return self._threads.submit(work).result()


def _outside_client(inside: Any) -> Any:
    """For addresses that browsers shall use, where they reach the bucket under another name."""
    if not settings.S3["public_endpoint"]:
        return inside
    return boto3.client(
        "s3",
        endpoint_url=settings.S3["public_endpoint"],
        region_name=settings.S3["region"] or None,
        aws_access_key_id=settings.S3["access_key"] or None,
        aws_secret_access_key=settings.S3["secret_key"] or None,
        config=inside.meta.config,
    )


def the_bucket() -> Bucket:
    """The one of this process."""
    return _bucket_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _bucket_of(pid: int) -> Bucket:
    return Bucket()
