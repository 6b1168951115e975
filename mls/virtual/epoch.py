"""draft-ietf-mls-virtual-clients §6.2: what the devices of a virtual client share in one epoch of their own group.

The emulation group's safe exporter gives one secret of an epoch to the component of virtual clients, once. Of it come
the epoch's id, which stands in every leaf made under it, and four secrets: the root of the operation secrets, the key
that seals what a leaf says to siblings, and those for generation ids and reuse guards. The exported secret itself is
not kept, and neither is the root once the tree of operations is made of it.

`DerivationEpoch` outlives the epoch of the group that it was taken from: leaves and KeyPackages made under it are in
use, and late messages speak of it. So it has its own suite, its own number, the size of the tree then, and the leaf
that this device had then. A device that was no member then (it was handed this value later) has none, can follow what
others derived, and must not derive itself, nor send under a leaf made in it (§5.1).

The tree counts blank leaves, so its size is a power of two. It is bounded, as devices divide the 2^32 reuse guards of a
nonce among them and each must have plenty (docs/spec-notes.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mls.codec import Reader, opaque, optional, u16, u32, u64
from mls.errors import CallerError, PeerError
from mls.group import safe_export
from mls.provider import Provider
from mls.registries import Epoch, Generation, LeafIndex
from mls.secrets import (
    EpochBaseSecret,
    EpochEncryptionKey,
    ExportedSecret,
    GenerationIdSecret,
    ReuseGuardSecret,
)
from mls.state import Group
from mls.suite import Suite
from mls.virtual.guard import MAX_LEAVES, is_leaf_count
from mls.virtual.operations import KEEP, MAX_FORWARD, Operation, OperationTree, OperationType


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationEpoch:
    """An epoch of the emulation group, as virtual clients derive from it."""

    suite: Suite
    """The emulation group's."""
    epoch_id: bytes
    number: Epoch
    """In the emulation group; tells which of two on one branch is newer."""
    leaf_count: int
    """Of the emulation group's tree, blank leaves included: a power of two."""
    own_leaf: LeafIndex | None
    encryption_key: EpochEncryptionKey
    generation_id: GenerationIdSecret
    reuse_guard: ReuseGuardSecret
    operations: OperationTree

    @classmethod
    def of(cls, group: Group, *, max_leaves: int = MAX_LEAVES) -> tuple[Group, DerivationEpoch]:
        """Of the emulation group's present epoch, and the group that cannot give it again; store both together."""
        leaf_count = group.public.tree.leaf_count
        if leaf_count > max_leaves:
            raise CallerError(
                f"an emulation group with {leaf_count} leaves is too large", f"{max_leaves} are allowed; remove devices"
            )
        after, exported = safe_export(group, group.parameters.components.numbers.virtual_clients)
        return after, derivation_epoch(group.suite, exported, group.epoch, leaf_count, group.own_leaf)

    @property
    def member_leaf(self) -> LeafIndex:
        """Our leaf, where only a member of that epoch may go on."""
        if self.own_leaf is None:
            raise CallerError(
                "this device was no member of the emulation epoch",
                "begin an epoch to derive in that it is a member of, or let a device act that was (§5.1)",
            )
        return self.own_leaf

    def next_operation(self, kind: OperationType, context: bytes = b"") -> tuple[Operation, DerivationEpoch]:
        """An operation of ours, and the epoch without it, to be stored before anything made of it is sent."""
        operation, rest = self.operations.next(self.suite, self.epoch_id, self.member_leaf, kind, context)
        return operation, replace(self, operations=rest)

    def operation_at(
        self,
        leaf: LeafIndex,
        kind: OperationType,
        generation: Generation,
        context: bytes = b"",
        *,
        max_forward: int = MAX_FORWARD,
        keep: int = KEEP,
    ) -> tuple[Operation, DerivationEpoch]:
        """An operation that was heard of, and the epoch without it, to be stored once the message proved good."""
        operation, rest = self.operations.at(
            self.suite, self.epoch_id, leaf, kind, generation, context, max_forward=max_forward, keep=keep
        )
        return operation, replace(self, operations=rest)

    def encode(self) -> bytes:
        """For our own storage; whoever embeds it has a version. All of it is secret."""
        return b"".join(
            [
                u16(self.suite.cipher_suite),
                opaque(self.epoch_id),
                u64(self.number),
                u32(self.leaf_count),
                optional(None if self.own_leaf is None else u32(self.own_leaf)),
                opaque(self.encryption_key.raw),
                opaque(self.generation_id.raw),
                opaque(self.reuse_guard.raw),
                self.operations.encode(),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader, provider: Provider) -> DerivationEpoch:
        """What `encode` made; from our own storage, so what does not fit together is damage."""
        try:
            suite = provider.suite(reader.u16())
            epoch = cls(
                suite=suite,
                epoch_id=reader.opaque(),
                number=Epoch(reader.u64()),
                leaf_count=reader.u32(),
                own_leaf=reader.optional(lambda r: LeafIndex(r.u32())),
                encryption_key=EpochEncryptionKey(reader.opaque()),
                generation_id=GenerationIdSecret(reader.opaque()),
                reuse_guard=ReuseGuardSecret(reader.opaque()),
                operations=OperationTree.decode(reader),
            )
        except KeyError:
            raise CallerError("the stored emulation epoch has a cipher suite that this provider lacks") from None
        except PeerError:
            raise _damaged() from None
        if not sound(epoch):
            raise _damaged()
        return epoch


def derivation_epoch(
    suite: Suite, exported: ExportedSecret, number: Epoch, leaf_count: int, own_leaf: LeafIndex | None
) -> DerivationEpoch:
    """Everything that follows from `emulator_epoch_secret`, which the caller drops."""
    derive, secret = suite.derive_secret, exported.raw
    return DerivationEpoch(
        suite=suite,
        epoch_id=derive(secret, b"Epoch ID"),
        number=number,
        leaf_count=leaf_count,
        own_leaf=own_leaf,
        encryption_key=EpochEncryptionKey(derive(secret, b"Encryption Key")),
        generation_id=GenerationIdSecret(derive(secret, b"Generation ID Secret")),
        reuse_guard=ReuseGuardSecret(derive(secret, b"Reuse Guard")),
        operations=OperationTree.of(EpochBaseSecret(derive(secret, b"Base Secret")), leaf_count),
    )


def sound(epoch: DerivationEpoch) -> bool:
    """Whether an epoch that was stored, or told of, has parts that go together."""
    size, leaves = epoch.suite.hash_size, epoch.leaf_count
    secrets = (epoch.epoch_id, epoch.encryption_key.raw, epoch.generation_id.raw, epoch.reuse_guard.raw)
    return (
        is_leaf_count(leaves)
        and (epoch.own_leaf is None or epoch.own_leaf < leaves)
        and all(len(secret) == size for secret in secrets)
        and epoch.operations.leaf_count == leaves
        and epoch.operations.fits(size)
        and (epoch.own_leaf is None or not epoch.operations.is_gone)
    )


def _damaged() -> CallerError:
    return CallerError("the stored emulation epoch is damaged", "restore it from a backup or join again")
