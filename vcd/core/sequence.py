"""In which order the messages of one member are opened, when they do not come in the order that they were sealed in.

Each message of a member has a key of its own, and the keys of those that were passed over are kept for the last few
alone (`Parameters.out_of_order`). The mesh gives what was missed in no order at all. So a message that would cost the
keys of others waits for these. Messages are counted in blocks of half as many as keys are kept: one is opened if its
block is that of the oldest message that is missing, or the next one. When the oldest that is missing has come, those
that waited for it are looked at, so each waits once or twice, however many there are.

What is missing may never come. When nothing of a member's was opened for a while (`Config.retry`), what waits is
opened all the same. What is missing then may have no key any more when it comes after all, and nothing waits for it
again (`Need.OVER`); what lies further ahead than a ratchet may skip is put back then (`waiting`). So the while is
counted only while we are connected and not asleep, and begins anew with each message that is opened, or given once
more as there was no room for it: who was away for long has more to catch up with than can be done in it. What is given
once more may be any member's junk, and puts nothing off that has waited for longer than `Config.retry_most`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import Reader
from mls.errors import PeerError
from mls.framing import PrivateMessage, open_sender_data, read_wire_format
from mls.registries import ContentType, LeafIndex, WireFormat
from mls.secret_tree import APPLICATION
from vcd.core import waiting
from vcd.core.duties import Duty
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.payloads import Post, unpack
from vcd.core.waiting import Need, Needs

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_NUMBER = waiting.PLACE
"""Bytes of a leaf's and a block's number."""
JUNK = 4
"""Of what waited and is no message after all, so much is looked at in one step: each may cost as many steps of a
ratchet as may be skipped, and any member can claim any place."""
_OFTEN = 1_000
"""Milliseconds between notes that something was opened."""
MAX_BLOCKS = 64
"""That are looked at when what was missing has come; no ratchet may skip more."""


def place(group: Group, message: bytes) -> tuple[int, int] | None:
    """Which leaf sealed an application message, and its number; unverified. None for anything else."""
    reader = Reader(message)
    try:
        if read_wire_format(reader) != WireFormat.PRIVATE_MESSAGE:
            return None
        private = PrivateMessage.decode(reader)
        if private.content_type != ContentType.APPLICATION or private.epoch != group.epoch:
            return None
        sender = open_sender_data(group.suite, group.secrets.sender_data, private)
    except PeerError:
        return None
    return int(sender.leaf_index), int(sender.generation)


def is_used(group: Group, message: bytes) -> bool:
    """Whether the key of a message is gone, or was used. Of our own leaf, keys that were used are kept as well."""
    found = place(group, message)
    if found is None or found[0] == group.own_leaf:
        return found is not None
    leaf, number = found
    ratchet = group.keys.ratchets.find(2 * leaf + APPLICATION)
    return ratchet is not None and number < ratchet.generation and number not in ratchet.skipped


def _oldest(group: Group, leaf: int, over: int) -> int:
    """The number of the oldest message of a leaf that is missing, could still be read and is waited for."""
    ratchet = group.keys.ratchets.find(2 * leaf + APPLICATION)
    if ratchet is None:
        return 0
    if leaf == group.own_leaf or not ratchet.skipped:  # of our own leaf, keys that were used are kept as well
        return ratchet.generation
    return min((number for number in ratchet.skipped if number >= over), default=ratchet.generation)


def _block(group: Group) -> int:
    return max(1, group.parameters.out_of_order // 2)


def _needs(epoch: EpochId, leaf: int, block: int) -> Needs:
    return (Need.TURN, _whose(epoch, leaf)[1] + block.to_bytes(_NUMBER, "big"))


def _whose(epoch: EpochId, leaf: int) -> Needs:
    """Where it is noted in `Room.asked` when something of a leaf was opened last, by `Turn.awake`, while more waits."""
    return (Need.TURN, epoch + leaf.to_bytes(_NUMBER, "big"))


def _noted(turn: Turn, whose: Needs) -> None:
    room = turn.state.waiting
    turn.change(waiting=replace(room, asked=room.asked.set(whose, turn.awake)))


def _over(turn: Turn, epoch: EpochId, leaf: int) -> int:
    """Before which number nothing of a leaf is waited for any more."""
    return turn.state.waiting.asked.find((Need.OVER, _whose(epoch, leaf)[1])) or 0


def early(turn: Turn, strand: Strand, payload: Post, frame: FrameId) -> bool:
    """Whether a message has to wait for others; then it does."""
    group = strand.kept[payload.epoch].group
    found = place(group, payload.message)
    if found is None:
        return False
    leaf, number = found
    size = _block(group)
    oldest = _oldest(group, leaf, _over(turn, payload.epoch, leaf))
    if number // size <= oldest // size + 1 or group.public.tree.leaf(LeafIndex(leaf)) is None:
        return False
    needs = _needs(payload.epoch, leaf, number // size)
    waiting.hold(turn, frame, strand.group_id, needs, payload)
    whose = _whose(payload.epoch, leaf)
    noted = turn.state.waiting.asked.find(whose)
    if noted is None or (turn.came_again and noted + _OFTEN <= turn.awake and not _long(turn, whose)):
        _noted(turn, whose)
    turn.due(Duty.ORDER, strand.group_id, turn.now + turn.state.config.retry)
    return True


def _long(turn: Turn, whose: Needs) -> bool:
    """Whether something waits for so long that nothing but what is opened puts it off: what comes again may be junk."""
    since = turn.now - turn.state.config.retry_most
    return any(
        awaited.since < since
        for needs, awaited in turn.state.waiting.by_need.items()
        if needs[0] is Need.TURN and needs[1].startswith(whose[1])
    )


def opened(turn: Turn, before: Group, after: Group, epoch: EpochId) -> None:
    """A message was opened, or others were: those that waited for it may be next."""
    if not turn.state.waiting.by_need:
        return
    size = _block(after)
    for index, ratchet in after.keys.ratchets.changes(before.keys.ratchets)[0].items():
        del ratchet
        if index % 2 != APPLICATION:
            continue
        leaf = index // 2
        noted = turn.state.waiting.asked.find(_whose(epoch, leaf))
        if noted is not None and noted + _OFTEN <= turn.awake:
            _noted(turn, _whose(epoch, leaf))
        over = _over(turn, epoch, leaf)
        was, now = _oldest(before, leaf, over) // size, _oldest(after, leaf, over) // size
        for block in range(was + 2, min(now + 2, was + 2 + MAX_BLOCKS)):
            waiting.wake(turn, _needs(epoch, leaf, block))


def force(turn: Turn, group_id: GroupId) -> None:
    """Part of duty ORDER: open what waited long enough for messages that did not come."""
    from vcd.core import following

    room, wait = turn.state.waiting, turn.state.config.retry
    waits: dict[Needs, list[Needs]] = {}
    for needs, awaited in room.by_need.items():
        if needs[0] is Need.TURN and awaited.group_id == group_id:
            waits.setdefault((Need.TURN, needs[1][:-_NUMBER]), []).append(needs)
    most = len(turn.refused) + JUNK
    for whose, mine in sorted(waits.items(), key=lambda item: item[0][1]):
        left = (room.asked.find(whose) or 0) + wait - turn.awake
        if left > 0:  # which grows no shorter while we are not connected: then it is no time to look again at
            turn.due(Duty.ORDER, group_id, turn.now + (left if turn.state.clock.online else wait))
            continue
        before = _next(turn, group_id, whose)
        for needs in sorted(mine, key=lambda each: each[1]):
            for frame in room.by_need[needs]:
                if len(turn.refused) >= most:
                    turn.due(Duty.ORDER, group_id, turn.now + 1)
                    return
                held = turn.state.waiting.items.find(frame)
                payload = None if held is None else unpack(held.payload)
                if isinstance(payload, Post):
                    following.on_post(turn, group_id, payload, frame, in_turn=False)
        now = _next(turn, group_id, whose)
        if now > before:  # or those that come next would wait for the same again
            room_now = turn.state.waiting
            turn.change(waiting=replace(room_now, asked=room_now.asked.set((Need.OVER, whose[1]), now)))
    _tidy(turn)


def _next(turn: Turn, group_id: GroupId, whose: Needs) -> int:
    """The number of a leaf's first message after all that were opened."""
    epoch, leaf = EpochId(whose[1][:-_NUMBER]), int.from_bytes(whose[1][-_NUMBER:], "big")
    kept = turn.strand(group_id).kept.find(epoch)
    ratchet = None if kept is None else kept.group.keys.ratchets.find(2 * leaf + APPLICATION)
    return 0 if ratchet is None else ratchet.generation


def _tidy(turn: Turn) -> None:
    """Forget what was noted of epochs that are gone, and of leaves of which nothing waits any more, in any group."""
    room = turn.state.waiting
    elsewhere = {needs[1][:-_NUMBER] for needs in room.by_need if needs[0] is Need.TURN}
    over = [each for each in room.asked if each[0] is Need.TURN and each[1] not in elsewhere]
    noted = [each for each in room.asked if each[0] is Need.OVER]
    epochs = {epoch for strand in turn.state.strands.values() for epoch in strand.kept} if noted else set()
    over += [each for each in noted if each[1][:-_NUMBER] not in epochs]
    if over:
        turn.change(waiting=replace(room, asked=room.asked.changed(over, {})))
