"""Who may read, write or delete in a topic: credentials, all signed by the topic's own write key.

A topic's name is the hash of its public write key, so whoever is shown a credential can check it with nothing
but the name: no list of members, no authority, no question to a third party. A credential is one or two records,
each of a fixed size that its first byte gives away, and nothing after them:

    1  token, 150 bytes: lets a peer without the key (a mailbox, a relay, a guest) do some things for some time
           write key 32, rights 1, holder 32, not before 8, expires 8, generation 4, signature 64
    2  proof, 97 bytes: whoever shows it holds the key itself, and so has every right
           write key 32, signature 64
    3  floor, 101 bytes: tokens of earlier generations are void; may stand before a token or proof, or alone
           write key 32, generation 4, signature 64

Numbers are big-endian. The signature covers the record before it behind a context of its own ("vcd topic token
1", "vcd topic proof 1", "vcd topic floor 1"); that of a proof also covers the hashes of the two peer ids, shower
then receiver, which their connection has proven. A proof is therefore worthless to anybody who sees it and
anywhere but where it was shown. It carries no time: it says nothing that its maker could not say again, and the
only way to take a key back is another key, that is, another topic.

A token names its holder by SHA-256 of the peer id, or anybody by zeros. Its rights are bits: what is not set is
not allowed, and a bit that is not known makes it invalid. It has an end, at most a year after its beginning.
Two things end it earlier: the group's secrets change when a device is removed, and the write key and topic with
them; and a floor. Floors only rise. A peer that has one shows it with its own credential, so a revocation
spreads with the sessions that it concerns, and a mailbox is told it in a request as well.

`Access` is how a mesh's sync asks. It knows the topics that are taken part in, keeps what it has verified (a
bounded table, the oldest forgotten; verifying again is the only cost), and does no I/O. The floor of a topic that
is left is kept for when it is joined again: `MOST_LEFT` of them, the topic that was left first forgotten first. No
peer can fill that table, since a floor is only taken of a topic that is taken part in. A process that ends forgets
all floors: after a restart they are those in the credentials that topics are joined with, so whoever must not accept
a revoked token for even one session joins with the highest floor it knows (`Access.floor_of` says which that is).
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from transport.base import Milliseconds, PeerId, Sealing, Topic, TopicId
from transport.frames import topic_id
from transport.signing import KEY_SIZE, SIGNATURE_SIZE, verifies

ANYBODY: Final = bytes(32)
"""The holder of a token that is good for whoever has it: only for what may become public while it lasts."""

LONGEST: Final = 366 * 24 * 3600 * 1000
"""Milliseconds from a token's beginning to its end, at most."""

SKEW: Final = 5 * 60 * 1000
"""Milliseconds that a token is accepted before its beginning and after its end: clocks differ."""

MOST_VERIFIED: Final = 2048
MOST_LEFT: Final = 4096

_TOKEN, _PROOF, _FLOOR = 1, 2, 3
_TOKEN_FIELDS: Final = struct.Struct(">B32sB32sQQI")
_PROOF_FIELDS: Final = struct.Struct(">B32s")
_FLOOR_FIELDS: Final = struct.Struct(">B32sI")
_SIZES: Final = {
    _TOKEN: _TOKEN_FIELDS.size + SIGNATURE_SIZE,
    _PROOF: _PROOF_FIELDS.size + SIGNATURE_SIZE,
    _FLOOR: _FLOOR_FIELDS.size + SIGNATURE_SIZE,
}
_CONTEXTS: Final = {_TOKEN: b"vcd topic token 1", _PROOF: b"vcd topic proof 1", _FLOOR: b"vcd topic floor 1"}

TOKEN_SIZE: Final = _SIZES[_TOKEN]
PROOF_SIZE: Final = _SIZES[_PROOF]
FLOOR_SIZE: Final = _SIZES[_FLOOR]
MAX_CREDENTIAL: Final = FLOOR_SIZE + TOKEN_SIZE


class Right(enum.IntFlag):
    """What a credential allows. They are apart: to write is not to read, and neither is to delete."""

    NONE = 0
    WRITE = 1  # hand over frames
    READ = 2  # be told which frames there are, and be given them
    DELETE = 4  # have frames forgotten before they expire


EVERY_RIGHT: Final = Right.WRITE | Right.READ | Right.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token taken apart; its signature has been checked by nobody yet."""

    topic: TopicId
    rights: Right
    holder: bytes
    not_before: Milliseconds
    expires: Milliseconds
    generation: int
    record: bytes = field(repr=False)

    def held_by(self, peer: PeerId) -> bool:
        return self.holder in (ANYBODY, peer_hash(peer))

    def lasts(self, now: Milliseconds) -> bool:
        return self.not_before - SKEW <= now < self.expires + SKEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof taken apart; it proves something only between two peers."""

    topic: TopicId
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A floor taken apart; its signature has been checked by nobody yet."""

    topic: TopicId
    generation: int
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What was shown, in its shape alone."""

    floor: Floor | None = None
    claim: Token | Proof | None = None


