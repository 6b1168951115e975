"""The conversations of send groups that a device knows: what is kept of each, and what follows when it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mls.codec import decode_exactly
from mls.distributed.errors import AwaitedError, EpochName
from mls.distributed.send_group import psk_id
from mls.distributed.values import Session
from mls.key_package import KeyPackage
from mls.persistent import PMap
from mls.registries import GroupId as MlsGroupId
from vcd.core import steps, waiting
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.events import MembersChanged
from vcd.core.names import AccountId, EpochId, FrameId, GroupId
from vcd.core.payloads import Payload
from vcd.core.policy import Mode
from vcd.core.sends import Sends
from vcd.core.topics import TopicSecret, keys_of
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vcd.core.state import State
    from vcd.core.turn import Turn


def is_here(turn: Turn, group_id: GroupId) -> bool:
    """Whether a conversation is of this mode."""
    talk = turn.state.talks.find(group_id)
    return talk is not None and talk.mode is Mode.DIMLS


def taken(turn: Turn, group_id: GroupId) -> bool:
    """Whether a group of another kind than those with a strand has that id. None takes the place of another one."""
    return is_here(turn, group_id) or group_id in turn.state.raws


class TakenError(Refused):
    """Somebody brings us into a conversation by an id that another one has here. It may be theirs when that is over."""

    def __init__(self, group_id: GroupId) -> None:
        super().__init__("invite-taken")
        self.group_id = group_id


def hold(turn: Turn, frame: FrameId, error: TakenError, payload: Payload) -> None:
    """Keep what brings us in until the id is free, for as long as anything waits."""
    waiting.hold(turn, frame, waiting.INBOX, _until_free(error.group_id), payload)
    turn.drop(error.rule)


def free(turn: Turn, group_id: GroupId) -> None:
    """We are in no conversation of that id any more, and nobody asks us about one."""
    waiting.wake(turn, _until_free(group_id))


def held(turn: Turn, group_id: GroupId) -> Iterator[tuple[FrameId, bytes]]:
    """What waits for that."""
    for frame in turn.state.waiting.by_need.find(_until_free(group_id)) or ():
        yield frame, turn.state.waiting.items[frame].payload


def _until_free(group_id: GroupId) -> waiting.Needs:
    return Need.GROUP, b"free " + group_id


def sends_of(turn: Turn, group_id: GroupId) -> Sends:
    sends = turn.talk(group_id).sends
    if sends is None:
        raise Misuse("no-conversation", "this is no conversation of send groups")
    return sends


def put(turn: Turn, group_id: GroupId, **parts: Any) -> Sends:
    """Change parts of what is kept of a conversation."""
    after = replace(sends_of(turn, group_id), **parts)
    turn.put_talk(replace(turn.talk(group_id), sends=after))
    return after


def restored(state: State) -> State:
    """With an old disk: what was in the sessions may have been used since. The device asks to be let in anew."""
    talks = {
        group_id: replace(talk, sends=replace(talk.sends, signature=None, offers=()))
        for group_id, talk in state.talks.items()
        if talk.sends is not None
    }
    return replace(state, sessions=PMap(), talks=state.talks.update(talks))


def session_of(turn: Turn, group_id: GroupId) -> Session | None:
    """The session as it is now; None if this device was not let in yet."""
    return turn.state.sessions.find(group_id)


def use(turn: Turn, group_id: GroupId, session: Session) -> None:
    turn.change(sessions=turn.state.sessions.set(group_id, session))


def session_in(turn: Turn, group_id: GroupId) -> Session:
    if sends_of(turn, group_id).over:
        raise Misuse("not-a-member", "we are no member of this conversation any more")
    found = session_of(turn, group_id)
    if found is None:
        raise Misuse("out-of-sync", "nobody has let this device into the conversation yet")
    return found


def keep(turn: Turn, group_id: GroupId, session: Session, **parts: Any) -> None:
    """Store a session, and tell the app if others are in it now."""
    use(turn, group_id, session)
    put(turn, group_id, **parts)
    show(turn, group_id, session)
    if session.invited or session.leaving or missing(turn, group_id, session):
        turn.due(Duty.TEND, group_id, turn.now + turn.state.config.quiet)


def accounts(session: Session) -> dict[MlsGroupId, AccountId]:
    """Whose each member's send group is, of those who are in ours or will be."""
    own = session.own
    found = {name: steps.whose(own.leaf(at)) for name, at in own.places.items() if name not in session.dropped}
    for name, package in session.invited.items():
        found[name] = steps.whose(package.leaf_node)
    return found


def show(turn: Turn, group_id: GroupId, session: Session) -> None:
    before = sends_of(turn, group_id).shown
    now = tuple(sorted(set(accounts(session).values())))
    if now == before:
        return
    went = tuple(each for each in before if each not in now)
    called = sends_of(turn, group_id).called
    over = [who for who in went if who in called]  # nobody comes back by the call that they came by
    put(turn, group_id, shown=now, called=called.changed(over, {}))
    turn.tell(
        MembersChanged(
            conversation=group_id,
            epoch=EpochId(session.own.group.epoch_id),
            members=now,
            came=tuple(each for each in now if each not in before),
            went=went,
        )
    )


def publish(turn: Turn, group_id: GroupId, payload: Payload) -> None:
    turn.publish(sends_of(turn, group_id).topics[0], payload)


def needs(session: Session, error: AwaitedError) -> waiting.Needs:
    """Until an epoch was entered, or until its owner's Welcome came."""
    first = error.needs[0]
    if first.group_id not in session.groups:
        return Need.GROUP, first.group_id
    return Need.EPOCH, psk_id(first)


def wake(turn: Turn, group_id: GroupId, session: Session, owner: MlsGroupId, *, entered: bool) -> None:
    """An epoch of somebody's was entered: what waited for it, for its owner, or for news of members."""
    epoch = session.groups[owner].group.epoch
    waiting.wake(turn, (Need.EPOCH, psk_id(EpochName(owner, epoch))))
    if entered:
        waiting.wake(turn, (Need.GROUP, owner))
    waiting.wake(turn, (Need.GROUP, group_id))


def leave_topic(turn: Turn, secret: TopicSecret, at: int) -> None:
    """Take part no more, from then on."""
    name = keys_of(turn.topic_suite, secret).name
    joined = turn.state.joined.find(name)
    if joined is not None:
        turn.change(joined=turn.state.joined.set(name, replace(joined, until=at)))
        turn.due(Duty.TOPICS, b"", at)


def missing(turn: Turn, group_id: GroupId, session: Session) -> list[KeyPackage]:
    """KeyPackages of those whom others have in their send groups and we cannot add by what they said."""
    sends = sends_of(turn, group_id)
    found = []
    for name in session.missing:
        data = sends.packages.find(name)
        if data is not None:
            package = decode_exactly(data, KeyPackage.decode)
            if steps.whose(package.leaf_node) not in sends.leaving:
                found.append(package)
    return found
