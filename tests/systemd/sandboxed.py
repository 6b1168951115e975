"""A process under what the units ask for, as far as it can be had without systemd: it does what a daemon does.

`python -m tests.systemd.sandboxed NAME...` takes the system calls that may be used, by name, and refuses all others
with EPERM, as `SystemCallFilter=` and `SystemCallErrorNumber=EPERM` do; and memory that is written is never executed,
as under `MemoryDenyWriteExecute=`. Then it locks a folder, writes a database in a thread, reads the machine's
interfaces and connects two meshes. Prints "connected" at the end. Linux on x86-64 only.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import struct
import sys
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from transport.live.open import SocketMesh
from vcd.instance import sole
from vcd.notify import Notifier

NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
NO_NEW_PRIVILEGES, SET_SECCOMP, SET_MDWE = 38, 22, 65
LOAD_NUMBER, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001
LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, *arguments: object) -> None:
    given = [*arguments, *[0] * (4 - len(arguments))]
    if LIBC.prctl(option, *[ctypes.c_ulong(one) if isinstance(one, int) else one for one in given]):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def filter_calls(allowed: list[str]) -> None:
    """A classic BPF program: one comparison for each call that is allowed. For this process and all it starts."""
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text()))
    known = [int(numbers[name]) for name in allowed if name in numbers]
    steps = [struct.pack("HBBI", LOAD_NUMBER, 0, 0, 0)]
    for number in known:
        steps += [struct.pack("HBBI", EQUAL, 0, 1, number), struct.pack("HBBI", RETURN, 0, 0, ALLOW)]
    steps.append(struct.pack("HBBI", RETURN, 0, 0, REFUSE))
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    prctl(NO_NEW_PRIVILEGES, 1)
    prctl(SET_SECCOMP, 2, ctypes.byref(program))


def check() -> None:
    """That it is in force."""
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except PermissionError:
        pass
    else:
        raise AssertionError("memory may be written and executed")
    try:
        os.chroot("/")
    except PermissionError:
        pass
    else:
        raise AssertionError("a privileged call went through")


def keep(folder: Path) -> None:
    """A database on a disk, written by a thread of its own."""
    import sqlite3
    import threading

    failed: list[BaseException] = []

    def write() -> None:
        try:
            database = sqlite3.connect(folder / "state")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("CREATE TABLE t (x BLOB) STRICT")
            database.execute("INSERT INTO t VALUES (x'00')")
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def connect() -> None:
    import trio

    from transport.base import Address, Milliseconds
    from transport.live.open import open_mesh
    from transport.signing import SigningKey
    from transport.sync.memory_store import MemoryStore
    from vcd.crypto import SystemProvider

    def mesh(seed: bytes) -> AbstractAsyncContextManager[SocketMesh]:
        return open_mesh(
            identity=SigningKey(seed * 32),
            store=MemoryStore(),
            listen=[Address("/ip4/0.0.0.0/tcp/0")],
            now_ms=lambda: Milliseconds(int(time.time() * 1000)),
            random_bytes=os.urandom,
        )

    async def meet() -> None:
        with trio.fail_after(60):
            async with mesh(b"a") as one, mesh(b"b") as two:
                one.keep(two.network.me, two.addresses())
                with one.network.watch() as events:
                    async for event in events:
                        if event.peer == two.network.me and event.up:
                            return

    SystemProvider().suite(1)
    trio.run(meet)


if __name__ == "__main__":
    prctl(SET_MDWE, 1)
    filter_calls(sys.argv[1:])
    check()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with sole(home, socket=home / "app.sock"), Notifier("@nobody") as notifier:
            keep(home)
            connect()
            notifier.ready()
    print("connected")
