"""Signs a PNG with an operator's certificate (C2PA). Reaches for nothing outside this machine. No torch, no Django.

The library is loaded with the first signature, so that a portal that signs nothing does not carry it.
"""

import importlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from generation.engines.errors import SigningError
from generation.engines.manifest import ACTIONS, PNG_TYPE, RECIPE, manifest_of
from generation.engines.png_chunks import SIGNATURE, chunk

CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
KINDS = "Use an EC key (P-256, P-384 or P-521), an RSA key of 2048 bits or more, or an Ed25519 key."
# No fetching of manifests or of revocations, and no thumbnails: who publishes an edit does not publish its parent.
SETTINGS: dict[str, Any] = {
    "version": 1,
    "core": {"allowed_network_hosts": [], "allow_redirects": False},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
    "builder": {
        "thumbnail": {"enabled": False},
        "created_assertion_labels": [ACTIONS.removesuffix(".v2"), "c2pa.ingredient", RECIPE],  # we say so ourselves
    },
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs: the certificate and what vouches for it, its private key (PKCS #8), both as PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    begins: datetime
    ends: datetime
    vouchers: str  # the certificates after the first


def load_identity(certificate: Path | None, key: Path | None) -> Identity:
    """Read and compare both files. Raises SigningError."""
    if certificate is None or key is None:
        raise SigningError("Signing needs both a certificate and its key, and only one of them is set.")
    chain, secret = _read(certificate), _read(key)
    try:
        first, *vouchers = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SigningError(f"{certificate} holds no certificate in PEM form: {error}") from error
    try:
        private = load_pem_private_key(secret, None)
    except (TypeError, ValueError) as error:  # TypeError: it has a password
        raise SigningError(f"{key} holds no private key in PEM form without a password: {error}") from error
    public = first.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != public:
        raise SigningError(f"{key} is not the key of the first certificate in {certificate}.")
    return Identity(
        chain=chain,
        key=private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        algorithm=_algorithm(private, key),
        begins=first.not_valid_before_utc,
        ends=first.not_valid_after_utc,
        vouchers="".join(voucher.public_bytes(Encoding.PEM).decode() for voucher in vouchers),
    )


def signed_png(
    png: bytes,
    manifest: Mapping[str, Any],
    identity: Identity,
    *,
    ingredient: Mapping[str, Any] | None = None,
    parent: bytes | None = None,
) -> bytes:
    """The same PNG with a manifest beside its pixels, verified. `parent`: the bytes of the ingredient, where told.

    Raises SigningError.
    """
    c2pa = _library()
    _require_valid_now(identity)
    whole = dict(manifest)
    if ingredient is not None and parent is None:
        whole["ingredients"] = [ingredient]
    signed = BytesIO()
    try:
        with (
            c2pa.Context.from_dict(_settings(identity)) as context,
            c2pa.Builder(whole, context=context) as builder,
            c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)  # None: no time stamps
            ) as signer,
        ):
            if ingredient is not None and parent is not None:
                builder.add_ingredient(json.dumps(ingredient), PNG_TYPE, BytesIO(parent))
            builder.sign(signer, PNG_TYPE, BytesIO(png), signed)
    except c2pa.C2paError as error:
        raise SigningError(f"The C2PA library refused to sign: {error}") from error
    return signed.getvalue()


def trial(identity: Identity) -> None:
    """Sign one grey pixel. Raises SigningError, as a picture would."""
    head = bytes.fromhex("00000001000000010800000000")  # 1 x 1, 8 bit, grey
    pixel = SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    signed_png(pixel, manifest_of({}, title="trial", with_recipe=False), identity)


def _library() -> ModuleType:
    try:
        return importlib.import_module("c2pa")
    except (ImportError, OSError, RuntimeError) as error:  # a part of it is built for each kind of machine
        raise SigningError(f"The C2PA library cannot be loaded here: {error}") from error


def _settings(identity: Identity) -> dict[str, Any]:
    # a parent that was signed with the same certificate is one we trust
    return {**SETTINGS, "trust": {"user_anchors": identity.vouchers}} if identity.vouchers else SETTINGS


def _require_valid_now(identity: Identity) -> None:
    now = datetime.now(UTC)
    if now > identity.ends:
        raise SigningError(f"The certificate for signing ended on {identity.ends:%d %B %Y}; put a new one in place.")
    if now < identity.begins:
        raise SigningError(f"The certificate for signing begins on {identity.begins:%d %B %Y}; look at the clock.")


def _algorithm(private: object, file: Path) -> str:
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SigningError(f"{file} holds a key of a kind that cannot sign pictures. {KINDS}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SigningError(f"{file} cannot be read: {error.strerror}.") from error
