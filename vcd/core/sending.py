"""Conversations of mode DIMLS: each member has a group of its own to speak in, and nobody waits for anybody.

`mls.distributed` is the protocol (docs/distributed.md). There are no branches here, so there is no strand and nothing
to choose: what is committed stands, and what was said was said. What a session cannot read yet waits until the epoch
that it names was entered.

**Members are devices.** A member owns a group, in which it alone speaks. Two devices that spoke in one group would have
to agree on an order, which is what this mode is there to do without. So here, and only here, each device is a member of
its own, and co-members see how many an account has. All its leaves show the account; the app is told of accounts.

**Topics.** Whoever opens the conversation draws the topic's secret. It is in every call, and lets its holder ask to be
let in, and see that something is said. Who removes somebody draws a new one and says it in its own new epoch, where the
removed cannot read it. All write to the newest they know of, and listen to the last few.

**Coming in.** A KeyPackage of the usual kind cannot be used, as a leaf names its send group. So

    Call       to the account, in its inbox, sealed to one of its KeyPackages and signed: the topic
    Offering   in the topic, from each of the account's devices: a KeyPackage for this conversation
    Entry      from whoever called, or from another device of that account: a Welcome, and everybody's KeyPackages
    Entry      from the newcomer: the Welcome to its own send group, for everybody

The others hear of it by the caller's commit and let the newcomer into their send groups in a commit of their own.

**Rules.** There is no context that all share, and so no policy: whoever is in may bring in and remove others. Whom one
removes, the others remove too, and an account comes back only if somebody calls it again. Who departs asks the others.

A commit of our own also takes up what others have done, which is what heals after a theft. It is made when somebody
comes or goes, before speaking if the last one is a while ago, and once in `Policy.update_every`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mls.distributed import session as dimls
from mls.distributed.errors import AwaitedError, LostEpochError, StrangerError
from mls.distributed.values import Session
from mls.errors import CallerError, GroupEndedError, MlsError, OwnMessageError, PastEpochError, PeerError, ReplayError
from mls.persistent import PMap
from mls.registries import GroupId as MlsGroupId
from vcd.core import calls, contacts, contents, entries, ranks, sessions, steps, waiting
from vcd.core.duties import Duty
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.events import Fate, Gone, IntentFate, MessageFate, OutOfSync, Warned
from vcd.core.names import AccountId, EpochId, FrameId, GroupId
from vcd.core.payloads import Content, Entry, Letter, Offering, Payload
from vcd.core.policy import MINUTE
from vcd.core.sends import POLICY, Leaving, NewTopic, Sends, pack_word, unpack_word
from vcd.core.spoken import Held, Seen
from vcd.core.state import Acceptance
from vcd.core.topics import TopicSecret
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

TAKE_UP = 10 * MINUTE
"""How old our last commit is at least, when there is another one only to heal before we speak."""


def open_(turn: Turn, command: inputs.Open) -> None:
    """Open a conversation, with nobody else in it yet."""
    group_id, state = command.conversation, turn.state
    if group_id in state.strands or group_id in state.talks:
        return
    if group_id in state.raws:
        raise Misuse("group-exists", "an app's group has that name")
    if len(state.talks) >= state.config.max_conversations:
        raise Misuse("too-many", "there are too many conversations here")
    if command.policy is not None:
        raise Misuse("no-policy", "conversations of this mode have no policy")
    own = state.book.own
    if own is None:
        raise Misuse("no-account", "this device has no account yet")
    entries.begin(turn, group_id, by=own, topic=TopicSecret(turn.random(32)), number=0)
    entries.found(turn, group_id, ())
    entries.offer(turn, group_id)


def on_payload(turn: Turn, group_id: GroupId, payload: Payload, frame: FrameId) -> None:
    """Whatever came in a topic of such a conversation."""
    handler = _PAYLOADS.get(type(payload))
    talk = turn.talk(group_id)
    if handler is None or talk.sends is None:
        turn.drop("payload-place")
        return
    if talk.sends.over or talk.acceptance is Acceptance.NO:
        waiting.done(turn, frame)
        return
    try:
        needs = handler(turn, group_id, payload)
    except LostEpochError as error:
        _lost(turn, group_id, error.lost.group_id)
        needs = None
    except (PastEpochError, ReplayError, OwnMessageError, GroupEndedError):
        needs = None  # it was here before, or is of a time before ours
    except (MlsError, Refused, Malformed) as error:
        name = error.check if isinstance(error, PeerError) else getattr(error, "rule", type(error).__name__)
        turn.drop("sends", str(name))
        needs = None
    if needs is None:
        waiting.done(turn, frame)
    else:
        waiting.hold(turn, frame, group_id, needs, payload)


def _on_letter(turn: Turn, group_id: GroupId, payload: Letter) -> waiting.Needs | None:
    """A message of a send group."""
    session = sessions.session_of(turn, group_id)
    if session is None:
        return Need.GROUP, group_id
    try:
        event = dimls.receive(session, turn.env, payload.message)
    except AwaitedError as error:
        return sessions.needs(session, error)
    except StrangerError:
        return Need.GROUP, group_id
    if isinstance(event, dimls.Heard):
        sessions.use(turn, group_id, event.session)
        _heard(turn, group_id, event)
        return None
    for name in event.added:
        package = event.session.invited.get(name)
        if package is not None:
            entries.note(turn, group_id, package)
    if event.dismissed and event.owner not in event.session.dropped:
        _end(turn, group_id, removed=True)
        return None
    sessions.keep(turn, group_id, event.session)
    contacts.seen(turn, [event.session.groups[event.owner].owner_leaf])
    sessions.wake(turn, group_id, event.session, event.owner, entered=False)
    return None


_PAYLOADS: dict[type[Any], Callable[[Turn, GroupId, Any], waiting.Needs | None]] = {
    Offering: entries.on_offering,
    Entry: entries.on_entry,
    Letter: _on_letter,
}
"""Each says what it waits for, or None if it is done."""


def _lost(turn: Turn, group_id: GroupId, owner: MlsGroupId) -> None:
    """A member that cannot be followed any more: the way back is a new conversation."""
    lost = sessions.sends_of(turn, group_id).lost
    turn.drop("sends-lost")
    if owner in lost:
        return
    session = sessions.session_of(turn, group_id)
    account = None if session is None else sessions.accounts(session).get(owner)
    sessions.put(turn, group_id, lost=lost | {bytes(owner)})
    turn.tell(Warned(code="sends-lost", group=group_id, account=account))
    turn.tell(OutOfSync(group=group_id, asks=True, over=False))


# ---------------------------------------------------------------- said and heard


def say(turn: Turn, command: inputs.Say) -> None:
    """Say something. The same nonce again is the same message."""
    group_id = command.conversation
    talk, own = turn.talk(group_id), turn.state.book.own
    if command.nonce in talk.nonces:
        return
    if len(command.nonce) != 16:
        raise Misuse("bad-nonce", "a message is named by 16 random bytes")
    session = sessions.session_in(turn, group_id)
    assert own is not None  # noqa: S101 - a session has leaves of an account
    content = Content(
        nonce=command.nonce,
        said_at=max(turn.now, talk.said + 1, contents.floor_of(talk, own) + 1),
        epoch=EpochId(session.own.group.epoch_id),
        after=talk.frontier,
        data=command.data,
        media=command.media,
    )
    broken = contents.fits(turn, content)
    if broken is not None:
        raise Misuse(broken, "this message is longer than messages may be")
    if turn.now - sessions.sends_of(turn, group_id).took >= TAKE_UP and _news(session):
        entries.commit(turn, group_id)
    talk = turn.talk(group_id)
    name = contents.content_id(group_id, own, content)
    until = contents.until(turn, content.said_at, POLICY.horizon)
    seen = Seen(sender=own, said_at=content.said_at, until=until, nonce=command.nonce)
    talk = contents.remember(turn, talk, name, seen)
    held = Held(sender=own, ours=True, device=turn.state.me.device, content=content, since=turn.now)
    talk = replace(talk, nonces=talk.nonces.set(command.nonce, name), said=content.said_at)
    turn.put_talk(contents.show(turn, talk, name, held))
    _seal(turn, group_id, pack_word(content))
    turn.tell(MessageFate(conversation=group_id, content=name, fate=Fate.SENT))
    turn.tell(MessageFate(conversation=group_id, content=name, fate=Fate.CONFIRMED))  # nothing can take it back


def _news(session: Session) -> bool:
    """Whether there is anything of others to take up."""
    taken = session.own.taken
    return any(
        other.group.epoch > taken.get(name, 0) and session.own.members <= other.members
        for name, other in session.others.items()
        if name in session.own.members
    )


def _seal(turn: Turn, group_id: GroupId, data: bytes) -> None:
    session, message = dimls.seal(sessions.session_in(turn, group_id), turn.env, data)
    sessions.use(turn, group_id, session)
    sessions.publish(turn, group_id, Letter(message=message))


def _heard(turn: Turn, group_id: GroupId, event: dimls.Heard) -> None:
    """What a member said."""
    session = event.session
    if event.dropped:
        raise Refused("sends-removed")
    sender = steps.whose(session.others[event.owner].owner_leaf)
    word = unpack_word(event.data)
    own = turn.state.book.own
    if isinstance(word, Content):
        broken = contents.fits(turn, word)
        if broken is not None:
            raise Refused(broken)
        name = contents.content_id(group_id, sender, word)
        device = sessions.sends_of(turn, group_id).devices.find(event.owner) if sender == own else None
        held = Held(sender=sender, ours=sender == own, device=device, content=word, since=turn.now)
        contents.take(turn, group_id, name, held, POLICY.horizon)
    elif isinstance(word, NewTopic):
        entries.listen(turn, group_id, word)
    elif sender == own:
        _end(turn, group_id, removed=False)
    else:
        sessions.put(turn, group_id, leaving=sessions.sends_of(turn, group_id).leaving | {sender})
        turn.due(Duty.TEND, group_id, turn.now + turn.state.config.quiet)


# ---------------------------------------------------------------- who is in it


def remove(turn: Turn, command: inputs.Remove) -> None:
    """Take somebody out, with all their devices. They do not come back unless somebody calls them again."""
    group_id, who = command.conversation, command.account
    session, sends = sessions.session_in(turn, group_id), sessions.sends_of(turn, group_id)
    if who == turn.state.book.own:
        raise Misuse("ourselves", "Nobody removes themselves: leave the conversation instead.")
    names = [name for name, account in sessions.accounts(session).items() if account == who]
    if not names:
        raise Misuse("no-member", "There is no such member in the conversation.")
    for name in names:
        if name not in session.own.members:
            session = dimls.decline(session, name)
    sessions.use(turn, group_id, session)
    sessions.put(turn, group_id, called=_without(sends, who))
    session = entries.commit(turn, group_id, remove=[name for name in names if name in session.own.members])
    _new_topic(turn, group_id)
    turn.tell(IntentFate(intent=command.intent, stands=True))


def _new_topic(turn: Turn, group_id: GroupId) -> None:
    """Somebody was removed, who knows where we write."""
    word = NewTopic(number=sessions.sends_of(turn, group_id).number + 1, topic=TopicSecret(turn.random(32)))
    _seal(turn, group_id, pack_word(word))
    entries.listen(turn, group_id, word)


def _without(sends: Sends, who: AccountId) -> Any:
    return sends.called.discard(who) if who in sends.called else sends.called


def refresh(turn: Turn, command: inputs.Refresh) -> None:
    """Fresh keys for this device, and everybody's newest epochs taken up."""
    entries.commit(turn, command.conversation)
    turn.tell(IntentFate(intent=command.intent, stands=True))


