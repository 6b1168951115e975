"""What carries messages between devices and people in the machine of `test_machine`, and the people.

A `Topic` is one group's log. It puts commits in order, as a Delivery Service does: the first one on an epoch stands,
later ones are refused. Of the virtual client it also sees the names of generations (§6.5.3), and refuses a second
proposal or commit on one; a second application message on one it carries, and people who read the first cannot read
that. People hear everything at once. Devices have a place in the log and go on when they like (`machine_world`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mls import group as front
from mls.credential import BasicCredential
from mls.errors import ReplayError
from mls.group import ApplicationMessage, CommitMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.provider import Environment
from mls.registries import LeafIndex
from mls.state import Group
from mls.virtual.conversation import Author
from tests.mls.clients import Client

HOUSEHOLD = BasicCredential(b"household")
DEVICES = b"devices"


class Kind(Enum):
    COMMIT = "commit"
    PROPOSAL = "proposal"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message, with what the tests know of it and nobody else."""

    by: str
    group_id: bytes
    epoch: int
    kind: Kind
    message: bytes = field(repr=False)
    data: bytes = b""
    claim: bytes | None = None
    author: Author | None = None
    """Which device siblings are to find."""
    again: bool = False
    """Whether a device said this before, and did not note it."""
    leaf: LeafNode | None = field(default=None, repr=False)
    """The virtual client's, after a commit."""
    welcome: bytes | None = field(default=None, repr=False)
    invited: tuple[tuple[Client, KeyPackageSecrets], ...] = ()
    removed: tuple[str, ...] = ()
    """People or devices that a commit removes."""
    group_info: bytes | None = field(default=None, repr=False)
    """What a commit from outside stands on."""


def virtual_leaf(group: Group) -> tuple[LeafIndex, LeafNode] | None:
    """The virtual client, as people see it."""
    return next(((index, leaf) for index, leaf in group.members if leaf.credential == HOUSEHOLD), None)


def leaf_of(group: Group, name: str) -> LeafIndex | None:
    wanted = BasicCredential(name.encode())
    return next((index for index, leaf in group.members if leaf.credential == wanted), None)


class Topic:
    """One group's log, and the people in the group."""

    def __init__(self, group_id: bytes, env: Environment, *, epoch: int = 0, leaf: LeafNode | None = None) -> None:
        self.group_id = group_id
        self.env = env
        self.epoch = epoch
        self.leaf = leaf
        self.log: list[Entry] = []
        self.people: dict[str, Group] = {}
        self.past: dict[tuple[str, int], Group] = {}
        self.open_to: dict[int, frozenset[str]] = {}
        """By epoch: removed devices that still hold its secrets, or can."""
        self.collisions = 0
        self._agreed: dict[int, bytes] = {}
        self._claims: set[bytes] = set()
        self._answers: dict[bytes, bool] = {}

    def agree(self, group: Group) -> None:
        """Whoever is in an epoch holds the same secrets."""
        assert self._agreed.setdefault(group.epoch, group.authenticator) == group.authenticator

    def post(self, entry: Entry) -> bool:
        """Whether it was accepted; the same bytes have the same answer."""
        found = self._answers.get(entry.message)
        if found is None:
            found = self._answers[entry.message] = self._accepts(entry)
            if found:
                self._carry(entry)
        return found

    def _accepts(self, entry: Entry) -> bool:
        if entry.kind is Kind.APPLICATION and self.group_id != DEVICES:
            return True
        return entry.epoch == self.epoch and entry.claim not in self._claims

    def _carry(self, entry: Entry) -> None:
        collides = entry.claim in self._claims
        self.collisions += collides
        self.log.append(entry)
        if entry.claim is not None:
            self._claims.add(entry.claim)
        for name in list(self.people):
            if name != entry.by:
                self._hear(name, entry, collides=collides)
        if entry.kind is Kind.COMMIT:
            self.epoch += 1
            if self.group_id != DEVICES:
                self.leaf = entry.leaf
            for client, package in entry.invited:
                joined = client.join(self.env, entry.welcome, [package])
                self.agree(joined)
                self.people[client.name] = joined

    def _hear(self, name: str, entry: Entry, *, collides: bool) -> None:
        group = self.people[name]
        if entry.epoch != group.epoch:
            late = self.past.get((name, entry.epoch))
            if late is None:
                return  # from before they came
            group = late
        try:
            event = front.receive(group, self.env, entry.message)
        except ReplayError:
            assert collides  # they read the other message of that generation
            return
        assert not collides
        if isinstance(event, CommitMessage):
            self.past[name, entry.epoch] = front.retired(event.before)
            if event.group.ended is None:
                self.agree(event.group)
                self.people[name] = event.group
            else:
                assert name in entry.removed
                del self.people[name]
            return
        if isinstance(event, ApplicationMessage):
            assert event.data == entry.data
        if entry.epoch == self.people[name].epoch:
            self.people[name] = event.group
        else:
            self.past[name, entry.epoch] = event.group

    # People

    def say(self, name: str, data: bytes) -> None:
        group = self.people[name]
        if waits(group):
            return
        self.people[name], message = front.seal(group, self.env, data)
        entry = Entry(
            by=name, group_id=self.group_id, epoch=group.epoch, kind=Kind.APPLICATION, message=message, data=data
        )
        assert self.post(entry)


def waits(group: Group) -> bool:
    """Whether proposals must be committed before anything is said."""
    return any(not item.shelved for item in group.proposals.values())
