"""The mesh as the daemon sees it: topics, frames, questions to one peer, and who is there.

Two things implement `Mesh`: `transport.live`, on a network of sockets, and `transport.memory`, on a simulated
one. tests/transport/contract holds both to the same promises:

- A frame that was published, or that any kept peer has, reaches every peer that has joined the topic, as long
  as there is a path now and then before it expires: at once by gossip, or later by sync.
- Each frame comes out of `frames()` once, when it is new to the store; never if the store had it before.
- `publish` returns when the frame is in the store. It waits while peers cannot take more (back-pressure), but for
  one that is slow no longer than `Patience.slow_peer` in a minute; sync brings that one the rest.
- `frames()` that is not read stops the intake: neighbors see full queues, and sync delivers what they could
  not. Memory stays bounded and nothing is lost.
- `ask` ends with an answer or an `AskFailed` within its deadline, whatever the peer does.
- What a peer sends wrong is dropped, counted and held against that peer; it never raises here.

One task reads `frames()`; everything else may be called from any task of the same trio run.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

PeerId = NewType("PeerId", str)
"""libp2p's: base58 of the multihash of a public key, `12D3KooW…` for Ed25519."""

Address = NewType("Address", str)
"""A multiaddr without the peer id: `/ip4/192.0.2.1/tcp/4001`."""

TopicId = NewType("TopicId", bytes)
"""SHA-256 of the topic's public write key, 32 bytes."""

FrameId = NewType("FrameId", bytes)
"""SHA-256 of the frame's head, 32 bytes; the head holds the hash of the payload."""

Milliseconds = NewType("Milliseconds", int)
"""Since 1970, of the wall's clock. Only expiry is measured by it."""

MAX_PAYLOAD = 4 << 20
"""Bytes. No frame is larger, whatever a peer says; a mesh may be told to take less."""

MAX_ASK = 1 << 20
"""Bytes of one question or one answer."""

MAX_LIFE: Milliseconds = Milliseconds(40 * 24 * 3600 * 1000)
"""A frame that expires later than this from now is refused: 30 days, a sender's wrong clock, and a margin."""


# ---------------------------------------------------------------- errors


class TransportError(Exception):
    """Something between this device and another did not work."""


class Unreachable(TransportError):
    """The peer is not connected, or went away meanwhile."""


class AskFailed(TransportError):
    """The peer did not answer this question: it is away, too slow, does not know the protocol, or refused."""


class Refused(TransportError):
    """This frame or this peer is not accepted here. `reason` is one of a closed list."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason


class Closed(TransportError):
    """This mesh has ended."""


class AlreadyRunning(TransportError):
    """Another process on this machine uses the same identity and holds its lock."""


class Reason(enum.Enum):
    """Why a frame was not taken."""

    MALFORMED = "malformed"
    VERSION = "unknown version"
    SIZE = "too large"
    FORGED = "signature is not the write key's"
    EXPIRED = "expired"
    TOO_LONG = "expires too far in the future"
    STRANGER = "a topic that is not kept here"
    FULL = "no room"
    BARRED = "the peer is barred"


# ---------------------------------------------------------------- peers


class Link(enum.Enum):
    """Where things stand with a peer we know of."""

    AWAY = "away"  # not connected; nobody is trying, or the next try is later
    DIALING = "dialing"
    CONNECTED = "connected"
    RELAYED = "relayed"  # connected, through a third peer
    BARRED = "barred"  # misbehaved; neither dialed nor let in until `until`


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """What is known about one peer now. A value: ask again for news."""

    peer: PeerId
    link: Link
    kept: bool = False  # we were told to stay connected to it
    addresses: tuple[Address, ...] = ()
    since: float = 0.0  # seconds on the mesh's own clock, when `link` became what it is
    retry_at: float | None = None  # when the next dial or the end of a bar is due
    round_trip: float | None = None  # seconds, of the last ping
    topics: frozenset[TopicId] = frozenset()  # ours that it takes part in, as far as it told us
    failures: int = 0  # dials in a row that did not work
    trouble: str = ""  # why the last one did not, in words


# ---------------------------------------------------------------- frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One sealed envelope whose signature has been checked, or that we made: see `transport.frames`."""

    id: FrameId
    topic: TopicId
    expires: Milliseconds
    head: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    def encode(self) -> bytes:
        return self.head + self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A frame that is new here. `source` is who handed it over, which says nothing about who wrote it."""

    frame: Frame
    source: PeerId


class Sealing(Protocol):
    """What a member of a topic has and a relay has not; `frames.WriteKey` is one. Never printed."""

    @property
    def public(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What is needed to take part in a topic: its name, and how to show others that we may read it.

    Members hold the write key. A mailbox or relay holds none and shows `token` to other mailboxes.
    """

    id: TopicId
    key: Sealing | None = field(default=None, repr=False)
    token: bytes = field(default=b"", repr=False)


