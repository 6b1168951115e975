"""The client for programs that run on trio.

    async with open_client() as vcd:
        async with vcd.events(types=["msg.received"]) as events:
            sent = await vcd.call("msg.send", chat=chat, data=b"tea at five?", request_id=new_request_id())
            async for event in events:
                print(event.data["data"])

Any number of tasks may call at once; whoever is canceled has its call canceled in the daemon. `events` has a connection
of its own, which is opened again when it was lost, and goes on at the same place: nothing is left out or comes twice.
A reader that is slow holds up nobody: what it does not take stays on the daemon's disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

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

    def __init__(self, path: str, stream: trio.SocketStream, name: str, version: str) -> None:
        self.path = path
        self.name, self.version = name, version
        self.welcome: dict[str, Any] = {}
        self._stream = stream
        self._codec = Codec()
        self._sending, self._to_send = trio.open_memory_channel[bytes](float("inf"))
        """No more than the calls in flight. Whoever is canceled must not leave half a message on the stream."""
        self._waiting: dict[int, tuple[trio.Event, list[Any]]] = {}
        self._over: Exception | None = None
        self._told, self.told = trio.open_memory_channel[tuple[str, dict[str, Any]]](CREDIT + 64)

    async def call(self, method: str, /, *, timeout: float | None = None, **params: Any) -> Any:  # noqa: ASYNC109 - the daemon's
        """The result of a function, as a dict. `timeout` is in seconds."""
        if self._over is not None:
            raise self._over
        number, data = self._codec.call(method, params, timeout)
        event, answer = self._waiting[number] = (trio.Event(), [])
        try:
            self._sending.send_nowait(data)
            with trio.move_on_after(float("inf") if timeout is None else timeout + LATER):
                await event.wait()
        except trio.Cancelled:
            self._sending.send_nowait(self._codec.cancel(number))
            raise
        finally:
            self._waiting.pop(number, None)
        if not answer:
            raise self._failure()
        error, result = answer
        if error is not None:
            raise error_of(error)
        return result

    def _failure(self) -> Exception:
        return timed_out() if self._over is None else self._over

    async def write(self) -> None:
        """The task that writes."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the one that reads says why
            async for data in self._to_send:
                await self._stream.send_all(data)

    async def read(self) -> None:
        """The task that reads, until the connection is closed."""
        try:
            while data := await self._stream.receive_some(65536):
                for message in self._codec.feed(bytes(data)):
                    if message[0] == 1:
                        event, answer = self._waiting.get(message[1], (None, None))
                        if event is not None and answer is not None:
                            answer += message[2:4]
                            event.set()
                    elif message[1] == "rpc.error":
                        self._over = error_of(message[2][0])
                    else:
                        await self._told.send((message[1], message[2][0]))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        finally:
            self._over = self._over or closed(self.path)
            for event, _ in self._waiting.values():
                event.set()
            self._told.close()

    @asynccontextmanager
    async def events(
        self, from_: int | None = None, *, consumer: str | None = None, **filters: Any
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Events as they happen: since `from_`, else what `consumer` has not acknowledged, else new ones."""
        place = Place(from_, consumer, filters)
        send, receive = trio.open_memory_channel[Event](0)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._follow, place, send)
            async with receive:
                yield receive
            nursery.cancel_scope.cancel()

    async def _follow(
        self, place: Place, send: trio.MemorySendChannel[Event], task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        tries, started = 0, False
        async with send:
            while True:
                try:
                    async with open_client(self.path, name=self.name, version=self.version) as other:
                        answer = await other.call("events.subscribe", credit=CREDIT, **place.params())
                        place.at(answer)
                        tries = 0
                        if not started:
                            started = True
                            task_status.started()
                        await _taken(other, answer["sub"], place, send)
                except (Unavailable, NotReady):
                    if not started:
                        raise
                    await trio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                    tries += 1
                except trio.BrokenResourceError:
                    return  # nobody reads any more


async def _taken(client: Client, sub: int, place: Place, send: trio.MemorySendChannel[Event]) -> None:
    """Hand on the events of one subscription, until it ends."""
    owed = 0
    async for method, data in client.told:
        if method == "events.end":
            place.next = data["next"]
            if data["reason"] == "expired":
                await client.call("events.next", **place.params())  # which says so
            return
        if method == "event":
            event = place.take(data)
            if event is not None:
                await send.send(event)
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
    path: str | None = None, *, admin: bool = False, name: str = "python-trio", version: str = ""
) -> AsyncIterator[Client]:
    """A connection to the daemon, for as long as the block."""
    where = path or find_socket(admin=admin)
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await sock.connect(where)
    except OSError as error:
        sock.close()
        raise unavailable(where, error) from None
    failure: BaseException | None = None
    async with trio.SocketStream(sock) as stream, trio.open_nursery() as nursery:
        client = Client(where, stream, name, version)
        nursery.start_soon(client.read)
        nursery.start_soon(client.write)
        try:
            client.welcome = await client.call("rpc.hello", **hello(name, version))
            yield client
        except (RpcError, Unavailable, trio.BrokenResourceError) as error:
            failure = error  # as it is, and not in a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
