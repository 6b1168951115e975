"""draft-ietf-mls-virtual-clients §5.1: NewEmulatorClientState, what a new device of a virtual client is given.

A device that adds another one gives it, in the Welcome and nowhere else, the secrets of the virtual client: past
emulation epochs with what is left of their operations, KeyPackages that wait for a Welcome, operations whose leaves are
in use, signature keys, and for each conversation either its secrets or only its name (whoever has only the name joins
from outside). The emulation group's present epoch is not among them, since the Welcome itself leads there.

The draft's structs are here as values, one for each, and RetainedOperationSecret is `Operation`. `decode` judges what a
struct says of itself: types, repetitions, order, numbers of entries. What a secret tree has to be like depends on the
cipher suite and on the size of the tree, so it is judged where it becomes a tree of ours: each leaf must either have
all its ratchets or stand below exactly one node, all inside the tree, and each secret must have the size of the hash.
A tree with less would ask later for a secret that is not there.

The structs cannot say everything. Message keys and operation secrets that were passed over and are waited for have no
place in them, and neither has much of a conversation; `mls.virtual.companion` carries these. Nor has the counter of a
ratchet that ran out of generations, and a tree with such a one is not handed over.

Where editions differ, this is the newest with the numbers and leaf counts of emulation epochs (docs/spec-notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from mls.codec import Reader, opaque, u8, u16, u32, u64, vector
from mls.errors import CallerError, PeerError
from mls.kdf import SIZES
from mls.leaf_node import Extensions, decode_extensions, encode_extensions
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import (
    ConfirmationKey,
    EpochEncryptionKey,
    ExporterSecret,
    ExternalSecret,
    GenerationIdSecret,
    HpkePrivateKey,
    InitSecret,
    KeyPackageSeed,
    MembershipKey,
    OperationSecret,
    ResumptionPsk,
    ReuseGuardSecret,
    SenderDataSecret,
    SignaturePrivateKey,
)
from mls.suite import Suite
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.guard import is_leaf_count
from mls.virtual.operations import Operation, OperationType
from mls.virtual.secret_state import SecretTreeState, check_distinct, check_size, flag, known, several

MAX_ENTRIES = 1 << 16
"""Of each kind of which a virtual client has many: KeyPackages, operations, signature keys, conversations."""
MAX_EPOCHS = 4096
MAX_PATH = 64
"""Nodes between a leaf and the root; a tree that needed more would have more leaves than there are numbers for."""


class GroupStateType(IntEnum):
    """HigherLevelGroupStateType."""

    STATE_TRANSFER = 1
    EXTERNAL_COMMIT = 2


# KeyPackages and operations


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackageDerivationInfo:
    """A KeyPackage that waits for a Welcome, and where its seed is found."""

    reference: KeyPackageRef
    cipher_suite: int
    epoch_id: bytes
    leaf: LeafIndex
    generation: Generation
    index: int
    extensions: Extensions = ()

    def encode(self) -> bytes:
        fixed = u32(self.leaf) + u32(self.generation) + u32(self.index)
        named = opaque(self.reference) + u16(self.cipher_suite) + opaque(self.epoch_id)
        return named + fixed + encode_extensions(self.extensions)

    @classmethod
    def decode(cls, reader: Reader) -> KeyPackageDerivationInfo:
        return cls(
            reference=KeyPackageRef(reader.opaque()),
            cipher_suite=reader.u16(),
            epoch_id=reader.opaque(),
            leaf=LeafIndex(reader.u32()),
            generation=Generation(reader.u32()),
            index=reader.u32(),
            extensions=decode_extensions(reader),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedKeyPackageMaterial:
    """The seed of one KeyPackage."""

    cipher_suite: int
    epoch_id: bytes
    leaf: LeafIndex
    generation: Generation
    index: int
    seed: KeyPackageSeed

    @property
    def name(self) -> tuple[int, bytes, int, int, int]:
        return self.cipher_suite, self.epoch_id, self.leaf, self.generation, self.index

    def encode(self) -> bytes:
        fixed = u32(self.leaf) + u32(self.generation) + u32(self.index)
        return u16(self.cipher_suite) + opaque(self.epoch_id) + fixed + opaque(self.seed.raw)

    @classmethod
    def decode(cls, reader: Reader) -> RetainedKeyPackageMaterial:
        return cls(
            cipher_suite=reader.u16(),
            epoch_id=reader.opaque(),
            leaf=LeafIndex(reader.u32()),
            generation=Generation(reader.u32()),
            index=reader.u32(),
            seed=KeyPackageSeed(_hash_sized(reader)),
        )


def encode_operation(operation: Operation) -> bytes:
    """RetainedOperationSecret."""
    place = opaque(operation.epoch_id) + u8(operation.type) + u32(operation.leaf) + u32(operation.generation)
    return place + opaque(operation.context) + opaque(operation.secret.raw)


def decode_operation(reader: Reader) -> Operation:
    epoch_id = reader.opaque()
    kind = known(OperationType, reader.u8())
    return Operation(
        epoch_id=epoch_id,
        type=kind,
        leaf=LeafIndex(reader.u32()),
        generation=Generation(reader.u32()),
        context=reader.opaque(),
        secret=OperationSecret(_hash_sized(reader)),
    )


def _hash_sized(reader: Reader) -> bytes:
    """A secret whose suite is not at hand."""
    secret = reader.opaque()
    check_size(secret, SIZES)
    return secret


# Emulation epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedVcEpoch:
    """RetainedVcEpoch with its VcDerivationEpochState: a past epoch of the emulation group, by its number."""

    number: Epoch
    epoch_id: bytes
    operations: SecretTreeState
    encryption_key: EpochEncryptionKey
    generation_id: GenerationIdSecret
    reuse_guard: ReuseGuardSecret
    leaf_count: int

    @classmethod
    def of(cls, epoch: DerivationEpoch) -> RetainedVcEpoch:
        """Without operations that were passed over, and without the leaf that we had in it."""
        return cls(
            number=epoch.number,
            epoch_id=epoch.epoch_id,
            operations=SecretTreeState.of_operations(epoch.operations),
            encryption_key=epoch.encryption_key,
            generation_id=epoch.generation_id,
            reuse_guard=epoch.reuse_guard,
            leaf_count=epoch.leaf_count,
        )

    def derivation_epoch(self, suite: Suite) -> DerivationEpoch:
        """For a device that was no member in that epoch. `suite` is the emulation group's: the struct does not say."""
        for secret in (self.epoch_id, self.encryption_key.raw, self.generation_id.raw, self.reuse_guard.raw):
            check_size(secret, (suite.hash_size,))
        return DerivationEpoch(
            suite=suite,
            epoch_id=self.epoch_id,
            number=self.number,
            leaf_count=self.leaf_count,
            own_leaf=None,
            encryption_key=self.encryption_key,
            generation_id=self.generation_id,
            reuse_guard=self.reuse_guard,
            operations=self.operations.operation_tree(suite, self.leaf_count),
        )

    def encode(self) -> bytes:
        secrets = (self.encryption_key, self.generation_id, self.reuse_guard)
        fixed = u64(self.number) + opaque(self.epoch_id) + self.operations.encode()
        return fixed + b"".join([opaque(secret.raw) for secret in secrets]) + u64(self.leaf_count)

    @classmethod
    def decode(cls, reader: Reader) -> RetainedVcEpoch:
        epoch = cls(
            number=Epoch(reader.u64()),
            epoch_id=reader.opaque(),
            operations=SecretTreeState.decode(reader),
            encryption_key=EpochEncryptionKey(reader.opaque()),
            generation_id=GenerationIdSecret(reader.opaque()),
            reuse_guard=ReuseGuardSecret(reader.opaque()),
            leaf_count=reader.u64(),
        )
        if not is_leaf_count(epoch.leaf_count):
            raise PeerError("VC-5.1-9", f"{epoch.leaf_count} leaves")
        return epoch


