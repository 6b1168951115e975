"""Who leads a group that has a lead, and where it stands by what was decided: facts of the graph and of what was said.

`lead` says how this works and does it; here is only what follows from a strand and a `Reign`, the same for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mls.components.dictionary import dictionary_of
from mls.components.lists import components_of
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.registries import LeafIndex
from mls.tree.ratchet_tree import RatchetTree
from vcd.core import record
from vcd.core.accounts.card import InboxSecret
from vcd.core.names import DeviceId, EpochId, Incarnation
from vcd.core.ordering.choice import Standing
from vcd.core.ordering.graph import Member
from vcd.core.payloads import Decision, Invite, Nomination
from vcd.core.policy import COMPONENT, Mode, Policy, of_group
from vcd.core.steps import at_leaf
from vcd.core.strand import Strand


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What counts of an epoch here, when its keys are gone too."""

    lead: Incarnation
    """Who chooses among commits on it, if nobody was voted for there."""
    succession: bool
    """Whether somebody may be."""
    plain: tuple[Incarnation, ...] = ()
    """Members that are no vcds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcoming:
    """An invitation that waits for the lead."""

    inbox: InboxSecret
    invite: Invite


@dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """What was said of who leads, and by the lead. All signatures were good."""

    decisions: PMap[EpochId, tuple[Decision, ...]] = field(default_factory=PMap)
    """By parent; of epochs in the graph."""
    nominations: PMap[EpochId, tuple[Nomination, ...]] = field(default_factory=PMap)
    past: tuple[Decision, ...] = ()
    """The last ones of epochs before the graph: so that a lead that says something else later is found out."""
    facts: PMap[EpochId, Fact] = field(default_factory=PMap)
    """Of epochs of the graph, as far as known: those that are or were kept, those that a successor began, and the one
    from which we came back."""
    welcomes: PMap[EpochId, Welcoming] = field(default_factory=PMap)
    """Invitations of ours into epochs that are not decided on: nobody is brought into what may not come to be."""
    waits: tuple[EpochId, int] | None = None
    """The head, and since when (in milliseconds awake) a commit on it waits."""
    passed: tuple[tuple[EpochId, DeviceId], ...] = record.since(3, ())
    """Devices of ours that choose nothing on an epoch, as they are not in it (`deputies`)."""


# ---------------------------------------------------------------- who leads


def capable(strand: Strand, epoch: EpochId) -> tuple[Member, ...]:
    """The members of an epoch that are vcds, by rank; all of them where their leaves are not known."""
    kept = strand.kept.find(epoch)
    members = strand.graph.members(epoch)
    if kept is None:
        return members
    group = kept.group
    return _capable(members, group.public.tree, group.parameters)


def _capable(members: tuple[Member, ...], tree: RatchetTree, parameters: Parameters) -> tuple[Member, ...]:
    number = parameters.components.numbers.app_components
    found = []
    for each in members:
        node = tree.leaf(LeafIndex(each.leaf))
        if node is not None and COMPONENT in components_of(dictionary_of(node.extensions).find(number)):
            found.append(each)
    return tuple(found)


def fact_of(strand: Strand, epoch: EpochId) -> Fact:
    """Of an epoch that is kept."""
    group = strand.kept[epoch].group
    return shown(strand.graph.members(epoch), of_group(group), group.public.tree, group.parameters)


def shown(members: tuple[Member, ...], policy: Policy, tree: RatchetTree, parameters: Parameters) -> Fact:
    """Of an epoch whose policy and tree are known."""
    able = _capable(members, tree, parameters)
    lead = policy.lead
    if all(each.incarnation != lead for each in members):
        lead = able[0].incarnation if able else Incarnation(b"")
    plain = tuple(each.incarnation for each in members if each not in able)
    return Fact(lead=lead, succession=policy.succeed_after > 0, plain=plain)


def fact(strand: Strand, reign: Reign, epoch: EpochId) -> Fact:
    """Of any epoch in the graph. Of one that was never kept here, what follows from the one before."""
    unknown: list[EpochId] = []
    found: Fact | None = None
    for at in strand.graph.up(epoch):  # there may be thousands that nobody followed
        found = _known(strand, reign, at)
        if found is not None:
            break
        unknown.append(at)
    found = found or Fact(lead=Incarnation(b""), succession=True)
    for at in reversed(unknown):
        able = [each.incarnation for each in strand.graph.members(at) if each.incarnation not in found.plain]
        found = replace(found, lead=found.lead if found.lead in able or not able else able[0])
    return found


def _known(strand: Strand, reign: Reign, epoch: EpochId) -> Fact | None:
    return reign.facts.find(epoch) or (fact_of(strand, epoch) if epoch in strand.kept else None)


def may_be_plain(strand: Strand, reign: Reign, epoch: EpochId, who: Incarnation) -> bool:
    """Whether a member is no vcd, or may be none: of who came by a commit that was not followed here nobody knows."""
    for at in strand.graph.up(epoch):
        known = _known(strand, reign, at)
        if known is not None:
            return who in known.plain or all(each.incarnation != who for each in strand.graph.members(at))
    return True


def begun(strand: Strand, reign: Reign) -> dict[EpochId, Fact]:
    """Of epochs that were never here, and that a successor began: it leads there."""
    found: dict[EpochId, Fact] = {}
    for parent, several in sorted(reign.decisions.items()):
        unknown = [each for each in several if each.child not in reign.facts and each.child not in strand.kept]
        winner = elected(strand, reign, parent) if unknown and strand.graph.has(parent) else None
        for each in unknown:
            if each.author == winner != leader(strand, reign, parent) and strand.graph.parent(each.child) == parent:
                found[each.child] = Fact(lead=winner, succession=True, plain=fact(strand, reign, parent).plain)
    return found


def leader(strand: Strand, reign: Reign, epoch: EpochId) -> Incarnation:
    """Who chooses among commits on an epoch, if nobody was voted for there."""
    return fact(strand, reign, epoch).lead


def able(strand: Strand, reign: Reign, epoch: EpochId) -> tuple[Member, ...]:
    """Who may vote and be voted for: the vcds among the members, by rank."""
    plain = fact(strand, reign, epoch).plain
    return tuple(each for each in strand.graph.members(epoch) if each.incarnation not in plain)


def own_member(strand: Strand, epoch: EpochId) -> Member | None:
    """Our account's member in an epoch that is kept."""
    kept = strand.kept.find(epoch)
    return None if kept is None else at_leaf(strand.graph.members(epoch), kept.group.own_leaf)


