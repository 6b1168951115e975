"""draft-ietf-hpke-pq §4: hybrid KEMs, which hold as long as either ML-KEM or a Diffie-Hellman group does.

draft-irtf-cfrg-concrete-hybrid-kems defines three: ML-KEM-768 with X25519, which is X-Wing
(draft-connolly-cfrg-xwing-kem), ML-KEM-768 with P-256, and ML-KEM-1024 with P-384. All are one construction, "CG":

* The private key is a 32-byte seed. SHAKE256 stretches it to the 64-byte seed of ML-KEM and the group's own. Parsing
  it costs more than using it, so the parsed form is kept.
* Public keys and ciphertexts are ML-KEM's followed by the group's element.
* The shared secret is SHA3-256 over both shared secrets, the group's two elements and a label. The ciphertext of
  ML-KEM is left out because ML-KEM already binds its secret to it; a Diffie-Hellman exchange does not.

A public key whose Diffie-Hellman part has small order is refused, and so is such a ciphertext: the construction would
survive it, but as plain ML-KEM, which is not what its name promises. ML-KEM's share of an encapsulation is not
repeatable (see `mls.mlkem`); the group's is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from cryptography.hazmat.primitives.asymmetric import ec

from mls.dhkem import Group, Handle, check_x25519
from mls.hpke import CryptoError, Random
from mls.mlkem import ML_KEM_768, ML_KEM_1024, SEED_SIZE, DecapsulationKey, ParameterSet, seed_domain
from mls.secrets import HpkePrivateKey

_PRIVATE_SIZE = 32


class NistGroup:
    """P-256 or P-384 as the hybrids use them: scalars from a long seed, shared secrets without the y coordinate."""

    def __init__(self, curve: ec.EllipticCurve, order: int) -> None:
        self._curve = curve
        self._order = order
        self._size = (order.bit_length() + 7) // 8

    def load(self, private: bytes) -> ec.EllipticCurvePrivateKey:
        """RandomScalar: the first piece of the seed that is a scalar."""
        size = self._size
        for at in range(0, len(private), size):
            scalar = int.from_bytes(private[at : at + size], "big")
            if 0 < scalar < self._order:
                return ec.derive_private_key(scalar, self._curve)
        raise CryptoError  # once in 2**128 seeds

    def public(self, handle: ec.EllipticCurvePrivateKey) -> bytes:
        numbers = handle.public_key().public_numbers()
        return b"\x04" + numbers.x.to_bytes(self._size, "big") + numbers.y.to_bytes(self._size, "big")

    def exchange(self, handle: ec.EllipticCurvePrivateKey, public: bytes) -> bytes:
        return handle.exchange(ec.ECDH(), self.point(public))

    def point(self, public: bytes) -> ec.EllipticCurvePublicKey:
        """A point of the curve other than its neutral one, written without compression."""
        try:
            if public[:1] != b"\x04":
                raise ValueError
            return ec.EllipticCurvePublicKey.from_encoded_point(self._curve, public)
        except ValueError:
            raise CryptoError from None


P256 = NistGroup(ec.SECP256R1(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)
P384 = NistGroup(
    ec.SECP384R1(),
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Construction:
    """A row of draft-irtf-cfrg-concrete-hybrid-kems §4; its group comes from a library of the provider's choice."""

    kem_id: int
    lattice: ParameterSet
    group_seed_size: int
    element_size: int
    check_element: Callable[[bytes], object]
    label: bytes


XWING = Construction(
    kem_id=0x647A,
    lattice=ML_KEM_768,
    group_seed_size=32,
    element_size=32,
    check_element=check_x25519,
    label=b"\\.//^\\",
)
MLKEM768_P256 = Construction(
    kem_id=0x50,
    lattice=ML_KEM_768,
    group_seed_size=128,
    element_size=65,
    check_element=P256.point,
    label=b"MLKEM768-P256",
)
MLKEM1024_P384 = Construction(
    kem_id=0x51,
    lattice=ML_KEM_1024,
    group_seed_size=48,
    element_size=97,
    check_element=P384.point,
    label=b"MLKEM1024-P384",
)