def ascending(epochs: Sequence[RetainedVcEpoch]) -> bool:
    return all(lower.number < upper.number for lower, upper in pairwise(epochs))


# Conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferredGroup:
    """HigherLevelGroupState of type state_transfer: the secrets of a conversation's present epoch."""

    group_id: GroupId
    init: InitSecret
    sender_data: SenderDataSecret
    exporter: ExporterSecret
    external: ExternalSecret
    confirmation: ConfirmationKey
    membership: MembershipKey
    resumption: ResumptionPsk
    authenticator: bytes = field(repr=False)
    secret_tree: SecretTreeState
    exporter_tree: bytes = field(repr=False)
    """A PPRFState, encoded; one without nodes if the group does not use the safe exporter."""
    path_keys: tuple[HpkePrivateKey, ...]
    """For each node above our leaf that is not blank, from below; empty where our leaf is unmerged."""

    def encode(self) -> bytes:
        secrets = [opaque(getattr(self, name).raw) for name, _ in SECRETS]
        keys = vector([opaque(key.raw) for key in self.path_keys])
        head = opaque(self.group_id) + u8(GroupStateType.STATE_TRANSFER) + b"".join(secrets)
        return head + opaque(self.authenticator) + self.secret_tree.encode() + self.exporter_tree + keys


@dataclass(frozen=True, slots=True)
class ExternalGroup:
    """HigherLevelGroupState of type external_commit: a conversation that the new device joins from outside."""

    group_id: GroupId

    def encode(self) -> bytes:
        return opaque(self.group_id) + u8(GroupStateType.EXTERNAL_COMMIT)


HigherLevelGroupState = TransferredGroup | ExternalGroup

