"""Doing something in a group: a commit on the head is made, entered into the graph, and sent.

A commit of ours is adopted at once, as one child more of the epoch that it ends. Whether it becomes the head is for the
ordering to say, by the same rule as for everybody's commits. Nothing has to be undone if it does not: its epoch is left
like any other, and whoever wanted it (`intents`) makes another one.

A commit travels in the topic of the epoch that it ends, where all who could follow it listen, and in that of the last
final one, where those listen who are on other branches since somebody came or went.
"""

from __future__ import annotations

from collections.abc import Sequence

from mls.commit import KEEP, NewLeaf
from mls.leaf_node import Extensions
from mls.proposals import Proposal, Remove
from mls.state import Group
from vcd.core import keys, listing, ranks, steps
from vcd.core.errors import Refused
from vcd.core.names import EpochId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Payload, Post, SignedStep
from vcd.core.policy import check
from vcd.core.reign import full
from vcd.core.strand import Kept, Strand, futile, with_child
from vcd.core.topics import TopicSecret, topic_of
from vcd.core.turn import Turn


def commit(
    turn: Turn,
    strand: Strand,
    *,
    proposals: Sequence[Proposal] = (),
    force_path: bool = False,
    leaf: NewLeaf = KEEP,
    derive: bool = False,
    encrypt: bool | None = None,
    group_info_extensions: Extensions = (),
    decided: bool = False,
) -> tuple[SignedStep, keys.Made]:
    """Commit on the head of a strand, and send it. The strand that was given is old afterwards.

    `decided`: that is what we choose next, as the one who leads.
    """
    from vcd.core import leaves, summaries

    if summaries.provisional(strand):  # a header would name us by another name than the others know
        raise Refused("lineage-unknown", "what led here was not told yet")
    if not decided and full(strand, turn.state.config.max_kept):
        raise Refused("commits-wait", "as many wait for the lead as there is room for")
    if not strand.home and _futile(strand, proposals):
        raise Refused("commit-void", "we were removed beside the head")
    if force_path and leaf is KEEP and not strand.home and strand.here is not None:
        leaf = leaves.shown(turn, strand.here.group)  # a newer list of our devices, if there is one to show
    made = keys.make(
        turn,
        strand,
        proposals=proposals,
        force_path=force_path,
        leaf=leaf,
        derive=derive,
        encrypt=encrypt,
        group_info_extensions=group_info_extensions,
    )
    return adopt(turn, turn.strand(strand.group_id), made), made


def _futile(strand: Strand, proposals: Sequence[Proposal]) -> bool:
    own, members = ranks.own(strand), strand.graph.members(strand.head)
    leaves = [int(each.removed) for each in proposals if isinstance(each, Remove)]
    removes = [each.incarnation for each in members if each.leaf in leaves]
    return own is not None and futile(strand, own.incarnation, removes)


def adopt(turn: Turn, strand: Strand, made: keys.Made) -> SignedStep:
    """Enter a commit of ours into the graph, and send it."""
    committed = made.commit
    before, child = committed.before, committed.group
    parent = strand.kept[EpochId(before.epoch_id)]
    step = steps.step_of(
        strand.graph,
        before,
        child,
        committed.plan,
        before.own_leaf,
        confirmation_tag=child.public.confirmation_tag,
    )
    check(before, strand.graph.members(step.parent), step, committed.plan)
    if strand.home:
        listing.check(before, child.public.context.dictionary, child.public.tree, turn.provider)
    said = steps.signed(before.suite, before.signature_key, step)
    kept = Kept(group=child, topic=topic_after(parent.topic, step, child), newest=made.newest)
    turn.put(with_child(strand, said, committed.message, before, kept, turn.awake), graph=True)
    _send_proposals(turn, strand, before)
    publish_wide(turn, strand, step.parent, Commit(signed=said, message=committed.message))
    from vcd.core import contacts, upkeep

    if not strand.home:
        contacts.brought(turn, committed.plan, child, child.own_leaf)
    upkeep.followed(turn, strand.group_id, step, ours=True)
    return said


def topic_after(topic: TopicSecret, step: Step, child: Group) -> TopicSecret:
    """The topic of the epoch that a commit begins: another one if somebody came or went."""
    return topic_of(child) if step.adds or step.removes or step.moved else topic


def _send_proposals(turn: Turn, strand: Strand, before: Group) -> None:
    """Those that a commit of ours takes up, to where nobody but it was heard of."""
    epoch = EpochId(before.epoch_id)
    if strand.home or strand.trunk is None or strand.trunk.raw == strand.kept[epoch].topic.raw:
        return
    if any(not each.shelved for each in before.proposals.values()):
        for message in strand.proposals.find(epoch) or ():
            turn.publish(strand.trunk, Post(epoch=epoch, message=message))


def publish_wide(turn: Turn, strand: Strand, epoch: EpochId, payload: Payload, *, life: int | None = None) -> None:
    """In the topics of an epoch and of the last final one."""
    for secret in wide(strand, epoch):
        turn.publish(secret, payload, life=life)


def wide(strand: Strand, epoch: EpochId) -> tuple[TopicSecret, ...]:
    """The topics of an epoch and of the last final one."""
    wanted: dict[bytes, TopicSecret] = {}
    kept = strand.kept.find(epoch)
    for each in (None if kept is None else kept.topic, strand.trunk):
        if each is not None:
            wanted[each.raw] = each
    return tuple(wanted.values())
