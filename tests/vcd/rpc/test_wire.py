"""What comes in as bytes: cut into messages, and never more than a broken connection."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
from hypothesis import given, settings, strategies as st

from tests.vcd.rpc.house import CHAT, connect, opened
from vcd.rpc import wire
from vcd.rpc.errors import Failure
from vcd.rpc.params import read
from vcd.rpc.table import FUNCTIONS

scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(values, min_size=1, max_size=5), st.data())
def test_messages_are_found_wherever_they_are_cut(messages: list[Any], data: st.DataObject) -> None:
    whole = [msgpack.packb(each) for each in messages]
    stream = b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    framer = wire.Framer()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += list(framer.feed(stream[begin:end]))
    assert found == whole


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    framer = wire.Framer(64)
    try:
        for message in framer.feed(data):
            wire.read(message)
    except (wire.Broken, wire.TooLong):
        pass


@given(values)
def test_any_message(message: Any) -> None:
    try:
        found = wire.read(msgpack.packb(message))
    except wire.Broken:
        return
    assert isinstance(message, list)
    assert message[0] in {0, 2}
    assert type(message[0]) is int
    assert found.method == (message[-2].decode() if isinstance(message[-2], bytes) else message[-2])


@given(st.sampled_from(sorted(FUNCTIONS)), st.data())
def test_any_arguments(name: str, data: st.DataObject) -> None:
    """Whatever is given is taken as the type has it, or refused with a code of the table."""
    function = FUNCTIONS[name]
    fields = function.params.__struct_encode_fields__
    given_ = data.draw(values | st.dictionaries(st.sampled_from(fields), values, max_size=4).map(lambda each: [each]))
    with suppress(Failure):
        assert type(read(function, msgpack.packb(given_))) is function.params


MANY = b"\xdd\x7f\xff\xff\xff"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xc1", "E_PROTOCOL"),
        (b"\x05", "E_PROTOCOL"),
        (b"\x80", "E_PROTOCOL"),
        (msgpack.packb([0, 1, "x"]), "E_PROTOCOL"),
        (msgpack.packb([1, 1, None, {}]), "E_PROTOCOL"),
        (msgpack.packb([3, 1, "status.get", [{}]]), "E_PROTOCOL"),
        (msgpack.packb([False, 1, "status.get", [{}]]), "E_PROTOCOL"),
        (msgpack.packb([0, -1, "status.get", [{}]]), "E_PROTOCOL"),
        (msgpack.packb([0, 2**32, "status.get", [{}]]), "E_PROTOCOL"),
        (msgpack.packb([0, 1, b"\xff", [{}]]), "E_PROTOCOL"),
        (msgpack.packb([0, 1, "x" * 70, [{}]]), "E_PROTOCOL"),
        (b"\x94\x00\x01\xa2\xff\xfe\x91\x80", "E_PROTOCOL"),
        (b"\x91" * 5000, "E_PROTOCOL"),
        (b"\x94\x00\x01\xa1x\xc6\x7f\xff\xff\xff" + b"x" * (4 << 20), "E_TOO_LARGE"),
        (MANY + b"\x90" * (4 << 20), "E_TOO_LARGE"),
    ],
    ids=range(15),
)
async def test_one_error_and_then_the_end(tmp_path: Path, data: bytes, code: str) -> None:
    async with opened(tmp_path) as house:
        async with house.client() as client:
            with trio.move_on_after(5):
                await client.stream.send_all(data)
            kind, method, (error,) = await client.hear()
            assert (kind, method, error["code"]) == (2, "rpc.error", code)
            with suppress(trio.BrokenResourceError):  # if it closed with something unread
                assert await client.read() is None
        async with house.client() as client:
            assert await client.ask("status.get")


async def test_a_long_message_and_others_right_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        long = msgpack.packb([0, 8, "msg.send", [{"chat": CHAT, "data": b"", "x": b"x" * ((4 << 20) - 60)}]])
        assert (4 << 20) - 60 < len(long) <= 4 << 20
        await client.stream.send_all(long + msgpack.packb([0, 9, "status.get", [{}]]) * 1)
        assert (await client.end(8))[0]["code"] == "E_PARAM_UNKNOWN"
        assert (await client.end(9))[0] is None


async def test_notifications_that_are_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.client() as client:
        for method in ("msg.send", "no.such", "daemon.stop"):
            await client.send([2, method, [{}]])
            _, name, (error,) = await client.hear()
            assert name == "rpc.error"
            assert error["code"] in {"E_PROTOCOL", "E_METHOD_UNKNOWN", "E_ADMIN_ONLY"}
        assert await client.ask("status.get")


def test_few_bytes_take_little_memory() -> None:
    """Lists that claim to be long, and four megabytes of empty lists: neither is built."""
    program = (
        "import resource, msgspec\n"
        "from vcd.rpc import wire\n"
        "from vcd.rpc.params import read\n"
        "from vcd.rpc.table import FUNCTIONS\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name, head in ('msg.send', b'\\x91\\x81\\xa4data'), ('raw.commit', b'\\x91\\x81\\xa3add'):\n"
        "    for body in b'\\xdd\\x00\\x3f\\x00\\x00' + b'\\x90' * 0x3f0000, b'\\xdd\\x7f\\xff\\xff\\xff' * 900:\n"
        "        framer = wire.Framer()\n"
        "        for message in framer.feed(b'\\x94\\x00\\x01\\xa8' + name.ljust(8).encode()[:8] + head + body):\n"
        "            try:\n"
        "                read(FUNCTIONS[name], wire.read(message).params)\n"
        "            except Exception as error:\n"
        "                assert type(error).__name__ == 'Failure', error\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(out.stdout) < 40_000, "kilobytes"


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=400) | values.map(msgpack.packb), min_size=1, max_size=6))
def test_fuzzed_clients_leave_the_server_as_it_was(parts: list[bytes]) -> None:
    import tempfile

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with opened(Path(folder)) as house:
                stream = await connect(house.app)
                async with stream:
                    try:
                        for part in parts:
                            await stream.send_all(part)
                    except trio.BrokenResourceError:
                        pass
                async with house.client() as client:
                    assert await client.ask("status.get")

    trio.run(play)
    assert os.getpid()
