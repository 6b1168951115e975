"""One device of the machine of `test_machine`: what is on its disk, and how it goes through the logs.

`Stored` is a value, and a device's only one: whoever acts computes the next, stores it whole, and then sends what its
outbox holds (`machine_world`). To lose power is to go on with what is stored. So every crash there is falls between two
of these: computing, storing, sending, noting that it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mls import group as front, snapshot
from mls.errors import FutureEpochError, ReplayError
from mls.group import ApplicationMessage, CommitMessage
from mls.parameters import Parameters
from mls.provider import Environment
from mls.state import Group
from mls.virtual import client as vc, devices, stored
from mls.virtual.announcements import Announcement, Created, JoinedExternally, Welcomed
from mls.virtual.devices import DeviceCommit
from mls.virtual.emulation import Emulation
from mls.virtual.errors import MissingKeyError, UnknownEpochError, UnknownPackageError
from mls.virtual.onboarding import Admission
from mls.welcome import decode_group_info
from tests.mls.virtual.machine_delivery import DEVICES, Entry, Kind, Topic

WAIT = (UnknownEpochError, MissingKeyError, UnknownPackageError, FutureEpochError)
"""What says that something else has to be heard first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A commit of this device that may be accepted or not."""

    message: bytes
    epoch: int
    group: Group | None = None
    made: DeviceCommit | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """To be said to the other devices."""

    announcement: Announcement


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """To be sent, and what is to be done if it is accepted, or undone if not."""

    entry: Entry
    then: tuple[Item, ...] = ()
    based_on: int | None = None
    """How much of the log must be there and no more, if that matters."""
    proposal: bytes | None = None
    """By reference; and the leaf that it would have put in."""
    update: bytes = b""


@dataclass(frozen=True, slots=True)
class Publish:
    """KeyPackages that were announced."""

    packages: tuple[object, ...]
    epoch_id: bytes


@dataclass(frozen=True, slots=True)
class Admit:
    """A device that was added can begin."""

    name: str
    package: object
    admission: Admission
    state: Stored
    """What the device had that added it, when it made the commit."""


Item = Tell | Post | Publish | Admit


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is on a device's disk."""

    emulation: Emulation
    groups: Mapping[bytes, Group] = field(default_factory=dict)
    past: Mapping[tuple[bytes, int], Group] = field(default_factory=dict)
    pending: Mapping[bytes, Pending] = field(default_factory=dict)
    outbox: tuple[Item, ...] = ()
    at: Mapping[bytes, int] = field(default_factory=dict)
    """How far each log was read."""
    since: Mapping[bytes, int] = field(default_factory=dict)
    """From which epoch of a conversation on."""
    read: frozenset[tuple[bytes, int]] = frozenset()
    """Application messages, by conversation and place in its log."""
    welcomes: frozenset[bytes] = frozenset()

    def with_group(self, group: Group) -> Stored:
        return replace(self, groups={**self.groups, group.group_id: group})

    def entered(self, group: Group) -> Stored:
        return replace(self.with_group(group), since={**self.since, group.group_id: group.epoch})

    def without(self, group_id: bytes) -> Stored:
        """As if everything of a conversation had been lost."""
        return replace(
            self,
            groups={each: group for each, group in self.groups.items() if each != group_id},
            past={each: group for each, group in self.past.items() if each[0] != group_id},
            pending={each: pending for each, pending in self.pending.items() if each != group_id},
        )

    def with_pending(self, group_id: bytes, pending: Pending | None) -> Stored:
        rest = {each: other for each, other in self.pending.items() if each != group_id}
        return replace(self, pending=rest if pending is None else {**rest, group_id: pending})

    def later(self, *items: Item) -> Stored:
        return replace(self, outbox=(*self.outbox, *items))

    def advanced(self, group_id: bytes) -> Stored:
        return replace(self, at={**self.at, group_id: self.at.get(group_id, 0) + 1})


