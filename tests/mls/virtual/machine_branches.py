"""Devices whose own group forks, for `test_branches`.

The emulation group is a DMLS group (docs/fork.md), so its epochs are known by name. A `Device` has a `Head` for each
epoch it is in, and one `Emulation` for all of them: what it acts on is that value `on` one of its heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mls import group as front
from mls.fork.founding import fork_resilient, with_forks
from mls.fork.retention import left
from mls.group import CommitMessage
from mls.key_package import create_key_package
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment
from mls.registries import GroupId
from mls.state import Group
from mls.virtual import client as vc, devices
from mls.virtual.announcements import Announcement
from mls.virtual.emulation import Emulation, Head
from mls.virtual.membership import device_capabilities, device_extensions, device_parameters, group_extensions
from mls.virtual.settings import Settings
from tests.mls.clients import DEFAULT, LIFETIME, client, environment
from tests.mls.virtual.household import DERIVED, SUITES, offer

FORKING: Parameters = with_forks(DEFAULT)


@dataclass
class Device:
    """One device, on every branch that it has heard of."""

    name: str
    env: Environment
    emulation: Emulation
    heads: dict[bytes, Head] = field(default_factory=dict)
    groups: dict[bytes, Group] = field(default_factory=dict)

    def on(self, epoch: bytes) -> Emulation:
        """What it knows, with that branch held for right."""
        return self.emulation.on(self.heads[epoch])

    def took(self, epoch: bytes, after: Emulation) -> bytes:
        """`after` stands in the place of what the device knew; `epoch` is where it was. Where it is now."""
        self.emulation = after
        self.heads[after.group.epoch_id] = after.head
        assert epoch in self.heads
        return after.group.epoch_id


class Forked:
    """Devices, and what one of them says reaches another only if the test hands it over."""

    def __init__(self, count: int, settings: Settings = DERIVED) -> None:
        self.settings = settings
        self.devices: list[Device] = []
        self.sent: dict[bytes, bytes] = {}
        """What led to each epoch."""
        parameters = device_parameters(settings, FORKING)
        told: dict[str, Any] = {
            "capabilities": device_capabilities(SUITES),
            "lifetime": LIFETIME,
            "leaf_extensions": device_extensions(settings, FORKING),
        }
        people = [client(f"device{number}", 1) for number in range(count)]
        env = environment("branches")
        group = front.create(
            env,
            parameters,
            1,
            GroupId(b"devices"),
            credential=people[0].credential,
            signature_private=people[0].signer,
            extensions=fork_resilient(parameters, group_extensions(settings)),
            **told,
        )
        packages = [
            create_key_package(env, 1, credential=person.credential, signature_private=person.signer, **told)
            for person in people[1:]
        ]
        sent = front.commit(group, env, proposals=[Add(package.key_package) for package in packages])
        groups = [sent.group]
        groups += [front.join(env, parameters, sent.welcome or b"", [package])[0] for package in packages]
        for person, each in zip(people, groups, strict=True):
            emulation = devices.start(settings, each)
            device = Device(person.name, environment(person.name), emulation)
            device.heads[each.epoch_id] = emulation.head
            self.devices.append(device)
        self.root = groups[0].epoch_id

    def __getitem__(self, number: int) -> Device:
        return self.devices[number]

    def commit(self, by: int, at: bytes, **options: Any) -> tuple[bytes, bytes]:
        """The new epoch, and the message that leads there."""
        device = self[by]
        here = device.on(at)
        made = devices.commit(here, device.env, **options)
        device.heads[at] = Head(left(made.commit.before), here.head.newest)
        new = device.took(at, devices.adopt(made.emulation, made))
        self.sent[new] = made.commit.message
        return new, made.commit.message

    def hear(self, number: int, at: bytes, message: bytes) -> bytes:
        """Where a device is after a message of that epoch."""
        device = self[number]
        here = device.on(at)
        heard = devices.receive(here, device.env, message)
        if isinstance(heard.event, CommitMessage):
            device.heads[at] = Head(left(heard.event.before), here.head.newest)
        return device.took(at, heard.emulation)

    def tell(self, by: int, at: bytes, announcement: Announcement, *to: int) -> None:
        device = self[by]
        told = devices.announce(device.on(at), device.env, announcement)
        device.took(at, told.emulation)
        for number in to:
            assert self.hear(number, at, told.message) == at

    def rivals(self, *knowing: int) -> tuple[bytes, bytes]:
        """Devices 0 and 1 commit at once, and those named hear both; the two epochs."""
        one, by_one = self.commit(0, self.root, derive=True)
        other, by_other = self.commit(1, self.root, derive=True)
        for number in knowing:
            if number != 0:
                assert self.hear(number, self.root, by_one) == one
            if number != 1:
                assert self.hear(number, self.root, by_other) == other
        return one, other

    def newest(self, epoch: bytes) -> bytes:
        """The derivation epoch at the head of a branch, as all devices there have it."""
        [found] = {device.heads[epoch].newest for device in self.devices if epoch in device.heads}
        return found

    # A conversation

    def converse(self) -> Group:
        """All devices, and Anna's value of it."""
        first = self[0]
        made = vc.create(first.emulation, first.env, DEFAULT, GroupId(b"group"), offer())
        first.took(self.root, made.emulation)
        first.groups[b"group"] = made.group
        for number in range(1, len(self.devices)):
            device = self[number]
            followed = vc.follow_creation(device.emulation, device.env, DEFAULT, made.announcements[-1])  # type: ignore[arg-type]
            device.took(self.root, followed.emulation)
            device.groups[b"group"] = followed.group
        person = client("anna", 1, capabilities=offer().capabilities)
        package = person.package(first.env)
        message, welcome = self.act(0, self.root, proposals=[Add(package.key_package)])
        for number in range(1, len(self.devices)):
            self.follow(number, self.root, message)
        return person.join(first.env, welcome, [package])

    def act(self, by: int, at: bytes, **options: Any) -> tuple[bytes, bytes | None]:
        """A commit in the conversation by a device that holds a branch for right, adopted at once."""
        device = self[by]
        acted = vc.commit(device.on(at), device.groups[b"group"], device.env, **options)
        device.took(at, acted.emulation)
        device.groups[b"group"] = acted.commit.group
        return acted.commit.message, acted.commit.welcome

    def follow(self, number: int, at: bytes, message: bytes) -> vc.Received:
        device = self[number]
        got = vc.receive(device.on(at), device.groups[b"group"], device.env, message)
        device.took(at, got.emulation)
        device.groups[b"group"] = got.event.group
        return got
