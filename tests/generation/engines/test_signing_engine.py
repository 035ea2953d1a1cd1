"""Signing without Django: kinds of keys, what is refused, many at once, and nobody outside is asked."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from generation.engines import signing
from generation.engines.errors import SigningError
from generation.engines.manifest import manifest_of, parent_of
from generation.engines.png_chunks import SIGNATURE, text_chunk
from generation.engines.provenance import XMP
from generation.engines.signing import Identity, load_identity, signed_png
from tests.generation import pictures
from tests.generation.signatures import TRUSTED, VALID, certificates, put, told

ROOT = Path(__file__).resolve().parents[3]
RSA_BITS = 2048
CREATED = manifest_of({}, title="x.png", with_recipe=False)
EDITED = manifest_of({"capability": "edit"}, title="x.png", with_recipe=False)


def issued(key: Any, *extensions: x509.ExtensionType) -> tuple[bytes, bytes]:
    """A chain for any kind of key, by an authority of its own; and that authority's certificate."""
    authority, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)]) for name in ("Authority", "Atelier")]
    made = []
    for name, public, ca in ((names[0], authority.public_key(), True), (names[1], key.public_key(), False)):
        builder = x509.CertificateBuilder(issuer_name=names[0], subject_name=name, public_key=public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        builder = builder.not_valid_after(now + timedelta(days=90))
        usages = dict.fromkeys(_usages(), False) | {"key_cert_sign" if ca else "digital_signature": True}
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        for extension, critical in (
            (x509.BasicConstraints(ca=ca, path_length=None), True),
            (x509.KeyUsage(**usages), True),
            (own, False),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            *([] if ca else [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)]),
            *([] if ca else [(extension, False) for extension in extensions]),
        ):
            builder = builder.add_extension(extension, critical=critical)
        made.append(builder.sign(authority, SHA256()).public_bytes(Encoding.PEM))
    return made[1] + made[0], made[0]


def _usages() -> list[str]:
    from generation.engines.certificates import USAGES

    return USAGES


def written(folder: Path, chain: bytes, key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> Identity:
    """As `load_identity` reads it from files."""
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return load_identity(folder / "chain.pem", folder / "key.pem")


@pytest.mark.parametrize(
    ("kind", "form", "algorithm"),
    [
        (ec.SECP256R1(), PrivateFormat.PKCS8, "es256"),
        (ec.SECP256R1(), PrivateFormat.TraditionalOpenSSL, "es256"),
        (ec.SECP384R1(), PrivateFormat.PKCS8, "es384"),
        (ec.SECP521R1(), PrivateFormat.PKCS8, "es512"),
        ("rsa", PrivateFormat.PKCS8, "ps256"),
        ("rsa", PrivateFormat.TraditionalOpenSSL, "ps256"),
        ("ed25519", PrivateFormat.PKCS8, "ed25519"),
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_every_kind_of_key_signs(kind: Any, form: PrivateFormat, algorithm: str, tmp_path: Path) -> None:
    if kind == "rsa":
        key: Any = rsa.generate_private_key(65537, RSA_BITS)
    else:
        key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(kind)
    chain, anchor = issued(key)
    identity = written(tmp_path, chain, key, form)
    assert identity.algorithm == algorithm
    signed = signed_png(pictures.png(), CREATED, identity)
    assert told(signed, anchor=anchor).state == TRUSTED
    # without the authority in the file it signs as well
    alone = written(tmp_path, chain[: chain.index(b"-----END CERTIFICATE-----") + 26], key, form)
    assert alone.vouchers == ""
    assert told(signed_png(pictures.png(), CREATED, alone), anchor=anchor).state == TRUSTED


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),  # noqa: S505 too short on purpose
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(2048),
    ],
    ids=lambda key: type(key).__name__,
)
def test_other_kinds_are_refused(key: Any, tmp_path: Path) -> None:
    with pytest.raises(SigningError, match=r"key\.pem holds a key of a kind that cannot sign pictures\. Use an EC"):
        written(tmp_path, issued(key)[0], key)


