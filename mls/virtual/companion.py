"""draft-ietf-mls-virtual-clients §5.1, beside the draft: what NewEmulatorClientState has no place for.

The draft's state leads a new device into the virtual client, but not to where the others are: it lacks what is waited
for, what waits, and what is public but has to be known. This blob of ours travels with it, as a component of its own in
the application data of the same Welcome's GroupInfo, and no less secret. A device that finds only the state works with
what it has; one that finds only the companion has nothing. docs/spec-notes.md lists the holes that this fills:

* for the virtual client: its settings, the derivation epoch that the one which begins follows, when KeyPackages expire
  and which signature keys they have, and emulation epochs of rival branches, of which the state holds one a number;
* for each of its epochs: the one before it, the cipher suite, and operations that were passed over;
* for each conversation: GroupContext and confirmation tag, the epoch's id, message keys that were passed over, trees of
  secrets and labeled secrets beyond RFC 9420's, resumption PSKs of earlier epochs, proposals that wait and the keys of
  our Updates among them, commits from outside that were followed, a ReInit that ended it, the key of a leaf that was
  not derived, and the epochs before it for late messages.

Earlier epochs of a conversation are `mls.snapshot` deltas from its present one: they have most of the tree in common.
`mls.virtual.handover` makes the parts and judges them; here they are read and written. Everything is in the
presentation language, behind a version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mls.codec import Reader, opaque, optional, u8, u16, u64, vector
from mls.errors import CallerError, PeerError
from mls.framing import decode_sender
from mls.proposals import ReInit, decode_proposal, encode_proposal
from mls.provider import PendingUpdate, Provider
from mls.puncture import Puncturable
from mls.registries import Epoch, KeyPackageRef, ProposalRef
from mls.schedule import GroupContext
from mls.secrets import EpochSecret, HpkePrivateKey, ResumptionPsk, SignaturePrivateKey
from mls.snapshot import Delta
from mls.suite import Suite
from mls.validation import Proposed
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.secret_state import (
    Skipped,
    check_distinct,
    several,
    skipped_operations,
    with_skipped_operations,
)
from mls.virtual.transfer import MAX_ENTRIES, MAX_EPOCHS, NewEmulatorClientState, RetainedVcEpoch

VERSION = 1
MAX_PAST = 256
"""Earlier epochs of one conversation."""


# The virtual client


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePart:
    """What the state does not say of a KeyPackage."""

    reference: KeyPackageRef
    not_after: int
    """In seconds since 1970; 0 if it is not known."""
    signature_key: bytes
    """The leaf's; empty if it is not known."""

    def encode(self) -> bytes:
        return opaque(self.reference) + u64(self.not_after) + opaque(self.signature_key)

    @classmethod
    def decode(cls, reader: Reader) -> PackagePart:
        return cls(reference=KeyPackageRef(reader.opaque()), not_after=reader.u64(), signature_key=reader.opaque())


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPart:
    """What the state does not say of an emulation epoch."""

    epoch_id: bytes
    parent: bytes | None
    """The derivation epoch before it on its branch, if that was known."""
    cipher_suite: int
    skipped: tuple[Skipped, ...] = ()

    def encode(self) -> bytes:
        parent = optional(None if self.parent is None else opaque(self.parent))
        skipped = vector([each.encode() for each in self.skipped])
        return opaque(self.epoch_id) + parent + u16(self.cipher_suite) + skipped

    @classmethod
    def decode(cls, reader: Reader) -> EpochPart:
        return cls(
            epoch_id=reader.opaque(),
            parent=reader.optional(Reader.opaque),
            cipher_suite=reader.u16(),
            skipped=reader.vector(Skipped.decode),
        )


# Conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPart:
    """What the state does not say of a conversation."""

    context: GroupContext
    confirmation_tag: bytes
    epoch_id: bytes = field(repr=False)
    leaf_private: HpkePrivateKey | None = None
    """Ours, if it does not follow from an operation or a seed."""
    extra: tuple[tuple[bytes, EpochSecret], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    trees: tuple[tuple[bytes, Puncturable], ...] = field(default=(), repr=False)
    """By label, but for the safe exporter's."""
    proposals: tuple[tuple[ProposalRef, Proposed], ...] = ()
    updates: tuple[tuple[bytes, PendingUpdate], ...] = ()
    """By the encoded leaf node."""
    resumption: tuple[tuple[Epoch, ResumptionPsk], ...] = ()
    ended: ReInit | None = None
    followed: tuple[bytes, ...] = ()
    past: tuple[Delta, ...] = ()
    """What leads from the present epoch to each earlier one, in the order that they were given."""

    def encode(self) -> bytes:
        leaf = b"" if self.leaf_private is None else self.leaf_private.raw
        return b"".join(
            [
                self.context.encoded,
                opaque(self.confirmation_tag),
                opaque(self.epoch_id),
                opaque(leaf),
                vector([opaque(label) + opaque(secret.raw) for label, secret in self.extra]),
                vector([each.encode() for each in self.skipped]),
                vector([opaque(label) + opaque(tree.encode()) for label, tree in self.trees]),
                vector([_encode_proposed(reference, item) for reference, item in self.proposals]),
                vector([_encode_update(node, update) for node, update in self.updates]),
                vector([u64(epoch) + opaque(psk.raw) for epoch, psk in self.resumption]),
                optional(None if self.ended is None else encode_proposal(self.ended)),
                vector([opaque(child) for child in self.followed]),
                vector([opaque(delta.raw) for delta in self.past]),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> ConversationPart:
        context = GroupContext.decode(reader)
        tag = reader.opaque()
        epoch_id = reader.opaque()
        leaf = reader.opaque()
        part = cls(
            context=context,
            confirmation_tag=tag,
            epoch_id=epoch_id,
            leaf_private=HpkePrivateKey(leaf) if leaf else None,
            extra=reader.vector(lambda r: (r.opaque(), EpochSecret(r.opaque()))),
            skipped=reader.vector(Skipped.decode),
            trees=reader.vector(lambda r: (r.opaque(), _decode_tree(r.opaque()))),
            proposals=reader.vector(_decode_proposed),
            updates=reader.vector(_decode_update),
            resumption=reader.vector(lambda r: (Epoch(r.u64()), ResumptionPsk(r.opaque()))),
            ended=reader.optional(_decode_reinit),
            followed=reader.vector(Reader.opaque),
            past=several(reader, lambda r: Delta(r.opaque()), MAX_PAST),
        )
        for named in (part.extra, part.trees, part.proposals, part.updates, part.resumption):
            check_distinct(name for name, _ in named)
        check_distinct(part.followed)
        return part


def _encode_proposed(reference: ProposalRef, item: Proposed) -> bytes:
    return opaque(reference) + u8(item.shelved) + item.sender.encode() + encode_proposal(item.proposal)


def _decode_proposed(reader: Reader) -> tuple[ProposalRef, Proposed]:
    reference = ProposalRef(reader.opaque())
    shelved = reader.optional(lambda _: True) is True
    sender = decode_sender(reader)
    return reference, Proposed(decode_proposal(reader), sender, reference, checked=True, shelved=shelved)


def _encode_update(node: bytes, update: PendingUpdate) -> bytes:
    return opaque(node) + opaque(update.leaf_private.raw) + opaque(update.signature_private.raw)


def _decode_update(reader: Reader) -> tuple[bytes, PendingUpdate]:
    node = reader.opaque()
    return node, PendingUpdate(HpkePrivateKey(reader.opaque()), SignaturePrivateKey(reader.opaque()))


def _decode_tree(data: bytes) -> Puncturable:
    reader = Reader(data)
    try:
        tree = Puncturable.decode(reader)
    except CallerError:
        raise PeerError("VC-5.1-13") from None
    reader.finish()
    return tree


def _decode_reinit(reader: Reader) -> ReInit:
    proposal = decode_proposal(reader)
    if not isinstance(proposal, ReInit):
        raise PeerError("VC-5.1-14")
    return proposal


# The whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """Everything, as it stands under a component's number of ours (`Numbers.virtual_companion`)."""

    settings: bytes = b""
    """Of the virtual client, as whoever keeps them writes them."""
    newest: bytes | None = None
    """The derivation epoch that the one which begins with the Welcome follows."""
    epochs: tuple[EpochPart, ...] = ()
    rivals: tuple[RetainedVcEpoch, ...] = ()
    """Emulation epochs of other branches that have the number of one in the state."""
    packages: tuple[PackagePart, ...] = ()
    conversations: tuple[ConversationPart, ...] = ()
    _by_group: Mapping[bytes, ConversationPart] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_group", {part.context.group_id: part for part in self.conversations})

    def encode(self) -> bytes:
        return b"".join(
            [
                u16(VERSION),
                opaque(self.settings),
                optional(None if self.newest is None else opaque(self.newest)),
                vector([part.encode() for part in self.epochs]),
                vector([epoch.encode() for epoch in self.rivals]),
                vector([part.encode() for part in self.packages]),
                vector([part.encode() for part in self.conversations]),
            ]
        )

    @classmethod
    def decode(cls, reader: Reader) -> Companion:
        if reader.u16() != VERSION:
            raise PeerError("VC-5.1-10")
        made = cls(
            settings=reader.opaque(),
            newest=reader.optional(Reader.opaque),
            epochs=several(reader, EpochPart.decode, MAX_EPOCHS),
            rivals=several(reader, RetainedVcEpoch.decode, MAX_EPOCHS),
            packages=several(reader, PackagePart.decode, MAX_ENTRIES),
            conversations=several(reader, ConversationPart.decode, MAX_ENTRIES),
        )
        check_distinct(part.epoch_id for part in made.epochs)
        check_distinct(epoch.epoch_id for epoch in made.rivals)
        check_distinct(part.reference for part in made.packages)
        check_distinct(part.context.group_id for part in made.conversations)
        return made

    def conversation(self, group_id: bytes) -> ConversationPart | None:
        """The part of one conversation."""
        return self._by_group.get(group_id)


# Emulation epochs, between the two


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedEpochs:
    """Past emulation epochs as the state and the companion have them."""

    state: tuple[RetainedVcEpoch, ...]
    rivals: tuple[RetainedVcEpoch, ...]
    parts: tuple[EpochPart, ...]


def hand_over_epochs(epochs: Sequence[tuple[DerivationEpoch, bytes | None]]) -> HandedEpochs:
    """Emulation epochs, each with the one before it. Of several with one number the first given goes into the state."""
    state: dict[int, RetainedVcEpoch] = {}
    rivals = []
    parts = []
    for epoch, parent in epochs:
        retained = RetainedVcEpoch.of(epoch)
        if state.setdefault(epoch.number, retained) is not retained:
            rivals.append(retained)
        parts.append(
            EpochPart(
                epoch_id=epoch.epoch_id,
                parent=parent,
                cipher_suite=epoch.suite.cipher_suite,
                skipped=skipped_operations(epoch.operations),
            )
        )
    ordered = tuple([state[number] for number in sorted(state)])
    return HandedEpochs(state=ordered, rivals=tuple(rivals), parts=tuple(parts))


def take_over_epochs(
    state: NewEmulatorClientState, companion: Companion | None, suite: Suite, provider: Provider
) -> tuple[tuple[DerivationEpoch, bytes | None], ...]:
    """Past emulation epochs for a device that was no member in them, each with the one before it if that is known.

    `suite` is the emulation group's, for those of which the companion does not say more.
    """
    parts = {} if companion is None else {part.epoch_id: part for part in companion.epochs}
    retained = (*state.epochs, *(() if companion is None else companion.rivals))
    check_distinct(epoch.epoch_id for epoch in retained)
    found: list[tuple[DerivationEpoch, bytes | None]] = []
    for each in retained:
        part = parts.pop(each.epoch_id, None)
        if part is None:
            found.append((each.derivation_epoch(suite), None))
            continue
        own = suite_of(provider, part.cipher_suite)
        epoch = each.derivation_epoch(own)
        operations = with_skipped_operations(own, epoch.operations, part.skipped)
        found.append((replace(epoch, operations=operations), part.parent))
    if parts:
        raise PeerError("VC-5.1-12")
    return tuple(found)


def suite_of(provider: Provider, cipher_suite: int) -> Suite:
    """The suite that a sibling works with."""
    try:
        return provider.suite(cipher_suite)
    except KeyError:
        raise PeerError("VC-5.1-15", f"suite {cipher_suite}") from None
