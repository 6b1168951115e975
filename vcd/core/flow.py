"""How an input goes through the node, and what follows when a group stands elsewhere than before.

A frame is looked up by its topic, opened, and given to the room that its kind belongs to (`PAYLOADS`). Whatever that
changes in a graph is looked at once, after it: where the group stands now, and if that is elsewhere, every room that
cares is told (`MOVED`), in an order in which each finds done what it needs. Rooms may change graphs in turn, or find
what waiting messages waited for, so this goes on until nothing does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vcd.core import (
    agenda,
    calls,
    certificates,
    contacts,
    conversations,
    delivery,
    desync,
    devices,
    following,
    intents,
    invitations,
    joining,
    lead,
    missed,
    nobody,
    outbox,
    partitions,
    raw_care,
    recalling,
    reissue,
    retention,
    rotation,
    sending,
    stock,
    summaries,
    topics,
    upkeep,
    voting,
    waiting,
    whereabouts,
)
from vcd.core.duties import Duty
from vcd.core.effects import Join, Leave, Publish, Wake
from vcd.core.errors import Malformed, Refused
from vcd.core.inputs import Arrived, Online, Published, Reached, Slept, Started
from vcd.core.names import FrameId, GroupId, TopicId
from vcd.core.payloads import (
    Call,
    Certified,
    Commit,
    Decision,
    Digest,
    Door,
    Invite,
    Lineage,
    Missed,
    Nobody,
    Nomination,
    Payload,
    Post,
    Presence,
    Retry,
    Votes,
    Want,
    unpack,
)
from vcd.core.state import SLOWER, State
from vcd.core.strand import Membership, Strand, stood
from vcd.core.turn import Turn
from vcd.core.values import replace

Handler = Callable[[Turn, GroupId, Any, FrameId], None]

PAYLOADS: dict[type[Any], Handler] = {
    Commit: following.on_commit,
    Post: following.on_post,
    Votes: voting.on_votes,
    Digest: summaries.on_digest,
    Want: summaries.on_want,
    Lineage: summaries.on_headers,
    Door: desync.on_door,
    Decision: lead.on_decision,
    Nomination: lead.on_nomination,
    Missed: missed.on_missed,
    Nobody: nobody.on_nobody,
}
"""Of groups' topics."""

INBOX: dict[type[Any], Callable[[Turn, Any, FrameId], None]] = {
    Invite: invitations.on_invite,
    Retry: invitations.on_retry,
    Call: calls.on_call,
}
"""Of our inbox topic."""

MOVED: tuple[Callable[[Turn, Strand, Strand], None], ...] = (
    conversations.moved,
    devices.moved,
    recalling.moved,
    delivery.moved,
    retention.moved,
    whereabouts.moved,
    certificates.moved,
    outbox.moved,
    intents.moved,
    stock.moved,
    reissue.moved,
    rotation.moved,
    joining.moved,
    upkeep.moved,
    voting.moved,
    summaries.moved,
    desync.moved,
    lead.moved,
    sending.moved,
    partitions.moved,
    raw_care.moved,
)
"""Called with a strand as it was and as it is, when its head, its last final epoch or what is void has changed, and
when this device follows at last to a head that it knew of."""


def arrived(turn: Turn, frame: Arrived) -> None:
    """A frame of one of our topics."""
    joined = turn.state.joined.find(frame.topic)
    if joined is None:
        turn.drop("topic")
        return
    try:
        payload = unpack(topics.open_sealed(turn.topic_suite, joined.keys, frame.payload))
    except Malformed as error:
        turn.drop("malformed", str(error))
        return
    if joined.inbox:
        handler = INBOX.get(type(payload))
        if handler is None:
            turn.drop("payload-place")
            return
        handler(turn, payload, frame.frame)
    elif joined.group_id is not None:
        turn.came_by, turn.came_again = joined.secret, frame.again
        deliver(turn, joined.group_id, payload, frame.frame)


