"""A certificate for development: signs pictures as a real one would, and nobody trusts it who was not given its anchor.

The library takes no certificate that vouches for itself, so there are two: an authority, whose key is thrown away at
once, and the signer's. No torch, no Django. Source: C2PA specification 2.2, "X.509 Certificates".
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM: the signer's certificate followed by the authority's, its private key, the authority's alone."""

    chain: bytes
    key: bytes = field(repr=False)
    anchor: bytes


def development_certificate(*, name: str, begins: datetime, ends: datetime) -> Certificates:
    """For an organization of this name (at most 64 characters, X.520)."""
    authority_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    authority_name, signer_name = _name(name, "development authority"), _name(name, "pictures")

    def built(subject: x509.Name, own: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        public = own.public_key()
        builder = x509.CertificateBuilder(issuer_name=authority_name, subject_name=subject, public_key=public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        return builder.add_extension(issuer, critical=False)

    authority = (
        built(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign"), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    signer = (
        built(signer_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    anchor = authority.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificates(signer.public_bytes(Encoding.PEM) + anchor, secret, anchor)


def soon(now: datetime, days: int) -> tuple[datetime, datetime]:
    """From an hour ago, for clocks that differ, for so many days."""
    return now - timedelta(hours=1), now + timedelta(days=days)


def _name(organization: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage == allowed for usage in USAGES})
