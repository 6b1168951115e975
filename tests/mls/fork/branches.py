"""Devices that keep every branch of one group, messages that reach them in any order, and what has to hold.

A `Device` has a value for each epoch that it is in, by the name of the epoch, and a box of messages that have not been
looked at. A `World` is all of them, with a record of each epoch that only the tests have: the secrets that its commits
consumed, so that they can be looked for in what devices keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from mls import group as front, snapshot
from mls.credential import BasicCredential
from mls.errors import GroupEndedError, MissingProposalsError, PuncturedError
from mls.fork.message import DmlsMessage
from mls.fork.retention import left, settled
from mls.fork.schedule import child_init
from mls.group import ApplicationMessage, CommitMessage, Committed, ProposalMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.proposals import Add, Proposal, Remove
from mls.provider import PathSupply
from mls.registries import LeafIndex, WireFormat
from mls.state import Group
from tests.mls.clients import NAMES, Client, Psks, environment, secret_bytes
from tests.mls.fork.company import FORKING, LEAF, company, forker, holds, parent_tree, path_to, repeated

PSK = b"shared"
MOST_BRANCHES = 5
MOST_MEMBERS = 10
MOST_EPOCHS = 24


@dataclass
class Record:
    """What the test knows of an epoch."""

    parent: bytes | None
    members: frozenset[str]
    group: Group
    """Somebody's value of it as it began, with the root of its tree."""
    children: dict[bytes, int | None] = field(default_factory=dict)
    """With the point that each one's init secret was at, unless somebody made it from outside."""
    said: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass
class Device:
    """One member's."""

    client: Client
    values: dict[bytes, Group] = field(default_factory=dict)
    box: list[bytes] = field(default_factory=list)
    read: set[tuple[bytes, bytes]] = field(default_factory=set)
    package: KeyPackageSecrets | None = None
    """With which it is to join."""
    paths: dict[bytes, PathSupply] = field(default_factory=dict)
    """The secrets of the last path that it made on an epoch, which nobody honest would keep."""


def name_of(leaf: LeafNode) -> str:
    assert isinstance(leaf.credential, BasicCredential)
    return leaf.credential.identity.decode()


def names_of(group: Group) -> frozenset[str]:
    return frozenset(name_of(leaf) for _, leaf in group.members)


