"""mls-extensions §5, DMLS and DiMLS: what kind of group this is, and where kinds differ from RFC 9420.

A kind of group is fixed when it is made, by a component in the GroupContext that all members must support, so nobody
joins unaware. The difference itself is a `Mode`: the few questions below, which the protocol's rooms ask at the points
where DMLS and DiMLS give another answer. `PLAIN` answers all of them as RFC 9420 does; `mls.fork` and
`mls.distributed` hold the other two. Which modes a client takes part in is part of its `Parameters`.

A mode is a description and keeps nothing: every secret that it asks for stands in the group value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mls.components.dictionary import Dictionary
from mls.errors import BugError
from mls.schedule import STANDARD, GroupContext, Recipe

if TYPE_CHECKING:
    from mls.framing import Sender
    from mls.leaf_node import Extensions, LeafNode
    from mls.secrets import InitSecret, PathSecret
    from mls.state import Group
    from mls.suite import Suite


@dataclass(frozen=True, slots=True)
class Mode:
    """RFC 9420's answers; other modes override what they change."""

    @property
    def needs_path(self) -> bool:
        """Whether every commit needs a path, whatever it commits."""
        return False

    @property
    def keeps_handshake_keys(self) -> bool:
        """Whether used handshake keys stay, whatever the client's `Parameters.keep_handshake_keys` says."""
        return False

    @property
    def unique_signatures(self) -> bool:
        """Whether a valid signature in a second form is refused, since it would make a second commit of the first."""
        return False

    @property
    def replaces_leaves(self) -> bool:
        """Whether a commit may put another member's newer leaf in place of its older one."""
        return False

    def governs(self, dictionary: Dictionary) -> bool:  # noqa: ARG002 - a marker is for others to find
        """Whether a group whose context has this data is of this mode; PeerError if its marker is not sound."""
        return True

    def check_group(self, extensions: Extensions) -> None:
        """Whether a GroupContext with the marker is one that this mode can work with."""

    def check_sender(self, sender: Sender) -> None:
        """Who may speak in the group at all."""

    def recipe(self, suite: Suite, labels: tuple[bytes, ...]) -> Recipe:  # noqa: ARG002 - others need the suite
        """What to derive at the start of an epoch."""
        return Recipe(labels=labels) if labels else STANDARD

    def next_init(
        self,
        group: Group,
        last: PathSecret | None,  # noqa: ARG002 - others need them
        context: bytes,  # noqa: ARG002 - the same
    ) -> tuple[Group, InitSecret]:
        """The init secret of a member's commit that ends this epoch, and this epoch without what gave it.

        `last` is the path secret nearest the root, if the commit has a path; `context` is the GroupContext of the
        epoch that begins.
        """
        init = group.secrets.init
        if not init.raw:
            raise BugError("an epoch without an init secret was taken for one of an ordinary group")
        return group, init

    def from_outside(self, group: Group, context: GroupContext) -> Group:  # noqa: ARG002 - the same
        """This epoch, after a commit from outside that brings its own init secret and begins the one of `context`."""
        return group

    def signed_place(self, group_id: bytes, index: int, leaf: LeafNode) -> tuple[bytes, int]:  # noqa: ARG002 - the same
        """The group and leaf index that a member's leaf node was signed for."""
        return group_id, index


PLAIN = Mode()
