"""What has to be done in every group now and then, by somebody: proposals committed, leaves renewed, the lost let go.

    proposals   whoever wants to leave, or gives itself a new leaf by a proposal, needs somebody else's commit. Members
                take turns, the most senior first (`ranks`)
    our leaf    gets fresh keys every `policy.update_every`, by whichever of our devices comes first; any commit of ours
                with a path counts. It gets them soon after we came in, as the KeyPackage's may be old, and as only who
                did something decides on what is final (`ordering.votes`)
    the stale   who gave itself no fresh leaf for `policy.stale_after` may be removed by whoever the policy lets remove.
                Every device goes by its own sight: that time counts only while it was awake and connected, so whoever
                was away does not take all others for lost. Who never votes keeps epochs from becoming final; this is
                how a group gets on without them

All of it is repeated as long as it is to be done: what loses is due again where the group then stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.proposals import Remove, Update
from mls.registries import LeafIndex, SenderType
from vcd.core import acting, ranks, steps
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.names import EpochId, GroupId
from vcd.core.ordering.graph import Member
from vcd.core.policy import DAY, MINUTE, Mode, Policy, Who, of_group, takes_up

if TYPE_CHECKING:
    from mls.group import ProposalMessage
    from mls.validation import Proposed
    from vcd.core.ordering.graph import Step
    from vcd.core.state import Talk
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_AT_ONCE = 16
"""Members that are removed by one commit for being stale."""


# ---------------------------------------------------------------- what happens in groups


def followed(turn: Turn, group_id: GroupId, step: Step, *, ours: bool) -> None:
    """A commit was followed, or made here."""
    talk = turn.state.talks.find(group_id)
    if talk is None:
        if ours:
            turn.later(Duty.UPDATE, group_id, _update_at(turn, group_id, turn.now))
        return
    fresh = {bytes(each): turn.awake for each in (step.author, *[who for who, _ in step.moved])}
    fresh |= {bytes(each.incarnation): turn.awake for each in step.adds}
    talk = replace(talk, fresh=talk.fresh.update(fresh))
    if ours:
        talk = replace(talk, updated_at=turn.now)
        turn.later(Duty.UPDATE, group_id, _update_at(turn, group_id, turn.now))
    turn.put_talk(talk)


def proposed(turn: Turn, group_id: GroupId, epoch: EpochId, event: ProposalMessage) -> None:
    """A proposal waits for a commit."""
    strand = turn.strand(group_id)
    if isinstance(event.proposal, Update) and event.sender.type == SenderType.MEMBER:
        author = steps.at_leaf(strand.graph.members(epoch), event.sender.index) if strand.graph.has(epoch) else None
        talk = turn.state.talks.find(group_id)
        if author is not None and talk is not None:
            turn.put_talk(replace(talk, fresh=talk.fresh.set(author.incarnation, turn.awake)))
    if strand.head == epoch:
        _plan_commit(turn, strand)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The group stands elsewhere."""
    if before.head != after.head:
        _plan_commit(turn, after)
    group_id = after.group_id
    talk = turn.state.talks.find(group_id)
    own = ranks.own(after)
    if own is not None and not own.acted and after.mode is not Mode.LEAD:  # there nobody votes
        turn.due(Duty.UPDATE, group_id, turn.now + _first(turn, after))
    if (Duty.UPDATE, group_id) not in turn.state.duties:
        since = talk.updated_at if talk is not None and talk.updated_at else turn.now
        turn.due(Duty.UPDATE, group_id, _update_at(turn, group_id, since))
    here = after.here
    if talk is not None and here is not None and (Duty.STALE, group_id) not in turn.state.duties:
        turn.due(Duty.STALE, group_id, turn.now + of_group(here.group).stale_after)


# ---------------------------------------------------------------- proposals


def _plan_commit(turn: Turn, strand: Strand) -> None:
    waiting, own = _waiting(strand), ranks.own(strand)
    if not waiting or own is None:
        turn.not_due(Duty.PROPOSED, strand.group_id)
        return
    asking = {int(each.sender.index) for each in waiting}
    others = [each for each in strand.graph.members(strand.head) if each.leaf not in asking]
    wait = ranks.turn_of(turn, ranks.place(others, own), home=strand.home)
    turn.due(Duty.PROPOSED, strand.group_id, turn.now + wait)


