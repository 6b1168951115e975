"""draft-ietf-hpke-pq §3: ML-KEM-768 and ML-KEM-1024 (FIPS 203) as KEMs of HPKE, by `cryptography`.

A private key is its 64-byte seed, expanded once and kept beside it. Public keys and ciphertexts are those of FIPS 203,
with no other encoding. What FIPS 203 has a sender check of a public key, its length and that every coefficient is
reduced, is checked where a key arrives (`check_public`) and again when something is sealed to it. Decapsulation never
fails for a ciphertext of the right length: a wrong one gives a secret that nobody else knows, and the AEAD fails.

Encapsulation draws its 32 random bytes inside the library, which offers no other way (a caller who could choose them
could also repeat them). So what is sealed differs from run to run even under a seeded provider; everything that is
derived, above all key pairs, repeats.

A parsed public key is not remembered: parsing is a sixth of what sealing costs, and would take 6.6 KB a key to save.

The draft derives a key pair from keying material under a label that names the KEM. The drafts before it
(draft-connolly-cfrg-hpke-mlkem, draft-connolly-cfrg-xwing-kem) hashed the bare keying material, and OpenMLS still does
under its provisional suite numbers; `labeled` chooses. Nothing else differs between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from mls.hpke import CryptoError, Random
from mls.secrets import HpkePrivateKey


class EncapsulationKey(Protocol):
    """A parsed public key; `encapsulate` gives the shared secret and the ciphertext."""

    def encapsulate(self) -> tuple[bytes, bytes]: ...
    def public_bytes_raw(self) -> bytes: ...


class DecapsulationKey(Protocol):
    """A parsed private key."""

    def public_key(self) -> EncapsulationKey: ...
    def decapsulate(self, ciphertext: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSet:
    """A parameter set of FIPS 203 §8."""

    private: Callable[[bytes], DecapsulationKey]
    public: Callable[[bytes], EncapsulationKey]
    public_size: int
    ciphertext_size: int

    def load_public(self, public: bytes) -> EncapsulationKey:
        """A checked public key (FIPS 203 §7.2: type and modulus)."""
        try:
            return self.public(public)
        except ValueError:
            raise CryptoError from None


SEED_SIZE = 64
ML_KEM_768 = ParameterSet(
    private=MLKEM768PrivateKey.from_seed_bytes,
    public=MLKEM768PublicKey.from_public_bytes,
    public_size=1184,
    ciphertext_size=1088,
)
ML_KEM_1024 = ParameterSet(
    private=MLKEM1024PrivateKey.from_seed_bytes,
    public=MLKEM1024PublicKey.from_public_bytes,
    public_size=1568,
    ciphertext_size=1568,
)


def seed_domain(kem_id: int, length: int, *, labeled: bool) -> bytes:
    """What DeriveKeyPair hashes behind the keying material: SHAKE256.LabeledDerive's constants, or nothing."""
    if not labeled:
        return b""
    label = b"DeriveKeyPair"
    head = b"HPKE-v1KEM" + kem_id.to_bytes(2, "big")
    return head + len(label).to_bytes(2, "big") + label + length.to_bytes(2, "big")


class MlKem:
    """ML-KEM alone."""

    def __init__(self, kem_id: int, parameters: ParameterSet, *, labeled: bool = True) -> None:
        self.kem_id = kem_id
        self._parameters = parameters
        self._parsed = type(parameters.private(bytes(SEED_SIZE)))
        self._domain = seed_domain(kem_id, SEED_SIZE, labeled=labeled)

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        seed = hashlib.shake_256(ikm + self._domain).digest(SEED_SIZE)
        handle = self._parameters.private(seed)
        return HpkePrivateKey(seed, handle), handle.public_key().public_bytes_raw()

    def _handle(self, private: HpkePrivateKey) -> DecapsulationKey:
        if type(private.handle) is not self._parsed:  # not parsed yet, or for another KEM
            try:
                private.handle = self._parameters.private(private.raw)
            except ValueError:
                raise CryptoError from None
        return private.handle

    def public_key(self, private: HpkePrivateKey) -> bytes:
        return self._handle(private).public_key().public_bytes_raw()

    def check_public(self, public: bytes) -> None:
        self._parameters.load_public(public)

    def encapsulate(self, public: bytes, random: Random) -> tuple[bytes, bytes]:  # noqa: ARG002 - the library draws
        shared, enc = self._parameters.load_public(public).encapsulate()
        return enc, shared

    def decapsulate(self, private: HpkePrivateKey, enc: bytes) -> bytes:
        handle = self._handle(private)
        try:
            return handle.decapsulate(enc)
        except ValueError:  # a ciphertext of another length
            raise CryptoError from None
