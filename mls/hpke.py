"""RFC 9180: the part of HPKE that MLS uses: base and PSK mode with one message, exports, and key derivation.

HPKE is a key encapsulation mechanism (KEM), which agrees on a secret, and a key schedule, which turns it into an AEAD
key. There are two implementations of the whole, chosen per KEM by measurement:

* `KemHpke` spells the key schedule out over any `Kem`: X25519 (`mls.dhkem`), ML-KEM (`mls.mlkem`) and the hybrids of
  both families (`mls.xwing`). With X25519 it is as fast as the native single-shot of `cryptography`, and it reuses the
  hashed `info` when one context is sealed to many keys, which is what a path update does.
* `PyhpkeHpke` wraps `pyhpke` for P-256, P-384, P-521 and X448, whose cost is the curve's.

Diffie-Hellman KEMs draw the ephemeral key from the provider's randomness, so that runs repeat; ML-KEM cannot
(`mls.mlkem` says why). A key or ciphertext that the primitives refuse raises `CryptoError`; the caller knows which
rule of MLS that breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from cryptography.exceptions import InvalidTag
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

from mls.errors import CallerError
from mls.kdf import Kdf
from mls.secrets import HpkePrivateKey

Random = Callable[[int], bytes]


class Aead(Protocol):
    """An AEAD with its key, as `cryptography` has them."""

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, aad: bytes, /) -> bytes: ...


AEADS: dict[int, Callable[[bytes], Aead]] = {1: AESGCM, 2: AESGCM, 3: ChaCha20Poly1305}
KEY_SIZES = {1: 16, 2: 32, 3: 32}
KDFS = {1: "sha256", 2: "sha384", 3: "sha512"}


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


class UnreadableKeyError(CryptoError, CallerError):
    """A private signature key that is handed to us is none of its scheme."""

    def __init__(self) -> None:
        CallerError.__init__(
            self, "a private key of ours cannot be read", "take it from where it was stored, or a backup"
        )


class Kem(Protocol):
    """A key encapsulation mechanism (§4)."""

    kem_id: int

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]: ...
    def public_key(self, private: HpkePrivateKey) -> bytes: ...
    def check_public(self, public: bytes) -> None: ...
    def encapsulate(self, public: bytes, random: Random) -> tuple[bytes, bytes]:
        """The encapsulation, and the shared secret in it."""
        ...

    def decapsulate(self, private: HpkePrivateKey, enc: bytes) -> bytes: ...


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
    def seal_psk(
        self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, psk: bytes, psk_id: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        """SealPSK (§6.1): only who also knows `psk` can open, or could have sealed."""
        ...

    def open_psk(
        self,
        private: HpkePrivateKey,
        enc: bytes,
        info: bytes,
        aad: bytes,
        ciphertext: bytes,
        psk: bytes,
        psk_id: bytes,
    ) -> bytes:
        """OpenPSK (§6.1)."""
        ...


def check_psk(psk: bytes, psk_id: bytes) -> None:
    """Refuse what is no pre-shared key with an id (§5.1 VerifyPSKInputs, §5.1.2).

    "The PSK MUST have at least 32 bytes of entropy" cannot hold of a shorter one; and an empty one would be base
    mode, which proves nothing about the sender.
    """
    if len(psk) < 32 or not psk_id:
        raise CryptoError


class KemHpke:
    """The key schedule (§5.1) over a KEM."""

    def __init__(self, kem: Kem, kdf_id: int, aead_id: int) -> None:
        self._kem = kem
        self._kdf = kdf = Kdf(KDFS[kdf_id])
        self._aead = AEADS[aead_id]
        self._key_size = KEY_SIZES[aead_id]
        suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem.kem_id, kdf_id, aead_id))
        # LabeledExtract and LabeledExpand prefix their input with constants; all of those are laid out once
        # here.
        self._info_extract = b"HPKE-v1" + suite + b"info_hash"
        self._secret_extract = b"HPKE-v1" + suite + b"secret"
        self._key_expand = self._key_size.to_bytes(2, "big") + b"HPKE-v1" + suite + b"key"
        self._nonce_expand = b"\x00\x0cHPKE-v1" + suite + b"base_nonce"
        self._exporter_expand = kdf.size.to_bytes(2, "big") + b"HPKE-v1" + suite + b"exp"
        self._export_label = b"HPKE-v1" + suite + b"sec"
        self._psk_id_extract = b"HPKE-v1" + suite + b"psk_id_hash"
        self._psk_id_hash = kdf.extract(b"", self._psk_id_extract)
        self.derive_key_pair = kem.derive_key_pair
        self.public_key = kem.public_key
        self.check_public = kem.check_public

    def context(self, info: bytes) -> bytes:
        return b"\x00" + self._psk_id_hash + self._kdf.mac(b"", self._info_extract + info)

    def _psk_context(self, info: bytes, psk_id: bytes) -> bytes:
        hmac = self._kdf.mac
        return b"\x01" + hmac(b"", self._psk_id_extract + psk_id) + hmac(b"", self._info_extract + info)

    def _keys(self, shared: bytes, context: bytes, psk: bytes) -> tuple[Aead, bytes]:
        hmac = self._kdf.mac
        secret = hmac(shared, self._secret_extract + psk)
        key = hmac(secret, self._key_expand + context + b"\x01")[: self._key_size]
        return self._aead(key), hmac(secret, self._nonce_expand + context + b"\x01")[:12]

    def _seal(
        self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, psk: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        enc, shared = self._kem.encapsulate(public, random)
        aead, nonce = self._keys(shared, context, psk)
        return enc, aead.encrypt(nonce, plaintext, aad)

    def _open(
        self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes, psk: bytes
    ) -> bytes:
        aead, nonce = self._keys(self._kem.decapsulate(private, enc), context, psk)
        try:
            return aead.decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise CryptoError from None

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        return self._seal(public, context, aad, plaintext, b"", random)

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        return self._open(private, enc, context, aad, ciphertext, b"")

    def seal_psk(
        self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, psk: bytes, psk_id: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        check_psk(psk, psk_id)
        return self._seal(public, self._psk_context(info, psk_id), aad, plaintext, psk, random)

    def open_psk(
        self,
        private: HpkePrivateKey,
        enc: bytes,
        info: bytes,
        aad: bytes,
        ciphertext: bytes,
        psk: bytes,
        psk_id: bytes,
    ) -> bytes:
        check_psk(psk, psk_id)
        return self._open(private, enc, self._psk_context(info, psk_id), aad, ciphertext, psk)

    def _export(self, shared: bytes, info: bytes, label: bytes, length: int) -> bytes:
        secret = self._kdf.mac(shared, self._secret_extract)
        exporter = self._kdf.mac(secret, self._exporter_expand + self.context(info) + b"\x01")
        return self._kdf.expand(exporter, length.to_bytes(2, "big") + self._export_label + label, length)

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        enc, shared = self._kem.encapsulate(public, random)
        return enc, self._export(shared, info, label, length)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        return self._export(self._kem.decapsulate(private, enc), info, label, length)


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

    def _sender(
        self, public: bytes, info: bytes, random: Random, psk: bytes = b"", psk_id: bytes = b""
    ) -> tuple[bytes, ContextInterface]:
        recipient = self._public(public)
        ephemeral = self._suite.kem.derive_key_pair(random(self._secret_size))
        try:
            return self._suite.create_sender_context(recipient, info, psk=psk, psk_id=psk_id, eks=ephemeral)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def _recipient(
        self, private: HpkePrivateKey, enc: bytes, info: bytes, psk: bytes = b"", psk_id: bytes = b""
    ) -> ContextInterface:
        handle = self._handle(private)
        self._check_form(enc)
        try:
            return self._suite.create_recipient_context(enc, handle, info, psk=psk, psk_id=psk_id)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def seal(self, public: bytes, context: bytes, aad: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        enc, sender = self._sender(public, context, random)
        return enc, sender.seal(plaintext, aad)

    def _opened(self, recipient: ContextInterface, aad: bytes, ciphertext: bytes) -> bytes:
        try:
            return recipient.open(ciphertext, aad)
        except (PyHPKEError, ValueError):
            raise CryptoError from None

    def open(self, private: HpkePrivateKey, enc: bytes, context: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        return self._opened(self._recipient(private, enc, context), aad, ciphertext)

    def seal_psk(
        self, public: bytes, info: bytes, aad: bytes, plaintext: bytes, psk: bytes, psk_id: bytes, random: Random
    ) -> tuple[bytes, bytes]:
        check_psk(psk, psk_id)
        enc, sender = self._sender(public, info, random, psk, psk_id)
        return enc, sender.seal(plaintext, aad)

    def open_psk(
        self,
        private: HpkePrivateKey,
        enc: bytes,
        info: bytes,
        aad: bytes,
        ciphertext: bytes,
        psk: bytes,
        psk_id: bytes,
    ) -> bytes:
        check_psk(psk, psk_id)
        return self._opened(self._recipient(private, enc, info, psk, psk_id), aad, ciphertext)

    def send_export(self, public: bytes, info: bytes, label: bytes, length: int, random: Random) -> tuple[bytes, bytes]:
        enc, sender = self._sender(public, info, random)
        return enc, sender.export(label, length)

    def receive_export(self, private: HpkePrivateKey, enc: bytes, info: bytes, label: bytes, length: int) -> bytes:
        return self._recipient(private, enc, info).export(label, length)
