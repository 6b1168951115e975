"""Sockets: whose they are, what may be in their way, and who may call."""

from __future__ import annotations

import logging
import os
import socket
import stat
from pathlib import Path

import msgpack
import pytest
import trio

from tests.vcd.rpc.house import House, connect, opened
from vcd.rpc import server, sockets
from vcd.rpc.connection import Limits
from vcd.rpc.sockets import Caller, InUse, SocketTrouble, adopt, caller, listen


def test_only_ours(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    listener = listen(folder / "app.sock", "app")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "app.sock").stat().st_mode) == 0o600
    listener.close()
    assert not (folder / "app.sock").exists()


def test_folders_are_made(tmp_path: Path) -> None:
    listener = listen(tmp_path / "a" / "b" / "app.sock", "app")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    listener.close()


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path)) - 1
    exactly = listen(tmp_path / ("x" * room), "app")
    exactly.close()
    with pytest.raises(SocketTrouble, match=r"107 bytes at most on Linux, and .* has 108"):
        listen(tmp_path / ("x" * (room + 1)), "app")
    with pytest.raises(SocketTrouble, match="107 bytes"):
        listen(tmp_path / ("\N{SNOWMAN}" * (room // 3 + 1)), "app")


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = listen(path, "app")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_one_that_answers_is_not(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    first = listen(path, "app")
    with pytest.raises(InUse, match="somebody answers"):
        listen(path, "app")
    first.sock.close()
    second = listen(path, "app")  # its file was left behind
    first.close()
    assert path.exists(), "it is another one's now"
    second.close()


def test_one_that_is_too_busy_to_answer_is_not(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    waiting = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        try:
            while True:
                client = socket.socket(socket.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                if client.connect_ex(str(path)):
                    break
            with pytest.raises(InUse):
                listen(path, "app")
        finally:
            for client in waiting:
                client.close()


def test_other_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("mine")
    with pytest.raises(SocketTrouble, match="no socket"):
        listen(path, "app")
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.sock")
    with pytest.raises(SocketTrouble, match="no socket"):
        listen(path, "app")


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    listen(tmp_path / "link" / "app.sock", "app").close()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(SocketTrouble, match="cannot be used"):
        listen(tmp_path / "file" / "app.sock", "app")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(SocketTrouble, match="another user"):
        listen(folder / "app.sock", "app")


def test_who_calls(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert caller(one) == Caller(pid=os.getpid(), uid=os.getuid())


def test_adopting(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET) as wrong, pytest.raises(SocketTrouble, match="ListenStream"):
        adopt(wrong, "app")
    with socket.socket(socket.AF_UNIX) as idle, pytest.raises(SocketTrouble, match="ListenStream"):
        adopt(idle, "app")


async def test_a_socket_from_outside_serves_and_its_file_stays(tmp_path: Path) -> None:
    from vcd.rpc.info import Info

    path = tmp_path / "given.sock"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))
    given.listen()
    early = socket.socket(socket.AF_UNIX)
    early.connect(str(path))  # before anybody serves
    early.sendall(msgpack.packb([0, 1, "rpc.api_info", [{}]]))

    def no_log() -> None:
        raise AssertionError

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            info = Info(version="0", boot_id=b"b" * 16)
            await nursery.start(server.serve, [adopt(given, "app")], {}, no_log, info)
            with early:
                got = await trio.to_thread.run_sync(lambda: early.recv(10))
            assert got.startswith(b"\x94\x01\x01\xc0")
            nursery.cancel_scope.cancel()
    assert path.exists()


# ---------------------------------------------------------------- other users


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else; see the next test")
async def test_another_user_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process of another user, for whom all folders and files are open, is still sent away."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        async with opened(folder) as house:
            for each in folder, house.app:
                each.chmod(0o777)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(reading)
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(house.app))
                        got = b""
                        while more := client.recv(4096):
                            got += more
                    os.write(writing, got)
                finally:
                    os._exit(0)
            os.close(writing)
            with caplog.at_level(logging.WARNING, "vcd.rpc"), os.fdopen(reading, "rb") as pipe:
                got = await trio.to_thread.run_sync(pipe.read)
            await trio.to_thread.run_sync(os.waitpid, child, 0)
            _, method, (error,) = msgpack.unpackb(got)
            assert (method, error["code"]) == ("rpc.error", "E_OTHER_USER")
            assert f"user 65534 (process {child})" in caplog.text
            async with house.client() as client:
                assert await client.ask("status.get")


async def test_who_is_not_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "caller", lambda sock: Caller(pid=1, uid=os.getuid() + 1))
    async with opened(tmp_path) as house:
        stream = await connect(house.app)
        async with stream:
            data = await stream.receive_some(4096)
            _, method, (error,) = msgpack.unpackb(bytes(data))
            assert (method, error["code"]) == ("rpc.error", "E_OTHER_USER")


async def test_others_may_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(server, "caller", lambda sock: Caller(pid=1, uid=12345))
    real = sockets.listen
    monkeypatch.setattr("tests.vcd.rpc.house.listen", lambda path, kind: replace(real(path, kind), allowed={12345}))
    async with opened(tmp_path) as house, house.client() as client:
        assert await client.ask("status.get")


# ---------------------------------------------------------------- connections


async def test_too_many_connections(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=Limits(connections=2)) as house:
        async with house.client(), house.client():
            stream = await connect(house.app)
            async with stream:
                _, method, (error,) = msgpack.unpackb(bytes(await stream.receive_some(4096)))
                assert (method, error["code"]) == ("rpc.error", "E_BUSY")
        while True:  # until it has seen that those are gone
            stream = await connect(house.app)
            async with stream:
                await stream.send_all(msgpack.packb([0, 1, "status.get", [{}]]))
                if bytes(await stream.receive_some(3))[1] == 1:
                    break


async def test_what_is_answered_is_written_before_the_end(tmp_path: Path) -> None:
    """`daemon.stop` is answered, though the server ends at once."""
    from typing import Any

    from vcd.rpc.calls import Call
    from vcd.rpc.values import Done

    box: list[House] = []

    async def stop(call: Call, params: Any) -> Any:
        box[0].nursery.cancel_scope.cancel()
        return Done()

    async def late(client_done: trio.Event) -> None:
        async with opened(tmp_path, {"daemon.stop": stop}) as house:
            box.append(house)
            stream = await connect(house.admin)
            answers.append(stream)
            hello = [0, 1, "rpc.hello", [{"client": {"name": "x"}}]]
            await stream.send_all(msgpack.packb(hello) + msgpack.packb([0, 2, "daemon.stop", [{}]]))
            await trio.sleep_forever()

    answers: list[trio.SocketStream] = []
    await late(trio.Event())
    (stream,) = answers
    async with stream:
        data = b""
        while more := await stream.receive_some(4096):
            data += more
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    assert [each[:3] for each in unpacker] == [[1, 1, None], [1, 2, None]]
