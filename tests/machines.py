"""An installation on several machines for tests: web processes and clusters of their own, on shared servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.portal import EMAIL, PASSWORD, ROOT, direct, free_port

PATIENCE = 180.0


@dataclass
class Machine:
    """One process of the portal with a data folder of its own, as if it ran on a machine of its own."""

    name: str
    arguments: list[str]
    data: Path
    settings: Mapping[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.data.with_suffix(".log")

    @property
    def url(self) -> str:
        """Of a web process."""
        return f"http://localhost:{self.port}"

    def environment(self) -> dict[str, str]:
        """The settings that all share, and its own."""
        own = {"TESSERA_DATA": str(self.data), "TESSERA_PORT": str(self.port or 8000)}
        return {**os.environ, **self.settings, **own}

    def start(self) -> None:
        """Start it and wait for nothing."""
        command = ["nice", "-n", "5", sys.executable, "manage.py", *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def family(self) -> list[psutil.Process]:
        """It and everything below it."""
        if self.process is None:
            return []
        try:
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def power_off(self) -> None:
        """Everybody at once, without a word: the machine is gone."""
        family = self.family()
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, timeout=10)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """As a service manager would, and by force after a while."""
        family = self.family()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        if self.process is not None:
            self.process.wait()
            self.process = None

    def manage(self, *arguments: str) -> str:
        """A management command on this machine."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout

    def is_ready(self) -> bool:
        """What /readyz of a web process says."""
        try:
            with direct.open(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@dataclass
class Machines:
    """All of them. `settings` lead to the shared servers."""

    folder: Path
    settings: dict[str, str]
    webs: list[Machine] = field(default_factory=list)
    clusters: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = {
            "TESSERA_SECRET_KEY": "one key for all machines, and it is long enough for this",
            "TESSERA_ADMIN_EMAIL": EMAIL,
            "TESSERA_ADMIN_PASSWORD": PASSWORD,
            "TESSERA_DEVICE": "cpu",
            "TESSERA_THREADS": "1",
            "TESSERA_LOG_LEVEL": "INFO",
            **self.settings,
        }

    def web(self, name: str) -> Machine:
        """One more web process, not started."""
        made = Machine(name, ["web"], self.folder / name, self.settings, free_port())
        self.webs.append(made)
        return made

    def cluster(self, name: str, **settings: str) -> Machine:
        """One more cluster for a device of this name, not started."""
        own = {**self.settings, "TESSERA_DEVICE_NAME": name, **settings}
        made = Machine(name, ["cluster"], self.folder / name, own)
        self.clusters.append(made)
        return made

    def everyone(self) -> list[Machine]:
        """Webs first."""
        return [*self.webs, *self.clusters]

    def stop(self) -> None:
        """All of them."""
        for machine in self.everyone():
            machine.stop()

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Look often; tell what was printed when it takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            ended = [one.name for one in self.everyone() if one.process is not None and one.process.poll() is not None]
            if ended or time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}, ended: {ended}\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The end of what each printed."""
        texts = {machine.name: machine.log for machine in self.everyone() if machine.log.exists()}
        return "\n".join(f"== {name}\n{log.read_text(errors='replace')[-3000:]}" for name, log in texts.items())
