"""`/vcd/ask/1`: one question and one answer on a stream of their own.

    question    version 1 · length of the protocol's name 1 · name · question
    answer      status 1 · answer

Each is one message of `transport.streams`. The status is 0 with an answer, 1 if the question was refused, 2 if
nobody answers this protocol here. A refusal carries no reason: who may know it is for the answerer to say, in
an answer. All questions share one libp2p protocol, so what a device can be asked is not shown by identify.

Questions being answered are bounded per peer and in all; more wait for their turn in the stream handler, whose
number the network bounds, and give up after the same time as the asker does.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Final

import trio

from transport.base import MAX_ASK, Answerer, AskFailed, PeerId, Reason, Refused, TransportError
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
        self._busy = trio.CapacityLimiter(MOST_AT_ONCE)
        self._by_peer: dict[PeerId, int] = {}
        network.handle(PROTOCOL, self._answer, limit=LONGEST_WAIT)

    def serve(self, protocol: str, answer: Answerer) -> None:
        encode_question(protocol, b"")
        self._answerers[protocol] = answer

    async def ask(self, peer: PeerId, protocol: str, question: bytes, within: float) -> bytes:
        message = encode_question(protocol, question)
        try:
            with trio.fail_after(within):
                return await self._asked(peer, protocol, message, within)
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

    async def _answer(self, stream: Stream) -> None:
        peer = stream.peer
        count: Callable[[str], None] = self._network.count
        if self._by_peer.get(peer, 0) >= MOST_PER_PEER:
            self._network.charge(peer, Offence.FLOOD)
            count("ask.too_many")
            await stream.reset()
            return
        self._by_peer[peer] = self._by_peer.get(peer, 0) + 1
        try:
            await trio.sleep(self._network.penalty(peer))
            async with self._busy:
                await self._answer_one(stream)
        finally:
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]

    async def _answer_one(self, stream: Stream) -> None:
        messages = Messages(stream, limit=MAX_ASK + _OVERHEAD, deadline=30.0)
        try:
            message = await messages.receive()
        except Refused:
            self._network.charge(stream.peer, Offence.OVERSIZE)
            raise
        if message is None:
            return
        question = decode_question(message)
        if question is None:
            self._network.charge(stream.peer, Offence.MALFORMED)
            await stream.reset()
            return
        answerer = self._answerers.get(question[0])
        if answerer is None:
            self._network.count("ask.unknown_protocol")
            await messages.send(bytes((Status.UNKNOWN,)))
            return
        try:
            answer = await answerer(stream.peer, question[1])
        except Refused as refused:  # the answerer's word that the question is wrong
            self._network.charge(stream.peer, _OFFENCES.get(refused.reason, Offence.GARBAGE))
            self._network.count("ask.refused")
            await messages.send(bytes((Status.REFUSED,)))
            return
        except Exception as error:  # noqa: BLE001 - whatever an answerer does wrong ends here, and is told to nobody
            self._network.count("ask.refused")
            _log.warning("no answer to a question of %s: %s", question[0], type(error).__name__)
            await messages.send(bytes((Status.REFUSED,)))
            return
        if len(answer) > MAX_ASK:
            self._network.count("ask.refused")
            _log.error("the answer to a question of %s is too large: %d bytes", question[0], len(answer))
            await messages.send(bytes((Status.REFUSED,)))
            return
        self._network.count("ask.served")
        await messages.send(bytes((Status.ANSWERED,)) + answer)
