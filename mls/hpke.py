"""RFC 9180: the part of HPKE that MLS uses, base mode with one message, and key derivation.

Two implementations of one interface, chosen per KEM by measurement:

* `X25519Hpke` spells DHKEM and the key schedule out over three primitives. It is as fast as the native
  single-shot of `cryptography`, takes its ephemeral key from the provider's randomness (so that runs repeat),
  and reuses the hashed `info` when one context is sealed to many keys, which is what a path update does.
* `PyhpkeHpke` wraps `pyhpke` for P-256, P-384, P-521 and X448, whose cost is the curve's.

Both draw the ephemeral key by DeriveKeyPair from `Nsk` random bytes. A key or ciphertext that the primitives
refuse raises `CryptoError`; the caller knows which rule of MLS that breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from pyhpke import (
    AEADId,
    CipherSuite,
    ContextInterface,
    KDFId,
    KEMId,
    KEMKey,
    KEMKeyInterface,
    PyHPKEError,
)

from mls.kdf import Kdf
from mls.secrets import HpkePrivateKey

Random = Callable[[int], bytes]

Handle = TypeVar("Handle")


class Aead(Protocol):
    """An AEAD with its key, as `cryptography` has them."""

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, aad: bytes, /) -> bytes: ...


AEADS: dict[int, Callable[[bytes], Aead]] = {1: AESGCM, 2: AESGCM, 3: ChaCha20Poly1305}


_P25519 = 2**255 - 19
_P448 = 2**448 - 2**224 - 1
_ORDER_8 = (
    0xB8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)

SMALL_ORDER = frozenset(
    [
        (u | sign).to_bytes(32, "little")
        for u in (0, 1, *_ORDER_8, _P25519 - 1, _P25519, _P25519 + 1)
        for sign in (0, 1 << 255)
    ]
    + [u.to_bytes(56, "little") for u in (0, 1, _P448 - 1, _P448, _P448 + 1)]
)
"""The X25519 and X448 keys with which every exchange gives zero, in all their encodings.