def peer_hash(peer: PeerId) -> bytes:
    """How tokens and requests name a peer: 32 bytes, whatever kind of key it has."""
    return hashlib.sha256(peer.encode()).digest()


# ---------------------------------------------------------------- making them


def issue(
    key: Sealing,
    rights: Right,
    *,
    holder: PeerId | None,
    not_before: Milliseconds,
    expires: Milliseconds,
    generation: int = 0,
) -> bytes:
    """A token; `holder` None makes it good for anybody who has it. `ValueError` if nobody would accept it."""
    fields = _TOKEN_FIELDS.pack(
        _TOKEN,
        key.public,
        rights,
        ANYBODY if holder is None else peer_hash(holder),
        not_before,
        expires,
        generation,
    )
    record = fields + key.sign(_CONTEXTS[_TOKEN] + fields)
    if _parsed(record) is None:
        raise ValueError("a token has at least one right and lasts at most a year")
    return record


def prove(key: Sealing, me: PeerId, to: PeerId) -> bytes:
    """That `me`, whom `to` knows from their connection, holds the key. The same every time."""
    fields = _PROOF_FIELDS.pack(_PROOF, key.public)
    return fields + key.sign(_CONTEXTS[_PROOF] + fields + peer_hash(me) + peer_hash(to))


def raise_floor(key: Sealing, generation: int) -> bytes:
    """Tokens of generations below this are void wherever this record has been seen."""
    fields = _FLOOR_FIELDS.pack(_FLOOR, key.public, generation)
    return fields + key.sign(_CONTEXTS[_FLOOR] + fields)


# ---------------------------------------------------------------- reading them


def parse(credential: bytes) -> Credential | None:
    """Take a credential apart; None if it has not the shape of one. Empty is a credential that shows nothing."""
    floor: Floor | None = None
    rest = credential
    if rest[:1] == bytes([_FLOOR]):
        first = _parsed(rest[:FLOOR_SIZE])
        if not isinstance(first, Floor):
            return None
        floor, rest = first, rest[FLOOR_SIZE:]
    if not rest:
        return Credential(floor=floor)
    claim = _parsed(rest)
    if claim is None or isinstance(claim, Floor) or (floor is not None and floor.topic != claim.topic):
        return None
    return Credential(floor=floor, claim=claim)


def _parsed(record: bytes) -> Token | Proof | Floor | None:
    kind = record[0] if record else 0
    if len(record) != _SIZES.get(kind, -1):
        return None
    topic = topic_id(record[1 : 1 + KEY_SIZE])
    if kind == _PROOF:
        return Proof(topic=topic, record=record)
    if kind == _FLOOR:
        return Floor(topic=topic, generation=_FLOOR_FIELDS.unpack_from(record)[2], record=record)
    _, _, rights, holder, not_before, expires, generation = _TOKEN_FIELDS.unpack_from(record)
    if not rights or rights & ~EVERY_RIGHT or not not_before < expires <= not_before + LONGEST:
        return None
    return Token(
        topic=topic,
        rights=Right(rights),
        holder=holder,
        not_before=not_before,
        expires=expires,
        generation=generation,
        record=record,
    )


def is_signed(record: Token | Floor | Proof, *, shower: PeerId | None = None, receiver: PeerId | None = None) -> bool:
    """Whether the topic's key signed this; a proof needs the two peers it is between."""
    kind, raw = record.record[0], record.record
    message = _CONTEXTS[kind] + raw[:-SIGNATURE_SIZE]
    if isinstance(record, Proof):
        if shower is None or receiver is None:
            return False
        message += peer_hash(shower) + peer_hash(receiver)
    return verifies(raw[1 : 1 + KEY_SIZE], message, raw[-SIGNATURE_SIZE:])


