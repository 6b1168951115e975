"""Welcomes that come to our inbox, and what we answer.

Every device of the account hears the inbox and has the stock of KeyPackages, so each takes a Welcome up by itself.
`_open` looks into it without using anything up; what it finds is one of these:

    of a contact        it is accepted at once (or asked for, if the device is set up so)
    of a stranger       it waits, and the app is told. Nothing is joined and nothing is sent before the user answers
    of somebody blocked it is dropped
    of a group whose id a group of an app has here: it is dropped
    of a group whose id a conversation of send groups has here, or an invitation that the user was asked of first: it
                        waits until these are over. Of a contact it is more than a call that nobody has answered
    of a group that we are out of for good: as of any other, and it goes on there
    of a group that we are in already: the Welcome leads to another branch. That becomes one more epoch of the strand.
                        If it hangs on nothing that is known here it waits until it does, or until we are out; if
                        what led there may be forbidden, as far as is known here, until it was followed
    not readable yet    the KeyPackage, or a key, is still on its way from another device: it waits for that
    to a KeyPackage that is withdrawn, or stays unknown: the sender is told, and asks for another one

That answer (`Retry`) goes to a topic that the sender made for it, signed with the account key. One of our devices gives
it, the next one later if it has not heard of it by then: the account answers once, however many devices it has. If
another one did take it up, that is found out afterwards (`bringing`). Nobody believes what was signed under a list that
they know to be old, as somebody may have been shut out since. So who hears of a newer list before the answer would wait
for us for ever: it is given again under each new list, by one device, for as long as the first one may lie unheard.
Whoever has heard it passes over the next one.

What the user answers is told to the other devices, which may have the Welcome or not. Who accepts is in that
conversation, by whatever Welcome; what is declined is the one Welcome that was asked of, as somebody may well be
invited again after they left. To decline is to leave: the device that was told joins, without the app's hearing of it,
and asks to be taken out. That a contact's was accepted without asking is told too: another device may know by then that
they are blocked, or no contact any more, or be set up to ask. Who does not come in by any is brought in (`bringing`).

While the user is asked, a contact may bring us in by another Welcome. Then nothing is asked any more, and the Welcome
that waited leads to another branch, as if it had come last: in which order they came makes no difference. Nor does it
when whoever invited us becomes a contact only then (`contact_now`): the user may have added them on another device,
which is in by now without having asked anything, and this one hears of that late.

A KeyPackage is used for one group. If somebody gives out one twice, both Welcomes are taken up as long as it is not
withdrawn; people are warned, and the leaf is replaced, as its key is in two groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mls.errors import MlsError, PeerError, StaleError
from mls.state import Group
from mls.virtual import client
from mls.virtual.emulation import Emulation
from mls.virtual.errors import UnknownPackageError, WithdrawnPackageError
from mls.welcome import decode_welcome
from vcd.core import bringing, calls, contacts, desync, introductions, kinds, nobody, ranks, sessions, steps, waiting
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.book import Relation
from vcd.core.accounts.head import check as check_head
from vcd.core.accounts.identity import sign, suite_of
from vcd.core.duties import Duty
from vcd.core.errors import Malformed, Misuse, NodeError, Refused
from vcd.core.events import Invited, Warned
from vcd.core.names import AccountId, EpochId, FrameId, GroupId, IntentId
from vcd.core.payloads import Introduction, Invite, Retry, pack, unpack
from vcd.core.policy import Mode, of_group
from vcd.core.strand import Membership
from vcd.core.waiting import Need
from vcd.core.wanting import Invitation, Stage

if TYPE_CHECKING:
    from mls.persistent import PMap
    from vcd.core import inputs
    from vcd.core.siblings import Replied, Told, WelcomeAnswered
    from vcd.core.state import Acceptance
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A Welcome that was looked into; nothing is used up by it before `emulation` is adopted."""

    emulation: Emulation
    group: Group
    reference: bytes
    again: bool
    told: Introduction
    by: AccountId


class _ElsewhereError(Exception):
    """A Welcome leads to an epoch that we know nothing of, in a group that we are in as far as we know."""

    def __init__(self, epoch: EpochId) -> None:
        super().__init__()
        self.epoch = epoch


