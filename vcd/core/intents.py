"""What people want done to a group, until it stands for good or was refused.

A command becomes an `Intent`, and every device of the account is told of it. One of them acts: it commits on the head,
and looks again whenever the group stands elsewhere. What it finds there is one of these:

    done        the effect stands at a final epoch: the app is told, and the intent is forgotten
    refused     a final epoch shows that it cannot be any more (`verdicts` has the reasons): the same
    standing    the effect is on the head, which may still lose: nothing to do
    missing     the head is on a branch without it: it is done again there, each time after a longer wait

Only final epochs decide, because a head may come back. They decide as soon as they know of the intent, that is when
the epoch in which it was decided is behind them or on a branch that lost. Whoever was removed by a commit that we did
not know of is not invited in spite of it, on whichever branch our Add was; rules that somebody else changed meanwhile
are not changed back. Both take a new decision of a person.

If the device that acts is removed from the account, or nothing came of it for long, another one takes over; a higher
`term` wins, so all agree on who acts. An invitation uses one KeyPackage for all its commits, on all branches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.proposals import Add, Proposal, Remove
from mls.registries import LeafIndex
from vcd.core import acting, comers, keys, kinds, leaving, ranks, sessions, steps, summaries, verdicts
from vcd.core.accounts.book import Relation
from vcd.core.duties import Duty
from vcd.core.effects import FetchPackage
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.events import IntentFate
from vcd.core.names import AccountId, GroupId, Incarnation, IntentId
from vcd.core.ordering.graph import Member
from vcd.core.policy import Policy, Who, may_take_out, of_group
from vcd.core.topics import TopicSecret
from vcd.core.wanting import MAX_GREETING, MAX_MADE, MAX_TRIES, MAX_WHO, Intent, Kind, check, has_all, taken_over

if TYPE_CHECKING:
    from mls.persistent import PMap
    from vcd.core import inputs
    from vcd.core.payloads import SignedStep
    from vcd.core.siblings import IntentMade, IntentOver, LeftAlone, Told
    from vcd.core.strand import Kept, Strand
    from vcd.core.turn import Turn

MAX_LEFT = 64
"""KeyPackages that are no good, beyond `max_fetches`: nobody takes back those of a device that was shut out."""


# ---------------------------------------------------------------- commands


def invite(turn: Turn, command: inputs.Invite) -> None:
    """Bring a contact into a conversation."""
    if _known(turn, command.intent):
        return
    strand = _conversation(turn, command.conversation)
    contact = turn.state.book.find(command.account)
    if contact is None or contact.card is None:
        raise Misuse("no-card", "Nobody knows how to reach this account: its card is missing.")
    if contact.relation is Relation.BLOCKED:
        raise Misuse("blocked", "This contact is blocked.")
    if any(each.account == command.account for each in strand.graph.members(strand.head)):
        raise Misuse("member-already", "This contact is in the conversation already.")
    if len(command.greeting) > MAX_GREETING:
        raise Misuse("too-long", "The greeting is too long.")
    made = _decided(turn, strand, Kind.INVITE, command.intent)
    reply = TopicSecret(turn.random(32))
    _begin(turn, replace(made, account=command.account, greeting=command.greeting, reply=reply))


def remove(turn: Turn, command: inputs.Remove) -> None:
    """Take somebody out of a conversation."""
    if _known(turn, command.intent):
        return
    strand = _conversation(turn, command.conversation)
    if command.account == turn.state.book.own:
        raise Misuse("ourselves", "Nobody removes themselves: leave the conversation instead.")
    there = [each for each in strand.graph.members(strand.head) if each.account == command.account]
    if not there:
        raise Misuse("no-member", "There is no such member in the conversation.")
    made = _decided(turn, strand, Kind.REMOVE, command.intent, there)
    kept = _here(strand)
    node = kept.group.public.tree.leaf(LeafIndex(there[0].leaf))
    fingerprint = b"" if node is None else hashlib.sha256(node.credential.encode()).digest()
    targets = tuple(each.incarnation for each in there)
    _begin(turn, replace(made, account=command.account, targets=targets, fingerprint=fingerprint))


def depart(turn: Turn, command: inputs.Depart) -> None:
    """Leave a conversation."""
    if _known(turn, command.intent):
        return
    strand = _conversation(turn, command.conversation)
    made = _decided(turn, strand, Kind.DEPART, command.intent)
    _begin(turn, replace(made, targets=(made.author,)))


def refresh(turn: Turn, command: inputs.Refresh) -> None:
    """Give our leaf in a group fresh keys."""
    if not _known(turn, command.intent):
        _begin(turn, _decided(turn, turn.strand(command.conversation), Kind.REFRESH, command.intent))


def change_policy(turn: Turn, command: inputs.ChangePolicy) -> None:
    """Give a conversation other rules."""
    if _known(turn, command.intent):
        return
    strand = _conversation(turn, command.conversation)
    made = _decided(turn, strand, Kind.POLICY, command.intent)
    was = of_group(_here(strand).group)
    if command.policy.mode is not was.mode:
        raise Misuse("policy-mode", "A conversation keeps its mode for life.")
    _begin(turn, replace(made, policy=command.policy, was=was))


def _known(turn: Turn, intent: IntentId) -> bool:
    return intent in turn.state.intents


def _conversation(turn: Turn, group_id: GroupId) -> Strand:
    strand = turn.strand(group_id)
    if strand.home:
        raise Misuse("home", "The account's own devices come and go by other commands.")
    return strand


def _here(strand: Strand) -> Kept:
    here = strand.here
    if here is None or here.group.ended is not None:
        raise Misuse("out-of-sync", "This device cannot follow the conversation now.")
    return here


def _decided(turn: Turn, strand: Strand, kind: Kind, intent: IntentId, members: Sequence[Member] = ()) -> Intent:
    """An intent as it is decided on the head, if that is possible at all."""
    kept, own = _here(strand), ranks.own(strand)
    if own is None:
        raise Misuse("no-member", "This account is not in the conversation.")
    if len(turn.state.intents) >= turn.state.config.max_intents:
        raise Misuse("too-many", "Too many things are wanted at once.")
    if not _may(of_group(kept.group), kind, own, members):
        raise Misuse("forbidden", "The rules of the conversation do not allow this.")
    return Intent(
        intent=intent,
        kind=kind,
        group_id=strand.group_id,
        origin=turn.state.me.device,
        device=turn.state.me.device,
        decided_on=strand.head,
        author=own.incarnation,
        since=turn.now,
    )


def _may(policy: Policy, kind: Kind, own: Member, members: Sequence[Member]) -> bool:
    """Whether we may do that, to these members."""
    if kind is Kind.REMOVE:
        return all(may_take_out(policy, own, each) for each in members)
    who = {Kind.INVITE: policy.add, Kind.POLICY: policy.change}.get(kind, Who.EVERYBODY)
    return who is Who.EVERYBODY or (who is Who.ADMINS and own.admin)


def _begin(turn: Turn, made: Intent) -> None:
    keep(turn, made)
    if made.reply is not None:
        turn.join(made.reply, None, inbox=True)
    tell(turn, made)
    retry(turn, made.intent)


# ---------------------------------------------------------------- what became of it


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The group stands elsewhere."""
    mine = [key for key, each in turn.state.intents.items() if after.home or each.group_id == after.group_id]
    for key in sorted(mine):
        intent = turn.state.intents.find(key)
        if intent is None:
            continue
        if after.home and intent.device not in ranks.devices(turn):
            schedule(turn, intent)
        if intent.group_id == after.group_id:
            strand = turn.strand(after.group_id) if after.group_id in turn.state.strands else after
            _judge(turn, intent, before, strand)