class _Parsed(Generic[Handle]):
    """Both halves of a private key, and the group's public element, which every decapsulation hashes."""

    __slots__ = ("element", "lattice", "scalar")

    def __init__(self, lattice: DecapsulationKey, scalar: Handle, element: bytes) -> None:
        self.lattice = lattice
        self.scalar = scalar
        self.element = element


class HybridKem(Generic[Handle]):
    """One construction over one library's group."""

    def __init__(self, construction: Construction, group: Group[Handle], *, labeled: bool = True) -> None:
        self.kem_id = construction.kem_id
        self._lattice = lattice = construction.lattice
        self._group = group
        self._label = construction.label
        self._check_element = construction.check_element
        self._group_seed_size = construction.group_seed_size
        self._split_public = lattice.public_size
        self._public_size = lattice.public_size + construction.element_size
        self._split_enc = lattice.ciphertext_size
        self._enc_size = lattice.ciphertext_size + construction.element_size
        self._domain = seed_domain(construction.kem_id, _PRIVATE_SIZE, labeled=labeled)
        self._lattice_parsed = type(lattice.private(bytes(SEED_SIZE)))
        self._scalar = type(group.load(bytes(construction.group_seed_size - 1) + b"\x01"))

    def _parse(self, seed: bytes) -> _Parsed[Handle]:
        stretched = hashlib.shake_256(seed).digest(SEED_SIZE + self._group_seed_size)
        scalar = self._group.load(stretched[SEED_SIZE:])
        return _Parsed(self._lattice.private(stretched[:SEED_SIZE]), scalar, self._group.public(scalar))

    def _handle(self, private: HpkePrivateKey) -> _Parsed[Handle]:
        handle = private.handle
        # Not parsed yet, or by another provider's library, or for another KEM.
        if (
            not isinstance(handle, _Parsed)
            or type(handle.scalar) is not self._scalar
            or type(handle.lattice) is not self._lattice_parsed
        ):
            if len(private.raw) != _PRIVATE_SIZE:
                raise CryptoError
            handle = private.handle = self._parse(private.raw)
        return handle

    def derive_key_pair(self, ikm: bytes) -> tuple[HpkePrivateKey, bytes]:
        seed = hashlib.shake_256(ikm + self._domain).digest(_PRIVATE_SIZE)
        handle = self._parse(seed)
        return HpkePrivateKey(seed, handle), handle.lattice.public_key().public_bytes_raw() + handle.element

    def public_key(self, private: HpkePrivateKey) -> bytes:
        handle = self._handle(private)
        return handle.lattice.public_key().public_bytes_raw() + handle.element

    def check_public(self, public: bytes) -> None:
        if len(public) != self._public_size:
            raise CryptoError
        self._lattice.load_public(public[: self._split_public])
        self._check_element(public[self._split_public :])

    def encapsulate(self, public: bytes, random: Random) -> tuple[bytes, bytes]:
        if len(public) != self._public_size:
            raise CryptoError
        theirs = public[self._split_public :]
        group = self._group
        ephemeral = group.load(random(self._group_seed_size))
        ours = group.public(ephemeral)
        exchanged = group.exchange(ephemeral, theirs)
        secret, ciphertext = self._lattice.load_public(public[: self._split_public]).encapsulate()
        shared = hashlib.sha3_256(secret + exchanged + ours + theirs + self._label).digest()
        return ciphertext + ours, shared

    def decapsulate(self, private: HpkePrivateKey, enc: bytes) -> bytes:
        handle = self._handle(private)
        if len(enc) != self._enc_size:
            raise CryptoError
        theirs = enc[self._split_enc :]
        exchanged = self._group.exchange(handle.scalar, theirs)
        secret = handle.lattice.decapsulate(enc[: self._split_enc])
        return hashlib.sha3_256(secret + exchanged + theirs + handle.element + self._label).digest()
