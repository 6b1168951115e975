"""Branch summaries: what there is of branches, for those who missed some of it, and answers to what others miss.

Commits and votes are frames in topics' logs, so whoever was away gets them from there. That is not always enough: a
frame may be lost, expired, or in a topic of another branch. So as long as a group has branches that are not decided,
its members show each other what they know (`Digest`): signed headers and votes since the last final epoch. Whoever
learns of an epoch that way, and has its parent, asks for the commit (`Want`).

One member showing it is enough for all. Everybody waits for its turn, which comes by rank, and does nothing if somebody
else was quicker. So is it with answers. No digest and no question says who sent it, and none has to be believed: what
is in it is signed by those that it names, and what it asks for, everybody here may have. The way back into the group
is sealed to who asked for it (`desync`).

Who shows that less is final for it than for us has missed votes that everybody else has done with. So it is kept for
some final epochs how they became final (`Strand.proofs`), and shown to who is behind.

A newcomer knows nothing of what was before. It takes the graph that led to its epoch from the member who added it
(`Lineage`), and holds it against the tree that it joined: who is in it, who made the commits that it can check. What it
has to take on trust is who was in the group before whom. A lineage of anybody else, or one that does not lead to where
it stands, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.state import Group
from vcd.core import acting, crowd, desync, following, listing, partitions, ranks, steps, voting, waiting
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.ordering.graph import Anchor, Graph
from vcd.core.payloads import (
    MAX_BALLOTS,
    MAX_STEPS,
    MAX_WANTS,
    Commit,
    Digest,
    Lineage,
    Post,
    SignedBallot,
    SignedStep,
    Want,
)
from vcd.core.policy import DAY, Mode
from vcd.core.sights import MAX_ANSWERED, MAX_OWED, Comparing, Owed, put_sight, sight_of
from vcd.core.strand import Membership, Strand, counts
from vcd.core.topics import TopicSecret
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core.turn import Turn

ANSWER_STEP = 500
"""How much later than the one before each member answers, in milliseconds."""
PROOFS_AT_ONCE = 4
"""Final epochs of which one digest that is behind is answered with what made them so."""
OWED_AT_ONCE = 16
"""Commits that one question gets; who misses more asks again."""


# ---------------------------------------------------------------- what there is


def headers(strand: Strand, most: int = MAX_STEPS) -> tuple[SignedStep, ...]:
    """Those since the last final epoch, parents first: what leads to the head, what else counts, and then the rest."""
    graph = strand.graph
    found = dict.fromkeys(graph.path(strand.head)) if graph.has(strand.head) else {}
    rest = list(graph.children(graph.anchor.epoch))
    for epoch in rest:
        rest += graph.children(epoch)
    sure = counts(strand) if len(rest) > most else frozenset(rest)
    found.update(dict.fromkeys([epoch for epoch in rest if epoch in sure]))
    found.update(dict.fromkeys(rest))
    return tuple(_header(strand, epoch) for epoch in list(found)[:most])


def _header(strand: Strand, epoch: EpochId) -> SignedStep:
    """Some have no signature: commits of members who cannot sign any (`lead`)."""
    return strand.signed.find(epoch) or SignedStep(step=strand.graph.steps[epoch], signature=b"")


def votes(strand: Strand, most: int = MAX_BALLOTS, part: int = 0) -> tuple[SignedBallot, ...]:
    """In order of the steps that they are for. If they are more than `most`, another part of them for each number."""
    graph = strand.graph
    found = [said for _, said in strand.votes.items() if graph.has(said.ballot.parent)]
    found.sort(key=lambda said: (graph.number(said.ballot.parent), voting.name_of(said)))
    start = part * most % len(found) if len(found) > most else 0
    return tuple([*found[start:], *found[:start]][:most])


def lineage(strand: Strand, most: int = MAX_STEPS) -> Lineage:
    """From the last final epoch to where a group stands, for a newcomer or for who comes back; so many steps at most.

    Where that is too far, it begins later, as if what came before were final. A newcomer to whom that happens may have
    to come in anew if it was not.
    """
    graph = strand.graph
    path = graph.path(strand.head)
    topic = b"" if strand.trunk is None else strand.trunk.raw
    if len(path) <= most:
        return Lineage(anchor=graph.anchor, steps=headers(strand, most), ballots=votes(strand), topic=topic)
    start = path[-most - 1]
    return Lineage(
        anchor=Anchor(epoch=start, number=graph.number(start), members=graph.members(start), tag=graph.tag(start)),
        steps=tuple(_header(strand, epoch) for epoch in path[-most:]),
        topic=topic,
    )


# ---------------------------------------------------------------- what a newcomer takes


def provisional(strand: Strand) -> bool:
    """Whether a device came in and was not told yet what led there: all that it knows is the tree.

    Its graph begins where it came in, as if that were final. It may not be, so nothing is taken for final there.
    """
    return _unknown(strand.graph.anchor)


def _unknown(anchor: Anchor) -> bool:
    """Whether nobody was there before: so it looks to who came in, as some who was there must have let them in."""
    return anchor.number > 0 and all(each.since == anchor.number for each in anchor.members)


def rebuilt(group: Group, told: Lineage, extra: Sequence[SignedStep] = ()) -> tuple[Graph, tuple[SignedStep, ...]]:
    """The graph that leads to a group's epoch, and its headers; or `Refused` if it does not fit what is known."""
    members = told.anchor.members
    if len({each.incarnation for each in members}) != len(members) or len({each.leaf for each in members}) != len(
        members
    ):
        raise Refused("lineage-roster", "somebody is in it twice")
    if _unknown(told.anchor):
        raise Refused("lineage-unknown", "who tells of it knows no more than we do")
    graph = Graph(replace(told.anchor, members=tuple(sorted(members, key=lambda each: each.rank))))
    said = []
    for each in (*told.steps, *extra):
        if graph.has(each.step.epoch):
            continue
        if not graph.has(each.step.parent):
            raise Refused("lineage-gap")
        steps.check_shape(graph, each.step, home=listing.is_home(group))
        graph = graph.with_step(each.step)
        said.append(each)
    epoch = EpochId(group.epoch_id)
    if not graph.has(epoch) or graph.number(epoch) != group.epoch:
        raise Refused("lineage-end", "it does not lead here")
    steps.check_roster(graph.members(epoch), group)
    return graph, tuple(said)