# ---------------------------------------------------------------- what arrives


def on_invite(turn: Turn, payload: Invite, frame: FrameId) -> None:
    """A Welcome."""
    from vcd.core import stock

    if turn.state.emulation is None or turn.state.household.signing is None:
        turn.drop("invite-early")
        return
    try:
        found = _open(turn, payload)
        stock.gone(turn, found.reference)
        _consider(turn, payload, found)
    except _ElsewhereError as error:  # it may turn out that we were removed before it
        waiting.hold(turn, frame, waiting.INBOX, (Need.EPOCH, error.epoch), payload)
        turn.drop("invite-elsewhere")
    except WithdrawnPackageError:
        waiting.done(turn, frame)
        _wait(turn, payload, turn.now + ranks.turn_of(turn, 0) * _SLOTS)
    except StaleError as error:
        waiting.hold(turn, frame, waiting.INBOX, (Need.HOME, turn.home.group_id), payload)
        if isinstance(error, UnknownPackageError):
            _wait(turn, payload, turn.now + turn.state.config.answer_after + ranks.turn_of(turn, 0) * _SLOTS)
    except sessions.TakenError as error:
        sessions.hold(turn, frame, error, payload)
    except (MlsError, NodeError) as error:
        waiting.done(turn, frame)
        turn.drop(getattr(error, "rule", "invite"), str(error))
    else:
        waiting.done(turn, frame)
        _let_go(turn, _key(payload))


_SLOTS = 4
"""So much longer than elsewhere devices wait for each other here: what one of them said must reach the next."""


def _open(turn: Turn, payload: Invite) -> _Opened:
    """Look into a Welcome. Raises what is wrong with it."""
    joined = client.join(
        turn.emulation,
        turn.env,
        kinds.parameters_of(Mode.DEMLS),
        payload.welcome,
        known_groups=frozenset(turn.state.raws),
    )
    policy = of_group(joined.group)
    parameters = kinds.SETTINGS.shared(kinds.parameters_of(policy.mode))
    group = replace(joined.group, parameters=parameters)
    if steps.whose(group.own_leaf_node) != turn.state.book.own:
        raise Refused("invite-leaf")
    told = introductions.opened(turn, group, payload)
    by = introductions.inviter(group, told)
    return _Opened(
        emulation=joined.emulation,
        group=group,
        reference=joined.reference,
        again=joined.again,
        told=told,
        by=by,
    )


def _consider(turn: Turn, payload: Invite, found: _Opened) -> None:
    group_id = found.group.group_id
    strand = turn.state.strands.find(group_id)
    relation = turn.state.book.relation(found.by)
    answered = turn.state.invitations.find(group_id)
    if answered is not None and answered.group_id != group_id:
        raise Refused("invite-id")  # another Welcome waits under that name, which everybody sees who has our card
    outside = strand is not None and strand.membership is Membership.OUT
    if strand is not None and not strand.over and not (outside and relation is Relation.BLOCKED):
        _another_branch(turn, found)
    elif relation is Relation.BLOCKED:
        turn.drop("invite-blocked")
    elif answered is not None and answered.stage is Stage.ANSWERED and answered.accept:
        calls.check_room(turn, group_id, asks=False)
        _forget(turn, group_id)
        _come_in(turn, found)
        if answered.welcome != _key(payload):  # others may have left since, and ask of this one
            bringing.unasked(turn, group_id, _key(payload))
    elif answered is not None and answered.stage is Stage.ANSWERED and answered.welcome == _key(payload):
        _forget(turn, group_id)
    elif relation is Relation.CONTACT and turn.state.config.accept_contacts and not _shut_out(turn, found):
        calls.check_room(turn, group_id, asks=False)
        _come_in(turn, found)
        bringing.unasked(turn, group_id, _key(payload))
    else:
        calls.check_room(turn, group_id, asks=True)
        _ask(turn, payload, found)


