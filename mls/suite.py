"""RFC 9420 §5 and draft-ietf-mls-pq-ciphersuites: a cipher suite as one object, with every labeled operation of §5.

`Suite` holds the parameters of one suite number and its two asymmetric parts, which a provider may replace by
faster ones of the same behavior (`vcd.crypto` does). It keeps no secret and no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest

from cryptography.exceptions import InvalidTag

from mls import signatures
from mls.codec import opaque, varint
from mls.dhkem import Group, Handle, OpenSslX25519, X25519Kem
from mls.hpke import AEADS, KDFS, KEY_SIZES, Aead, CryptoError, Hpke, Kem, KemHpke, PyhpkeHpke
from mls.kdf import Kdf
from mls.mlkem import ML_KEM_768, ML_KEM_1024, MlKem
from mls.registries import CipherSuite, HybridSuite, OpenMlsSuite
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.signatures import Scheme
from mls.xwing import MLKEM768_P256, MLKEM1024_P384, P256, P384, XWING, HybridKem

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Parameters:
    """A suite's row in its document: identifiers of the parts, and the lengths that follow from them."""

    kem: int
    kdf: int
    aead: int
    signature: Scheme
    labeled: bool = True
    """Whether a post-quantum KEM derives its keys as draft-ietf-hpke-pq says, and not as before it."""

    @property
    def hash(self) -> str:
        """The suite's hash, which is HKDF's too in every suite there is."""
        return KDFS[self.kdf]

    @property
    def key_size(self) -> int:
        return KEY_SIZES[self.aead]

    @property
    def private_size(self) -> int:
        return _PRIVATE_SIZES[self.kem]


_PRIVATE_SIZES = {
    0x10: 32, 0x11: 48, 0x12: 66, 0x20: 32, 0x21: 56,
    0x41: 64, 0x42: 64, 0x50: 32, 0x51: 32, 0x647A: 32,
}  # fmt: skip

_ED25519 = signatures.OpenSslEd25519()
_ED448 = signatures.Ed448()

