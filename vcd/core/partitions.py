"""Whether the network is split, as far as can be seen: it lengthens windows, and decides nothing.

A device suspects a split where one of two things shows. Nobody of a group is seen any more who was seen before, for a
while, and others are; or somebody shows a branch beside ours that has grown, so somebody works there who does not see
what we see. As long as it suspects one, the keys of epochs that were left stay: a branch that comes back from the other
side can then be followed and not only heard of. That is bounded (`Config.split_most`), and it is the only consequence.
Fork choice asks nobody here.

The suspicion is over when others are seen and one of them stands where we do, or something new is final; and when
nobody else is in the group any more, as there is nobody to be parted from. Who lies about any of this makes a device
keep keys for longer or, at most, as long as it would without any suspicion.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vcd.core import events, ranks, summaries
from vcd.core.duties import Duty
from vcd.core.names import GroupId
from vcd.core.policy import MINUTE
from vcd.core.sights import Sight, put_sight, sight_of

if TYPE_CHECKING:
    from vcd.core.payloads import Digest
    from vcd.core.state import State
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

__all__ = ["Sight", "lengthened", "moved", "online", "reached", "shown", "tired"]

ALONE = 10 * MINUTE
"""How long nobody is seen of a group before that means something."""
GROWN = 2
"""How many steps a branch beside ours has that is no mere race."""


def lengthened(state: State, group_id: GroupId) -> int:
    """By how many milliseconds awake windows are longer now."""
    since = sight_of(state, group_id).suspected
    return 0 if since is None else min(state.config.split_most, max(0, state.clock.awake - since))


def online(turn: Turn, now: bool) -> None:
    """Whether anybody is connected. Who is not sees nobody, and that says nothing of the others."""
    for group_id, sight in sorted(turn.state.sights.items()):
        if now and (sight.alone is not None or sight.suspected is not None):
            turn.due(Duty.SPLIT, group_id, turn.now + ALONE)


def reached(turn: Turn, group_id: GroupId) -> None:
    """Others came to one of a group's topics, or went."""
    several = [turn.state.joined.find(name) for name in turn.state.topics.find(group_id) or ()]
    joined = [each for each in several if each is not None]
    peers = max((each.peers for each in joined), default=0)
    mailbox = any(each.mailbox for each in joined)
    sight = sight_of(turn.state, group_id)
    here = bool(peers or mailbox)
    alone = None if here else sight.alone
    if not here and sight.seen and alone is None and _others(turn, turn.strand(group_id)):
        alone = turn.awake
        turn.due(Duty.SPLIT, group_id, turn.now + ALONE)
    if here and sight.suspected is not None:
        turn.due(Duty.SPLIT, group_id, turn.now + turn.state.config.digest_every)
    if here and (sight.alone is not None or peers > sight.peers):
        summaries.show_soon(turn, group_id)  # who came may know of other branches
    now = sight_of(turn.state, group_id)
    put_sight(turn, group_id, replace(now, peers=peers, mailbox=mailbox, seen=sight.seen or here, alone=alone))


def shown(turn: Turn, strand: Strand, digest: Digest) -> None:
    """Where somebody stands, who knows of the branches that `digest` tells of."""
    if digest.head == strand.head:
        _agreed(turn, strand.group_id)
        return
    graph = turn.strand(strand.group_id).graph
    if not graph.has(digest.head) or digest.head in strand.standing.void:
        return
    beside = 0
    for epoch in graph.up(digest.head):
        if graph.is_ancestor(epoch, strand.head):
            break
        beside += 1
    if beside >= GROWN and not graph.is_ancestor(strand.head, digest.head):
        _suspect(turn, strand.group_id)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """What is final was seen by everybody in it."""
    if before.final != after.final:
        _agreed(turn, after.group_id)


def _others(turn: Turn, strand: Strand) -> bool:
    """Whether the group has another member, or our account another device in it."""
    if len(strand.graph.members(strand.head)) > 1:
        return True
    return not strand.home and turn.state.home is not None and len(ranks.devices(turn)) > 1


def tired(turn: Turn, subject: bytes) -> None:
    """Duty SPLIT."""
    group_id = GroupId(subject)
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    sight = sight_of(turn.state, group_id)
    if sight.alone is not None:
        if not turn.state.clock.online:
            return  # looked at again when somebody is connected
        if not _others(turn, strand):
            put_sight(turn, group_id, replace(sight, alone=None))
            _agreed(turn, group_id)
            return
        others = any((each.peers or each.mailbox) and each.group_id != group_id for each in turn.state.joined.values())
        if others and turn.awake - sight.alone >= ALONE:
            _suspect(turn, group_id)
        turn.due(Duty.SPLIT, group_id, turn.now + ALONE)
    elif sight.suspected is not None:
        if not strand.graph.steps:
            _agreed(turn, group_id)
        else:
            turn.due(Duty.SPLIT, group_id, turn.now + turn.state.config.digest_every)


def _suspect(turn: Turn, group_id: GroupId) -> None:
    sight = sight_of(turn.state, group_id)
    if sight.suspected is not None:
        return
    put_sight(turn, group_id, replace(sight, suspected=turn.awake))
    turn.tell(events.Split(group=group_id, over=False))
    turn.due(Duty.SPLIT, group_id, turn.now + turn.state.config.digest_every)


def _agreed(turn: Turn, group_id: GroupId) -> None:
    """Somebody stands where we do, or nothing is left to decide: windows have their usual length again."""
    sight = sight_of(turn.state, group_id)
    if sight.suspected is None or sight.alone is not None:
        return
    put_sight(turn, group_id, replace(sight, suspected=None))
    turn.tell(events.Split(group=group_id, over=True))
    turn.due(Duty.RETAIN, group_id, turn.now)
