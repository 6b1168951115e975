"""RFC 9420 §12.1: the proposals, one type each, in one table of decoders.

Extensions add their proposals to `DECODERS`; a type that is in no row cannot be read at all, because a proposal does
not say how long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mls.codec import Reader, opaque, u16, u32
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


DECODERS: dict[int, Callable[[Reader], Proposal]] = {
    ProposalType.ADD: lambda reader: Add(KeyPackage.decode(reader)),
    ProposalType.UPDATE: lambda reader: Update(LeafNode.decode(reader)),
    ProposalType.REMOVE: lambda reader: Remove(LeafIndex(reader.u32())),
    ProposalType.PSK: lambda reader: PreSharedKey(decode_psk_id(reader)),
    ProposalType.REINIT: lambda reader: ReInit(
        GroupId(reader.opaque()), reader.u16(), reader.u16(), decode_extensions(reader)
    ),
    ProposalType.EXTERNAL_INIT: lambda reader: ExternalInit(reader.opaque()),
    ProposalType.GROUP_CONTEXT_EXTENSIONS: lambda reader: GroupContextExtensions(decode_extensions(reader)),
}


def decode_proposal(reader: Reader) -> Proposal:
    kind = reader.u16()
    decode = DECODERS.get(kind)
    if decode is None:
        raise PeerError("VAL-12.1-1", f"type {kind}")
    return decode(reader)


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