class World:
    """Everybody, and what is under way."""

    def __init__(self, seed: object = 0, *, members: int = 8, cipher_suite: int = 1) -> None:
        self.env = environment(f"branches {seed}", psks=Psks({PSK: hashlib.sha256(PSK).digest()}))
        self.suite = cipher_suite
        party = company(members, cipher_suite, full=True)
        first = party.any
        self.epochs = {first.epoch_id: Record(None, frozenset(party.names), first)}
        self.devices = {name: Device(client, {first.epoch_id: party[name]}) for name, client in party.clients.items()}
        self.made = len(NAMES)
        self.commits: dict[bytes, tuple[str, bytes]] = {}
        self.counted = 0

    # What there is

    def heads(self) -> list[bytes]:
        return [epoch for epoch, record in self.epochs.items() if not record.children]

    def may_commit(self, epoch: bytes) -> bool:
        full = len(self.epochs) >= MOST_EPOCHS
        return not full and (not self.epochs[epoch].children or len(self.heads()) < MOST_BRANCHES)

    def post(self, epoch: bytes, message: bytes, *, but: str) -> None:
        for name in sorted(self.epochs[epoch].members):
            if name != but:
                self.devices[name].box.append(message)

    def _newcomer(self) -> tuple[str, Device]:
        self.made += 1
        name = f"newcomer{self.made}"
        self.devices[name] = Device(forker(name, self.suite))
        return name, self.devices[name]

    # What members do

    def propose(self, name: str, epoch: bytes) -> None:
        device = self.devices[name]
        after, message, _ = front.propose_update(device.values[epoch], self.env)
        device.values[epoch] = after
        self.post(epoch, DmlsMessage.of(after, message).encode(), but=name)

    def say(self, name: str, epoch: bytes) -> bytes:
        device = self.devices[name]
        self.counted += 1
        data = b"message %d" % self.counted
        after, message = front.seal(front.shelve_proposals(device.values[epoch]), self.env, data)
        device.values[epoch] = after
        self.epochs[epoch].said.append((name, data))
        wrapped = DmlsMessage.of(after, message).encode()
        self.post(epoch, wrapped, but=name)
        return wrapped

    def commit(self, name: str, epoch: bytes, kind: str, choice: int = 0) -> bytes:
        """A commit of some kind; the name of the epoch that it begins.

        "repeat" is a liar's: with the path secrets of the commit that it made on this epoch before.
        """
        device = self.devices[name]
        value = device.values[epoch]
        supply = device.paths[epoch] if kind == "repeat" else None
        proposals: list[Proposal] = []
        references = None
        newcomer = None
        if kind == "add" and len(value.members) < MOST_MEMBERS:
            _, newcomer = self._newcomer()
            newcomer.package = newcomer.client.package(self.env, leaf_extensions=LEAF)
            proposals.append(Add(newcomer.package.key_package))
        elif kind == "remove" and len(value.members) > 2:
            others = [leaf for leaf, _ in value.members if leaf != value.own_leaf]
            proposals.append(Remove(LeafIndex(others[choice % len(others)])))
            references = ()
        elif kind == "psk":
            proposals.append(front.external_psk(value, self.env, PSK))
        elif kind == "resumption":
            proposals.append(front.resumption_psk(value, self.env, value.epoch))
        elif kind == "empty":
            references = ()
        encrypt = None if choice % 2 else False
        sent = front.commit(value, self.env, proposals=proposals, references=references, encrypt=encrypt, supply=supply)
        device.values[epoch] = left(sent.before)
        if sent.path_secrets:
            device.paths[epoch] = repeated(sent)
        points = set(parent_tree(sent.before).points) - set(parent_tree(value).points)
        [point] = points
        self._began(name, epoch, sent.group, DmlsMessage.of(sent.before, sent.message), point)
        self._welcome(sent, newcomer)
        return sent.group.epoch_id

    def _welcome(self, sent: Committed, newcomer: Device | None) -> None:
        if newcomer is not None and sent.welcome is not None:
            newcomer.box.append(DmlsMessage.of(sent.group, sent.welcome).encode())

    def _began(self, name: str, epoch: bytes, group: Group, message: DmlsMessage, point: int | None) -> None:
        child = group.epoch_id
        assert child not in self.epochs
        self.epochs[epoch].children[child] = point
        self.epochs[child] = Record(epoch, names_of(group), group)
        self.devices[name].values[child] = group
        self.commits[child] = name, message.message
        self.post(epoch, message.encode(), but=name)

    def enter(self, through: str, epoch: bytes, back: str | None) -> None:
        """Somebody joins from outside, or comes back as if it had lost everything there."""
        value = self.devices[through].values[epoch]
        info = DmlsMessage.of(value, front.group_info(value))
        remove = None
        name = back
        if name is None:
            if len(value.members) >= MOST_MEMBERS:
                return
            name, _ = self._newcomer()
        else:
            [remove] = [index for index, leaf in value.members if name_of(leaf) == name]
        client = self.devices[name].client
        joined = client.join_externally(self.env, info.message, remove=remove, leaf_extensions=LEAF)
        self._began(name, epoch, joined.group, DmlsMessage(message=joined.message, dmls_epoch=info.dmls_epoch), None)

    def restart(self, name: str) -> None:
        """Everything to disk and back."""
        device = self.devices[name]
        for epoch, value in device.values.items():
            stored = snapshot.encode(value)
            device.values[epoch] = snapshot.decode(self.env.provider, FORKING, stored)
            assert snapshot.encode(device.values[epoch]).raw == stored.raw

    # What reaches them

    def deliver(self, name: str, at: int) -> bool:
        """One message of a box; it stays there if it is too early."""
        device = self.devices[name]
        data = device.box[at]
        wrapped = DmlsMessage.decode(data)
        if front.peek(wrapped.message).wire_format == WireFormat.WELCOME:
            assert device.package is not None
            joined = device.client.join(self.env, wrapped.message, [device.package])
            device.package = None
            self._entered(device, joined)
        else:
            value = device.values.get(wrapped.dmls_epoch)
            if value is None:
                return False
            try:
                event = front.receive(value, self.env, wrapped.message)
            except MissingProposalsError:
                return False
            if isinstance(event, CommitMessage):
                device.values[wrapped.dmls_epoch] = left(event.before)
                if event.group.ended is None:
                    self._entered(device, event.group)
            else:
                device.values[wrapped.dmls_epoch] = event.group
                if isinstance(event, ApplicationMessage):
                    device.read.add((wrapped.dmls_epoch, event.data))
                else:
                    assert isinstance(event, ProposalMessage)
        del device.box[at]
        return True

    def _entered(self, device: Device, group: Group) -> None:
        record = self.epochs[group.epoch_id]
        assert group.authenticator == record.group.authenticator
        assert group.public.context.encoded == record.group.public.context.encoded
        assert parent_tree(group) == parent_tree(record.group)
        assert group.epoch_id not in device.values
        device.values[group.epoch_id] = group

    def deliver_some(self, order: Random, count: int) -> None:
        for _ in range(count):
            waiting = [name for name, device in self.devices.items() if device.box]
            if not waiting:
                return
            name = order.choice(waiting)
            self.deliver(name, order.randrange(len(self.devices[name].box)))

    def deliver_all(self, order: Random) -> None:
        """Until nothing is left: nobody waits for what nobody sent."""
        moved = True
        while moved:
            moved = False
            for device_name in order.sample(sorted(self.devices), len(self.devices)):
                box = self.devices[device_name].box
                for data in order.sample(box, len(box)):
                    moved = self.deliver(device_name, box.index(data)) or moved
        assert [name for name, device in self.devices.items() if device.box] == []

    # What has to hold

    def check_everybody_is_everywhere(self) -> None:
        """Each member of each epoch has it, and has read all that was said in it."""
        for epoch, record in self.epochs.items():
            for name in record.members:
                device = self.devices[name]
                assert device.values[epoch].epoch_id == epoch
                assert device.values[epoch].authenticator == record.group.authenticator
                said = {(epoch, data) for speaker, data in record.said if speaker != name}
                assert said <= device.read
            # Who is removed by a child takes nothing from the tree for it.
            trees = {
                parent_tree(self.devices[name].values[epoch]).encode()
                for name in record.members
                if all(child in self.devices[name].values for child in record.children)
            }
            assert len(trees) <= 1

    def check_consumed_secrets_are_gone(self) -> None:
        """Whoever has followed a commit cannot follow it again, and keeps nothing that leads to its init secret."""
        for epoch, record in self.epochs.items():
            suite = record.group.suite
            root = parent_tree(record.group).secrets
            lost = {child: path_to(suite, root, point) for child, point in record.children.items() if point is not None}
            for name in record.members:
                value = self.devices[name].values[epoch]
                stored = snapshot.encode(value).raw
                kept = set(secret_bytes(value))
                within_reach = kept | {
                    suite.derive_secret(secret, label)
                    for secret in kept
                    for label in (b"parent_init", b"init", b"conf", b"path", b"node", b"pprf")
                }
                for child, secrets in lost.items():
                    if child not in self.devices[name].values:
                        continue  # removed by it: it never knew
                    point = record.children[child]
                    assert point is not None
                    assert holds(stored, secrets) == []
                    assert within_reach.isdisjoint(secrets)
                    refuses(lambda: child_init(suite, parent_tree(value), point.to_bytes(suite.hash_size, "big")))  # noqa: B023 - used at once

    def check_no_commit_is_followed_twice(self) -> None:
        for child, (committer, message) in self.commits.items():
            parent = self.parent_of(child)
            if self.epochs[parent].children[child] is None:
                continue
            for name in (self.epochs[child].members & self.epochs[parent].members) - {committer}:
                value = self.devices[name].values[parent]
                refuses(lambda: front.receive(value, self.env, message))  # noqa: B023 - used at once

    def parent_of(self, child: bytes) -> bytes:
        parent = self.epochs[child].parent
        assert parent is not None
        return parent

    def end_retention(self) -> None:
        """Only heads go on; what was left reads what comes late, and nothing else."""
        late = []
        for epoch, record in self.epochs.items():
            speaker = min(record.members)
            value = front.shelve_proposals(self.devices[speaker].values[epoch])
            late.append((epoch, speaker, front.seal(value, self.env, b"late")[1]))
        heads = set(self.heads())
        for device in self.devices.values():
            for epoch, value in device.values.items():
                if epoch not in heads:
                    device.values[epoch] = settled(value)
        for epoch, speaker, message in late:
            for name in self.epochs[epoch].members - {speaker}:
                event = front.receive(self.devices[name].values[epoch], self.env, message)
                assert isinstance(event, ApplicationMessage)
                assert event.data == b"late"
        for child, (_, message) in self.commits.items():
            parent = self.parent_of(child)
            for name in self.epochs[parent].members:
                with pytest.raises(GroupEndedError):
                    front.receive(self.devices[name].values[parent], self.env, message)


def refuses(attempt: Callable[[], object]) -> None:
    """The point was evaluated already."""
    with pytest.raises(PuncturedError):
        attempt()
