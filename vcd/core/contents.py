"""Messages as people know them: each is taken once, and shown after those that its author had seen.

A message's id is a hash of the conversation, the account that said it and the content. It is never sent. Each receiver
makes it from what it opened, and the account is that of the leaf whose signature held, so nobody can say something
under another's id, and a message that is said again, in whatever epoch and by whatever device of its author's, has the
id that it had.

Taken once: an id is remembered for the group's horizon after it was taken. What is forgotten must not be taken again,
so of each account one more number is kept for good, its *floor*: the latest time, by the author's clock, that a
forgotten message of it had. Whatever is at or below the floor and not remembered is refused. Times of one account are
compared with each other and with nothing else: not with this device's clock, and not with those of other accounts. So
a clock that is wrong makes nobody deaf or mute, and no message comes twice, whatever its author does. The author's
devices give up on a message after the same horizon, counted from when they said or heard it.

The table is bounded. When it is full, the account that has the most in it loses some of its oldest and its floor rises
by that: who floods a conversation shortens its own horizon and nobody else's.

Shown in order: a message names up to eight that its author had seen last. If one of those is not here, it is held for a
while (`Config.order_wait`), and then shown without. Where the user was not asked yet whether to be in a conversation,
everything is held, and as much as fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from heapq import nsmallest
from typing import TYPE_CHECKING

from mls.codec import opaque
from vcd.core.duties import Duty
from vcd.core.events import Message
from vcd.core.names import AccountId, ContentId, GroupId
from vcd.core.payloads import Content
from vcd.core.policy import HOUR
from vcd.core.record import encode
from vcd.core.spoken import Held, Seen
from vcd.core.state import Acceptance, Talk
from vcd.core.values import replace

if TYPE_CHECKING:
    from vcd.core.turn import Turn

FRONTIER = 8
"""How many a message names that its author had seen last."""
MAX_TIME = 1 << 53
"""No clock of anybody's shows more, in milliseconds since 1970."""
SHARE = 64
"""Of the ids of the account that has the most, so much is forgotten at once when the table is full."""
MAX_MEDIA = 255
MAX_FLOORS = 4096


def content_id(conversation: GroupId, sender: AccountId, content: Content) -> ContentId:
    """What everybody who reads it calls it."""
    plain = replace(content, relayed=False) if content.relayed else content
    parts = opaque(b"vcd content") + opaque(conversation) + opaque(sender) + opaque(encode(plain))
    return ContentId(hashlib.sha256(parts).digest())


def fits(turn: Turn, content: Content) -> str | None:
    """Which rule a content breaks, if any."""
    if len(content.data) > turn.state.config.max_said:
        return "said-size"
    if len(content.media) > MAX_MEDIA:
        return "said-media"
    return "said-time" if content.said_at > MAX_TIME else None


# ---------------------------------------------------------------- taken once


def floor_of(talk: Talk, sender: AccountId) -> int:
    """What of an account's has this time, or an earlier one, and is not remembered, is taken no more."""
    found = talk.floors.find(sender)
    return talk.floor if found is None else found


def remember(turn: Turn, talk: Talk, name: ContentId, seen: Seen) -> Talk:
    """With a message that is taken now."""
    if len(talk.seen) >= turn.state.config.max_seen:
        talk = _with_room(talk)
    turn.due(Duty.SEEN, talk.group_id, seen.until)
    return replace(talk, seen=talk.seen.set(name, seen))


def until(turn: Turn, said_at: int, horizon: int) -> int:
    """How long a message is remembered that is taken now. One that says that it is of the future, until it is old."""
    return max(turn.now, said_at) + horizon