def depart(turn: Turn, command: inputs.Depart) -> None:
    """Ask the others to take us out, and forget all keys."""
    sessions.session_in(turn, command.conversation)
    _seal(turn, command.conversation, pack_word(Leaving()))
    _end(turn, command.conversation, removed=False)
    turn.tell(IntentFate(intent=command.intent, stands=True))


def change_policy(turn: Turn, command: inputs.ChangePolicy) -> None:
    del turn, command
    raise Misuse("no-policy", "conversations of this mode have no policy")


def _end(turn: Turn, group_id: GroupId, *, removed: bool) -> None:
    """We are out of it. No key is left."""
    sends = sessions.sends_of(turn, group_id)
    for secret in sends.topics:
        sessions.leave_topic(turn, secret, turn.now + turn.state.config.frame_life)
    if group_id in turn.state.sessions:
        turn.change(sessions=turn.state.sessions.discard(group_id))
    sessions.put(turn, group_id, signature=None, offers=(), packages=PMap(), over=True)
    for called in sends.called.values():
        if not called.came:
            turn.tell(IntentFate(intent=called.intent, stands=False, reason="not-a-member"))
    turn.not_due(Duty.TEND, group_id)
    turn.tell(Gone(conversation=group_id, removed=removed))
    sessions.free(turn, group_id)


