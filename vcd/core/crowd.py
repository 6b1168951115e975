"""How many steps a graph has room for, and whose give way when somebody makes too many.

Any member can sign headers without end that nobody can follow, and commits as fast as it likes. A graph begins anew
with each final epoch, and until then it has room for `Config.max_unfinal` steps:

    followed    commits that this device followed have all of that room; headers give way to them. When it is used up,
                each pot still has its share of as much again, so a flood keeps nobody's removal of its author out
    held        what leads to a followed epoch or to the head stays, and so does what we made or voted for: a vote
                binds. Headers lead no further than `max_unfinal` epochs past the last final one
    spare       all other headers have the room that these leave, and a quarter of all in any case. If they are more,
                the pot that has the most gives way first, with its farthest header: first those that do not count
                (`choice.counted`), then, if somebody votes for what others make up, those that do

A *pot* is a member of the last final epoch; another one has whoever it brought in since, and whom these did. So nobody
has a larger share for inviting others, which a header that is made up can do as well. All who came in by themselves
have one pot, and another one has what a lead says of ordinary clients, who sign nothing.

Nothing is lost with a header but time. Votes for it go with it, as they were checked by it. It is shown again with them
by whoever has it (`summaries`), or comes with its commit; honest ones soon are voted for, or followed. Devices may hold
different ones: none of those counts for where the group stands but in the last case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.graph import NOBODY, Graph, Step
from vcd.core.strand import Strand, counts, without_headers

Pot = tuple[Incarnation, bool]

_BY_THEMSELVES: Pot = (NOBODY, True)
_UNSIGNED: Pot = (NOBODY, False)


def _pots(graph: Graph) -> dict[Incarnation, Pot]:
    """To whom each member is reckoned. Who may come in by a header is somebody whom its author let in."""
    found: dict[Incarnation, Pot] = {each.incarnation: (each.incarnation, False) for each in graph.anchor.members}
    for step in sorted(graph.steps.values(), key=lambda each: graph.number(each.epoch)):
        for new in step.adds:
            host, _ = (NOBODY, True) if new.incarnation == step.author else found.get(step.author, _BY_THEMSELVES)
            found.setdefault(new.incarnation, (host, True))
    return found


def _by_pot(strand: Strand) -> Callable[[Step], Pot]:
    pots = _pots(strand.graph)

    def pot(step: Step) -> Pot:
        said = strand.signed.find(step.epoch)
        if said is None or said.signature or strand.entered(step.epoch):
            return pots.get(step.author, _BY_THEMSELVES)
        return _UNSIGNED

    return pot


# ---------------------------------------------------------------- commits


def full(strand: Strand, step: Step, most: int) -> bool:
    """Whether there is no room to follow a commit. What others voted for has twice the room."""
    graph = strand.graph
    if len(graph.steps) < most:
        return False
    followed = [each for each in graph.steps.values() if strand.entered(each.epoch)]
    if len(followed) < (2 * most if voted(strand, step) else most):
        return False
    pot = _by_pot(strand)
    theirs, share = pot(step), max(1, most // (2 * len(graph.anchor.members) + 1))
    return sum(pot(each) == theirs for each in followed) >= share


def voted(strand: Strand, step: Step) -> bool:
    """Whether somebody else than its author voted for a step."""
    return bool((strand.ballots.voters.find(step.epoch) or frozenset()) - strand.ballots.liars - {step.author})


# ---------------------------------------------------------------- headers


def too_far(strand: Strand, parent: EpochId, most: int) -> bool:
    """Whether a header leads further past the last final epoch than any is taken."""
    return strand.graph.number(parent) - strand.graph.anchor.number >= most


def urgent(strand: Strand, epochs: Iterable[EpochId]) -> list[EpochId]:
    """Headers in the order that they matter: those to the head, others that count, those of who has the fewest."""
    graph, sure, pot = strand.graph, counts(strand), _by_pot(strand)
    path = {*graph.path(strand.head)} if graph.has(strand.head) else set()
    pots = {epoch: pot(graph.steps[epoch]) for epoch in epochs}
    load = Counter(pots.values())

    def need(epoch: EpochId) -> tuple[int, int, bytes]:
        if epoch in path:
            return (0, graph.number(epoch), epoch)
        return (1 if epoch in sure else 2, load[pots[epoch]], epoch)

    return sorted(pots, key=need)


def thinned(strand: Strand, own: AccountId | None, most: int) -> Strand:
    """With as many headers as there is room for. `own`: who we are in the group."""
    graph = strand.graph
    if len(graph.steps) <= most:
        return strand
    held = _held(strand, own)
    spare = [epoch for epoch in graph.steps if epoch not in held]
    over = len(spare) - max(most - len(held), most // 4)
    return strand if over <= 0 else without_headers(strand, _least(strand, spare, over))


def _held(strand: Strand, own: AccountId | None) -> set[EpochId]:
    """What has to stay, with all that it stands on. Only those are we who came in by what this device followed."""
    graph = strand.graph
    followed = [each for each in graph.steps.values() if strand.entered(each.epoch)]
    members = [*graph.anchor.members, *(new for each in followed for new in each.adds)]
    ours = {each.incarnation for each in members if each.account == own}
    found: set[EpochId] = set()
    for step in graph.steps.values():
        at, mine = step.epoch, step.author in ours or not ours.isdisjoint(strand.ballots.voters.find(step.epoch) or ())
        if mine or at == strand.head or at in strand.laid or strand.entered(at):
            for each in graph.up(at):
                if each in found:
                    break
                found.add(each)
    return found - {graph.anchor.epoch}


def _least(strand: Strand, spare: list[EpochId], over: int) -> frozenset[EpochId]:
    """So many headers, at least, that are needed least, each with all that stands on it."""
    graph, pot = strand.graph, _by_pot(strand)
    pots = {epoch: pot(graph.steps[epoch]) for epoch in spare}
    sure, gone = counts(strand), set[EpochId]()
    for several in ([each for each in spare if each not in sure], [each for each in spare if each in sure]):
        load = Counter(pots[epoch] for epoch in several)
        lines = _farthest_last(graph, pots, several)
        while len(gone) < over and load:
            most = max(load, key=lambda each: (load[each], each))
            first = lines[most].pop()
            todo = [] if first in gone else [first]
            for epoch in todo:
                gone.add(epoch)
                load[pots[epoch]] -= 1
                todo += [each for each in graph.children(epoch) if each not in gone]
            load = +load
    return frozenset(gone)


def _farthest_last(graph: Graph, pots: dict[EpochId, Pot], several: list[EpochId]) -> dict[Pot, list[EpochId]]:
    """The headers of each pot, what others stand on first, and then by how far they lead."""
    order = sorted(several, key=lambda each: (graph.number(each), each))
    below: set[EpochId] = set()
    for epoch in reversed(order):
        parent = graph.steps[epoch].parent
        if parent in pots and (epoch in below or pots[epoch] != pots[parent]):
            below.add(parent)
    lines: dict[Pot, list[EpochId]] = {}
    for epoch in [*(each for each in order if each in below), *(each for each in order if each not in below)]:
        lines.setdefault(pots[epoch], []).append(epoch)
    return lines
