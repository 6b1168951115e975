"""Two devices that hold one leaf, and the notebook in which both look up what they can derive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mls import group as front
from mls.group import CommitMessage
from mls.leaf_node import Extension, LeafNode
from mls.provider import Creation, Environment, OwnPath, PathSupply, PendingUpdate
from mls.registries import ExtensionType
from mls.secrets import PathSecret
from mls.state import Group
from tests.mls.clients import (
    Party,
    check_private_keys,
    snapshot,
)

APPLICATION_ID = Extension(ExtensionType.APPLICATION_ID, b"virtual")


@dataclass
class Notebook:
    """What the devices of one account derive alike."""

    paths: dict[bytes, OwnPath] = field(default_factory=dict)
    updates: dict[bytes, PendingUpdate] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    external: list[bool] = field(default_factory=list)
    """Whether it was for a commit from outside, for every path that was asked about."""

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        self.asked.append(leaf_node.encryption_key)
        self.external.append(external)
        assert group_id == b"group"
        return self.paths.get(leaf_node.encryption_key)

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        self.asked.append(leaf_node.encryption_key)
        assert group_id == b"group"
        return self.updates.get(leaf_node.encryption_key)

    def supply(self, group: Group, env: Environment) -> PathSupply:
        """Keys for a commit, noted down."""
        private, public = group.suite.generate_key_pair(env.provider.random)
        secret = PathSecret(env.provider.random(group.suite.hash_size))
        self.paths[public] = OwnPath(leaf_private=private, path_secret=secret)
        return PathSupply(leaf_private=private, leaf_public=public, path_secret=secret)


@dataclass
class Founder:
    """A device that knows how the leaf and the first epoch of a group came about, or does not."""

    creation: Creation | None
    asked: tuple[LeafNode, int] | None = None

    def own_creation(self, leaf_node: LeafNode, cipher_suite: int) -> Creation | None:
        self.asked = leaf_node, cipher_suite
        return self.creation


@dataclass
class Sibling:
    """A device that can derive one path, or not."""

    path: OwnPath | None
    asked: tuple[bytes, bool] | None = None

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        self.asked = leaf_node.encryption_key, external
        assert group_id == b"group"
        return self.path

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        raise AssertionError("nobody asks about an Update here")


def alike(one: Group, other: Group) -> None:
    """Two devices know the same, but for which message keys they used."""
    mine, yours = snapshot(one), snapshot(other)
    for used in ("nodes", "ratchets"):
        mine.pop(used)
        yours.pop(used)
    assert mine == yours
    check_private_keys(one)


class Siblings:
    """A party in which member01 has a second device."""

    def __init__(self, ours: Party) -> None:
        self.party = ours
        self.notebook = Notebook()
        self.second = ours["member01"]

    @property
    def first(self) -> Group:
        return self.party["member01"]

    def commit(self, **options: Any) -> CommitMessage:
        """One device commits, the other follows, and so does everybody else."""
        supply = self.notebook.supply(self.first, self.party.env)
        sent = self.party.commit("member01", supply=supply, **options)
        event = self.hear(sent.message)
        assert isinstance(event, CommitMessage)
        assert event.committer == self.first.own_leaf
        alike(self.first, self.second)
        return event

    def hear(self, message: bytes) -> front.Event:
        event = front.receive(self.second, self.party.env, message, own=self.notebook)
        self.second = event.group
        return event