RFC 7748 §6 has the exchange fail, so nothing can be sealed to them: a member with such a key would stop every commit.
They are refused where keys arrive.
"""


class CryptoError(Exception):
    """A primitive refused its input; holds no detail on purpose."""


class Hpke(Protocol):
    """One KEM with the KDF and AEAD of its cipher suite."""

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]: ...
    def public_key(self, private: HpkePrivateKey) -> bytes: ...
    def check_public(self, public: bytes) -> None: ...
    def context(self, info: bytes) -> bytes: ...
    def seal(
        self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random
    ) -> tuple[bytes, bytes]: ...
    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes: ...
    def send_export(
        self, public: bytes, info: bytes, label: bytes, length: int, random: Random
    ) -> tuple[bytes, bytes]: ...
    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes: ...


class Curve25519(Protocol[Handle]):
    """X25519 as three functions over a parsed private key."""

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


class X25519Hpke(Generic[Handle]):
    """DHKEM(X25519, HKDF-SHA256) spelled out."""

    def __init__(self, curve: Curve25519[Handle], aead_id: int, key_size: int) -> None:
        self._curve = curve
        self._kdf = kdf = Kdf("sha256")
        self._aead = AEADS[aead_id]
        kem = b"KEM\x00\x20"
        suite = b"HPKE\x00\x20\x00\x01" + aead_id.to_bytes(2, "big")
        # LabeledExtract and LabeledExpand prefix their input with constants; all of those are laid out once
        # here.
        self._dkp_extract = b"HPKE-v1" + kem + b"dkp_prk"
        self._dkp_expand = b"\x00\x20HPKE-v1" + kem + b"sk\x01"
        self._eae_extract = b"HPKE-v1" + kem + b"eae_prk"
        self._shared_expand = b"\x00\x20HPKE-v1" + kem + b"shared_secret"
        self._info_extract = b"HPKE-v1" + suite + b"info_hash"
        self._secret_extract = b"HPKE-v1" + suite + b"secret"
        self._parsed = type(curve.load(bytes(32)))
        self._key_size = key_size
        self._key_expand = key_size.to_bytes(2, "big") + b"HPKE-v1" + suite + b"key"
        self._nonce_expand = b"\x00\x0cHPKE-v1" + suite + b"base_nonce"
        self._exporter_expand = b"\x00\x20HPKE-v1" + suite + b"exp"
        self._export_label = b"HPKE-v1" + suite + b"sec"
        self._psk_id_hash = kdf.extract(b"", b"HPKE-v1" + suite + b"psk_id_hash")

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        hmac = self._kdf.mac
        private = hmac(hmac(b"", self._dkp_extract + ikm), self._dkp_expand)
        curve = self._curve
        handle = curve.load(private)
        return HpkePrivateKey(private, handle), curve.public(handle)

    def _handle(self, private: HpkePrivateKey) -> Handle:
        handle = private.handle
        if type(handle) is not self._parsed:  # not parsed yet, or by another provider's curve
            if len(private.raw) != 32:
                raise CryptoError
            handle = private.handle = self._curve.load(private.raw)
        return handle

    def public_key(self, private: HpkePrivateKey) -> bytes:
        return self._curve.public(self._handle(private))

    def check_public(self, public: bytes) -> None:
        if len(public) != 32 or public in SMALL_ORDER:
            raise CryptoError

    def context(self, info: bytes) -> bytes:
        return b"\x00" + self._psk_id_hash + self._kdf.mac(b"", self._info_extract + info)

    def _secret(self, shared: bytes, enc: bytes, public: bytes) -> bytes:
        hmac = self._kdf.mac
        eae_prk = hmac(b"", self._eae_extract + shared)
        shared_secret = hmac(eae_prk, self._shared_expand + enc + public + b"\x01")
        return hmac(shared_secret, self._secret_extract)

    def _encapsulate(self, public: bytes, random: Random) -> tuple[bytes, bytes]:
        if len(public) != 32:
            raise CryptoError
        ephemeral, enc = self.derive_key_pair(random(32))
        return enc, self._secret(self._curve.exchange(self._handle(ephemeral), public), enc, public)

    def _decapsulate(self, private: HpkePrivateKey, enc: bytes) -> bytes:
        if len(enc) != 32:
            raise CryptoError
        handle = self._handle(private)
        return self._secret(self._curve.exchange(handle, enc), enc, self._curve.public(handle))

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        enc, secret = self._encapsulate(public, random)
        hmac = self._kdf.mac
        key = hmac(secret, self._key_expand + context + b"\x01")[: self._key_size]
        nonce = hmac(secret, self._nonce_expand + context + b"\x01")[:12]
        return enc, self._aead(key).encrypt(nonce, plaintext, aad)

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        secret = self._decapsulate(private, enc)
        hmac = self._kdf.mac
        key = hmac(secret, self._key_expand + context + b"\x01")[: self._key_size]
        nonce = hmac(secret, self._nonce_expand + context + b"\x01")[:12]
        try:
            return self._aead(key).decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise CryptoError from None

    def _export(self, secret: bytes, info: bytes, label: bytes, length: int) -> bytes:
        exporter = self._kdf.mac(secret, self._exporter_expand + self.context(info) + b"\x01")
        return self._kdf.expand(exporter, length.to_bytes(2, "big") + self._export_label + label, length)

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        enc, secret = self._encapsulate(public, random)
        return enc, self._export(secret, info, label, length)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        return self._export(self._decapsulate(private, enc), info, label, length)


class PyhpkeHpke:
    """The other KEMs, by `pyhpke`."""

    def __init__(self, kem_id: int, kdf_id: int, aead_id: int, secret_size: int) -> None:
        self._suite = CipherSuite.new(KEMId(kem_id), KDFId(kdf_id), AEADId(aead_id))
        self._secret_size = secret_size
        # RFC 9180 §7.1.1: NIST points are uncompressed; X448 keys are as long as their secrets.
        self._point = kem_id != 0x21
        self._public_size = 1 + 2 * secret_size if self._point else secret_size

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        pair = self._suite.kem.derive_key_pair(ikm)
        private = pair.private_key
        # pyhpke 0.6.5 pads a scalar to as many bytes as its curve has bits; RFC 9180 §7.1.2 wants Nsk bytes.
        raw = private.to_private_bytes()[-self._secret_size :]
        return HpkePrivateKey(raw, private), pair.public_key.to_public_bytes()

    def _handle(self, private: HpkePrivateKey) -> KEMKeyInterface:
        if private.handle is None:
            # Some write a scalar without its leading zeros, so P-521 keys of 65 bytes occur and mean the
            # same.
            missing = self._secret_size - len(private.raw)
            if missing < 0 or (missing and not self._point):
                raise CryptoError
            try:
                private.handle = self._suite.kem.deserialize_private_key(private.raw)
            except (PyHPKEError, ValueError):
                raise CryptoError from None
        return cast("KEMKeyInterface", private.handle)

    def _check_form(self, public: bytes) -> None:
        if len(public) != self._public_size or (self._point and public[0] != 4):
            raise CryptoError

    def _public(self, public: bytes) -> KEMKeyInterface:
        self._check_form(public)
        try:
            return self._suite.kem.deserialize_public_key(public)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def public_key(self, private: HpkePrivateKey) -> bytes:
        public = KEMKey.from_pyca_cryptography_key(self._handle(private).raw.public_key())
        return public.to_public_bytes()

    def check_public(self, public: bytes) -> None:
        if public in SMALL_ORDER:
            raise CryptoError
        self._public(public)

    def context(self, info: bytes) -> bytes:
        return info

    def _sender(self, public: bytes, info: bytes, random: Random) -> tuple[bytes, ContextInterface]:
        recipient = self._public(public)
        ephemeral = self._suite.kem.derive_key_pair(random(self._secret_size))
        try:
            return self._suite.create_sender_context(recipient, info, eks=ephemeral)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def _recipient(self, private: HpkePrivateKey, enc: bytes, info: bytes) -> ContextInterface:
        handle = self._handle(private)
        self._check_form(enc)
        try:
            return self._suite.create_recipient_context(enc, handle, info)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        enc, sender = self._sender(public, context, random)
        return enc, sender.seal(plaintext, aad)

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        recipient = self._recipient(private, enc, context)
        try:
            return recipient.open(ciphertext, aad)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        enc, sender = self._sender(public, info, random)
        return enc, sender.export(label, length)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        return self._recipient(private, enc, info).export(label, length)