def take(turn: Turn, group_id: GroupId, told: Lineage, extra: Sequence[SignedStep] = ()) -> None:
    """What led to the epoch by which we came in, from the member who brought us in; `extra` are headers after it."""
    strand = turn.strand(group_id)
    if not provisional(strand):
        learn(turn, group_id, (*told.steps, *extra), told.ballots)
        return
    graph, said = rebuilt(strand.kept[strand.graph.anchor.epoch].group, told, extra)
    secret = TopicSecret(told.topic) if len(told.topic) == 32 else strand.trunk
    # Where somebody leads, what is final follows from what was: where we came in only seemed to be.
    now = replace(strand.standing, final=graph.anchor.epoch) if strand.mode is Mode.LEAD else strand.standing
    signed = strand.signed.update({each.step.epoch: each for each in said})
    turn.put(replace(strand, graph=graph, standing=now, signed=signed, trunk=secret), graph=True)
    voting.take(turn, group_id, told.ballots)
    waiting.wake(turn, (Need.GROUP, group_id))


def on_headers(turn: Turn, group_id: GroupId, payload: Lineage, frame: FrameId) -> None:
    """A lineage in the open: nobody knows who sent it. What is signed in it counts, and no more."""
    waiting.done(turn, frame)
    if turn.strand(group_id).proofs.find(payload.anchor.epoch) == payload:
        seen(turn, group_id, b"proof" + payload.anchor.epoch)
    learn(turn, group_id, payload.steps, payload.ballots)


