"""How accounts are called into conversations of mode DIMLS (`sending`), and what our devices tell each other of those.

A call is for one account and lies in its inbox, where all its contacts read. So it is sealed to the init key of a
KeyPackage of that account, as a Welcome would be, and says nothing outside but which one. Inside is the topic's secret,
with the caller's newest head and a signature by the account key: who calls is known before anything is done.

All devices of the account hear it and have the KeyPackage's seed. Each asks to be let in by itself, if the caller is a
contact; a stranger's call waits for the user. The answer on one device is told to the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import decode_exactly
from mls.errors import MlsError
from mls.hpke import CryptoError
from mls.key_package import KeyPackage, check_key_package
from mls.registries import KeyPackageRef
from mls.virtual.derive import init_key
from vcd.core import entries, ranks, sessions, steps, waiting
from vcd.core.accounts.book import Relation
from vcd.core.accounts.head import check as check_head
from vcd.core.accounts.identity import sign, suite_of, verify
from vcd.core.duties import Duty
from vcd.core.effects import FetchPackage
from vcd.core.errors import Malformed, Misuse, NodeError, Refused
from vcd.core.events import IntentFate, Invited
from vcd.core.names import AccountId, FrameId, GroupId
from vcd.core.payloads import Call
from vcd.core.record import decode, encode
from vcd.core.sends import MAX_GREETING, MAX_PACKAGES, Called, Calling, NewTopic, Sends
from vcd.core.state import Acceptance
from vcd.core.topics import TopicSecret
from vcd.core.waiting import Need
from vcd.core.wanting import Stage

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.siblings import SendsNamed, SendsTold, Told
    from vcd.core.turn import Turn

_CALL = "vcd call"
_SEALED = b"vcd call"


# ---------------------------------------------------------------- calling


def invite(turn: Turn, command: inputs.Invite) -> None:
    """Call a contact."""
    group_id, who = command.conversation, command.account
    sends = sessions.sends_of(turn, group_id)
    known = sends.called.find(who)
    if known is not None and known.intent == command.intent:
        return
    contact = turn.state.book.find(who)
    if contact is None or contact.card is None:
        raise Misuse("no-card", "Nobody knows how to reach this account: its card is missing.")
    if contact.relation is Relation.BLOCKED:
        raise Misuse("blocked", "This contact is blocked.")
    if sends.over or group_id not in turn.state.sessions:
        raise Misuse("out-of-sync", "This device is not in the conversation.")
    if who in sends.shown:
        raise Misuse("member-already", "This contact is in the conversation already.")
    if len(command.greeting) > MAX_GREETING:
        raise Misuse("too-long", "The greeting is too long.")
    called = sends.called.set(who, Called(intent=command.intent, greeting=command.greeting))
    sessions.put(turn, group_id, called=called, leaving=sends.leaving - {who})
    make(turn, group_id)


def make(turn: Turn, group_id: GroupId) -> None:
    """Ask for KeyPackages of those who are to be called."""
    config = turn.state.config
    for who, called in sorted(sessions.sends_of(turn, group_id).called.items()):
        if called.sent:
            continue
        wait = ranks.backoff(turn, group_id + who, called.tries) if called.tries else 0
        if turn.now < called.asked + wait:
            turn.due(Duty.TEND, group_id, called.asked + wait)
            continue
        table = sessions.sends_of(turn, group_id).called
        contact = turn.state.book.find(who)
        if contact is None or contact.card is None or called.tries >= config.max_fetches:
            sessions.put(turn, group_id, called=table.discard(who))
            turn.tell(IntentFate(intent=called.intent, stands=False, reason="unreachable"))
            continue
        after = replace(called, asked=turn.now, tries=called.tries + 1)
        sessions.put(turn, group_id, called=table.set(who, after))
        turn.effects.append(FetchPackage(account=who, addresses=contact.card.dispensers))
        turn.due(Duty.TEND, group_id, turn.now + ranks.backoff(turn, group_id + who, after.tries))


def fetched(turn: Turn, got: inputs.Fetched) -> bool:
    """A KeyPackage; says whether a call was waiting for it."""
    for group_id in sorted(turn.state.talks):
        sends = turn.state.talks[group_id].sends
        called = None if sends is None else sends.called.find(got.account)
        if sends is None or called is None or called.sent or not called.tries:
            continue
        if got.package is None:
            return True
        try:
            _send(turn, group_id, sends, got.account, called, got.package)
        except (MlsError, NodeError) as error:
            turn.drop("call-package", str(error))
            return True
        table = sessions.sends_of(turn, group_id).called
        sessions.put(turn, group_id, called=table.set(got.account, replace(called, sent=True)))
        return True
    return False


def _send(turn: Turn, group_id: GroupId, sends: Sends, who: AccountId, called: Called, data: bytes) -> None:
    contact, edition = turn.state.book.find(who), turn.state.book.edition
    signing = turn.state.household.signing
    if contact is None or contact.card is None or edition is None or signing is None:
        raise Refused("call-card")
    package = decode_exactly(data, KeyPackage.decode)
    suite = suite_of(turn.provider, package.cipher_suite)
    leaf = package.leaf_node
    check_key_package(package, suite)
    turn.env.authentication.validate(leaf.credential, leaf.signature_key, turn.now)
    content = package.signed_content()
    if steps.whose(leaf) != who or not suite.verify_with_label(
        leaf.signature_key, b"KeyPackageTBS", content, package.signature
    ):
        raise Refused("call-package")
    calling = Calling(
        group_id=group_id,
        topic=sends.topics[0],
        number=sends.number,
        head=edition.head,
        greeting=called.greeting,
        signature=b"",
    )
    reference = package.reference(suite)
    own = suite_of(turn.provider, edition.head.authority.mandate.cipher_suite)
    signature = sign(own, signing, _CALL, reference + encode(calling))
    context = suite.encryption_context(_SEALED, reference)
    plain = encode(replace(calling, signature=signature))
    kem_output, sealed = suite.seal(package.init_key, context, plain, turn.random)
    call = Call(reference=reference, kem_output=kem_output, sealed=sealed)
    turn.publish(TopicSecret(contact.card.inbox.raw), call)


# ---------------------------------------------------------------- being called


def on_call(turn: Turn, payload: Call, frame: FrameId) -> None:
    """Somebody calls us; or another contact's call lies in the same inbox."""
    if turn.state.emulation is None or turn.state.household.signing is None:
        turn.drop("call-early")
        return
    material = turn.state.emulation.stock.find(KeyPackageRef(payload.reference))
    if material is None:
        waiting.hold(turn, frame, waiting.INBOX, (Need.HOME, turn.home.group_id), payload)
        return
    suite = turn.provider.suite(material.cipher_suite)
    private, _ = init_key(suite, material.seed)
    context = suite.encryption_context(_SEALED, payload.reference)
    try:
        calling = decode(Calling, suite.open(private, context, payload.kem_output, payload.sealed))
        _check(turn, payload, calling)
        _consider(turn, calling)
        waiting.done(turn, frame)
    except sessions.TakenError as error:
        sessions.hold(turn, frame, error, payload)
    except (CryptoError, MlsError, NodeError) as error:
        waiting.done(turn, frame)
        turn.drop("call", getattr(error, "rule", type(error).__name__))