def _gone(turn: Turn, group_id: GroupId, session: Session) -> list[MlsGroupId]:
    """Members that were devices of ours, or this one before it lost what it knew."""
    known, here, mine = sessions.sends_of(turn, group_id).devices, ranks.devices(turn), turn.state.me.device
    found = []
    for name in session.own.places:
        device = known.find(name)
        if device is not None and name != session.own.id and (device == mine or device not in here):
            found.append(name)
    return found


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A device of ours went: it is taken out of these conversations too, by one of the others."""
    del before
    if not after.home:
        return
    wait = turn.state.config.quiet + ranks.turn_of(turn, 0)
    for group_id in sorted(turn.state.sessions):
        if _gone(turn, group_id, turn.state.sessions[group_id]):
            turn.due(Duty.TEND, group_id, turn.now + wait)


def tend(turn: Turn, subject: bytes) -> None:
    """Duty TEND: what others did to the members is done to ours; calls are made; leaves are renewed."""
    group_id = GroupId(subject)
    if not sessions.is_here(turn, group_id) or sessions.sends_of(turn, group_id).over:
        return
    turn.due(Duty.TEND, group_id, turn.now + POLICY.update_every)
    calls.make(turn, group_id)
    session, sends = sessions.session_of(turn, group_id), sessions.sends_of(turn, group_id)
    if session is None:
        return
    leaving = [name for name, at in session.own.places.items() if steps.whose(session.own.leaf(at)) in sends.leaving]
    missing = sessions.missing(turn, group_id, session)
    gone = _gone(turn, group_id, session)
    old = sends.took + POLICY.update_every <= turn.now
    if session.invited or session.leaving or leaving or missing or gone or old:
        try:
            entries.commit(turn, group_id, add=missing, remove=[*leaving, *gone])
        except (PeerError, CallerError) as error:
            turn.drop("sends-add", str(error))  # somebody's KeyPackage is no good: without those that we only heard of
            entries.commit(turn, group_id, remove=[*leaving, *gone])
    if gone:
        _new_topic(turn, group_id)
    if sends.offered + POLICY.update_every <= turn.now:
        entries.offer(turn, group_id)


def started(turn: Turn) -> None:
    """A device that was told of conversations by another one asks to be let in."""
    for group_id in sorted(turn.state.talks):
        talk = turn.state.talks[group_id]
        sends = talk.sends
        if sends is None or sends.over or sends.signature is not None or talk.acceptance is Acceptance.NO:
            continue
        for secret in sends.topics:
            turn.join(secret, group_id)
        if talk.acceptance is Acceptance.YES:
            entries.offer(turn, group_id)
