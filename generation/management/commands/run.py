"""`manage.py run`: the whole portal under one supervisor. Prepares what is missing, starts, proves itself, waits."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.transaction import TransactionManagementError

from core.errors import TesseraError
from core.outage import is_busy, is_full
from core.supervisor import Child, Supervisor
from generation.checks import machines_tell, signing
from generation.management.migrating import alone, migrate
from generation.management.welcome import show_welcome
from generation.services.devices import device_silence
from generation.services.installation import Administrator, administrator_ensure, welcome_submit

START_SECONDS = 120
SOCKET_PATIENCE = 30  # seconds for a handshake: when the web process was restarted, every open page comes at once
# What is wrong with a port; anything else that a listener meets is wrong with the address.
PORT_ERRORS = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
ADDRESSES = "Use an address of this machine, or 0.0.0.0 for all of them."
NOBODY = "Nobody who can log in is an administrator. Make one: .venv/bin/python manage.py createsuperuser"
# Never through a proxy that the environment names: this is about our own children.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Command(BaseCommand):
    """Web and cluster under one supervisor."""

    help = "Start the portal: web and cluster under one supervisor. Ctrl-C ends everything."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One switch, for tests and for servers that want an empty gallery."""
        parser.add_argument("--no-welcome", action="store_true", help="draw no welcome pictures")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, start, wait until healthy, welcome, watch; end everybody in any case."""
        with only_supervisor(settings.DATA):
            require_free_port(settings.HOST, settings.PORT)
            # Ctrl-C ends the preparation at once, also while SQLite waits for a lock; nothing is half done after it.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            administrator = self.prepare()
            device_silence()  # before the web answers: an old heartbeat must not make it ready
            machines_tell()
            supervisor = Supervisor(children=[web(), cluster()])
            try:
                supervisor.start()
                self.serve(supervisor, administrator, welcome=not options["no_welcome"])
                self.drain(supervisor)
            finally:
                supervisor.stop()
                self.say("Stopped.")

    def say(self, *lines: str) -> None:
        """Words for the person who started it. A terminal that was closed must not keep anybody from ending well."""
        with contextlib.suppress(OSError):
            self.stdout.write("\n".join(lines))
            self.stdout.flush()

    def prepare(self) -> Administrator | None:
        """Database, administrator, starters. Changes nothing the second time."""
        try:
            with alone():
                migrate()
                call_command("register_starters", verbosity=0)
                return administrator_ensure(tell=self.tell)
        except DatabaseError as error:
            raise CommandError(database_trouble(error)) from error
        except TesseraError as error:
            raise CommandError(str(error)) from error

    def tell(self, administrator: Administrator) -> None:
        """The one-time password, before it is kept: whoever stops the start now has seen it, or there is none."""
        self.stdout.write(f"\n  First administrator {administrator.email}")
        self.stdout.write(f"  Password            {administrator.password}\n")
        self.stdout.flush()

    def serve(self, supervisor: Supervisor, administrator: Administrator | None, *, welcome: bool) -> None:
        """Until asked to stop."""
        self.say("Starting web and cluster ...")
        if not supervisor.watch(is_ready, START_SECONDS):
            if not supervisor.stopping:
                self.say("Not healthy after two minutes; the log above says why. Going on trying.")
            supervisor.watch(is_ready)
        if supervisor.stopping:
            return
        self.announce(administrator)
        if welcome:
            self.welcome(supervisor)
        supervisor.watch(lambda: False)

    def drain(self, supervisor: Supervisor) -> None:
        """SIGTERM, as service managers send it, lets the picture in hand be finished; Ctrl-C does not."""
        if settings.DRAIN_SECONDS and not supervisor.hurry:
            self.say(f"Finishing what is drawn, for at most {settings.DRAIN_SECONDS} s; Ctrl-C ends it at once.")
            supervisor.drain()

    def welcome(self, supervisor: Supervisor) -> None:
        """The first pictures. Without them the portal is as healthy as with them."""
        try:
            show_welcome(welcome_submit(), supervisor, self.stdout)
        except (TesseraError, DatabaseError) as error:
            self.say(f"  The welcome pictures were not drawn. {error}")
        except OSError:
            return  # the terminal is gone

    def announce(self, administrator: Administrator | None) -> None:
        """Where it is and how to get in."""
        lines = [f"\n  Tessera is at {address()}"]
        lines.append(f"  Log in as     {administrator.email}" if administrator else f"  {NOBODY}")
        if administrator and administrator.password:
            lines.append(f"  Password      {administrator.password}   (shown this once; you choose your own at login)")
        lines += [f"  Warning       {found.msg} {found.hint}" for found in signing()]
        self.say(*lines, "  Ctrl-C ends everything.\n")


def database_trouble(error: BaseException) -> str:
    """What really went wrong: an error inside a migration is followed by another that only says it was there."""
    while isinstance(error, TransactionManagementError) and error.__context__ is not None:
        error = error.__context__
    if isinstance(error, CommandError | TesseraError):
        return str(error)
    if is_full(error) or is_busy(error):
        hint = "Another program may be using it, or the disk may be full or not writable."
    else:
        hint = "`.venv/bin/python manage.py migrate --traceback` tells where."
    kind = "" if isinstance(error, DatabaseError) else f"{type(error).__name__}: "
    place = "that TESSERA_DATABASE_URL names" if settings.SHARED else f"in {settings.DATA}"
    return f"The database {place} cannot be used: {kind}{error}. {hint}"


def address() -> str:
    """The portal's address, as a person on this machine types it."""
    host = "localhost" if settings.HOST in {"127.0.0.1", "0.0.0.0", "::", "::1"} else settings.HOST  # noqa: S104
    return f"http://{host}:{settings.PORT}/"


