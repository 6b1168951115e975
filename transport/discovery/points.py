"""Rendezvous: peers that keep signed records for others, and how to ask them.

    question                        answer
    "P" and a record                "K" kept, or what is kept is as new; "F" no room; "N" refused
    "G" and a public key, 32 bytes  "R" and the record; "-" none

One question a stream, of protocol `/vcd/records/1`, in the messages of `transport.streams`. A point is any peer
that is there when others are not: a relay, a mailbox, an always-on device. A record proves itself, so a point can
withhold one or give out one that is older and not yet expired, and nothing else; asking several points and
taking the newest answers that. Why this and not a Kademlia table: docs/adr/0010-finding-peers.md.

A point takes a record only from the peer it is about, so each connected identity has one place in its table. The
table is bounded, and full means refused: whoever is in it is not pushed out by newcomers. What has expired goes.
Who asks faster than anybody has to is not answered, and charged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transport.base import Milliseconds, PeerId, Reason, Refused, TransportError, Unreachable
from transport.conduct import Bucket, Offence
from transport.discovery.records import MAX_RECORD, PeerRecord, open_record
from transport.network import Network, Stream
from transport.signing import KEY_SIZE, peer_id, public_key
from transport.streams import Messages

PROTOCOL: Final = "/vcd/records/1"
MOST_RECORDS: Final = 10_000
SECONDS: Final = 10.0
QUESTIONS_PER_SECOND: Final = 20.0  # of one peer; `finding` asks fewer
QUESTIONS_AT_ONCE: Final = 200.0
MOST_COUNTED: Final = 1024  # peers whose questions are counted; when full, the one counted first is forgotten
_LIMIT: Final = 1 + MAX_RECORD

_OFFENCES: Final = {
    Reason.EXPIRED: Offence.EXPIRED,
    Reason.TOO_LONG: Offence.EXPIRED,
    Reason.VERSION: Offence.VERSION,
    Reason.FORGED: Offence.FORGED,
    Reason.SIZE: Offence.OVERSIZE,
}


class RecordKeeper:
    """The point itself: serves from its creation on. Its table is kept in memory: records are published again."""

    def __init__(
        self,
        network: Network,
        *,
        now_ms: Callable[[], Milliseconds],
        clock: Callable[[], float],
        most: int = MOST_RECORDS,
    ) -> None:
        """`clock`: seconds, for the limits of questions; `trio.current_time`."""
        self._network = network
        self._now_ms = now_ms
        self._clock = clock
        self._most = most
        self._records: dict[PeerId, PeerRecord] = {}
        self._rates: dict[PeerId, Bucket] = {}
        network.handle(PROTOCOL, self._serve, limit=2 * SECONDS)

    def __len__(self) -> int:
        return len(self._records)

    async def _serve(self, stream: Stream) -> None:
        messages = Messages(stream, limit=_LIMIT, deadline=SECONDS)
        try:
            question = await messages.receive()
        except Refused:
            self._network.charge(stream.peer, Offence.OVERSIZE)
            raise
        if not question:
            self._network.charge(stream.peer, Offence.MALFORMED)
            return
        if not self._has_turn(stream.peer):
            self._network.charge(stream.peer, Offence.FLOOD)
            return
        await messages.send(self._answer(stream.peer, question))

    def _has_turn(self, asker: PeerId) -> bool:
        now = self._clock()
        rate = self._rates.get(asker)
        if rate is None:
            if len(self._rates) >= MOST_COUNTED:
                del self._rates[next(iter(self._rates))]
            rate = self._rates[asker] = Bucket(QUESTIONS_PER_SECOND, QUESTIONS_AT_ONCE, now)
        return rate.take(1.0, now) == 0.0

    def _answer(self, asker: PeerId, question: bytes) -> bytes:
        kind, body = question[:1], question[1:]
        if kind == b"P":
            return self._keep(asker, body)
        if kind == b"G" and len(body) == KEY_SIZE:
            record = self._records.get(peer_id(body))
            if record is None or record.expires <= self._now_ms():
                self._network.count("records.missed")
                return b"-"
            self._network.count("records.given")
            return b"R" + record.encoded
        self._network.charge(asker, Offence.MALFORMED)
        return b"N"

    def _keep(self, asker: PeerId, body: bytes) -> bytes:
        now = self._now_ms()
        try:
            record = open_record(body, now, about=asker)
        except Refused as refused:
            self._network.charge(asker, _OFFENCES.get(refused.reason, Offence.MALFORMED))
            return b"N"
        if not record.newer_than(self._records.get(asker)):
            return b"K"
        if asker not in self._records and len(self._records) >= self._most:
            for other, kept in list(self._records.items()):
                if kept.expires <= now:
                    del self._records[other]
            if len(self._records) >= self._most:
                self._network.count("records.full")
                return b"F"
        self._records[asker] = record
        self._network.count("records.kept")
        return b"K"


async def publish(network: Network, point: PeerId, record: PeerRecord) -> None:
    """Have a connected point keep our record; `TransportError` if it does not."""
    answer = await _ask(network, point, b"P" + record.encoded)
    if answer != b"K":
        raise TransportError("the point has no room" if answer == b"F" else "the point does not keep it")


async def look_up(network: Network, point: PeerId, peer: PeerId, now: Milliseconds) -> PeerRecord | None:
    """What a connected point has of a peer; None if nothing. A lie is charged and raised as `Refused`."""
    key = public_key(peer)
    if key is None:
        return None
    answer = await _ask(network, point, b"G" + key)
    if answer == b"-":
        return None
    try:
        if answer[:1] != b"R":
            raise Refused(Reason.MALFORMED, "not an answer")
        return open_record(answer[1:], now, about=peer)
    except Refused as refused:
        network.charge(point, _OFFENCES.get(refused.reason, Offence.GARBAGE))
        raise


async def _ask(network: Network, point: PeerId, question: bytes) -> bytes:
    stream = await network.open(point, PROTOCOL)
    try:
        messages = Messages(stream, limit=_LIMIT, deadline=SECONDS)
        await messages.send(question)
        answer = await messages.receive()
        await stream.close()
    finally:
        await stream.reset()
    if not answer:
        raise Unreachable("the point gave no answer")
    return answer
