"""What our account said, until it is on a branch that is final: what loses is said again.

A message is sealed on the head and sent. Each device of the account keeps it, its author's as what it has to see to,
the others in case that one does not come back. Whenever the conversation stands elsewhere, it is looked at:

    on the way to the last final epoch    confirmed
    on the way to the head                it stays; nothing has to be done
    on neither                            its branch lost: it is said again, on the head

Said again, it is the same message with the same id, so who had it notices nothing. It is only said again by itself if
nobody is there now who was not in the epoch that it was first meant for, or had left before it was first said.
Otherwise that is for the user to decide (`Fate.ASKS`), and a yes is good for those about whom the user was asked. A
branch that comes and goes does not make it be said twice on one: all places where it was said are known.

It is said again in two more cases. Two devices of ours may take one key at once; others read whichever comes first
and cannot read the second, so both say theirs again, one after the other. And somebody may get a message so late that
the keys of its epoch are gone: they say so (`missed`), with the name that the sealed bytes have for everybody. That is
why what is confirmed is kept for the group's horizon too, as long as there is room: a split may last longer than the
window in which the other side keeps its keys. Whoever could not read it where it was said first has it from where it
was said for them alone (`Outgoing.repeat`): so that has to stand too, whatever becomes of the first one.

A sibling says a message again if its own device has not for a while, is still one of the account's, and was when the
message was heard. It is marked as relayed. What cannot be confirmed within the group's horizon goes back to the user.

What cannot be said now waits in order: the conversation was not accepted yet, this device cannot follow it, may not
encrypt yet, or (EC1) a commit was just seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

from mls.errors import CallerError, StaleError
from vcd.core import contents, keys, leaving, ranks, steps, summaries
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.events import Fate, MessageFate
from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId
from vcd.core.payloads import Content, Post, pack_said
from vcd.core.policy import DAY, Mode, Policy, of_group
from vcd.core.spoken import Held, Outgoing, Place, Seen, Stage, Why
from vcd.core.state import Acceptance, Talk
from vcd.core.strand import Membership
from vcd.core.values import replace

if TYPE_CHECKING:
    from mls.persistent import PMap
    from vcd.core import inputs
    from vcd.core.ordering.graph import Graph
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

WEIGHED = 64
"""After so many messages more the outbox is weighed."""
SHARE = 64
"""Of what is confirmed, so much gives way at once: each goes from the disk too, and nothing is to wait for that."""
MAX_PLACES = 16
"""Where a message was said; the oldest are forgotten first."""
MAX_PASSED = 1024
"""Final epochs that are remembered in order. Who was away for longer gets everything that is confirmed once more."""
MAX_RETURNS = 64
AT_ONCE = 256
"""So many are said again in one step, as a word of somebody else's may ask for all. The next ones are in the next."""
NONCE = 16


# ---------------------------------------------------------------- saying


def say(turn: Turn, command: inputs.Say) -> None:
    """Say something. The same nonce again is the same message, and nothing is done."""
    talk = turn.talk(command.conversation)
    if command.nonce in talk.nonces:
        return
    _check(turn, talk, command)
    strand, own = turn.strand(talk.group_id), turn.state.book.own
    if own is None:
        raise Misuse("no-account", "this device has no account yet")
    _make_room(turn)
    talk = turn.talk(talk.group_id)
    content = Content(
        nonce=command.nonce,
        # Not before what the account said there before: receivers forget by these times (`contents`).
        said_at=max(turn.now, talk.said + 1, contents.floor_of(talk, own) + 1),
        epoch=strand.head,
        after=talk.frontier,
        data=command.data,
        media=command.media,
    )
    broken = contents.fits(turn, content)
    if broken is not None:
        raise Misuse(broken, "this message is longer than messages may be")
    name = contents.content_id(talk.group_id, own, content)
    policy = _policy(strand)
    mine = turn.state.me.device
    seen = Seen(
        sender=own,
        said_at=content.said_at,
        until=contents.until(turn, content.said_at, policy.horizon),
        nonce=command.nonce,
    )
    talk = contents.remember(turn, talk, name, seen)
    held = Held(sender=own, ours=True, device=mine, content=content, since=turn.now)
    talk = contents.show(turn, replace(talk, nonces=talk.nonces.set(command.nonce, name)), name, held)
    talk = _with(turn, strand, talk, name, content, mine)
    turn.put_talk(replace(talk, queue=talk.queue.set(name, content.said_at)))
    turn.due(Duty.RETURN, talk.group_id, turn.now + policy.horizon)
    flush(turn, talk.group_id)


