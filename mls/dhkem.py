"""RFC 9180 §4.1: DHKEM(X25519, HKDF-SHA256), spelled out over any library's X25519.

The three functions of X25519 come from a `Group`, which a provider may replace by a faster one (`vcd.crypto` does).
The ephemeral key is DeriveKeyPair of 32 random bytes.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mls.hpke import SMALL_ORDER, CryptoError, Random
from mls.kdf import Kdf
from mls.secrets import HpkePrivateKey

Handle = TypeVar("Handle")


class Group(Protocol[Handle]):
    """A Diffie-Hellman group as three functions over a parsed private key."""

    def load(self, private: bytes) -> Handle: ...
    def public(self, handle: Handle) -> bytes: ...
    def exchange(self, handle: Handle, public: bytes) -> bytes: ...


class OpenSslX25519:
    """X25519 by `cryptography`."""

    def load(self, private: bytes) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(private)

    def public(self, handle: X25519PrivateKey) -> bytes:
        return handle.public_key().public_bytes_raw()

    def exchange(self, handle: X25519PrivateKey, public: bytes) -> bytes:
        try:
            return handle.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise CryptoError from None  # wrong length, or the all-zero output of a small-order point


def check_x25519(public: bytes) -> None:
    """Refuse a public key of another length, or one that gives every exchange the same secret."""
    if len(public) != 32 or public in SMALL_ORDER:
        raise CryptoError


class X25519Kem(Generic[Handle]):
    """DHKEM(X25519, HKDF-SHA256)."""

    kem_id = 0x20

    def __init__(self, group: Group[Handle]) -> None:
        self._group = group
        self._mac = Kdf("sha256").mac
        suite = b"KEM\x00\x20"
        # The constants that LabeledExtract and LabeledExpand prefix to their input.
        self._dkp_extract = b"HPKE-v1" + suite + b"dkp_prk"
        self._dkp_expand = b"\x00\x20HPKE-v1" + suite + b"sk\x01"
        self._eae_extract = b"HPKE-v1" + suite + b"eae_prk"
        self._shared_expand = b"\x00\x20HPKE-v1" + suite + b"shared_secret"
        self._parsed = type(group.load(bytes(32)))

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        mac = self._mac
        private = mac(mac(b"", self._dkp_extract + ikm), self._dkp_expand)
        group = self._group
        handle = group.load(private)
        return HpkePrivateKey(private, handle), group.public(handle)

    def _handle(self, private: HpkePrivateKey) -> Handle:
        handle = private.handle
        if type(handle) is not self._parsed:  # not parsed yet, or by another provider's library
            if len(private.raw) != 32:
                raise CryptoError
            handle = private.handle = self._group.load(private.raw)
        return handle

    def public_key(self, private: HpkePrivateKey) -> bytes:
        return self._group.public(self._handle(private))

    def check_public(self, public: bytes) -> None:
        check_x25519(public)

    def _shared(self, exchanged: bytes, enc: bytes, public: bytes) -> bytes:
        mac = self._mac
        eae_prk = mac(b"", self._eae_extract + exchanged)
        return mac(eae_prk, self._shared_expand + enc + public + b"\x01")

    def encapsulate(self, public: bytes, random: Random) -> tuple[bytes, bytes]:
        if len(public) != 32:
            raise CryptoError
        ephemeral, enc = self.derive_key_pair(random(32))
        return enc, self._shared(self._group.exchange(self._handle(ephemeral), public), enc, public)

    def decapsulate(self, private: HpkePrivateKey, enc: bytes) -> bytes:
        if len(enc) != 32:
            raise CryptoError
        handle = self._handle(private)
        return self._shared(self._group.exchange(handle, enc), enc, self._group.public(handle))
