"""How somebody who comes in learns what a Welcome does not say: how the epoch came about, and who everybody is.

Members are known by incarnations, which follow from the epochs in which they came in; a newcomer cannot compute those.
So whoever adds it sends a *lineage* with the Welcome: the last final epoch with its members, and the headers of all
that was done since. The newcomer goes through them, and holds the members that come of it against the tree that the
Welcome leads to: they have to be the same accounts at the same leaves. For the rest it believes whoever invites it, as
it has to do for the group itself. Votes that come with a lineage are checked like any others.

That the inviter is whoever it seems to be, a newcomer sees by the header, and by the one key of the inviter's that it
knows from elsewhere than the lineage: that of its leaf in the new epoch. Where the same commit gives that leaf another
key, as when the account has just shut out a device, others check the header by the key before. So it comes twice then:
signed with the new key, and at the end of the lineage as others have it and the newcomer may have to show it.

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
from vcd.core.policy import Mode, of_group, permits
from vcd.core.record import decode, encode
from vcd.core.retention import rebased
from vcd.core.strand import Kept, Strand, at_rest, corrected, counts, doubtful, parted, with_step
from vcd.core.topics import TopicSecret, topic_of
from vcd.core.wanting import MAX_GREETING

if TYPE_CHECKING:
    from mls.commit import Committed
    from vcd.core.accounts.card import Card
    from vcd.core.turn import Turn


MAX_MOVED = 4096
"""Headers that are looked at anew for one Welcome, as they stand on others than those that it came with."""


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
    lineage = summaries.lineage(before, MAX_STEPS - 1)
    if any(who == said.step.author for who, _ in said.step.keys):
        lineage = replace(lineage, steps=(*lineage.steps, said))
        said = steps.signed(commit.group.suite, commit.group.signature_key, said.step)
    told = Introduction(signed=said, lineage=lineage, greeting=greeting)
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
    if step.epoch != group.epoch_id or any(each.step.epoch == step.epoch and each.step != step for each in found.steps):
        raise Refused("invite-epoch")
    return told


def inviter(group: Group, told: Introduction) -> AccountId:
    """Whose the commit was that let us in; its author's leaf has signed the header, with the key that we see there."""
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
        cipher_suite=int(group.suite.cipher_suite),
        graph=graph,
        standing=standing(Graph(anchor=graph.anchor), Ballots(), frozenset()),
        kept=PMap({epoch: Kept(group=group, topic=topic_of(group))}),
        past=PMap({each: number for number, each in enumerate(way, start=1)}),
        signed=PMap({each.step.epoch: each for each in said}),
        trunk=TopicSecret(told.lineage.topic) if told.lineage.topic else None,
    )


def lost(strand: Strand, group: Group, told: Introduction) -> bool:
    """Whether nothing can come of a Welcome, as it leads beside what is final here, or before that and out again.

    Who makes one like that has not heard of it yet. What is final for them beyond ours cannot be judged. Where somebody
    leads it must not lead to before what is known here either: what was decided since is not said again, so who began
    there would never get any further.
    """
    graph, _ = summaries.rebuilt(group, told.lineage, (told.signed,))
    if graph.anchor.number >= strand.graph.number(strand.final) or graph.is_ancestor(strand.final, _epoch(group)):
        return False
    me = steps.at_leaf(graph.members(_epoch(group)), group.own_leaf)
    if me is None or all(each.incarnation != me.incarnation for each in strand.graph.members(strand.final)):
        return True
    return strand.mode is Mode.LEAD and not strand.graph.has(_epoch(group))


def ahead(strand: Strand, after: Strand, group: Group) -> EpochId | None:
    """The commit that this device has to follow before it comes in by a Welcome, as it would stand `after` that.

    None if there is none, or it did. Who keeps an epoch on the way there can see what was done on it, or it could be
    taken out by a commit that all refuse, and be brought in by the same one, or by the next. Whether the policy allows
    that shows in the headers, which were checked by then, and in the context that the Welcome leads to: most often the
    commit itself is not needed, which who was away for long does not get any more.
    """
    way = [*after.graph.up(_epoch(group))]
    near = next((at for at, epoch in enumerate(way) if strand.entered(epoch)), 0)
    kept = strand.kept.find(way[near])
    if near == 0 or kept is None or kept.settled or kept.group.ended is not None:
        return None
    first = way[near - 1]
    return None if first in counts(strand) or permits(kept.group, group, after.graph, way[:near]) else first


