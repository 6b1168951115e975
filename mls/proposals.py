"""RFC 9420 §12.1: the proposals, one type each, and one table of how they are read and where they may stand.

Those of mls-extensions are here too: a group whose members do not all support one refuses it by its type. A type that
is in no row of `KINDS` cannot be read at all, because a proposal does not say how long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol

from mls.codec import Reader, opaque, u16, u32
from mls.components.numbers import ComponentId
from mls.credential import Credential, decode_credential
from mls.errors import PeerError
from mls.key_package import KeyPackage
from mls.leaf_node import Extension, Extensions, LeafNode, decode_extensions, encode_extensions
from mls.psk import PreSharedKeyId, decode_psk_id
from mls.registries import ExtensionType, GroupId, LeafIndex, ProposalType


class Proposal(Protocol):
    """A change to the group that a commit may carry out."""

    @property
    def type(self) -> int: ...
    def encode_body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Add:
    """Add the client of a KeyPackage (§12.1.1)."""

    key_package: KeyPackage
    type = ProposalType.ADD

    def encode_body(self) -> bytes:
        return self.key_package.encoded


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the sender's own leaf (§12.1.2)."""

    leaf_node: LeafNode
    type = ProposalType.UPDATE

    def encode_body(self) -> bytes:
        return self.leaf_node.encoded


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the member at a leaf (§12.1.3)."""

    removed: LeafIndex
    type = ProposalType.REMOVE

    def encode_body(self) -> bytes:
        return u32(self.removed)


@dataclass(frozen=True, slots=True)
class PreSharedKey:
    """Mix a pre-shared key into the next epoch (§12.1.4)."""

    psk: PreSharedKeyId
    type = ProposalType.PSK

    def encode_body(self) -> bytes:
        return self.psk.encode()


@dataclass(frozen=True, slots=True)
class ReInit:
    """End this group and start another with other parameters (§12.1.5)."""

    group_id: GroupId
    version: int
    cipher_suite: int
    extensions: Extensions
    type = ProposalType.REINIT

    def encode_body(self) -> bytes:
        return opaque(self.group_id) + u16(self.version) + u16(self.cipher_suite) + encode_extensions(self.extensions)


@dataclass(frozen=True, slots=True)
class ExternalInit:
    """The KEM output with which somebody joins by external commit (§12.1.6)."""

    kem_output: bytes
    type = ProposalType.EXTERNAL_INIT

    def encode_body(self) -> bytes:
        return opaque(self.kem_output)


@dataclass(frozen=True, slots=True)
class GroupContextExtensions:
    """Replace the group's extensions (§12.1.7)."""

    extensions: Extensions
    type = ProposalType.GROUP_CONTEXT_EXTENSIONS

    def encode_body(self) -> bytes:
        return encode_extensions(self.extensions)


class Operation(IntEnum):
    """What an AppDataUpdate does."""

    UPDATE = 1
    REMOVE = 2


@dataclass(frozen=True, slots=True)
class AppDataUpdate:
    """Change, or with no `update` remove, one component's data in the GroupContext (mls-extensions §4.7)."""

    component_id: ComponentId
    update: bytes | None = field(repr=False)
    type = ProposalType.APP_DATA_UPDATE

    def encode_body(self) -> bytes:
        head = u16(self.component_id)
        if self.update is None:
            return head + bytes([Operation.REMOVE])
        return head + bytes([Operation.UPDATE]) + opaque(self.update)

    @classmethod
    def decode(cls, reader: Reader) -> AppDataUpdate:
        component = ComponentId(reader.u16())
        operation = reader.u8()
        if operation == Operation.UPDATE:
            return cls(component, reader.opaque())
        if operation == Operation.REMOVE:
            return cls(component, None)
        raise PeerError("EXT-4.7-1")


@dataclass(frozen=True, slots=True)
class AppEphemeral:
    """Data for a component of every member, agreed on by being in a commit, and kept nowhere (mls-extensions §4.8)."""

    component_id: ComponentId
    data: bytes = field(repr=False)
    type = ProposalType.APP_EPHEMERAL

    def encode_body(self) -> bytes:
        return u16(self.component_id) + opaque(self.data)


