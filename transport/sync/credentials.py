"""Who may read or write a topic, as far as sync has to ask. `transport.access` answers.

A credential is bytes that mean something only to whoever made them and to `Credentials`: a member's proof that it
holds the write key, or a token that a member gave to a mailbox. Both sides show one: whoever opens a session, and
whoever answers, before either learns what the other holds. Otherwise anybody who subscribes to a topic's name would
be brought its frames by its members.
"""

from __future__ import annotations

from typing import Final, Protocol

from transport.base import PeerId, TopicId

MAX_CREDENTIAL: Final = 1024


class Credentials(Protocol):
    def show(self, peer: PeerId, topic: TopicId) -> bytes:
        """What we present to this peer, at most `MAX_CREDENTIAL` bytes; empty if we have nothing to show."""
        ...

    def may_read(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        """Whether this peer, showing this, may have the topic's frames. Also asked about topics not kept here."""
        ...

    def may_write(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        """Whether this peer, showing this, may bring frames. Their signatures are checked all the same."""
        ...
