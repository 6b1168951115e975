"""Groups in which one device chooses: plain MLS, for members who can neither fork nor go back.

Ordinary MLS clients follow one commit on each epoch and forget how to follow another. So where there is one among the
members, somebody has to say which commit counts, and everybody waits for that before adopting any, their own too
(RFC 9750 §5.2.1). Here this is a member, the *lead*: whom the policy names, or else the most senior vcd. For an account
one device chooses, the senior one of the last final tree of its home (`lead_device`), or the next one where that is not
in (`deputies`). What it says is a `Decision`: on this epoch, that commit. It is signed with the key of the leaf, and
stored before it is sent, so a lead that crashed says the same again. Everybody hears it in the topic of that epoch; if
by the commit somebody came back from outside, it is said in the topic of the epoch that begins as well.

    head     the end of the chain of decisions, from the last final epoch on. What is said is said there, always
    waiting  commits on the head that were followed and that nobody has decided on. They are kept and do not count. If
             there is no room for one more (`Config.max_kept`) nobody makes any, and what comes is not followed yet
    dead     commits beside a decided one

The lead takes the first valid commit that it sees. It is trusted with the order and with nothing else: it cannot make a
commit that breaks a rule count, nor a header that nobody could follow. Who has the keys of an epoch stands on what was
decided there when it has followed that, or when somebody beside the lead says so: the author who signed the header, or
a member that voted for it, or went on from it. Where nobody is who could, as among two, or votes, as without
succession, the user is asked after a while, as elsewhere (`desync`). Who has not the keys takes the lead's word. If it
says two things of one epoch, everybody is warned and takes the lower name.

An ordinary client signs no header. The lead puts it beside its decision, for who cannot make it: without the keys, or
removed by that commit. Who is removed opens the commit, and holds it against that header.

**When the lead is gone.** A commit that the lead chose may name another lead, in the policy. If nothing is decided on
waiting commits for `Policy.succeed_after`, members vote (`Nomination`): the most senior one first offers itself, by a
vote for itself, the others later, one after the other, and whoever hears an offer votes for it. Each member has one
vote an epoch. A strict majority of all leaves makes a successor, whose first commit must be one that names it in the
policy: so all who come later know it without having heard the votes. It outranks whatever the old lead says of that
epoch. If the votes are split so that nobody can win any more, there is another round for everybody who can see that,
and in that round the most senior of those who were named is voted for, or the old lead, if it has decided meanwhile.

**What is final.** A decided epoch is final as soon as no successor can be voted for on the epochs before it any more.
Members who vote for the steps of the chain (`voting`, as in other groups) will not vote for a successor there. So a
step is final when those who still might are no majority of the leaves. Ordinary clients cannot vote, and in a group
with many of them, or without succession, every decision is final at once.

A lead that was cut off goes on deciding in its part of the network. If the majority has voted for a successor, what the
old lead decided since is undone when they meet, as after any fork; messages are said again. Ordinary clients in that
part are lost, and have to be invited again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.components.dictionary import dictionary_of
from vcd.core import acting, crowd, deputies, kinds, summaries, waiting
from vcd.core.accounts.card import InboxSecret
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.events import Warned
from vcd.core.names import DeviceId, EpochId, FrameId, GroupId, Incarnation
from vcd.core.ordering.graph import Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Decision, Invite, Nomination, SignedStep
from vcd.core.policy import Mode, Who, of_dictionary, of_group
from vcd.core.record import encode
from vcd.core.reign import (
    Reign,
    Welcoming,
    able,
    begun,
    elected,
    fact,
    fact_of,
    full,
    is_stuck,
    leader,
    may_be_plain,
    own_member,
    shown,
    standing,
    undecided,
    unproven,
)
from vcd.core.steps import check_shape
from vcd.core.strand import Strand, stood as plainly, with_step
from vcd.core.topics import TopicSecret
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from mls.tree.ratchet_tree import RatchetTree
    from mls.welcome import GroupInfo
    from vcd.core.state import State
    from vcd.core.turn import Turn

MAX_ROUNDS = 64
MAX_PAST = 64
"""Decisions that are kept of epochs before the last final one."""

_DECISION = b"vcd decision"
_NOMINATION = b"vcd nomination"


def lead_device(state: State) -> DeviceId | None:
    """The device of our account that chooses where we lead, and votes and offers itself where others do."""
    strand = None if state.home is None else state.strands.find(state.home)
    if strand is None:
        return None
    return DeviceId(bytes(strand.graph.members(strand.final)[0].account))


def named(group_id: GroupId, device: DeviceId) -> DeviceId:
    """What a device is called in decisions: strangers learn only whether it is another one than before."""
    return DeviceId(hashlib.sha256(b"vcd lead" + device + group_id).digest()[:16])


def stood(turn: Turn, strand: Strand) -> Strand:
    """Where a conversation stands; in a group with a lead, where the lead says."""
    if strand.mode is not Mode.LEAD:
        return plainly(strand)
    now = standing(strand, turn.talk(strand.group_id).lead)
    return strand if now == strand.standing else replace(strand, standing=now)


# ---------------------------------------------------------------- deciding


def touched(turn: Turn, group_id: GroupId) -> None:
    """A graph changed: there may be something to decide on, or to wait for."""
    strand = turn.strand(group_id)
    if strand.home or strand.mode is not Mode.LEAD or summaries.provisional(strand):
        return  # a newcomer makes up what all are called: who leads would be noted by a name that is nobody's
    _forget(turn, strand)
    talk = turn.talk(group_id)
    facts = {
        each: fact_of(strand, each) for each in strand.kept if strand.graph.has(each) and each not in talk.lead.facts
    }
    facts |= begun(strand, talk.lead)
    if facts:
        talk = replace(talk, lead=replace(talk.lead, facts=talk.lead.facts.update(facts)))
        turn.put_talk(talk)
    if unproven(strand, talk.lead) is not None:
        turn.due(Duty.DESYNC, group_id, turn.now + turn.state.config.desync_after)
    if not undecided(strand):
        if talk.lead.waits is not None:
            turn.put_talk(replace(talk, lead=replace(talk.lead, waits=None)))
        if any(strand.graph.has(epoch) for epoch in talk.lead.nominations):
            turn.due(Duty.LEAD, group_id, turn.now)  # we may have voted, and may have to stay
        else:
            turn.not_due(Duty.LEAD, group_id)
        return
    waits = talk.lead.waits
    if waits is None or waits[0] != strand.head:
        turn.put_talk(replace(talk, lead=replace(talk.lead, waits=(strand.head, turn.awake))))
    if not _decide(turn, strand):
        turn.due(Duty.LEAD, group_id, turn.now)


def came_from(turn: Turn, strand: Strand, epoch: EpochId, info: GroupInfo, tree: RatchetTree) -> None:
    """We come back from an epoch that is not here: who leads there has to decide on that."""
    talk = turn.state.talks.find(strand.group_id)
    if talk is None or strand.mode is not Mode.LEAD or epoch in strand.kept:
        return
    policy = of_dictionary(dictionary_of(info.context.extensions))
    fact = shown(strand.graph.members(epoch), policy, tree, kinds.parameters_of(strand.mode))
    turn.put_talk(replace(talk, lead=replace(talk.lead, facts=talk.lead.facts.set(epoch, fact))))


def _acts(turn: Turn, strand: Strand) -> bool:
    """Whether this device chooses for our account. With an old disk it would not know what it said already."""
    household = turn.state.household
    chooser = deputies.chooser(turn.state, strand)
    return turn.state.me.device == chooser and not household.listening and not household.gone


def _decide(turn: Turn, strand: Strand) -> bool:
    """Choose, if that is for this device to do."""
    head, reign = strand.head, turn.talk(strand.group_id).lead
    own = own_member(strand, head)
    if own is None or not _acts(turn, strand):
        return False
    if any(each.author == own.incarnation for each in reign.decisions.find(head) or ()):
        return False  # it stands, whatever became of it
    successor = elected(strand, reign, head)
    if successor is None or successor == leader(strand, reign, head):
        if leader(strand, reign, head) != own.incarnation:
            return False
        fair = [each for each in undecided(strand) if _is_fair(strand, each)]
        if not fair:
            return False
        child = fair[0]
    elif successor == own.incarnation:
        child = _succession(turn, strand, own)
    else:
        return False
    _say(turn, turn.strand(strand.group_id), own, child)
    return True


def holds(turn: Turn, strand: Strand, parent: EpochId, child: EpochId | None = None) -> bool:
    """Whether a commit has to wait before it is followed: there is no room, and we neither choose nor know who has."""
    if parent != strand.head or not full(strand, turn.state.config.max_kept):
        return False
    reign, own = turn.talk(strand.group_id).lead, own_member(strand, parent)
    if (
        own is not None
        and _acts(turn, strand)
        and own.incarnation in (leader(strand, reign, parent), elected(strand, reign, parent))
    ):
        return False
    return all(each.child != child for each in reign.decisions.find(parent) or ())


def _is_fair(strand: Strand, child: EpochId) -> bool:
    """Whether it does not take the lead for somebody who may not change the policy."""
    kept, head, step = strand.kept.find(child), strand.kept[strand.head], strand.graph.steps[child]
    author, own = step.author, own_member(strand, strand.head)
    if kept is None:  # it removes us, or a sibling came back in our place; what was dropped is not for us to choose
        return own is not None and own.incarnation in (author, *step.removes)
    before, after = of_group(head.group), of_group(kept.group)
    if before.lead == after.lead or before.change is Who.EVERYBODY:
        return True
    admins = [each.incarnation for each in strand.graph.members(strand.head) if each.admin]
    return before.change is Who.ADMINS and author in admins


def _succession(turn: Turn, strand: Strand, own: Member) -> EpochId:
    """Our commit that names us as the lead; it is made if there is none yet."""
    for each in undecided(strand):
        kept = strand.kept.find(each)
        if kept is not None and of_group(kept.group).lead == own.incarnation:
            return each
    here = strand.kept[strand.head].group
    change = kinds.policy_change(here, replace(of_group(here), lead=own.incarnation))
    said, _ = acting.commit(turn, strand, proposals=[change], force_path=True, decided=True)
    return said.step.epoch


def _say(turn: Turn, strand: Strand, own: Member, child: EpochId) -> None:
    group = strand.kept[strand.head].group
    header = strand.signed.find(child)
    decision = Decision(
        parent=strand.head,
        child=child,
        author=own.incarnation,
        device=named(strand.group_id, turn.state.me.device),
        step=header.step if header is not None and not header.signature else None,
        signature=b"",
    )
    content = strand.group_id + encode(decision)
    signature = group.suite.sign_with_label(group.signature_key, _DECISION, content)
    decision = replace(decision, signature=signature)
    _remember(turn, strand, decision)
    acting.publish_wide(turn, strand, strand.head, decision)
    chosen = strand.kept.find(child)
    if chosen is not None and strand.graph.steps[child].moved:
        # Whoever came by that commit from outside may be in no topic of before: then nobody else tells it.
        turn.publish(chosen.topic, decision)


def _remember(turn: Turn, strand: Strand, decision: Decision) -> None:
    talk = turn.talk(strand.group_id)
    reign = talk.lead
    several = (*(reign.decisions.find(decision.parent) or ()), decision)
    turn.put_talk(replace(talk, lead=replace(reign, decisions=reign.decisions.set(decision.parent, several))))
    turn.put(turn.strand(strand.group_id), graph=True)


def on_decision(turn: Turn, group_id: GroupId, payload: Decision, frame: FrameId) -> None:
    """What a lead says; whether it was one is seen when it is counted."""
    strand = turn.strand(group_id)
    if strand.mode is not Mode.LEAD:
        raise Refused("decision-mode")
    if summaries.provisional(strand):  # whose key it would be signed with is not known yet
        waiting.hold(turn, frame, group_id, (Need.GROUP, group_id), payload)
        return
    parent, reign = payload.parent, turn.talk(group_id).lead
    if not strand.graph.has(parent):
        if strand.entered(parent):
            _look_back(turn, strand, reign, payload)
            waiting.done(turn, frame)
        else:
            waiting.hold(turn, frame, group_id, (Need.EPOCH, parent), payload)
        return
    several = reign.decisions.find(parent) or ()
    known = [each for each in several if each.author == payload.author]
    if any(each.child == payload.child for each in known):
        waiting.done(turn, frame)
        return
    if len(known) >= 2:  # two are proof of a lie, more say nothing new
        raise Refused("decision-each")
    if payload.step is not None and (payload.step.parent, payload.step.epoch) != (parent, payload.child):
        raise Refused("decision-step")
    _check(turn, strand, parent, payload.author, _DECISION, payload)
    waiting.done(turn, frame)
    if known:
        _warn(turn, strand, payload)
    _remember(turn, strand, payload)
    _take_headers(turn, group_id, parent)
    waiting.wake(turn, (Need.LEAD, parent))


def headers(turn: Turn, strand: Strand, parent: EpochId) -> tuple[Step, ...]:
    """Those beside decisions of who leads, of commits whose authors cannot sign any."""
    reign = turn.talk(strand.group_id).lead
    said = [each for each in reign.decisions.find(parent) or () if each.step is not None]
    if not said:
        return ()
    leads = (leader(strand, reign, parent), elected(strand, reign, parent))
    return tuple(each.step for each in said if each.step is not None and each.author in leads)


def _take_headers(turn: Turn, group_id: GroupId, parent: EpochId) -> None:
    """Into the graph, for who cannot follow the commit. What of them counts is another thing (`reign`)."""
    for step in headers(turn, turn.strand(group_id), parent):
        strand = turn.strand(group_id)
        if strand.graph.has(step.epoch) or crowd.too_far(strand, step.parent, turn.state.config.max_unfinal):
            continue
        try:
            _check_header(turn, strand, step)
        except Refused as error:  # the decision may be good all the same, for who has the commit
            turn.drop(error.rule)
            continue
        turn.put(with_step(strand, SignedStep(step=step, signature=b"")), graph=True)
        waiting.wake(turn, (Need.EPOCH, step.epoch))  # votes for it, perhaps


def _check_header(turn: Turn, strand: Strand, step: Step) -> None:
    """Whether it may be of an ordinary client's commit. A vcd signs its own, and so does whoever comes from outside.

    One that gives somebody else a key is taken only with its commit, as for a signed one (`following.on_header`).
    """
    check_shape(strand.graph, step)
    reign = turn.talk(strand.group_id).lead
    if all(each.incarnation != step.author for each in strand.graph.members(step.parent)) or not may_be_plain(
        strand, reign, step.parent, step.author
    ):
        raise Refused("decision-author", "a vcd signs a header")
    if step.moved or step.root or step.under or step.author in step.removes:
        raise Refused("decision-header", "what no ordinary client can do")
    if any(who != step.author for who, _ in step.keys):
        raise Refused("decision-header", "it gives somebody else a key")


def alone(turn: Turn, strand: Strand) -> EpochId | None:
    """What the lead says was decided, and nobody else is there to confirm: only the user can believe that."""
    return unproven(strand, turn.talk(strand.group_id).lead)


def _look_back(turn: Turn, strand: Strand, reign: Reign, said: Decision) -> None:
    """A decision on an epoch before the last final one: too late to count, and not too late to tell of a lie."""
    other = [each for each in reign.past if (each.parent, each.author) == (said.parent, said.author)]
    kept = strand.kept.find(said.parent)
    if len(other) != 1 or kept is None or other[0].child == said.child:
        turn.drop("decision-late")
        return

    def signs(key: bytes, each: Decision) -> bool:
        content = strand.group_id + encode(replace(each, signature=b""))
        return kept.group.suite.verify_with_label(key, _DECISION, content, each.signature)

    # The graph does not know any more whose leaf is whose. It is the one that signed what was said in time.
    keys = [node.signature_key for _, node in kept.group.members]
    if not any(signs(key, said) and signs(key, other[0]) for key in keys):
        raise Refused("decision-signature")
    talk = turn.talk(strand.group_id)
    turn.put_talk(replace(talk, lead=replace(reign, past=(*reign.past, said)[-MAX_PAST:])))
    _warn(turn, strand, said)


def _warn(turn: Turn, strand: Strand, said: Decision) -> None:
    here = strand.graph.members(said.parent) if strand.graph.has(said.parent) else strand.graph.members(strand.head)
    who = next((each.account for each in here if each.incarnation == said.author), None)
    turn.tell(Warned(code="lead-two-words", group=strand.group_id, account=who))


def _check(
    turn: Turn, strand: Strand, epoch: EpochId, who: Incarnation, label: bytes, said: Decision | Nomination
) -> None:
    """Whether that member of the epoch signed it, with the key that its leaf has there: the graph knows."""
    suite = turn.provider.suite(strand.cipher_suite)
    content = strand.group_id + encode(replace(said, signature=b""))
    member = next((each for each in strand.graph.members(epoch) if each.incarnation == who), None)
    if member is None or not suite.verify_with_label(member.key, label, content, said.signature):
        raise Refused("decision-signature" if label == _DECISION else "nomination-signature")


# ---------------------------------------------------------------- who comes in


def welcome(turn: Turn, strand: Strand, epoch: EpochId, inbox: InboxSecret, invite: Invite) -> None:
    """Send an invitation; in a group with a lead, when its epoch has been decided on (RFC 9750 §5.2.3)."""
    if strand.mode is not Mode.LEAD:
        turn.publish(TopicSecret(inbox.raw), invite)
        return
    talk = turn.talk(strand.group_id)
    table = talk.lead.welcomes.set(epoch, Welcoming(inbox=inbox, invite=invite))
    turn.put_talk(replace(talk, lead=replace(talk.lead, welcomes=table)))


def _send_welcomes(turn: Turn, before: Strand, strand: Strand) -> None:
    talk = turn.talk(strand.group_id)
    waits, graphs = undecided(strand), (before.graph, strand.graph)
    gone = sorted(epoch for epoch in talk.lead.welcomes if epoch not in waits)
    for epoch in gone:
        if any(graph.is_ancestor(epoch, strand.head) for graph in graphs):
            held = talk.lead.welcomes[epoch]
            turn.publish(TopicSecret(held.inbox.raw), held.invite)
    if gone:
        table = talk.lead.welcomes.changed(gone, {})
        turn.put_talk(replace(talk, lead=replace(talk.lead, welcomes=table)))


# ---------------------------------------------------------------- voting for another lead


def choose(turn: Turn, subject: bytes) -> None:
    """Duty LEAD: decide, or see whether the lead is gone."""
    group_id = GroupId(subject)
    strand = turn.state.strands.find(group_id)
    if strand is None or strand.mode is not Mode.LEAD or group_id not in turn.state.talks:
        return
    if not _acts(turn, strand):
        return  # another device of ours votes for us, and decides
    if _decide(turn, strand) or turn.state.me.device != lead_device(turn.state):
        return
    _stay(turn, strand)
    _nominate(turn, turn.strand(group_id))


def _stay(turn: Turn, strand: Strand) -> None:
    """The lead came back while we voted for another, and nobody can win: our vote is the lead's again."""
    reign, path = turn.talk(strand.group_id).lead, strand.graph.path(strand.head, strand.final)
    for parent, _ in zip([strand.final, *path], path, strict=False):
        own = own_member(strand, parent)
        mine = [each for each in reign.nominations.find(parent) or () if own and each.voter == own.incarnation]
        if own is None or not mine:
            continue
        last = max(mine, key=lambda each: each.round)
        lead = leader(strand, reign, parent)
        if last.candidate != lead and last.round + 1 < MAX_ROUNDS and is_stuck(strand, reign, parent, last.round):
            _vote(turn, strand, parent, own, lead, last.round + 1)


