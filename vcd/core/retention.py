"""Keys that are deleted on time.

An epoch that is not the head any more keeps its keys for as long as a rival may win or a late message come: its
window, which the group's policy says, counted while this device is awake and connected. Then its value is dropped, and
what it was is known by name only. While the network seems to be split, windows are longer (`partitions`).

    when an epoch is left           what only a head needs is deleted (`mls.fork.retention.left`)
    when another one is final       all before it and beside it is settled: it follows no commit any more. The graph
                                    begins at the final epoch now; headers, votes and commits of before are deleted.
                                    Not as long as commits that lead there are missing and can still be followed, or
                                    the Welcome is by which we came in on the way, and we cannot follow
    when its window is over         the value is dropped, final or not. Headers and votes stay until something is final
    when there are too many         the same, early (`Config.max_kept`); what waits for a lead goes last (`lead.holds`)

The head itself is never dropped. Nor is, in the home, the nearest epoch to it as long as this device cannot follow to
the head, or came back by a way that nobody else has followed yet: there its virtual client stands. It is settled then.
In a conversation nothing stays for that: who we are, and what we sign with, the graph says.

Which branch wins is never decided here. If a rival wins whose parent was dropped, this device comes back from outside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.fork.retention import left
from mls.persistent import PMap
from vcd.core import crowd, following, partitions, summaries, voting, waiting
from vcd.core.duties import Duty
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.ordering.graph import Graph
from vcd.core.ordering.votes import Ballots
from vcd.core.payloads import MAX_BALLOTS, MAX_STEPS, Lineage
from vcd.core.policy import MINUTE, SECOND, Mode, of_group
from vcd.core.reign import undecided
from vcd.core.sights import sight_of
from vcd.core.strand import Kept, Membership, Strand, at_rest, dropped, parted
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core.turn import Turn


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Something is final: the graph begins there."""
    if _may_begin(turn, after):
        anew = rebased(after, turn.state.book.own)
        _put(turn, anew, graph=anew.trunk is not after.trunk)  # then there is a topic to be in
    now = turn.strand(after.group_id)
    if before.final != now.final or now.over:
        waiting.review(turn, after.group_id, lambda payload: following.hopeless(now, payload))


def _may_begin(turn: Turn, strand: Strand) -> bool:
    """Whether the graph may begin at the last final epoch now, if it does not.

    A header and votes may come before the commits that lead there: as long as these can be followed, they are waited
    for, or we would have to come back from outside. Who was removed follows nothing more. So it is with a Welcome that
    leads there: it comes by another topic, in any order with the rest.
    """
    if strand.final == strand.graph.anchor.epoch or _unwelcomed(strand, turn.state.book.own):
        return False
    if voting.own(turn.state, strand) is None:
        return True
    return not any(strand.graph.is_ancestor(each, strand.final) for each in summaries.missing(strand))


def _unwelcomed(strand: Strand, own: AccountId | None) -> bool:
    """Whether a Welcome is missing that leads to before what is final, with us in it still, and would let us follow."""
    if strand.home or strand.here is not None:
        return False
    graph = strand.graph
    ours = {each.incarnation for each in graph.members(strand.final) if each.account == own}
    way = [epoch for epoch in graph.path(strand.final) if not strand.entered(epoch)]
    return any(new.incarnation in ours for epoch in way for new in graph.steps[epoch].adds)


def _put(turn: Turn, after: Strand, *, graph: bool = False) -> None:
    """With epochs settled or dropped: commits that waited for proposals there are looked at for the last time.

    What waits for an epoch to which only these led waits no more.
    """
    before = turn.strand(after.group_id)
    turn.put(after, graph=graph)
    gone = [
        epoch
        for epoch, kept in sorted(before.kept.items())
        if not kept.settled and ((now := after.kept.find(epoch)) is None or now.settled)
    ]
    for epoch in gone:
        waiting.wake(turn, (Need.PROPOSAL, epoch))
    if gone:
        waiting.review(turn, after.group_id, lambda payload: following.unreachable(turn, after, payload))


