"""What cannot be read yet: messages of epochs to come, and what rests on something that a sibling has to tell.

Everything that waits says what it needs. When that comes (`wake`), it is given to `flow` again, as if it had just
arrived; if it needs something else then, it waits again. What is missing is asked for, once in a while, as long as it
is missing. The table is bounded by count, bytes and age. When it is full, the oldest of whatever group has the most
gives way, so that a member who floods one conversation pushes nobody out of another.

What waits for what its author said before (`sequence`) is not lost when it gives way: whoever was away while very much
was said hears the newest of it first, and could never open what comes after a gap. The furthest gives way, and is put
back (`Turn.put_back`): the surroundings have it on disk, and give it again when there is room.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mls.persistent import PMap
from vcd.core import topics
from vcd.core.duties import Duty
from vcd.core.effects import Synchronize
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.payloads import Payload, Post, Votes, Want, pack, unpack

if TYPE_CHECKING:
    from vcd.core.turn import Turn


class Need(enum.Enum):
    """What something waits for."""

    EPOCH = 1  # the subject is an epoch's name
    HOME = 2  # something that another device of ours said or did; the subject is the home
    PROPOSAL = 3  # the subject is the epoch in which the proposals were made
    GROUP = 4  # a group that we are to be brought into; the subject is its id
    TURN = 5  # messages that its author said before; the subject is their place (`sequence`)
    LEAD = 6  # what the lead decides, as there is no room; the subject is the epoch (`lead`)
    OVER = 7  # nothing waits for this: a note in `Room.asked` of what is waited for no more (`sequence`)


Needs = tuple[Need, bytes]

INBOX = GroupId(b"")
"""In the place of a group, for what came to our inbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A payload that waits."""

    group_id: GroupId
    needs: Needs
    payload: bytes = field(repr=False)
    since: int
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """What several things wait for. They come out in the order that they went in."""

    group_id: GroupId
    """Of the first that waited for it."""
    since: int
    frames: PMap[FrameId, int] = field(default_factory=PMap)
    """With a number each."""

    def __iter__(self) -> Iterator[FrameId]:
        return iter(sorted(self.frames, key=lambda each: self.frames[each]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """All that waits, and what for."""

    items: PMap[FrameId, Waiting] = field(default_factory=PMap)
    by_need: PMap[Needs, Awaited] = field(default_factory=PMap)
    asked: PMap[Needs, int] = field(default_factory=PMap)
    """When what is missing was asked for last."""
    bytes: int = 0
    number: int = 0
    """Of what came last."""


def hold(turn: Turn, frame: FrameId, group_id: GroupId, needs: Needs, payload: Payload | bytes) -> None:
    """Keep something until what it needs is there."""
    data = payload if isinstance(payload, bytes) else pack(payload)
    config = turn.state.config
    old = turn.state.waiting.items.find(frame)
    waiting = Waiting(
        group_id=group_id,
        needs=needs,
        payload=data,
        since=turn.now if old is None else old.since,
        tries=0 if old is None else old.tries + 1,
    )
    _keep(turn, _without(turn.state.waiting, frame))
    if len(data) > config.max_waiting_bytes // 4:
        turn.drop("waiting-size")
        return
    room = turn.state.waiting
    number = room.number + 1
    awaited = room.by_need.find(needs) or Awaited(group_id=group_id, since=waiting.since)
    room = replace(
        room,
        items=room.items.set(frame, waiting),
        by_need=room.by_need.set(needs, replace(awaited, frames=awaited.frames.set(frame, number))),
        bytes=room.bytes + len(data),
        number=number,
    )
    while len(room.items) > config.max_waiting or room.bytes > config.max_waiting_bytes:
        for each in _least(room, frame):
            gone, room = room.items[each], _without(room, each)
            if not put_back(turn, each, gone):
                turn.drop("waiting-full")
    _keep(turn, room)
    turn.due(Duty.ASK, b"", turn.now + SHORT)
    turn.due(Duty.EXPIRE, b"", waiting.since + config.waiting_life)


SHORT = 2_000
"""How long what is missing may be on its way before it is asked for, in milliseconds."""


def _keep(turn: Turn, room: Room) -> None:
    turn.change(waiting=room)


def _least(room: Room, new: FrameId) -> list[FrameId]:
    """What gives way when it is full: of a big room some at once, as finding them means to look at everything."""
    count: dict[GroupId, int] = {}
    for each in room.items.values():
        count[each.group_id] = count.get(each.group_id, 0) + len(each.payload)
    most = max(count, key=lambda group_id: (count[group_id], group_id))
    theirs = {frame: each for frame, each in room.items.items() if each.group_id == most}
    several = max(1, len(room.items) // 64)
    in_line = {frame: each.needs[1] for frame, each in theirs.items() if each.needs[0] is Need.TURN}
    if 2 * len(in_line) > len(theirs):
        first: dict[bytes, int] = {}
        for place in in_line.values():
            first[place[:-PLACE]] = min(first.get(place[:-PLACE], _block(place)), _block(place))
        return sorted(in_line, key=lambda each: (first[in_line[each][:-PLACE]] - _block(in_line[each]), each))[:several]
    theirs.pop(new, None)
    return sorted(theirs, key=lambda each: (theirs[each].since, each))[:several] or [new]


PLACE = 4
"""Bytes at the end of what `Need.TURN` names: which of its author's blocks of messages it is."""


def _block(place: bytes) -> int:
    return int.from_bytes(place[-PLACE:], "big")


