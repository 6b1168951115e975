"""The devices of one virtual client, the people they talk to, and a wire between all of them.

Everything is delivered at once and in order; tests of what happens otherwise keep messages back themselves. As it goes,
it asserts that all devices hold the same groups, but for which message keys they used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mls import group as front
from mls.credential import BasicCredential
from mls.key_package import create_key_package
from mls.parameters import Parameters
from mls.proposals import Add, Remove
from mls.provider import Environment
from mls.registries import GroupId
from mls.state import Group
from mls.virtual import client as vc, devices
from mls.virtual.announcements import Announcement, Created, JoinedExternally, Welcomed
from mls.virtual.client import Received
from mls.virtual.emulation import Emulation
from mls.virtual.membership import (
    client_capabilities,
    device_capabilities,
    device_extensions,
    device_parameters,
    group_extensions,
)
from mls.virtual.settings import Settings, SignaturePolicy
from mls.virtual.stock import Batch, Offer, make_batch
from tests.mls.clients import DEFAULT, LIFETIME, Client, check_private_keys, client, environment, snapshot

SETTINGS = Settings()
DERIVED = Settings(signatures=SignaturePolicy.DERIVED)
SUITES = (1, 2, 3, 4, 5, 6, 7)
ABLE = client_capabilities(SUITES)


@dataclass
class Device:
    """One device: its randomness, what it knows, and its conversations."""

    name: str
    env: Environment
    emulation: Emulation
    groups: dict[bytes, Group] = field(default_factory=dict)


def offer(suite: int = 1, **changes: Any) -> Offer:
    plain = Offer(cipher_suite=suite, credential=BasicCredential(b"household"), capabilities=ABLE, lifetime=LIFETIME)
    return replace(plain, **changes)


class Household:
    """Devices by name, and other people's groups by conversation and name."""

    def __init__(
        self,
        count: int,
        *,
        suite: int = 1,
        settings: Settings = SETTINGS,
        seed: object = "household",
        parameters: Parameters = DEFAULT,
    ) -> None:
        self.suite = suite
        self.settings = settings
        self.parameters = parameters
        self.seed = seed
        self.devices: dict[str, Device] = {}
        self.others: dict[bytes, dict[str, Group]] = {}
        self.env = environment(f"{seed} others")
        self.wire: list[bytes] = []
        first = self._env("device0")
        own = self._device_parameters()
        group = front.create(
            first,
            own,
            suite,
            GroupId(b"devices"),
            credential=BasicCredential(b"device0"),
            signature_private=self._signer("device0"),
            capabilities=device_capabilities(SUITES),
            lifetime=LIFETIME,
            leaf_extensions=device_extensions(settings, parameters),
            extensions=group_extensions(settings),
        )
        self.devices["device0"] = Device("device0", first, devices.start(settings, group))
        for number in range(1, count):
            self.add_device(f"device{number}")

    def _env(self, name: str) -> Environment:
        return environment(f"{self.seed} {name}")

    def _device_parameters(self) -> Parameters:
        return device_parameters(self.settings, self.parameters)

    def _signer(self, name: str) -> Any:
        return client(name, self.suite).signer

    def __getitem__(self, name: str) -> Device:
        return self.devices[name]

    @property
    def names(self) -> list[str]:
        return list(self.devices)

    # The emulation group

    def package(self, name: str) -> Any:
        return create_key_package(
            self._env(name),
            self.suite,
            credential=BasicCredential(name.encode()),
            signature_private=self._signer(name),
            capabilities=device_capabilities(SUITES),
            lifetime=LIFETIME,
            leaf_extensions=device_extensions(self.settings, self.parameters),
        )

    def add_device(self, name: str, *, by: str | None = None) -> None:
        """A device that is in no conversation yet."""
        package = self.package(name)
        made = self.commit_devices(by or self.names[0], proposals=[Add(package.key_package)])
        assert made.commit.welcome is not None
        group, _ = front.join(self._env(name), self._device_parameters(), made.commit.welcome, [package])
        self.devices[name] = Device(name, self._env(f"{name}, acting"), devices.start(self.settings, group))
        self.agree()

    def remove_device(self, name: str, *, by: str) -> Device:
        leaf = self[name].emulation.group.own_leaf
        gone = self.devices.pop(name)
        self.commit_devices(by, proposals=[Remove(leaf)])
        return gone

    def commit_devices(self, by: str, **options: Any) -> devices.DeviceCommit:
        device = self[by]
        made = devices.commit(device.emulation, device.env, **options)
        device.emulation = devices.adopt(made.emulation, made)
        self._to_devices(by, made.commit.message)
        return made

    def _to_devices(self, by: str, message: bytes) -> dict[str, devices.Heard]:
        heard = {}
        for name, device in self.devices.items():
            if name != by:
                heard[name] = devices.receive(device.emulation, device.env, message)
                device.emulation = heard[name].emulation
        return heard

    def announce(self, by: str, announcements: Sequence[Announcement]) -> None:
        for announcement in announcements:
            device = self[by]
            told = devices.announce(device.emulation, device.env, announcement)
            device.emulation = told.emulation
            for name, heard in self._to_devices(by, told.message).items():
                assert heard.announcement == announcement
                self.follow(name, announcement)

    def follow(self, name: str, announcement: Announcement) -> None:
        """What a device does about conversations that a sibling tells it of."""
        device = self[name]
        followed: vc.Followed | vc.Joined
        if isinstance(announcement, Created):
            followed = vc.follow_creation(device.emulation, device.env, self.parameters, announcement)
        elif isinstance(announcement, JoinedExternally):
            followed = vc.follow_external(device.emulation, device.env, self.parameters, announcement)
        elif isinstance(announcement, Welcomed):
            followed = vc.join(
                device.emulation, device.env, self.parameters, announcement.welcome, tree=announcement.tree
            )
        else:
            return
        device.emulation = followed.emulation
        device.groups[followed.group.group_id] = followed.group

    def agree(self) -> None:
        """All devices hold the same conversations, and none holds a private key too many."""
        first, *rest = self.devices.values()
        for device in rest:
            assert device.emulation.group.authenticator == first.emulation.group.authenticator
            assert device.emulation.head.newest == first.emulation.head.newest
        for group_id, group in first.groups.items():
            check_private_keys(group)
            for device in rest:
                if group_id in device.groups:
                    alike(group, device.groups[group_id])
            for other in self.others.get(group_id, {}).values():
                assert other.authenticator == group.authenticator

    # Conversations

    def create(self, by: str, group_id: bytes = b"group", *, suite: int = 1, extensions: Any = ()) -> None:
        device = self[by]
        made = vc.create(
            device.emulation, device.env, self.parameters, GroupId(group_id), offer(suite), extensions=extensions
        )
        device.emulation = made.emulation
        device.groups[group_id] = made.group
        self.others[group_id] = {}
        self.announce(by, made.announcements)
        self.agree()

    def invite(self, by: str, group_id: bytes, *names: str) -> vc.Acted:
        """Other people into a conversation."""
        suite = self[by].groups[group_id].suite.cipher_suite
        people = [self.person(name, suite) for name in names]
        packages = [person.package(self.env) for person in people]
        acted = self.commit(by, group_id, proposals=[Add(package.key_package) for package in packages])
        for person, package in zip(people, packages, strict=True):
            assert acted.commit.welcome is not None
            self.others[group_id][person.name] = person.join(self.env, acted.commit.welcome, [package])
        self.agree()
        return acted

    def person(self, name: str, suite: int = 1) -> Client:
        return client(name, suite, capabilities=ABLE)

    def commit(self, by: str, group_id: bytes = b"group", **options: Any) -> vc.Acted:
        device = self[by]
        acted = vc.commit(device.emulation, device.groups[group_id], device.env, **options)
        device.emulation = acted.emulation
        self.spread(group_id, acted.commit.message, by=by)
        device.groups[group_id] = acted.commit.group
        return acted

    def say(self, by: str, group_id: bytes = b"group", data: bytes = b"hello") -> dict[str, Received]:
        device = self[by]
        sealed = vc.seal(device.emulation, device.groups[group_id], device.env, data)
        device.groups[group_id] = sealed.group
        return self.spread(group_id, sealed.message, by=by)

    def spread(self, group_id: bytes, message: bytes, *, by: str = "") -> dict[str, Received]:
        """A message of a conversation to everybody in it but the device that sent it."""
        self.wire.append(message)
        found = {}
        for name, device in self.devices.items():
            if name != by and group_id in device.groups:
                got = vc.receive(device.emulation, device.groups[group_id], device.env, message)
                device.emulation = got.emulation
                device.groups[group_id] = got.event.group
                found[name] = got
        for name, group in self.others[group_id].items():
            if name != by:
                self.others[group_id][name] = front.receive(group, self.env, message).group
        return found

    def other_commit(self, by: str, group_id: bytes = b"group", **options: Any) -> None:
        sent = front.commit(self.others[group_id][by], self.env, **options)
        self.spread(group_id, sent.message, by=by)
        self.others[group_id][by] = sent.group
        self.agree()

    def other_say(self, by: str, group_id: bytes = b"group", data: bytes = b"hi") -> dict[str, Received]:
        self.others[group_id][by], message = front.seal(self.others[group_id][by], self.env, data)
        return self.spread(group_id, message, by=by)

    # KeyPackages

    def upload(self, by: str, *offers: Offer) -> Batch:
        device = self[by]
        batch = make_batch(device.emulation, device.env, offers or [offer()])
        device.emulation = batch.emulation
        self.announce(by, [batch.announcement])
        return batch


USED = ("nodes", "ratchets", "parameters")


def alike(one: Group, other: Group) -> None:
    """Two devices know the same, but for which message keys they used."""
    mine, yours = snapshot(one), snapshot(other)
    for used in USED:
        mine.pop(used)
        yours.pop(used)
    assert mine == yours
