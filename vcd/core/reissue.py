"""Removals that lost are made again, by whoever saw them.

A commit that removed somebody can lose to a rival that removes somebody else. Its target is then still there, and all
who followed the commit know that it was to go: they *owe* the removal on the branch that won. Nothing is owed by those
whom the policy does not let remove. Whoever was added again since is another incarnation, and stays.

Of void commits, nothing is owed of those that something strikes: whoever was removed wants nothing any more. One that
only stands on such a commit may be of somebody who did nothing wrong, and is owed. But what it stands on may have made
its author a member or an admin, or changed the rules. So that counts only of those who might do the same here.

The members who may remove take turns, the lowest leaf first, after whoever wanted it had time to do it again: an intent
of the account that made the removal comes first, and our own intents do without this. What is owed is found in the
graph as long as it is there; when a branch is dropped because another one is final, it is written down (`Talk.owed`).

Devices have intents of their own for their home (`rotation`), so this is for conversations only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.proposals import Remove
from mls.registries import LeafIndex
from vcd.core import acting, intents, ranks
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.names import EpochId, GroupId, Incarnation
from vcd.core.ordering.choice import struck
from vcd.core.policy import Mode, of_group
from vcd.core.strand import counts
from vcd.core.upkeep import may_remove

if TYPE_CHECKING:
    from vcd.core.ordering.graph import Member
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_OWED = 256
"""Removals that are written down for one conversation; no two rivals remove as many."""


def touched(turn: Turn, group_id: GroupId) -> None:
    """The graph changed, or where the group stands in it: there may be something owed, or nothing any more."""
    strand = turn.strand(group_id)
    if strand.home or group_id not in turn.state.talks:
        return
    if _owed(turn, strand):
        turn.due(Duty.REISSUE, group_id, turn.now + _wait(turn, strand))
    else:
        turn.not_due(Duty.REISSUE, group_id)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Before a branch that lost is dropped, what is owed from it is written down."""
    talk = turn.state.talks.find(after.group_id)
    if after.home or talk is None:
        return
    if before.final != after.final:
        lost = _lost(before, after.final, _able(after)) if before.graph.has(after.final) else []
        _write_down(turn, after, lost, (after.head, after.final))


def owe(turn: Turn, strand: Strand, to: EpochId) -> None:
    """Before a branch counts for nothing any more, though nothing is final, for the sake of one that leads there."""
    if strand.group_id in turn.state.talks:
        _write_down(turn, strand, _lost(strand, to, _able(strand)), (to, strand.final))


def _write_down(turn: Turn, strand: Strand, lost: list[Incarnation], epochs: tuple[EpochId, ...]) -> None:
    """What is owed, of those who are in one of these epochs."""
    talk = turn.talk(strand.group_id)
    there = {each.incarnation for epoch in epochs for each in strand.graph.members(epoch)}
    owed = dict.fromkeys([*talk.owed, *lost])
    kept = tuple(each for each in owed if each in there)[:MAX_OWED]
    if kept != talk.owed:
        turn.put_talk(replace(talk, owed=kept))


def _able(strand: Strand) -> frozenset[Incarnation]:
    """Who may remove others where the group stands; those who have left since count too."""
    if strand.here is None:
        return frozenset()
    policy = of_group(strand.here.group)
    known = [*strand.graph.members(strand.final), *strand.graph.members(strand.head)]
    return frozenset(each.incarnation for each in known if may_remove(policy, each))


def _lost(strand: Strand, to: EpochId, able: frozenset[Incarnation]) -> list[Incarnation]:
    """Whose removal we followed on branches that do not lead to an epoch, and who is to go because of it.

    What is void is found anew: by what is known now, from the last final epoch that was known before.
    """
    graph, way = strand.graph, {*strand.graph.path(to)}
    beside = [
        epoch
        for epoch in sorted(graph.steps)
        if graph.steps[epoch].removes and epoch not in way and strand.entered(epoch)
        if not graph.is_ancestor(to, epoch)  # what stands on what won may still win
    ]
    if not beside:
        return []
    lead = strand.mode is Mode.LEAD  # there nothing is void: what was not chosen is dead
    hit = frozenset[EpochId]() if lead else struck(graph, strand.final, counts(strand)) - way
    found: dict[Incarnation, None] = {}
    for epoch in beside:
        step = graph.steps[epoch]
        void = any(each in hit for each in graph.up(epoch))
        if epoch not in hit and (step.author in able or not void):
            found |= dict.fromkeys(step.removes)
    return list(found)


def _owed(turn: Turn, strand: Strand) -> list[Member]:
    """Members of the head who are to go, and whom we may remove."""
    here, own = strand.here, ranks.own(strand)
    talk = turn.state.talks.find(strand.group_id)
    if here is None or here.group.ended is not None or own is None or talk is None:
        return []
    if not may_remove(of_group(here.group), own):
        return []
    if not talk.owed and not strand.graph.steps:
        return []
    to_go = {*talk.owed, *_lost(strand, strand.head, _able(strand))}
    return [
        each
        for each in strand.graph.members(strand.head)
        if each.incarnation in to_go
        and each.incarnation != own.incarnation
        and not intents.removing(turn, strand.group_id, each.incarnation)
    ]


def _wait(turn: Turn, strand: Strand) -> int:
    """Until it is our turn: whoever wanted it first, then the lowest leaf that may, and so on."""
    here, own = strand.here, ranks.own(strand)
    assert here is not None  # noqa: S101 - nothing is owed otherwise
    assert own is not None  # noqa: S101 - the same
    policy = of_group(here.group)
    before = [each for each in strand.graph.members(strand.head) if each.leaf < own.leaf and may_remove(policy, each)]
    return 2 * turn.state.config.retry + ranks.turn_of(turn, len(before))


def again(turn: Turn, subject: bytes) -> None:
    """Duty REISSUE: nobody before us has done it."""
    strand = turn.state.strands.find(GroupId(subject))
    if strand is None:
        return
    owed = _owed(turn, strand)
    if not owed:
        return
    try:
        acting.commit(turn, strand, proposals=[Remove(LeafIndex(each.leaf)) for each in owed], force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("reissue", type(error).__name__)
    turn.later(Duty.REISSUE, strand.group_id, turn.now + turn.state.config.retry_most)
