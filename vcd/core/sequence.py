"""In which order the messages of one member are opened, when they do not come in the order that they were sealed in.

Each message of a member has a key of its own, and the keys of those that were passed over are kept for the last few
alone (`Parameters.out_of_order`). The mesh gives what was missed in no order at all. So a message that would cost the
keys of others waits for these. Messages are counted in blocks of half as many as keys are kept: one is opened if its
block is that of the oldest message that is missing, or the next one. When the oldest that is missing has come, those
that waited for it are looked at, so each waits once or twice, however many there are.

What is missing may never come. After a while (`Config.retry`) a block is opened all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import Reader
from mls.errors import PeerError
from mls.framing import PrivateMessage, open_sender_data, read_wire_format
from mls.registries import ContentType, WireFormat
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


def _oldest(group: Group, leaf: int) -> int:
    """The number of the oldest message of a leaf that is missing and could still be read."""
    ratchet = group.keys.ratchets.find(2 * leaf + APPLICATION)
    if ratchet is None:
        return 0
    if leaf == group.own_leaf or not ratchet.skipped:  # of our own leaf, keys that were used are kept as well
        return ratchet.generation
    return min(ratchet.skipped)


def _block(group: Group) -> int:
    return max(1, group.parameters.out_of_order // 2)


def _needs(epoch: EpochId, leaf: int, block: int) -> Needs:
    return (Need.TURN, epoch + leaf.to_bytes(4, "big") + block.to_bytes(4, "big"))


def early(turn: Turn, strand: Strand, payload: Post, frame: FrameId) -> bool:
    """Whether a message has to wait for others; then it does."""
    group = strand.kept[payload.epoch].group
    found = place(group, payload.message)
    if found is None:
        return False
    leaf, number = found
    size = _block(group)
    if number // size <= _oldest(group, leaf) // size + 1:
        return False
    needs = _needs(payload.epoch, leaf, number // size)
    waiting.hold(turn, frame, strand.group_id, needs, payload)
    room = turn.state.waiting
    if needs not in room.asked and needs in room.by_need:
        turn.change(waiting=replace(room, asked=room.asked.set(needs, turn.now)))
    turn.due(Duty.ORDER, strand.group_id, turn.now + turn.state.config.retry)
    return True


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
        was, now = _oldest(before, leaf) // size, _oldest(after, leaf) // size
        for block in range(was + 2, min(now + 2, was + 2 + MAX_BLOCKS)):
            waiting.wake(turn, _needs(epoch, leaf, block))


def force(turn: Turn, group_id: GroupId) -> None:
    """Part of duty ORDER: open what waited long enough for messages that did not come."""
    from vcd.core import following

    room, wait = turn.state.waiting, turn.state.config.retry
    mine = sorted(
        (needs[1], needs)
        for needs, awaited in room.by_need.items()
        if needs[0] is Need.TURN and awaited.group_id == group_id
    )
    for _, needs in mine:
        since = room.asked.find(needs) or 0
        if since + wait > turn.now:
            turn.due(Duty.ORDER, group_id, since + wait)
            continue
        for frame in room.by_need[needs]:
            held = turn.state.waiting.items.find(frame)
            payload = None if held is None else unpack(held.payload)
            if isinstance(payload, Post):
                following.on_post(turn, group_id, payload, frame, in_turn=False)
