"""What is heard in conversations, each once, in the order that its authors had.

Who said something follows from the leaf whose signature held, in the epoch that it was sealed in. What is said twice,
and what waits for something said before, is for `contents`; here is what a message is, whose, and by which device of
ours if it was ours. A message of our own account's is shown on every device of it, once like any other, and handed to
the `outbox`.

A message whose epoch this device was in and has no keys of any more cannot be read. Its author's device may think that
all is well, as its branch is final. So whoever gets one says so, by the digest of the sealed bytes, which is all that
can be told of it; and who comes back into a group from outside says the same of what it could never read.

In a group with a lead there may be ordinary MLS clients. What they say is shown as it is; it has no id of its own, and
is named by the key that it was sealed with.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.group import ApplicationMessage
from vcd.core import contents, devices, outbox, sequence, steps, summaries
from vcd.core.accounts.credential import read
from vcd.core.duties import Duty
from vcd.core.errors import Malformed
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.payloads import MAX_MISSED, Content, Lineage, Missed, Post, Said, unpack_said
from vcd.core.policy import Mode, of_group
from vcd.core.spoken import Held

if TYPE_CHECKING:
    from vcd.core.keys import Opened
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_TOLD = 1024
"""Messages that came too late, until that is said; of further ones nothing is said."""


def heard(turn: Turn, strand: Strand, epoch: EpochId, opened: Opened) -> None:
    """An application message of a conversation."""
    event = opened.event
    if not isinstance(event, ApplicationMessage):
        return
    group = event.group
    node = group.public.tree.leaf(event.sender)
    if node is None:
        return
    sender = steps.whose(node)
    said = _read(event)
    content = said if isinstance(said, Content) else None
    name = None if content is None else contents.content_id(strand.group_id, sender, content)
    if said is None and strand.mode is Mode.LEAD and read(node.credential) is None:
        content = _plain(epoch, event)
        name = contents.content_id(strand.group_id, sender, content)  # the same on all devices; its time is not
        content = replace(content, said_at=turn.now)
    elif said is None:
        turn.drop("said-form")
    if opened.ours:
        outbox.collided(turn, group, event.sealing.generation, name)
    if isinstance(said, Lineage):
        summaries.on_lineage(turn, strand.group_id, said, FrameId(b""))
    if content is None or name is None:
        return
    broken = contents.fits(turn, content)
    if broken is not None:
        turn.drop(broken)
        return
    device = None if opened.author is None else devices.device_of(turn, opened.author)
    held = Held(sender=sender, ours=opened.ours, device=device, content=content, since=turn.now)
    new = contents.take(turn, strand.group_id, name, held, of_group(group).horizon)
    if opened.ours:
        here = turn.strand(strand.group_id)
        if new:
            outbox.of_sibling(turn, here, epoch, name, content, device)
        else:
            outbox.heard_again(turn, here, epoch, name)


def _read(event: ApplicationMessage) -> Said | None:
    try:
        return unpack_said(event.data)
    except Malformed:
        return None


def _plain(epoch: EpochId, event: ApplicationMessage) -> Content:
    """What an ordinary client said."""
    place = event.sender.to_bytes(4, "big") + event.sealing.generation.to_bytes(4, "big")
    nonce = hashlib.sha256(b"vcd plain said" + epoch + place).digest()[:16]
    return Content(nonce=nonce, said_at=0, epoch=epoch, data=event.data)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The conversation stands elsewhere. Who has just come back says what it will never be able to read."""
    if after.home or before.here is not None or after.here is None or after.group_id not in turn.state.talks:
        return
    path = (after.graph.anchor.epoch, *after.graph.path(after.head))
    if all(after.entered(epoch) for epoch in path):
        return
    known = [epoch for epoch in path[:-1] if after.entered(epoch)]
    since = known[-1] if known else EpochId(b"")
    turn.publish(after.here.topic, Missed(at=after.head, since=since))


def late(turn: Turn, strand: Strand, payload: Post) -> None:
    """A message came whose epoch has no keys here any more: have it said again."""
    talk = turn.state.talks.find(strand.group_id)
    if talk is None or strand.home:
        return
    digest = hashlib.sha256(payload.message).digest()
    if digest in talk.places or digest in talk.missed or len(talk.missed) >= MAX_TOLD:
        return
    turn.put_talk(replace(talk, missed=(*talk.missed, digest)))
    turn.due(Duty.ORDER, strand.group_id, turn.now + turn.state.config.quiet)


def used(turn: Turn, strand: Strand, payload: Post) -> None:
    """A message came whose key was used: it was here before, or another device of ours took the key that we took."""
    kept, talk = strand.kept.find(payload.epoch), turn.state.talks.find(strand.group_id)
    if kept is None or talk is None or hashlib.sha256(payload.message).digest() in talk.places:
        return
    place = sequence.place(kept.group, payload.message)
    if place is not None and place[0] == kept.group.own_leaf:
        outbox.collided(turn, kept.group, place[1], None)


def order(turn: Turn, subject: bytes) -> None:
    """Duty ORDER: what waited for others long enough, and what came too late."""
    group_id = GroupId(subject)
    if group_id in turn.state.strands:
        sequence.force(turn, group_id)
    contents.let_out(turn, group_id)
    talk, strand = turn.state.talks.find(group_id), turn.state.strands.find(group_id)
    if talk is None or strand is None or not talk.missed:
        return
    here = strand.here
    if here is None:
        turn.due(Duty.ORDER, group_id, turn.now + turn.state.config.retry_most)
        return
    for at in range(0, len(talk.missed), MAX_MISSED):
        turn.publish(here.topic, Missed(at=strand.head, digests=talk.missed[at : at + MAX_MISSED]))
    turn.put_talk(replace(talk, missed=()))


def forget(turn: Turn, subject: bytes) -> None:
    """Duty SEEN: ids that need not be remembered any more."""
    contents.forget(turn, GroupId(subject))
