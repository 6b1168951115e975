"""Events: replayed, told as they happen, asked for, and never lost by whoever is slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.vcd.rpc.house import CHAT, EXAMPLES, LOG, House, Wire, opened
from vcd.rpc.calls import Call
from vcd.rpc.connection import Limits
from vcd.rpc.table import FUNCTIONS


async def take(client: Wire, count: int) -> list[Any]:
    """So many events, which have to come next."""
    found = []
    for _ in range(count):
        kind, method, (data,) = await client.hear()
        assert (kind, method) == (2, "event"), (method, data)
        found.append(data)
    return found


def seqs(events: list[Any]) -> list[int]:
    return [each["seq"] for each in events]


async def test_replay_then_live(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(1000):
            house.journal.add()
        answer = await client.ask("events.subscribe", from_=1)
        assert (answer["next"], answer["floor"], answer["last"], answer["log_id"]) == (1, 1, 1000, LOG)
        events = await take(client, 1000)
        assert seqs(events) == list(range(1, 1001))
        house.journal.add(type="chat.changed", data={"x": b"y"})
        (live,) = await take(client, 1)
        assert live == {
            "sub": answer["sub"],
            "seq": 1001,
            "log_id": LOG,
            "type": "chat.changed",
            "at": 2001,
            "chat": CHAT,
            "data": {"x": b"y"},
        }
        assert set(events[0]) == set(live)


async def test_only_what_is_new(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(5):
            house.journal.add()
        assert (await client.ask("events.subscribe"))["next"] == 6
        house.journal.add()
        assert seqs(await take(client, 1)) == [6]


async def test_a_cursor_of_a_moment_ago_goes_neither_back_nor_forth(tmp_path: Path) -> None:
    """What was written and not yet read by the server comes once."""
    async with opened(tmp_path) as house, house.client() as client:
        number = await client.begin("events.subscribe")
        for _ in range(3):
            house.journal.add()
        error, answer = await client.end(number)
        assert error is None
        house.journal.add()
        count = 5 - answer["next"]
        assert seqs(await take(client, count)) == list(range(answer["next"], 5))


async def test_filters_do_not_renumber(tmp_path: Path) -> None:
    other = b"other"
    async with opened(tmp_path) as house, house.client() as client:
        for number in range(1, 601):
            house.journal.add(
                type="msg.received" if number % 3 else "chat.changed",
                chat=None if number % 5 == 0 else CHAT if number % 2 else other,
            )
        msgs = (await client.ask("events.subscribe", from_=0, types=["msg.*"], chats=[other]))["sub"]
        events = await take(client, len([n for n in range(1, 601) if n % 3 and n % 5 and not n % 2]))
        assert seqs(events) == [n for n in range(1, 601) if n % 3 and n % 5 and not n % 2]
        await client.ask("events.unsubscribe", sub=msgs)
        page = await client.ask("events.next", from_=1, types=["chat.changed"], max=3)
        assert seqs(page["events"]) == [3, 6, 9]
        assert page["next"] == 10
        page = await client.ask("events.next", from_=1, types=["pair.met"])
        assert page["events"] == []
        assert page["next"] == 601


async def test_no_such_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for types in (["msg.recieved"], ["nothing.*"], ["*"]):
            error = await client.refused("events.subscribe", types=types)
            assert error["code"] == "E_PARAM_INVALID"
        assert "msg.received" in (await client.refused("events.next", types=["msg.recieved"]))["message"]


async def test_cursors_that_cannot_be(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(10):
            house.journal.add()
        house.journal.floor = 4
        for method in ("events.subscribe", "events.next"):
            error = await client.refused(method, from_=3)
            assert (error["code"], error["data"]) == ("E_CURSOR_EXPIRED", {"floor": 4})
            error = await client.refused(method, from_=12)
            assert (error["code"], error["data"]) == ("E_CURSOR_AHEAD", {"last": 10})
            error = await client.refused(method, from_=5, log_id=b"x" * 16)
            assert (error["code"], error["data"]) == ("E_LOG_CHANGED", {"log_id": LOG})
        assert seqs((await client.ask("events.next", from_=0))["events"])[0] == 4
        assert (await client.ask("events.next", from_=11, log_id=LOG))["events"] == []


async def test_what_goes_while_somebody_reads_it(tmp_path: Path) -> None:
    """Retention overtakes a replay: it ends, and says so."""
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(1000):
            house.journal.add()
        await client.ask("events.subscribe", from_=1, credit=10)
        assert seqs(await take(client, 10)) == list(range(1, 11))
        house.journal.floor = 500
        await client.ask("events.credit", sub=1, more=10)
        assert await client.hear() == [2, "events.end", [{"sub": 1, "reason": "expired", "next": 11}]]


async def test_credit(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(300):
            house.journal.add()
        await client.ask("events.subscribe", from_=1, credit=2)
        assert seqs(await take(client, 2)) == [1, 2]
        await client.ask("status.get")
        assert client.told == []
        await client.send([2, "events.credit", [{"sub": 1, "more": 200}]])
        assert seqs(await take(client, 200)) == list(range(3, 203))
        assert (await client.ask("events.credit", sub=1, more=3))["credit"] == 3
        assert seqs(await take(client, 3)) == [203, 204, 205]
        assert (await client.refused("events.credit", sub=2, more=1))["code"] == "E_SUBSCRIPTION_UNKNOWN"


async def test_unsubscribed_is_silent(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(20_000):
            house.journal.add()
        await client.ask("events.subscribe", from_=1)
        await take(client, 5)
        await client.ask("events.unsubscribe", sub=1)
        client.told.clear()
        house.journal.add()
        await client.ask("status.get")
        assert client.told == []
        assert (await client.refused("events.unsubscribe", sub=1))["code"] == "E_SUBSCRIPTION_UNKNOWN"


async def test_as_many_subscriptions_as_there_may_be(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=Limits(subscriptions=2)) as house, house.client() as client:
        subs = [(await client.ask("events.subscribe"))["sub"] for _ in range(2)]
        error = await client.refused("events.subscribe")
        assert (error["code"], error["data"]) == ("E_SUBSCRIPTIONS", {"limit": 2})
        await client.ask("events.unsubscribe", sub=subs[0])
        assert await client.ask("events.subscribe")


async def test_shown_first(tmp_path: Path) -> None:
    """The snapshot is taken after the cursor, so nothing falls between them."""
    box: list[House] = []

    async def devices(call: Call, params: Any) -> Any:
        box[0].journal.add()
        await trio.testing.wait_all_tasks_blocked()
        return FUNCTIONS["device.list"].example[1]

    handlers = {**EXAMPLES, "device.list": devices}
    async with opened(tmp_path, handlers) as house, house.client() as client:
        box.append(house)
        answer = await client.ask("events.subscribe", initial=["devices", "chats"])
        assert set(answer["initial"]) == {"devices", "chats"}
        assert answer["initial"]["devices"]["devices"][0]["name"] == "laptop"
        assert answer["next"] == 1
        assert seqs(await take(client, 1)) == [1]
        error = await client.refused("events.subscribe", initial=["health"])
        assert error["code"] == "E_NOT_THERE"
        assert (await client.ask("events.subscribe"))["sub"] == 3


async def test_long_poll(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        assert (await client.ask("events.next"))["events"] == []
        number = await client.begin("events.next", wait_ms=30_000)
        await client.ask("status.get")
        house.journal.add(type="chat.left")
        _, page = await client.end(number)
        assert seqs(page["events"]) == [1]
        assert (page["next"], page["last"]) == (2, 1)
        number = await client.begin("events.next", from_=2, wait_ms=30_000, types=["msg.sent"])
        house.journal.add(type="chat.left")
        house.journal.add(type="msg.sent")
        _, page = await client.end(number)
        assert (seqs(page["events"]), page["next"]) == ([3], 4)
        page = await client.ask("events.next", from_=4, wait_ms=10)
        assert (page["events"], page["next"]) == ([], 4)


async def test_pages_end_early(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(8):
            house.journal.add(data={"data": b"x" * 400_000})
        page = await client.ask("events.next", from_=1)
        assert seqs(page["events"]) == [1, 2]
        assert page["next"] == 3


async def test_an_event_that_is_longer_than_a_message_may_be(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        house.journal.add(data={"data": b"x" * (5 << 20)})
        (event,) = (await client.ask("events.next", from_=1))["events"]
        assert event["data"]["too_large"] > 5 << 20


async def test_consumers(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(9):
            house.journal.add()
        assert seqs((await client.ask("events.next", consumer="bot"))["events"])[0] == 1
        assert await client.ask("events.ack", consumer="bot", seq=5) == {"seq": 5}
        assert await client.ask("events.ack", consumer="bot", seq=3) == {"seq": 5}
        assert (await client.refused("events.ack", consumer="bot", seq=10))["code"] == "E_CURSOR_AHEAD"
        assert (await client.refused("events.ack", consumer="a/b", seq=1))["code"] == "E_PARAM_INVALID"
        assert (await client.refused("events.ack", consumer="bot", seq=1, log_id=b"x" * 16))["code"] == "E_LOG_CHANGED"
    async with opened(tmp_path) as house, house.client() as client:
        for _ in range(9):
            house.journal.add()
        await house.journal.ack("bot", 5)
        assert (await client.ask("events.subscribe", consumer="bot"))["next"] == 6
        assert seqs(await take(client, 4)) == [6, 7, 8, 9]
        house.journal.floor = 8
        assert (await client.refused("events.subscribe", consumer="bot"))["code"] == "E_CURSOR_EXPIRED"


@pytest.mark.parametrize("state", ["locked", "stopping"])
async def test_the_log_closes(tmp_path: Path, state: Any) -> None:
    async with opened(tmp_path) as house, house.client() as client, house.client() as other:
        for _ in range(4):
            house.journal.add()
        await client.ask("events.subscribe", from_=1)
        await take(client, 4)
        waiting = await other.begin("events.next", from_=5, wait_ms=30_000)
        await other.ask("status.get")
        house.info.state = state
        assert await client.hear() == [2, "events.end", [{"sub": 1, "reason": state, "next": 5}]]
        error, _ = await other.end(waiting)
        assert error["code"] == f"E_{state.upper()}"
        house.info.state = "ready"
        house.journal.add()
        await client.ask("events.subscribe", from_=5)
        assert seqs(await take(client, 1)) == [5]


# ---------------------------------------------------------------- slow readers


async def test_a_slow_reader_is_told_and_loses_nothing(tmp_path: Path) -> None:
    limits = Limits(queue=100_000, patience=0.2)
    async with opened(tmp_path, limits=limits) as house, house.client() as client:
        for _ in range(4000):
            house.journal.add(data={"data": b"x" * 1000})
        await client.ask("events.subscribe", from_=1)
        await trio.testing.wait_all_tasks_blocked(0.01)  # the server has begun to wait for the reader
        await trio.sleep(0.6)  # asleep: what is tested is that time passes
        got: list[int] = []
        ends = 0
        while len(got) < 4000:
            _kind, method, (data,) = await client.hear()
            if method == "event":
                got.append(data["seq"])
                continue
            ends += 1  # more than once on a machine that stalls
            assert (method, data) == ("events.end", {"sub": ends, "reason": "lagging", "next": len(got) + 1})
            assert 0 < len(got) < 4000
            await client.ask("events.subscribe", from_=data["next"])
        assert ends
        assert got == list(range(1, 4001))


@pytest.mark.slow
async def test_a_reader_that_is_slow_but_reads_stays(tmp_path: Path) -> None:
    """All of it takes longer than the server waits for any part of it."""
    limits = Limits(queue=50_000, patience=3)
    async with opened(tmp_path, limits=limits) as house, house.client() as client:
        for _ in range(2000):
            house.journal.add(data={"data": b"x" * 1000})
        await client.ask("events.subscribe", from_=1)
        for _ in range(20):
            await take(client, 100)
            await trio.sleep(0.16)
        house.journal.add()
        assert seqs(await take(client, 1)) == [2001]


@pytest.mark.slow
async def test_a_hundred_subscribers_with_one_asleep(tmp_path: Path) -> None:
    """The others hear everything in order, and what sleeps costs no more than its queue."""
    count, rounds = 100, 20
    async with opened(tmp_path, limits=Limits(queue=64 * 1024, patience=5)) as house:
        async with trio.open_nursery() as nursery:
            ready, done = [trio.Event() for _ in range(count)], [trio.Event() for _ in range(count)]
            awake = trio.Event()

            async def subscriber(number: int) -> None:
                async with house.client() as client:
                    await client.ask("events.subscribe", from_=1)
                    ready[number].set()
                    if number == 0:
                        await awake.wait()
                        got = []
                        while True:
                            _, method, (data,) = await client.hear()
                            if method == "events.end":
                                assert data["reason"] == "lagging"
                                await client.ask("events.subscribe", from_=data["next"])
                            else:
                                got.append(data["seq"])
                            if len(got) == rounds * 50:
                                break
                        assert got == list(range(1, rounds * 50 + 1))
                    else:
                        assert seqs(await take(client, rounds * 50)) == list(range(1, rounds * 50 + 1))
                    done[number].set()

            for number in range(count):
                nursery.start_soon(subscriber, number)
            for event in ready:
                await event.wait()
            for _ in range(rounds):
                for _ in range(50):
                    house.journal.add(data={"data": b"x" * 1000})
                await trio.lowlevel.checkpoint()
            for event in done[1:]:
                await event.wait()
            assert not done[0].is_set()
            assert house.journal.reads < 40 * rounds, "what all want is read once"
            awake.set()
        assert done[0].is_set()