SUITES: dict[int, Parameters] = {
    # RFC 9420 §17.1
    CipherSuite.X25519_AES128GCM_SHA256_ED25519: Parameters(0x20, 1, 1, _ED25519),
    CipherSuite.P256_AES128GCM_SHA256_P256: Parameters(0x10, 1, 1, signatures.P256),
    CipherSuite.X25519_CHACHA20POLY1305_SHA256_ED25519: Parameters(0x20, 1, 3, _ED25519),
    CipherSuite.X448_AES256GCM_SHA512_ED448: Parameters(0x21, 3, 2, _ED448),
    CipherSuite.P521_AES256GCM_SHA512_P521: Parameters(0x12, 3, 2, signatures.P521),
    CipherSuite.X448_CHACHA20POLY1305_SHA512_ED448: Parameters(0x21, 3, 3, _ED448),
    CipherSuite.P384_AES256GCM_SHA384_P384: Parameters(0x11, 2, 2, signatures.P384),
    # draft-ietf-mls-pq-ciphersuites §3.1
    HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519: Parameters(0x647A, 1, 1, _ED25519),
    HybridSuite.MLKEM768X25519_AES256GCM_SHA384_ED25519: Parameters(0x647A, 2, 2, _ED25519),
    HybridSuite.MLKEM768P256_AES128GCM_SHA256_P256: Parameters(0x50, 1, 1, signatures.P256),
    HybridSuite.MLKEM768P256_AES256GCM_SHA384_P256: Parameters(0x50, 2, 2, signatures.P256),
    HybridSuite.MLKEM1024P384_AES256GCM_SHA384_P384: Parameters(0x51, 2, 2, signatures.P384),
    HybridSuite.MLKEM768_AES256GCM_SHA384_ED25519: Parameters(0x41, 2, 2, _ED25519),
    HybridSuite.MLKEM768_AES256GCM_SHA384_P256: Parameters(0x41, 2, 2, signatures.P256),
    HybridSuite.MLKEM1024_AES256GCM_SHA384_P384: Parameters(0x42, 2, 2, signatures.P384),
    HybridSuite.MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44: Parameters(0x647A, 2, 3, signatures.ML_DSA_44),
    HybridSuite.MLKEM768_AES256GCM_SHA384_MLDSA65: Parameters(0x41, 2, 2, signatures.ML_DSA_65),
    HybridSuite.MLKEM1024_AES256GCM_SHA384_MLDSA87: Parameters(0x42, 2, 2, signatures.ML_DSA_87),
    # OpenMLS
    OpenMlsSuite.MLKEM1024_AES256GCM_SHA384_P384: Parameters(0x42, 2, 2, signatures.P384, labeled=False),
    OpenMlsSuite.MLKEM768X25519_CHACHA20POLY1305_SHA256_ED25519: Parameters(0x647A, 1, 3, _ED25519, labeled=False),
    OpenMlsSuite.MLKEM768X25519_AES256GCM_SHA384_ED25519: Parameters(0x647A, 2, 2, _ED25519, labeled=False),
    OpenMlsSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519: Parameters(0x647A, 1, 1, _ED25519, labeled=False),
    OpenMlsSuite.MLKEM768_AES256GCM_SHA384_P256: Parameters(0x41, 2, 2, signatures.P256, labeled=False),
    OpenMlsSuite.MLKEM768_AES256GCM_SHA384_MLDSA65: Parameters(0x41, 2, 2, signatures.ML_DSA_65, labeled=False),
    OpenMlsSuite.MLKEM768X25519_CHACHA20POLY1305_SHA384_MLDSA44: Parameters(
        0x647A, 2, 3, signatures.ML_DSA_44, labeled=False
    ),
    OpenMlsSuite.MLKEM1024_AES256GCM_SHA384_MLDSA87: Parameters(0x42, 2, 2, signatures.ML_DSA_87, labeled=False),
    OpenMlsSuite.MLKEM768_AES256GCM_SHA384_ED25519: Parameters(0x41, 2, 2, _ED25519, labeled=False),
}


def kem_of(row: Parameters, x25519: Group[Handle]) -> Kem | None:
    """The KEM of a row over that X25519; None for those that are left to `pyhpke`."""
    match row.kem:
        case 0x20:
            return X25519Kem(x25519)
        case 0x41:
            return MlKem(row.kem, ML_KEM_768, labeled=row.labeled)
        case 0x42:
            return MlKem(row.kem, ML_KEM_1024, labeled=row.labeled)
        case 0x50:
            return HybridKem(MLKEM768_P256, P256, labeled=row.labeled)
        case 0x51:
            return HybridKem(MLKEM1024_P384, P384, labeled=row.labeled)
        case 0x647A:
            return HybridKem(XWING, x25519, labeled=row.labeled)
        case _:
            return None


def hpke_of(row: Parameters, x25519: Group[Handle]) -> Hpke:
    """HPKE with the parts of a row, over that X25519 where it has a say."""
    kem = kem_of(row, x25519)
    if kem is None:
        return PyhpkeHpke(row.kem, row.kdf, row.aead, row.private_size)
    return KemHpke(kem, row.kdf, row.aead)


NONCE_SIZE = 12
_PREFIX = b"MLS 1.0 "


@lru_cache(maxsize=512)
def _label_head(label: bytes, length: int) -> bytes:
    return length.to_bytes(2, "big") + opaque(_PREFIX + label)


@lru_cache(maxsize=512)
def _derive_info(label: bytes, length: int) -> bytes:
    """DeriveSecret's HKDF input: no context, one block."""
    return _label_head(label, length) + b"\x00\x01"