class FrameStore(Protocol):
    """Where frames stay until they expire. The caller brings it, and may do more in the same transaction.

    The mesh asks for nothing clever: order, ranges and fingerprints are kept in memory, by `sync.index`.
    One task at a time writes. An error of a store goes to whoever started the mesh: it is not survivable.
    """

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        """Keep these. Durable on return; the ids that were not there before, in the same order."""
        ...

    def entries(self, topic: TopicId) -> AsyncIterator[Sequence[tuple[Milliseconds, FrameId]]]:
        """Expiry and id of all that is kept of a topic, in batches, in any order."""
        ...

    async def fetch(self, topic: TopicId, ids: Sequence[FrameId]) -> Sequence[Frame]:
        """These frames; those that are not there are left out."""
        ...

    async def expire(self, before: Milliseconds) -> None:
        """Forget what expired before this time, in all topics."""
        ...

    async def drop(self, topic: TopicId) -> None:
        """Forget a topic."""
        ...


# ---------------------------------------------------------------- the mesh

Answerer = Callable[[PeerId, bytes], Awaitable[bytes]]
"""Answers one question. What it raises is counted and told to nobody: the asker sees that it was refused.

`Refused` says that the question itself is wrong, and is held against the asker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long, in seconds, things may take."""

    ask: float = 30.0
    slow_peer: float = 5.0


class Mesh(Protocol):
    """See the module's docstring for what all of this promises."""

    @property
    def me(self) -> PeerId: ...

    async def join(self, topic: Topic) -> None:
        """Take part: subscribe, keep its frames, reconcile with whoever has it. Again: the new token or key counts."""
        ...

    async def leave(self, topic: TopicId, *, forget: bool = False) -> None:
        """Stop taking part. Its frames stay in the store until they expire, unless `forget`.

        A topic that was forgotten and is joined again brings its frames again, as far as peers have them.
        """
        ...

    async def publish(self, frame: Frame) -> None:
        """Store, then send. `Refused` if the topic is not joined or the frame is one that peers would refuse."""
        ...

    def frames(self) -> AsyncIterator[Arrival]:
        """What is new, in the order of arrival. One reader; ends when the mesh does."""
        ...

    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float = 30.0) -> bytes:
        """One question to one peer that is or can be connected, one answer; `AskFailed` if there is none."""
        ...

    def serve(self, protocol: str, answer: Answerer) -> None:
        """Answer questions of a protocol, such as `/vcd/pair/1`; a later call replaces an earlier one."""
        ...

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """Be connected to this peer from now on, redialing for ever with backoff. Again: these addresses too."""
        ...

    def forget(self, peer: PeerId) -> None:
        """No longer keep it; what connections there are, are closed."""
        ...

    def peers(self) -> Mapping[PeerId, PeerState]:
        """All that are connected, kept or barred."""
        ...

    def peer_changes(self) -> AsyncIterator[PeerState]:
        """Each change of a peer's `link`. A reader that falls behind misses some, never the last of a peer."""
        ...

    async def synchronize(self, peer: PeerId, topic: TopicId) -> int:
        """Reconcile a topic with a peer now; how many frames came. `AskFailed` if it did not go through."""
        ...

    def counters(self) -> Mapping[str, int]:
        """What happened since the mesh began, by name."""
        ...