def ended(strand: Strand, own: AccountId | None) -> Strand:
    """Without what others did after we were out for good."""
    if not strand.over or not strand.graph.steps:
        return strand
    graph = Graph(strand.graph.anchor)
    return replace(
        strand,
        graph=graph,
        past=strand.past if strand.home else parted(strand, graph, own),
        ballots=Ballots(),
        signed=PMap(),
        votes=PMap(),
        bodies=PMap(),
        laid=PMap(),
    )


def rebased(strand: Strand, own: AccountId | None) -> Strand:
    """From the last final epoch on. It stands where it stood. `own`: who we are in a conversation."""
    graph, _ = strand.graph.rebased(strand.final)
    votes = {name: said for name, said in strand.votes.items() if graph.has(said.ballot.parent)}
    ballots = Ballots()
    for name in sorted(votes):
        ballots = ballots.with_ballot(votes[name].ballot)
    anchor = strand.kept.find(strand.final)
    after = replace(
        strand,
        graph=graph,
        past=strand.past if strand.home else parted(strand, graph, own),
        proofs=_proven(strand),
        ballots=ballots,
        signed=strand.signed.changed([each for each in strand.signed if each not in graph.steps], {}),
        votes=strand.votes.changed([name for name in strand.votes if name not in votes], {}),
        bodies=strand.bodies.changed([each for each in strand.bodies if each not in graph.steps], {}),
        trunk=anchor.topic if anchor is not None else strand.laid.find(strand.final) or strand.trunk,
        laid=strand.laid.changed([each for each in strand.laid if not graph.has(each)], {}),
        standing=replace(strand.standing, void=frozenset(each for each in strand.standing.void if graph.has(each))),
    )
    for epoch in sorted(strand.kept):
        if not graph.has(epoch):
            after = at_rest(after, epoch)
    return after


MAX_PROOFS = 16
"""Final epochs of which it is kept how they became so."""


def _proven(strand: Strand) -> PMap[EpochId, Lineage]:
    """With what made the last final epoch final: only precommits decide."""
    graph = strand.graph
    way = graph.path(strand.final)[:MAX_STEPS]
    if strand.mode is Mode.LEAD or any(epoch not in strand.signed for epoch in way):
        return strand.proofs
    ballots = [
        (graph.number(said.ballot.parent), name, said)
        for name, said in strand.votes.items()
        if said.ballot.round % 2 == 1 and said.ballot.child in way
    ]
    ballots.sort(key=lambda each: each[:2])
    proof = Lineage(
        anchor=graph.anchor,
        steps=tuple(strand.signed[epoch] for epoch in way),
        ballots=tuple([said for _, _, said in ballots][:MAX_BALLOTS]),
    )
    proofs = strand.proofs.set(graph.anchor.epoch, proof)
    while len(proofs) > MAX_PROOFS:
        proofs = proofs.discard(min(proofs, key=lambda each: (proofs[each].anchor.number, each)))
    return proofs


def touched(turn: Turn, group_id: GroupId) -> None:
    """A graph or values changed: what is not the head is left, and there may be too many."""
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    if _may_begin(turn, strand):  # what leads there cannot be followed any more
        _put(turn, rebased(strand, turn.state.book.own))
        strand = now = turn.strand(group_id)
        waiting.review(turn, group_id, lambda payload: following.hopeless(now, payload))
    name = turn.state.me.device if strand.home else turn.state.book.own
    thin = crowd.thinned(strand, None if name is None else AccountId(name), turn.state.config.max_unfinal)
    if thin is not strand:
        turn.drop("headers-most")
        turn.put(thin, graph=True)
        return  # it is touched again
    after = _left(ended(strand, turn.state.book.own), turn.awake)
    most = turn.state.config.max_kept
    if len(after.kept) > most:
        entered = _entered(turn, after)
        for epoch in _in_order(after, entered)[: len(after.kept) - most]:
            after = _without(after, epoch, entered)
        turn.drop("kept-most")
    if after is not strand:
        _put(turn, after)
    if len(after.kept) > 1 or after.here is None:
        _look_again(turn, after)


def _left(strand: Strand, awake: int) -> Strand:
    """With everything but the head left, and the head not."""
    changed: dict[EpochId, Kept] = {}
    stays = _stays(strand)
    for epoch, kept in strand.kept.items():
        if epoch in stays:
            if kept.left_at is not None:
                changed[epoch] = replace(kept, left_at=None)
        elif kept.left_at is None:
            changed[epoch] = replace(kept, group=left(kept.group), left_at=awake)
    return replace(strand, kept=strand.kept.update(changed)) if changed else strand