def _check(turn: Turn, payload: Call, calling: Calling) -> None:
    head = check_head(calling.head, turn.provider)
    suite = suite_of(turn.provider, head.authority.mandate.cipher_suite)
    content = payload.reference + encode(replace(calling, signature=b""))
    if not verify(suite, head.signing_key, _CALL, content, calling.signature):
        raise Refused("call-signature")
    if turn.state.book.superseded(head):
        raise Refused("call-superseded")
    if len(calling.topic.raw) != 32 or not calling.group_id or len(calling.greeting) > MAX_GREETING:
        raise Malformed("no call of ours")


def _consider(turn: Turn, calling: Calling) -> None:
    state, group_id, by = turn.state, calling.group_id, calling.head.account
    relation = state.book.relation(by)
    if relation is Relation.BLOCKED:
        raise Refused("call-blocked")
    if group_id in state.strands or by == state.book.own:
        return
    if group_id in state.raws:
        raise Refused("call-taken")
    asks = not (relation is Relation.CONTACT and state.config.accept_contacts)
    invited = state.invitations.find(group_id)
    if asks and invited is not None and invited.stage is Stage.ANSWER:
        raise sessions.TakenError(group_id)  # or the user's answer would be for another one than they were told of
    known = state.talks.find(group_id)
    if known is not None:
        if known.sends is None or group_id in state.sessions:
            return
        if not known.sends.over and by == known.sends.by:  # nobody has let us in yet: is the topic another one by now?
            entries.listen(turn, group_id, NewTopic(number=calling.number, topic=calling.topic))
            return
        if not known.sends.over and (asks or known.acceptance is not Acceptance.ASKS):
            raise sessions.TakenError(group_id)
        _forget(turn, group_id)  # we were out of it, or did not answer a stranger, and are called
    if len(state.talks) >= state.config.max_conversations:
        raise Refused("conversations-full")
    waits = sum(each.sends is not None and each.acceptance is Acceptance.ASKS for each in state.talks.values())
    if asks and waits >= state.config.max_invitations:
        raise Refused("invitations-full")
    turn.change(book=state.book.learn(check_head(calling.head, turn.provider)).book)
    acceptance = Acceptance.ASKS if asks else Acceptance.YES
    entries.begin(turn, group_id, by=by, topic=calling.topic, number=calling.number, acceptance=acceptance)
    if not asks:
        entries.offer(turn, group_id)
    turn.tell(Invited(conversation=group_id, by=by, asks=asks, greeting=calling.greeting))


