"""RFC 9420 §5.1.2: the signature schemes of the suites, over `cryptography`.

A scheme turns private bytes into a parsed key once (`SignaturePrivateKey` keeps it) and remembers the parsed
form of public keys, which are public and few. ECDSA is deterministic (RFC 6979), so that a seeded run
repeats.

Which Ed25519 signatures are valid is one rule for every member, whatever library checks them: `mls.ed25519`
states it, and what it calls not well formed never reaches a library that would be more generous.

ML-DSA (FIPS 204, as draft-ietf-tls-mldsa has it for TLS: no context string, nothing hashed first) is hedged: each
signature has fresh randomness from the library, so two signatures of one text differ even in a seeded run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mls import ed25519
from mls.hpke import UnreadableKeyError
from mls.secrets import SignaturePrivateKey

Random = Callable[[int], bytes]
Signed = tuple[bytes, bytes, bytes]  # public key, content, signature


class Scheme(Protocol):
    """One signature scheme."""

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]: ...
    def public_key(self, private: SignaturePrivateKey) -> bytes: ...
    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes: ...
    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool: ...
    def canonical(self, signature: bytes) -> bool:  # noqa: ARG002 - most schemes give nobody a second form
        """Whether this is the one form of a valid signature that its maker sends.

        Where a second form exists, whoever sees a signature can make another valid one of it, and so another commit.
        """
        return True

    def verify_many(self, signed: Sequence[Signed]) -> bool:
        """Whether all hold; one by one, unless a provider knows better."""
        verify = self.verify
        return all(verify(public, content, signature) for public, content, signature in signed)


_Ed25519Parsed = type(Ed25519PrivateKey.from_private_bytes(bytes(32)))


@lru_cache(maxsize=4096)
def _ed25519_public(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


class OpenSslEd25519(Scheme):
    """Ed25519 by `cryptography`, held to the rule of `mls.ed25519`."""

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        private = SignaturePrivateKey(random(32))
        return private, self.public_key(private)

    def _handle(self, private: SignaturePrivateKey) -> Ed25519PrivateKey:
        if type(private.handle) is not _Ed25519Parsed:  # not parsed yet, or by another provider's library
            try:
                private.handle = Ed25519PrivateKey.from_private_bytes(private.raw)
            except ValueError:
                raise UnreadableKeyError from None
        return private.handle

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        return self._handle(private).public_key().public_bytes_raw()

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        return self._handle(private).sign(content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        if not ed25519.well_formed(public, signature):
            return False
        try:
            _ed25519_public(public).verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


class Ed448(Scheme):
    """Ed448 by `cryptography`."""

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        private = SignaturePrivateKey(random(57))
        return private, self.public_key(private)

    def _handle(self, private: SignaturePrivateKey) -> Ed448PrivateKey:
        handle = private.handle
        if not isinstance(handle, Ed448PrivateKey):  # not parsed yet, or for another scheme
            try:
                handle = private.handle = Ed448PrivateKey.from_private_bytes(private.raw)
            except ValueError:
                raise UnreadableKeyError from None
        return handle

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        return self._handle(private).public_key().public_bytes_raw()

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        return self._handle(private).sign(content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        try:
            Ed448PublicKey.from_public_bytes(public).verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


@lru_cache(maxsize=4096)
def _ec_public(curve: type[ec.EllipticCurve], public: bytes) -> ec.EllipticCurvePublicKey:
    if public[:1] != b"\x04":  # RFC 9420 §5.1.1: uncompressed points only
        raise ValueError
    return ec.EllipticCurvePublicKey.from_encoded_point(curve(), public)


class Ecdsa(Scheme):
    """ECDSA over a NIST curve, signatures in DER."""

    def __init__(self, curve: type[ec.EllipticCurve], digest: hashes.HashAlgorithm, order: int) -> None:
        self._curve = curve
        self._name = curve().name
        self.order = order
        self._size = (order.bit_length() + 7) // 8
        self._signing = ec.ECDSA(digest, deterministic_signing=True)
        self._verifying = ec.ECDSA(digest)

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        # FIPS 186-5 A.2.1: 64 bits more than the order, so that the reduction is not biased.
        scalar = int.from_bytes(random(self._size + 8), "big") % (self.order - 1) + 1
        private = SignaturePrivateKey(scalar.to_bytes(self._size, "big"))
        return private, self.public_key(private)

    def _handle(self, private: SignaturePrivateKey) -> ec.EllipticCurvePrivateKey:
        handle = private.handle
        # Not parsed yet, or for another scheme.
        if not isinstance(handle, ec.EllipticCurvePrivateKey) or handle.curve.name != self._name:
            try:
                handle = private.handle = ec.derive_private_key(int.from_bytes(private.raw, "big"), self._curve())
            except ValueError:
                raise UnreadableKeyError from None
        return handle

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        numbers = self._handle(private).public_key().public_numbers()
        # A coordinate is as long as a scalar on all three curves.
        return b"\x04" + numbers.x.to_bytes(self._size, "big") + numbers.y.to_bytes(self._size, "big")

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        """Of the two signatures (r, s) and (r, n - s) the one whose s is the lower."""
        signature = self._handle(private).sign(content, self._signing)
        r, s = decode_dss_signature(signature)
        return signature if 2 * s < self.order else encode_dss_signature(r, self.order - s)

    def canonical(self, signature: bytes) -> bool:
        try:
            _, s = decode_dss_signature(signature)
        except ValueError:
            return False
        return 2 * s < self.order

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        try:
            _ec_public(self._curve, public).verify(signature, content, self._verifying)
        except (InvalidSignature, ValueError):
            return False
        return True


P256 = Ecdsa(
    ec.SECP256R1,
    hashes.SHA256(),
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
P384 = Ecdsa(
    ec.SECP384R1,
    hashes.SHA384(),
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
)
P521 = Ecdsa(
    ec.SECP521R1,
    hashes.SHA512(),
    0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
)


class _MlDsaPublic(Protocol):
    def verify(self, signature: bytes, data: bytes, /) -> None: ...
    def public_bytes_raw(self) -> bytes: ...


class _MlDsaPrivate(Protocol):
    def public_key(self) -> _MlDsaPublic: ...
    def sign(self, data: bytes, /) -> bytes: ...


class MlDsa(Scheme):
    """ML-DSA; a private key is the 32-byte seed of FIPS 204 §6.1, a public key and a signature are FIPS 204's own."""

    def __init__(
        self, load_private: Callable[[bytes], _MlDsaPrivate], load_public: Callable[[bytes], _MlDsaPublic]
    ) -> None:
        self._load_private = load_private
        self._load_public = load_public
        self._parsed = type(load_private(bytes(32)))

    def generate(self, random: Random) -> tuple[SignaturePrivateKey, bytes]:
        private = SignaturePrivateKey(random(32))
        return private, self.public_key(private)

    def _handle(self, private: SignaturePrivateKey) -> _MlDsaPrivate:
        if type(private.handle) is not self._parsed:  # not parsed yet, or for another scheme
            try:
                private.handle = self._load_private(private.raw)
            except ValueError:
                raise UnreadableKeyError from None
        return private.handle

    def public_key(self, private: SignaturePrivateKey) -> bytes:
        return self._handle(private).public_key().public_bytes_raw()

    def sign(self, private: SignaturePrivateKey, content: bytes) -> bytes:
        return self._handle(private).sign(content)

    def verify(self, public: bytes, content: bytes, signature: bytes) -> bool:
        try:
            self._load_public(public).verify(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True


ML_DSA_44 = MlDsa(MLDSA44PrivateKey.from_seed_bytes, MLDSA44PublicKey.from_public_bytes)
ML_DSA_65 = MlDsa(MLDSA65PrivateKey.from_seed_bytes, MLDSA65PublicKey.from_public_bytes)
ML_DSA_87 = MlDsa(MLDSA87PrivateKey.from_seed_bytes, MLDSA87PublicKey.from_public_bytes)