def _shut_out(turn: Turn, found: _Opened) -> bool:
    """Whether a contact invites under a list that somebody was shut out after: it may be whoever that was.

    A device that has not heard of it yet invites so too. Therefore the user is asked, and it is not refused.
    """
    known = turn.state.book.find(found.by)
    shown = [head_of(node.credential) for _, node in found.group.members]
    return known is not None and any(
        head is not None and head.account == found.by and head.version < known.head.revoked for head in shown
    )


def _ask(turn: Turn, payload: Invite, found: _Opened) -> None:
    group_id = found.group.group_id
    known = turn.state.invitations.find(group_id)
    if known is not None and known.stage is Stage.ANSWERED:
        known = None
    if known is not None and known.by != found.by:
        raise sessions.TakenError(group_id)  # who asked first is who the user was told of
    _put(
        turn,
        group_id,
        Invitation(
            stage=Stage.ANSWER,
            payload=pack(payload),
            group_id=group_id,
            by=found.by,
            greeting=found.told.greeting,
            since=turn.now if known is None else known.since,
        ),
    )
    if known is None:
        _meet(turn, found)
        _invited(turn, found, asks=True)


def _meet(turn: Turn, found: _Opened) -> None:
    """Know who it is, so that the user can accept or block them."""
    for _, node in found.group.members:
        head = head_of(node.credential)
        if head is not None and head.account == found.by:
            turn.change(book=turn.state.book.learn(check_head(head, turn.provider)).book)


def _invited(turn: Turn, found: _Opened, *, asks: bool) -> None:
    turn.tell(Invited(conversation=found.group.group_id, by=found.by, asks=asks, greeting=found.told.greeting))


def _put(turn: Turn, key: bytes, invitation: Invitation) -> None:
    """Keep one; of those that wait for the same, the oldest gives way: what cannot be opened displaces no question."""
    held = turn.state.invitations
    same = [each for each in held if held[each].stage is invitation.stage]
    if key not in held and len(same) >= turn.state.config.max_invitations:
        oldest = min(same, key=lambda each: (held[each].since, each))
        held = held.discard(oldest)
        sessions.free(turn, GroupId(oldest))
        turn.drop("invitations-full")
    turn.change(invitations=held.set(key, invitation))


def _forget(turn: Turn, key: bytes) -> None:
    turn.not_due(Duty.REPLY, key)
    if key in turn.state.invitations:
        turn.change(invitations=turn.state.invitations.discard(key))


def _key(payload: Invite) -> bytes:
    return hashlib.sha256(payload.welcome).digest()


# ---------------------------------------------------------------- coming in


def _come_in(turn: Turn, found: _Opened) -> None:
    """Into a group that we are not in, and maybe were."""
    group_id = found.group.group_id
    if group_id not in turn.state.strands:
        _enter(turn, found)
        if group_id in turn.state.strands:
            _invited(turn, found, asks=False)
        return
    _another_branch(turn, found)
    asked_no_more(turn, group_id)


def _enter(turn: Turn, found: _Opened, acceptance: Acceptance | None = None) -> None:
    """Into a group that we never were in, as far as this device knows."""
    from vcd.core import stock, voting
    from vcd.core.state import Acceptance, Talk

    group = found.group
    if len(turn.state.talks) >= turn.state.config.max_conversations:
        turn.drop("conversations-full")
        return
    strand = introductions.begun(group, found.told)
    calls.make_room(turn, group.group_id)
    turn.change(emulation=found.emulation)
    turn.put_talk(
        Talk(
            group_id=group.group_id,
            mode=strand.mode,
            acceptance=Acceptance.YES if acceptance is None else acceptance,
            updated_at=turn.now,
        )
    )
    turn.put(strand, graph=True)
    contacts.tree(turn, group)
    stock.used(turn, found.reference, group.group_id, EpochId(group.epoch_id))
    if found.again:
        turn.tell(Warned(code="package-reused", group=group.group_id, account=found.by))
        turn.due(Duty.UPDATE, group.group_id, turn.now)
    voting.take(turn, group.group_id, found.told.lineage.ballots)
    waiting.wake(turn, (Need.GROUP, group.group_id))
    asked_no_more(turn, group.group_id)