def _check(turn: Turn, talk: Talk, command: inputs.Say) -> None:
    if len(command.nonce) != NONCE:
        raise Misuse("bad-nonce", "a message is named by 16 random bytes")
    if talk.acceptance is Acceptance.NO:
        raise Misuse("declined", "this conversation was declined")
    strand = turn.strand(talk.group_id)
    if leaving.away(turn.state, strand):
        raise Misuse("not-a-member", "we are no member of this conversation any more")


def _with(
    turn: Turn, strand: Strand, talk: Talk, name: ContentId, content: Content, device: DeviceId | None, *where: Place
) -> Talk:
    """With a message that is kept from now on."""
    audiences = talk.audiences
    if content.epoch not in audiences:
        audiences = audiences.set(content.epoch, _audience(strand, content.epoch))
    age = turn.now - content.said_at  # by a clock of ours; one that is far off tells nothing
    outgoing = Outgoing(
        conversation=talk.group_id,
        content=content,
        device=device,
        since=content.said_at if 0 < age < _policy(strand).horizon else turn.now,
        awake=turn.awake,
        stage=Stage.SAID if where else Stage.QUEUED,
        places=where,
        left=_left(strand, audiences[content.epoch], where[0].epoch) if where else (),
    )
    turn.change(outbox=turn.state.outbox.set(name, outgoing))
    return replace(
        talk,
        said=max(talk.said, content.said_at),
        going=talk.going.set(name, content.said_at),
        unsure=talk.unsure.set(name, content.said_at),
        audiences=audiences,
    )


def _audience(strand: Strand, epoch: EpochId) -> tuple[AccountId, ...]:
    """Who was in an epoch; nobody, if that is not known here any more."""
    if strand.graph.has(epoch):
        return tuple(sorted({each.account for each in strand.graph.members(epoch)}))
    kept = strand.kept.find(epoch)
    return () if kept is None else tuple(sorted({steps.whose(node) for _, node in kept.group.members}))


def _left(strand: Strand, meant: tuple[AccountId, ...] | None, epoch: EpochId) -> tuple[AccountId, ...]:
    """Who of these is not in an epoch."""
    return tuple(sorted({*(meant or ())} - {*_audience(strand, epoch)}))


def _without(strand: Strand, talk: Talk, outgoing: Outgoing, epoch: EpochId) -> tuple[AccountId, ...]:
    """Who was there when it was written and is not in an epoch."""
    return _left(strand, talk.audiences.find(outgoing.content.epoch), epoch)


def _policy(strand: Strand) -> Policy:
    """Of the head, or of the nearest there is."""
    kept = strand.here or strand.kept.find(strand.final)
    return Policy() if kept is None else of_group(kept.group)