class Suite:
    """The operations of RFC 9420 §5 for one suite number."""

    __slots__ = (
        "_aead",
        "_derive",
        "cipher_suite",
        "hash",
        "hash_size",
        "hpke",
        "kdf",
        "key_size",
        "mac",
        "private_size",
        "scheme",
    )

    def __init__(self, cipher_suite: int, *, hpke: Hpke | None = None, scheme: Scheme | None = None) -> None:
        row = SUITES[cipher_suite]
        self.cipher_suite = int(cipher_suite)
        self.kdf = Kdf(row.hash)
        self.hash = self.kdf.hash
        self.mac = self.kdf.mac
        self.hash_size = self.kdf.size
        self.key_size = row.key_size
        self.private_size = row.private_size
        self._aead: Callable[[bytes], Aead] = AEADS[row.aead]
        self.scheme: Scheme = scheme or row.signature
        self.hpke: Hpke = hpke or hpke_of(row, OpenSslX25519())

    def __repr__(self) -> str:
        return f"<Suite {self.cipher_suite}>"

    # Symmetric operations (§8, §9)

    def expand_with_label(self, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
        """ExpandWithLabel (§8)."""
        info = _label_head(label, length) + opaque(context)
        if length <= self.hash_size:
            return self.mac(secret, info + b"\x01")[:length]
        return self.kdf.expand(secret, info, length)

    def derive_secret(self, secret: bytes, label: bytes) -> bytes:
        """DeriveSecret (§8)."""
        return self.mac(secret, _derive_info(label, self.hash_size))

    def derive_tree_secret(self, secret: bytes, label: bytes, generation: int, length: int) -> bytes:
        """DeriveTreeSecret (§9)."""
        return self.expand_with_label(secret, label, generation.to_bytes(4, "big"), length)

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        return self.mac(salt, ikm)

    def ref_hash(self, label: bytes, value: bytes) -> bytes:
        """RefHash (§5.2)."""
        return self.hash(opaque(label) + varint(len(value)) + value)

    def verify_mac(self, key: bytes, content: bytes, tag: bytes) -> bool:
        return compare_digest(self.mac(key, content), tag)

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return self._aead(key).encrypt(nonce, plaintext, aad)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        try:
            return self._aead(key).decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise CryptoError from None

    # Public-key encryption (§5.1.3)

    def derive_key_pair(self, secret: bytes) -> tuple[HpkePrivateKey, bytes]:
        """KEM.DeriveKeyPair of RFC 9180 §4.1."""
        return self.hpke.derive_key_pair(secret)

    def generate_key_pair(self, random: Random) -> tuple[HpkePrivateKey, bytes]:
        return self.hpke.derive_key_pair(random(self.private_size))

    def encryption_context(self, label: bytes, context: bytes) -> bytes:
        """The part of EncryptWithLabel that does not depend on the recipient; reusable."""
        return self.hpke.context(opaque(_PREFIX + label) + opaque(context))

    def seal(self, public: bytes, encryption_context: bytes, plaintext: bytes, random: Random) -> tuple[bytes, bytes]:
        """EncryptWithLabel, as KEM output and ciphertext."""
        return self.hpke.seal(public, encryption_context, b"", plaintext, random)

    def open(self, private: HpkePrivateKey, encryption_context: bytes, kem_output: bytes, ciphertext: bytes) -> bytes:
        """DecryptWithLabel."""
        return self.hpke.open(private, kem_output, encryption_context, b"", ciphertext)

    # Signatures (§5.1.2)

    def sign_with_label(self, private: SignaturePrivateKey, label: bytes, content: bytes) -> bytes:
        return self.scheme.sign(private, opaque(_PREFIX + label) + varint(len(content)) + content)

    def verify_with_label(self, public: bytes, label: bytes, content: bytes, signature: bytes) -> bool:
        return self.scheme.verify(public, opaque(_PREFIX + label) + varint(len(content)) + content, signature)

    def verify_many(self, label: bytes, signed: Sequence[tuple[bytes, bytes, bytes]]) -> bool:
        """Whether every (public key, content, signature) holds; a provider may work on them side by side."""
        head = opaque(_PREFIX + label)
        return self.scheme.verify_many(
            [(public, head + varint(len(content)) + content, signature) for public, content, signature in signed]
        )
