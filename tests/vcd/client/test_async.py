"""The clients for trio and asyncio, against a real server: the same tests for both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.vcd.client.test_sync import Running, add, running
from tests.vcd.rpc.house import CHAT, EXAMPLES, House
from vcd.client import CursorExpired, NotReady, RpcError, TimedOut, Unavailable, aio, trio as on_trio
from vcd.rpc.calls import Call


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        yield found


class Kit:
    """What the two have under different names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open_client: Any = on_trio.open_client if name == "trio" else aio.open_client

    def run(self, what: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            if self.name == "trio":
                with trio.fail_after(30):
                    await what()
            else:
                await asyncio.wait_for(what(), 30)

        if self.name == "trio":
            trio.run(bounded)
        else:
            asyncio.run(bounded())

    async def in_thread(self, what: Any, *args: Any) -> Any:
        if self.name == "trio":
            return await trio.to_thread.run_sync(what, *args)
        return await asyncio.to_thread(what, *args)

    async def together(self, *calls: Callable[[], Awaitable[Any]]) -> None:
        if self.name == "trio":
            async with trio.open_nursery() as nursery:
                for call in calls:
                    nursery.start_soon(call)
        else:
            await asyncio.gather(*(call() for call in calls))

    async def give_up(self, what: Callable[[], Awaitable[Any]], began: threading.Event) -> None:
        """Begin something, and cancel it when it is under way."""
        if self.name == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(what)
                await self.in_thread(began.wait, 20)
                nursery.cancel_scope.cancel()
        else:
            task = asyncio.ensure_future(what())
            await self.in_thread(began.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    def events(self, client: Any, *args: Any, **named: Any) -> Any:
        found = client.events(*args, **named)
        return found if self.name == "trio" else aclosing(found)


@pytest.fixture(params=["trio", "asyncio"])
def kit(request: pytest.FixtureRequest) -> Kit:
    return Kit(request.param)


async def taken(events: Any, count: int) -> list[int]:
    found = []
    async for event in events:
        found.append(event.seq)
        if len(found) == count:
            break
    return found


def test_calls_at_once(server: Running, kit: Kit) -> None:
    server.start()

    async def play() -> None:
        async with kit.open_client(server.path) as client:
            assert client.welcome["state"] == "ready"
            found: list[int] = []

            async def send() -> None:
                found.append((await client.call("msg.send", chat=CHAT, data=b"x"))["seq"])

            await kit.together(*[send] * 50)
            assert found == [811] * 50
            with pytest.raises(RpcError, match="E_PARAM_MISSING"):
                await client.call("msg.send", chat=CHAT)

    kit.run(play)


def test_events_flow_beyond_the_first_credit(server: Running, kit: Kit) -> None:
    server.start(before=add(2000))

    async def play() -> None:
        async with kit.open_client(server.path) as client:
            async with kit.events(client, 1) as events:
                assert await taken(events, 2000) == list(range(1, 2001))
            async with kit.events(client, 2001, types=["msg.*"]) as events:
                await kit.in_thread(server.do, add(1))
                assert await taken(events, 1) == [2001]

    kit.run(play)


def test_a_reader_that_stops_reading_is_no_burden(server: Running, kit: Kit) -> None:
    server.start(before=add(5000))

    async def play() -> None:
        async with kit.open_client(server.path) as client, kit.events(client, 1) as events:
            assert await taken(events, 3) == [1, 2, 3]
            for _ in range(100):
                await client.call("status.get")

    kit.run(play)


def test_events_go_on_after_a_restart(server: Running, kit: Kit) -> None:
    server.start(before=add(700))

    async def play() -> None:
        async with kit.open_client(server.path) as client:
            async with kit.events(client, 1) as events:
                assert await taken(events, 600) == list(range(1, 601))
                await kit.in_thread(server.stop)
                await kit.in_thread(server.start, EXAMPLES, add(900))
                assert await taken(events, 300) == list(range(601, 901))
            with pytest.raises(Unavailable):
                await client.call("status.get")

    kit.run(play)


def test_events_go_on_after_a_lock(server: Running, kit: Kit) -> None:
    server.start(before=add(5))

    def state(which: str) -> Any:
        return lambda house: setattr(house.info, "state", which)

    async def play() -> None:
        async with kit.open_client(server.path) as client, kit.events(client, 1) as events:
            assert await taken(events, 5) == [1, 2, 3, 4, 5]
            await kit.in_thread(server.do, state("locked"))
            with pytest.raises(NotReady):
                await client.call("device.list")
            await kit.in_thread(server.do, add(2))
            await kit.in_thread(server.do, state("ready"))
            assert await taken(events, 2) == [6, 7]

    kit.run(play)


def test_what_was_not_read_in_time_is_said_to_be_gone(server: Running, kit: Kit) -> None:
    server.start(before=add(2000))

    def trim(house: House) -> None:
        house.journal.floor = 1500

    async def play() -> None:
        async with kit.open_client(server.path) as client:
            with pytest.raises((CursorExpired, ExceptionGroup)) as caught:
                async with kit.events(client, 1) as events:
                    assert await taken(events, 1) == [1]
                    await kit.in_thread(server.do, trim)
                    await taken(events, 2000)
            error: Any = caught.value
            while isinstance(error, ExceptionGroup):
                (error,) = error.exceptions
            assert isinstance(error, CursorExpired)
            assert error.data == {"floor": 1500}

    kit.run(play)


def test_who_is_canceled_cancels_the_call(server: Running, kit: Kit) -> None:
    began, ended = threading.Event(), threading.Event()

    async def sleeps(call: Call, params: Any) -> Any:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    server.start({**EXAMPLES, "msg.send": sleeps})

    async def play() -> None:
        async with kit.open_client(server.path) as client:

            async def send() -> None:
                await client.call("msg.send", chat=CHAT, data=b"")

            await kit.give_up(send, began)
            await client.call("status.get")  # the connection goes on
            assert await kit.in_thread(ended.wait, 20)
            with pytest.raises(TimedOut):
                await client.call("msg.send", chat=CHAT, data=b"", timeout=0.05)

    kit.run(play)


def test_no_daemon(tmp_path: Path, kit: Kit) -> None:
    async def play() -> None:
        with pytest.raises(Unavailable) as caught:
            async with kit.open_client(str(tmp_path / "none.sock")):
                pass
        assert caught.value.reason == "not-running"

    kit.run(play)
