"""Hazards that end the process (1, 2, 3, 19), and what leaves it in a mess (16, 17)."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID

from tests.transport.host.rig import LARGE, SMALL, echo, info_of, pair, plain_host, plain_peer, running, until
from transport.host import logs
from transport.network import Stream

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.slow


def outcome(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.transport.host.hazards.bare", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("handler", "ValueError"),  # 1
        ("rpc", "DecodeError"),  # 2
        ("signature", "DecodeError"),  # 3
        ("utf8", "UnicodeDecodeError"),  # 19
        pytest.param("root_logger", "RuntimeError", marks=pytest.mark.long),  # 16
        pytest.param("left_open", "ConnectionError", marks=pytest.mark.long),  # 17
    ],
)
def test_h01_h02_h03_h16_h17_h19_bare(name: str, error: str) -> None:
    assert outcome(name) == f"escaped: {error}"


@pytest.mark.parametrize("name", ["handler_ours", "root_logger_ours"])
def test_h01_h16_ours_as_a_process(name: str) -> None:
    assert outcome(name) == "survived"


async def test_h01_ours() -> None:
    async def raises(stream: Stream) -> None:
        await stream.receive_some()
        raise ExceptionGroup("several", [ValueError("boom"), KeyError("bang")])

    async with pair() as (a, b):
        a.handle("/raises/1", raises)
        a.handle("/echo/1", echo)
        stream = await b.open(a.me, "/raises/1")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b""
        stream = await b.open(a.me, "/echo/1")
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        assert a.rebuilt == 0


@pytest.mark.parametrize(
    "junk",
    [
        b"\x13/multistream/1.0.0\n\x04\xff\xfe\xff\n",  # 19: a name that is not UTF-8
        b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\xff\xff",  # a length without end
        b"\x13/multistream/1.0.0\n\x00",
        b"\x05\xff\xff\xff\xff\xff",  # 2, where a name should be
        b"\x13/multistream/1.0.0\n\x03ls\n" * 40,
        b"\x13/multistream/2.0.0\n",
    ],
)
async def test_h19_ours(junk: bytes) -> None:
    async with running(SMALL) as ours, plain_host(LARGE) as host:
        await host.connect(info_of(ours))
        stream = await host.get_network().new_stream(ID.from_string(ours.me))
        await stream.write(junk)
        await trio.sleep(0.1)
        ours.handle("/echo/1", echo)
        good = await host.new_stream(ID.from_string(ours.me), ["/echo/1"])
        await good.write(b"alive")
        assert await good.read(10) == b"alive"
        assert ours.rebuilt == 0


async def test_h16_bare() -> None:
    library = logging.getLogger("libp2p")
    assert not library.propagate
    assert all(type(handler).__module__.startswith("_pytest") for handler in library.handlers)


async def test_h16_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with running(SMALL) as ours:
        for number in range(100):
            logging.getLogger("libp2p.somewhere").warning("number %d and %s\nmore", number, "x" * 1000)
        assert ours.counters()["host.library_warnings"] == 100
    told = [record for record in caplog.records if record.name == "vcd.transport.libp2p"]
    assert 0 < len(told) <= 20
    assert all(len(record.getMessage()) < 300 for record in told)
    assert not any(isinstance(handler, logs.LibraryLog) for handler in logging.getLogger("libp2p").handlers)


async def test_h17_ours() -> None:
    async with plain_host(LARGE) as host:
        async with running(SMALL) as ours:
            await host.connect(info_of(ours))
            await until(lambda: ours.connected(plain_peer(host)))
        network: Any = host.get_network()
        await until(lambda: not network.get_connections(), within=1)