@contextlib.contextmanager
def only_supervisor(data: Path) -> Iterator[None]:
    """Two supervisors on one data folder would fight over the device."""
    try:
        lock = (data / "supervisor.lock").open("w")
    except OSError as error:
        raise CommandError(f"TESSERA_DATA is {data}, which cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"Tessera already runs on {data}. Stop it, or set TESSERA_DATA.") from error
        yield


def require_free_port(host: str, port: int) -> None:
    """A clear sentence instead of a server that cannot bind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in PORT_ERRORS:
                reason = f"TESSERA_PORT={port} on {host} cannot be used: {error.strerror}."
                raise CommandError(f"{reason} Stop what uses it or set another TESSERA_PORT.") from error
            raise CommandError(f"TESSERA_HOST={host} cannot be listened on: {error.strerror}. {ADDRESSES}") from error
        except UnicodeError as error:
            raise CommandError(f"TESSERA_HOST={host} is no address. {ADDRESSES}") from error


def child_environment() -> dict[str, str]:
    """This environment, with our two source folders on the path."""
    path = os.pathsep.join([str(settings.ROOT), str(settings.ROOT / "platform")])
    return {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONUNBUFFERED": "1"}


def web(port: int | None = None) -> Child:
    """Daphne: pages, media, sockets."""
    where = ["-b", settings.HOST, "-p", str(port or settings.PORT)]
    daphne = [sys.executable, "-m", "core.bounded_daphne"]
    patience = ["--websocket_connect_timeout", str(SOCKET_PATIENCE)]
    command = [*daphne, *where, "-v", "0", "--no-server-name", *patience, "config.asgi:application"]
    return Child("web", command, child_environment())


def cluster() -> Child:
    """The django-q2 cluster, which holds the engine room."""
    command = [sys.executable, str(settings.ROOT / "manage.py"), "cluster"]
    return Child("cluster", command, child_environment(), signal.SIGINT, settings.DRAIN_SECONDS)


def is_ready() -> bool:
    """The web answers and the worker's heart beats."""
    host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    request = urllib.request.Request(  # noqa: S310 our own address
        f"http://{host}:{settings.PORT}/readyz", headers={"Host": allowed_host()}
    )
    try:
        # A short time, since Ctrl-C is heard between two looks.
        with direct.open(request, timeout=0.5) as answer:
            return bool(json.load(answer)["status"] == "ready")
    except (urllib.error.URLError, OSError, ValueError):
        return False


def allowed_host() -> str:
    """A name that the web process answers to."""
    first = str(settings.ALLOWED_HOSTS[0])
    return "localhost" if first == "*" else first.lstrip(".")
