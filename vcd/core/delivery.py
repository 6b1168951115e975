"""What is heard in conversations, each once, in the order that its authors had.

Who said something follows from the leaf whose signature held, in the epoch that it was sealed in. What is said twice,
and what waits for something said before, is for `contents`; here is what a message is, whose, and by which device of
ours if it was ours. A message of our own account's is shown on every device of it, once like any other, and handed to
the `outbox`.

A message whose epoch this device was in and has no keys of any more cannot be read. Its author's device may think that
all is well, as its branch is final. So whoever gets one says so, by the digest of the sealed bytes, which is all that
can be told of it; and who comes back into a group from outside, or is brought in anew as nobody could use the first
KeyPackage, says the same of what it could never read. So does who finds that another message used up its key: two
devices of one account took it, and if they meet when their own keys are gone, neither of them sees that.

In a group with a lead there may be ordinary MLS clients. What they say is shown as it is; it has no id of its own, and
is named by the key that it was sealed with.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.group import ApplicationMessage
from vcd.core import contents, devices, missed, outbox, sequence, steps
from vcd.core.accounts.credential import read
from vcd.core.duties import Duty
from vcd.core.errors import Malformed
from vcd.core.names import EpochId, GroupId
from vcd.core.payloads import MAX_MISSED, Content, Missed, Post, Said, unpack_said
from vcd.core.policy import Mode, Policy, of_group
from vcd.core.spoken import MARK, Held
from vcd.core.state import Acceptance
from vcd.core.strand import NEVER

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core.keys import Opened
    from vcd.core.state import Talk
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_TOLD = 1024
"""Messages that came too late, until that is said; of further ones nothing is said."""
MAX_ASKED = 4 * MAX_MISSED
"""Of which it is said again, to whoever comes."""


def heard(turn: Turn, strand: Strand, epoch: EpochId, opened: Opened, message: bytes) -> None:
    """An application message of a conversation. `message`: as it was sealed."""
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
    elif content is None:  # headers among them: whoever sent them, they come in the open, where each is checked
        turn.drop("said-form")
    if opened.ours:
        missed.collided(turn, group, event.sealing.generation, name)
    if content is None or name is None:
        return
    broken = contents.fits(turn, content)
    if broken is not None:
        turn.drop(broken)
        return
    device = None if opened.author is None else devices.device_of(turn, opened.author)
    held = Held(sender=sender, ours=opened.ours, device=device, content=content, since=turn.now)
    mark = b"" if opened.ours else hashlib.sha256(message).digest()[:MARK]
    new = contents.take(turn, strand.group_id, name, held, of_group(group).horizon, mark)
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
    talk = turn.state.talks.find(after.group_id)
    if after.home and turn.state.household.missed:
        turn.due(Duty.ORDER, after.group_id, turn.now + turn.state.config.quiet)
    if after.home or after.here is None or talk is None:
        return
    if talk.missed:
        turn.due(Duty.ORDER, after.group_id, turn.now + turn.state.config.quiet)
    if talk.acceptance is not Acceptance.NO:
        _brought_anew(turn, before, after)
    if before.here is not None:
        _ask_again(turn, talk, before, after)
        return
    path = (after.graph.anchor.epoch, *after.graph.path(after.head))
    if all(after.entered(epoch) for epoch in path):
        return
    known = [epoch for epoch in path[:-1] if after.entered(epoch)]
    known = known or sorted(talk.passed, key=lambda each: talk.passed[each])
    since = known[-1] if known else EpochId(b"")
    turn.publish(after.here.topic, Missed(at=after.head, since=since))


def _brought_anew(turn: Turn, before: Strand, after: Strand) -> None:
    """Ask for what was said to our account where nobody of it was: by a Welcome that none of our devices could take up.

    Others saw us there, and to them all is well. All devices of ours say the same, in one frame.
    """
    graph, own, here = before.graph, turn.state.book.own, after.here  # `after` may have lost what is not past the final
    came = [each for each in graph.path(after.head) if each in before.kept and own in graph.anew(each)]
    if before.here is not None:
        came = [each for each in came if not graph.is_ancestor(each, before.head)]
    if not came or here is None:
        return
    out = (
        each
        for each in graph.up(graph.steps[came[-1]].parent)
        if each in before.kept or all(who.account != own for who in graph.members(each))
    )
    since = next(out, EpochId(b""))
    if since != graph.steps[came[-1]].parent:
        turn.publish(here.topic, Missed(at=came[-1], since=since))


def _ask_again(turn: Turn, talk: Talk, before: Strand, after: Strand) -> None:
    """Say again what came too late, if somebody came: it may be the author, who did not hear it.

    It was on another branch then, or had been removed, and has not even the topic where that was said. Of whoever is
    brought in nobody knows whether it was here before. What it said again since, it knows.
    """
    graph = before.graph  # `after` may have lost what is not past the final epoch
    if not talk.asked:
        return
    came = [each for each in graph.path(after.head) if graph.steps[each].moved or graph.steps[each].adds]
    if not all(graph.is_ancestor(each, before.head) for each in came):
        turn.put_talk(replace(talk, missed=(*talk.missed, *talk.asked), asked=()))
        turn.due(Duty.ORDER, after.group_id, turn.now + turn.state.config.quiet)


def late(turn: Turn, strand: Strand, payload: Post) -> None:
    """A message came whose epoch has no keys here any more, or whose own key is gone: have it said again."""
    talk = turn.state.talks.find(strand.group_id)
    if talk is None or strand.home:
        return
    if not _was_there(turn, strand, payload.epoch):
        return
    digest = hashlib.sha256(payload.message).digest()
    if digest in talk.places or digest in talk.missed or digest in talk.asked or len(talk.missed) >= MAX_TOLD:
        return
    if talk.seen.was_read(digest[:MARK]):
        return  # somebody says again in another frame what was read here
    here = strand.here
    until = turn.now + (Policy() if here is None else of_group(here.group)).horizon
    turn.put_talk(replace(talk, missed=(*talk.missed, digest), missed_until=max(talk.missed_until, until)))
    turn.due(Duty.ORDER, strand.group_id, turn.now + turn.state.config.quiet)
    turn.due(Duty.SEEN, strand.group_id, until)


def _was_there(turn: Turn, strand: Strand, epoch: EpochId) -> bool:
    """Whether our account was in an epoch.

    Who was brought in after it knows it, and finds in the same topic what was said there, but not to it.
    """
    if strand.graph.has(epoch):
        return any(each.account == turn.state.book.own for each in strand.graph.members(epoch))
    return strand.past.find(epoch) != NEVER


def used(turn: Turn, strand: Strand, payload: Post) -> None:
    """A message came whose key was used by another one: two devices of its author's took it.

    It may also be one that was here before, in another frame. The mesh gives no frame twice, so that is somebody's
    doing, and what was read is not asked for.
    """
    kept, talk = strand.kept.find(payload.epoch), turn.state.talks.find(strand.group_id)
    if strand.home and kept is not None:
        _unheard(turn, strand, kept.group, payload)
    if kept is None or talk is None or hashlib.sha256(payload.message).digest() in talk.places:
        return
    place = sequence.place(kept.group, payload.message)
    if place is None:
        return
    if place[0] == kept.group.own_leaf:
        missed.collided(turn, kept.group, place[1], None)
    late(turn, strand, payload)


def _unheard(turn: Turn, strand: Strand, group: Group, payload: Post) -> None:
    """Another device of ours told so much since that the key of this is gone: have it told again."""
    place, known = sequence.place(group, payload.message), turn.state.household.missed
    digest = hashlib.sha256(payload.message).digest()
    if place is not None and place[0] != group.own_leaf and digest not in known and len(known) < MAX_MISSED:
        devices.keep(turn, missed=(*known, digest))
        turn.due(Duty.ORDER, strand.group_id, turn.now + turn.state.config.quiet)


def order(turn: Turn, subject: bytes) -> None:
    """Duty ORDER: what waited for others long enough, and what came too late."""
    group_id = GroupId(subject)
    if group_id in turn.state.strands:
        sequence.force(turn, group_id)
    contents.let_out(turn, group_id)
    talk, strand = turn.state.talks.find(group_id), turn.state.strands.find(group_id)
    if strand is not None and strand.home and turn.state.household.missed and devices.may_speak(turn):
        turn.publish(strand.kept[strand.head].topic, Missed(at=strand.head, digests=turn.state.household.missed))
        devices.keep(turn, missed=())
    if talk is None or strand is None or not talk.missed:
        return
    here = strand.here
    if here is None:
        return  # `moved` says when it is here again
    for at in range(0, len(talk.missed), MAX_MISSED):
        turn.publish(here.topic, Missed(at=strand.head, digests=talk.missed[at : at + MAX_MISSED]))
    turn.put_talk(replace(talk, missed=(), asked=(*talk.asked, *talk.missed)[-MAX_ASKED:]))


def forget(turn: Turn, subject: bytes) -> None:
    """Duty SEEN: ids that need not be remembered any more, and what nobody says again."""
    group_id = GroupId(subject)
    contents.forget(turn, group_id)
    talk = turn.state.talks.find(group_id)
    if talk is None or not (talk.missed or talk.asked):
        return
    if talk.missed_until <= turn.now:
        turn.put_talk(replace(talk, missed=(), asked=()))
    else:
        turn.due(Duty.SEEN, group_id, talk.missed_until)