def _nominate(turn: Turn, strand: Strand) -> None:
    """Vote on the head, if the lead has let commits on it wait for too long."""
    head, reign = strand.head, turn.talk(strand.group_id).lead
    own, here = own_member(strand, head), strand.here
    patience = 0 if here is None else of_group(here.group).succeed_after
    if own is None or not undecided(strand) or reign.waits is None or patience == 0:
        return
    lead = leader(strand, reign, head)
    others = [each for each in able(strand, reign, head) if each.incarnation != lead]
    if own not in others or any(each.voter == own.incarnation for each in strand.ballots.at(head)):
        return
    votes = reign.nominations.find(head) or ()
    round_ = next((n for n in range(MAX_ROUNDS) if not is_stuck(strand, reign, head, n)), MAX_ROUNDS)
    if round_ == MAX_ROUNDS or any(each.voter == own.incarnation and each.round >= round_ for each in votes):
        return
    waited = turn.awake - reign.waits[1]
    heard = {each.candidate for each in votes if each.round in (round_ - 1, round_)} - {lead}
    offered = [each.incarnation for each in others if each.incarnation in heard]
    if not offered:
        patience += others.index(own) * turn.state.config.turn_taking
    if waited < patience:  # and goes on waiting, for as long as we are not connected
        least = 0 if turn.state.clock.online else turn.state.config.turn_taking
        turn.due(Duty.LEAD, strand.group_id, turn.now + max(patience - waited, least))
        return
    _vote(turn, strand, head, own, offered[0] if offered else own.incarnation, round_)