def _in_order(strand: Strand, entered: EpochId | None) -> list[EpochId]:
    """What may be dropped, first what is needed least."""
    graph = strand.graph
    path = set(graph.path(strand.head)) if graph.has(strand.head) else set()
    waits = undecided(strand)
    made: dict[bytes, int] = {}
    for epoch in strand.kept:
        step = graph.steps.find(epoch)
        if step is not None and epoch not in path:
            made[step.author] = made.get(step.author, 0) + 1

    def need(epoch: EpochId) -> tuple[int, int, int, bytes]:
        kept = strand.kept[epoch]
        at = kept.left_at or 0
        if kept.settled or not graph.has(epoch):
            return (0, 0, at, epoch)
        if epoch in waits:  # any of them may be chosen
            return (3, -made[graph.steps[epoch].author], at, epoch)
        step = graph.steps.find(epoch)
        if step is not None and epoch not in path:
            return (1, -made[step.author], at, epoch)
        return (2, 0, at, epoch)

    spared = (strand.head, _nearest(strand, entered))
    return sorted([epoch for epoch in strand.kept if epoch not in spared], key=need)


def _nearest(strand: Strand, entered: EpochId | None = None) -> EpochId | None:
    """The epoch of the home that stays although its time is over, where the head is not here and we want to come back.

    Who was removed, or left, does not. If we came back by an epoch that nobody has followed (`entered`), we may have to
    do so again, without it and what stands on it.
    """
    if not strand.home or strand.membership is Membership.OUT or (strand.here is not None and entered is None):
        return None
    graph = strand.graph
    able = [each for each in strand.kept if entered is None or not graph.is_ancestor(entered, each)]
    if graph.has(strand.head):
        found = next((each for each in graph.up(strand.head) if each in able), None)
        if found is not None:
            return found
    return max(able, key=lambda each: (strand.kept[each].left_at or 0, each), default=None)


def _entered(turn: Turn, strand: Strand) -> EpochId | None:
    return sight_of(turn.state, strand.group_id).recovery.entered


def _stays(strand: Strand) -> frozenset[EpochId]:
    """What is there however long it takes: the head, and in a group with a lead what may be the next one."""
    return frozenset([strand.head, *undecided(strand)])


def _without(strand: Strand, epoch: EpochId, entered: EpochId | None = None) -> Strand:
    return at_rest(strand, epoch) if epoch == _nearest(strand, entered) else dropped(strand, epoch)


def window(turn: Turn, strand: Strand) -> int:
    """How long an epoch that was left keeps its keys now, in milliseconds awake."""
    newest = max(strand.kept, key=lambda each: (strand.kept[each].group.epoch, each), default=None)
    if newest is None:
        return 0
    return of_group((strand.here or strand.kept[newest]).group).window + partitions.lengthened(
        turn.state, strand.group_id
    )


def forget(turn: Turn, subject: bytes) -> None:
    """Duty RETAIN."""
    group_id = GroupId(subject)
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    span = window(turn, strand)
    stays, entered = _stays(strand), _entered(turn, strand)
    after = strand
    for epoch in sorted(strand.kept):
        at = strand.kept[epoch].left_at
        if epoch not in stays and at is not None and at + span <= turn.awake:
            after = _without(after, epoch, entered)
    if after is not strand:
        _put(turn, after, graph=True)
    _look_again(turn, after)


def _look_again(turn: Turn, strand: Strand) -> None:
    """When the next window is over, if this device stays awake until then."""
    stays, nearest = _stays(strand), _nearest(strand, _entered(turn, strand))
    ends = [
        kept.left_at
        for epoch, kept in strand.kept.items()
        if kept.left_at is not None and epoch not in stays and not (epoch == nearest and kept.settled)
    ]
    if not ends:
        turn.not_due(Duty.RETAIN, strand.group_id)
        return
    wait = min(ends) + window(turn, strand) - turn.awake
    usual = turn.state.clock.online and not partitions.lengthened(turn.state, strand.group_id)
    least = SECOND if usual else 10 * MINUTE
    turn.later(Duty.RETAIN, strand.group_id, turn.now + max(wait, least))
