"""Ordinary MLS clients in a group with a lead: members that are no vcds, and have no mesh of their own.

Somebody carries for them: a vcd in the same group, which is given what such a client sends (`carry`, the command
`Carry`) and hands it what it is to hear. They know nothing of headers, branches or decisions. So for them

* a commit of theirs is published as it is, and everybody who follows it makes its header from it. The lead puts that
  header into its decision, for those who cannot follow. Only members that are no vcds may do without signing theirs.
  Who could follow does not take it from there, and whoever is removed opens the commit (`lead`);
* they hear only commits that were decided on, in order (`decided`), their own among them: that is when they adopt it,
  or forget it if another one comes in its place (RFC 9750 §5.2.1);
* messages are for one epoch, and epochs have numbers for them. A number names one epoch of the chain of decisions.

They get what is said at least once: who says something again because two devices took one key, or because a lead was
voted out, cannot tell an ordinary client that it has it already.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mls.errors import PeerError
from mls.group import peek
from vcd.core import following
from vcd.core.errors import Misuse
from vcd.core.names import EpochId, FrameId
from vcd.core.payloads import Post, pack
from vcd.core.policy import Mode
from vcd.core.strand import Strand

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.turn import Turn


def carry(turn: Turn, command: inputs.Carry) -> None:
    """What an ordinary client sent to the group: to everybody, and to ourselves."""
    strand = turn.strand(command.conversation)
    if strand.mode is not Mode.LEAD:
        raise Misuse("not-lead", "there are ordinary clients only in groups with a lead")
    try:
        outside = peek(command.message)
    except PeerError:
        raise Misuse("not-mls", "this is no MLS message") from None
    if outside.group_id != strand.group_id or outside.epoch is None:
        raise Misuse("not-mls", "this is no message of that conversation")
    epoch = _numbered(strand, outside.epoch)
    if epoch is None:
        raise Misuse("no-epoch", "messages of that epoch cannot be taken here, not yet or not any more")
    payload = Post(epoch=epoch, message=command.message)
    turn.publish(strand.kept[epoch].topic, payload)
    following.on_post(turn, strand.group_id, payload, FrameId(hashlib.sha256(pack(payload)).digest()))


def _numbered(strand: Strand, number: int) -> EpochId | None:
    """The epoch with that number that was decided on, if it is kept."""
    for epoch in strand.graph.up(strand.head):
        kept = strand.kept.find(epoch)
        if kept is not None and kept.group.epoch == number:
            return epoch
    for epoch, kept in strand.kept.items():  # before the last final one
        if kept.group.epoch == number and not strand.graph.has(epoch):
            return epoch
    return None


def decided(strand: Strand, after: EpochId) -> tuple[bytes, ...]:
    """The commits that were decided on since that epoch, in order: what an ordinary client that is there is to hear."""
    if not strand.graph.is_ancestor(after, strand.head):
        raise Misuse("no-epoch", "that epoch is not before the one where the conversation stands, or too long ago")
    found = []
    for epoch in strand.graph.path(strand.head, after):
        body = strand.bodies.find(epoch)
        if body is None:
            raise Misuse("no-epoch", "a commit since then is not kept any more")
        found.append(body)
    return tuple(found)
