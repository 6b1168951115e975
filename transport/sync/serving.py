"""Sessions that other peers open with us: check who asks, then answer until the END.

What bounds this: seats for streams that have not said what they want, and for sessions of each mode, in all and for
each peer; one page in memory for each; questions a second for each peer; deadlines for every wait and for the whole.
A peer that may not read a topic, and one that asks for a topic not kept here, get the same refusal and the same
charge, after the same check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transport.base import MAX_LIFE, Milliseconds, PeerId, Reason, Refused, TopicId, TransportError
from transport.conduct import Offence
from transport.gossip.intake import Intake
from transport.network import Network, Stream
from transport.sync.credentials import Credentials
from transport.sync.index import border_at
from transport.sync.log import Log
from transport.sync.ranges import Split, answer
from transport.sync.sessions import Line, Offended, Pace, Seats, Settings, blame
from transport.sync.transfer import Inbox, Pages, hand_out
from transport.sync.wire import (
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
    Why,
)

_FINGERPRINTS: Final = 32
"""As many cost as much as another question."""


class Server:
    def __init__(
        self,
        network: Network,
        log: Log,
        intake: Intake,
        credentials: Credentials,
        inbox: Inbox,
        settings: Settings,
        now_ms: Callable[[], Milliseconds],
        served: Callable[[PeerId, TopicId], None],
    ) -> None:
        self._network = network
        self._log = log
        self._intake = intake
        self._credentials = credentials
        self._inbox = inbox
        self._settings = settings
        self._now_ms = now_ms
        self._served = served
        self._unopened = Seats(settings.unopened, settings.unopened_each)
        self._seats = {
            Mode.RECONCILE: Seats(settings.reconciled, settings.reconciled_each),
            Mode.FETCH: Seats(settings.fetched, settings.fetched_each),
        }
        self._pace = Pace(network, settings.questions)

    async def handle(self, stream: Stream) -> None:
        """Serve one stream. What the peer does wrong ends here."""
        line = Line(stream, self._settings)
        try:
            hello = await self._opening(line)
            if hello is None:
                return
            with self._seats[hello.mode].seat(stream.peer) as seated:
                if seated:
                    await self._session(line, hello)
                else:
                    self._network.count("sync.busy")
                    await line.say(No(why=Why.BUSY))
        except TransportError as error:
            blame(self._network, stream.peer, error)
            await line.reset()
        finally:
            self._network.count("sync.bytes_in", line.bytes_in)
            self._network.count("sync.bytes_out", line.bytes_out)

    async def _opening(self, line: Line) -> Hello | None:
        with self._unopened.seat(line.stream.peer) as seated:
            if not seated:
                self._network.count("sync.crowded")
                await line.reset()
                return None
            try:
                hello = await line.hear(self._settings.opening)
            except Refused as error:
                if error.reason is not Reason.VERSION:
                    raise
                await self._refuse(line, Why.VERSION, error)
                return None
            if not isinstance(hello, Hello):
                raise Offended(Offence.GARBAGE, "not an opening")
            return hello

    async def _refuse(self, line: Line, why: Why, error: TransportError) -> None:
        """Say so, and end the stream in good order: a reset would overtake what was said."""
        blame(self._network, line.stream.peer, error)
        await line.say(No(why=why))

    async def _session(self, line: Line, hello: Hello) -> None:
        peer, topic = line.stream.peer, hello.topic
        allowed = self._credentials.may_read(peer, topic, hello.credential)
        index = self._log.index(topic) if self._intake.keeps(topic) else None
        if not allowed or index is None:
            why = Offended(Offence.UNAUTHORIZED, "no right to read, or not kept here")
            await self._refuse(line, Why.NOT_ALLOWED, why)
            return
        may_write = hello.mode is Mode.RECONCILE and self._credentials.may_write(peer, topic, hello.credential)
        now = self._now_ms()
        low = Milliseconds(max(hello.low, now + int(self._settings.margin * 1000)))
        high = Milliseconds(min(hello.high, now + MAX_LIFE))
        snapshot = index.snapshot()
        self._network.count(f"sync.served_{hello.mode.name.lower()}")
        await line.say(Welcome(may_write=may_write, low=low, high=high, credential=self._credentials.show(peer, topic)))
        pages = Pages(self._log, self._intake, topic, Pull(ids=()), self._now_ms)
        received = sent = 0
        paged = False
        while True:
            asked = await line.wait(paged=paged)
            paged = isinstance(asked, Pull | Next)
            await self._pace.keep(peer, 1.0)
            match asked:
                case Compare() if hello.mode is Mode.RECONCILE:
                    answers = answer(snapshot, border_at(low), border_at(high), hello.salt, asked.items)
                    parts = sum(len(said.parts) for said in answers if isinstance(said, Split))
                    await self._pace.keep(peer, (len(asked.items) + parts) / _FINGERPRINTS)
                    await line.say(Compared(answers=tuple(answers)))
                case Pull() if asked.ids:
                    pages = Pages(self._log, self._intake, topic, asked, self._now_ms)
                    sent += await hand_out(line, pages, self._network)
                case Next() if pages.left:
                    sent += await hand_out(line, pages, self._network)
                case Offer() if may_write:
                    taken = await self._inbox.take(line, topic, asked.keys)
                    received += taken
                    await line.say(Taken(frames=taken))
                case Offer() if hello.mode is Mode.RECONCILE:
                    raise Offended(Offence.UNAUTHORIZED, "no right to write")
                case End():
                    if asked.received > sent or asked.sent != received:
                        raise Offended(Offence.GARBAGE, "it counts otherwise")
                    await line.say(End(received=received, sent=sent))
                    if hello.mode is Mode.RECONCILE:
                        self._served(peer, topic)
                    return
                case _:
                    raise Offended(Offence.GARBAGE, "not a question that can be asked now")
