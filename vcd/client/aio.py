"""The client for programs that run on asyncio.

    async with open_client() as vcd:
        sent = await vcd.call("msg.send", chat=chat, data=b"tea at five?", request_id=new_request_id())
        async for event in vcd.events(types=["msg.received"]):
            print(event.data["data"])

Any number of tasks may call at once; whoever is canceled has its call canceled in the daemon. `events` has a connection
of its own, which is opened again when it was lost, and goes on at the same place: nothing is left out or comes twice.
A reader that is slow holds up nobody: what it does not take stays on the daemon's disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from vcd.client.wire import (
    LATER,
    PAUSES,
    Codec,
    Event,
    NotReady,
    Place,
    RpcError,
    Unavailable,
    closed,
    error_of,
    find_socket,
    hello,
    timed_out,
    unavailable,
)

CREDIT = 256
"""Events that the daemon may send before the reader has taken any."""


class Client:
    """Made by `open_client`."""

    def __init__(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, version: str
    ) -> None:
        self.path = path
        self.name, self.version = name, version
        self.welcome: dict[str, Any] = {}
        self._reader, self._writer = reader, writer
        self._codec = Codec()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._over: Exception | None = None
        self.told: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()

    async def call(self, method: str, /, *, timeout: float | None = None, **params: Any) -> Any:  # noqa: ASYNC109 - the daemon's
        """The result of a function, as a dict. `timeout` is in seconds."""
        if self._over is not None:
            raise self._over
        number, data = self._codec.call(method, params, timeout)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(data)
            with suppress(OSError):  # the reader says why
                await self._writer.drain()
            async with asyncio.timeout(None if timeout is None else timeout + LATER):
                return await answer
        except TimeoutError:
            raise timed_out() from None
        except asyncio.CancelledError:
            if not answer.done() or answer.cancelled():
                self._writer.write(self._codec.cancel(number))
            raise
        finally:
            self._waiting.pop(number, None)

    async def read(self) -> None:
        """The task that reads, until the connection is closed."""
        try:
            while data := await self._reader.read(65536):
                for message in self._codec.feed(data):
                    if message[0] == 1:
                        self._answered(*message[1:4])
                    elif message[1] == "rpc.error":
                        self._over = error_of(message[2][0])
                    else:
                        self.told.put_nowait((message[1], message[2][0]))  # no more than there is credit for
        except OSError:
            pass
        finally:
            self._over = self._over or closed(self.path)
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self._over)
            self.told.put_nowait(None)

    def _answered(self, number: int, error: Any, result: Any) -> None:
        answer = self._waiting.get(number)
        if answer is None or answer.done():
            return
        if error is not None:
            answer.set_exception(error_of(error))
        else:
            answer.set_result(result)

    async def events(
        self, from_: int | None = None, *, consumer: str | None = None, **filters: Any
    ) -> AsyncIterator[Event]:
        """Events as they happen: since `from_`, else what `consumer` has not acknowledged, else new ones."""
        place, tries, started = Place(from_, consumer, filters), 0, False
        while True:
            try:
                async with open_client(self.path, name=self.name, version=self.version) as other:
                    answer = await other.call("events.subscribe", credit=CREDIT, **place.params())
                    place.at(answer)
                    tries, started = 0, True
                    async for event in _taken(other, answer["sub"], place):
                        yield event
            except (Unavailable, NotReady):
                if not started:
                    raise
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1


async def _taken(client: Client, sub: int, place: Place) -> AsyncIterator[Event]:
    """The events of one subscription, until it ends."""
    owed = 0
    while (told := await client.told.get()) is not None:
        method, data = told
        if method == "events.end":
            place.next = data["next"]
            if data["reason"] == "expired":
                await client.call("events.next", **place.params())  # which says so
            return
        if method == "event":
            event = place.take(data)
            if event is not None:
                yield event
            owed += 1
            if owed >= CREDIT // 2:
                owed = await _credited(client, sub, owed)


async def _credited(client: Client, sub: int, owed: int) -> int:
    try:
        await client.call("events.credit", sub=sub, more=owed)
    except RpcError as error:
        if error.code != "E_SUBSCRIPTION_UNKNOWN":  # it ended meanwhile: that comes next
            raise
    return 0


@asynccontextmanager
async def open_client(
    path: str | None = None, *, admin: bool = False, name: str = "python-asyncio", version: str = ""
) -> AsyncIterator[Client]:
    """A connection to the daemon, for as long as the block."""
    where = path or find_socket(admin=admin)
    try:
        reader, writer = await asyncio.open_unix_connection(where)
    except OSError as error:
        raise unavailable(where, error) from None
    client = Client(where, reader, writer, name, version)
    reading = asyncio.create_task(client.read(), name="vcd client")
    try:
        client.welcome = await client.call("rpc.hello", **hello(name, version))
        yield client
    finally:
        reading.cancel()
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        with suppress(asyncio.CancelledError):
            await reading