# ---------------------------------------------------------------- where it stands


def standing(strand: Strand, reign: Reign) -> Standing:
    """The chain of decisions from the last final epoch on, and how far along it is final."""
    old = strand.standing.final
    chain = [old if strand.graph.has(old) else strand.graph.anchor.epoch]
    while child := _choice(strand, reign, chain[-1]) or _entry(strand, reign, chain[-1]):
        chain.append(child)
    return Standing(final=_final(strand, reign, chain), head=chain[-1], void=frozenset())


def _choice(strand: Strand, reign: Reign, parent: EpochId) -> EpochId | None:
    """The commit on an epoch that was decided on."""
    several = reign.decisions.find(parent)
    if not several:
        return None
    lead, successor = leader(strand, reign, parent), elected(strand, reign, parent)
    found = []
    for each in several:
        if strand.graph.parent(each.child) != parent or not _believed(strand, each, voted=each.author == successor):
            continue
        if each.author == successor and _takes_over(strand, reign, each.child, successor):
            found.append((0, each.child))
        elif each.author == lead:
            found.append((1, each.child))
    return min(found)[1] if found else None


def _believed(strand: Strand, said: Decision, *, voted: bool) -> bool:
    """Whether a commit that was decided on counts here, or its header is no more than the word of who decided.

    Whoever could open the commit waits for that, or for another member that could: its author, who signed the header,
    or who voted for it, or went on from it. Else a lead might do by a header what it may not do by a commit. Who cannot
    follow from there takes the word of who leads; but not against what it followed itself, unless that was `voted` for.
    """
    graph, child, parent = strand.graph, said.child, said.parent
    if _followed(strand, child):
        return True
    kept = strand.kept.find(parent)
    if kept is None or kept.settled or kept.group.ended is not None:
        if voted or not any(_followed(strand, each) for each in graph.children(parent)):
            return True
    own = own_member(strand, parent)
    if own is not None and own.incarnation == said.author:
        return True
    author = graph.steps[child].author
    others = {each.incarnation for each in graph.members(parent)} - {said.author}
    if author in others and _is_signed(strand, child):
        return True
    others -= {author, *strand.ballots.liars}
    went_on = {graph.steps[each].author for each in graph.children(child) if _is_signed(strand, each)}
    return not others.isdisjoint((strand.ballots.voters.find(child) or frozenset()) | went_on)


def _followed(strand: Strand, epoch: EpochId) -> bool:
    """Whether this device was there, or in what stands on it."""
    return strand.entered(epoch) or any(strand.graph.is_ancestor(epoch, each) for each in strand.kept)


def _is_signed(strand: Strand, epoch: EpochId) -> bool:
    said = strand.signed.find(epoch)
    return said is not None and said.signature != b""


def unproven(strand: Strand, reign: Reign) -> EpochId | None:
    """What was decided on the head, if that is one member's word and nobody else is there who could confirm it."""
    head = strand.head
    own = own_member(strand, head)
    if own is None or not strand.graph.has(head):
        return None
    chief, successor = leader(strand, reign, head), elected(strand, reign, head)
    succession = fact(strand, reign, head).succession
    could = {each.incarnation for each in able(strand, reign, head)}
    for each in sorted(reign.decisions.find(head) or (), key=lambda each: each.child):
        step = strand.graph.steps.find(each.child)
        if step is None or step.parent != head or _followed(strand, each.child):
            continue
        if each.author not in (chief, successor):
            continue
        if not succession or could <= {own.incarnation, each.author, step.author}:
            return each.child  # else it would be where the group stands
    return None