def learn(turn: Turn, group_id: GroupId, said: Sequence[SignedStep], ballots: Sequence[SignedBallot]) -> None:
    """Headers and votes of whoever: each is checked by its own signature.

    One that takes another one's place has all looked at that stands on it. Who signs two in turn, again and again, at
    the beginning of a long row, gets that for as many as a graph has room for; what is left over comes again.
    """
    if turn.strand(group_id).over:
        return
    room = turn.state.config.max_unfinal
    for each in said[:MAX_STEPS]:
        strand = turn.strand(group_id)
        known = strand.graph.steps.find(each.step.epoch)
        if known == each.step or strand.entered(each.step.epoch):
            continue
        if known is not None:
            if room <= 0:
                continue
            room -= len(strand.graph.standing_on(each.step.epoch))
        following.on_header(turn, strand, each)
    voting.take(turn, group_id, ballots[:MAX_BALLOTS])


# ---------------------------------------------------------------- comparing


def _comparing(turn: Turn, group_id: GroupId) -> Comparing:
    return sight_of(turn.state, group_id).comparing


def _put(turn: Turn, group_id: GroupId, comparing: Comparing) -> None:
    put_sight(turn, group_id, replace(sight_of(turn.state, group_id), comparing=comparing))


def place(turn: Turn, strand: Strand, first: bytes = b"") -> int:
    """How many others go first when any member may do something. `first` says where the turn begins."""
    me = voting.own(turn.state, strand)
    members = [each.incarnation for each in strand.graph.members(strand.head)]
    if me is None or me not in members:
        return len(members)
    start = int.from_bytes(first[:8], "big")
    mine = (members.index(me) - start) % len(members)
    if strand.home:
        return mine
    return mine + len(members) * ranks.device_place(turn)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """As long as something is not decided, it is shown now and then; the longer nothing happens, the seldomer."""
    del before
    if after.graph.steps and after.mode is not Mode.LEAD:
        _put(turn, after.group_id, replace(_comparing(turn, after.group_id), changed=turn.now))
        turn.due(Duty.DIGEST, after.group_id, turn.now + _pause(turn, after) + _turn(turn, after))


