"""The exchange: reconcile a topic with a peer, or fetch frames that it announced; and let others do so with us.

A session that reconciles alternates between comparing and handing over: as soon as `_BATCH` frames are known to be
lacking on either side they are moved, so what came stays if the session breaks, and the next one finds the rest by
the difference that remains. Both directions are done in one session, by whoever opened it. A session stops when very
many frames were found lacking (`ranges.MOST_LACKED`); then another one goes on at once, as long as each brings some.

What is compared expires after a time that both sides agree on in the opening, the later of both clocks plus a
margin, and before the latest time that both accept. So clocks that differ, and frames that only one side has
forgotten already, make no difference that never ends.

Callers see two errors: `Unreachable` if the peer or the stream went away, `AskFailed` for everything else.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import MAX_LIFE, AskFailed, Frame, Milliseconds, PeerId, TopicId, TransportError, Unreachable
from transport.conduct import Offence
from transport.frames import Head
from transport.gossip.intake import Intake
from transport.network import Network
from transport.sync.credentials import Credentials
from transport.sync.index import Key, border_at, key_expires, key_id
from transport.sync.log import Log
from transport.sync.ranges import Initiator
from transport.sync.serving import Server
from transport.sync.sessions import Line, Offended, Settings, Turn, Turns, blame
from transport.sync.transfer import Inbox, Order, Pages, Puller, hand_out
from transport.sync.wire import (
    LONGEST_WAIT,
    MOST_IDS,
    PROTOCOL,
    SALT_SIZE,
    Compare,
    Compared,
    End,
    Hello,
    Mode,
    Next,
    No,
    Offer,
    Pull,
    Taken,
    Welcome,
)

_BATCH: Final = 4 * MOST_IDS
"""Frames found lacking, on either side, before they are moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one reconciliation did."""

    received: int  # frames that were new here
    sent: int  # frames that were new there
    rounds: int  # questions and answers of comparing
    bytes_in: int
    bytes_out: int
    complete: bool  # whether all was compared; if not, the last session moved nothing: what is left, nobody has


def _both(first: Outcome, second: Outcome) -> Outcome:
    """Of two sessions, one after the other."""
    return Outcome(
        received=first.received + second.received,
        sent=first.sent + second.sent,
        rounds=first.rounds + second.rounds,
        bytes_in=first.bytes_in + second.bytes_in,
        bytes_out=first.bytes_out + second.bytes_out,
        complete=second.complete,
    )


class Exchange:
    """Both ends of `/vcd/sync/1`. One for a mesh; everything may be called from any task."""

    def __init__(
        self,
        network: Network,
        log: Log,
        intake: Intake,
        credentials: Credentials,
        *,
        now_ms: Callable[[], Milliseconds],
        rng: random.Random,
        settings: Settings | None = None,
        served: Callable[[PeerId, TopicId], None] = lambda _peer, _topic: None,
    ) -> None:
        """`rng` picks salts and borders: nobody outside may foresee it. `served` hears of sessions others opened."""
        self._network = network
        self._log = log
        self._credentials = credentials
        self._intake = intake
        self._now_ms = now_ms
        self._rng = rng
        self._settings = settings or Settings()
        self._turns = {
            Mode.RECONCILE: Turns(network, self._settings.reconciling, self._settings),
            Mode.FETCH: Turns(network, self._settings.fetching, self._settings),
        }
        self._open_with: dict[tuple[PeerId, TopicId], trio.Semaphore] = {}  # one for each in `_callers`
        self._callers: Counter[tuple[PeerId, TopicId]] = Counter()
        self._inbox = Inbox(network, log, intake, self._settings, now_ms)
        self._server = Server(network, log, intake, credentials, self._inbox, self._settings, now_ms, served)

    def register(self) -> None:
        """Serve incoming sessions from now on."""
        self._network.handle(PROTOCOL, self._server.handle, limit=self._settings.session)

    async def reconcile(self, peer: PeerId, topic: TopicId) -> Outcome:
        """Come to hold the same frames as this peer. `AskFailed` or `Unreachable` if it broke off.

        Waits for one that is already under way with this peer, as long as `idle`.
        """
        async with self._alone(peer, topic), self._turns[Mode.RECONCILE].turn() as turn:
            done: Outcome | None = None
            while True:
                async with self._session(peer, turn) as line:
                    last = await self._reconcile(line, topic)
                done = last if done is None else _both(done, last)
                if last.complete or not last.received + last.sent:
                    return done

    async def fetch(self, peer: PeerId, topic: TopicId, heads: Sequence[Head], *, wait: float) -> list[Frame]:
        """The frames of these checked heads that the peer has, or comes to have within `wait` seconds.

        They are returned, not passed on. A frame that does not come is held against nobody: peers pass heads on
        before they have what belongs to them, so an honest one may have been told of a frame that never was. What a
        session brought before it broke is returned too, if anything.
        """
        now = self._now_ms()
        wanted = [head for head in heads if head.topic == topic and head.expires > now]
        wanted = [head for head in wanted if not (self._log.has(topic, head.id) or self._log.declined(topic, head.id))]
        got: list[Frame] = []
        if not wanted:
            return got
        try:
            async with self._turns[Mode.FETCH].turn() as turn, self._session(peer, turn) as line:
                await self._fetch(line, topic, wanted, min(wait, LONGEST_WAIT / 1000), got)
        except (AskFailed, Unreachable):
            if not got:
                raise
        return got

    @asynccontextmanager
    async def _alone(self, peer: PeerId, topic: TopicId) -> AsyncIterator[None]:
        """The only session of its kind: another would find the same frames lacking, and claimed by the first."""
        one = self._open_with.setdefault((peer, topic), trio.Semaphore(1))
        self._callers[peer, topic] += 1
        try:
            with trio.move_on_after(self._settings.idle) as scope:
                await one.acquire()
            if scope.cancelled_caught:
                raise AskFailed("another session with this peer does not end")
            try:
                yield
            finally:
                one.release()
        finally:
            self._callers[peer, topic] -= 1
            if not self._callers[peer, topic]:
                del self._callers[peer, topic], self._open_with[peer, topic]

    @asynccontextmanager
    async def _session(self, peer: PeerId, turn: Turn) -> AsyncIterator[Line]:
        """A stream that is ended well or reset, and errors as callers know them."""
        stream = await self._network.open(peer, PROTOCOL)
        line = turn.line = Line(stream, self._settings)
        ended = False
        try:
            with trio.fail_after(self._settings.session):
                yield line
            await stream.close()
            ended = True
        except (Unreachable, AskFailed) as error:
            blame(self._network, peer, error)
            raise
        except TransportError as error:
            blame(self._network, peer, error)
            raise AskFailed(str(error)) from error
        except trio.TooSlowError:
            self._network.count("sync.too_long")
            raise AskFailed("the session took too long") from None
        finally:
            if not ended:
                await line.reset()
            self._network.count("sync.bytes_in", line.bytes_in)
            self._network.count("sync.bytes_out", line.bytes_out)

    async def _open(self, line: Line, hello: Hello) -> Welcome:
        await line.say(hello)
        match await line.hear(self._settings.opening):
            case Welcome() as welcome if hello.low <= welcome.low and welcome.high <= hello.high:
                return welcome
            case No(why=why):
                raise AskFailed(f"refused: {why.name.lower().replace('_', ' ')}")
            case _:
                raise Offended(Offence.GARBAGE, "not an answer to the opening")

    def _hello(self, line: Line, topic: TopicId, mode: Mode) -> Hello:
        now = self._now_ms()
        return Hello(
            mode=mode,
            topic=topic,
            low=Milliseconds(now + int(self._settings.margin * 1000)),
            high=Milliseconds(now + MAX_LIFE),
            salt=self._rng.randbytes(SALT_SIZE),
            credential=self._credentials.show(line.stream.peer, topic),
        )

    # ------------------------------------------------------------ reconcile

    async def _reconcile(self, line: Line, topic: TopicId) -> Outcome:
        peer = line.stream.peer
        index = self._log.index(topic) if self._intake.keeps(topic) else None
        if index is None:
            raise AskFailed("the topic is not kept here")
        self._network.count("sync.sessions")
        hello = self._hello(line, topic, Mode.RECONCILE)
        welcome = await self._open(line, hello)
        if not self._credentials.may_read(peer, topic, welcome.credential):
            raise Offended(Offence.UNAUTHORIZED, "takes part in a topic that it may not read")
        initiator = Initiator(index.snapshot(), border_at(welcome.low), border_at(welcome.high), hello.salt, self._rng)
        lacked: list[Key] = []
        owed: list[Key] = []
        received = sent = 0
        while True:
            if not initiator.finished and max(len(lacked), len(owed)) < _BATCH:
                await line.say(Compare(items=tuple(initiator.request())))
                compared = await line.hear(self._settings.answer)
                if not isinstance(compared, Compared):
                    raise Offended(Offence.GARBAGE, "not an answer to a comparison")
                found = initiator.answered(compared.answers)
                lacked += found.lacked
                owed += found.owed if welcome.may_write else []
                self._network.count("sync.rounds")
                continue
            for start in range(0, len(lacked), MOST_IDS):
                received += await self._inbox.take(line, topic, lacked[start : start + MOST_IDS])
            for start in range(0, len(owed), MOST_IDS):
                sent += await self._give(line, topic, owed[start : start + MOST_IDS])
            lacked, owed = [], []
            if initiator.finished:
                break
        await self._end(line, received, sent)
        return Outcome(
            received=received,
            sent=sent,
            rounds=initiator.rounds,
            bytes_in=line.bytes_in,
            bytes_out=line.bytes_out,
            complete=initiator.complete,
        )

    async def _give(self, line: Line, topic: TopicId, keys: Sequence[Key]) -> int:
        """Offer these and hand out what the peer pulls of them; how many it took."""
        now = self._now_ms()
        offered = tuple(one for one in keys if key_expires(one) > now and self._log.has(topic, key_id(one)))
        if not offered:
            return 0
        await line.say(Offer(keys=offered))
        allowed = {key_id(one) for one in offered}
        pages = Pages(self._log, self._intake, topic, Pull(ids=()), self._now_ms)
        handed = 0
        while True:
            match await line.wait(paged=True):
                case Pull() as pull if pull.ids and allowed.issuperset(pull.ids):
                    pages = Pages(self._log, self._intake, topic, pull, self._now_ms)
                    handed += await hand_out(line, pages, self._network)
                case Next() if pages.left:
                    handed += await hand_out(line, pages, self._network)
                case Taken(frames=taken) if taken <= handed:
                    return taken
                case _:
                    raise Offended(Offence.GARBAGE, "not an answer to an offer")

    async def _end(self, line: Line, received: int, sent: int) -> None:
        await line.say(End(received=received, sent=sent))
        match await line.hear(self._settings.answer):
            case End() as end if end.sent >= received and end.received == sent:
                return
            case _:
                raise Offended(Offence.GARBAGE, "not an end, or not this one")

    # ------------------------------------------------------------ fetch

    async def _fetch(self, line: Line, topic: TopicId, heads: Sequence[Head], wait: float, got: list[Frame]) -> None:
        await self._open(line, self._hello(line, topic, Mode.FETCH))
        self._network.count("sync.fetches")
        for start in range(0, len(heads), MOST_IDS):
            expiries = {head.id: head.expires for head in heads[start : start + MOST_IDS]}
            order = Order(topic=topic, expiries=expiries, wait=wait, promised=False)
            puller = Puller(line, self._network, order, self._settings, self._now_ms)
            while puller.left:
                got += await puller.page()
                puller.settle()
        self._network.count("sync.frames_in", len(got))
        await self._end(line, len(got), 0)
