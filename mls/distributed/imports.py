"""draft-xue-distributed-mls-02 §4.1.1.2 and §4.1.2: taking up other members' epochs, and checking how others did.

An import is two proposals in one commit: a PSK named after an epoch k of a member's send group, and a LeafReplacement
with that member's leaf of that epoch. One without the other would leave out half of the healing, so it is refused. So
is an epoch that is not newer than the one taken up before, and an epoch in which somebody is missing who is a member
here: that one could not follow (`members` in `Kept`). The last rule is what makes removals spread: nobody can take up
what Alice did after she removed Bob without removing Bob too (§5).

The newest epoch of a member stands for all before it, since each epoch's secrets come from those before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mls.components.numbers import Numbers
from mls.distributed.errors import AwaitedError, EpochName, LostEpochError
from mls.distributed.mode import send_group_of
from mls.distributed.send_group import Kept, SendGroup, leaf_epoch, psk_id, read_psk_id
from mls.errors import PeerError
from mls.framing import Commit
from mls.key_package import KeyPackage
from mls.leaf_node import LeafNode
from mls.proposals import Add, LeafReplacement, PreSharedKey, Proposal, Remove
from mls.provider import Environment
from mls.psk import ExternalPskId
from mls.registries import Epoch, GroupId, ProposalType
from mls.secrets import ExternalPsk, ResumptionPsk

OPERATIONS = frozenset(
    {ProposalType.ADD, ProposalType.REMOVE, ProposalType.PSK, ProposalType.LEAF_REPLACEMENT},
)
"""§4.1: what the owner can do to a send group, beside refreshing its own leaf."""


@dataclass(frozen=True, slots=True)
class Known:
    """The send groups that are followed here, as the place where pre-shared keys come from (`PskStore`)."""

    groups: Mapping[GroupId, SendGroup]
    forgotten: frozenset[GroupId]
    """Send groups that were followed and are not any more."""

    def epoch(self, name: EpochName) -> Kept:
        """An epoch to take up; AwaitedError or LostEpochError if it is not here."""
        found = self.groups.get(name.group_id)
        if found is None:
            if name.group_id in self.forgotten:
                raise LostEpochError(name)
            raise AwaitedError(name)
        kept = found.epochs.get(name.epoch)
        if kept is None:
            if name.epoch > found.group.epoch and found.group.ended is None:
                raise AwaitedError(name)
            raise LostEpochError(name)
        return kept

    def external(self, psk_id: bytes) -> ExternalPsk:
        return self.epoch(read_psk_id(psk_id)).psk

    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None:  # noqa: ARG002 - send groups have none
        return None

    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None:  # noqa: ARG002 - the same
        return None


@dataclass(frozen=True, slots=True)
class Import:
    """An epoch that a commit takes up."""

    name: EpochName
    kept: Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a commit in a send group does."""

    imports: tuple[Import, ...]
    added: tuple[tuple[GroupId, KeyPackage], ...]
    """In the order of the commit."""
    removed: tuple[GroupId, ...]


