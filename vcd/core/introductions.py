"""How somebody who comes in learns what a Welcome does not say: how the epoch came about, and who everybody is.

Members are known by incarnations, which follow from the epochs in which they came in; a newcomer cannot compute those.
So whoever adds it sends a *lineage* with the Welcome: the last final epoch with its members, and the headers of all
that was done since. The newcomer goes through them, and holds the members that come of it against the tree that the
Welcome leads to: they have to be the same accounts at the same leaves. For the rest it believes whoever invites it, as
it has to do for the group itself. Votes that come with a lineage are checked like any others.

A lineage travels beside the Welcome, sealed for the topic of the new epoch. So only members can read it, and what lies
in somebody's inbox, where all its contacts read, says neither who invites nor into what.

Of the epochs between the final one and its own, a newcomer knows the headers and never had a key (`Strand.past`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.persistent import PMap
from mls.registries import LeafIndex
from mls.state import Group
from vcd.core import lead, steps, summaries, topics
from vcd.core.errors import Malformed, Refused
from vcd.core.names import AccountId, EpochId
from vcd.core.ordering.choice import standing
from vcd.core.ordering.graph import Graph
from vcd.core.ordering.votes import Ballots
from vcd.core.payloads import MAX_BALLOTS, MAX_STEPS, Introduction, Invite, SignedStep
from vcd.core.policy import of_group
from vcd.core.record import decode, encode
from vcd.core.strand import Kept, Strand, at_rest, with_step
from vcd.core.topics import TopicSecret, topic_of

if TYPE_CHECKING:
    from mls.commit import Committed
    from vcd.core.accounts.card import Card
    from vcd.core.turn import Turn


# ---------------------------------------------------------------- for others


def send(
    turn: Turn,
    before: Strand,
    said: SignedStep,
    commit: Committed,
    card: Card,
    greeting: str,
    reply: TopicSecret,
) -> None:
    """A Welcome for the holder of a card, with what goes with it. `before` is the strand as the commit found it."""
    if commit.welcome is None:
        return
    told = Introduction(signed=said, lineage=summaries.lineage(before), greeting=greeting)
    keys = topics.keys_of(turn.topic_suite, topic_of(commit.group))
    sealed = topics.seal(turn.topic_suite, keys, encode(told))
    lead.welcome(turn, before, said.step.epoch, card.inbox, Invite(welcome=commit.welcome, sealed=sealed, reply=reply))


# ---------------------------------------------------------------- for ourselves


def opened(turn: Turn, group: Group, payload: Invite) -> Introduction:
    """What came with a Welcome, after it was seen that it belongs to the group that the Welcome led to."""
    keys = topics.keys_of(turn.topic_suite, topic_of(group))
    told = decode(Introduction, topics.open_sealed(turn.topic_suite, keys, payload.sealed))
    step, found = told.signed.step, told.lineage
    if len(found.steps) > MAX_STEPS or len(found.ballots) > MAX_BALLOTS or len(told.greeting) > MAX_GREETING:
        raise Malformed("too much at once")
    if step.epoch != group.epoch_id:
        raise Refused("invite-epoch")
    return told


MAX_GREETING = 1024


def inviter(group: Group, told: Introduction) -> AccountId:
    """Whose the commit was that let us in; its author's leaf has signed the header."""
    graph, _ = summaries.rebuilt(group, told.lineage, (told.signed,))
    members = graph.members(_epoch(group))
    author = next((each for each in members if each.incarnation == told.signed.step.author), None)
    node = None if author is None else group.public.tree.leaf(LeafIndex(author.leaf))
    if author is None or node is None:
        raise Refused("invite-author")
    steps.check_signature(group.suite, node.signature_key, told.signed)
    return author.account


def _epoch(group: Group) -> EpochId:
    return EpochId(group.epoch_id)


def begun(group: Group, told: Introduction) -> Strand:
    """A strand of a group that we came into, with all that was told of it.

    It stands at the final epoch at first; that it stands on our own is found as for any other strand, and told to all.
    """
    graph, said = summaries.rebuilt(group, told.lineage, (told.signed,))
    epoch = _epoch(group)
    way = (graph.anchor.epoch, *graph.path(epoch)[:-1])
    return Strand(
        group_id=group.group_id,
        home=False,
        mode=of_group(group).mode,
        graph=graph,
        standing=standing(Graph(anchor=graph.anchor), Ballots(), frozenset()),
        kept=PMap({epoch: Kept(group=group, topic=topic_of(group))}),
        past=PMap({each: number for number, each in enumerate(way, start=1)}),
        signed=PMap({each.step.epoch: each for each in said}),
        trunk=TopicSecret(told.lineage.topic) if told.lineage.topic else None,
    )


def entered(strand: Strand, group: Group, told: Introduction) -> Strand | None:
    """The same strand with one more epoch that we came in by, of another branch; None if it hangs on nothing here."""
    epoch = _epoch(group)
    after = strand
    for said in (*told.lineage.steps, told.signed):
        if after.graph.has(said.step.parent) and not after.graph.has(said.step.epoch):
            steps.check_shape(after.graph, said.step)
            after = with_step(after, said)
    if not after.graph.has(epoch):
        return None
    steps.check_roster(after.graph.members(epoch), group)
    way = [each for each in after.graph.path(epoch)[:-1] if not after.entered(each)]
    start = max([0, *after.past.values()]) + 1
    past = after.past.update({each: number for number, each in enumerate(way, start=start)})
    kept = after.kept.set(epoch, Kept(group=group, topic=topic_of(group)))
    return replace(after, kept=kept, past=past)


def anew(strand: Strand, group: Group, told: Introduction) -> Strand:
    """The same strand where we lost the group, or were lost: like a newcomer's, and what was kept reads on."""
    new = begun(group, told)
    number = max([0, *strand.past.values()])
    past = {each: number + at for at, each in enumerate(sorted(new.past), start=1) if not strand.entered(each)}
    resting = strand
    for epoch in sorted(strand.kept):
        resting = at_rest(resting, epoch)
    return replace(
        new,
        kept=resting.kept.update(dict(new.kept.items())),
        past=strand.past.update(past),
    )
