"""A real portal for tests: `manage.py run` in its own process, on a free port, with its own data folder."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
EMAIL = "admin@example.org"
PASSWORD = "correct horse battery"
DATABASE = "tessera.sqlite3"
STOP_SECONDS = 5.0
# Whatever proxy the environment names, the portal is on this machine.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Portal:
    """Started with start(), ended with stop(); `output` is what it printed."""

    data: Path
    arguments: list[str] = field(default_factory=lambda: ["--no-welcome"])
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> Path:
        """What it printed, both streams."""
        return self.data.parent / f"{self.data.name}.log"

    @property
    def output(self) -> str:
        """The log as text."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def environment(self) -> dict[str, str]:
        """Its own data, port and administrator."""
        own = {
            "TESSERA_DATA": str(self.data),
            "TESSERA_PORT": str(self.port),
            "TESSERA_ADMIN_EMAIL": EMAIL,
            "TESSERA_ADMIN_PASSWORD": PASSWORD,
        }
        return {**os.environ, **own, **self.settings}

    def begin(self, output: int | None = None) -> None:
        """Start, and wait for nothing; what it prints goes to the log, or to the file number `output`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run", *self.arguments],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log if output is None else output,
                start_new_session=True,
            )

    def start(self, *, seconds: float = 120) -> "Portal":
        """Start and wait until /readyz says yes."""
        self.begin()
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                output = self.output
                self.stop()
                raise AssertionError(f"The portal did not start:\n{output}")
            time.sleep(0.2)
        return self

    def has_open(self, name: str) -> bool:
        """Whether the supervisor itself has this file of the data folder open."""
        assert self.process is not None
        return str(self.data / name) in {file.path for file in psutil.Process(self.process.pid).open_files()}

    def children(self) -> list[psutil.Process]:
        """Web and cluster."""
        return psutil.Process(self.process.pid).children() if self.process is not None else []

    def is_ready(self) -> bool:
        """What /readyz says."""
        try:
            with direct.open(f"{self.url}/readyz", timeout=2) as answer:
                return bool(json.load(answer)["status"] == "ready")
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        if self.process is None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, number: int = signal.SIGINT) -> list[psutil.Process]:
        """Ctrl-C. Gives the processes that are left after five seconds (none, if all is well) and ends them."""
        family, deadline = self.family(), time.monotonic() + STOP_SECONDS
        if self.process is not None and self.process.poll() is None:
            family.insert(0, psutil.Process(self.process.pid))
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        _, left = psutil.wait_procs(family, timeout=max(deadline - time.monotonic(), 0))
        for process in left:
            process.kill()
        if self.process is not None:
            self.process.wait()
        return left

    def manage(self, *arguments: str) -> str:
        """Run a management command on the same data."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout
