"""A small PKI for tests of RFC 9420 §5.3: whoever can be certified and certify, for a hundred days of 2026.

There is one good chain, `LEAF` under `MIDDLE` under `ROOT`; tests make others that differ from it in one thing.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mls.credential import Credential, X509Credential
from mls.errors import PeerError
from mls.x509 import X509Authentication

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
END = START + 100 * DAY


def ms(when: datetime.datetime) -> int:
    return round(when.timestamp() * 1000)


NOW = ms(START + 50 * DAY)
ALICE = x509.UniformResourceIdentifier("im:alice@example.com")


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) if text else x509.Name([])


def usage(**true: bool) -> x509.KeyUsage:
    fields = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**fields, **true})


MEMBER = usage(digital_signature=True)
AUTHORITY = usage(key_cert_sign=True, crl_sign=True)


class Holder:
    """A name, a key and a certificate: whoever can be certified and certify."""

    def __init__(self, text: str, key: Any, certificate: x509.Certificate) -> None:
        self.text = text
        self.key = key
        self.certificate = certificate
        self.der = certificate.public_bytes(Encoding.DER)


HASH_THEMSELVES = (
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
)


def default_hash(key: Any) -> Any:
    return None if isinstance(key, HASH_THEMSELVES) else hashes.SHA256()


def issue(
    text: str,
    key: Any,
    issuer: Holder | None,
    *,
    ca: bool | None = False,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    names: Sequence[x509.GeneralName] = (),
    begins: datetime.datetime = START,
    ends: datetime.datetime = END,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: Any = "default",
    rsa_padding: Any = None,
    signer: Any = None,
    issuer_name: str | None = None,
) -> Holder:
    """A certificate; `None` as issuer signs it with its own key."""
    signing = signer or (issuer.key if issuer else key)
    issuer_text = issuer_name if issuer_name is not None else issuer.text if issuer else text
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(text))
        .issuer_name(name(issuer_text))
        .public_key(key.public_key())
        .serial_number(next(serials))
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    chosen = default_hash(signing) if algorithm == "default" else algorithm
    return Holder(text, key, builder.sign(signing, chosen, rsa_padding=rsa_padding))


serials = iter(range(1, 1_000_000))


def authority(text: str, key: Any, issuer: Holder | None = None, **changes: Any) -> Holder:
    return issue(text, key, issuer, **{"ca": True, "key_usage": AUTHORITY, **changes})


def member(key: Any, issuer: Holder | None, text: str = "alice", **changes: Any) -> Holder:
    return issue(text, key, issuer, **{"key_usage": MEMBER, "names": [ALICE], **changes})


@functools.cache
def ec_key(at: int = 0, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(1000 + at, curve())


def ed_key(at: int = 0) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32)


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


ROOT = authority("root", ec_key(1))
MIDDLE = authority("middle", ec_key(2), ROOT)
LEAF_KEY = ed_key(7)
KEY = LEAF_KEY.public_key().public_bytes_raw()
LEAF = member(LEAF_KEY, MIDDLE)
TRUST = X509Authentication([ROOT.der])


def chain(*holders: Holder) -> X509Credential:
    return X509Credential(tuple(holder.der for holder in holders))


def refused(
    check: str, credential: Credential, trust: X509Authentication = TRUST, key: bytes = KEY, now: int = NOW
) -> str:
    details = []
    for _ in range(2):  # once more, in case the first time had been remembered
        with pytest.raises(PeerError) as caught:
            trust.validate(credential, key, now)
        assert caught.value.check == check, caught.value
        details.append(caught.value.detail)
    return details[0]