def _judge(turn: Turn, intent: Intent, before: Strand, after: Strand) -> None:
    became = verdicts.verdict(intent, before, after)
    if became is not None:
        end(turn, intent, became)
    elif verdicts.stands(intent, after, after.head, (after.graph,)) or leaving.is_done(intent):
        turn.not_due(Duty.INTENT, intent.intent)
    elif intent.kind is not Kind.DEPART or not leaving.went(turn, intent, after):
        schedule(turn, intent)


def end(turn: Turn, intent: Intent, reason: str, *, told: bool = False) -> None:
    """It is over: `reason` says why not, and is empty if it stands."""
    from vcd.core import invitations
    from vcd.core.siblings import IntentOver

    turn.change(intents=turn.state.intents.discard(intent.intent))
    turn.not_due(Duty.INTENT, intent.intent)
    if intent.reply is not None:
        sessions.leave_topic(turn, intent.reply, turn.now)
    fate(turn, intent, reason)
    if not told and intent.device == turn.state.me.device:
        say(turn, IntentOver(intent=intent.intent, reason=reason))
    if intent.kind is Kind.DEPART and not reason:
        invitations.departed(turn, intent.group_id)
    if intent.kind is Kind.INVITE and reason and not told and intent.device == turn.state.me.device:
        _withdraw(turn, intent)


