"""A strand: all that a device holds of one group, on all its branches, as a value.

Of the graph it knows headers: which epochs there are, who made them, what they did. Of some epochs it also has the
value (`Kept`): those that it can still read in, and follow commits on. They are in one of these stages:

    head        where the group stands: what is said and done now is said and done there
    left        a commit on it was followed, or a rival won: rivals' commits are still followed, late messages read
    settled     a final epoch stands on it or beside it: late messages are read, and no commit is taken any more
    dropped     its window is over: no key is left, its name stays in `past` so that it is never entered again

`standing` is what the ordering says of the graph: the last final epoch, the head, what is void. It changes only by
`stood`, and whoever changed something of the graph calls that (`flow.settle` does, for every strand that a step
touched). A head that is not among `kept`, or settled there, means that this device cannot follow: see `desync`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mls.fork.retention import left, settled
from mls.persistent import PMap
from mls.state import Group
from vcd.core.names import AccountId, EpochId, GroupId, Incarnation
from vcd.core.ordering.choice import Standing, counted, gone, standing, struck
from vcd.core.ordering.graph import Anchor, Graph, Step
from vcd.core.ordering.votes import Ballots
from vcd.core.payloads import Lineage, SignedBallot, SignedStep
from vcd.core.policy import Mode
from vcd.core.topics import TopicSecret
from vcd.core.values import replace

MAX_PAST = 4096


class Membership(enum.Enum):
    """Whether we are in the group."""

    IN = 1
    OUT = 2  # removed, or left
    LOST = 3  # a member that cannot follow


NEVER = 0
"""See `Strand.past`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The value of an epoch."""

    group: Group
    topic: TopicSecret
    newest: bytes = b""
    """In the home: the newest derivation epoch of the branch."""
    left_at: int | None = None
    """When it was left, in milliseconds awake."""
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Strand:
    """See above."""

    group_id: GroupId
    home: bool
    mode: Mode
    cipher_suite: int
    graph: Graph
    standing: Standing
    kept: PMap[EpochId, Kept]
    past: PMap[EpochId, int] = field(default_factory=PMap)
    """Epochs that were entered and dropped, numbered in order; the oldest are forgotten. `NEVER` have those that are
    not in the graph any more, and in which our account was not: by these it came in, or was out for a while."""
    ballots: Ballots = field(default_factory=Ballots)
    signed: PMap[EpochId, SignedStep] = field(default_factory=PMap)
    """The headers of the graph's steps as their authors signed them, for those who cannot follow."""
    votes: PMap[bytes, SignedBallot] = field(default_factory=PMap)
    """By a hash, with their signatures, for those who did not hear them."""
    bodies: PMap[EpochId, bytes] = field(default_factory=PMap)
    """Commits, by the epochs that they begin, for those who missed them; as long as the parent is kept."""
    proposals: PMap[EpochId, tuple[bytes, ...]] = field(default_factory=PMap)
    """Messages with proposals, by the epoch that they were made in, for those who missed them; as long as a commit on
    that epoch is taken."""
    trunk: TopicSecret | None = None
    """The topic of the last final epoch, which outlives its value: there all branches hear of each other."""
    laid: PMap[EpochId, TopicSecret] = field(default_factory=PMap)
    """The topics of epochs in the graph that were dropped: one of them may become final."""
    proofs: PMap[EpochId, Lineage] = field(default_factory=PMap)
    """What made epochs final: the way there and the votes for it, by the last final epoch before. The oldest are given
    up. Who missed some of it could never become final, as nobody else has anything to decide any more."""
    membership: Membership = Membership.IN

    @property
    def head(self) -> EpochId:
        return self.standing.head

    @property
    def final(self) -> EpochId:
        return self.standing.final

    @property
    def here(self) -> Kept | None:
        """The value of the head, if this device has it; not one that was settled before the head came back to it."""
        found = self.kept.find(self.standing.head)
        return None if found is None or found.settled else found

    @property
    def over(self) -> bool:
        """Whether we are out for good. What others do from then on is not ours to know; a Welcome begins it anew.

        Not if there is a branch since then that we were brought in on: it may still win.
        """
        out = self.membership is Membership.OUT and self.head == self.final
        return out and not any(self.graph.has(epoch) for epoch in self.kept)

    def entered(self, epoch: EpochId) -> bool:
        """Whether this device is or was in that epoch."""
        return epoch in self.kept or epoch in self.past

    def was_in(self, epoch: EpochId) -> bool:
        """The same, without those that we only know of: by what led to ours, or as they took us out."""
        return epoch in self.kept or (epoch in self.past and (epoch in self.laid or not self.graph.has(epoch)))

    def went_past(self, epoch: EpochId) -> bool:
        """The same, or the head, which is here, stands on it: who came by another way needs nothing to enter it."""
        return self.entered(epoch) or (self.here is not None and self.graph.is_ancestor(epoch, self.head))

    def topic_secrets(self) -> Iterator[TopicSecret]:
        """Of all epochs that are kept, in no particular order, some of them several times."""
        for kept in self.kept.values():
            yield kept.topic
        if self.trunk is not None:
            yield self.trunk


