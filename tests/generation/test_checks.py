"""What `manage.py check` and the start say of signing before somebody wants to take a picture away."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from django.core import checks as framework

from generation import checks
from generation.management.commands.run import Command
from tests.generation.signatures import certificates, put


@pytest.fixture
def pair(settings: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A sound certificate and its key, set."""
    settings.C2PA_CERTIFICATE, settings.C2PA_KEY = put(tmp_path / "c2pa", certificates())
    return settings.C2PA_CERTIFICATE, settings.C2PA_KEY


def said() -> list[tuple[str | None, str]]:
    """Id and words of each."""
    return [(found.id, str(found)) for found in checks.signing()]


def test_nothing_to_say(pair: tuple[Path, Path], settings: Any) -> None:
    assert said() == []
    settings.C2PA_CERTIFICATE = settings.C2PA_KEY = None
    assert said() == []
    assert checks.signing in framework.registry.registry.get_checks()


@pytest.mark.parametrize("missing", ["C2PA_CERTIFICATE", "C2PA_KEY"])
def test_half_is_noticed(missing: str, pair: tuple[Path, Path], settings: Any) -> None:
    setattr(settings, missing, None)
    ((id_, words),) = said()
    assert id_ == "tessera.W001" and f"TESSERA_{missing} is missing" in words


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["missing", "empty", "folder", "nonsense", "other"])
def test_what_cannot_sign_is_noticed(which: int, how: str, pair: tuple[Path, Path]) -> None:
    file = pair[which]
    if how == "other":
        other = certificates()
        file.write_bytes((other.chain, other.key)[which])
    elif how in {"empty", "nonsense"}:
        file.write_text("" if how == "empty" else "-----BEGIN X-----\nAAAA\n-----END X-----\n")
    else:
        file.unlink()
        if how == "folder":
            file.mkdir(mode=0o700)
    ((id_, words),) = said()
    assert id_ == "tessera.W002" and str(file) in words and "no picture can be downloaded" in words


def test_what_the_library_refuses_is_noticed(pair: tuple[Path, Path]) -> None:
    """A certificate that says nothing of what it is for: found by trying."""
    key, now = load_pem_private_key(pair[1].read_bytes(), None), datetime.now(UTC)
    assert isinstance(key, EllipticCurvePrivateKey)
    nobody = x509.Name([])
    builder = x509.CertificateBuilder(issuer_name=nobody, subject_name=nobody, public_key=key.public_key())
    builder = builder.serial_number(7).not_valid_before(now - timedelta(days=1)).not_valid_after(now + 3 * checks.SOON)
    pair[0].write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    ((id_, words),) = said()
    assert id_ == "tessera.W002" and "The C2PA library refused to sign" in words


def test_the_start_says_it(pair: tuple[Path, Path]) -> None:
    for broken in (False, True):
        if broken:
            pair[1].unlink()
        console = io.StringIO()
        Command(stdout=console).announce(None)
        assert ("Pictures cannot be signed" in console.getvalue()) == broken
        assert "Tessera is at" in console.getvalue()


@pytest.mark.parametrize(("days", "words"), [(29, "ends on"), (-1, "ended on")])
def test_the_end_is_noticed_in_time(days: int, words: str, pair: tuple[Path, Path]) -> None:
    put(pair[0].parent, certificates(100, now=datetime.now(UTC) - timedelta(days=100 - days)))
    ((id_, told),) = said()
    assert id_ == "tessera.W003" and words in told and str(pair[0]) in told


def test_a_key_that_others_may_read_is_noticed(pair: tuple[Path, Path]) -> None:
    pair[1].chmod(0o640)
    ((id_, words),) = said()
    assert id_ == "tessera.W004" and f"chmod 600 {pair[1]}" in words