def _with_room(talk: Talk) -> Talk:
    count: dict[AccountId, int] = {}
    for seen in talk.seen.values():
        count[seen.sender] = count.get(seen.sender, 0) + 1
    most = max(count, key=lambda sender: (count[sender], sender))
    mine = ((seen.said_at, name) for name, seen in talk.seen.items() if seen.sender == most)
    return _forgotten(talk, [name for _, name in nsmallest(max(1, count[most] // SHARE), mine)])


def _forgotten(talk: Talk, names: Iterable[ContentId]) -> Talk:
    """Without messages that are remembered; their authors' floors rise by that."""
    gone = list(names)
    if not gone:
        return talk
    floors: dict[AccountId, int] = {}
    nonces = []
    for name in gone:
        seen = talk.seen[name]
        floors[seen.sender] = max(floors.get(seen.sender, floor_of(talk, seen.sender)), seen.said_at)
        if seen.nonce in talk.nonces:
            nonces.append(seen.nonce)
    after = talk.floors.update(floors)
    rest, common = after, talk.floor
    if len(after) > MAX_FLOORS:  # the lowest become everybody's who has none
        lowest = sorted(after.items(), key=lambda item: (item[1], item[0]))[: len(after) - MAX_FLOORS]
        rest = after.changed([sender for sender, _ in lowest], {})
        common = max(common, lowest[-1][1])
    dropped = set(gone)
    return replace(
        talk,
        seen=talk.seen.changed(gone, {}),
        nonces=talk.nonces.changed(nonces, {}),
        floors=rest,
        floor=common,
        frontier=tuple(each for each in talk.frontier if each not in dropped),
    )


def forget(turn: Turn, group_id: GroupId) -> None:
    """Let go of ids whose time is over."""
    talk = turn.state.talks.find(group_id)
    if talk is None:
        return
    old = sorted(name for name, seen in talk.seen.items() if seen.until <= turn.now and name not in talk.held)
    talk = _forgotten(talk, old)
    turn.put_talk(talk)
    rest = [seen.until for seen in talk.seen.values()]
    if rest:
        turn.due(Duty.SEEN, group_id, max(min(rest), turn.now + HOUR))


# ---------------------------------------------------------------- shown in order


def show(turn: Turn, talk: Talk, name: ContentId, held: Held) -> Talk:
    """Give a message to the app."""
    content = held.content
    turn.tell(
        Message(
            conversation=talk.group_id,
            content=name,
            sender=held.sender,
            ours=held.ours,
            device=held.device,
            said_at=content.said_at,
            after=content.after,
            data=content.data,
            media=content.media,
            relayed=content.relayed,
        )
    )
    rest = [each for each in talk.frontier if each not in content.after]
    return replace(talk, frontier=(*rest, name)[-FRONTIER:])


def take(turn: Turn, group_id: GroupId, name: ContentId, held: Held, horizon: int, read: bytes = b"") -> bool:
    """A message that was heard: show it, now or when its time comes. Says whether it was new. `read`: see `Seen`."""
    talk = turn.talk(group_id)
    content = held.content
    known = talk.seen.find(name)
    if known is not None:
        if read and known.read != read:
            turn.put_talk(replace(talk, seen=talk.seen.set(name, replace(known, read=read))))
        return False
    if content.said_at <= floor_of(talk, held.sender):
        turn.drop("said-old")
        return False
    seen = Seen(sender=held.sender, said_at=content.said_at, until=until(turn, content.said_at, horizon), read=read)
    talk = remember(turn, talk, name, seen)
    if talk.acceptance is Acceptance.NO:
        turn.put_talk(talk)
        return True
    asked = talk.acceptance is Acceptance.ASKS
    waits = any(each not in talk.seen or each in talk.held for each in content.after)
    if not asked and not waits and not talk.held:
        turn.put_talk(show(turn, talk, name, held))
        return True
    first: list[ContentId] = []
    if len(talk.held) >= turn.state.config.max_held:
        longest = sorted((each.since, name) for name, each in talk.held.items())
        first = [each for _, each in longest[: 1 if asked else max(1, len(longest) // 4)]]
        if asked:
            turn.drop("held-full")
            talk = replace(talk, held=talk.held.discard(first[0]))
    turn.put_talk(replace(talk, held=talk.held.set(name, held)))
    if waits and not first:  # so nothing waited for it alone; what is late by now has its duty
        turn.due(Duty.ORDER, group_id, held.since + turn.state.config.order_wait)
    else:
        let_out(turn, group_id, first=first)
    return True


def let_out(turn: Turn, group_id: GroupId, *, first: Collection[ContentId] = ()) -> None:
    """Show what waited for others and need not any more: they are here, or its time is over. `first` in any case."""
    talk = turn.state.talks.find(group_id)
    if talk is None or not talk.held or talk.acceptance is Acceptance.ASKS:
        return
    if talk.acceptance is Acceptance.NO:
        turn.put_talk(replace(talk, held=talk.held.changed(list(talk.held), {})))
        return
    wait = turn.state.config.order_wait
    pending = dict(sorted(talk.held.items(), key=lambda item: (item[1].since, item[0])))
    late = _with_ancestors(
        pending, [name for name, held in pending.items() if name in first or held.since + wait <= turn.now]
    )
    moving = True
    while moving:
        moving = False
        for name, held in list(pending.items()):
            before = held.content.after
            if any(each in pending for each in before):
                continue
            if name in late or all(each in talk.seen for each in before):
                talk = show(turn, talk, name, held)
                del pending[name]
                moving = True
    gone = [name for name in talk.held if name not in pending]
    turn.put_talk(replace(talk, held=talk.held.changed(gone, {})))
    if pending:
        turn.due(Duty.ORDER, group_id, min(held.since for held in pending.values()) + wait)


def _with_ancestors(pending: dict[ContentId, Held], late: list[ContentId]) -> set[ContentId]:
    """Who is shown now takes along what it waits for, as far as that is here: so nothing waits longer than its time."""
    found = set(late)
    todo = list(late)
    while todo:
        for each in pending[todo.pop()].content.after:
            if each in pending and each not in found:
                found.add(each)
                todo.append(each)
    return found