def put_back(turn: Turn, frame: FrameId, held: Waiting) -> bool:
    """Have it given again, if it waits for others of its author and stands where it came from."""
    if held.needs[0] is not Need.TURN:
        return False
    payload, strand = unpack(held.payload), turn.state.strands.find(held.group_id)
    kept = strand.kept.find(payload.epoch) if strand is not None and isinstance(payload, Post) else None
    if kept is None:
        return False
    turn.put_back[frame] = topics.keys_of(turn.topic_suite, kept.topic).name
    return True


def back(turn: Turn, frame: FrameId) -> bool:
    """What waited for others of its author, and cannot be opened without them: have it given again."""
    held = turn.state.waiting.items.find(frame)
    if held is None or not put_back(turn, frame, held):
        return False
    done(turn, frame)
    return True


def _without(room: Room, frame: FrameId) -> Room:
    old = room.items.find(frame)
    if old is None:
        return room
    awaited = room.by_need[old.needs]
    frames = awaited.frames.discard(frame)
    rest = replace(awaited, frames=frames) if frames else None
    return replace(
        room,
        items=room.items.discard(frame),
        by_need=room.by_need.set(old.needs, rest) if rest else room.by_need.discard(old.needs),
        asked=room.asked if rest or old.needs not in room.asked else room.asked.discard(old.needs),
        bytes=room.bytes - len(old.payload),
    )


def done(turn: Turn, frame: FrameId) -> None:
    """It was taken, or will never be."""
    if frame in turn.state.waiting.items:
        _keep(turn, _without(turn.state.waiting, frame))


def withdraw(turn: Turn, needs: Needs, payload: bytes) -> None:
    """Let go of one thing that waits, in whichever frames it came."""
    for frame in turn.state.waiting.by_need.find(needs) or ():
        if turn.state.waiting.items[frame].payload == payload:
            done(turn, frame)


def wake(turn: Turn, needs: Needs) -> None:
    """What it waited for is there: `flow` looks at it once more in this step."""
    for frame in turn.state.waiting.by_need.find(needs) or ():
        turn.again[frame] = None


def review(turn: Turn, group_id: GroupId, hopeless: Callable[[Payload], bool]) -> None:
    """More of a group is final: let go of what nothing can make readable any more."""
    for frame, each in sorted(turn.state.waiting.items.items()):
        if each.group_id == group_id and hopeless(payload := unpack(each.payload)):
            give_up(turn, frame, payload)


def give_up(turn: Turn, frame: FrameId, payload: Payload) -> None:
    """It will never be read. Of votes nothing is said: some are left over whenever something becomes final."""
    if not isinstance(payload, Votes):
        turn.drop("hopeless")
    done(turn, frame)


def wake_inbox(turn: Turn) -> None:
    """We are out of a group: a Welcome that leads back into it, and came before we knew, is looked at again."""
    for frame, each in sorted(turn.state.waiting.items.items()):
        if each.group_id == INBOX and each.needs[0] is Need.EPOCH:
            turn.again[frame] = None


def wake_home(turn: Turn) -> None:
    """Another device of ours was heard: whatever rests on that is tried again."""
    if turn.state.home is not None:
        wake(turn, (Need.HOME, turn.state.home))


def look_again(turn: Turn, group_id: GroupId, *needs: Need) -> None:
    """What a group's commits and messages rest on did not come for long, or need not any more: see `following`."""
    for frame, each in sorted(turn.state.waiting.items.items()):
        if each.group_id == group_id and each.needs[0] in needs:
            turn.again[frame] = None


def ask(turn: Turn, _: bytes) -> None:
    """Ask the others for what is missing, each thing at its times."""
    config, room = turn.state.config, turn.state.waiting
    wanted: dict[GroupId, list[Needs]] = {}
    asked = room.asked
    again: list[int] = []
    for needs, awaited in sorted(room.by_need.items(), key=lambda item: (item[0][0].value, item[0][1])):
        if needs[0] in (Need.HOME, Need.GROUP, Need.TURN, Need.LEAD):
            continue
        pause = max(config.ask_again, (turn.now - awaited.since) // 4)
        last = asked.find(needs) or 0
        again.append(pause + (last if turn.now - last < pause else turn.now))
        if turn.now - last < pause:
            continue  # what nobody had for a day is asked for a few times a day
        group_id = awaited.group_id
        if len(wanted.setdefault(group_id, [])) < ASKED_AT_ONCE:
            wanted[group_id].append(needs)
            asked = asked.set(needs, turn.now)
    if asked is not room.asked:
        _keep(turn, replace(room, asked=asked))
    for group_id, several in wanted.items():
        strand = turn.state.strands.find(group_id)
        here = None if strand is None else strand.here
        if here is None:
            continue
        topic = topics.keys_of(turn.topic_suite, here.topic)
        turn.effects.append(Synchronize(topic=topic.name))  # a frame may just have been lost
        epochs = tuple(EpochId(subject) for need, subject in several if need is Need.EPOCH)
        proposals = tuple(subject for need, subject in several if need is Need.PROPOSAL)
        turn.publish(here.topic, Want(epochs=epochs, proposals=proposals, at=turn.now), life=config.ask_again * 5)
    if again:
        turn.later(Duty.ASK, b"", min(again))


ASKED_AT_ONCE = 32


def expire(turn: Turn, _: bytes) -> None:
    """Let go of what waited too long."""
    life = turn.state.config.waiting_life
    for frame, each in sorted(turn.state.waiting.items.items(), key=lambda item: (item[1].since, item[0])):
        if each.since + life > turn.now:
            turn.due(Duty.EXPIRE, b"", each.since + life)
            return
        turn.drop("waiting-age")
        _keep(turn, _without(turn.state.waiting, frame))
