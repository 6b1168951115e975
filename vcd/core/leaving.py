"""How the account leaves a conversation.

Among others it asks to be let go, and whoever hears that commits it; it has left when a final epoch is without it. A
member cannot commit its own removal, so where nobody else is no commit can say it. There it is a word in the home
(`siblings.LeftAlone`), and one device gives it: the one that votes for the account.

    who votes      stands alone where the conversation is final, and knows the epoch in which leaving was decided on. It
                   deletes its keys, and so never votes for anything there again
    the others     hear of it, and do the same. Until then the conversation counts as left on them too: nothing can be
                   said in it (`away`), and nobody is invited

So it is decided in one place whether somebody whom another device invites at that time is in. Nobody comes in for good
without a vote of the account. If that was cast, the voter does not stand alone, and the account asks to be let go, as
among others. If not, it never will be: leaving wins. Whoever was brought in would be among members of whom one is
gone and votes for nothing, with nothing ever final; so the device that brought them in takes them out again, and goes.
An intent to leave that has others among its targets says that this is how it stands.

A device hears from another one that the account has left, and sees the conversation without it, in any order. So none
gives up an intent to leave by another one's word, but by what it sees itself (`verdicts`): that is also how it knows
that nobody else threw it out. By that word the user is told that it stands, and nothing more is done for it: no other
device takes over, and no other word ends it.

What the account left alone has no members any more, on the devices that know (`strand.deserted`). Whoever is invited
there again comes into it as into any conversation that was left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError, StaleError
from mls.proposals import Remove, SelfRemove
from mls.validation import self_remove_capable
from vcd.core import keys, ranks, verdicts, voting
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.events import Gone
from vcd.core.payloads import Post
from vcd.core.policy import may_take_out, of_group
from vcd.core.sights import Recovery, put_sight, sight_of
from vcd.core.state import Acceptance
from vcd.core.strand import Membership, Strand, deserted, with_proposal
from vcd.core.wanting import MAX_WHO, Intent, Kind, taken_over

if TYPE_CHECKING:
    from vcd.core.names import EpochId
    from vcd.core.ordering.graph import Member
    from vcd.core.siblings import LeftAlone, Told
    from vcd.core.state import State
    from vcd.core.turn import Turn


def away(state: State, strand: Strand) -> bool:
    """Whether the account is out of it, as people see it: also if it wants to go and nobody is there to let it."""
    if strand.membership is Membership.OUT:
        return True
    wishes = [each for each in state.intents.values() if each.kind is Kind.DEPART and each.group_id == strand.group_id]
    return any(is_done(each) or _alone(state, strand, strand.head) for each in wishes)


def is_done(intent: Intent) -> bool:
    """Whether another device saw the account go, and this one has not yet."""
    return intent.kind is Kind.DEPART and intent.quiet


def _others(state: State, strand: Strand, epoch: EpochId) -> tuple[Member, ...]:
    members = strand.graph.members(epoch) if strand.graph.has(epoch) else ()
    return tuple(each for each in members if each.account != state.book.own)


def _alone(state: State, strand: Strand, epoch: EpochId) -> bool:
    return strand.graph.has(epoch) and not _others(state, strand, epoch)


def _given_up(intent: Intent) -> bool:
    """Whether who votes has gone, and others are still to be taken out."""
    return len(intent.targets) > 1


def _may_go(turn: Turn, intent: Intent, strand: Strand) -> bool:
    """Whether nobody is there, and nobody can be. Who votes says so, or has said it."""
    state = turn.state
    if not _alone(state, strand, strand.head) or not _alone(state, strand, strand.final):
        return False
    return _given_up(intent) or (strand.head == strand.final and voting.votes_here(state, strand))


def went(turn: Turn, intent: Intent, strand: Strand) -> bool:
    """Go, if this device may. Not if it is behind whoever wanted it: somebody may have come in since."""
    known = _given_up(intent) or strand.entered(intent.decided_on)
    if not known or not _may_go(turn, intent, strand):
        return False
    _go(turn, intent, strand)
    return True


def leave(turn: Turn, intent: Intent, strand: Strand) -> None:
    """Ask to be let go; who is alone goes, or waits for the device that votes."""
    from vcd.core import intents

    others = _others(turn.state, strand, strand.head)
    if _may_go(turn, intent, strand):
        _go(turn, intent, strand)
    elif not others:
        intents.later(turn, intent)
    elif _given_up(intent) and _alone(turn.state, strand, strand.final) and _may_remove(strand, others):
        who = tuple(each.incarnation for each in others)
        intents.commit(turn, intent, strand, intents.removals(strand, who))
    else:
        _ask(turn, strand)
        intents.later(turn, intent)


def _may_remove(strand: Strand, others: tuple[Member, ...]) -> bool:
    here, own = strand.here, ranks.own(strand)
    return here is not None and own is not None and all(may_take_out(of_group(here.group), own, who) for who in others)


def _ask(turn: Turn, strand: Strand) -> None:
    here = strand.here
    assert here is not None  # noqa: S101 - intents are carried out where we can follow
    # Ordinary clients may not know the proposal by which anybody may be let go: then it takes one who may remove.
    wish = SelfRemove() if self_remove_capable(here.group.public.tree) else Remove(here.group.own_leaf)
    try:
        sealed = keys.propose(turn, strand, wish)
    except (MlsError, Misuse) as error:
        turn.drop("intent-propose", str(error))
        return
    after = with_proposal(turn.strand(strand.group_id), sealed.epoch, sealed.message)
    turn.put(after)
    turn.publish(after.kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))


def _go(turn: Turn, intent: Intent, strand: Strand, *, told: bool = False) -> None:
    """Nobody is in it any more, and no key is left."""
    from vcd.core import conversations, desync, intents, retention
    from vcd.core.siblings import LeftAlone

    before, after = strand, deserted(strand)
    turn.put(after, graph=True)
    sight = sight_of(turn.state, strand.group_id)
    put_sight(turn, strand.group_id, replace(sight, recovery=Recovery()))
    conversations.emptied(turn, before, after)
    retention.moved(turn, before, turn.strand(strand.group_id))
    desync.moved(turn, before, turn.strand(strand.group_id))
    if not told:
        intents.say(turn, LeftAlone(intent=intent))
    for key in sorted(turn.state.intents):
        each = turn.state.intents[key]
        if each.group_id == strand.group_id:
            intents.end(turn, each, "" if each.kind is Kind.DEPART else "not-a-member", told=True)


# ---------------------------------------------------------------- with the account's other devices


def on_done(turn: Turn, intent: Intent) -> None:
    """The device that acted saw the account go. It is seen here too, or will be if what shows it ever comes."""
    from vcd.core import intents

    strand = turn.state.strands.find(intent.group_id)
    if strand is None or verdicts.verdict(intent, strand, strand) is not None:
        intents.end(turn, intent, "", told=True)
        return
    intents.fate(turn, intent, "")
    intents.keep(turn, replace(intent, quiet=True))
    turn.not_due(Duty.INTENT, intent.intent)


def on_left(turn: Turn, told: Told, record: LeftAlone) -> None:
    """Who votes for the account has gone."""
    from vcd.core import intents

    del told
    known = turn.state.intents.find(record.intent.intent)
    intent = known or replace(record.intent, since=turn.now)
    strand = turn.state.strands.find(intent.group_id)
    if strand is None:
        raise StaleError("what brings us in is still on its way")
    if not strand.graph.has(strand.head) or intent.kind is not Kind.DEPART or _over(intent, strand):
        return
    ours = any(each.incarnation == intent.author for each in strand.graph.members(strand.head))
    others = _others(turn.state, strand, strand.head) or _others(turn.state, strand, strand.final)
    if not others or (not ours and _alone(turn.state, strand, strand.final)):
        _go(turn, intent, strand, told=True)
        return
    if _given_up(intent) and intent.device == turn.state.me.device:
        return
    if known is None and len(turn.state.intents) >= turn.state.config.max_intents:
        turn.drop("intents-full")
        return
    # Whoever saw the account go did not know of them.
    targets = (intent.author, *[each.incarnation for each in others])[:MAX_WHO]
    after = replace(intent, targets=targets, quiet=False)
    if not _brought_in(turn, intent):
        intents.keep(turn, after)
        intents.schedule(turn, after)
        return
    after = taken_over(after, turn.state.me.device, turn.now)
    intents.keep(turn, after)
    intents.tell(turn, after)
    turn.due(Duty.INTENT, intent.intent, turn.now)


def _over(intent: Intent, strand: Strand) -> bool:
    """Whether that is so here already, for good."""
    return strand.membership is Membership.OUT and verdicts.verdict(intent, strand, strand) == ""


def _brought_in(turn: Turn, intent: Intent) -> bool:
    """Whether this device is the one that invites somebody there."""
    return any(
        each.kind is Kind.INVITE and each.group_id == intent.group_id and each.device == turn.state.me.device
        for each in turn.state.intents.values()
    )


def heard(turn: Turn, intent: Intent, strand: Strand) -> None:
    """That the account wanted to leave was heard after it was seen to be out: it was not thrown out then.

    What was told of it later, as when another device took over, says nothing new. Who wants to leave what was left has
    not heard so, and is told once more.
    """
    from vcd.core import intents
    from vcd.core.siblings import LeftAlone

    if not strand.graph.members(strand.final):
        if voting.votes_here(turn.state, strand) and not _given_up(intent):
            intents.say(turn, LeftAlone(intent=intent))
        return
    talk = turn.state.talks.find(strand.group_id)
    accepted = talk is not None and talk.acceptance is Acceptance.YES
    if (
        strand.membership is Membership.OUT
        and accepted
        and not intent.term
        and _last(turn.state, strand) in (None, intent.author)
    ):
        turn.tell(Gone(conversation=strand.group_id, removed=False))


def _last(state: State, strand: Strand) -> bytes | None:
    """Who we were there when we were there last, as far as that is known: one may leave, be invited and be removed."""
    newest = sorted(strand.proofs.values(), key=lambda each: each.anchor.number, reverse=True)
    for members in (strand.graph.members(strand.final), *[each.anchor.members for each in newest]):
        for each in members:
            if each.account == state.book.own:
                return each.incarnation
    return None
