"""draft-xue-distributed-mls-02 §4.1: one send group as one member sees it, its owner or somebody who follows it.

Beside the group value itself, four things are remembered. Which member stands where, which epoch of each other member
its owner took up last, and whom it has removed: all follow from the commits. And, for every epoch that somebody may
still take up, the pre-shared key that was exported from it, its owner's leaf, and who was in it (`Kept`). The owner
keeps the leaf's private keys there too, because whoever takes the epoch up will encrypt to that leaf from then on. What
nobody can take up any more is forgotten by `mls.distributed.retention`, and cannot be derived again: what it was
exported from was deleted as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from mls.codec import u64
from mls.components.numbers import Numbers
from mls.distributed.errors import EpochName
from mls.distributed.mode import OWNER, send_group_of
from mls.errors import BugError, PeerError
from mls.leaf_node import LeafNode
from mls.provider import PendingUpdate
from mls.registries import Epoch, GroupId, LeafIndex
from mls.schedule import EXPORTER_TREE, export
from mls.secrets import ExporterSecret, ExternalPsk, ExternalSecret, ResumptionPsk
from mls.state import Ended, Group, stripped

_LABEL = b"exporter-psk"
_CONTEXT = b"psk_id"
"""The text has a string where a context belongs; it is taken by the letter (docs/spec-notes.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An epoch that somebody may still take up."""

    leaf: LeafNode
    """The owner's, as of this epoch."""
    psk: ExternalPsk
    members: frozenset[GroupId]
    """Who was in it, by their own send groups."""
    keys: PendingUpdate | None = field(default=None, repr=False)
    """The private keys of `leaf`, if it is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGroup:
    """A send group in its newest epoch that is known here."""

    group: Group
    places: Mapping[GroupId, LeafIndex]
    """Where each member stands, by its own send group; the owner included."""
    members: frozenset[GroupId]
    """The keys of `places`."""
    taken: Mapping[GroupId, int]
    """The last epoch of each member that the owner took up, where it is known."""
    epochs: Mapping[int, Kept]
    """In ascending order."""
    removed: frozenset[GroupId] = frozenset()
    """Whom the owner has removed, or told us so as we came: it does not add them again."""
    retired: tuple[Group, ...] = ()
    """Epochs before this one that still read late messages, oldest first."""

    @property
    def id(self) -> GroupId:
        return self.group.group_id

    @property
    def owner_leaf(self) -> LeafNode:
        return self.leaf(OWNER)

    def leaf(self, index: int) -> LeafNode:
        leaf = self.group.public.tree.leaf(index)
        if leaf is None:
            raise BugError("a send group has a member without a leaf")
        return leaf


def psk_id(name: EpochName) -> bytes:
    """§4.1.1.2: the epoch in eight bytes, then the send group."""
    return u64(name.epoch) + name.group_id


def read_psk_id(data: bytes) -> EpochName:
    return _named(data) if len(data) <= _COMMON else _parsed(data)


_COMMON = 256
"""Names of more bytes are nobody's habit, and are not remembered."""


@lru_cache(maxsize=1024)
def _named(data: bytes) -> EpochName:
    """All owners take up the same epochs."""
    return _parsed(data)


def _parsed(data: bytes) -> EpochName:
    if len(data) <= 8:
        raise PeerError("DIMLS-4.1.1.2-1", "too short")
    return EpochName(GroupId(data[8:]), Epoch(int.from_bytes(data[:8], "big")))


def exported_psk(group: Group) -> ExternalPsk:
    """§4.1.1.2: what an epoch gives to those who take it up."""
    suite = group.suite
    return ExternalPsk(export(suite, group.secrets.exporter, _LABEL, _CONTEXT, suite.hash_size))


def places_of(numbers: Numbers, leaves: Iterable[tuple[LeafIndex, LeafNode]]) -> dict[GroupId, LeafIndex]:
    """Where each member stands."""
    places: dict[GroupId, LeafIndex] = {}
    for index, leaf in leaves:
        name = send_group_of(numbers, leaf)
        if name in places:
            raise PeerError("DIMLS-4.2.1-7", f"leaf {index}")
        places[name] = index
    return places


def entered(group: Group, places: Mapping[GroupId, LeafIndex], *, removed: frozenset[GroupId]) -> SendGroup:
    """A send group as of the first epoch in which we are in it."""
    found = SendGroup(group=group, places=places, members=frozenset(places), taken={}, epochs={}, removed=removed)
    return _exported(found)


def _exported(send_group: SendGroup) -> SendGroup:
    """With what its newest epoch gives to those who take it up, and without what could give it again.

    Nothing else is exported, nobody joins from outside, and no resumption PSK is used; so that once the epoch is
    forgotten (§5), nothing is left that was derived beside it.
    """
    group = send_group.group
    keys = None
    if group.own_leaf == OWNER:
        keys = PendingUpdate(group.private[2 * OWNER], group.signature_key)
    kept = Kept(leaf=send_group.owner_leaf, psk=exported_psk(group), members=send_group.members, keys=keys)
    secrets = replace(
        group.secrets,
        exporter=ExporterSecret(b""),
        external=ExternalSecret(b""),
        resumption=ResumptionPsk(b""),
    )
    trees = {label: tree for label, tree in group.trees.items() if label != EXPORTER_TREE}
    return replace(
        send_group,
        group=replace(group, secrets=secrets, trees=trees, resumption=()),
        epochs={**send_group.epochs, int(group.epoch): kept},
    )


def moved(
    send_group: SendGroup,
    before: Group,
    after: Group,
    *,
    removed: Iterable[GroupId],
    added: Mapping[GroupId, LeafIndex],
    taken: Mapping[GroupId, int],
    late_epochs: int,
) -> SendGroup:
    """The send group after its owner's commit; `before` is the epoch that it ended."""
    retired = send_group.retired
    if late_epochs:
        retired = (*retired, stripped(before, Ended.RETIRED))[-late_epochs:]
    if after.ended is not None:  # we were removed, and see the send group as it was before
        return replace(send_group, group=after, retired=retired)
    gone = frozenset(removed)
    places, members = send_group.places, send_group.members
    if gone or added:
        places = {**{name: at for name, at in places.items() if name not in gone}, **added}
        members = frozenset(places)
    following = SendGroup(
        group=after,
        places=places,
        members=members,
        taken={**{name: epoch for name, epoch in send_group.taken.items() if name not in gone}, **taken},
        epochs=send_group.epochs,
        removed=send_group.removed.union(gone) if gone else send_group.removed,
        retired=retired,
    )
    return _exported(following)


def leaf_epoch(owner: SendGroup, leaf: LeafNode) -> int:
    """The epoch of its own send group from which a member's leaf is; 0 if it is from before what is known here."""
    for epoch, kept in owner.epochs.items():
        if kept.leaf.encoded == leaf.encoded:
            return epoch
    return 0
