"""draft-ietf-mls-virtual-clients §6.3: what a virtual client's leaf tells its siblings, sealed.

A leaf of a virtual client names the emulation epoch that its keys were derived in, in clear, and the operation that
they were derived by, sealed under that epoch. What is sealed depends on where the leaf stands: in a KeyPackage also its
index in the batch; in a commit also the init secret if the commit is an external one, because only who made it knows
that; in an update nothing more. It has no tag that says which: the leaf's own source does.

Key and nonce follow from the leaf's encryption key, as it stands in the leaf with its length before it, so nothing else
makes them unique. Each operation gives a leaf key of its own; whoever seals must therefore never seal two different
things for one operation. An external commit that is tried again has another init secret and needs another operation.

Whoever sees a leaf can copy it, sealed part and all, into one of their own. That it opens says that a sibling once made
it for a leaf with this key, and not that it made this leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from mls.codec import Reader, decode_exactly, opaque, optional, u32
from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.numbers import Numbers
from mls.errors import CallerError, PeerError
from mls.hpke import CryptoError
from mls.leaf_node import Extensions, LeafNode
from mls.registries import Generation, LeafIndex, LeafNodeSource
from mls.secrets import InitSecret
from mls.suite import NONCE_SIZE, Suite
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.operations import OperationType


@dataclass(frozen=True, slots=True)
class DerivationInfo:
    """DerivationInfo, as it stands in the leaf's application data."""

    epoch_id: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        return opaque(self.epoch_id) + opaque(self.ciphertext)

    @classmethod
    def decode(cls, reader: Reader) -> DerivationInfo:
        return cls(reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True)
class KeyPackageDerivation:
    """DerivationInfoTBE of a leaf in a KeyPackage, and of the first leaf of a new group."""

    type: ClassVar[OperationType] = OperationType.KEY_PACKAGE
    source: ClassVar[LeafNodeSource] = LeafNodeSource.KEY_PACKAGE

    leaf: LeafIndex
    """In the emulation group."""
    generation: Generation
    index: int
    """Of the KeyPackage in its batch."""

    def encode(self) -> bytes:
        return u32(self.leaf) + u32(self.generation) + u32(self.index)

    @classmethod
    def decode(cls, reader: Reader) -> KeyPackageDerivation:
        return cls(LeafIndex(reader.u32()), Generation(reader.u32()), reader.u32())


@dataclass(frozen=True, slots=True)
class UpdateDerivation:
    """DerivationInfoTBE of a leaf in an Update."""

    type: ClassVar[OperationType] = OperationType.LEAF_NODE
    source: ClassVar[LeafNodeSource] = LeafNodeSource.UPDATE

    leaf: LeafIndex
    generation: Generation

    def encode(self) -> bytes:
        return u32(self.leaf) + u32(self.generation)

    @classmethod
    def decode(cls, reader: Reader) -> UpdateDerivation:
        return cls(LeafIndex(reader.u32()), Generation(reader.u32()))


@dataclass(frozen=True, slots=True)
class CommitDerivation:
    """DerivationInfoTBE of a leaf in the path of a commit."""

    type: ClassVar[OperationType] = OperationType.LEAF_NODE
    source: ClassVar[LeafNodeSource] = LeafNodeSource.COMMIT

    leaf: LeafIndex
    generation: Generation
    external_init: InitSecret | None = None
    """The init secret of an external commit. Ask `external_init_of` for it."""

    def encode(self) -> bytes:
        init = self.external_init
        return u32(self.leaf) + u32(self.generation) + optional(None if init is None else opaque(init.raw))

    @classmethod
    def decode(cls, reader: Reader) -> CommitDerivation:
        leaf, generation = LeafIndex(reader.u32()), Generation(reader.u32())
        return cls(leaf, generation, reader.optional(lambda r: InitSecret(r.opaque())))


Derivation = KeyPackageDerivation | UpdateDerivation | CommitDerivation

_DECODERS: Mapping[int, Callable[[Reader], Derivation]] = {
    KeyPackageDerivation.source: KeyPackageDerivation.decode,
    UpdateDerivation.source: UpdateDerivation.decode,
    CommitDerivation.source: CommitDerivation.decode,
}


def seal(epoch: DerivationEpoch, encryption_key: bytes, derivation: Derivation) -> DerivationInfo:
    """For a leaf with this encryption key; once for each operation, as said above."""
    key, nonce = _key_and_nonce(epoch, encryption_key)
    ciphertext = epoch.suite.aead_seal(key, nonce, epoch.epoch_id, derivation.encode())
    return DerivationInfo(epoch.epoch_id, ciphertext)


def open_sealed(epoch: DerivationEpoch, info: DerivationInfo, leaf_node: LeafNode) -> Derivation:
    """What the leaf that `info` was found in says to us."""
    if info.epoch_id != epoch.epoch_id:
        raise CallerError("the leaf was derived in another emulation epoch", "find the epoch by the info's `epoch_id`")
    key, nonce = _key_and_nonce(epoch, leaf_node.encryption_key)
    try:
        plain = epoch.suite.aead_open(key, nonce, info.epoch_id, info.ciphertext)
    except CryptoError:
        raise PeerError("VC-6.3-1") from None
    return decode_exactly(plain, _DECODERS[leaf_node.source])


def _key_and_nonce(epoch: DerivationEpoch, encryption_key: bytes) -> tuple[bytes, bytes]:
    expand, secret, context = epoch.suite.expand_with_label, epoch.encryption_key.raw, opaque(encryption_key)
    return expand(secret, b"key", context, epoch.suite.key_size), expand(secret, b"nonce", context, NONCE_SIZE)


def external_init_of(derivation: CommitDerivation, target: Suite, *, external: bool) -> InitSecret | None:
    """The init secret that a commit carries for siblings, which it does if and only if it is an external one.

    `target` is the suite of the group that the commit is in.
    """
    init = derivation.external_init
    if not external:
        if init is not None:
            raise PeerError("VC-6.3-2")
        return None
    if init is None:
        raise PeerError("VC-6.3-3")
    if len(init.raw) != target.hash_size:
        raise PeerError("VC-6.3-4")
    return init


def derivation_info_of(extensions: Extensions, numbers: Numbers) -> DerivationInfo | None:
    """What is among a leaf's extensions; None for the leaf of an ordinary client."""
    data = dictionary_of(extensions).find(numbers.virtual_clients)
    return None if data is None else decode_exactly(data, DerivationInfo.decode)


def with_derivation_info(extensions: Extensions, numbers: Numbers, info: DerivationInfo) -> Extensions:
    """The extensions of a leaf with this info, instead of what they had if they had any."""
    dictionary = dictionary_of(extensions).with_entry(numbers.virtual_clients, info.encode())
    return with_dictionary(extensions, dictionary)