def contact_now(turn: Turn, account: AccountId) -> None:
    """Who called as a stranger is none any more, by the user's word, here or on another device: nothing is asked."""
    for group_id, talk in sorted(turn.state.talks.items()):
        if talk.sends is not None and talk.sends.by == account and talk.acceptance is Acceptance.ASKS:
            entries.tell(turn, group_id, accept=True)  # some of ours may be set up to ask of contacts too
            _answered(turn, group_id, accept=True)
            turn.tell(Invited(conversation=group_id, by=account, asks=False, greeting=""))
        elif talk.sends is not None and talk.acceptance is Acceptance.ASKS:
            sessions.free(turn, group_id)  # theirs may wait behind it


def blocked(turn: Turn, account: AccountId) -> None:
    """Who called and was not answered is not heard any more."""
    for group_id, talk in sorted(turn.state.talks.items()):
        if talk.sends is not None and talk.sends.by == account and talk.acceptance is Acceptance.ASKS:
            _forget(turn, group_id)


def answer(turn: Turn, command: inputs.Answer) -> None:
    """The user accepts, or declines."""
    talk = turn.talk(command.conversation)
    if talk.acceptance is not Acceptance.ASKS:
        return
    entries.tell(turn, command.conversation, accept=command.accept)
    _answered(turn, command.conversation, accept=command.accept)


def _answered(turn: Turn, group_id: GroupId, *, accept: bool) -> None:
    if not accept:
        _forget(turn, group_id)
        return
    turn.put_talk(replace(turn.talk(group_id), acceptance=Acceptance.YES))
    entries.offer(turn, group_id)


def _forget(turn: Turn, group_id: GroupId) -> None:
    """As if nobody had called."""
    for secret in sessions.sends_of(turn, group_id).topics:
        sessions.leave_topic(turn, secret, turn.now)
    turn.not_due(Duty.TEND, group_id)
    turn.change(talks=turn.state.talks.discard(group_id))
    sessions.free(turn, group_id)


def make_room(turn: Turn, group_id: GroupId) -> None:
    """A conversation of another kind has that id here from now on: nobody answered the call, or that one is over."""
    if sessions.is_here(turn, group_id):
        _forget(turn, group_id)


def check_room(turn: Turn, group_id: GroupId, *, asks: bool) -> None:
    """Whoever invites has chosen the id, and what has it here may be of another kind.

    What is known of a conversation does not say so: a device that came later was told of those that we are out of,
    has no strand of them, and is invited again by a Welcome. A stranger's call that the user has not answered stays
    only before another stranger's invitation (`asks`); what was declined has still to be left.
    """
    talk = turn.state.talks.find(group_id)
    if group_id in turn.state.raws:
        raise Refused("invite-taken")
    if talk is None:
        return
    called = talk.sends is not None and not talk.sends.over
    if talk.acceptance is Acceptance.NO or (called and (asks or talk.acceptance is not Acceptance.ASKS)):
        raise sessions.TakenError(group_id)


def give_way(turn: Turn, group_id: GroupId) -> None:
    """Another device of ours opened a conversation of that id. Whoever called us into one has the id from there.

    So in whatever order the two are heard, all our devices are in ours. One of send groups that we opened stays.
    """
    if sessions.is_here(turn, group_id) and sessions.sends_of(turn, group_id).by != turn.state.book.own:
        turn.change(sessions=turn.state.sessions.discard(group_id))
        _forget(turn, group_id)


# ---------------------------------------------------------------- our other devices


def on_told(turn: Turn, told: Told, record: SendsTold) -> None:
    """Another device of ours opened a conversation, or answered a call."""
    del told
    talk = turn.state.talks.find(record.group_id)
    if talk is None:
        if len(turn.state.talks) >= turn.state.config.max_conversations:
            raise Refused("conversations-full")
        if record.accept and record.group_id not in turn.state.strands and record.group_id not in turn.state.raws:
            entries.begin(turn, record.group_id, by=record.by, topic=record.topic, number=record.number)
            entries.offer(turn, record.group_id)
    elif talk.sends is None:
        return
    elif talk.acceptance is Acceptance.ASKS:
        _answered(turn, record.group_id, accept=record.accept)
    elif record.accept and not talk.sends.over:
        entries.listen(turn, record.group_id, NewTopic(number=record.number, topic=record.topic))


def on_named(turn: Turn, told: Told, record: SendsNamed) -> None:
    if sessions.is_here(turn, record.group_id):
        sends = sessions.sends_of(turn, record.group_id)
        if len(sends.devices) < MAX_PACKAGES:
            sessions.put(turn, record.group_id, devices=sends.devices.set(record.name, told.device))