def _vote(turn: Turn, strand: Strand, epoch: EpochId, own: Member, candidate: Incarnation, round_: int) -> None:
    group = strand.kept[epoch].group
    vote = Nomination(epoch=epoch, round=round_, candidate=candidate, voter=own.incarnation, signature=b"")
    content = strand.group_id + encode(vote)
    vote = replace(vote, signature=group.suite.sign_with_label(group.signature_key, _NOMINATION, content))
    _count(turn, strand, vote)
    acting.publish_wide(turn, strand, epoch, vote)


def _count(turn: Turn, strand: Strand, vote: Nomination) -> None:
    talk = turn.talk(strand.group_id)
    several = [*(talk.lead.nominations.find(vote.epoch) or ()), vote]
    several.sort(key=lambda each: (each.round, each.voter))
    table = talk.lead.nominations.set(vote.epoch, tuple(several))
    turn.put_talk(replace(talk, lead=replace(talk.lead, nominations=table)))
    turn.put(turn.strand(strand.group_id), graph=True)
    turn.due(Duty.LEAD, strand.group_id, turn.now)


def on_nomination(turn: Turn, group_id: GroupId, payload: Nomination, frame: FrameId) -> None:
    """A member's vote for a lead."""
    strand, epoch = turn.strand(group_id), payload.epoch
    if strand.mode is not Mode.LEAD:
        raise Refused("nomination-mode")
    if summaries.provisional(strand):
        waiting.hold(turn, frame, group_id, (Need.GROUP, group_id), payload)
        return
    if not strand.graph.has(epoch):
        if strand.entered(epoch):
            turn.drop("nomination-late")
            waiting.done(turn, frame)
        else:
            waiting.hold(turn, frame, group_id, (Need.EPOCH, epoch), payload)
        return
    reign = turn.talk(group_id).lead
    may = [each.incarnation for each in able(strand, reign, epoch)]
    if payload.voter not in may or payload.candidate not in may or payload.voter == leader(strand, reign, epoch):
        raise Refused("nomination-member")
    votes = reign.nominations.find(epoch) or ()
    same = [each for each in votes if (each.voter, each.round) == (payload.voter, payload.round)]
    if payload.round >= MAX_ROUNDS or any(each.candidate != payload.candidate for each in same):
        raise Refused("nomination-twice")
    if not same:
        _check(turn, strand, epoch, payload.voter, _NOMINATION, payload)
        _count(turn, strand, payload)
        _take_headers(turn, group_id, epoch)  # of who leads by that vote, and has decided already
    waiting.done(turn, frame)