def deliver(turn: Turn, group_id: GroupId, payload: Payload, frame: FrameId) -> None:
    """A payload of a group, when it came or when what it waited for did; one of our inbox has no group's name."""
    if group_id == waiting.INBOX:
        INBOX[type(payload)](turn, payload, frame)
        return
    if isinstance(payload, Presence):
        whereabouts.on_presence(turn, group_id, payload, frame)
        return
    if isinstance(payload, Certified):
        certificates.on_certified(turn, payload)
        return
    if group_id not in turn.state.strands:
        if group_id in turn.state.talks:
            sending.on_payload(turn, group_id, payload, frame)
        return
    handler = PAYLOADS.get(type(payload))
    if handler is None:
        turn.drop("payload-place")
        return
    if following.hopeless(turn.strand(group_id), payload):
        waiting.give_up(turn, frame, payload)
        return
    try:
        handler(turn, group_id, payload, frame)
    except (Refused, Malformed) as error:
        turn.drop(getattr(error, "rule", "malformed"), str(error))
        waiting.done(turn, frame)


ROUNDS = 10_000
"""More than any honest chain of messages needs in one step; what is left then waits for the next."""


def settle(turn: Turn) -> None:
    """Until nothing follows from anything any more."""
    for _ in range(ROUNDS):
        if turn.touched:
            group_id = next(iter(turn.touched))
            del turn.touched[group_id]
            _stand(turn, group_id)
        elif turn.again:
            frame = next(iter(turn.again))
            del turn.again[frame]
            held = turn.state.waiting.items.find(frame)
            if held is not None:
                deliver(turn, held.group_id, unpack(held.payload), frame)
        else:
            return


def _stand(turn: Turn, group_id: GroupId) -> None:
    old = turn.state.strands.find(group_id)
    if old is None:
        return
    new = stood(old) if turn.state.talks.find(group_id) is None else lead.stood(turn, old)
    if new is not old:
        turn.put(new)
    join_topics(turn, group_id)
    voting.touched(turn, group_id)
    lead.touched(turn, group_id)
    if new is not old or (new.membership is Membership.LOST and new.here is not None):
        for hook in MOVED:
            hook(turn, old, turn.strand(group_id))
    if group_id in turn.touched:
        return  # it may stand elsewhere by now, and what is there must not be taken for what is not needed
    reissue.touched(turn, group_id)
    retention.touched(turn, group_id)


def join_topics(turn: Turn, group_id: GroupId) -> None:
    """Take part in the topics of all epochs that are kept; serve those of before for as long as frames live."""
    strand = turn.strand(group_id)
    wanted: dict[bytes, Any] = {}
    for secret in strand.topic_secrets():
        wanted[secret.raw] = secret
    for raw in sorted(wanted):
        turn.join(wanted[raw], group_id)
    for name in turn.state.topics.find(group_id) or ():
        joined = turn.state.joined.find(name)
        if joined is None or joined.inbox:
            continue
        until = None if joined.secret.raw in wanted else joined.until or turn.now + turn.state.config.frame_life
        if until != joined.until:
            turn.change(joined=turn.state.joined.set(name, replace(joined, until=until)))
            if until is not None:
                turn.due(Duty.TOPICS, b"", until)


def leave_topics(turn: Turn, _: bytes) -> None:
    """Topics that nobody needs us for any more."""
    for name, joined in sorted(turn.state.joined.items()):
        if joined.until is None:
            continue
        if joined.until <= turn.now:
            turn.change(joined=turn.state.joined.discard(name))
            _let_go(turn, joined.group_id, name)
            turn.effects.append(Leave(topic=name))
        else:
            turn.due(Duty.TOPICS, b"", joined.until)


def _let_go(turn: Turn, group_id: GroupId | None, name: TopicId) -> None:
    if group_id is None:
        return
    rest = tuple(each for each in turn.state.topics.find(group_id) or () if each != name)
    several = turn.state.topics
    turn.change(topics=several.set(group_id, rest) if rest else several.discard(group_id))