def test_a_key_with_a_password_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    written(tmp_path, issued(key)[0], key)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (tmp_path / "key.pem").write_bytes(locked)
    with pytest.raises(SigningError, match="without a password"):
        load_identity(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_the_key_is_shown_to_nobody(tmp_path: Path) -> None:
    identity = load_identity(*put(tmp_path, certificates()))
    assert "PRIVATE" not in repr(identity) + str(identity)
    assert "PRIVATE" not in repr(certificates())


@pytest.mark.parametrize(("days", "words"), [(-90, "ended on"), (5, "begins on")])
def test_out_of_its_time_it_signs_nothing(days: int, words: str, tmp_path: Path) -> None:
    identity = load_identity(*put(tmp_path, certificates(30, now=datetime.now(UTC) + timedelta(days=days))))
    with pytest.raises(SigningError, match=words):
        signed_png(pictures.png(), CREATED, identity)


@pytest.mark.parametrize("png", [b"", b"no PNG at all", SIGNATURE, pictures.png()[:60]], ids=len)
def test_what_is_no_picture_is_refused(png: bytes, tmp_path: Path) -> None:
    identity = load_identity(*put(tmp_path, certificates()))
    with pytest.raises(SigningError):
        signed_png(png, CREATED, identity)


def test_a_library_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = load_identity(*put(tmp_path, certificates()))
    monkeypatch.setitem(sys.modules, "c2pa", None)  # as if it were not installed
    with pytest.raises(SigningError, match="cannot be loaded here"):
        signed_png(pictures.png(), CREATED, identity)


def test_many_at_once(tmp_path: Path) -> None:
    made = certificates()
    identity = load_identity(*put(tmp_path, made))

    def signed(seed: int) -> bytes:
        png = pictures.png(seed=seed)
        return signed_png(png, EDITED, identity, ingredient=parent_of({}, title="p.png"), parent=png)

    with ThreadPoolExecutor(8) as pool:
        found = [told(data, anchor=made.anchor).state for data in pool.map(signed, range(40))]
    assert found == [TRUSTED] * 40


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and the first lines of what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096).split(b" HTTP")[0])
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


OPENED = {"remote_manifest_fetch": True, "ocsp_fetch": True}


@pytest.mark.parametrize(
    ("changed", "quiet"),
    [({}, True), ({"core": {}}, True), ({"verify": OPENED}, True), ({"core": {}, "verify": OPENED}, False)],
    ids=["as we set it", "the switches alone", "the list of hosts alone", "neither"],
)
def test_nobody_is_asked(changed: dict[str, Any], quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither whether a certificate was revoked, nor for a manifest that a picture says is elsewhere."""
    monkeypatch.setattr(signing, "SETTINGS", {**signing.SETTINGS, **changed})
    with listening() as (address, asked):
        place = x509.UniformResourceIdentifier(f"{address}/revoked")
        access = x509.AuthorityInformationAccess(
            [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)],
        )
        key = ec.generate_private_key(ec.SECP256R1())
        identity = written(tmp_path, issued(key, access)[0], key)
        elsewhere = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/"'
            f' dcterms:provenance="{address}/manifest.c2pa"/></rdf:RDF></x:xmpmeta>'
        )
        png = pictures.png()
        parent = png[:33] + text_chunk(XMP, elsewhere) + png[33:]
        signed = signed_png(png, EDITED, identity, ingredient=parent_of({}, title="p.png"), parent=parent)
        assert told(signed).state == VALID
    if quiet:
        assert asked == []
    else:
        assert any(b"manifest.c2pa" in line for line in asked), asked
        assert any(b"manifest.c2pa" not in line for line in asked), asked


@pytest.mark.processes
def test_it_needs_no_torch_and_loads_the_library_with_the_first_signature(tmp_path: Path) -> None:
    chain, key = put(tmp_path, certificates())
    code = (
        "import sys; from pathlib import Path; from generation.engines.signing import load_identity, trial;"
        f"identity = load_identity(Path({str(chain)!r}), Path({str(key)!r})); before = 'c2pa' in sys.modules;"
        "trial(identity); heavy = {'torch', 'django', 'numpy', 'requests'} & set(sys.modules);"
        "print(before, 'c2pa' in sys.modules, sorted(heavy))"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=2) == ["False", "True", "[]\n"]