def fate(turn: Turn, intent: Intent, reason: str) -> None:
    """Tell those who asked for it here what became of it."""
    if turn.state.me.device in (intent.origin, intent.device) and not intent.quiet:
        turn.tell(IntentFate(intent=intent.intent, stands=not reason, reason=reason))


def _withdraw(turn: Turn, intent: Intent) -> None:
    """Take out again those whom nobody is behind: whoever never comes keeps a group from being final."""
    strand = turn.state.strands.find(intent.group_id)
    own = None if strand is None else ranks.own(strand)
    if strand is None or own is None or not strand.graph.has(strand.head):
        return
    dead = tuple(each.incarnation for each in strand.graph.members(strand.head) if each.incarnation in intent.dead)
    if not dead:
        return
    made = Intent(
        intent=IntentId(hashlib.sha256(b"vcd withdraw" + intent.intent).digest()[:16]),
        kind=Kind.REMOVE,
        group_id=intent.group_id,
        origin=intent.device,
        device=intent.device,
        decided_on=strand.head,
        author=own.incarnation,
        targets=dead,
        since=turn.now,
        quiet=True,
    )
    _begin(turn, made)


def schedule(turn: Turn, intent: Intent) -> None:
    """When to look at it next, if nothing happens before."""
    if leaving.is_done(intent):
        turn.not_due(Duty.INTENT, intent.intent)
        return
    if intent.device == turn.state.me.device:
        wait = ranks.backoff(turn, intent.intent, intent.tries) if intent.tries else 0
        turn.due(Duty.INTENT, intent.intent, turn.now + wait)
        return
    turns = turn.state.config.turn_taking * ranks.device_place(turn)
    if intent.device not in ranks.devices(turn):
        turn.due(Duty.INTENT, intent.intent, turn.now + turns)
        return
    turn.later(Duty.INTENT, intent.intent, max(turn.now, intent.since) + turn.state.config.takeover_after + turns)


def retry(turn: Turn, subject: bytes) -> None:
    """Do it, if it is ours to do and does not stand: now, when its time has come, when a KeyPackage is there."""
    intent = turn.state.intents.find(IntentId(subject))
    if intent is None:
        return
    strand = turn.state.strands.find(intent.group_id)
    if strand is None:
        end(turn, intent, "no-conversation")
        return
    if summaries.provisional(strand):
        later(turn, intent)
        return
    if verdicts.stands(intent, strand, strand.head, (strand.graph,)):
        became = verdicts.verdict(intent, strand, strand)
        if became is not None:  # it was so before it was wanted
            end(turn, intent, became)
        return
    if leaving.is_done(intent):
        return
    if intent.device != turn.state.me.device:
        gone = intent.device not in ranks.devices(turn)
        if not gone and turn.now < intent.since + turn.state.config.takeover_after:
            schedule(turn, intent)
            return
        intent = taken_over(intent, turn.state.me.device, turn.now)
        keep(turn, intent)
        if intent.reply is not None:
            turn.join(intent.reply, None, inbox=True)
        tell(turn, intent)
    if any(strand.graph.parent(made) == strand.head for made in intent.made):
        later(turn, intent)  # it was done here, and whoever leads has not decided yet
        return
    obstacle = _obstacle(turn, intent, strand)
    if obstacle and strand.head == strand.final and obstacle in _FOR_GOOD:
        end(turn, intent, obstacle)
    elif obstacle:
        later(turn, intent)
    else:
        _carry_out(turn, intent, strand)