def entered(strand: Strand, group: Group, told: Introduction) -> Strand | None:
    """The same strand with one more epoch that we came in by, of another branch; None if it hangs on nothing here.

    Of what led there only headers are taken that could come by themselves: signed by members that we know, with the
    keys that they have here. Votes are counted by these keys, so who brings us in may give nobody else another one, but
    in the epoch itself, where the tree has to agree.
    """
    epoch = _epoch(group)
    new, several = summaries.rebuilt(group, told.lineage, (told.signed,))
    way, room = {*new.path(epoch)}, MAX_MOVED
    after = _told_topic(strand, group, told)
    for said in several:  # of two under one name the one that leads there
        step = said.step
        known = after.graph.has(step.epoch)
        if (
            step.epoch not in way
            or (known and not doubtful(after, step.epoch))
            or step == after.graph.steps.find(step.epoch)
        ):
            continue
        line = after.graph.standing_on(step.epoch) if known else ()
        base = after.graph.without(frozenset(line)) if known else after.graph
        room -= len(line)
        if room < 0:
            return None
        if not base.has(step.parent):
            continue
        steps.check_shape(base, step)
        if not _is_of_member(after, group, said):
            return None
        after = corrected(after, said) if known else with_step(after, said)
    if not after.graph.has(epoch):
        return None
    steps.check_roster(after.graph.members(epoch), group)
    unknown = [each for each in after.graph.path(epoch)[:-1] if not after.entered(each)]
    start = max([0, *after.past.values()]) + 1
    past = after.past.update({each: number for number, each in enumerate(unknown, start=start)})
    kept = after.kept.set(epoch, Kept(group=group, topic=topic_of(group)))
    return replace(after, kept=kept, past=past.discard(epoch))  # who followed the commit that took us out was not in it


def _is_of_member(strand: Strand, group: Group, said: SignedStep) -> bool:
    step = said.step
    author = next((each for each in strand.graph.members(step.parent) if each.incarnation == step.author), None)
    if author is None or (step.epoch != _epoch(group) and any(who != step.author for who, _ in step.keys)):
        return False
    return steps.is_signed(group.suite, author.key, said)


def _told_topic(strand: Strand, group: Group, told: Introduction) -> Strand:
    """With the topic of the epoch that is final for whoever brings us in, if we were not in that one.

    Who was removed by it cannot know it otherwise, and there it is said and decided what becomes of the way back in.
    """
    start = told.lineage.anchor.epoch
    if len(told.lineage.topic) != 32 or not strand.graph.has(start):
        return strand
    if steps.whose(group.own_leaf_node) in {each.account for each in strand.graph.members(start)}:
        return strand
    topic = TopicSecret(told.lineage.topic)
    return (
        replace(strand, trunk=topic) if start == strand.final else replace(strand, laid=strand.laid.set(start, topic))
    )


def anew(strand: Strand, group: Group, told: Introduction, *, believed: bool) -> Strand | None:
    """The same strand where we lost the group, or were lost: like a newcomer's, and what was kept reads on.

    Where what was told begins with an epoch that we know, the other branches since stay known: one of them may be final
    for the others, and what was followed once is not learned anew. What hangs on nothing here may be another group of
    that id: it is taken only of whom is `believed`.
    """
    new = begun(group, told)
    own = steps.whose(group.own_leaf_node)
    known = _from(strand, new, own)
    found = None if known is None else entered(known, group, told)
    if found is not None or not believed:
        return found
    before = parted(strand, new.graph, own)
    number = max([0, *before.values()])
    past = {each: number + at for at, each in enumerate(sorted(new.past), start=1) if not strand.entered(each)}
    resting = strand
    for epoch in sorted(strand.kept):
        resting = at_rest(resting, epoch)
    return replace(
        new,
        kept=resting.kept.update(dict(new.kept.items())),
        past=before.update(past),
    )


def believes(strand: Strand, by: AccountId) -> bool:
    """Whether we let somebody lead us to where we know nothing of: a member, as far as we know for good."""
    return any(each.account == by for each in strand.graph.members(strand.final))


def _from(strand: Strand, new: Strand, own: AccountId) -> Strand | None:
    """What is known of a group since the epoch that is final for whoever brings us in; None if that is not known.

    If more is final here than for them, it is what is known here: what is final stays so. Else, where somebody leads
    there is one branch that counts, and a Welcome into it comes when that is decided.
    """
    graph, anchor = strand.graph, new.graph.anchor
    if _is_behind(strand, new):
        return strand
    if strand.mode is Mode.LEAD or not graph.has(anchor.epoch) or graph.members(anchor.epoch) != anchor.members:
        return None
    if anchor.epoch == graph.anchor.epoch:
        return strand
    since = rebased(replace(strand, standing=replace(strand.standing, final=anchor.epoch)), own)
    stands = since.standing if since.graph.has(since.head) else new.standing
    return replace(since, standing=stands, proofs=strand.proofs, trunk=new.trunk or since.trunk)


def _is_behind(strand: Strand, new: Strand) -> bool:
    """Whether who brings us in did not know of all that is final here, and leads to before that, or past it."""
    graph, told, final = strand.graph, new.graph, strand.final
    if final == told.anchor.epoch:
        return False
    for epoch in new.kept:
        if graph.is_ancestor(epoch, final):
            return graph.members(epoch) == told.members(epoch)
        if told.is_ancestor(final, epoch):
            return graph.members(final) == told.members(final)
    return False