def begun(group: Group, anchor: Anchor, topic: TopicSecret, mode: Mode, *, home: bool, newest: bytes = b"") -> Strand:
    """With one epoch, by which the group began or we came in."""
    graph = Graph(anchor)
    ballots = Ballots()
    epoch = EpochId(group.epoch_id)
    return Strand(
        group_id=group.group_id,
        home=home,
        mode=mode,
        cipher_suite=int(group.suite.cipher_suite),
        graph=graph,
        standing=standing(graph, ballots, frozenset({epoch})),
        kept=PMap({epoch: Kept(group=group, topic=topic, newest=newest)}),
        trunk=topic,
    )


def counts(strand: Strand) -> frozenset[EpochId]:
    """The steps that count, here and now (`choice.counted`)."""
    followed = frozenset([epoch for epoch in strand.graph.steps if strand.entered(epoch)])
    return counted(strand.graph, strand.ballots, followed)


def counting(strand: Strand) -> Graph:
    """The graph as votes are counted on it: with the orders of steps that count alone."""
    return strand.graph.dismissing(counts(strand)) if strand.graph.dismissed else strand.graph


def dead(strand: Strand) -> frozenset[EpochId]:
    """The steps whose keys are gone here, and perhaps everywhere (`choice.gone`)."""
    return gone(strand.graph, strand.ballots, strand.laid, strand.kept)


def futile(strand: Strand, author: Incarnation, removes: Sequence[Incarnation]) -> bool:
    """Whether a commit on the head would be void as it is made, as its author was removed beside the head.

    The group would stand where it stood, so nothing would keep the author from making it again and again.
    """
    if strand.mode is Mode.LEAD or all(author not in each.removes for each in strand.graph.steps.values()):
        return False
    step = Step(epoch=EpochId(b""), parent=strand.head, author=author, removes=tuple(removes), under=1 << 62)
    counting = counts(strand) | {step.epoch}
    return step.epoch in struck(strand.graph.with_step(step), strand.final, counting)


def stood(strand: Strand) -> Strand:
    """Where it stands, by what is known of the graph now."""
    now = standing(strand.graph, strand.ballots, counts(strand), dead(strand))
    return strand if now == strand.standing else replace(strand, standing=now)


def with_value(strand: Strand, epoch: EpochId, group: Group) -> Strand:
    """After something was used up within an epoch."""
    old = strand.kept[epoch]
    return replace(strand, kept=strand.kept.set(epoch, replace(old, group=group)))


def with_step(strand: Strand, said: SignedStep) -> Strand:
    """With a header in the graph; its value may come too (`with_child`)."""
    return replace(strand, graph=strand.graph.with_step(said.step), signed=strand.signed.set(said.step.epoch, said))


