"""Who takes what gossip brings: the one interface between gossip (and sync) and the rest of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from transport.base import Frame, FrameId, PeerId, TopicId
from transport.frames import Head


class Intake(Protocol):
    """Whatever these raise is caught by the caller and counted: no peer can use it to end a task."""

    def keeps(self, topic: TopicId) -> bool:
        """Whether frames of this topic are wanted at all."""
        ...

    def known(self, topic: TopicId, frame: FrameId) -> bool:
        """Have it, or it is being stored."""
        ...

    def wants(self, topic: TopicId, frame: FrameId) -> bool:
        """Its head was announced, checked, and it is being fetched: another who has it is good to know."""
        ...

    async def frames(self, topic: TopicId, frames: Sequence[Frame], source: PeerId) -> None:
        """Checked, and not known before. To wait here is back-pressure on the source."""
        ...

    def announced(self, topic: TopicId, heads: Sequence[Head], source: PeerId) -> None:
        """Checked heads of frames too large for gossip, not known before: to be fetched from the source.

        For those that are wanted already: the source is another one that has them.
        """
        ...

    def behind(self, peer: PeerId, topic: TopicId) -> None:
        """Gossip left something out towards this peer: reconcile the topic with it."""
        ...
