"""DMLS: what is different in a fork-resilient group, as the protocol's rooms ask about it.

* Such a group has the marker below among its application data, demands of its members that they know what it means,
  and keeps it for life. The draft has no way to tell a DMLS group from another, and their key schedules do not mix.
* Every commit has a path, because a child's init secret comes from the path (the draft leaves others undefined).
* Epochs are named by what the draft derives for it, and instead of an init secret they have a tree (`schedule`).
* Where in the tree a commit's init secret is, the version of the marker says. Version 1 takes the draft's words and the
  parent's context: then an insider can make two commits with one path secret, and whoever has followed one of them can
  never follow the other. Version 2, which new groups have unless told otherwise, takes the context of the epoch that
  begins. That holds the hash of the commit, so different commits have different places, and the same one always has
  the same.
* Two commits may come in on one handshake key, from devices that share a leaf or from a liar. Used handshake keys stay
  until the epoch is settled, so that the order of arrival decides nothing.

A commit by somebody outside brings its own init secret (RFC 9420 §8.3) and does not come to `next_init`. It takes
nothing from the tree, and can be followed as long as the parent's external secret is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mls.codec import Reader, u16
from mls.components.dictionary import Dictionary, dictionary_of
from mls.components.lists import components_of
from mls.components.numbers import Numbers
from mls.errors import BugError, CallerError, LimitError, PeerError, ReplayError
from mls.fork.schedule import EPOCH_ID, PARENT_INIT, child_init, child_input, commit_confirmation, levels
from mls.mode import Mode
from mls.schedule import GroupContext, Recipe

if TYPE_CHECKING:
    from mls.leaf_node import Extensions
    from mls.secrets import InitSecret, PathSecret
    from mls.state import Group
    from mls.suite import Suite

BY_PARENT = 1
BY_CHILD = 2
VERSIONS = (BY_PARENT, BY_CHILD)
"""Of the marker: whose context a child's place in the tree comes from."""

CHILDREN = 64


def marker(version: int) -> bytes:
    """`struct { uint16 version; } DMLSMarker`: a group's entry under `Numbers.dmls`."""
    if version not in VERSIONS:
        raise CallerError(f"there is no version {version} of DMLS groups", "take 2, or 1 for the draft to the letter")
    return u16(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkResilient(Mode):
    """A DMLS group's answers, for groups of one version: a client has a mode for each, so no group changes its own."""

    version: int = BY_CHILD
    numbers: Numbers = field(default_factory=Numbers)
    """The same that the client's `Components` have."""
    children: int = CHILDREN
    """How many commits of members on one epoch are followed. Each costs KDF.Nh * 8 * KDF.Nh bytes, 8 KB with SHA-256,
    for as long as the epoch is kept, and a member that lies can make any number of them. The tree does not know whose
    they were; a share for each member is for whoever holds the branches to give (docs/fork.md)."""

    @property
    def needs_path(self) -> bool:
        return True

    @property
    def unique_signatures(self) -> bool:
        return True

    @property
    def keeps_handshake_keys(self) -> bool:
        return True

    def governs(self, dictionary: Dictionary) -> bool:
        data = dictionary.find(self.numbers.dmls)
        if data is None:
            return False
        reader = Reader(data)
        version = reader.u16()
        if version not in VERSIONS:
            raise PeerError("DMLS-4-1")
        reader.finish()
        return version == self.version

    def check_group(self, extensions: Extensions) -> None:
        if self.numbers.dmls not in components_of(dictionary_of(extensions).find(self.numbers.app_components)):
            raise PeerError("DMLS-4-2")

    def from_outside(self, group: Group, context: GroupContext) -> Group:
        """Such a commit takes nothing from the tree, so the epoch remembers it: played again it begins nothing."""
        child = context.confirmed_transcript_hash
        if child in group.followed:
            raise ReplayError("the commit was followed before")
        if len(group.followed) >= self.children:
            raise LimitError(f"{self.children} commits from outside on this epoch were followed already")
        return replace(group, followed=group.followed | {child})

    def recipe(self, suite: Suite, labels: tuple[bytes, ...]) -> Recipe:
        return Recipe(labels=labels, trees=((PARENT_INIT, levels(suite)),), epoch_id=EPOCH_ID, init=False)

    def next_init(self, group: Group, last: PathSecret | None, context: bytes) -> tuple[Group, InitSecret]:
        tree = group.trees.get(PARENT_INIT)
        if last is None or tree is None:
            raise BugError("a commit without a path, or an epoch without a tree, came to a DMLS group's key schedule")
        suite = group.suite
        bound = group.public.context.encoded if self.version == BY_PARENT else context
        init, rest = child_init(suite, tree, child_input(suite, commit_confirmation(suite, last), bound))
        if len(rest.points) > self.children:
            raise LimitError(f"{self.children} commits on this epoch were followed already")
        return replace(group, trees={**group.trees, PARENT_INIT: rest}), init