def doubtful(strand: Strand, epoch: EpochId) -> bool:
    """Whether the header that is known of an epoch may be made up, and another one is taken in its place.

    Nobody followed it here, or what stands on it, nor did a member vote for it who is there for sure.
    """
    graph, ballots = strand.graph, strand.ballots
    step = graph.steps.find(epoch)
    if step is None or any(strand.entered(each) for each in graph.standing_on(epoch)):
        return False
    voters = (ballots.voters.find(epoch) or frozenset()) - ballots.liars - {step.author}
    return all(each.incarnation not in voters for each in graph.anchor.members)


def corrected(strand: Strand, said: SignedStep) -> Strand:
    """With this header in the place of another one of its name.

    The votes for that go, and those for what stands on it: they were checked by keys that the other one may have said.
    Where it stood on what is gone with that, it stands on what is left below, until that is looked at anew (`stood`).
    """
    known, graph = strand.graph, strand.graph.corrected(said.step)
    gone = [step for epoch, step in known.steps.items() if not graph.has(epoch) or epoch == said.step.epoch]
    after = _unheard(strand, gone, [known.steps[each] for each in known.standing_on(said.step.epoch)])
    final, head = (
        at if graph.has(at) or not known.has(at) else next(each for each in known.up(at) if graph.has(each))
        for at in (strand.final, strand.head)
    )
    stands = replace(strand.standing, final=final, head=head)
    return replace(after, graph=graph, standing=stands, signed=after.signed.set(said.step.epoch, said))


def without_headers(strand: Strand, epochs: frozenset[EpochId]) -> Strand:
    """Without some headers that nothing stands on which this device followed, and the votes for them (`crowd`)."""
    after = _unheard(strand, [strand.graph.steps[each] for each in sorted(epochs)])
    return replace(after, graph=strand.graph.without(epochs))


def _unheard(strand: Strand, steps: Sequence[Step], voted: Sequence[Step] | None = None) -> Strand:
    """As if some headers had not come yet, nor votes for them (for those `voted` for); the graph has them still."""
    voted = steps if voted is None else voted
    ballots, epochs, children = (
        strand.ballots.without(voted),
        {each.epoch for each in steps},
        {each.epoch for each in voted},
    )
    votes = (
        []
        if ballots is strand.ballots
        else [name for name, each in strand.votes.items() if each.ballot.child in children]
    )
    return replace(
        strand,
        ballots=ballots,
        signed=strand.signed.changed([each for each in sorted(epochs) if each in strand.signed], {}),
        votes=strand.votes.changed(votes, {}),
        bodies=strand.bodies.changed([each for each in sorted(epochs) if each in strand.bodies], {}),
    )


def with_child(strand: Strand, said: SignedStep, body: bytes, before: Group, child: Kept | None, awake: int) -> Strand:
    """With a commit that was made or followed: the parent is left, the child begins.

    None where we are not in it: that epoch is over for us as it begins, and counts like any that was followed.
    """
    parent = strand.kept[said.step.parent]
    if strand.mode is Mode.LEAD and said.step.parent == strand.head:  # it stands there until that was decided on
        stays = replace(parent, group=before)
    else:
        stays = replace(parent, group=left(before), left_at=awake if parent.left_at is None else parent.left_at)
    kept = strand.kept.set(said.step.parent, stays)
    if child is not None:
        kept = kept.set(said.step.epoch, child)
    known = strand.graph.steps.find(said.step.epoch)
    after = strand if known is not None else with_step(strand, said)
    if known is not None and known != said.step and (child is not None or doubtful(strand, said.step.epoch)):
        after = corrected(strand, said)  # its header was a lie that somebody else signed
    if child is None:
        after = replace(after, past=_noted(after.past, said.step.epoch))
    return replace(after, kept=kept, bodies=after.bodies.set(said.step.epoch, body))


