"""Real servers for tests, each in a folder of its own, on loopback: PostgreSQL, Redis, one that speaks S3, nginx.

The programs come from Debian's packages; `python -m tests.servers --prepare` fetches them where that is possible.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.portal import free_port

PACKAGES = {"postgres": "postgresql", "redis-server": "redis-server", "nginx": "nginx-light"}
SECONDS = 60.0
PLACES = ("/usr/sbin", "/usr/local/sbin")
PASSWORD = "p@ss:wo/rd %"  # with all that must be written otherwise in a URL


def program(name: str) -> str | None:
    """Where it is, without fetching anything."""
    found = shutil.which(name) or next((f"{place}/{name}" for place in PLACES if Path(place, name).exists()), None)
    return found or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


def needed(name: str) -> str:
    """`program` for a test: without it the test is reported as not run, or fails where servers are required."""
    import pytest

    if found := program(name):
        return found
    reason = f"no {name} is here (Debian: apt install {PACKAGES.get(name, name)})"
    if os.environ.get("TESSERA_REQUIRE_SERVERS"):
        pytest.fail(reason)
    pytest.skip(f"not run: {reason}")


@dataclass
class Server:
    """One process; `ready` tells when it answers."""

    command: Sequence[str]
    ready: Callable[[], bool]
    folder: Path
    user: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                cwd=self.folder,
                env={**os.environ, **self.environment},
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"{self.command[0]} did not start:\n{(self.folder / 'log').read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.kill()

    def kill(self) -> None:
        """With all that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def folder_of(name: str, user: str | None = None) -> Iterator[Path]:
    """A folder outside of pytest's, which other users cannot enter."""
    made = Path(tempfile.mkdtemp(prefix=f"tessera-{name}-"))
    if user is not None:
        shutil.chown(made, user)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def postgres() -> Iterator[tuple[Server, str]]:
    """A fresh one; gives the address of its empty database `tessera`."""
    binary = needed("postgres")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with folder_of("postgres", user) as folder:
        data, port = folder / "data", free_port()
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        init = [str(Path(binary).with_name("initdb")), "-D", str(data), "-U", "tessera", "-E", "UTF8", "--no-sync"]
        init += ["--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(init, user=user, cwd=folder, check=True, capture_output=True)
        command = [binary, "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
        server = Server([*command, "-c", "max_connections=100"], lambda: _answers(port), folder, user)
        server.start()
        address = f"postgresql://tessera:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{port}"
        try:
            _sql(f"{address}/postgres", "CREATE DATABASE tessera")
            yield server, f"{address}/tessera"
        finally:
            server.stop(signal.SIGINT)


@contextlib.contextmanager
def redis() -> Iterator[tuple[Server, str]]:
    """A fresh one, without a file; gives its address."""
    binary = needed("redis-server")
    with folder_of("redis") as folder:
        port, secret = free_port(), secrets.token_hex(8)
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = Server([*command, "--requirepass", secret], lambda: _answers(port), folder)
        server.start()
        try:
            yield server, f"redis://:{secret}@127.0.0.1:{port}/0"
        finally:
            server.stop()


@contextlib.contextmanager
def bucket(name: str = "pictures") -> Iterator[tuple[Server, dict[str, str]]]:
    """A server that speaks S3, with an empty bucket; gives the settings that lead there."""
    with folder_of("s3") as folder:
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = Server(command, lambda: _answers(port), folder)
        server.start()
        settings = {
            "TESSERA_S3_BUCKET": name,
            "TESSERA_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "TESSERA_S3_REGION": "us-east-1",
            "TESSERA_S3_ACCESS_KEY": "somebody",
            "TESSERA_S3_SECRET_KEY": "something",
        }
        try:
            _make_bucket(settings)
            yield server, settings
        finally:
            server.stop()


def _make_bucket(settings: dict[str, str]) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=settings["TESSERA_S3_ENDPOINT"],
        region_name=settings["TESSERA_S3_REGION"],
        aws_access_key_id=settings["TESSERA_S3_ACCESS_KEY"],
        aws_secret_access_key=settings["TESSERA_S3_SECRET_KEY"],
    )
    client.create_bucket(Bucket=settings["TESSERA_S3_BUCKET"])


def _sql(address: str, statement: str) -> None:
    import psycopg

    end = time.monotonic() + SECONDS
    while True:
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(statement.encode())
            return
        except psycopg.OperationalError:  # it listens, and is still starting
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def prepare() -> list[str]:
    """Fetch what is missing where that is possible; what is missing still."""
    missing = [name for name in PACKAGES if program(name) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        packages = [PACKAGES[name] for name in missing]
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], env=environment, capture_output=True, timeout=600, check=False)
    return [name for name in PACKAGES if program(name) is None]


def main() -> int:
    """`python -m tests.servers --prepare`: says in one line what is here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="fetch what is missing")
    missing = prepare() if parser.parse_args().prepare else [name for name in PACKAGES if program(name) is None]
    if not missing:
        sys.stdout.write("PostgreSQL, Redis and nginx are here\n")
        return 0
    packages = " ".join(PACKAGES[name] for name in missing)
    sys.stdout.write(f"Tests of many machines are NOT RUN without {', '.join(missing)}: apt install {packages}\n")
    return 1 if os.environ.get("TESSERA_REQUIRE_SERVERS") else 0


if __name__ == "__main__":
    sys.exit(main())
