"""Calls: what is answered, in which order, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import msgspec
import pytest
import trio

from tests.vcd.rpc.house import BOOT, CHAT, LOG, House, opened
from vcd.rpc.calls import CALLING, Call, Handler
from vcd.rpc.connection import Limits
from vcd.rpc.errors import Failure, refused
from vcd.rpc.nouns import daemon, msg
from vcd.rpc.params import digest, read
from vcd.rpc.table import FUNCTIONS
from vcd.rpc.values import Done

SENT = msg.Sent(msg=b"m" * 32, seq=7, at=1)


async def test_hello_then_a_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client(greet=False) as client:
        welcome = await client.ask("rpc.hello", client={"name": "x", "version": "1", "pid": 4}, features=["new"])
        assert welcome["boot_id"] == BOOT
        assert welcome["log_id"] == LOG
        assert welcome["state"] == "ready"
        assert welcome["limits"]["message"] == 4 << 20
        assert (await client.ask("msg.send", chat=CHAT, data=b"hi"))["msg"] == b"\x33" * 32


async def test_hello_comes_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client(greet=False) as client:
        assert (await client.refused("msg.send", chat=CHAT, data=b"hi"))["code"] == "E_HELLO_FIRST"
        assert (await client.ask("status.get"))["state"] == "ready"
        assert "functions" in (await client.ask("rpc.api_info"))["api"]


async def test_a_level_that_is_not_served(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client(greet=False) as client:
        error = await client.refused("rpc.hello", client={"name": "x"}, want={"api_level": 99})
        assert error["code"] == "E_API_LEVEL"
        assert error["data"] == {"level": 1, "compatible": 1}
        assert (await client.refused("device.list"))["code"] == "E_HELLO_FIRST"


async def test_calls_behind_hello_in_one_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client(greet=False) as client:
        await client.send(
            [0, 1, "rpc.hello", [{"client": {"name": "x"}}]],
            [0, 2, "device.list", [{}]],
        )
        assert (await client.end(2))[0] is None
        assert (await client.end(1))[0] is None


async def test_replies_come_in_the_order_in_which_they_are_done(tmp_path: Path) -> None:
    gate = trio.Event()

    async def slow(call: Call, params: Any) -> Any:
        await gate.wait()
        return SENT

    async def quick(call: Call, params: Any) -> Any:
        gate.set()
        return FUNCTIONS["device.list"].example[1]

    async with opened(tmp_path, {"msg.send": slow, "device.list": quick}) as house, house.client() as client:
        first = await client.begin("msg.send", chat=CHAT, data=b"")
        second = await client.begin("device.list")
        order = [(await client.read())[1], (await client.read())[1]]
        assert order == [second, first]


@pytest.mark.parametrize(
    ("params", "code", "data"),
    [
        ([{"chat": CHAT, "data": b"", "dta": 1}], "E_PARAM_UNKNOWN", {"name": "dta", "nearest": "data"}),
        ([{"chat": CHAT, "data": b"", "from_": 1}], "E_PARAM_UNKNOWN", {"name": "from_", "nearest": None}),
        ([{"chat": CHAT}], "E_PARAM_MISSING", {"name": "data"}),
        ([{"chat": CHAT, "data": "text"}], "E_PARAM_INVALID", {"path": "data"}),
        ([{"chat": b"", "data": b""}], "E_PARAM_INVALID", {"path": "chat"}),
        ([{"chat": CHAT, "data": b"", "request_id": b"short"}], "E_PARAM_INVALID", {"path": "request_id"}),
        ([{"chat": CHAT, "data": b"", "timeout_ms": 0}], "E_PARAM_INVALID", {"path": "timeout_ms"}),
        ([{"chat": CHAT, "data": b"", "timeout_ms": True}], "E_PARAM_INVALID", {"path": "timeout_ms"}),
        ([{"chat": CHAT, "data": b"", "timeout_ms": 5.0}], "E_PARAM_INVALID", {"path": "timeout_ms"}),
        ([{"chat": CHAT, "data": b"x" * (1024 * 1024 + 1)}], "E_PARAM_INVALID", {"path": "data"}),
        ([], "E_PARAMS", {}),
        ([{}, {}], "E_PARAMS", {}),
        ([CHAT], "E_PARAMS", {}),
        ({"chat": CHAT}, "E_PARAMS", {}),
        (None, "E_PARAMS", {}),
    ],
)
async def test_wrong_arguments(tmp_path: Path, params: Any, code: str, data: Any) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        await client.send([0, 77, "msg.send", params])
        error, _ = await client.end(77)
        assert (error["code"], error["data"]) == (code, data)
        assert await client.ask("device.list")


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("account.create", {"device_name": "laptop", "name": "x" * 65}, "`name`: at most 64 characters."),
        ("account.create", {"device_name": ""}, "`device_name`: must not be empty."),
        ("account.create", {"device_name": 5}, "`device_name`: must be text, not a whole number."),
        ("account.recover", {"device_name": "laptop", "words": ["abandon"] * 5}, "`words`: at least 12 of them."),
        (
            "account.recover",
            {"device_name": "laptop", "words": "abandon"},
            "`words`: must be a list or nothing, not text.",
        ),
        ("msg.list", {"chat": CHAT, "most": 501}, "`most`: at most 500."),
        ("msg.list", {"chat": CHAT, "most": 1.5}, "`most`: must be a whole number, not a number with a fraction."),
        ("chat.get", {"chat": b"x" * 256}, "`chat`: at most 255 bytes."),
        ("events.ack", {"consumer": "a/b", "seq": 1}, "`consumer`: must look like ^[A-Za-z0-9_.-]+$."),
        ("vault.rewrap", {"unlocker": "pasphrase"}, "`unlocker`: must not be 'pasphrase'."),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_in_words(method: str, params: Any, said: str) -> None:
    with pytest.raises(Failure) as failed:
        read(FUNCTIONS[method], msgpack.packb([params]))
    assert failed.value.message == said


@pytest.mark.parametrize("value", [None, True, -1, 2**64 - 1, 1.5, "", "x" * 80_001, b"", b"x" * 70_000, [], [1], {}])
def test_no_answer_speaks_of_the_decoder(value: object) -> None:
    for function in FUNCTIONS.values():
        for field in msgspec.structs.fields(function.params):
            with pytest.raises(Failure) as failed:
                read(function, msgpack.packb([{field.encode_name: value, "": 0}]))
            assert "xpected" not in failed.value.message


async def test_a_wrong_name_within_an_argument(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client(greet=False) as client:
        error = await client.refused("rpc.hello", client={"name": "x", "verson": "1"})
        assert error["data"] == {"name": "client.verson", "nearest": "version"}


async def test_no_such_function(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        error = await client.refused("msg.sned")
        assert (error["code"], error["num"], error["retry"]) == ("E_METHOD_UNKNOWN", 1003, "no")
        assert error["data"] == {"method": "msg.sned", "nearest": "msg.send"}


async def test_what_has_no_handler(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        assert (await client.refused("msg.list", chat=CHAT))["code"] == "E_NOT_THERE"


def test_handlers_of_nothing_are_refused() -> None:
    from vcd.rpc.calls import Calls
    from vcd.rpc.info import Info

    async def handler(call: Call, params: Any) -> Any:
        return Done()

    info = Info(version="0", boot_id=BOOT)
    for name in ("msg.sned", "events.subscribe"):
        with pytest.raises(ValueError, match=name):
            Calls({name: handler}, info, None, None)


async def test_admin_is_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        async with house.client() as client:
            assert (await client.refused("daemon.stop"))["code"] == "E_ADMIN_ONLY"
        async with house.client("admin") as client:
            assert await client.ask("daemon.stop") == {}
            assert await client.ask("device.list")


@pytest.mark.parametrize("state", ["starting", "migrating", "locked", "stopping"])
async def test_states_gate_functions(tmp_path: Path, state: Any) -> None:
    async with opened(tmp_path, state=state) as house, house.client("admin", greet=False) as client:
        welcome = await client.greet()
        assert (welcome["state"], welcome["log_id"]) == (state, None)
        for method in ("device.list", "events.subscribe", "events.next"):
            error = await client.refused(method)
            assert error["code"] == f"E_{state.upper()}"
            assert error["data"] == {"state": state}
        assert await client.ask("status.get")
        assert await client.ask("rpc.api_info")
        house.info.state = "ready"
        assert await client.ask("device.list")
        assert (await client.ask("events.next"))["events"] == []


async def test_calls_wait_while_everything_is_opened_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        house.info.open_anew()
        calls = [await client.begin(method) for method in ("device.list", "events.subscribe", "events.next")]
        assert await client.ask("status.get")
        assert (await client.refused("device.list", timeout_ms=1))["code"] == "E_TIMEOUT"
        house.info.state = "ready"
        assert [(await client.end(each))[0] for each in calls] == [None, None, None]


@pytest.mark.parametrize("state", ["starting", "migrating", "locked", "stopping"])
async def test_calls_that_wait_are_refused_if_it_does_not_come_back(tmp_path: Path, state: Any) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        house.info.open_anew()
        call = await client.begin("device.list")
        await client.ask("status.get")
        house.info.state = state
        if state == "starting":
            house.info.stuck()
        error = (await client.end(call))[0]
        assert error["code"] == f"E_{state.upper()}"
        assert (await client.refused("device.list"))["code"] == f"E_{state.upper()}"


# ---------------------------------------------------------------- failures


async def test_failures_and_bugs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(call: Call, params: Any) -> Any:
        match params.data:
            case b"failure":
                raise Failure("E_OUTBOX_FULL", after_ms=9)
            case b"misuse":
                raise LookupError("no-conversation")
            case b"wrong":
                return Done()
            case _:
                raise RuntimeError(f"a bug beside {params.data!r}")

    def known(error: Exception) -> Failure | None:
        return refused("no-conversation", "There is none.") if isinstance(error, LookupError) else None

    async with opened(tmp_path, {"msg.send": fails}, failures=known) as house, house.client() as client:
        error = await client.refused("msg.send", chat=CHAT, data=b"failure")
        assert (error["code"], error["retry"], error["after_ms"]) == ("E_OUTBOX_FULL", "later", 9)
        error = await client.refused("msg.send", chat=CHAT, data=b"misuse")
        assert (error["code"], error["message"]) == ("E_CHAT_UNKNOWN", "There is none.")
        for secret in (b"correct horse", b"wrong"):
            caplog.clear()
            with caplog.at_level(logging.ERROR, "vcd.rpc"):
                error = await client.refused("msg.send", chat=CHAT, data=secret)
            assert error["code"] == "E_INTERNAL"
            assert error["data"]["bug"] in caplog.text
            assert "test_calls.py" in caplog.text or "calls.py" in caplog.text
            assert "horse" not in caplog.text + str(error)


async def test_logs_know_which_call_they_are_about(tmp_path: Path) -> None:
    seen = []

    async def handler(call: Call, params: Any) -> Any:
        seen.append((CALLING.get(), call.client, call.uid, call.socket))
        return SENT

    async with opened(tmp_path, {"msg.send": handler}) as house, house.client(greet=False) as client:
        await client.greet("bad\nname")
        await client.ask("msg.send", chat=CHAT, data=b"")
    import os

    assert seen == [("bad?name#1.2:msg.send", "bad?name", os.getuid(), "app")]


# ---------------------------------------------------------------- cancel, timeout, limits


def _waits(began: trio.Event, ended: list[str]) -> Handler:
    async def handler(call: Call, params: Any) -> Any:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(call.method)

    return handler


@pytest.mark.parametrize("how", ["call", "notification"])
async def test_cancel(tmp_path: Path, how: str) -> None:
    began, ended = trio.Event(), list[str]()
    async with opened(tmp_path, {"msg.send": _waits(began, ended)}) as house, house.client() as client:
        number = await client.begin("msg.send", chat=CHAT, data=b"")
        await began.wait()
        if how == "call":
            assert await client.ask("rpc.cancel", msgid=number) == {"canceled": True}
        else:
            await client.send([2, "rpc.cancel", [{"msgid": number}]])
        error, _ = await client.end(number)
        assert error["code"] == "E_CANCELED"
        assert ended == ["msg.send"]
        assert await client.ask("rpc.cancel", msgid=number) == {"canceled": False}


async def test_timeout(tmp_path: Path) -> None:
    began, ended = trio.Event(), list[str]()
    async with opened(tmp_path, {"msg.send": _waits(began, ended)}) as house, house.client() as client:
        error = await client.refused("msg.send", chat=CHAT, data=b"", timeout_ms=20)
        assert (error["code"], error["retry"]) == ("E_TIMEOUT", "later")
        assert ended == ["msg.send"]


async def test_who_goes_takes_its_calls_along_and_no_effect_back(tmp_path: Path) -> None:
    """What was committed stays; what waits is canceled."""
    began, done, effects = trio.Event(), trio.Event(), list[bytes]()

    async def handler(call: Call, params: Any) -> Any:
        effects.append(params.data)
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            done.set()

    async with opened(tmp_path, {"msg.send": handler, "device.list": _example}) as house:
        async with house.client() as client:
            await client.begin("msg.send", chat=CHAT, data=b"said")
            await began.wait()
        await done.wait()
        assert effects == [b"said"]
        async with house.client() as client:
            assert await client.ask("device.list")


async def _example(call: Call, params: Any) -> Any:
    return FUNCTIONS[call.method].example[1]


async def test_too_many_calls_at_once(tmp_path: Path) -> None:
    began, ended = trio.Event(), list[str]()
    handlers = {"msg.send": _waits(began, ended), "status.get": _example}
    async with opened(tmp_path, handlers, limits=Limits(calls=3)) as house, house.client() as client:
        numbers = [await client.begin("msg.send", chat=CHAT, data=b"") for _ in range(3)]
        error = await client.refused("msg.send", chat=CHAT, data=b"")
        assert (error["code"], error["retry"], error["data"]) == ("E_BUSY", "later", {"limit": 3})
        await client.ask("rpc.cancel", msgid=numbers[0])
        await client.end(numbers[0])
        assert await client.ask("status.get")


async def test_a_msgid_is_for_one_call_at_a_time(tmp_path: Path) -> None:
    began, ended = trio.Event(), list[str]()
    handlers = {"msg.send": _waits(began, ended), "status.get": _example}
    async with opened(tmp_path, handlers) as house, house.client() as client:
        await client.send([0, 9, "msg.send", [{"chat": CHAT, "data": b""}]], [0, 9, "status.get", [{}]])
        error, _ = await client.end(9)
        assert error["code"] == "E_MSGID_USED"
        await client.send([2, "rpc.cancel", [{"msgid": 9}]])
        assert (await client.end(9))[0]["code"] == "E_CANCELED"


async def test_an_answer_that_is_too_long(tmp_path: Path) -> None:
    async def handler(call: Call, params: Any) -> Any:
        return daemon.Metrics(text="x" * (4 << 20), at=1)

    async with opened(tmp_path, {"metrics.get": handler}) as house, house.client() as client:
        assert (await client.refused("metrics.get"))["code"] == "E_RESULT_TOO_LARGE"


# ---------------------------------------------------------------- once only


def _sending(house_requests: list[Any], effects: list[bytes]) -> Handler:
    """Stores the request with what it does, as the daemon does."""

    async def handler(call: Call, params: Any) -> Any:
        await trio.lowlevel.checkpoint()
        effects.append(params.data)
        if call.request_id is not None:
            result = {"msg": bytes([len(effects)]) * 32, "seq": len(effects), "at": 1}
            done = SimpleNamespace(method=call.method, digest=call.digest, result=result)
            house_requests[0].requests[call.request_id] = done
        return msg.Sent(msg=bytes([len(effects)]) * 32, seq=len(effects), at=1)

    return handler


async def test_a_request_is_done_once(tmp_path: Path) -> None:
    box: list[House] = []
    effects: list[bytes] = []
    name = b"r" * 16
    async with opened(tmp_path, {"msg.send": _sending(box, effects)}) as house:
        box.append(house)
        async with house.client() as one, house.client() as other:
            first = await one.ask("msg.send", chat=CHAT, data=b"a", request_id=name)
            # another connection, another way to call, the same request
            again = await other.ask("msg.send", chat=CHAT, data=b"a", request_id=name, media="", timeout_ms=5000)
            assert first == again
            assert effects == [b"a"]
            error = await other.refused("msg.send", chat=CHAT, data=b"b", request_id=name)
            assert (error["code"], error["data"]) == ("E_REQUEST_REUSED", {"method": "msg.send"})
            await one.ask("msg.send", chat=CHAT, data=b"a")
            assert effects == [b"a", b"a"]


async def test_a_request_that_is_pipelined_many_times_is_done_once(tmp_path: Path) -> None:
    box: list[House] = []
    effects: list[bytes] = []
    async with opened(tmp_path, {"msg.send": _sending(box, effects)}) as house:
        box.append(house)
        async with house.client() as client:
            numbers = [await client.begin("msg.send", chat=CHAT, data=b"a", request_id=b"r" * 16) for _ in range(50)]
            results = [await client.end(number) for number in numbers]
            assert len(effects) == 1
            assert all(each == results[0] for each in results)


def test_a_digest_knows_no_secret() -> None:
    rewrap = FUNCTIONS["vault.rewrap"]
    one = daemon.Rewrap(unlocker="passphrase", passphrase="a", request_id=b"1" * 16)
    other = daemon.Rewrap(unlocker="passphrase", passphrase="b", timeout_ms=7)
    assert digest(rewrap, one) == digest(rewrap, other)
    assert digest(rewrap, one) != digest(rewrap, daemon.Rewrap(unlocker="keyfile", passphrase="a"))