def asked_no_more(turn: Turn, group_id: GroupId) -> None:
    """We are in: no answer counts any more, and what waited behind the question leads to another branch."""
    asked = turn.state.invitations.find(group_id)
    if asked is not None and (asked.stage is Stage.ANSWER or asked.accept):
        _forget(turn, group_id)
        if asked.stage is Stage.ANSWER:
            _came_in_otherwise(turn, asked)
    sessions.free(turn, group_id)


def _came_in_otherwise(turn: Turn, asked: Invitation) -> None:
    """Nothing hangs on the user's answer any more: look at the Welcome anew, as if it came now."""
    frame = FrameId(_asked_of(asked))
    waiting.hold(turn, frame, waiting.INBOX, (Need.GROUP, asked.group_id), asked.payload)
    turn.again[frame] = None


def contact_now(turn: Turn, account: AccountId) -> None:
    """The user is asked no more whether to come where they invited us: see what would have come of it by now."""
    for _, each in sorted(turn.state.invitations.items()):
        if each.stage is Stage.ANSWER and each.by == account:
            _came_in_otherwise(turn, each)
        elif each.stage is Stage.ANSWER:
            sessions.free(turn, each.group_id)  # theirs may wait behind it


def _another_branch(turn: Turn, found: _Opened) -> None:
    """Into a group that we are in, or were, by another epoch."""
    from vcd.core import stock, voting
    from vcd.core.state import Acceptance

    group = found.group
    epoch = EpochId(group.epoch_id)
    strand = turn.strand(group.group_id)
    if strand.was_in(epoch):
        return  # it came again
    talk = turn.state.talks.find(group.group_id)
    declined = talk is not None and talk.acceptance is Acceptance.NO  # and to be left, then nothing of it stays
    if introductions.lost(strand, group, found.told) and not desync.astray(turn, strand):
        if declined:
            raise sessions.TakenError(group.group_id)
        raise Refused("invite-lost")  # who was removed for good would forget that, and stand there alone
    here = strand.here
    if here is not None and here.group.ended is None and ranks.own(strand) is not None:
        after = introductions.entered(strand, group, found.told)
    else:
        # Out for good, it is like a first invitation: whoever may bring us into that may bring us into this.
        believed = strand.over or introductions.believes(strand, found.by) or desync.astray(turn, strand)
        after = introductions.anew(strand, group, found.told, believed=believed)
    if after is None:  # it hangs on nothing that we know: nobody leads us away like that
        raise sessions.TakenError(group.group_id) if declined else _ElsewhereError(epoch)
    before = introductions.ahead(strand, after, group)
    if before is not None:
        raise _ElsewhereError(before)
    turn.change(emulation=found.emulation)
    turn.put(after, graph=True)
    contacts.tree(turn, group)
    stock.used(turn, found.reference, group.group_id, epoch)
    voting.take(turn, group.group_id, found.told.lineage.ballots)
    waiting.wake(turn, (Need.EPOCH, epoch))


# ---------------------------------------------------------------- the user's answer


def answer(turn: Turn, command: inputs.Answer) -> None:
    """Accept or decline."""
    from vcd.core import devices
    from vcd.core.siblings import WelcomeAnswered

    held = turn.state.invitations.find(command.conversation)
    if held is None or held.stage is not Stage.ANSWER:
        if command.conversation in turn.state.talks:
            return
        raise Misuse("no-invitation", "Nobody invites you to this conversation, or that is over.")
    _answered(turn, held, accept=command.accept, leave=True)
    if len(ranks.devices(turn)) > 1:
        record = WelcomeAnswered(group_id=command.conversation, accept=command.accept, welcome=_asked_of(held))
        devices.tell(turn, record)


def on_answered(turn: Turn, told: Told, record: WelcomeAnswered) -> None:
    """The user answered on another device. If the Welcome is not here yet, the answer waits for it."""
    del told
    strand = turn.state.strands.find(record.group_id)
    if strand is not None and not strand.over:
        return
    if record.accept:
        bringing.later(turn, record.group_id)  # it may never come here, or was dropped
    held = turn.state.invitations.find(record.group_id)
    if held is not None and held.stage is Stage.ANSWER:
        if record.accept or record.welcome == _asked_of(held):
            _answered(turn, _meant(turn, held, record), accept=record.accept, leave=False)
        return
    answered = Invitation(
        stage=Stage.ANSWERED, group_id=record.group_id, accept=record.accept, welcome=record.welcome, since=turn.now
    )
    _put(turn, record.group_id, answered)


