"""JSON lines for everybody else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.vcd.client.test_sync import Running, add, running
from tests.vcd.rpc.house import CHAT
from vcd.client import Unavailable
from vcd.client.bridge import from_json, run, to_json


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        found.start()
        yield found


def say(server: Running, *lines: Any) -> tuple[int, list[Any]]:
    """What comes back for some lines, and what to exit with."""
    given_ = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    out = io.BytesIO()
    code = run(io.BytesIO(given_), out, server.path)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_calls(server: Running) -> None:
    chat = to_json(CHAT)
    code, said = say(
        server,
        {"id": 1, "method": "msg.send", "params": {"chat": chat, "data": {"$b": "aGk="}}},
        {"id": "two", "method": "device.list"},
        {"id": 3, "method": "msg.send", "params": {"chat": chat, "data": "hi"}},
    )
    answers = {each["id"]: each for each in said}
    assert code == 0
    assert from_json(answers[1]["result"])["msg"] == b"\x33" * 32
    assert answers["two"]["result"]["version"] == 3
    assert answers[3]["error"]["code"] == "E_PARAM_INVALID"


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"id": 1}\n',
        b'{"method": "status.get"}\n',
        b'{"id": [], "method": "status.get"}\n',
        b'{"id": 1, "method": "status.get", "params": []}\n',
        b'{"id": 1, "method": "status.get", "param": {}}\n',
        b'{"id": 1, "method": "msg.send", "params": {"data": {"$b": "?"}}}\n',
        b'{"id": 1, "method": "msg.send", "params": {"data": {"$b": 5}}}\n',
        b'{"id": 1, "method": "msg.send", "params": {"data": ' + b"9" * 30 + b"}}\n",
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
    ids=range(13),
)
def test_what_is_no_call(server: Running, line: bytes) -> None:
    code, said = say(server, line, {"id": 2, "method": "status.get"})
    assert code == 0
    answers = {each["id"]: each for each in said}
    assert answers.pop(2)["result"]["state"] == "ready"
    (wrong,) = answers.values()
    assert wrong["error"]["code"] == "E_PARAMS"


def test_events_until_somebody_ends_it(server: Running) -> None:
    server.do(add(3))
    program = "import sys\nfrom vcd.client.bridge import run\nsys.exit(run(sys.stdin.buffer, sys.stdout.buffer))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"VCD_SOCKET": server.path, "PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"id":1,"method":"events.subscribe","params":{"from":1}}\n')
        process.stdin.close()
        lines = [json.loads(process.stdout.readline()) for _ in range(4)]
        server.do(add(1))
        lines.append(json.loads(process.stdout.readline()))
        assert lines[0]["id"] == 1
        assert [each["data"]["seq"] for each in lines[1:]] == [1, 2, 3, 4]
        assert from_json(lines[1]["data"]["chat"]) == CHAT
        server.stop()
        rest = [json.loads(each) for each in process.stdout.read().splitlines()]
        assert process.wait(20) in {0, 2}
        assert all(each["event"] == "events.end" for each in rest)


def test_giving_up(tmp_path: Path) -> None:
    import trio

    from vcd.rpc.calls import Call

    async def sleeps(call: Call, params: Any) -> Any:
        await trio.sleep_forever()

    with running(tmp_path) as server:
        server.start({"msg.send": sleeps})
        params = {"chat": to_json(CHAT), "data": {"$b": ""}}
        code, said = say(
            server,
            {"id": "a", "method": "msg.send", "params": params},
            {"id": "b", "method": "rpc.cancel", "params": {"id": "a"}},
        )
        assert code == 0
        assert {"id": "b", "result": {"canceled": True}} in said
        assert [each["error"]["code"] for each in said if each["id"] == "a"] == ["E_CANCELED"]


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        run(io.BytesIO(b""), io.BytesIO(), str(tmp_path / "none.sock"))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5).filter(lambda key: key != "$b"), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(values)
def test_there_and_back(value: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