_FOR_GOOD = ("forbidden", "removed-meanwhile", "policy-changed", "blocked")


def _obstacle(turn: Turn, intent: Intent, strand: Strand) -> str:
    """Why it cannot be done on this head; empty if it can."""
    here, own = strand.here, ranks.own(strand)
    if not has_all(intent):
        return "forbidden"
    if here is None or here.group.ended is not None or own is None or own.incarnation != intent.author:
        return "out-of-sync"
    targets = [each for each in strand.graph.members(strand.head) if each.incarnation in intent.targets]
    if not _may(of_group(here.group), intent.kind, own, targets):
        return "forbidden"
    if verdicts.removed_meanwhile(intent, strand.graph, strand.head):
        return "removed-meanwhile"
    if intent.kind is Kind.POLICY and of_group(here.group) != intent.was:
        return "policy-changed"
    if intent.kind is Kind.INVITE and turn.state.book.relation(intent.account) is Relation.BLOCKED:
        return "blocked"
    if intent.kind is Kind.INVITE and leaving.away(turn.state, strand):
        return "leaving"
    return ""


def later(turn: Turn, intent: Intent) -> None:
    """Once more, after a longer wait."""
    after = replace(intent, tries=min(intent.tries + 1, MAX_TRIES))
    keep(turn, after)
    turn.later(Duty.INTENT, intent.intent, turn.now + ranks.backoff(turn, intent.intent, after.tries))


# ---------------------------------------------------------------- how it is done


def _carry_out(turn: Turn, intent: Intent, strand: Strand) -> None:
    here = _here(strand)
    match intent.kind:
        case Kind.INVITE:
            _add(turn, intent, strand)
        case Kind.REMOVE:
            commit(turn, intent, strand, removals(strand, intent.targets))
        case Kind.REFRESH:
            commit(turn, intent, strand, [])
        case Kind.POLICY:
            assert intent.policy is not None  # noqa: S101 - intents of this kind have one
            commit(turn, intent, strand, [kinds.policy_change(here.group, intent.policy)])
        case Kind.DEPART:
            leaving.leave(turn, intent, strand)


def removals(strand: Strand, who: tuple[Incarnation, ...]) -> list[Proposal]:
    there = strand.graph.members(strand.head)
    return [Remove(LeafIndex(each.leaf)) for each in there if each.incarnation in who]