def _meant(turn: Turn, held: Invitation, record: WelcomeAnswered) -> Invitation:
    """What the user said that of, if another one came first there than here: the one of here waits in its place."""
    for frame, data in sessions.held(turn, held.group_id):
        payload, here = unpack(data), unpack(held.payload)
        if isinstance(payload, Invite) and _key(payload) == record.welcome:
            waiting.done(turn, frame)
            sessions.hold(turn, FrameId(_asked_of(held)), sessions.TakenError(held.group_id), here)
            return replace(held, payload=data)
    return held


def _asked_of(held: Invitation) -> bytes:
    payload = unpack(held.payload)
    assert isinstance(payload, Invite)  # noqa: S101 - nothing else is kept there
    return _key(payload)


def _answered(turn: Turn, held: Invitation, *, accept: bool, leave: bool) -> None:
    from vcd.core import intents
    from vcd.core.inputs import Depart
    from vcd.core.state import Acceptance

    _forget(turn, held.group_id)
    strand = turn.state.strands.find(held.group_id)
    if strand is not None and not strand.over:  # we are in, and what we know of it must not begin anew
        _came_in_otherwise(turn, held)
        return
    if not accept and not leave:
        sessions.free(turn, held.group_id)
        return
    payload = unpack(held.payload)
    assert isinstance(payload, Invite)  # noqa: S101 - nothing else is kept there
    try:
        found = _open(turn, payload)
        calls.check_room(turn, held.group_id, asks=False)
    except (MlsError, NodeError) as error:
        sessions.free(turn, held.group_id)
        turn.tell(Warned(code="invitation-over", group=held.group_id, account=held.by))
        if not isinstance(error, UnknownPackageError):
            turn.drop(getattr(error, "rule", "invite"), str(error))
        elif accept:
            _wait(turn, payload, turn.now)
        return
    if strand is not None:
        _another_branch(turn, found)
    else:
        _enter(turn, found, None if accept else Acceptance.NO)
    if accept:
        return
    from vcd.core import flow

    flow.settle(turn)  # the strand stands where we came in before we ask to leave there
    nonce = hashlib.sha256(b"vcd decline" + held.group_id + found.reference).digest()[:16]
    intents.depart(turn, Depart(intent=IntentId(nonce), conversation=held.group_id))


def departed(turn: Turn, group_id: GroupId) -> None:
    """We left. Of what was declined, nothing stays."""
    from vcd.core.state import Acceptance

    talk = turn.state.talks.find(group_id)
    if talk is not None and talk.acceptance is Acceptance.NO:
        turn.due(Duty.REPLY, group_id, turn.now)  # not at once: other rooms are looking at the strand


def _clear(turn: Turn, group_id: GroupId) -> None:
    turn.change(talks=turn.state.talks.discard(group_id), strands=turn.state.strands.discard(group_id))
    turn.touched.pop(group_id, None)
    sessions.free(turn, group_id)
    for name in sorted(turn.state.joined):
        joined = turn.state.joined[name]
        if joined.group_id == group_id:
            turn.change(joined=turn.state.joined.set(name, replace(joined, until=turn.now)))
            turn.due(Duty.TOPICS, b"", turn.now)


# ---------------------------------------------------------------- asking for another KeyPackage


def _wait(turn: Turn, payload: Invite, at: int) -> None:
    """Answer at that time, if nobody else of us did and it cannot be taken up by then."""
    key = _key(payload)
    if _ANSWERED + key in turn.state.invitations:
        return
    if key not in turn.state.invitations:
        _put(turn, key, Invitation(stage=Stage.SIBLINGS, payload=pack(payload), since=turn.now))
    turn.due(Duty.REPLY, key, at)


_ANSWERED = b"answered"
"""Before the name of a Welcome that was answered."""


def _answered_now(turn: Turn, key: bytes, held: Invitation) -> None:
    """It is kept for as long as the answer may be on its way."""
    _let_go(turn, key)
    _put(turn, _ANSWERED + key, replace(held, since=turn.now))
    turn.due(Duty.REPLY, _ANSWERED + key, turn.now + turn.state.config.frame_life)


