"""How our other devices come into a conversation that one of us is in.

Whoever opens one, or comes into one from outside, tells the others all that it takes to come along (`along`), but for a
key that they were told before; who has dropped that asks for it. A Welcome each takes up by itself (`invitations`).
Devices that do not hear each other may differ in that: one takes it up, and another one has withdrawn that KeyPackage
meanwhile, or was never told of it, and answers that nobody can. So whoever invited us brings the account in anew; but
not if somebody of ours has acted there by then, whom it may not and need not take out (`intents`). Then we see to it
ourselves:

    Replied     one of us has answered that nobody could take up a Welcome
    Inside      a while later the others say which conversations they are in, unless all were named already
    Lacking     whoever is still not in one of these says so. Also who hears that another one came in by a Welcome, or
                that the user said yes there, and has none to come in by for longer than it may be on its way
    `bring`     whoever is in it comes into our own place there once more, from outside (`comeback.again`)

Each step waits for as long as the inviter takes, and devices take turns. Who comes in so reads what is said from then
on; it may have been there before, and be out for good as far as it knows. Where the conversation's policy lets nobody
come in from outside, it cannot be done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import StaleError
from mls.virtual import client
from mls.virtual.announcements import MAX_ENTRIES, Created, JoinedExternally, Welcomed
from mls.virtual.errors import MissingKeyError
from mls.welcome import decode_group_info
from vcd.core import calls, comeback, desync, devices, kinds, leaves, ranks, sessions, summaries, voting
from vcd.core.duties import Duty
from vcd.core.names import GroupId
from vcd.core.policy import Mode, of_dictionary, of_group
from vcd.core.reign import waits_for_lead
from vcd.core.siblings import MARK, CameBack, Inside, Lacking, WelcomeAnswered, unpack
from vcd.core.state import Acceptance
from vcd.core.strand import Membership

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mls.state import Group
    from mls.virtual.emulation import Emulation
    from vcd.core.household import Saying
    from vcd.core.siblings import Told
    from vcd.core.turn import Turn


AT_ONCE = 64
"""So many conversations are asked for, before more are."""
MAX_ID = 255
"""Bytes of the id of one that is not here."""

# ---------------------------------------------------------------- with a sibling


def along(turn: Turn, by: Told, told: Created | JoinedExternally | Welcomed) -> None:
    """Another device opened a conversation, came in from outside, or took up a Welcome that did not come to us.

    It may go on with a key of ours that this device had, and has forgotten: where a device was linked while the account
    could not follow, it knows no leaf with that key. So it asks for it, and comes along when it has it again.
    """
    try:
        match told:
            case Created():
                _opened(turn, told)
            case JoinedExternally():
                _from_outside(turn, told)
            case Welcomed():
                _welcomed(turn, told)
    except MissingKeyError as error:
        comeback.ask_siblings(turn, error.public_key, by.device)
        raise


def _opened(turn: Turn, told: Created) -> None:
    info = decode_group_info(told.group_info)
    group_id = GroupId(info.context.group_id)
    if group_id in turn.state.strands or group_id in turn.state.raws:
        return
    mode = of_dictionary(info.context.dictionary).mode
    followed = client.follow_creation(turn.emulation, turn.env, kinds.parameters_of(mode), told)
    calls.give_way(turn, group_id)
    _enter(turn, followed.emulation, followed.group)


def _from_outside(turn: Turn, told: JoinedExternally) -> None:
    """Who is in it and follows hears of it there."""
    info = decode_group_info(told.group_info)
    group_id = GroupId(info.context.group_id)
    strand = turn.state.strands.find(group_id)
    if strand is not None:
        if strand.over and info.context.epoch >= strand.graph.number(strand.final):
            raise StaleError("what led there is still on its way")
        turn.not_due(Duty.HOME, devices.BRING + group_id)
        desync.sibling_came(turn, told)
        return
    if group_id in turn.state.raws:
        return
    mode = of_dictionary(info.context.dictionary).mode
    followed = client.follow_external(turn.emulation, turn.env, kinds.parameters_of(mode), told)
    _enter(turn, followed.emulation, followed.group)


def _welcomed(turn: Turn, told: Welcomed) -> None:
    found = client.join(
        turn.emulation,
        turn.env,
        kinds.parameters_of(Mode.DEMLS),
        told.welcome,
        tree=told.tree,
        known_groups=frozenset([*turn.state.strands, *turn.state.raws]),
    )
    mode = of_group(found.group).mode
    _enter(turn, found.emulation, replace(found.group, parameters=kinds.parameters_of(mode)))


def _enter(turn: Turn, emulation: Emulation, group: Group) -> None:
    """Into what a sibling told us of, unless a group of another kind has that id here."""
    from vcd.core import conversations, invitations

    if not sessions.taken(turn, group.group_id):
        turn.use(emulation)
        conversations.enter(turn, group)
        invitations.asked_no_more(turn, group.group_id)
        leaves.look(turn, group.group_id)


# ---------------------------------------------------------------- who is not in it


def compare(turn: Turn) -> None:
    """Another device of ours answered that nobody could take up a Welcome: one of us may have, or be about to."""
    turn.due(Duty.HOME, devices.INSIDE, turn.now + _patience(turn) + _turn(turn))


def _patience(turn: Turn) -> int:
    return turn.state.config.desync_after


def _turn(turn: Turn) -> int:
    return ranks.device_place(turn) * turn.state.config.turn_taking


def _inside(turn: Turn) -> list[GroupId]:
    """Where this device is a member and can act, as the user wants it."""
    return [each.group_id for each in leaves.conversations(turn) if _wanted(turn, each.group_id)]


def _wanted(turn: Turn, group_id: GroupId) -> bool:
    talk = turn.state.talks.find(group_id)
    return talk is not None and talk.acceptance is Acceptance.YES


def say(turn: Turn) -> None:
    """Duty HOME: tell the others which conversations this device is in."""
    if not devices.may_speak(turn):
        turn.due(Duty.HOME, devices.INSIDE, turn.now + _patience(turn))
        return
    found = _inside(turn)
    for at in range(0, len(found), MAX_ENTRIES):
        devices.tell(turn, Inside(group_ids=tuple(found[at : at + MAX_ENTRIES])))


def on_inside(turn: Turn, told: Told, record: Inside) -> None:
    """Where another device is. A conversation that we are not in may only be on its way."""
    del told
    count = sum(duty is Duty.HOME and subject.startswith(devices.LACKING) for duty, subject in turn.state.duties)
    for group_id in record.group_ids:
        if not _outside(turn, group_id) or (Duty.HOME, devices.LACKING + group_id) in turn.state.duties:
            continue
        if count >= turn.state.config.max_conversations or len(group_id) > MAX_ID:
            turn.drop("inside-full")
            break
        at = turn.now + (1 + count // AT_ONCE) * _patience(turn) + _turn(turn)
        turn.due(Duty.HOME, devices.LACKING + group_id, at)
        count += 1
    if set(_inside(turn)) <= set(record.group_ids):
        turn.not_due(Duty.HOME, devices.INSIDE)


def unasked(turn: Turn, group_id: GroupId, welcome: bytes) -> None:
    """A contact brought us in without a question. Others of us may know them as a stranger by now, or as blocked."""
    strand = turn.state.strands.find(group_id)
    if strand is not None and not strand.over and len(ranks.devices(turn)) > 1:
        devices.tell(turn, WelcomeAnswered(group_id=group_id, accept=True, welcome=welcome))


def later(turn: Turn, group_id: GroupId) -> None:
    """Another device is in it by a Welcome that is not here. As a rule it is on its way, else it was dropped here."""
    if len(group_id) <= MAX_ID:
        turn.due(Duty.HOME, devices.LACKING + group_id, turn.now + turn.state.config.digest_every + _turn(turn))


def _outside(turn: Turn, group_id: GroupId) -> bool:
    """Whether this device never was in a conversation, or sees itself out of it, and not as the user wants it."""
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return group_id not in turn.state.talks and group_id not in turn.state.raws
    return strand.membership is Membership.OUT and _wanted(turn, group_id)


def lack(turn: Turn, group_id: GroupId) -> None:
    """Duty HOME: ask to be brought in, if nothing else did."""
    if not _outside(turn, group_id):
        return
    strand = turn.state.strands.find(group_id)
    if strand is None or strand.over:
        devices.tell(turn, Lacking(group_id=group_id))
    else:  # the branch on which we are out may lose
        turn.due(Duty.HOME, devices.LACKING + group_id, turn.now + turn.state.config.retry_most)


def on_lacking(turn: Turn, told: Told, record: Lacking) -> None:
    """Another device is not in a conversation. What brings it in brings in all who are not.

    What this device has just done for that may be on its way, and each time is a commit that all members follow.
    """
    del told
    turn.not_due(Duty.HOME, devices.LACKING + record.group_id)
    if not _outside(turn, record.group_id):
        last = max((each.at for each in _brought(turn, record.group_id)), default=0)
        soon = max(turn.now, last + turn.state.config.digest_every)
        turn.due(Duty.HOME, devices.BRING + record.group_id, soon + _turn(turn))


def _brought(turn: Turn, group_id: GroupId) -> Iterator[Saying]:
    """What this device has told of coming into a conversation once more, as far as that is kept."""
    for each in turn.state.household.said.values():
        if each.data[:2] == bytes([MARK, CameBack.RECORD_TAG]):
            record = unpack(each.data)
            if isinstance(record, CameBack) and record.group_id == group_id:
                yield each


def bring(turn: Turn, group_id: GroupId) -> None:
    """Duty HOME: bring the account into a conversation once more, for those devices that are not in it."""
    strand, config = turn.state.strands.find(group_id), turn.state.config
    if strand is None or not _wanted(turn, group_id) or voting.own(turn.state, strand) is None:
        return
    here = leaves.live(strand)
    able = here is not None and turn.state.clock.online and devices.may_speak(turn)
    if here is None or not able or summaries.provisional(strand) or waits_for_lead(strand):
        turn.due(Duty.HOME, devices.BRING + group_id, turn.now + _patience(turn))
        return
    if not comeback.again(turn, strand, here):
        turn.due(Duty.HOME, devices.BRING + group_id, turn.now + config.retry_most)
