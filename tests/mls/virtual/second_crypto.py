"""RFC 9180, RFC 9420 §5.1 and SP 800-38G a second time: what `second_writing.py` reads vectors with.

Nothing of `mls` is imported. Of libraries, only single block ciphers, AEADs, curves and signatures are used; HPKE, the
derivation of key pairs and FF1 are written out here. Suites 1, 2, 3 and 7 are enough: both kinds of KEM, both hashes of
those, and all three AEADs of RFC 9420. For each of these suites the KEM's hash is also the suite's.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.mls.virtual.ladder import Hash, number, var

MLS = b"MLS 1.0 "
Nn = 12


@dataclass(frozen=True)
class Numbers:
    """What RFC 9180 calls the parts of a suite, and the curve if it is one of NIST's."""

    kem: int
    kdf: int
    aead: int
    key_size: int
    curve: ec.EllipticCurve | None
    scalar_size: int


SUITES = {
    1: Numbers(0x20, 1, 1, 16, None, 32),
    2: Numbers(0x10, 1, 1, 16, ec.SECP256R1(), 32),
    3: Numbers(0x20, 1, 3, 32, None, 32),
    7: Numbers(0x11, 2, 2, 32, ec.SECP384R1(), 48),
}


class Suite(Hash):
    """A cipher suite by its number."""

    def __init__(self, cipher_suite: int) -> None:
        super().__init__(cipher_suite)
        self.cipher_suite = cipher_suite
        self.numbers = SUITES[cipher_suite]

    # AEAD

    def _aead(self, key: bytes) -> AESGCM | ChaCha20Poly1305:
        assert len(key) == self.numbers.key_size
        return ChaCha20Poly1305(key) if self.numbers.aead == 3 else AESGCM(key)

    def seal(self, key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> bytes:
        return self._aead(key).encrypt(nonce, plain, aad)

    def open(self, key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes:
        return self._aead(key).decrypt(nonce, sealed, aad)

    # Curves

    def derive_private(self, ikm: bytes) -> bytes:
        """DeriveKeyPair (RFC 9180 §7.1.3)."""
        of = b"KEM" + number(self.numbers.kem, 2)
        root = self._labeled_extract(of, b"", b"dkp_prk", ikm)
        if self.numbers.curve is None:
            return self._labeled_expand(of, root, b"sk", b"", 32)
        for counter in range(256):
            candidate = self._labeled_expand(of, root, b"candidate", number(counter, 1), self.numbers.scalar_size)
            if self._is_scalar(candidate):
                return candidate
        raise AssertionError("no candidate is a key")

    def _is_scalar(self, candidate: bytes) -> bool:
        curve = self.numbers.curve
        assert curve is not None
        try:
            ec.derive_private_key(int.from_bytes(candidate, "big"), curve)
        except ValueError:
            return False
        return True

    def public(self, private: bytes) -> bytes:
        """Of a private key of the KEM."""
        if self.numbers.curve is None:
            return x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        key = ec.derive_private_key(int.from_bytes(private, "big"), self.numbers.curve)
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def _shared(self, private: bytes, public: bytes) -> bytes:
        if self.numbers.curve is None:
            other = x25519.X25519PublicKey.from_public_bytes(public)
            return x25519.X25519PrivateKey.from_private_bytes(private).exchange(other)
        key = ec.derive_private_key(int.from_bytes(private, "big"), self.numbers.curve)
        return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self.numbers.curve, public))

    # HPKE, as the one who receives

    def _labeled_extract(self, of: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return self.extract(b"HPKE-v1" + of + label + ikm, salt)

    def _labeled_expand(self, of: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
        return self.stretch(secret, number(length, 2) + b"HPKE-v1" + of + label + info, length)

    def _receiver(self, private: bytes, kem_output: bytes, info: bytes) -> tuple[bytes, bytes, bytes]:
        """Decap and KeySchedule of base mode: key, nonce, exporter secret."""
        of = b"KEM" + number(self.numbers.kem, 2)
        root = self._labeled_extract(of, b"", b"eae_prk", self._shared(private, kem_output))
        shared = self._labeled_expand(of, root, b"shared_secret", kem_output + self.public(private), self.size)
        of = b"HPKE" + b"".join(number(each, 2) for each in (self.numbers.kem, self.numbers.kdf, self.numbers.aead))
        parts = [
            self._labeled_extract(of, b"", b"psk_id_hash", b""),
            self._labeled_extract(of, b"", b"info_hash", info),
        ]
        context = b"\0" + b"".join(parts)
        secret = self._labeled_extract(of, shared, b"secret", b"")
        sizes = ((b"key", self.numbers.key_size), (b"base_nonce", Nn), (b"exp", self.size))
        key, nonce, exporter = [self._labeled_expand(of, secret, label, context, size) for label, size in sizes]
        return key, nonce, exporter

    def decrypt_with_label(
        self, private: bytes, label: bytes, context: bytes, kem_output: bytes, sealed: bytes
    ) -> bytes:
        key, nonce, _ = self._receiver(private, kem_output, var(MLS + label) + var(context))
        return self.open(key, nonce, b"", sealed)

    def external_init(self, private: bytes, kem_output: bytes) -> bytes:
        """RFC 9420 §8.3."""
        of = b"HPKE" + b"".join(number(each, 2) for each in (self.numbers.kem, self.numbers.kdf, self.numbers.aead))
        _, _, exporter = self._receiver(private, kem_output, b"")
        return self._labeled_expand(of, exporter, b"sec", MLS + b"external init secret", self.size)

    # Signatures

    def signature_public(self, private: bytes) -> bytes:
        if self.numbers.curve is None:
            return ed25519.Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        return self.public(private)

    def verify(self, public: bytes, label: bytes, content: bytes, signature: bytes) -> None:
        """VerifyWithLabel; `InvalidSignature` if it does not hold."""
        signed = var(MLS + label) + var(content)
        curve = self.numbers.curve
        if curve is None:
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
            return
        digest = hashes.SHA384() if self.size == 48 else hashes.SHA256()
        ec.EllipticCurvePublicKey.from_encoded_point(curve, public).verify(signature, signed, ec.ECDSA(digest))

    def derived_signature_private(self, imported: bytes) -> bytes:
        """The policy of deriving signature keys (docs/vectors.md)."""
        secret, suite = self.derive(imported, b"Signature Key"), number(self.cipher_suite, 2)
        if self.numbers.curve is None:
            return self.expand(secret, b"vc signature seed", suite, 32)
        for counter in range(256):
            context = suite + number(counter, 1)
            candidate = self.expand(secret, b"vc signature candidate", context, self.numbers.scalar_size)
            if self._is_scalar(candidate):
                return candidate
        raise AssertionError("no candidate is a key")


class Permutation:
    """FF1 with AES-128, radix 2, 32 numerals and no tweak."""

    def __init__(self, key: bytes, bit_order: str) -> None:
        self.block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
        self.swap = {"msb-first": False, "lsb-first-per-byte": True}[bit_order]
        self.head = self.block(bytes.fromhex("0102010000020a100000002000000000"))

    def _numerals(self, value: int) -> int:
        """Bits of a number in the order of numerals, and back again."""
        if not self.swap:
            return value
        return int.from_bytes([int(f"{octet:08b}"[::-1], 2) for octet in value.to_bytes(4, "big")], "big")

    def _round(self, index: int, half: int) -> int:
        """The numbers are below 2^16, of which only the last two of eight bytes matter."""
        block = bytes(13) + number(index, 1) + number(half, 2)
        mixed = self.block(bytes(one ^ other for one, other in zip(self.head, block, strict=True)))
        return int.from_bytes(mixed[:8], "big") % (1 << 16)

    def encrypt(self, value: int) -> int:
        value = self._numerals(value)
        left, right = value >> 16, value & 0xFFFF
        for index in range(10):
            left, right = right, (left + self._round(index, right)) % (1 << 16)
        return self._numerals(left << 16 | right)

    def decrypt(self, value: int) -> int:
        value = self._numerals(value)
        left, right = value >> 16, value & 0xFFFF
        for index in reversed(range(10)):
            left, right = (right - self._round(index, left)) % (1 << 16), left
        return self._numerals(left << 16 | right)