def _let_go(turn: Turn, key: bytes) -> None:
    """A Welcome that nobody could take up, answered or not."""
    _forget(turn, key)
    _forget(turn, _ANSWERED + key)


def list_changed(turn: Turn) -> None:
    """We show another list of devices now: what we said under the one before counts no more with who knows this one."""
    for key in sorted(turn.state.invitations):
        if key.startswith(_ANSWERED) and turn.state.invitations[key].stage is Stage.SIBLINGS:
            turn.due(Duty.REPLY, key, turn.now + ranks.turn_of(turn, 0) * _SLOTS)


def reply(turn: Turn, subject: bytes) -> None:
    """Duty REPLY: a Welcome that nobody here could take up, also again; or what was declined and left."""
    from vcd.core import devices
    from vcd.core.siblings import Replied
    from vcd.core.state import Acceptance

    talk = turn.state.talks.find(GroupId(subject))
    if talk is not None and talk.acceptance is Acceptance.NO:
        _clear(turn, talk.group_id)
        return
    held = turn.state.invitations.find(subject)
    edition, signing = turn.state.book.edition, turn.state.household.signing
    if held is None or held.stage is not Stage.SIBLINGS or edition is None or signing is None:
        return
    if subject.startswith(_ANSWERED) and held.since + turn.state.config.frame_life <= turn.now:
        _forget(turn, subject)
        return
    payload = unpack(held.payload)
    assert isinstance(payload, Invite)  # noqa: S101 - nothing else is kept there
    key = _key(payload)
    _answered_now(turn, key, held)
    suite = suite_of(turn.provider, edition.head.authority.mandate.cipher_suite)
    for reference in _references(payload):
        content = edition.head.digest + reference
        signature = sign(suite, signing, nobody.RETRY, content)
        turn.publish(payload.reply, Retry(reference=reference, head=edition.head, signature=signature))
    if len(ranks.devices(turn)) > 1:
        devices.tell(turn, Replied(key=key))
    else:  # nobody is left who could tell of that KeyPackage
        waiting.withdraw(turn, (Need.HOME, turn.home.group_id), held.payload)


def _references(payload: Invite) -> tuple[bytes, ...]:
    try:
        return tuple(bytes(each.new_member) for each in decode_welcome(payload.welcome).secrets)[:_MOST_REFERENCES]
    except PeerError:
        return ()


_MOST_REFERENCES = 4


def on_replied(turn: Turn, told: Told, record: Replied) -> None:
    """Another device of ours answered."""
    del told
    bringing.compare(turn)
    known = turn.state.invitations
    held = known.find(record.key) or known.find(_ANSWERED + record.key)
    if held is not None and held.stage is Stage.SIBLINGS:
        _answered_now(turn, record.key, held)


def on_retry(turn: Turn, payload: Retry, frame: FrameId) -> None:
    """Somebody cannot use the KeyPackage that we invited them by."""
    from vcd.core import intents

    del frame
    try:
        head = nobody.checked(turn, payload)
    except (Refused, Malformed) as error:
        turn.drop(getattr(error, "rule", "malformed"))
        return
    if turn.state.book.find(payload.head.account) is not None:  # or each KeyPackage under an older list is tried
        contacts.learn(turn, head)
    for intent in intents.unusable(turn, payload.head.account, payload.reference):
        nobody.pass_on(turn, intent, payload)


def started(turn: Turn) -> None:
    """The node was loaded: ask again for KeyPackages that may not have come, and see to our own."""
    from vcd.core import intents, stock

    intents.started(turn)
    stock.started(turn)


def briefed(turn: Turn, known: PMap[bytes, Invitation]) -> None:
    """On a new device: what waits for the user's answer, and what was answered. The app was told of it elsewhere."""
    for key in sorted(known):
        if known[key].stage is not Stage.SIBLINGS:
            _put(turn, key, known[key])
        elif key.startswith(_ANSWERED):
            _answered_now(turn, key.removeprefix(_ANSWERED), known[key])
