"""A delivery service for groups of apps, which the mesh knows nothing of.

It takes one commit for each epoch, the first that comes, and has everything in one order for every device. A Welcome
goes out with the commit that it belongs to. What is sent twice, as a device crashed before it knew that it was sent, is
a commit once, and anything else perhaps twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from mls.group import peek
from mls.registries import ContentType
from vcd.core.names import EpochId, GroupId
from vcd.core.raw_state import FrameKind, RawFrame


@dataclass(frozen=True)
class Sent:
    """Something in the service's order."""

    data: bytes
    epoch: int
    """The number of the epoch that it is of."""
    commits: bool
    """Whether it is the commit that ends it."""


@dataclass
class Service:
    """See above."""

    rng: random.Random
    log: dict[GroupId, list[Sent]] = field(default_factory=dict)
    epochs: dict[GroupId, int] = field(default_factory=dict)
    """The epoch that the next commit has to end."""
    heads: dict[GroupId, EpochId] = field(default_factory=dict)
    accepted: set[EpochId] = field(default_factory=set)
    """Epochs that began with a commit that was taken."""
    infos: dict[GroupId, bytes] = field(default_factory=dict)
    """Ways in from outside, to where a group stands."""
    welcomes: list[tuple[GroupId, bytes]] = field(default_factory=list)
    """Those that are to be carried to whoever was added."""
    first: dict[bytes, int] = field(default_factory=dict)
    """Where in its group's order each thing came first."""

    def began(self, group_id: GroupId, epoch: EpochId) -> None:
        """Somebody made a group."""
        self.log[group_id], self.epochs[group_id], self.heads[group_id] = [], 0, epoch

    def since(self, group_id: GroupId, number: int) -> int:
        """Where in the order that epoch begins."""
        log = self.log[group_id]
        return next((place for place, sent in enumerate(log) if sent.epoch >= number), len(log))

    def number_at(self, group_id: GroupId, place: int) -> int:
        """At which epoch the group stands there."""
        return max((sent.epoch + sent.commits for sent in self.log[group_id][:place]), default=0)

    def take(self, frame: RawFrame) -> bool:
        """A frame; says whether there is something new in the order."""
        group_id = frame.group_id
        if frame.kind is FrameKind.WELCOME:
            if frame.begins in self.accepted and (group_id, frame.data) not in self.welcomes:
                self.welcomes.append((group_id, frame.data))
            return False
        if frame.kind is FrameKind.GROUP_INFO:
            if frame.begins == self.heads[group_id]:
                self.infos[group_id] = frame.data
            return False
        seen = peek(frame.data)
        assert seen.epoch is not None
        again = frame.data in self.first
        commits = seen.content_type == ContentType.COMMIT
        if commits:
            if again or seen.epoch != self.epochs[group_id]:
                return False
            self.epochs[group_id], self.heads[group_id] = int(seen.epoch) + 1, frame.begins
            self.accepted.add(frame.begins)
            self.infos.pop(group_id, None)
        elif again and self.rng.random() < 0.5:
            return False
        self.first.setdefault(frame.data, len(self.log[group_id]))
        self.log[group_id].append(Sent(frame.data, int(seen.epoch), commits))
        return True
