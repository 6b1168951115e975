"""A device that was removed and kept everything, and what it tries.

It has its last values, every earlier one that it came by on the way, and all that is sent from then on: messages of
conversations and of the emulation group, Welcomes, and the GroupInfos that others only pass on sealed. Nothing that it
holds is ever used up. It tries each message with each value, follows each conversation that it can, and starts over
from what commits from outside and new conversations stand on. `read` is what it could read; the tests say of each epoch
whether it may (`Topic.open_to`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.group import ApplicationMessage, CommitMessage
from mls.state import Group
from mls.virtual import client as vc, devices
from mls.virtual.announcements import JoinedExternally
from mls.virtual.derive import init_key, leaf_key
from mls.virtual.emulation import Emulation
from tests.mls.clients import secret_bytes
from tests.mls.virtual.machine_delivery import DEVICES, Entry, Topic

if TYPE_CHECKING:
    from tests.mls.virtual.machine_device import Device, Stored


class Adversary:
    """A removed device."""

    def __init__(self, device: Device, topics: Mapping[bytes, Topic]) -> None:
        """It hears what was sent before it was removed; its removal is the end of the emulation group's log."""
        self.name = device.name
        self._env = device.env
        self._parameters = device.parameters
        self._values: dict[bytes, list[Group]] = {}
        self.read: set[tuple[bytes, int]] = set()
        self._at = {group_id: len(topic.log) for group_id, topic in topics.items()}
        self._left = {group_id: topic.epoch for group_id, topic in topics.items()}
        self._keep(device.state)
        progress = True
        while progress:
            progress = False
            for topic in topics.values():
                after = device.hear(topic, 1)
                if after.emulation.group.ended is None and after.at != device.state.at:
                    device.state = after
                    self._keep(after)
                    progress = True
        self.emulation = device.state.emulation
        self._secrets = frozenset(self._held())

    def _keep(self, state: Stored) -> None:
        pending = [each.group for each in state.pending.values() if each.group is not None]
        for group in (*state.groups.values(), *state.past.values(), *pending):
            self._add(group)

    def _add(self, group: Group) -> None:
        known = self._values.setdefault(group.group_id, [])
        if group.ended is None and all(group is not each for each in known):
            known.append(group)

    def knows(self, epoch_id: bytes) -> bool:
        """Whether it can derive what is made in that emulation epoch."""
        return epoch_id in self.emulation.epochs

    def knows_key(self, public: bytes) -> bool:
        return public in self.emulation.keys or any(
            group.own_leaf_node.signature_key == public for groups in self._values.values() for group in groups
        )

    def listen(self, topic: Topic) -> None:
        """To all that was sent since."""
        for at in range(self._at.get(topic.group_id, 0), len(topic.log)):
            entry = topic.log[at]
            if topic.group_id == DEVICES:
                self._hear_devices(entry)
            else:
                self._hear(topic, entry, at)
        self._at[topic.group_id] = len(topic.log)

    def _hear_devices(self, entry: Entry) -> None:
        try:
            heard = devices.receive(self.emulation, self._env, entry.message)
        except MlsError:
            return
        assert heard.emulation.group.ended is not None  # its own removal

    def may(self, topic: Topic, epoch: int) -> bool:
        """Whether it is to be expected in an epoch of a conversation."""
        return epoch <= self._left.get(topic.group_id, -1) or self.name in topic.open_to.get(epoch, frozenset())

    def _hear(self, topic: Topic, entry: Entry, at: int) -> None:
        for group in list(self._values.get(topic.group_id, ())):
            if group.epoch != entry.epoch:
                continue
            try:
                event = vc.receive(self.emulation, group, self._env, entry.message).event
            except MlsError:
                continue
            assert self.may(topic, entry.epoch), "a removed device follows a conversation that was rotated"
            if isinstance(event, CommitMessage):
                self._enter(topic, event.group)
            elif isinstance(event, ApplicationMessage):
                self.read.add((topic.group_id, at))
        if entry.group_info is not None:
            told = JoinedExternally(group_info=entry.group_info, commit=entry.message)
            try:
                followed = vc.follow_external(self.emulation, self._env, self._parameters, told)
            except MlsError:
                return
            self._enter(topic, followed.group)

    def open_welcome(self, welcome: bytes, topics: Mapping[bytes, Topic]) -> None:
        """Also one to a KeyPackage that was withdrawn since."""
        try:
            joined = vc.join(self.emulation, self._env, self._parameters, welcome)
        except MlsError:
            return
        self._enter(topics[joined.group.group_id], joined.group)

    def _enter(self, topic: Topic, group: Group) -> None:
        if group.ended is None:
            assert self.may(topic, group.epoch), "a removed device came into an epoch that it was shut out of"
            self._add(group)

    def _held(self) -> Iterator[bytes]:
        """Every secret there is to hold, and what follows from KeyPackages' seeds."""
        for groups in self._values.values():
            for group in groups:
                yield from secret_bytes(group)
        yield from secret_bytes(self.emulation.group)
        yield from secrets_of(self.emulation, self._env.provider.suite)

    def check_shares_nothing(self, state: Stored) -> None:
        """After a removal is complete, nothing that a device goes on with was known to the removed one."""
        held = self._secrets | frozenset(
            secret for groups in self._values.values() for group in groups for secret in secret_bytes(group)
        )
        held -= {b""}
        for group in (*state.groups.values(), state.emulation.group):
            past = {psk.raw for epoch, psk in group.resumption if epoch < group.epoch}  # it was there then
            assert held.isdisjoint(set(secret_bytes(group)) - past)
        newest = state.emulation.newest
        assert held.isdisjoint((newest.encryption_key.raw, newest.reuse_guard.raw, newest.generation_id.raw))
        assert not any(material.seed.raw in held for _, material in state.emulation.stock.items())


def secrets_of(emulation: Emulation, suite_of: object) -> Iterator[bytes]:
    assert callable(suite_of)
    for _, known in emulation.epochs.items():  # noqa: PERF102 - a PMap has no values()
        epoch = known.epoch
        yield from (epoch.encryption_key.raw, epoch.reuse_guard.raw, epoch.generation_id.raw)
    for _, material in emulation.stock.items():  # noqa: PERF102 - the same
        suite = suite_of(material.cipher_suite)
        yield material.seed.raw
        yield init_key(suite, material.seed)[0].raw
        yield leaf_key(suite, material.seed)[0].raw
    for _, key in emulation.keys.items():  # noqa: PERF102 - the same
        yield key.private.raw
    for _, operation in emulation.operations.items():  # noqa: PERF102 - the same
        yield operation.secret.raw