def _waiting(strand: Strand) -> list[Proposed]:
    """Proposals on the head that we may commit for their authors."""
    here = strand.here
    if here is None or here.group.ended is not None or not here.group.proposals:
        return []
    policy, members = of_group(here.group), strand.graph.members(strand.head)
    own = steps.at_leaf(members, here.group.own_leaf)
    return [
        each
        for each in here.group.proposals.values()
        if each.sender.index != here.group.own_leaf and takes_up(policy, members, own, each)
    ]


def commit_proposals(turn: Turn, subject: bytes) -> None:
    """Duty PROPOSED: nobody before us has committed what waits."""
    strand = turn.state.strands.find(GroupId(subject))
    if strand is None or not _waiting(strand):
        return
    _commit(turn, strand, Duty.PROPOSED)


def _commit(turn: Turn, strand: Strand, duty: Duty, proposals: Sequence[Remove] = ()) -> bool:
    """A commit for upkeep. What cannot be done now is tried again."""
    try:
        acting.commit(turn, strand, proposals=proposals, force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("upkeep", type(error).__name__)
        turn.later(duty, strand.group_id, turn.now + turn.state.config.retry_most)
        return False
    return True


# ---------------------------------------------------------------- our leaf


def _update_at(turn: Turn, group_id: GroupId, since: int) -> int:
    """When our leaf is to be renewed. Groups and devices do it at different times."""
    strand = turn.strand(group_id)
    here = strand.here
    every = Policy().update_every if here is None else of_group(here.group).update_every
    return since + every + ranks.spread(turn, group_id, every // 8)


def _first(turn: Turn, strand: Strand) -> int:
    """How long after we came in. Many may have come in at once."""
    new = sum(not each.acted for each in strand.graph.members(strand.head))
    return turn.state.config.digest_every // 4 + ranks.spread(turn, strand.group_id, new * _EACH)


_EACH = 2 * MINUTE
"""Newcomers renew their leaves so far apart, on average."""


def update(turn: Turn, subject: bytes) -> None:
    """Duty UPDATE: a fresh leaf."""
    group_id = GroupId(subject)
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    if ranks.own(strand) is None:
        turn.later(Duty.UPDATE, group_id, turn.now + DAY)
        return
    _commit(turn, strand, Duty.UPDATE)


# ---------------------------------------------------------------- who is lost


def evict(turn: Turn, subject: bytes) -> None:
    """Duty STALE: members who never give themselves a fresh leaf."""
    group_id = GroupId(subject)
    strand, talk = turn.state.strands.find(group_id), turn.state.talks.find(group_id)
    if strand is None or talk is None:
        return
    here, own = strand.here, ranks.own(strand)
    if here is None or here.group.ended is not None or own is None:
        turn.later(Duty.STALE, group_id, turn.now + DAY)
        return
    members = strand.graph.members(strand.head)
    talk = _seen(turn, talk, members)
    policy = of_group(here.group)
    times = {each.incarnation: talk.fresh[each.incarnation] + policy.stale_after for each in members}
    stale = [each for each in members if each != own and times[each.incarnation] <= turn.awake]
    able = [each for each in members if may_remove(policy, each) and each not in stale]
    if not stale or own not in able:
        coming = [at - turn.awake for who, at in times.items() if who != own.incarnation and at > turn.awake]
        turn.later(Duty.STALE, group_id, turn.now + max(min(coming, default=policy.stale_after), DAY))
        return
    wait = ranks.turn_of(turn, ranks.place(able, own))
    if turn.awake < max(times[each.incarnation] for each in stale[:_AT_ONCE]) + wait:
        turn.later(Duty.STALE, group_id, turn.now + wait)
        return
    turn.later(Duty.STALE, group_id, turn.now + DAY)
    _commit(turn, strand, Duty.STALE, [Remove(LeafIndex(each.leaf)) for each in stale[:_AT_ONCE]])


def _seen(turn: Turn, talk: Talk, members: Sequence[Member]) -> Talk:
    """Who is there is seen from now on, if not before; who is not any more is forgotten."""
    there = {bytes(each.incarnation): None for each in members}
    gone = [each for each in talk.fresh if each not in there]
    new = {each: turn.awake for each in there if each not in talk.fresh}
    if gone or new:
        talk = replace(talk, fresh=talk.fresh.changed(gone, new))
        turn.put_talk(talk)
    return talk


def may_remove(policy: Policy, member: Member) -> bool:
    return policy.remove is Who.EVERYBODY or (policy.remove is Who.ADMINS and member.admin)
