"""`/vcd/ask/1`: one question and one answer on a stream of their own.

    question    version 1 · length of the protocol's name 1 · name · question
    answer      status 1 · answer

Each is one message of `transport.streams`. The status is 0 with an answer, 1 if the question was refused, 2 if
nobody answers this protocol here. A refusal carries no reason: who may know it is for the answerer to say, in
an answer. All questions share one libp2p protocol, so what a device can be asked is not shown by identify.

What a peer may have us do is bounded. It has `MOST_PER_PEER` streams here; more are a flood, and an asker of ours
keeps below that. While a question comes in or an answer goes out it has a seat for `MOVING_LIMIT` seconds; when
all are taken, the peer that has most gives up the oldest of its own, so peers that open streams and say nothing,
or do not read, keep nobody else from asking. Answerers work for `MOST_AT_ONCE` questions at a time; they have to
end by themselves.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from transport.base import MAX_ASK, Answerer, AskFailed, PeerId, Reason, Refused, TransportError, Unreachable
from transport.conduct import Offence
from transport.network import Network, Stream
from transport.streams import Messages

PROTOCOL: Final = "/vcd/ask/1"
VERSION: Final = 1
LONGEST_NAME: Final = 64
_OVERHEAD: Final = 2 + LONGEST_NAME
LONGEST_WAIT: Final = 120.0  # seconds; an asker that wants to wait longer asks again
MOST_AT_ONCE: Final = 64
MOST_PER_PEER: Final = 8
MOST_ASKED: Final = 6
MOST_MOVING: Final = 64
MOVING_LIMIT: Final = 20.0

_OFFENCES: Final = {
    Reason.MALFORMED: Offence.MALFORMED,
    Reason.VERSION: Offence.VERSION,
    Reason.SIZE: Offence.OVERSIZE,
    Reason.FORGED: Offence.FORGED,
    Reason.FULL: Offence.FLOOD,
}

_log = logging.getLogger("vcd.transport.ask")


class Status(enum.IntEnum):
    ANSWERED = 0
    REFUSED = 1
    UNKNOWN = 2


def encode_question(protocol: str, question: bytes) -> bytes:
    name = protocol.encode()
    if not 0 < len(name) <= LONGEST_NAME:
        raise AskFailed(f"the name of a protocol has 1 to {LONGEST_NAME} bytes")
    if len(question) > MAX_ASK:
        raise AskFailed(f"a question of {len(question)} bytes, at most {MAX_ASK}")
    return bytes((VERSION, len(name))) + name + question


def decode_question(message: bytes) -> tuple[str, bytes] | None:
    """None if it is not one."""
    if len(message) < 2 or message[0] != VERSION:
        return None
    start = 2 + message[1]
    if not 0 < message[1] <= LONGEST_NAME or len(message) < start or len(message) - start > MAX_ASK:
        return None
    try:
        return message[2:start].decode(), message[start:]
    except UnicodeDecodeError:
        return None


class Questions:
    """Asks, and answers with whatever was registered."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._answerers: dict[str, Answerer] = {}
        self._asking: dict[PeerId, trio.CapacityLimiter] = {}
        self._answering: dict[PeerId, int] = {}
        self._turns = trio.CapacityLimiter(MOST_AT_ONCE)
        self._moving: dict[trio.CancelScope, PeerId] = {}
        network.handle(PROTOCOL, self._answer, limit=LONGEST_WAIT)

    def serve(self, protocol: str, answer: Answerer) -> None:
        encode_question(protocol, b"")
        self._answerers[protocol] = answer

    # ------------------------------------------------------------ asking

    async def ask(self, peer: PeerId, protocol: str, question: bytes, within: float) -> bytes:
        message = encode_question(protocol, question)
        try:
            with trio.fail_after(max(within, 0.0)):
                turns = self._asking.setdefault(peer, trio.CapacityLimiter(MOST_ASKED))
                try:
                    async with turns:
                        return await self._asked(peer, protocol, message, within)
                finally:
                    if not turns.borrowed_tokens and not turns.statistics().tasks_waiting:
                        self._asking.pop(peer, None)
        except trio.TooSlowError:
            self._network.count("ask.timed_out")
            raise AskFailed(f"{protocol}: no answer within {within:g} s") from None

    async def _asked(self, peer: PeerId, protocol: str, message: bytes, within: float) -> bytes:
        try:
            if not self._network.connected(peer):
                await self._network.connect(peer)
            stream = await self._network.open(peer, PROTOCOL)
            try:
                return await self._exchange(stream, message, within)
            finally:
                with trio.CancelScope(shield=True):
                    await stream.reset()  # the answer is here, or no longer wanted
        except TransportError as error:
            self._network.count("ask.failed")
            raise AskFailed(f"{protocol}: {error}") from error

    async def _exchange(self, stream: Stream, message: bytes, within: float) -> bytes:
        messages = Messages(stream, limit=MAX_ASK + 1, deadline=within)
        await messages.send(message)
        try:
            answer = await messages.receive()
        except Refused:
            self._network.charge(stream.peer, Offence.OVERSIZE)
            raise
        if not answer:
            raise AskFailed("the peer hung up")
        if answer[0] == Status.ANSWERED:
            self._network.count("ask.answered")
            return answer[1:]
        if answer[0] == Status.UNKNOWN:
            raise AskFailed("the peer does not answer this")
        if answer[0] == Status.REFUSED:
            raise AskFailed("the peer refused")
        self._network.charge(stream.peer, Offence.GARBAGE)
        raise AskFailed("not an answer")

    # ------------------------------------------------------------ answering

    async def _answer(self, stream: Stream) -> None:
        peer = stream.peer
        if self._answering.get(peer, 0) >= MOST_PER_PEER:
            self._network.charge(peer, Offence.FLOOD)
            self._network.count("ask.too_many")
            await stream.reset()
            return
        self._answering[peer] = self._answering.get(peer, 0) + 1
        try:
            await trio.sleep(self._network.penalty(peer))
            messages = Messages(stream, limit=MAX_ASK + _OVERHEAD, deadline=MOVING_LIMIT)
            with self._seat(peer):
                question = await self._hear(messages)
            if question is None:
                return
            async with self._turns:
                answer = await self._think(peer, *question)
            with self._seat(peer):
                await messages.send(answer)
        finally:
            self._answering[peer] -= 1
            if not self._answering[peer]:
                del self._answering[peer]

    @contextmanager
    def _seat(self, peer: PeerId) -> Iterator[None]:
        """While a question is coming in or an answer going out. When all are taken, who has most gives one up."""
        if len(self._moving) >= MOST_MOVING:
            held = Counter(self._moving.values())
            greedy = max(held, key=held.__getitem__)  # the one seated first, of those who have equally many
            longest = next(scope for scope, holder in self._moving.items() if holder == greedy)
            del self._moving[longest]
            longest.cancel()
        scope = trio.CancelScope(deadline=trio.current_time() + MOVING_LIMIT)
        self._moving[scope] = peer
        try:
            with scope:
                yield
        finally:
            self._moving.pop(scope, None)
        if scope.cancelled_caught:
            self._network.count("ask.stalled")
            if trio.current_time() >= scope.deadline:  # and not because others needed the seat
                self._network.charge(peer, Offence.STALLED)
            raise Unreachable("neither asks nor listens")

    async def _hear(self, messages: Messages) -> tuple[str, bytes] | None:
        """The question; None if there is none, which has then been dealt with."""
        peer = messages.stream.peer
        try:
            message = await messages.receive()
        except Refused:
            self._network.charge(peer, Offence.OVERSIZE)
            raise
        if message is None:
            return None
        question = decode_question(message)
        if question is None:
            self._network.charge(peer, Offence.MALFORMED)
            await messages.stream.reset()
        return question

    async def _think(self, peer: PeerId, protocol: str, question: bytes) -> bytes:
        """The answer, or what says that there is none."""
        answerer = self._answerers.get(protocol)
        if answerer is None:
            self._network.count("ask.unknown_protocol")
            return bytes((Status.UNKNOWN,))
        try:
            answer: object = await answerer(peer, question)
        except Refused as refused:  # the answerer's word that the question is wrong
            self._network.charge(peer, _OFFENCES.get(refused.reason, Offence.GARBAGE))
        except Exception as error:  # noqa: BLE001 - whatever an answerer does wrong ends here, and is told to nobody
            _log.warning("no answer to a question of %s: %s", protocol, type(error).__name__)
        else:
            if isinstance(answer, bytes) and len(answer) <= MAX_ASK:
                self._network.count("ask.served")
                return bytes((Status.ANSWERED,)) + answer
            _log.error("what answers %s gave a %s that cannot be sent", protocol, type(answer).__name__)
        self._network.count("ask.refused")
        return bytes((Status.REFUSED,))