SECRETS = (
    ("init", InitSecret),
    ("sender_data", SenderDataSecret),
    ("exporter", ExporterSecret),
    ("external", ExternalSecret),
    ("confirmation", ConfirmationKey),
    ("membership", MembershipKey),
    ("resumption", ResumptionPsk),
)
"""Of a conversation, in the order of the struct."""


def decode_group_state(reader: Reader) -> HigherLevelGroupState:
    group_id = GroupId(reader.opaque())
    if known(GroupStateType, reader.u8()) is GroupStateType.EXTERNAL_COMMIT:
        return ExternalGroup(group_id)
    return TransferredGroup(
        group_id=group_id,
        init=InitSecret(reader.opaque()),
        sender_data=SenderDataSecret(reader.opaque()),
        exporter=ExporterSecret(reader.opaque()),
        external=ExternalSecret(reader.opaque()),
        confirmation=ConfirmationKey(reader.opaque()),
        membership=MembershipKey(reader.opaque()),
        resumption=ResumptionPsk(reader.opaque()),
        authenticator=reader.opaque(),
        secret_tree=SecretTreeState.decode(reader),
        exporter_tree=opaque(reader.opaque()),
        path_keys=several(reader, lambda r: HpkePrivateKey(r.opaque()), MAX_PATH),
    )


# Signature keys, in a form of ours

_KEYS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A signature key of the virtual client's."""

    cipher_suite: int
    public: bytes
    private: SignaturePrivateKey
    used: bool
    """Whether a leaf was seen to have it."""

    def encode(self) -> bytes:
        return u16(self.cipher_suite) + opaque(self.public) + opaque(self.private.raw) + u8(self.used)

    @classmethod
    def decode(cls, reader: Reader) -> SigningKey:
        return cls(
            cipher_suite=reader.u16(),
            public=reader.opaque(),
            private=SignaturePrivateKey(reader.opaque()),
            used=flag(reader),
        )


def encode_signing_keys(keys: Sequence[SigningKey]) -> bytes:
    """`uint16 version = 1; SigningKey keys<V>`, or nothing at all if there are none."""
    return u16(_KEYS_VERSION) + vector([key.encode() for key in keys]) if keys else b""


def decode_signing_keys(data: bytes) -> tuple[SigningKey, ...]:
    """signing_key_material, which the draft leaves to the application. Whoever has the suites judges if keys fit."""
    if not data:
        return ()
    reader = Reader(data)
    if reader.u16() != _KEYS_VERSION:
        raise PeerError("VC-5.1-10")
    keys = several(reader, SigningKey.decode, MAX_ENTRIES)
    reader.finish()
    check_distinct(key.public for key in keys)
    return keys


# The whole


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEmulatorClientState:
    """Everything, as it stands under the component's number in the application data of a Welcome's GroupInfo."""

    signing_keys: tuple[SigningKey, ...] = ()
    key_packages: tuple[KeyPackageDerivationInfo, ...] = ()
    key_package_material: tuple[RetainedKeyPackageMaterial, ...] = ()
    operations: tuple[Operation, ...] = ()
    epochs: tuple[RetainedVcEpoch, ...] = ()
    """Past ones, ascending; of rivals with one number there is room for one."""
    groups: tuple[HigherLevelGroupState, ...] = ()

    def _check(self) -> None:
        check_distinct(key.public for key in self.signing_keys)
        check_distinct(package.reference for package in self.key_packages)
        check_distinct(material.name for material in self.key_package_material)
        check_distinct((each.epoch_id, each.type, each.leaf, each.generation, each.context) for each in self.operations)
        check_distinct(epoch.epoch_id for epoch in self.epochs)
        check_distinct(group.group_id for group in self.groups)
        if not ascending(self.epochs):
            raise PeerError("VC-5.1-4")

    def encode(self) -> bytes:
        try:
            self._check()
        except PeerError as error:
            raise CallerError("nobody would accept this state", str(error)) from None
        return b"".join(
            [
                opaque(encode_signing_keys(self.signing_keys)),
                vector([package.encode() for package in self.key_packages]),
                vector([material.encode() for material in self.key_package_material]),
                vector([encode_operation(operation) for operation in self.operations]),
                vector([epoch.encode() for epoch in self.epochs]),
                vector([group.encode() for group in self.groups]),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> NewEmulatorClientState:
        state = cls(
            signing_keys=decode_signing_keys(reader.opaque()),
            key_packages=several(reader, KeyPackageDerivationInfo.decode, MAX_ENTRIES),
            key_package_material=several(reader, RetainedKeyPackageMaterial.decode, MAX_ENTRIES),
            operations=several(reader, decode_operation, MAX_ENTRIES),
            epochs=several(reader, RetainedVcEpoch.decode, MAX_EPOCHS),
            groups=several(reader, decode_group_state, MAX_ENTRIES),
        )
        state._check()
        return state
