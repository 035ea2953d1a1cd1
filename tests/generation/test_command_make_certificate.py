"""A certificate for development: what it is, where it goes, and that no key is ever written over."""

import io
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command

from generation.engines.manifest import manifest_of
from generation.engines.signing import load_identity, signed_png
from generation.management.commands import make_certificate
from tests.generation import pictures
from tests.generation.signatures import TRUSTED, told

NAMES = ["anchor.pem", "certificate.pem", "key.pem"]


def made(folder: Path, *arguments: str) -> str:
    """What the command says."""
    said = io.StringIO()
    call_command("make_certificate", "--folder", str(folder), *arguments, stdout=said)
    return said.getvalue()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_key_is_private_and_the_pair_signs(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "c2pa"
    before = os.umask(umask)
    try:
        said = made(folder, "--name", "Atelier", "--days", "40")
    finally:
        os.umask(before)
    assert sorted(file.name for file in folder.iterdir()) == NAMES
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "certificate.pem").stat().st_mode) == 0o644
    assert f"TESSERA_C2PA_CERTIFICATE={folder}/certificate.pem" in said
    assert f"TESSERA_C2PA_KEY={folder}/key.pem" in said
    assert "PRIVATE" not in said
    identity = load_identity(folder / "certificate.pem", folder / "key.pem")
    signed = signed_png(pictures.png(), manifest_of({}, title="x.png", with_recipe=False), identity)
    assert told(signed, anchor=(folder / "anchor.pem").read_bytes()).state == TRUSTED
    assert told(signed).active["signature"]["issuer"] == "Atelier"
    first, second = x509.load_pem_x509_certificates((folder / "certificate.pem").read_bytes())
    assert timedelta(days=39) < first.not_valid_after_utc - datetime.now(UTC) < timedelta(days=41)
    assert second == x509.load_pem_x509_certificate((folder / "anchor.pem").read_bytes())


def test_the_data_folder_is_the_place_unless_told(stage: Path) -> None:
    call_command("make_certificate", stdout=io.StringIO())
    assert sorted(file.name for file in (stage / "c2pa").iterdir()) == NAMES


@pytest.mark.parametrize("there", NAMES)
def test_nothing_is_written_over(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(CommandError, match=f"{there} is there already") as error:
        made(tmp_path)
    assert error.value.returncode == 2
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "precious")]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be written"):
        made(tmp_path / "file" / "c2pa")


LONG = "x" * (make_certificate.LONGEST_NAME + 1)


@pytest.mark.parametrize("wrong", [["--days", "0"], ["--days", "99999"], ["--name", " "], ["--name", LONG]])
def test_what_cannot_be_made_is_refused(wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=wrong[0]) as error:
        made(tmp_path / "c2pa", *wrong)
    assert error.value.returncode == 2
    assert not (tmp_path / "c2pa").exists()
