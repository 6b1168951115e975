"""What can be read with what a device has stored, by somebody who keeps no rules.

A thief has a state and all frames that were ever carried. It opens what the topics of the state open, follows every
commit that any key it has can follow, on every branch, as far as that goes, and opens every message in every epoch that
it got to. It forgets nothing, and takes no notice of being removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mls.errors import MlsError
from mls.group import ApplicationMessage, CommitMessage
from mls.provider import Environment, Provider
from mls.state import Group
from mls.virtual import client, devices
from mls.virtual.emulation import Emulation, Head
from transport.base import Frame
from vcd.core.errors import NodeError
from vcd.core.names import EpochId
from vcd.core.payloads import Commit, Content, Payload, Post, unpack, unpack_said
from vcd.core.state import State
from vcd.core.topics import TopicKeys, TopicSecret, keys_of, open_sealed, topic_of
from vcd.core.turn import conversation_judge, home_judge


@dataclass
class Loot:
    """What was read: messages by their data, with the epochs in which they were open."""

    messages: dict[bytes, set[EpochId]] = field(default_factory=dict)
    epochs: set[EpochId] = field(default_factory=set)
    """Those that the thief got into beyond those it began with."""


class Thief:
    """See above."""

    def __init__(self, state: State, provider: Provider, now: int) -> None:
        self._provider, self._now = provider, now
        self._state = state
        self._emulation: Emulation | None = state.emulation
        self._groups: dict[EpochId, tuple[Group, bytes, bool]] = {}
        self._topics: dict[bytes, TopicKeys] = {}
        self.loot = Loot()
        for joined in state.joined.values():
            self._know(joined.secret)
        for strand in state.strands.values():
            for epoch, kept in strand.kept.items():
                self._groups[epoch] = (kept.group, kept.newest, strand.home)
                self._know(kept.topic)

    def _know(self, secret: TopicSecret) -> None:
        keys = keys_of(self._provider.suite(1), secret)
        self._topics[keys.name] = keys

    @property
    def topics(self) -> frozenset[bytes]:
        """What it can open frames of."""
        return frozenset(self._topics)

    @property
    def emulation(self) -> Emulation | None:
        return self._emulation

    @property
    def environment(self) -> Environment:
        """By which it judges conversations, and groups of apps."""
        return self._env(home=False)

    def read(self, frames: Iterable[Frame]) -> Loot:
        """Everything that can be read of them."""
        if self._emulation is None:
            return self.loot
        left = list(frames)
        while True:
            before = len(self._groups), len(self._topics)
            left = [frame for frame in left if not self._taken(frame)]
            if before == (len(self._groups), len(self._topics)):
                return self.loot

    def _taken(self, frame: Frame) -> bool:
        """Whether this frame need not be looked at again."""
        keys = self._topics.get(frame.topic)
        if keys is None:
            return False
        try:
            payload = unpack(open_sealed(self._provider.suite(1), keys, frame.payload))
        except NodeError:
            return True
        return self._used(payload)

    def _used(self, payload: Payload) -> bool:
        if isinstance(payload, Commit):
            epoch = payload.signed.step.parent
            found = self._groups.get(epoch)
            return found is not None and self._follow(epoch, payload)
        if isinstance(payload, Post):
            return payload.epoch in self._groups and self._open(payload)
        return True

    def _env(self, *, home: bool) -> Environment:
        own = self._state.book.own
        assert own is not None
        judge = home_judge(self._provider, own) if home else conversation_judge(self._provider)
        return Environment(provider=self._provider, authentication=judge, now=self._now)

    def _follow(self, epoch: EpochId, payload: Commit) -> bool:
        group, newest, home = self._groups[epoch]
        try:
            if home:
                heard = devices.receive_on(
                    self._emul, Head(group, newest), self._env(home=True), payload.message, admits=lambda *_: True
                )
                self._emulation, event, newest = heard.emulation, heard.event, heard.head.newest
            else:
                got = client.receive(self._emul, group, self._env(home=False), payload.message)
                self._emulation, event = got.emulation, got.event
        except (MlsError, NodeError):
            return False
        if not isinstance(event, CommitMessage) or event.group.ended is not None:
            return True
        child = EpochId(event.group.epoch_id)
        if child not in self._groups:
            self.loot.epochs.add(child)
            self._groups[child] = (event.group, newest, home)
            self._know(topic_of(event.group))
        return True

    def _open(self, payload: Post) -> bool:
        group, newest, home = self._groups[payload.epoch]
        try:
            if home:
                heard = devices.receive_on(self._emul, Head(group, newest), self._env(home=True), payload.message)
                self._emulation = heard.emulation
                return True
            got = client.receive(self._emul, group, self._env(home=False), payload.message)
        except (MlsError, NodeError):
            return False
        if isinstance(got.event, ApplicationMessage):
            try:
                said = unpack_said(got.event.data)
            except NodeError:
                return True
            if isinstance(said, Content):
                self.loot.messages.setdefault(said.data, set()).add(payload.epoch)
        return True

    @property
    def _emul(self) -> Emulation:
        assert self._emulation is not None
        return self._emulation
