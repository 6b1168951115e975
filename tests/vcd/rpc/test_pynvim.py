"""A client that nobody here wrote: Neovim's Python session speaks to the server as it would to an editor.

It runs in a process of its own, as it leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vcd.client.test_sync import Running, add, running

if importlib.util.find_spec("pynvim") is None:
    pytest.skip("needs pynvim, which tests alone use", allow_module_level=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        found.start()
        yield found


BEGIN = """
import sys
from pynvim.msgpack_rpc import socket_session
session = socket_session(sys.argv[1])
session.error_wrapper = lambda error: Exception(error["code"])  # an editor's errors are lists
welcome = session.request("rpc.hello", {"client": {"name": "pynvim"}})
# It introduces itself to what it takes for an editor, by a notification of no name that there is here.
kind, name, (error,) = session.next_message()
assert (kind, name, error["code"]) == ("notification", "rpc.error", "E_METHOD_UNKNOWN")
"""
CALLS = """
assert (welcome["api_level"], welcome["log_id"]) == (1, b"L" * 16)
sent = session.request("msg.send", {"chat": b"c" * 16, "data": b"hi"})
assert sent["msg"] == bytes([0x33]) * 32
try:
    session.request("msg.send", {"chat": b"c" * 16})
except Exception as error:
    assert "E_PARAM_MISSING" in str(error)
else:
    raise AssertionError
assert session.request("device.list", {})["devices"][0]["name"] == "laptop"
"""
EVENTS = """
session.request("events.subscribe", {"from": 1})
found = [session.next_message() for _ in range(100)]
assert [(kind, name) for kind, name, _ in found] == [("notification", "event")] * 100
assert [given[0]["seq"] for _, _, given in found] == list(range(1, 101))
assert found[0][2][0]["chat"] == b"c" * 16
session.request("rpc.cancel", {"msgid": 5}, async_=True)
assert session.request("status.get", {})["state"] == "ready"
"""


@pytest.mark.parametrize("program", [CALLS, EVENTS], ids=["calls", "events"])
def test_it_speaks_to_the_server(server: Running, program: str) -> None:
    server.do(add(100))
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, server.path], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
