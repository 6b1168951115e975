"""What our own peer keeps between calls: members by id, key packages that wait, successors, external signers.

The values of `mls.group` do the work; this room only remembers the newest one and says which of them a call means.
A member keeps a few past epochs, because scenarios deliver messages late, and the proposals it has seen by their
bytes, because a runner shows the same proposal again with every call that refers to it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mls import group as mls
from mls.codec import Reader
from mls.credential import BasicCredential, TrustBasic
from mls.errors import FutureEpochError, PastEpochError
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import Extension, Extensions
from mls.proposals import GroupContextExtensions
from mls.provider import Environment, Provider
from mls.registries import Epoch, LeafIndex, ProposalRef, WireFormat
from mls.secrets import ExternalPsk, ResumptionPsk, SignaturePrivateKey
from mls.state import Group
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import read_message
from tests.peers.stubs import Message

PAST_EPOCHS = 16


class UnknownIdError(Exception):
    """An id, an identity or a pending commit that is not here."""


class MisuseError(Exception):
    """A call that the interface does not allow."""


class Psks:
    """The external pre-shared keys of one state; resumption PSKs of its group are in the group itself."""

    def __init__(self, keys: dict[bytes, ExternalPsk] | None = None) -> None:
        self.keys = dict(keys or {})

    def external(self, psk_id: bytes) -> ExternalPsk | None:
        return self.keys.get(psk_id)

    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None:
        return None

    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None:
        return None

    def copy(self) -> Psks:
        return Psks(self.keys)


NO_PSKS = Psks()


def environment(provider: Provider, psks: Psks) -> Environment:
    now = time.time_ns() // 1_000_000
    return Environment(provider=provider, authentication=TrustBasic(), now=now, psks=psks)


@dataclass(slots=True, kw_only=True)
class Member:
    """A group as one member sees it; calls advance it in place, under one state id."""

    group: Group
    psks: Psks = field(default_factory=Psks)
    pending: Group | None = None
    past: dict[Epoch, Group] = field(default_factory=dict)
    heard: dict[bytes, ProposalRef] = field(default_factory=dict)
    """The proposals of this epoch, own ones too, by the message that carried them."""

    def enter(self, before: Group, following: Group) -> None:
        """Go on to the next epoch; `before` stays readable for messages that come late."""
        past = {**self.past, before.epoch: before}
        for epoch in list(past)[:-PAST_EPOCHS]:
            del past[epoch]
        self.group, self.pending, self.past, self.heard = following, None, past, {}

    def propose(self, proposed: tuple[Group, bytes, ProposalRef]) -> bytes:
        """Adopt what `mls.group.propose` returned; the message to send."""
        self.group, message, reference = proposed
        self.heard[message] = reference
        return message

    def hear(self, env: Environment, messages: Sequence[bytes]) -> list[ProposalRef]:
        """Receive the proposals that are new here; all or none of them."""
        group, heard = self.group, dict(self.heard)
        for message in messages:
            if message in heard:
                continue
            event = mls.receive(group, env, message)
            if not isinstance(event, mls.ProposalMessage):
                raise MisuseError("a proposal was announced, and another message came")
            group, heard[message] = event.group, event.reference
        self.group, self.heard = group, heard
        return [heard[message] for message in messages]

    def follow(self, env: Environment, proposals: Sequence[bytes], commit: bytes) -> mls.CommitMessage:
        """What a commit does. Nothing is adopted yet but the proposals."""
        self.hear(env, proposals)
        event = mls.receive(self.group, env, commit)
        if not isinstance(event, mls.CommitMessage):
            raise MisuseError("a commit was announced, and another message came")
        return event

    def open(self, env: Environment, message: bytes) -> mls.ApplicationMessage:
        """Read an application message of this epoch or a recent one."""
        try:
            event = mls.receive(self.group, env, message)
        except PastEpochError as error:
            late = self._open_late(env, message)
            if late is None:
                raise error from None
            return late
        if not isinstance(event, mls.ApplicationMessage):
            raise MisuseError("an application message was announced, and a handshake message came")
        self.group = event.group
        return event

    def _open_late(self, env: Environment, message: bytes) -> mls.ApplicationMessage | None:
        for epoch, group in self.past.items():
            try:
                event = mls.receive(group, env, message)
            except (PastEpochError, FutureEpochError):
                continue
            if not isinstance(event, mls.ApplicationMessage):
                raise MisuseError("an application message was announced, and an old handshake message came")
            self.past[epoch] = event.group
            return event
        return None


@dataclass(slots=True, kw_only=True)
class Joiner:
    """A key package of ours that waits for a Welcome."""

    package: KeyPackageSecrets
    psks: Psks = field(default_factory=Psks)


@dataclass(slots=True, kw_only=True)
class Successor:
    """A group that was re-initialized, with our key package for the one that follows it."""

    last: Member
    package: KeyPackageSecrets


@dataclass(slots=True, kw_only=True)
class Signer:
    """An external sender's key."""

    cipher_suite: int
    signature_private: SignaturePrivateKey
    signature_key: bytes


NAMES: dict[type, str] = {Member: "state", Joiner: "transaction", Successor: "reinit", Signer: "signer"}
Kind = TypeVar("Kind", Member, Joiner, Successor, Signer)


class Kept:
    """Everything by number. All kinds share one sequence: StorePSK does not say which kind of id it was given."""

    def __init__(self) -> None:
        self._items: dict[int, Member | Joiner | Successor | Signer] = {}
        self._numbers = itertools.count(1)

    def add(self, item: Member | Joiner | Successor | Signer) -> int:
        number = next(self._numbers)
        self._items[number] = item
        return number

    def find(self, kind: type[Kind], number: int) -> Kind:
        item = self._items.get(number)
        if not isinstance(item, kind):
            raise UnknownIdError(f"no {NAMES[kind]} {number}")
        return item

    def psks_of(self, number: int) -> Psks:
        item = self._items.get(number)
        if not isinstance(item, Member | Joiner):
            raise UnknownIdError(f"no state or transaction {number}")
        return item.psks

    def forget(self, kind: type[Kind], number: int) -> None:
        self.find(kind, number)
        del self._items[number]


def leaf_of(tree: RatchetTree, identity: bytes) -> LeafIndex:
    """The first member of that identity; the interface knows members by no other name."""
    for index, leaf in tree.leaves():
        credential = leaf.credential
        if isinstance(credential, BasicCredential) and credential.identity == identity:
            return LeafIndex(index)
    raise UnknownIdError(f"no member {identity!r}")


def identity_of(group: Group) -> bytes:
    credential = group.own_leaf_node.credential
    if not isinstance(credential, BasicCredential):
        raise MisuseError("a member here has a basic credential")
    return credential.identity


def read_key_package(message: bytes) -> KeyPackage:
    reader: Reader = read_message(message, WireFormat.KEY_PACKAGE)
    package = KeyPackage.decode(reader)
    reader.finish()
    return package


def read_extensions(given: Iterable[Message]) -> Extensions:
    extensions = tuple(Extension(extension.extension_type, extension.extension_data) for extension in given)
    if any(extension.type > 0xFFFF for extension in extensions):
        raise MisuseError("an extension type has 16 bits")
    return extensions


def replaced_extension(extensions: Extensions, fresh: Extension) -> GroupContextExtensions:
    """The group's extensions with one of them replaced or added."""
    kept = tuple(extension for extension in extensions if extension.type != fresh.type)
    return GroupContextExtensions((*kept, fresh))
