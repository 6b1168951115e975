"""draft-ietf-mls-virtual-clients §5.1, beside the draft: what NewEmulatorClientState has no place for.

The draft's state leads a new device into the virtual client, but not to where the others are: it lacks what is waited
for, what waits, and what is public but has to be known. This blob of ours travels with it, as a component of its own in
the application data of the same Welcome's GroupInfo, and no less secret. A device that finds only the state works with
what it has; one that finds only the companion has nothing. docs/spec-notes.md lists the holes that this fills:

* for the virtual client: its settings, the derivation epoch that the one which begins follows, when KeyPackages expire,
  which signature keys they have, which of them were used and which were withdrawn;
* for each of its epochs: the one before it, the cipher suite, and operations that were passed over;
* emulation epochs for which the state has no room: it holds one of each number, and wants a tree of secrets for each,
  but of an epoch that lost (`announcements.LostEpoch`) a device may know what reads its leaves and nothing else;
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

from mls.codec import Reader, opaque, optional, u8, u16, u32, u64, vector
from mls.errors import CallerError, PeerError
from mls.framing import decode_sender
from mls.proposals import ReInit, decode_proposal, encode_proposal
from mls.provider import PendingUpdate, Provider
from mls.puncture import Puncturable
from mls.registries import Epoch, KeyPackageRef, ProposalRef
from mls.schedule import GroupContext
from mls.secrets import (
    EpochEncryptionKey,
    EpochSecret,
    GenerationIdSecret,
    HpkePrivateKey,
    ResumptionPsk,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.snapshot import Delta
from mls.suite import Suite
from mls.validation import Proposed
from mls.virtual.epoch import DerivationEpoch, sound
from mls.virtual.operations import OperationTree
from mls.virtual.secret_state import (
    Skipped,
    check_distinct,
    flag,
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
    used: bool = False
    """Whether a Welcome was taken up."""

    def encode(self) -> bytes:
        return opaque(self.reference) + u64(self.not_after) + opaque(self.signature_key) + u8(self.used)

    @classmethod
    def decode(cls, reader: Reader) -> PackagePart:
        return cls(
            reference=KeyPackageRef(reader.opaque()),
            not_after=reader.u64(),
            signature_key=reader.opaque(),
            used=flag(reader),
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPart:
    """An emulation epoch of which nothing can be derived: what reads its leaves, and tells who sent under them."""

    epoch_id: bytes
    parent: bytes | None
    cipher_suite: int
    number: Epoch
    leaf_count: int
    encryption_key: EpochEncryptionKey
    generation_id: GenerationIdSecret
    reuse_guard: ReuseGuardSecret

    @classmethod
    def of(cls, epoch: DerivationEpoch, parent: bytes | None) -> LostPart:
        return cls(
            epoch_id=epoch.epoch_id,
            parent=parent,
            cipher_suite=epoch.suite.cipher_suite,
            number=epoch.number,
            leaf_count=epoch.leaf_count,
            encryption_key=epoch.encryption_key,
            generation_id=epoch.generation_id,
            reuse_guard=epoch.reuse_guard,
        )

    def derivation_epoch(self, suite: Suite) -> DerivationEpoch:
        epoch = DerivationEpoch(
            suite=suite,
            epoch_id=self.epoch_id,
            number=self.number,
            leaf_count=self.leaf_count,
            own_leaf=None,
            encryption_key=self.encryption_key,
            generation_id=self.generation_id,
            reuse_guard=self.reuse_guard,
            operations=OperationTree.gone(self.leaf_count),
        )
        if not sound(epoch):
            raise PeerError("VC-5.1-43")
        return epoch

    def encode(self) -> bytes:
        parent = optional(None if self.parent is None else opaque(self.parent))
        named = opaque(self.epoch_id) + parent + u16(self.cipher_suite) + u64(self.number) + u32(self.leaf_count)
        secrets = (self.encryption_key, self.generation_id, self.reuse_guard)
        return named + b"".join([opaque(secret.raw) for secret in secrets])

    @classmethod
    def decode(cls, reader: Reader) -> LostPart:
        return cls(
            epoch_id=reader.opaque(),
            parent=reader.optional(Reader.opaque),
            cipher_suite=reader.u16(),
            number=Epoch(reader.u64()),
            leaf_count=reader.u32(),
            encryption_key=EpochEncryptionKey(reader.opaque()),
            generation_id=GenerationIdSecret(reader.opaque()),
            reuse_guard=ReuseGuardSecret(reader.opaque()),
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
    lost: tuple[LostPart, ...] = ()
    packages: tuple[PackagePart, ...] = ()
    withdrawn: tuple[KeyPackageRef, ...] = ()
    """KeyPackages that no Welcome is taken for, also if their upload is heard of late; the oldest first."""
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
                vector([part.encode() for part in self.lost]),
                vector([part.encode() for part in self.packages]),
                vector([opaque(reference) for reference in self.withdrawn]),
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
            lost=several(reader, LostPart.decode, MAX_EPOCHS),
            packages=several(reader, PackagePart.decode, MAX_ENTRIES),
            withdrawn=several(reader, lambda r: KeyPackageRef(r.opaque()), MAX_ENTRIES),
            conversations=several(reader, ConversationPart.decode, MAX_ENTRIES),
        )
        check_distinct(part.epoch_id for part in made.epochs)
        check_distinct(epoch.epoch_id for epoch in made.rivals)
        check_distinct(part.epoch_id for part in made.lost)
        check_distinct(part.reference for part in made.packages)
        check_distinct(made.withdrawn)
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
    lost: tuple[LostPart, ...]
    parts: tuple[EpochPart, ...]


Placed = tuple[DerivationEpoch, bytes | None]
"""An emulation epoch, and the one before it if that is known."""


def hand_over_epochs(epochs: Sequence[Placed]) -> HandedEpochs:
    """Emulation epochs. Of several with one number the first given goes into the state.

    A parent that cannot be one is left out: a sibling may have told of it, and nobody would take it from us.
    """
    numbers = {epoch.epoch_id: epoch.number for epoch, _ in epochs}
    state: dict[int, RetainedVcEpoch] = {}
    rivals, lost, parts = [], [], []
    for epoch, said in epochs:
        parent = None if said is None or numbers.get(said, -1) >= epoch.number else said
        if epoch.operations.is_gone:
            lost.append(LostPart.of(epoch, parent))
            continue
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
    return HandedEpochs(state=ordered, rivals=tuple(rivals), lost=tuple(lost), parts=tuple(parts))


def take_over_epochs(
    state: NewEmulatorClientState, companion: Companion | None, suite: Suite, provider: Provider
) -> tuple[Placed, ...]:
    """Past emulation epochs for a device that was no member in them.

    `suite` is the emulation group's, for those of which the companion does not say more. A lost one in a suite that we
    lack is passed over: whoever has that suite may have been told anything of it. Without a companion there is one
    branch, on which each epoch follows the one before it in the state.
    """
    if companion is None:
        before = [None, *(each.epoch_id for each in state.epochs)]
        return tuple(
            [(each.derivation_epoch(suite), parent) for each, parent in zip(state.epochs, before, strict=False)]
        )
    parts = {part.epoch_id: part for part in companion.epochs}
    retained = (*state.epochs, *companion.rivals)
    check_distinct([*(epoch.epoch_id for epoch in retained), *(part.epoch_id for part in companion.lost)])
    found: list[Placed] = []
    for each in retained:
        beside = parts.pop(each.epoch_id, None)
        if beside is None:
            found.append((each.derivation_epoch(suite), None))
            continue
        own = suite_of(provider, beside.cipher_suite)
        epoch = each.derivation_epoch(own)
        operations = with_skipped_operations(own, epoch.operations, beside.skipped)
        found.append((replace(epoch, operations=operations), beside.parent))
    if parts:
        raise PeerError("VC-5.1-12")
    for part in companion.lost:
        try:
            own = provider.suite(part.cipher_suite)
        except KeyError:
            continue
        found.append((part.derivation_epoch(own), part.parent))
    return tuple(found)


def check_ancestry(epochs: Sequence[Placed]) -> None:
    """Whether each epoch is newer than the one before it, so that whoever follows them back comes to a first one."""
    numbers = {epoch.epoch_id: epoch.number for epoch, _ in epochs}
    for epoch, parent in epochs:
        if parent is not None and numbers.get(parent, -1) >= epoch.number:
            raise PeerError("VC-5.1-42", f"epoch {epoch.number}")


def suite_of(provider: Provider, cipher_suite: int) -> Suite:
    """The suite that a sibling works with."""
    try:
        return provider.suite(cipher_suite)
    except KeyError:
        raise PeerError("VC-5.1-15", f"suite {cipher_suite}") from None