def _make_room(turn: Turn) -> None:
    """For one message more: what is confirmed gives way, the oldest of it, some at once as they have to be sorted."""
    state = turn.state
    if len(state.outbox) < state.config.max_outbox and not _heavy(turn):
        return
    done = sorted((each.awake, name) for name, each in state.outbox.items() if each.stage is Stage.CONFIRMED)
    if not done:
        raise Misuse("outbox-full", "too much that was said here is not confirmed yet")
    gone: dict[GroupId, list[ContentId]] = {}
    for _, name in done[: max(1, len(done) // SHARE)]:
        gone.setdefault(state.outbox[name].conversation, []).append(name)
    for group_id, names in gone.items():
        _drop(turn, group_id, names)


def _heavy(turn: Turn) -> bool:
    """Looked at once in so many messages, as that takes as long as there are."""
    outbox = turn.state.outbox
    if len(outbox) % WEIGHED:
        return False
    return sum(len(each.content.data) for each in outbox.values()) >= turn.state.config.max_outbox_bytes


def _drop(turn: Turn, group_id: GroupId, names: Iterable[ContentId]) -> None:
    """Forget messages that nothing has to be done about any more; their ids stay known."""
    gone = [name for name in names if name in turn.state.outbox]
    talk, outbox = turn.state.talks.find(group_id), turn.state.outbox
    if talk is None:
        turn.change(outbox=outbox.changed(gone, {}))
        return
    if not gone:
        return
    marks = {mark: None for name in gone for place in outbox[name].places for mark in _marks(place)}
    after = outbox.changed(gone, {})
    going = talk.going.changed(gone, {})
    used = {after[name].content.epoch for name in going}
    turn.change(outbox=after)
    turn.put_talk(
        replace(
            talk,
            going=going,
            queue=talk.queue.changed([name for name in gone if name in talk.queue], {}),
            unsure=talk.unsure.changed([name for name in gone if name in talk.unsure], {}),
            places=talk.places.changed([mark for mark in marks if mark in talk.places], {}),
            audiences=talk.audiences.changed([epoch for epoch in talk.audiences if epoch not in used], {}),
        )
    )


def _marks(place: Place) -> tuple[bytes, ...]:
    return tuple(mark for mark in (place.digest, place.claim) if mark)


# ---------------------------------------------------------------- sealing


def can_speak(turn: Turn, strand: Strand, talk: Talk) -> bool:
    """Whether something can be said in a conversation now."""
    here = strand.here
    return (
        here is not None
        and here.group.ended is None
        and talk.acceptance is Acceptance.YES
        and strand.membership is not Membership.OUT
        and not (talk.mode is Mode.EC1 and turn.now < talk.quiet_until)
    )


def flush(turn: Turn, group_id: GroupId) -> None:
    """Say what waits, in order."""
    talk = turn.state.talks.find(group_id)
    if talk is None or not talk.queue:
        return
    for name in sorted(talk.queue, key=lambda each: turn.state.outbox[each].order):
        strand = turn.strand(group_id)
        if _over(turn, strand, turn.state.outbox[name]):
            _give_up(turn, group_id, [name])
            continue
        if not can_speak(turn, strand, turn.talk(group_id)):
            return  # what makes it possible comes back here
        if not _seal(turn, name):
            turn.due(Duty.QUIET, group_id, turn.now + turn.state.config.retry_most)
            return


def _seal(turn: Turn, name: ContentId) -> bool:
    """Say a message on the head, or ask whether to. False if this device may not encrypt there yet."""
    outgoing = turn.state.outbox[name]
    group_id = outgoing.conversation
    strand, talk = turn.strand(group_id), turn.talk(group_id)
    new = strangers(strand, talk, outgoing)
    if new:
        _ask(turn, name, new)
        return True
    relayed = outgoing.device != turn.state.me.device
    try:
        sealed = keys.seal(turn, strand, pack_said(replace(outgoing.content, relayed=relayed)))
    except (CallerError, StaleError):
        return False
    turn.publish(turn.strand(group_id).kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))
    digest, without = hashlib.sha256(sealed.message).digest(), _without(strand, talk, outgoing, sealed.epoch)
    place = Place(epoch=sealed.epoch, digest=digest, claim=bytes(sealed.claim or b""), without=without)
    first, confirmed = not outgoing.places, outgoing.stage is Stage.CONFIRMED
    lost = outgoing.why is Why.LOST or outgoing.stage is Stage.ASKS
    stage = Stage.CONFIRMED if confirmed else Stage.SAID
    if outgoing.repeat is not None or outgoing.why in (Why.COLLIDED, Why.MISSED):
        outgoing = replace(outgoing, repeat=sealed.epoch)
    if first:
        outgoing = replace(outgoing, left=without)
    _put(turn, name, replace(outgoing, stage=stage, why=None, again_at=0, asked=()), place)
    if first:
        _tell(turn, group_id, name, Fate.SENT)
    elif lost:
        _tell(turn, group_id, name, Fate.AGAIN)
    elif outgoing.asked:  # of people who are gone
        _tell(turn, group_id, name, Fate.CONFIRMED)
    if strand.final == sealed.epoch and not summaries.provisional(strand):
        _judge(turn, name, {sealed.epoch}, {sealed.epoch})
    return True


def _put(turn: Turn, name: ContentId, outgoing: Outgoing, place: Place) -> None:
    """Keep a message with one place more."""
    talk = turn.talk(outgoing.conversation)
    all_places = (*outgoing.places, place)
    places, gone = all_places[-MAX_PLACES:], all_places[:-MAX_PLACES]
    marks = [mark for each in gone for mark in _marks(each) if mark in talk.places]
    turn.change(outbox=turn.state.outbox.set(name, replace(outgoing, places=places)))
    turn.put_talk(
        replace(
            talk,
            queue=talk.queue.discard(name),
            unsure=talk.unsure.set(name, outgoing.content.said_at) if outgoing.repeat else talk.unsure,
            places=talk.places.changed(marks, dict.fromkeys(_marks(place), name)),
        )
    )


def strangers(strand: Strand, talk: Talk, outgoing: Outgoing) -> tuple[AccountId, ...]:
    """Who would read a message that it was not meant for."""
    epoch = outgoing.content.epoch
    if epoch == strand.head and not outgoing.left:
        return ()
    meant = {*(talk.audiences.find(epoch) or ())} - {*outgoing.left} | {*outgoing.consent}
    return tuple(sorted({each.account for each in strand.graph.members(strand.head)} - meant))


def _ask(turn: Turn, name: ContentId, new: tuple[AccountId, ...]) -> None:
    outgoing = turn.state.outbox[name]
    talk = turn.talk(outgoing.conversation)
    known = set(new) <= set(outgoing.asked)
    stage = Stage.CONFIRMED if outgoing.stage is Stage.CONFIRMED else Stage.ASKS
    changed = replace(outgoing, stage=stage, why=None, again_at=0, asked=outgoing.asked if known else new)
    turn.change(outbox=turn.state.outbox.set(name, changed))
    turn.put_talk(replace(talk, queue=talk.queue.discard(name)))
    if not known:
        _tell(turn, outgoing.conversation, name, Fate.ASKS)


def say_again(turn: Turn, command: inputs.SayAgain) -> None:
    """The user decided."""
    outgoing = turn.state.outbox.find(command.content)
    if outgoing is None or outgoing.conversation != command.conversation or not outgoing.asked:
        raise Misuse("not-asked", "there is no question about this message")
    stands = outgoing.stage is Stage.CONFIRMED
    if not command.again and not stands:
        _give_up(turn, command.conversation, [command.content])
        return
    if command.again:  # else these stay known as asked for, and the user is not asked of them again
        consent, why = tuple(sorted({*outgoing.consent, *outgoing.asked})), Why.MISSED if stands else Why.LOST
        changed = replace(outgoing, asked=(), consent=consent, why=why, again_at=turn.now)
        turn.change(outbox=turn.state.outbox.set(command.content, changed))
    if stands:  # as it did before the question
        _tell(turn, command.conversation, command.content, Fate.CONFIRMED)
    relay(turn, command.conversation)


def _tell(turn: Turn, group_id: GroupId, name: ContentId, fate: Fate) -> None:
    turn.tell(MessageFate(conversation=group_id, content=name, fate=fate))


# ---------------------------------------------------------------- what becomes of it


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The conversation stands elsewhere: say again what lost."""
    if after.home:
        for group_id in sorted(group_id for group_id, each in turn.state.talks.items() if each.queue):
            flush(turn, group_id)  # what this device may do has changed
        return
    talk = turn.state.talks.find(after.group_id)
    if talk is None:
        return
    graph = before.graph  # `after` may have lost what is not past the final epoch
    final = (graph.anchor.epoch, *graph.path(after.final))
    new = [epoch for epoch in final if after.entered(epoch) and epoch not in talk.passed]
    if new:
        returns = (epoch for epoch in new if graph.returns(epoch))
        talk = replace(talk, passed=_passed(talk.passed, new), returns=(*talk.returns, *returns)[-MAX_RETURNS:])
        turn.put_talk(talk)
    if not talk.going:
        return
    if _out(after, graph, turn.state.book.own):
        # Of what stands somebody may ask us when we are back.
        open_ = [name for name in talk.unsure if turn.state.outbox[name].stage is not Stage.CONFIRMED]
        _give_up(turn, after.group_id, open_)
        return
    stands = {*talk.passed, *final}
    on_head = {*stands, *graph.path(after.head)}
    unsure = sorted(talk.unsure, key=lambda each: turn.state.outbox[each].order)
    for name in unsure:
        _judge(turn, name, stands, on_head)
    flush(turn, after.group_id)
    _plan(turn, after.group_id, unsure)


def _out(strand: Strand, graph: Graph, own: AccountId | None) -> bool:
    """Whether we are out, and stand nowhere that may still win; who comes in is not in what is final at first."""
    there = (*graph.members(strand.final), *graph.members(strand.head))
    return all(each.account != own for each in there) and not any(
        graph.is_ancestor(strand.final, epoch) for epoch in strand.kept
    )


def _passed(before: PMap[EpochId, int], new: Iterable[EpochId]) -> PMap[EpochId, int]:
    after = before.update(dict(zip(new, count(max(before.values(), default=0) + 1))))
    oldest = sorted(after, key=lambda each: after[each])[: max(0, len(after) - MAX_PASSED)]
    return after.changed(oldest, {})


def _judge(turn: Turn, name: ContentId, stands: set[EpochId], on_head: set[EpochId]) -> None:
    """What becomes of a message where the conversation stands now."""
    _judge_repeat(turn, name, stands, on_head)
    outgoing = turn.state.outbox[name]
    if outgoing.stage in (Stage.QUEUED, Stage.CONFIRMED):
        return
    if any(place.epoch in stands for place in outgoing.places):
        _confirm(turn, name)
        return
    changed = outgoing
    if any(place.epoch in on_head for place in outgoing.places):
        if outgoing.stage is Stage.ASKS:
            changed = replace(changed, stage=Stage.SAID, asked=())
            _tell(turn, outgoing.conversation, name, Fate.SENT)
        if outgoing.why is Why.LOST:
            changed = replace(changed, why=None, again_at=0)
    else:
        at = turn.now + _patience(turn, outgoing.device)
        if outgoing.why is not None:
            at = min(at, outgoing.again_at)
        changed = replace(changed, why=Why.COLLIDED if outgoing.why is Why.COLLIDED else Why.LOST, again_at=at)
    if changed is not outgoing:
        turn.change(outbox=turn.state.outbox.set(name, changed))


def _judge_repeat(turn: Turn, name: ContentId, stands: set[EpochId], on_head: set[EpochId]) -> None:
    """The same of what was said for those who could not read it elsewhere."""
    outgoing = turn.state.outbox[name]
    if outgoing.repeat is None or (outgoing.repeat in on_head and outgoing.repeat not in stands):
        return
    if outgoing.repeat in stands:
        changed = replace(outgoing, repeat=None)
        if outgoing.stage is Stage.CONFIRMED:
            talk = turn.talk(outgoing.conversation)
            turn.put_talk(replace(talk, unsure=talk.unsure.discard(name)))
    elif outgoing.why is None:
        changed = replace(outgoing, why=Why.MISSED, again_at=turn.now + _patience(turn, turn.state.me.device))
    else:
        return
    turn.change(outbox=turn.state.outbox.set(name, changed))


def _patience(turn: Turn, device: DeviceId | None) -> int:
    """How long until a message that lost is said again. It is by its own device as soon as the dust has settled."""
    config = turn.state.config
    if device == turn.state.me.device:
        return config.quiet
    return config.relay_after + config.turn_taking * ranks.place_beside(turn, device)


def _plan(turn: Turn, group_id: GroupId, names: Iterable[ContentId]) -> None:
    """Have the next of these that is to be said again looked at in time."""
    found = [turn.state.outbox.find(name) for name in names]
    times = [each.again_at for each in found if each is not None and each.why is not None]
    if times:
        turn.due(Duty.RELAY, group_id, max(turn.now + 1, min(times)))


def _confirm(turn: Turn, name: ContentId) -> None:
    outgoing = turn.state.outbox[name]
    _tell(turn, outgoing.conversation, name, Fate.CONFIRMED)
    if not outgoing.repeat:
        talk = turn.talk(outgoing.conversation)
        turn.put_talk(replace(talk, unsure=talk.unsure.discard(name)))
    if not any(place.digest for place in outgoing.places):
        _drop(turn, outgoing.conversation, [name])  # whoever misses it asks the device that sealed it
        return
    why = outgoing.why if outgoing.why is not Why.LOST else None
    changed = replace(
        outgoing, stage=Stage.CONFIRMED, why=why, again_at=outgoing.again_at if why is not None else 0, asked=()
    )
    turn.change(outbox=turn.state.outbox.set(name, changed))


def _give_up(turn: Turn, group_id: GroupId, names: Iterable[ContentId]) -> None:
    """Back to the user, unless it stands."""
    gone = sorted(names, key=lambda each: turn.state.outbox[each].order)
    for name in gone:
        if turn.state.outbox[name].stage is not Stage.CONFIRMED:
            _tell(turn, group_id, name, Fate.RETURNED)
    _drop(turn, group_id, gone)


def relay(turn: Turn, subject: bytes) -> None:
    """Duty RELAY: say again what is to be, ours and what its own device did not."""
    group_id = GroupId(subject)
    talk = turn.state.talks.find(group_id)
    if talk is None:
        return
    outbox = turn.state.outbox
    ready = [name for name in talk.going if outbox[name].why is not None and outbox[name].again_at <= turn.now]
    for name in sorted(ready, key=lambda each: outbox[each].order)[:AT_ONCE]:
        _again(turn, name)
    _plan(turn, group_id, turn.talk(group_id).going)


def _again(turn: Turn, name: ContentId) -> None:
    outgoing, config = turn.state.outbox[name], turn.state.config
    group_id = outgoing.conversation
    strand, talk = turn.strand(group_id), turn.talk(group_id)
    if outgoing.device != turn.state.me.device and (
        outgoing.device is None or outgoing.device not in ranks.devices(turn)
    ):
        _give_up(turn, group_id, [name])  # of a device that is ours no more nobody knows whether it said that
        return
    if _over(turn, strand, outgoing):
        _give_up(turn, group_id, [name])
    elif outgoing.why is Why.MISSED and said_again_at(outgoing, strand.head):
        turn.change(outbox=turn.state.outbox.set(name, replace(outgoing, why=None, again_at=0)))
    elif not can_speak(turn, strand, talk) or not _seal(turn, name):
        paused = talk.mode is Mode.EC1 and talk.quiet_until > turn.now
        later = talk.quiet_until if paused else turn.now + config.retry_most
        turn.change(outbox=turn.state.outbox.set(name, replace(outgoing, again_at=later)))


def said_again_at(outgoing: Outgoing, epoch: EpochId) -> bool:
    """Whether it was said there twice, or by a sibling. Once may have met a key that was used."""
    there = [place for place in outgoing.places if place.epoch == epoch]
    return len(there) > 1 or any(not place.digest for place in there)


def _over(turn: Turn, strand: Strand, outgoing: Outgoing) -> bool:
    """Whether receivers may have forgotten by now whether they had it."""
    return outgoing.stage is not Stage.CONFIRMED and outgoing.since + _policy(strand).horizon <= turn.now


def give_back(turn: Turn, subject: bytes) -> None:
    """Duty RETURN: what cannot be confirmed in time goes back to the user, what is confirmed is let go."""
    group_id = GroupId(subject)
    talk = turn.state.talks.find(group_id)
    strand = turn.state.strands.find(group_id)
    if talk is None or strand is None:  # a conversation that is not here any more
        _drop(turn, group_id, [name for name, each in turn.state.outbox.items() if each.conversation == group_id])
        return
    policy = _policy(strand)
    outbox = turn.state.outbox
    next_at = []
    done: list[ContentId] = []
    over: list[ContentId] = []
    for name in talk.going:
        outgoing = outbox[name]
        end = outgoing.since + policy.horizon
        if end > turn.now:
            next_at.append(end)
        else:
            (done if outgoing.stage is Stage.CONFIRMED else over).append(name)
    _drop(turn, group_id, done)
    _give_up(turn, group_id, over)
    if next_at:
        turn.due(Duty.RETURN, group_id, max(turn.now + DAY // 24, min(next_at)))


# ---------------------------------------------------------------- other devices of ours


def of_sibling(
    turn: Turn, strand: Strand, epoch: EpochId, name: ContentId, content: Content, device: DeviceId | None
) -> None:
    """Another device of ours said this: keep it, in case that one cannot say it again when it has to be."""
    if device is not None and device not in ranks.devices(turn) and device != turn.state.me.device:
        device = None  # it was removed before this was heard
    try:
        _make_room(turn)
    except Misuse:
        turn.drop("outbox-full")
        return
    talk = _with(turn, strand, turn.talk(strand.group_id), name, content, device, Place(epoch=epoch))
    turn.put_talk(talk)
    turn.due(Duty.RETURN, talk.group_id, turn.now + _policy(strand).horizon)
    _look(turn, strand, name)


def heard_again(turn: Turn, strand: Strand, epoch: EpochId, name: ContentId) -> None:
    """A message of our account's was heard that is known: it may stand now where it did not before."""
    outgoing = turn.state.outbox.find(name)
    if outgoing is None or any(place.epoch == epoch for place in outgoing.places):
        return
    stage = Stage.SAID if outgoing.stage is Stage.QUEUED else outgoing.stage
    without = _without(strand, turn.talk(strand.group_id), outgoing, epoch)
    _put(turn, name, replace(outgoing, stage=stage), Place(epoch=epoch, without=without))
    _look(turn, strand, name)


def _look(turn: Turn, strand: Strand, name: ContentId) -> None:
    graph, talk = strand.graph, turn.talk(strand.group_id)
    stands = {*talk.passed}
    if not summaries.provisional(strand):
        stands |= {graph.anchor.epoch, *graph.path(strand.final)}
    _judge(turn, name, stands, {*stands, *graph.path(strand.head)})
    _plan(turn, strand.group_id, [name])