def pending(turn: Turn, strand: Strand, me: Incarnation, way: Sequence[EpochId]) -> tuple[Ballot, ...]:
    """Our votes for steps of the chain, so that they become final: it is the lead who chose, so each has one.

    Not on an epoch where we voted for another lead, or lead ourselves: what we decided there says as much. Who is
    removed votes as well for what led there: the others may be too few to make that final.
    """
    reign, found = turn.talk(strand.group_id).lead, []
    for child in way:
        parent = strand.graph.steps[child].parent
        if all(each.incarnation != me for each in (*strand.graph.members(parent), *strand.graph.members(child))):
            continue  # it was before we came, or after we went
        mine = [each for each in strand.ballots.at(parent) if each.voter == me]
        if any(each.child == child for each in mine) or len(mine) >= MAX_ROUNDS:
            continue
        if not fact(strand, reign, parent).succession or leader(strand, reign, parent) == me:
            continue
        if all(each.voter != me for each in reign.nominations.find(parent) or ()):
            found.append(Ballot(voter=me, parent=parent, round=len(mine), child=child))
    return tuple(found)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """What was said of epochs before the last final one is of no use any more, but as evidence."""
    if after.home or after.mode is not Mode.LEAD:
        return
    after = turn.strand(after.group_id)
    if before.head != after.head:
        waiting.wake(turn, (Need.LEAD, before.head))
    _send_welcomes(turn, before, after)
    _forget(turn, after)


def _forget(turn: Turn, strand: Strand) -> None:
    """What was said of epochs that are not in the graph: those before the last final one, and headers that gave way.

    Only who was in an epoch ever looks back at what was decided there.
    """
    talk = turn.talk(strand.group_id)
    reign, graph = talk.lead, strand.graph
    over = sorted(parent for parent in reign.decisions if not graph.has(parent))
    done = sorted(epoch for epoch in reign.nominations if not graph.has(epoch))
    gone = sorted(epoch for epoch in reign.facts if not graph.has(epoch))
    if over or done or gone:
        told = [each for parent in over if strand.entered(parent) for each in reign.decisions[parent]]
        reign = replace(
            reign,
            decisions=reign.decisions.changed(over, {}),
            nominations=reign.nominations.changed(done, {}),
            facts=reign.facts.changed(gone, {}),
            past=(*reign.past, *told)[-MAX_PAST:],
        )
        turn.put_talk(replace(talk, lead=reign))