def _entry(strand: Strand, reign: Reign, at: EpochId) -> EpochId | None:
    """The next epoch on the way to the one that we came in by: what was decided before, others had to know.

    Nor do we know who led there, so that we could tell by decisions. Where we do, as who comes back does of the epoch
    that it was shown, we stand there until what we came in by was decided on.
    """
    if at in strand.kept:
        return None
    graph = strand.graph
    below = [each for each in strand.kept if graph.is_ancestor(at, each)]
    if not below:
        return None
    entry = min(below, key=lambda each: (graph.number(each), each))
    own = own_member(strand, entry)
    if own is None or (at in reign.facts and any(each.incarnation == own.incarnation for each in graph.members(at))):
        return None
    return graph.path(entry, at)[0]


def _takes_over(strand: Strand, reign: Reign, child: EpochId, successor: Incarnation) -> bool:
    """Whether that commit names the successor in the policy, as far as can be seen."""
    if child in strand.kept:
        return of_group(strand.kept[child].group).lead == successor
    known = reign.facts.find(child)
    return known is None or known.lead == successor


def _final(strand: Strand, reign: Reign, chain: list[EpochId]) -> EpochId:
    """How far along the chain nobody else can be voted for any more."""
    standing: set[Incarnation] = set()
    bound: list[bool] = []
    for parent, child in reversed(list(zip(chain, chain[1:], strict=False))):
        standing.update(each.voter for each in strand.ballots.at(parent) if each.child == child)
        bound.append(_is_bound(strand, reign, parent, child, standing))
    final = chain[0]
    for child, done in zip(chain[1:], reversed(bound), strict=True):
        if not done:
            break
        final = child
    return final


def _is_bound(strand: Strand, reign: Reign, parent: EpochId, child: EpochId, standing: set[Incarnation]) -> bool:
    """Whether too few are left who may still vote for a successor on this epoch, or for another one."""
    if not fact(strand, reign, parent).succession:
        return True
    winner = elected(strand, reign, parent)
    if winner is not None:
        return any((each.author, each.child) == (winner, child) for each in reign.decisions.find(parent) or ())
    lead = leader(strand, reign, parent)
    last: dict[Incarnation, Nomination] = {}
    for each in reign.nominations.find(parent) or ():
        if each.voter not in last or last[each.voter].round < each.round:
            last[each.voter] = each
    loose = 0
    for member in able(strand, reign, parent):
        who = member.incarnation
        stays = last[who].candidate == lead if who in last else who in standing
        loose += who != lead and not stays
    return 2 * loose <= len(strand.graph.members(parent))


def elected(strand: Strand, reign: Reign, epoch: EpochId) -> Incarnation | None:
    """Whom a strict majority of the leaves of an epoch voted for; the old lead may be it."""
    votes = reign.nominations.find(epoch)
    if not votes:
        return None
    count: dict[tuple[int, Incarnation], int] = {}
    for each in _counting(strand, votes, epoch):
        count[each.round, each.candidate] = count.get((each.round, each.candidate), 0) + 1
    size = len(strand.graph.members(epoch))
    won = sorted(place for place, several in count.items() if 2 * several > size)
    return won[0][1] if won else None


def _counting(strand: Strand, votes: Iterable[Nomination], epoch: EpochId) -> Iterator[Nomination]:
    """Those of members who may vote, and did not vote for a commit on that epoch."""
    bound = {each.voter for each in strand.ballots.at(epoch)}
    return (each for each in votes if each.voter not in bound)


def is_stuck(strand: Strand, reign: Reign, epoch: EpochId, round_: int) -> bool:
    """Whether nobody can win that round any more, whoever else may vote."""
    votes = [each for each in reign.nominations.find(epoch) or () if each.round == round_]
    count: dict[Incarnation, int] = {}
    for each in _counting(strand, votes, epoch):
        count[each.candidate] = count.get(each.candidate, 0) + 1
    if not count:
        return False
    spoken = {each.voter for each in reign.nominations.find(epoch) or () if each.round >= round_}
    spoken.update(each.voter for each in strand.ballots.at(epoch))
    lead = leader(strand, reign, epoch)
    silent = sum(each.incarnation != lead and each.incarnation not in spoken for each in able(strand, reign, epoch))
    return 2 * (max(count.values()) + silent) <= len(strand.graph.members(epoch))


def undecided(strand: Strand) -> tuple[EpochId, ...]:
    """Commits on the head that were followed and wait for the lead."""
    if strand.mode is not Mode.LEAD:
        return ()
    return tuple(each for each in strand.graph.children(strand.head) if each in strand.bodies)


def full(strand: Strand, most: int) -> bool:
    """Whether as many commits wait for the lead as there is room for, with the head."""
    return strand.mode is Mode.LEAD and 1 + len(undecided(strand)) >= most


def waits_for_lead(strand: Strand) -> bool:
    """Whether a commit of ours waits: there is no sense in another one before that is decided."""
    own = own_member(strand, strand.head)
    return own is not None and any(strand.graph.steps[each].author == own.incarnation for each in undecided(strand))