@dataclass
class Device:
    """A device: its name, its randomness (which no crash takes back), and its disk."""

    name: str
    env: Environment
    state: Stored
    parameters: Parameters
    waited: int = 0

    def restart(self) -> None:
        """Everything to bytes and back."""
        provider = self.env.provider

        def again(group: Group) -> Group:
            return snapshot.decode(provider, group.parameters, snapshot.encode(group))

        state = self.state
        emulation = stored.decode(stored.encode(state.emulation), provider, again(state.emulation.group))
        self.state = replace(
            state,
            emulation=emulation,
            groups={group_id: again(group) for group_id, group in state.groups.items()},
            past={place: again(group) for place, group in state.past.items()},
        )

    def hear(self, topic: Topic, most: int) -> Stored:
        """After so many messages of a log, as far as nothing else must be heard first. Nothing is stored."""
        state = self.state
        for _ in range(most):
            at = state.at.get(topic.group_id, 0)
            if at >= len(topic.log):
                break
            entry = topic.log[at]
            try:
                if topic.group_id == DEVICES:
                    state = self._of_devices(state, entry)
                else:
                    found = self._of_conversation(state, entry, topic, at)
                    if found is None:
                        break
                    state = found
            except WAIT:
                assert topic.group_id != DEVICES  # whatever concerns these is in order
                self.waited += 1
                break
            state = state.advanced(topic.group_id)
        return state

    # The emulation group

    def _of_devices(self, state: Stored, entry: Entry) -> Stored:
        pending = state.pending.get(DEVICES)
        if pending is not None and pending.message == entry.message:
            assert pending.made is not None
            emulation = devices.adopt(state.emulation, pending.made)
            return replace(state, emulation=emulation).with_pending(DEVICES, None)
        if entry.by == self.name:
            assert entry.kind is Kind.APPLICATION
            return state  # our own word
        try:
            heard = devices.receive(state.emulation, self.env, entry.message)
        except ReplayError:
            assert entry.again  # KeyPackages that were used or withdrawn since they were announced first
            return state
        state = replace(state, emulation=heard.emulation)
        if entry.kind is Kind.COMMIT:
            return state.with_pending(DEVICES, None)
        assert heard.announcement is not None
        return self._follow(state, heard.announcement)

    def _follow(self, state: Stored, told: Announcement) -> Stored:
        followed: vc.Followed | vc.Joined
        if isinstance(told, Welcomed):
            try:
                return self.welcomed(state, told.welcome)
            except UnknownPackageError:
                return state  # it was withdrawn before: this device comes in another way
        if isinstance(told, Created):
            if _group_id(told.group_info) in state.groups:
                return state
            followed = vc.follow_creation(state.emulation, self.env, self.parameters, told)
        elif isinstance(told, JoinedExternally):
            if _group_id(told.group_info) in state.groups:
                return state  # it comes in the conversation's own log
            followed = vc.follow_external(state.emulation, self.env, self.parameters, told)
        else:
            return state
        return replace(state, emulation=followed.emulation).entered(followed.group)

    def welcomed(self, state: Stored, welcome: bytes) -> Stored:
        if welcome in state.welcomes:
            return state
        joined = vc.join(state.emulation, self.env, self.parameters, welcome)
        state = replace(state, emulation=joined.emulation, welcomes=state.welcomes | {welcome})
        return state if joined.group.group_id in state.groups else state.entered(joined.group)

    # Conversations

    def _of_conversation(self, state: Stored, entry: Entry, topic: Topic, at: int) -> Stored | None:
        """None if this device is not in the conversation yet."""
        group_id = topic.group_id
        pending = state.pending.get(group_id)
        group = state.groups.get(group_id)
        if pending is not None and pending.message == entry.message:
            assert pending.group is not None
            topic.agree(pending.group)
            if group is None:
                return state.entered(pending.group).with_pending(group_id, None)
            return _moved(state, front.retired(group), pending.group)
        if group is None:
            return state if pending is not None else None  # before our own coming
        if entry.epoch == group.epoch:
            at_hand = group
        elif (group_id, entry.epoch) in state.past:
            at_hand = state.past[group_id, entry.epoch]
        else:
            assert entry.epoch < state.since[group_id]
            return state
        got = vc.receive(state.emulation, at_hand, self.env, entry.message)
        self._check(state, got, entry)
        state = replace(state, emulation=got.emulation)
        event = got.event
        if isinstance(event, CommitMessage):
            topic.agree(event.group)
            return _moved(state, front.retired(event.before), event.group)
        if isinstance(event, ApplicationMessage):
            state = replace(state, read=state.read | {(group_id, at)})
        if at_hand is group:
            return state.with_group(event.group)
        return replace(state, past={**state.past, (group_id, entry.epoch): event.group})

    def _check(self, state: Stored, got: vc.Received, entry: Entry) -> None:
        """Who said it and what, as the tests know it."""
        assert got.ours == entry.by.startswith("device")
        assert got.author == entry.author
        if entry.author is not None:
            assert got.echo == (entry.by == self.name)
        if entry.kind is Kind.APPLICATION:
            assert isinstance(got.event, ApplicationMessage)
            assert got.event.data == entry.data
        else:
            assert isinstance(got.event, CommitMessage) == (entry.kind is Kind.COMMIT)


def _moved(state: Stored, before: Group, after: Group) -> Stored:
    """In the next epoch, with the one before for what comes late."""
    state = state.with_group(after).with_pending(after.group_id, None)
    return replace(state, past={**state.past, (before.group_id, before.epoch): before})


def _group_id(group_info: bytes) -> bytes:
    return decode_group_info(group_info).context.group_id