@dataclass(frozen=True, slots=True)
class SelfRemove:
    """Remove the sender; also those who join by external commit carry it out (mls-extensions §6.3)."""

    type = ProposalType.SELF_REMOVE

    def encode_body(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class LeafReplacement:
    """Put a member's newer leaf, from its own send group, in the place of its older one (DiMLS §4.1.2)."""

    leaf: LeafIndex
    leaf_node: LeafNode
    type = ProposalType.LEAF_REPLACEMENT

    def encode_body(self) -> bytes:
        return u32(self.leaf) + self.leaf_node.encoded


class ByExternalCommit(Enum):
    """Whether somebody who joins by external commit may carry a proposal out (RFC 9420 §12.2)."""

    NO = "no"
    BY_VALUE = "by value"
    BY_REFERENCE = "by reference"


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the proposal types: how one is read, and where it may stand."""

    decode: Callable[[Reader], Proposal]
    external_sender: bool = False
    """The "Ext" column of RFC 9420 §17.4."""
    needs_path: bool = False
    """The "Path Required" column."""
    external_commit: ByExternalCommit = ByExternalCommit.NO
    by_value: bool = True
    """Whether a member may carry it out without having proposed it."""
    public: bool = False
    """Whether it must be sent for outsiders to read."""


KINDS: dict[int, Kind] = {
    ProposalType.ADD: Kind(lambda reader: Add(KeyPackage.decode(reader)), external_sender=True),
    ProposalType.UPDATE: Kind(lambda reader: Update(LeafNode.decode(reader)), needs_path=True),
    ProposalType.REMOVE: Kind(
        lambda reader: Remove(LeafIndex(reader.u32())),
        external_sender=True,
        needs_path=True,
        external_commit=ByExternalCommit.BY_VALUE,
    ),
    ProposalType.PSK: Kind(
        lambda reader: PreSharedKey(decode_psk_id(reader)),
        external_sender=True,
        external_commit=ByExternalCommit.BY_VALUE,
    ),
    ProposalType.REINIT: Kind(
        lambda reader: ReInit(GroupId(reader.opaque()), reader.u16(), reader.u16(), decode_extensions(reader)),
        external_sender=True,
    ),
    ProposalType.EXTERNAL_INIT: Kind(
        lambda reader: ExternalInit(reader.opaque()), needs_path=True, external_commit=ByExternalCommit.BY_VALUE
    ),
    ProposalType.GROUP_CONTEXT_EXTENSIONS: Kind(
        lambda reader: GroupContextExtensions(decode_extensions(reader)), external_sender=True, needs_path=True
    ),
    ProposalType.APP_DATA_UPDATE: Kind(
        AppDataUpdate.decode, external_sender=True, external_commit=ByExternalCommit.BY_VALUE
    ),
    ProposalType.APP_EPHEMERAL: Kind(
        lambda reader: AppEphemeral(ComponentId(reader.u16()), reader.opaque()),
        external_sender=True,
        external_commit=ByExternalCommit.BY_VALUE,
    ),
    ProposalType.SELF_REMOVE: Kind(
        lambda _: SelfRemove(),
        needs_path=True,
        external_commit=ByExternalCommit.BY_REFERENCE,
        by_value=False,
        public=True,
    ),
    ProposalType.LEAF_REPLACEMENT: Kind(
        lambda reader: LeafReplacement(LeafIndex(reader.u32()), LeafNode.decode_shared(reader)), needs_path=True
    ),
}


def kind_of(proposal: Proposal) -> Kind:
    return KINDS[proposal.type]


def decode_proposal(reader: Reader) -> Proposal:
    kind = reader.u16()
    row = KINDS.get(kind)
    if row is None:
        raise PeerError("VAL-12.1-1", f"type {kind}")
    return row.decode(reader)


def encode_proposal(proposal: Proposal) -> bytes:
    return u16(proposal.type) + proposal.encode_body()


@dataclass(frozen=True, slots=True)
class ExternalSender:
    """Somebody outside who may propose (§12.1.8.1)."""

    signature_key: bytes
    credential: Credential

    def encode(self) -> bytes:
        return opaque(self.signature_key) + self.credential.encode()

    @classmethod
    def decode(cls, reader: Reader) -> ExternalSender:
        return cls(reader.opaque(), decode_credential(reader))


def external_senders_extension(senders: tuple[ExternalSender, ...]) -> Extension:
    return Extension(ExtensionType.EXTERNAL_SENDERS, opaque(b"".join([sender.encode() for sender in senders])))