# ---------------------------------------------------------------- the clock and the surroundings


def clock(turn: Turn, *, counts: bool) -> None:
    """Time went by. It counts for windows if the device was connected and awake in it."""
    old = turn.state.clock
    gap = max(0, turn.now - old.now) if old.now else 0
    awake = old.awake + (gap if counts and old.online else 0)
    slow = turn.wall < turn.now and old.wall and turn.wall >= old.wall
    wall = old.wall + (turn.now - old.now) * SLOWER if slow else turn.wall  # what is not half a millisecond counts on
    turn.change(clock=replace(old, now=turn.now, awake=awake, wall=wall))


def slept(turn: Turn, slept_for: Slept) -> None:
    """The device was not awake for part of the time since the last input."""
    old = turn.state.clock
    if old.online:
        turn.change(clock=replace(old, awake=max(0, old.awake - slept_for.milliseconds)))
    voting.connected(turn)


def online(turn: Turn, now: Online) -> None:
    began = now.online and not turn.state.clock.online
    turn.change(clock=replace(turn.state.clock, online=now.online))
    if began:
        voting.connected(turn)
    partitions.online(turn, now.online)


def reached(turn: Turn, seen: Reached) -> None:
    joined = turn.state.joined.find(seen.topic)
    if joined is None:
        return
    several = [each for each in turn.state.strands if joined.group_id in (each, turn.state.home)]
    unheard = [each for each in several if not voting.hears(turn, turn.strand(each))]
    turn.change(joined=turn.state.joined.set(seen.topic, replace(joined, peers=seen.peers, mailbox=seen.mailbox)))
    if joined.group_id is not None and joined.group_id in turn.state.strands:
        partitions.reached(turn, joined.group_id)
    for group_id in sorted(unheard):
        if voting.hears(turn, turn.strand(group_id)):
            voting.heard(turn, group_id)


def published(turn: Turn, done: Published) -> None:
    if done.number in turn.state.unsent:
        turn.change(unsent=turn.state.unsent.discard(done.number))


def started(turn: Turn, _: Started) -> None:
    """Give again what the last run may not have done. Who is in which topic is told anew, where anybody is."""
    before = {name: each for name, each in turn.state.joined.items() if each.peers or each.mailbox}
    nobody = {name: replace(each, peers=0, mailbox=False) for name, each in before.items()}
    turn.change(joined=turn.state.joined.update(nobody))
    for _name, joined in sorted(turn.state.joined.items()):
        turn.effects.append(Join(topic=joined.keys.name, seed=joined.keys.seed))
    turn.change(clock=replace(turn.state.clock, online=False, wake_at=0))
    for number, unsent in sorted(turn.state.unsent.items()):
        keys = topics.keys_of(turn.topic_suite, unsent.secret)
        turn.effects.append(
            Publish(number=number, topic=keys.name, seed=keys.seed, payload=unsent.payload, expires=unsent.expires)
        )
    invitations.started(turn)
    devices.started(turn)
    sending.started(turn)


def finish(turn: Turn, before: State) -> None:
    """Last of a step: what was witnessed, topics that are new, and when to wake."""
    contacts.witnessed(turn)
    if turn.joining:
        whereabouts.joined(turn)
        certificates.soon(turn)
    turn.effects[:0] = [Join(topic=keys.name, seed=keys.seed) for keys in turn.joining]
    back = turn.wall < before.clock.wall  # the clock was set back, so it would wake us too late
    if turn.state.duties is before.duties and turn.state.clock.wake_at and not back:
        return
    plan, at = agenda.of(turn.state.agenda, turn.state.duties).first()
    turn.change(agenda=plan)
    if at and (back or at != turn.state.clock.wake_at):
        turn.change(clock=replace(turn.state.clock, wake_at=at))
        turn.effects.append(Wake(at=turn.state.clock.wall_at(turn.now, turn.wall, at)))