def commit(
    turn: Turn, intent: Intent, strand: Strand, proposals: list[Proposal]
) -> tuple[SignedStep, keys.Made] | None:
    """A commit for it. What is refused here is looked at again later, when the group may stand elsewhere."""
    try:
        said, made = acting.commit(turn, strand, proposals=proposals, force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("intent-commit", str(error))
        later(turn, intent)
        return None
    made_in = (*intent.made, said.step.epoch)[-MAX_MADE:]
    after = replace(intent, tries=min(intent.tries + 1, MAX_TRIES), made=made_in)
    keep(turn, after)
    tell(turn, after)
    turn.later(Duty.INTENT, intent.intent, turn.now + ranks.backoff(turn, intent.intent, after.tries))
    return said, made


# ---------------------------------------------------------------- invitations that we make


def _add(turn: Turn, intent: Intent, strand: Strand) -> None:
    from vcd.core import introductions

    package = comers.package(turn, intent)
    if package is None:
        _fetch(turn, intent)
        return
    contact = turn.state.book.find(intent.account)
    card = None if contact is None else contact.card
    if card is None:
        end(turn, intent, "no-card")
        return
    group, own = _here(strand).group, ranks.own(strand)
    there = [each for each in strand.graph.members(strand.head) if each.incarnation in intent.dead]
    behind = [each.incarnation for each in there if own and not comers.may_replace(group, own, each, package)]
    if behind:  # one of their devices acts there after all, and sees to it that the others come in
        after = replace(intent, dead=tuple(each for each in intent.dead if each not in behind))
        keep(turn, after)
        tell(turn, after)
        _judge(turn, after, strand, strand)
        return
    dead = tuple(each.incarnation for each in there)
    done = commit(turn, intent, strand, [*removals(strand, dead), Add(package)])
    if done is None:
        held = turn.state.intents[intent.intent]
        if held.tries >= turn.state.config.max_fetches and strand.head == strand.final:
            keep(turn, replace(held, package=b""))  # nothing else stands in its way: another KeyPackage may do
        return
    assert intent.reply is not None  # noqa: S101 - intents of this kind have one
    said, made = done
    introductions.send(turn, strand, said, made.commit, card, intent.greeting, intent.reply)


def _fetch(turn: Turn, intent: Intent, *, more: int = 0) -> None:
    if intent.fetches >= turn.state.config.max_fetches + more:
        end(turn, intent, "unreachable")
        return
    contact = turn.state.book.find(intent.account)
    addresses = () if contact is None or contact.card is None else contact.card.dispensers
    keep(turn, replace(intent, package=b"", fetches=intent.fetches + 1))
    turn.effects.append(FetchPackage(account=intent.account, addresses=addresses))
    wait = ranks.backoff(turn, intent.intent, intent.fetches + 1)
    turn.later(Duty.INTENT, intent.intent, turn.now + wait)


def fetched(turn: Turn, got: inputs.Fetched) -> None:
    """A KeyPackage for one of those who are waiting for one; each is for one of them."""
    for key in sorted(turn.state.intents):
        intent = turn.state.intents[key]
        mine = intent.kind is Kind.INVITE and intent.device == turn.state.me.device
        if not mine or intent.account != got.account or not intent.fetches or comers.package(turn, intent) is not None:
            continue
        if got.package is None:
            if intent.fetches >= turn.state.config.max_fetches:
                end(turn, intent, "unreachable")
            return
        fingerprint = comers.checked(turn, got.account, got.package)
        if fingerprint is None:
            turn.drop("package-refused")
            _fetch(turn, intent, more=MAX_LEFT)
            return
        after = replace(intent, package=got.package, fingerprint=fingerprint, tries=0)
        keep(turn, after)
        tell(turn, after)
        retry(turn, key)
        return


def unusable(turn: Turn, account: AccountId, reference: bytes) -> list[Intent]:
    """They say that they cannot use a KeyPackage: whoever we added by it is nobody, and they are added by another.

    Gives what we wanted when we used it.
    """
    found = []
    for key in sorted(turn.state.intents):
        intent = turn.state.intents[key]
        if intent.kind is not Kind.INVITE or intent.account != account or not comers.is_by(turn, intent, reference):
            continue
        _nobody_came(turn, replace(intent, package=b""))
        found.append(intent)
    return found


def readdressed(turn: Turn, account: AccountId) -> None:
    """A newer card of theirs names another inbox, as after a recovery: nobody reads what we sent to the one before.

    A KeyPackage may be newer than the card, and is good still: no Welcome to it was heard. Who does not act does not
    know by which card it was sent.
    """
    for key in sorted(turn.state.intents):
        intent = turn.state.intents[key]
        ours = intent.kind is Kind.INVITE and intent.device == turn.state.me.device
        if ours and intent.account == account and intent.made:
            _nobody_came(turn, intent)


def _nobody_came(turn: Turn, intent: Intent) -> None:
    """Whoever we added for it is nobody, on whichever branch, and they are added again."""
    strand = turn.state.strands.find(intent.group_id)
    dead = dict.fromkeys(intent.dead)
    if strand is not None:
        graph = strand.graph
        added = [each for made in intent.made if made in graph.steps for each in graph.steps[made].adds]
        for each in (*added, *graph.members(strand.head)):
            if each.account == intent.account and any(
                steps.incarnation(made, each.leaf) == each.incarnation for made in intent.made
            ):
                dead[each.incarnation] = None
    after = replace(intent, dead=tuple(dead)[-MAX_WHO:], tries=0)
    keep(turn, after)
    if intent.device == turn.state.me.device:
        tell(turn, after)
        # Not at once: they may be about to take back more of those that they cannot use.
        turn.later(Duty.INTENT, intent.intent, turn.now + ranks.backoff(turn, intent.intent, after.fetches))


# ---------------------------------------------------------------- the account's other devices


def keep(turn: Turn, intent: Intent) -> None:
    turn.change(intents=turn.state.intents.set(intent.intent, intent))


def tell(turn: Turn, intent: Intent) -> None:
    from vcd.core.siblings import IntentMade

    say(turn, IntentMade(intent=intent))


def say(turn: Turn, record: IntentMade | IntentOver | LeftAlone) -> None:
    from vcd.core import devices

    if turn.state.home is not None and len(ranks.devices(turn)) > 1:
        devices.tell(turn, record)


def on_intent(turn: Turn, told: Told, record: IntentMade) -> None:
    """Another device's intent, or how far it is. Of two that both took it over, the later term counts."""
    del told
    new = record.intent
    known = turn.state.intents.find(new.intent)
    strand = turn.state.strands.find(new.group_id)
    if strand is None:
        return
    if known is None and not strand.graph.has(new.decided_on) and new.kind is not Kind.DEPART:
        # It may be over long since: who acts knows, and we take over only what we can judge. That somebody wants to
        # leave is over when they have left, and that can be judged anywhere.
        return
    if known is None and new.kind is Kind.DEPART:
        leaving.heard(turn, new, strand)
        if verdicts.verdict(new, strand, strand) == "":  # and that was known here
            return
    if known is None and len(turn.state.intents) >= turn.state.config.max_intents:
        turn.drop("intents-full")
        return
    if known is not None:
        if (new.term, new.device) < (known.term, known.device):
            return
        made = dict.fromkeys((*known.made, *new.made))
        # What one of us has tried in vain is not begun anew by the next one, or the two would go on for ever.
        new = replace(new, made=tuple(made)[-MAX_MADE:], fetches=max(known.fetches, new.fetches))
        targets = dict.fromkeys((*known.targets, *new.targets))
        new = replace(new, targets=tuple(targets)[:MAX_WHO], quiet=known.quiet)
    new = replace(new, since=turn.now)
    keep(turn, new)
    if new.reply is not None:
        turn.join(new.reply, None, inbox=True)
    turn.not_due(Duty.INTENT, new.intent)
    _judge(turn, new, strand, strand)


def on_over(turn: Turn, told: Told, record: IntentOver) -> None:
    """The device that acted says that it is over."""
    del told
    known = turn.state.intents.find(record.intent)
    if known is None or (leaving.is_done(known) and record.reason):
        return
    if known.kind is Kind.DEPART and not record.reason:
        leaving.on_done(turn, known)
    else:
        end(turn, known, record.reason, told=True)


def removing(turn: Turn, group_id: GroupId, who: Incarnation) -> bool:
    """Whether our account wants that member removed anyway."""
    return any(
        each.kind is Kind.REMOVE and each.group_id == group_id and who in each.targets
        for each in turn.state.intents.values()
    )


def started(turn: Turn) -> None:
    """The node was loaded: a KeyPackage that was asked for may never have come."""
    for key in sorted(turn.state.intents):
        intent = turn.state.intents[key]
        if (
            intent.kind is Kind.INVITE
            and intent.fetches
            and not intent.package
            and (Duty.INTENT, key) in turn.state.duties
        ):
            turn.due(Duty.INTENT, key, turn.now)


def briefed(turn: Turn, known: PMap[IntentId, Intent]) -> None:
    """On a new device: what is wanted by the account. Who acts goes on acting."""
    for key in sorted(known):
        intent = replace(known[key], since=turn.now)
        try:
            check(intent)
        except Malformed as error:
            turn.drop("sibling", str(error))
            continue
        keep(turn, intent)
        if intent.reply is not None:
            turn.join(intent.reply, None, inbox=True)
        schedule(turn, intent)