def _pause(turn: Turn, strand: Strand) -> int:
    """How long it takes until branches are shown again."""
    quiet = turn.now - (_comparing(turn, strand.group_id).changed or turn.now)
    return max(turn.state.config.digest_every, min(quiet // 8, DAY))


def _turn(turn: Turn, strand: Strand) -> int:
    return turn.state.config.turn_taking * min(place(turn, strand), 30)


def show_soon(turn: Turn, group_id: GroupId) -> None:
    """Others came whom we did not see: show what is not decided, whoever showed it last."""
    _put(turn, group_id, replace(_comparing(turn, group_id), shown=0))
    turn.due(Duty.DIGEST, group_id, turn.now + turn.state.config.quiet)


def compare(turn: Turn, subject: bytes) -> None:
    """Duty DIGEST."""
    group_id, config = GroupId(subject), turn.state.config
    strand = turn.state.strands.find(group_id)
    if strand is None or strand.mode is Mode.LEAD:
        return
    if not strand.graph.steps and strand.membership is not Membership.LOST:  # who is lost may be behind what is final
        return
    pause = _pause(turn, strand)
    turn.later(Duty.DIGEST, group_id, turn.now + pause + _turn(turn, strand))
    comparing = _comparing(turn, group_id)
    if not turn.state.clock.online or turn.now - comparing.shown < pause // 2:
        return
    digest = Digest(
        final=strand.final,
        head=strand.head,
        steps=headers(strand),
        ballots=votes(strand, part=turn.now // config.digest_every),
        at=turn.now,
    )
    acting.publish_wide(turn, strand, strand.head, digest, life=config.digest_every * 6)
    _put(turn, group_id, replace(comparing, shown=turn.now))
    want(turn, strand)
    desync.behind(turn, strand)


def on_digest(turn: Turn, group_id: GroupId, payload: Digest, frame: FrameId) -> None:
    """What somebody knows of branches."""
    waiting.done(turn, frame)
    strand = turn.strand(group_id)
    if strand.mode is Mode.LEAD:
        return
    learn(turn, group_id, payload.steps, payload.ballots)
    desync.doubted(turn, strand, payload)
    partitions.shown(turn, strand, payload)
    strand = turn.strand(group_id)
    want(turn, strand)
    desync.shown(turn, strand)
    config, comparing = turn.state.config, _comparing(turn, group_id)
    if _lacks(strand, payload):
        if turn.now - comparing.replied >= config.ask_again:
            _put(turn, group_id, replace(comparing, replied=turn.now, shown=0))
            turn.due(Duty.DIGEST, group_id, turn.now + ANSWER_STEP * (1 + place(turn, strand, payload.head)))
    elif (payload.head, payload.final) == (strand.head, strand.final):
        _put(turn, group_id, replace(comparing, shown=turn.now))
    _prove(turn, strand, payload.final)


def _prove(turn: Turn, strand: Strand, final: EpochId) -> None:
    """Somebody does not know yet that more than this is final: show what makes it so."""
    topic = turn.came_by or strand.trunk
    if topic is None or strand.graph.has(final):
        return
    owed: list[Owed] = []
    at: EpochId | None = final
    while at is not None and len(owed) < PROOFS_AT_ONCE:
        found = next(
            (proof for proof in strand.proofs.values() if at == proof.anchor.epoch or _passes(proof, at)), None
        )
        if found is None:
            break
        owed.append(Owed(at=0, topic=topic, proof=found.anchor.epoch))
        at = found.steps[-1].step.epoch if found.steps else None
    _promise(turn, strand, owed)


def _passes(proof: Lineage, epoch: EpochId) -> bool:
    return any(each.step.epoch == epoch for each in proof.steps[:-1])


def _lacks(strand: Strand, digest: Digest) -> bool:
    """Whether we could show something to who sent that."""
    graph = strand.graph
    if not graph.has(digest.final):
        return strand.entered(digest.final) and bool(graph.steps)
    theirs = {each.step.epoch: each.step for each in digest.steps}
    if any(theirs.get(epoch) not in (None, step) and strand.entered(epoch) for epoch, step in graph.steps.items()):
        return True  # somebody made up what they know of it
    if len(digest.steps) < MAX_STEPS and any(
        epoch not in theirs and graph.is_ancestor(digest.final, epoch) and epoch != digest.final
        for epoch in graph.steps
    ):
        return True
    if len(digest.ballots) >= MAX_BALLOTS:
        return False
    heard = {voting.name_of(each) for each in digest.ballots}
    return any(
        name not in heard and graph.is_ancestor(digest.final, said.ballot.parent) for name, said in strand.votes.items()
    )


def missing(strand: Strand) -> tuple[EpochId, ...]:
    """Epochs that this device knows of and could follow into if it had the commits, those on the head's path first."""
    graph = strand.graph
    path = graph.path(strand.head) if graph.has(strand.head) else ()
    leading = set(path)
    rest = sorted(epoch for epoch in graph.steps if epoch not in leading)
    found = []
    for epoch in (*path, *rest):
        parent = strand.kept.find(graph.steps[epoch].parent)
        if parent is None or parent.settled or parent.group.ended is not None:
            continue
        if not strand.went_past(epoch):
            found.append(epoch)
    return tuple(found)


def want(turn: Turn, strand: Strand) -> None:
    """Ask for commits that are known by their headers only."""
    config, comparing = turn.state.config, _comparing(turn, strand.group_id)
    wanted = missing(strand)
    if len(wanted) > MAX_WANTS // 2:
        wanted = tuple(crowd.urgent(strand, wanted)[: MAX_WANTS // 2])
    if not wanted or turn.now - comparing.wanted < config.ask_again:
        return
    _put(turn, strand.group_id, replace(comparing, wanted=turn.now))
    parent = strand.graph.steps[wanted[0]].parent
    acting.publish_wide(turn, strand, parent, Want(epochs=wanted, at=turn.now), life=config.ask_again * 5)


# ---------------------------------------------------------------- answering


def on_want(turn: Turn, group_id: GroupId, payload: Want, frame: FrameId) -> None:
    """What somebody misses."""
    waiting.done(turn, frame)
    strand = turn.strand(group_id)
    topic = turn.came_by or strand.trunk
    if topic is None:
        return
    owed = [Owed(at=0, topic=topic, epoch=each) for each in payload.epochs if _can_give(strand, each)]
    owed = owed[:OWED_AT_ONCE]
    wished = [EpochId(each) for each in payload.proposals[:OWED_AT_ONCE]]
    owed += [Owed(at=0, topic=topic, proposals=each) for each in wished if each in strand.proposals]
    if payload.plea is not None and desync.heard(turn, strand, payload.plea):
        owed.append(Owed(at=0, topic=topic, plea=payload.plea))
    _promise(turn, strand, owed)


def _promise(turn: Turn, strand: Strand, owed: Sequence[Owed]) -> None:
    """To give it when it is our turn, unless somebody did so recently."""
    group_id = strand.group_id
    comparing = _comparing(turn, group_id)
    answered = dict(comparing.answered)
    promised = {_name(each): each for each in comparing.owed}
    for each in owed:
        name = _name(each)
        recently = answered.get(name)
        if recently is not None and turn.now - recently < turn.state.config.ask_again // 2:
            continue
        if name in promised or len(promised) >= MAX_OWED:
            continue
        at = turn.now + ANSWER_STEP * place(turn, strand, name)
        promised[name] = replace(each, at=at)
        turn.due(Duty.ANSWER, group_id, at)
    _put(turn, group_id, replace(comparing, owed=tuple(promised.values())))


def _can_give(strand: Strand, epoch: EpochId) -> bool:
    return epoch in strand.bodies and epoch in strand.signed


def seen(turn: Turn, group_id: GroupId, name: bytes) -> None:
    """Something was given out, by us or by others: nobody needs to do it again soon."""
    comparing = _comparing(turn, group_id)
    if comparing.owed or any(each == name for each, _ in comparing.answered):
        _given(turn, group_id, name)


def _given(turn: Turn, group_id: GroupId, name: bytes) -> None:
    comparing = _comparing(turn, group_id)
    rest = tuple(each for each in comparing.answered if each[0] != name)[-MAX_ANSWERED + 1 :]
    owed = tuple(each for each in comparing.owed if _name(each) != name)
    _put(turn, group_id, replace(comparing, answered=(*rest, (name, turn.now)), owed=owed))


def answer(turn: Turn, subject: bytes) -> None:
    """Duty ANSWER."""
    group_id = GroupId(subject)
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    life = turn.state.config.ask_again * 10
    for each in _comparing(turn, group_id).owed:
        if each.at > turn.now:
            turn.due(Duty.ANSWER, group_id, each.at)
            continue
        _give(turn, turn.strand(group_id), each, life)
        _given(turn, group_id, _name(each))


def _name(owed: Owed) -> bytes:
    """By which members know that it is the same answer."""
    if owed.epoch is not None:
        return owed.epoch
    if owed.proposals is not None:
        return b"proposals" + owed.proposals
    if owed.proof is not None:
        return b"proof" + owed.proof
    return b"" if owed.plea is None else owed.plea.key


def _give(turn: Turn, strand: Strand, owed: Owed, life: int) -> None:
    if owed.epoch is not None:
        body, said = strand.bodies.find(owed.epoch), strand.signed.find(owed.epoch)
        if body is not None and said is not None and said.signature:
            turn.publish(owed.topic, Commit(signed=said, message=body), life=life)
        elif body is not None and said is not None:  # an ordinary client's: who follows it makes the header (`lead`)
            turn.publish(owed.topic, Post(epoch=said.step.parent, message=body), life=life)
    elif owed.proposals is not None:
        for message in strand.proposals.find(owed.proposals) or ():
            turn.publish(owed.topic, Post(epoch=owed.proposals, message=message), life=life)
    elif owed.proof is not None:
        proof = strand.proofs.find(owed.proof)
        if proof is not None:
            turn.publish(owed.topic, proof, life=life)
    elif owed.plea is not None:
        door = desync.opened(turn, strand, owed.plea)
        if door is not None:
            turn.publish(owed.topic, door, life=life)