def read_commit(numbers: Numbers, known: Known, own: GroupId, followed: SendGroup, commit: Commit) -> Reading:
    """What the owner of a followed send group committed, which keeps to the rules of send groups.

    If it removes us, it may take up what we cannot know, and nobody asks us any more what we think of that.
    """
    added: list[tuple[GroupId, KeyPackage]] = []
    removed: list[GroupId] = []
    names: dict[GroupId, EpochName] = {}
    leaves: dict[GroupId, LeafNode] = {}
    standing = {at: name for name, at in followed.places.items()} if commit.proposals else {}
    for item in commit.proposals:
        if isinstance(item, bytes):
            raise PeerError("DIMLS-4.1.1-2")
        if item.type not in OPERATIONS:
            raise PeerError("DIMLS-4.1.1-3", f"type {item.type}")
        if isinstance(item, PreSharedKey):
            name = _epoch_name(followed, item)
            if name.group_id in names:
                raise PeerError("DIMLS-4.1.1.2-2")
            names[name.group_id] = name
        elif isinstance(item, Add):
            added.append((send_group_of(numbers, item.key_package.leaf_node), item.key_package))
        elif isinstance(item, LeafReplacement):
            if item.leaf in standing:  # and else the plan refuses it
                leaves[standing[item.leaf]] = item.leaf_node
        elif isinstance(item, Remove) and item.removed in standing:
            removed.append(standing[item.removed])
    members = _members_after(followed, removed, added)
    for newcomer, _ in added:
        if newcomer in followed.removed or newcomer in removed:
            raise PeerError("DIMLS-5-2")
    for member in names:
        if member not in leaves:
            raise PeerError("DIMLS-4.1.2-4")
    for member in leaves:
        if member not in names:
            raise PeerError("DIMLS-4.1.2-5")
    if own in removed:
        return Reading(imports=(), added=tuple(added), removed=tuple(removed))
    needs = []
    imports = []
    for member, named in names.items():
        leaf = leaves[member]
        if named.epoch <= _taken(known, followed, member):
            raise PeerError("DIMLS-4.1.1.2-3", f"epoch {named.epoch}")
        try:
            kept = known.epoch(named)
        except AwaitedError:
            needs.append(named)
            continue
        if leaf.encoded != kept.leaf.encoded:
            raise PeerError("DIMLS-4.1.2-6", f"epoch {named.epoch}")
        if not members <= kept.members:
            raise PeerError("DIMLS-5-1", f"epoch {named.epoch}")
        imports.append(Import(named, kept))
    if needs:
        raise AwaitedError(*needs)
    return Reading(imports=tuple(imports), added=tuple(added), removed=tuple(removed))


def _epoch_name(followed: SendGroup, item: PreSharedKey) -> EpochName:
    psk = item.psk
    if not isinstance(psk, ExternalPskId):
        raise PeerError("DIMLS-4.1.1.2-1", "of another kind")
    name = read_psk_id(psk.psk_id)
    if name.group_id not in followed.members or name.group_id == followed.id:
        raise PeerError("DIMLS-4.1.1.2-1", "of nobody else here")
    return name


def _members_after(
    followed: SendGroup, removed: list[GroupId], added: list[tuple[GroupId, KeyPackage]]
) -> frozenset[GroupId]:
    if not removed and not added:
        return followed.members
    members = set(followed.members).difference(removed)
    for name, _ in added:
        if name in members:
            raise PeerError("DIMLS-4.2.1-7", "a newcomer's")
        members.add(name)
    return frozenset(members)


def _taken(known: Known, followed: SendGroup, member: GroupId) -> int:
    """The epoch of a member that the owner took up last, as far as it is known."""
    taken = followed.taken.get(member, 0)
    source = known.groups.get(member)
    if taken or source is None:
        return taken
    return leaf_epoch(source, followed.leaf(followed.places[member]))


# Making them


def choose_imports(known: Known, own: SendGroup, members: frozenset[GroupId]) -> list[Import]:
    """The newest epoch of everybody that was not taken up yet and that all of `members` can follow."""
    chosen = []
    for member in own.places:
        source = known.groups.get(member)
        if source is None or member == own.id or member not in members:
            continue
        for epoch in sorted(source.epochs, reverse=True):
            if epoch <= own.taken.get(member, 0):
                break
            kept = source.epochs[epoch]
            if members <= kept.members:
                chosen.append(Import(EpochName(member, Epoch(epoch)), kept))
                break
    return chosen


def import_proposals(env: Environment, own: SendGroup, imports: Sequence[Import]) -> list[Proposal]:
    """Both halves of each, one after the other."""
    proposals: list[Proposal] = []
    size = own.group.suite.hash_size
    for each in imports:
        nonce = env.provider.random(size)
        proposals.append(PreSharedKey(ExternalPskId(psk_id(each.name), nonce)))
        proposals.append(LeafReplacement(own.places[each.name.group_id], each.kept.leaf))
    return proposals
