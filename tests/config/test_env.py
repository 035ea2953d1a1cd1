"""Settings from the environment: what cannot be right is refused by name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import env_file, env_folder, env_hosts, env_int, env_origins, env_str
from config.secret import secret_key
from tests.disk import fill, small_disk

NAME = "TESSERA_X"


def number() -> object:
    """As a port is read."""
    return env_int(NAME, 8000, least=1, most=65535)


def hosts() -> object:
    """As allowed hosts are read."""
    return env_hosts(NAME, "127.0.0.1")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (number, "--80"),
        (number, "²"),
        (number, "٨"),
        (number, "9" * 5000),
        (hosts, "http://studio.example.org"),
        (hosts, "studio.example.org/"),
        (hosts, "studio:8000"),
        (lambda: env_origins(NAME), "studio.example.org"),
        (lambda: env_origins(NAME), "https://studio.example.org/"),
        (lambda: env_folder(NAME, Path()), "/proc/nope"),
        (lambda: env_folder(NAME, Path()), "~nobodyhere/x"),
        (lambda: env_folder(NAME, Path()), "/dev/null"),
        (lambda: env_folder(NAME, Path()), "/dev/null/x"),
        (lambda: env_folder(NAME, Path()), "/tmp"),  # noqa: S108 shared by everybody
        (lambda: env_file(NAME), "/tmp"),  # noqa: S108 a folder
        (lambda: env_file(NAME), "~nobodyhere/x"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ImproperlyConfigured, match=NAME):
        read()


def test_a_file_that_is_missing_or_no_text_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    monkeypatch.setenv(f"{NAME}_FILE", str(file))
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE"):
        env_str(NAME)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE"):
        env_str(NAME)
    file.write_text("a word\n")
    assert env_str(NAME) == "a word"


def test_the_address_it_listens_on_is_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    own = ["localhost", "127.0.0.1", "[::1]"]
    assert env_hosts(NAME, "192.168.1.5") == [*own, "192.168.1.5"]
    assert env_hosts(NAME, "fe80::1") == [*own, "[fe80::1]"]
    for everywhere in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104 nothing is bound here
        assert env_hosts(NAME, everywhere) == own
    monkeypatch.setenv(NAME, "studio.example.org, .example.net,[::1],*")
    assert env_hosts(NAME, "192.168.1.5") == ["studio.example.org", ".example.net", "[::1]", "*"]


def test_a_file_may_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert env_file(NAME) is None
    monkeypatch.setenv(NAME, str(tmp_path / "c2pa" / ".." / "key.pem"))
    assert env_file(NAME) == tmp_path.resolve() / "key.pem"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NAME, "key.pem")
    assert env_file(NAME) == Path.cwd() / "key.pem"


def test_a_folder_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "data"
    monkeypatch.setenv(NAME, str(folder))
    assert env_folder(NAME, Path()) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in (None, "secret-key", "tessera.sqlite3"):  # empty, or ours already
        if file:
            (folder / file).touch()
        folder.chmod(0o755)
        env_folder(NAME, Path())
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_live_in_is_refused_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "opt"
    (shared / "another program").mkdir(parents=True)
    monkeypatch.setenv(NAME, str(shared))
    for mode in (0o755, 0o770, 0o777):
        shared.chmod(mode)
        with pytest.raises(ImproperlyConfigured, match=rf"{NAME} is '{shared}'.*not Tessera's.*{shared}/tessera"):
            env_folder(NAME, Path())
        assert shared.stat().st_mode & 0o777 == mode
    shared.chmod(0o700)  # somebody closed it: that is meant
    assert env_folder(NAME, Path()) == shared


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ImproperlyConfigured, match="another user"):
        env_folder(NAME, Path())


def test_a_full_disk_keeps_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESSERA_SECRET_KEY", raising=False)
    with small_disk(tmp_path / "disk", kilobytes=16) as disk:
        ballast = fill(disk)
        with pytest.raises(ImproperlyConfigured, match="TESSERA_DATA.*No space left"):
            secret_key(disk)
        assert [path.name for path in disk.iterdir()] == [ballast.name]
        ballast.unlink()
        assert secret_key(disk) == secret_key(disk) != ""
