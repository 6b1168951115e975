"""Where a group may stand instead, on one member's word: what only people can decide.

A header that this device could not follow counts if somebody other than its author vouches for it
(`vcd.core.ordering.choice.counted`). Where nobody is who could, it never does, and members who committed apart, for
longer than the window, stay apart for good: each sees the other's headers, and neither believes them. So it is looked
at where the group would stand if they were believed. Who has the same headers sees the same there: so all but one are
asked to come where that is (`desync`), and that one stays where it is. What another device of our own account did is
left out; it counts when somebody else vouches for it.

    of two    nobody is in the group there but the author and we: nobody else can ever vote
    of more   others are, and none of them followed what was done here, who has not done it alone

Of more, the others may be asleep, and settle it in the morning by following the one or the other; or they are gone, or
each stands on a branch of its own. So who asks leaves them time, and lets nobody be asked as long as the commits could
still be followed if they came. Where one of them did follow what was done here, the one who is alone has to yield, and
can tell, as somebody vouches for that: not whom only what was done here brought in, nor who is known to lie, as the
others do not believe these. If one comes later and follows it, nobody is asked any more. And each may be shown the way
by any of the others: who says yes does not come in where it would not stand (`wins`).

A member who makes up headers can have people asked, by this, if all others are silent, and only for a place where it
would itself win the choice. Who says yes is alone with the liar until another one speaks.
"""

from __future__ import annotations

from collections.abc import Iterable

from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.choice import counted, standing
from vcd.core.strand import Strand, dead

MOST = 128
"""So many headers are believed at once, the first ones: all the work is done anew whenever somebody shows branches, and
what strikes what is looked at for each two of them."""


def of_two(strand: Strand, me: Incarnation) -> EpochId | None:
    """The first epoch that we are not in, on the way to where the other one says that the group stands."""
    missed = _missed(strand)
    there = _believing(strand, missed, [epoch for epoch in missed if _is_pair(strand, epoch, me)])
    return next((epoch for epoch in there if epoch in missed), None)


def of_more(strand: Strand, me: Incarnation) -> EpochId | None:
    """The same among more, unless we were removed there, or somebody else followed what was done here instead."""
    graph, missed = strand.graph, _missed(strand)
    there = _believing(strand, missed, [epoch for epoch in missed if graph.steps[epoch].author != me])
    first = next((epoch for epoch in there if epoch in missed), None)
    if first is None or all(each.incarnation != me for each in graph.members(there[-1])):
        return None
    ours, step = [epoch for epoch in graph.path(strand.head) if epoch not in there], graph.steps[first]
    sure = {each.incarnation for each in (*graph.anchor.members, *graph.members(step.parent))}
    return None if (_vouching(strand, ours) & sure) - {me, step.author} else first


def wins(strand: Strand, epoch: EpochId) -> bool:
    """Whether this device would stand there if it came in: where what it stands on goes before, nobody is met there."""
    graph, ballots = strand.graph, strand.ballots
    followed = [each for each in graph.steps if strand.entered(each)]
    counts = counted(graph, ballots, [*followed, epoch])
    head = standing(graph, ballots, counts, dead(strand) - frozenset(graph.up(epoch))).head
    return graph.is_ancestor(epoch, head)


def _missed(strand: Strand) -> frozenset[EpochId]:
    gone = dead(strand)
    return frozenset(epoch for epoch in strand.graph.steps if epoch in gone or not strand.went_past(epoch))


def _is_pair(strand: Strand, epoch: EpochId, me: Incarnation) -> bool:
    """Whether nobody is left there but its author, who is somebody else, and we."""
    author = strand.graph.steps[epoch].author
    return author != me and {each.incarnation for each in strand.graph.members(epoch)} == {author, me}


def _believing(strand: Strand, missed: frozenset[EpochId], theirs: list[EpochId]) -> tuple[EpochId, ...]:
    """The way to where the group would stand if these headers that we could not follow were believed."""
    if not theirs:
        return ()
    graph, ballots = strand.graph, strand.ballots
    followed = [epoch for epoch in graph.steps if epoch not in missed]
    first = sorted(theirs, key=lambda each: (graph.number(each), each))[:MOST]
    return graph.path(standing(graph, ballots, counted(graph, ballots, [*followed, *first])).head)


def _vouching(strand: Strand, way: Iterable[EpochId]) -> frozenset[Incarnation]:
    """Who made these steps, or voted for them, and is not known to lie."""
    found: set[Incarnation] = set()
    for epoch in way:
        found |= {strand.graph.steps[epoch].author, *(strand.ballots.voters.find(epoch) or ())}
    return frozenset(found) - strand.ballots.liars