class Verifier:
    """Judges credentials, and remembers which signatures were good. Bounded; the longest unused goes first."""

    def __init__(self, receiver: PeerId, *, most: int = MOST_VERIFIED) -> None:
        self._receiver = receiver
        self._most = most
        self._good: OrderedDict[tuple[bytes, PeerId | None], None] = OrderedDict()

    def rights(self, shower: PeerId, topic: TopicId, credential: Credential, now: Milliseconds, floor: int) -> Right:
        """What the peer at the other end may do in this topic. `floor`: the lowest generation that counts."""
        claim = credential.claim
        if claim is None or claim.topic != topic:
            return Right.NONE
        if isinstance(claim, Proof):
            return EVERY_RIGHT if self.signed(claim, shower) else Right.NONE
        if claim.generation < floor or not claim.lasts(now) or not claim.held_by(shower):
            return Right.NONE
        return claim.rights if self.signed(claim) else Right.NONE

    def signed(self, record: Token | Floor | Proof, shower: PeerId | None = None) -> bool:
        known = (record.record, shower if isinstance(record, Proof) else None)
        if known in self._good:
            self._good.move_to_end(known)
            return True
        if not is_signed(record, shower=shower, receiver=self._receiver):
            return False
        self._good[known] = None
        if len(self._good) > self._most:
            self._good.popitem(last=False)
        return True


# ---------------------------------------------------------------- for a mesh


@dataclass(slots=True)
class _Standing:
    """Where we stand in one topic."""

    key: Sealing | None
    token: Token | None
    floor: Floor | None = None
    proofs: dict[PeerId, bytes] = field(default_factory=dict)


_MOST_PROOFS: Final = 256  # peers whose proof we keep, per topic; making one again costs a signature


class Access:
    """The credentials of one mesh, for its sync. Knows as many topics as were joined.

    `Topic.token` of a joined topic is a credential as above: a token, with a floor before it if there is one.
    Whoever holds the key may put a floor there too; if it is higher than the one that is known here, it counts.
    """

    def __init__(self, me: PeerId, now_ms: Callable[[], Milliseconds]) -> None:
        self._me = me
        self._now_ms = now_ms
        self._verifier = Verifier(me)
        self._topics: dict[TopicId, _Standing] = {}
        self._left: dict[TopicId, Floor] = {}  # of topics no longer taken part in

    def join(self, topic: Topic) -> None:
        """Take part, or take part with another token. What cannot be a credential of the topic is left out."""
        credential = parse(topic.token) or Credential()
        claim = credential.claim
        token = claim if isinstance(claim, Token) and claim.topic == topic.id else None
        before = self._topics.get(topic.id)
        floor = before.floor if before is not None else self._left.pop(topic.id, None)
        self._topics[topic.id] = _Standing(key=topic.key, token=token, floor=floor)
        if credential.floor is not None:
            self._raise(credential.floor)

    def leave(self, topic: TopicId) -> None:
        """Take part no longer. What was revoked stays revoked, should the topic be joined again."""
        standing = self._topics.pop(topic, None)
        if standing is not None and standing.floor is not None:
            if len(self._left) >= MOST_LEFT:
                del self._left[next(iter(self._left))]
            self._left[topic] = standing.floor

    def floor(self, record: bytes) -> bool:
        """Void older tokens from now on; whether this is a floor of a topic we take part in, and a higher one."""
        credential = parse(record)
        return credential is not None and credential.floor is not None and self._raise(credential.floor)

    def floor_of(self, topic: TopicId) -> bytes:
        """The record of the highest floor of a joined topic, to be joined with next time; empty if there is none."""
        standing = self._topics.get(topic)
        return standing.floor.record if standing is not None and standing.floor is not None else b""

    def show(self, peer: PeerId, topic: TopicId) -> bytes:
        """What to show this peer about this topic; empty if there is nothing."""
        standing = self._topics.get(topic)
        if standing is None:
            return b""
        floor = self.floor_of(topic)
        if standing.key is not None:
            proof = standing.proofs.get(peer)
            if proof is None:
                if len(standing.proofs) >= _MOST_PROOFS:
                    standing.proofs.clear()
                proof = standing.proofs[peer] = prove(standing.key, self._me, peer)
            return floor + proof
        return floor + standing.token.record if standing.token is not None else floor

    def may_read(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        return Right.READ in self.rights(peer, topic, credential)

    def may_write(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        return Right.WRITE in self.rights(peer, topic, credential)

    def rights(self, peer: PeerId, topic: TopicId, credential: bytes) -> Right:
        """What the peer may do; nothing in topics that we do not take part in."""
        standing = self._topics.get(topic)
        shown = parse(credential) if standing is not None else None
        if standing is None or shown is None:
            return Right.NONE
        if shown.floor is not None:
            self._raise(shown.floor)
        floor = standing.floor.generation if standing.floor else 0
        return self._verifier.rights(peer, topic, shown, self._now_ms(), floor)

    def _raise(self, floor: Floor) -> bool:
        standing = self._topics.get(floor.topic)
        if standing is None or (standing.floor is not None and floor.generation <= standing.floor.generation):
            return False
        if not self._verifier.signed(floor):
            return False
        standing.floor = floor
        return True
