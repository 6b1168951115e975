"""What others cannot read: it is said once more (`outbox`), by the device that said it.

Whoever gets a message when the keys of its epoch are gone names it by the digest of the sealed bytes. Whoever comes
back from outside may not even have the topics of what was said meanwhile: it names the epoch where it could read last
(`delivery`). So does who was brought in by a KeyPackage that nobody could use any more, and is brought in anew. What
devices tell each other in the home is asked for like that as well. And two devices of ours that took one key see that
as soon as one hears of the other, without being asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.secret_tree import APPLICATION
from mls.virtual import client
from mls.virtual.generation_id import PrivateMessageContext
from vcd.core import devices, outbox, ranks
from vcd.core.duties import Duty
from vcd.core.names import ContentId, EpochId, FrameId, GroupId
from vcd.core.spoken import Why
from vcd.core.strand import counts
from vcd.core.values import replace

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core.payloads import Missed
    from vcd.core.spoken import Outgoing
    from vcd.core.state import Talk
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MEETING = 2_000
"""Milliseconds by which our devices say again apart what met, and as much more as others hear nothing of it for: by
less than that at first, and by more each time that it meets again."""
SOON = 8
"""After so many times the wait doubles with each. Any member may say that it could not read what was said last, so that
is believed less and less often: some twenty-five times within a month, and each time at last."""
PLACES = 16
"""Times in a wait of which one is taken: each looks at all that is to be said again, so there are not many."""
_LONGEST = 20
"""So often the wait doubles at most: then it is longer than a horizon."""


def on_missed(turn: Turn, group_id: GroupId, payload: Missed, frame: FrameId) -> None:
    """Somebody got messages when the keys were gone. Those of this device are said again, once on a head."""
    del frame
    if group_id == turn.state.home:
        devices.say_missed(turn, payload.digests)
        return
    talk = turn.state.talks.find(group_id)
    if talk is None:
        return
    for digest in payload.digests:
        name = talk.places.find(digest)
        outgoing = None if name is None else turn.state.outbox.find(name)
        if name is None or outgoing is None or outgoing.why in (Why.LOST, Why.MISSED):
            continue  # not of this device, or it will be said again
        newest = outgoing.places[-1].digest == digest
        if newest and outbox.said_again_at(outgoing, turn.strand(group_id).head):
            if outgoing.why is None and len(ranks.devices(turn)) > 1:  # it met a key that was used once more
                _met(turn, name, outgoing)
        elif newest or not _said_to_all(turn.strand(group_id), talk, outgoing):
            _missed(turn, name)  # else it was said again since
    if payload.since is not None:
        for name in _since(turn, turn.strand(group_id), payload.at, payload.since):
            _missed(turn, name)


def _said_to_all(strand: Strand, talk: Talk, outgoing: Outgoing) -> bool:
    """Whether where it was said last, all were there for whom it is and who are here.

    On a branch that lost it was said to nobody. And somebody may have been out then, and be back.
    """
    last = outgoing.places[-1]
    if last.epoch not in talk.passed and not strand.graph.is_ancestor(last.epoch, strand.head):
        return False
    missing = {*last.without} - {*outgoing.left}
    return all(each.account not in missing for each in strand.graph.members(strand.head))


def _missed(turn: Turn, name: ContentId) -> None:
    outgoing, at = turn.state.outbox[name], turn.now + turn.state.config.quiet
    if outgoing.why is not None:  # it waits, as it met a used key
        if outgoing.again_at <= at or outbox.said_again_at(outgoing, turn.strand(outgoing.conversation).head):
            return
    changed = replace(outgoing, why=outgoing.why or Why.MISSED, again_at=at)
    turn.change(outbox=turn.state.outbox.set(name, changed))
    turn.due(Duty.RELAY, outgoing.conversation, changed.again_at)


def _since(turn: Turn, strand: Strand, at: EpochId, since: EpochId) -> list[ContentId]:
    """What this device said after an epoch on the way to another one, to which somebody came back or came anew.

    What was said where that one stands, or further on, it reads; and it had what was said up to the first one. Where
    nobody knows that one any more, it may lack all that is confirmed. Who was no member meanwhile is not told, and
    nobody is asked about that.
    """
    graph, talk, said = strand.graph, turn.talk(strand.group_id), turn.state.outbox
    if not _came_back(strand, talk, at, since):
        return []
    here = graph.has(at)  # else it is before all that is
    known = here and graph.has(since) and graph.is_ancestor(since, at)
    last, end = talk.passed.find(since), talk.passed.find(at)

    def had(epoch: EpochId) -> bool:
        if graph.has(epoch):
            return not here or graph.is_ancestor(at, epoch) or (known and graph.is_ancestor(epoch, since))
        number = talk.passed.find(epoch)
        if number is None:
            return False
        return known or (last is not None and number <= last) or (end is not None and number >= end)

    return sorted(
        name
        for name in talk.going
        if said[name].why in (None, Why.COLLIDED)
        and said[name].places
        and said[name].places[-1].digest
        and not had(said[name].places[-1].epoch)
        and not outbox.strangers(strand, talk, said[name])
    )


def _came_back(strand: Strand, talk: Talk, at: EpochId, since: EpochId) -> bool:
    """Whether somebody came back from outside between the two, or anew, be it that this is final here already.

    Whoever asks stands where we are, or where somebody voted that we believe. That an epoch is known says nothing: any
    member can sign a header.
    """
    graph, end = strand.graph, talk.passed.find(at)
    if graph.has(at):
        path = graph.path(at)
        if path and at not in counts(strand):
            return False
        if any(graph.returns(each) for each in path):
            return True
    elif end is None:
        return False
    last = talk.passed.find(since)
    if last is None:
        if graph.has(since):
            return False  # it is not final, so all of them were before it
        last = 0
    numbers = [talk.passed.find(each) or 0 for each in talk.returns]
    return any(last < number and (end is None or number <= end) for number in numbers)


def collided(turn: Turn, group: Group, generation: int, name: ContentId | None) -> None:
    """Another message of our leaf took this generation. If one of this device did too, that is said again, in turn.

    Of several that took it one is enough to know that. What comes again later, be it that somebody says it in another
    frame, tells nothing new: what it met was said again since, or will be.
    """
    talk = turn.talk(group.group_id)
    if not talk.places:
        return
    context = PrivateMessageContext.of(group.group_id, group.epoch, generation, APPLICATION)
    try:
        claim = client.claimed(turn.emulation, group, context)
    except MlsError:
        return
    mine = None if claim is None else talk.places.find(claim)
    outgoing = None if mine is None else turn.state.outbox.find(mine)
    if mine is None or outgoing is None or mine == name or outgoing.why is Why.COLLIDED:
        return
    last = [place for place in outgoing.places if place.epoch == EpochId(group.epoch_id)][-1:]
    if all(place.claim == claim for place in last):  # else it was said there again since
        _met(turn, mine, outgoing)


def _met(turn: Turn, name: ContentId, outgoing: Outgoing) -> None:
    """Say it again, apart from the other device, which does the same."""
    tries = outgoing.tries + 1
    most = min(tries, SOON) * MEETING
    least = (most << min(tries - SOON, _LONGEST)) - most if tries > SOON else 0
    at = turn.now + least + ranks.device_place(turn) * MEETING
    apart = ranks.spread(turn, name + tries.to_bytes(4), PLACES)
    at += apart * (most // PLACES)
    changed = replace(outgoing, why=Why.COLLIDED, again_at=at, tries=tries)
    turn.change(outbox=turn.state.outbox.set(name, changed))
    turn.due(Duty.RELAY, outgoing.conversation, at)