def _noted(past: PMap[EpochId, int], epoch: EpochId) -> PMap[EpochId, int]:
    past = past.set(epoch, max([0, *past.values()]) + 1)
    return past.discard(min(past.items(), key=lambda item: item[1])[0]) if len(past) > MAX_PAST else past


def parted(strand: Strand, graph: Graph, own: AccountId | None) -> PMap[EpochId, int]:
    """`past`, as another graph takes the place of this one, which alone knows who was in what that one has not."""
    known = strand.graph
    gone = [each for each in (known.anchor.epoch, *known.steps) if each in strand.past and not graph.has(each)]
    return strand.past.update({each: NEVER for each in gone if all(own != who.account for who in known.members(each))})


MAX_PROPOSALS = 64
"""Of one epoch that are kept to be given out again."""


def with_proposal(strand: Strand, epoch: EpochId, message: bytes) -> Strand:
    """With a message that has a proposal, of ours or of others, to be given to those who miss it."""
    several = strand.proposals.find(epoch) or ()
    if message in several or len(several) >= MAX_PROPOSALS:
        return strand
    return replace(strand, proposals=strand.proposals.set(epoch, (*several, message)))


def dropped(strand: Strand, epoch: EpochId) -> Strand:
    """Without the value of an epoch: its keys are gone, its name stays."""
    if epoch not in strand.kept:
        return strand
    past = _noted(strand.past, epoch)
    bodies = strand.bodies.changed([child for child in strand.graph.children(epoch) if child in strand.bodies], {})
    proposals = strand.proposals.discard(epoch)
    laid = strand.laid.set(epoch, strand.kept[epoch].topic) if strand.graph.has(epoch) else strand.laid
    return replace(strand, kept=strand.kept.discard(epoch), past=past, bodies=bodies, proposals=proposals, laid=laid)


def without_branch(strand: Strand, root: EpochId) -> Strand:
    """Without the values of an epoch that nobody else followed, and of what stands on it.

    Its header stays, and counts for nothing unless others vote for it.
    """
    graph = strand.graph
    gone = [epoch for epoch in sorted(strand.kept) if graph.is_ancestor(root, epoch)]
    bodies = [epoch for epoch in sorted(strand.bodies) if graph.is_ancestor(root, epoch)]
    return replace(strand, kept=strand.kept.changed(gone, {}), bodies=strand.bodies.changed(bodies, {}))


def deserted(strand: Strand) -> Strand:
    """A group in which only we were, and which we left: it stands where it stood, without members and without keys."""
    for epoch in sorted(strand.kept):
        strand = dropped(strand, epoch)
    head = strand.head
    graph = Graph(Anchor(epoch=head, number=strand.graph.number(head), members=(), tag=strand.graph.tag(head)))
    return replace(
        strand,
        graph=graph,
        standing=standing(graph, Ballots(), frozenset({head})),
        ballots=Ballots(),
        signed=PMap(),
        votes=PMap(),
        bodies=PMap(),
        proposals=PMap(),
        trunk=None,
        laid=PMap(),
        proofs=PMap(),
    )


def let_go(strand: Strand) -> Strand:
    """As if it had never been in the epochs to which nobody can be led any more, nor followed what was done there.

    Their headers stay, as above. What they struck may stand again, so it takes a reason.
    """
    return stood(
        replace(strand, past=strand.past.changed([each for each in sorted(dead(strand)) if each in strand.past], {}))
    )


def at_rest(strand: Strand, epoch: EpochId) -> Strand:
    """With an epoch settled: it reads late messages, and follows no commit any more."""
    old = strand.kept[epoch]
    if old.settled:
        return strand
    kept = strand.kept.set(epoch, replace(old, group=settled(old.group), settled=True))
    return replace(strand, kept=kept, proposals=strand.proposals.discard(epoch))
