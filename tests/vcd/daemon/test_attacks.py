"""What somebody tries on a daemon that runs: bad times for signals, for locks, for settings."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.vcd.daemon.process import RUN, SETTINGS, home, until
from vcd.client import new_request_id

VCD = "import sys; from vcd.cli import main; sys.exit(main(['run']))"


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gave, or was refused with."""
    found: list[Any] = [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        try:
            found[number] = call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found[number] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(calls)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    return found


# ---------------------------------------------------------------- signals


def test_a_second_signal_does_not_cut_the_end_short(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        for second in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            daemon.start()
            process = daemon.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                process.send_signal(second)
                time.sleep(0.002)
            assert process.returncode == 0, daemon.log
            daemon.process = None


def test_who_is_told_to_read_its_settings_while_it_starts_is_not_ended(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon, (tmp_path / "home" / "log").open("ab") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", VCD], env=daemon.environment(), stdin=subprocess.DEVNULL, stderr=log, stdout=log
        )
        status = Path(f"/proc/{daemon.process.pid}/status")
        hangup = 1 << (signal.SIGHUP - 1)

        def guarded() -> bool:
            masks = dict(line.split(":\t") for line in status.read_text().splitlines() if line.startswith("Sig"))
            return any(int(masks[name], 16) & hangup for name in ("SigBlk", "SigIgn", "SigCgt"))

        until(guarded)
        while not daemon.status():
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        daemon.until_state("ready")
        daemon.end()


def test_settings_that_cannot_be_carried_out_end_nothing(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        assert daemon.process is not None
        settings = daemon.home / "vcd.toml"
        settings.write_text(SETTINGS + '[rpc]\napp_users = ["nobody-of-that-name"]\n', encoding="utf-8")
        for _ in range(300):
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        until(lambda: "nobody-of-that-name" in daemon.log)
        assert daemon.call("status.get")["state"] == "ready"
        settings.write_text(SETTINGS + "packages = 7\n", encoding="utf-8")
        for _ in range(10):  # locked between being read and being stored
            daemon.process.send_signal(signal.SIGHUP)
            daemon.call("vault.lock")
            settings.write_text(SETTINGS + f"packages = {9 + _}\n", encoding="utf-8")
            daemon.call("vault.unlock")
        assert daemon.call("status.get")["state"] == "ready"
        daemon.end()


def test_a_port_of_somebody_else_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with home(tmp_path / "home", SETTINGS.replace("tcp/0", f"tcp/{port}")) as daemon:
            daemon.start(ready=False)
            until(lambda: "in use" in str(daemon.status().get("reason")))
            assert "Traceback" not in daemon.log
            assert daemon.call("vault.lock")["state"] == "locked"
            with pytest.raises(Exception, match="in use"):
                daemon.call("vault.unlock")
            taken.close()
            daemon.until_state("ready")
            daemon.end()


# ---------------------------------------------------------------- the vault


def test_what_is_locked_stays_locked_however_many_wanted_it_open(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.call("vault.rewrap", unlocker="passphrase", passphrase="horse")
        daemon.call("vault.lock")
        clients = [daemon.client() for _ in range(4)]
        found = at_once(*(partial(client.call, "vault.unlock", passphrase="horse", timeout=20) for client in clients))
        assert [each["state"] for each in found] == ["ready"] * 4
        assert daemon.call("vault.lock")["state"] == "locked"
        # one that gave up before its turn came
        at_once(
            lambda: clients[0].call("vault.unlock", passphrase="donkey"),
            lambda: clients[1].call("vault.unlock", passphrase="horse", timeout_ms=1),
        )
        daemon.call("vault.lock")
        for _ in range(50):
            assert daemon.status()["state"] == "locked"
            time.sleep(0.02)
        daemon.end()


def test_who_locks_while_it_is_opened_gets_what_they_want(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.call("account.create", device_name="laptop")  # the open part begins anew
        assert daemon.call("vault.lock")["state"] == "locked"
        for _ in range(5):
            clients = [daemon.client() for _ in range(2)]
            at_once(partial(clients[0].call, "vault.unlock", timeout=10), partial(clients[1].call, "vault.lock"))
            assert daemon.call("vault.lock", timeout=10)["state"] == "locked"
            time.sleep(0.1)
            assert daemon.status()["state"] == "locked"
        daemon.end()


# ---------------------------------------------------------------- apps


def test_an_account_is_founded_once_and_its_words_are_nowhere(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        clients = [daemon.client() for _ in range(6)]
        name = new_request_id()
        found = at_once(
            *(
                partial(client.call, "account.create", device_name="d", request_id=name if at < 2 else new_request_id())
                for at, client in enumerate(clients)
            )
        )
        made = {each["account"] for each in found if isinstance(each, dict)}
        assert len(made) == 1, found
        assert sum(bool(each["words"]) for each in found if isinstance(each, dict)) == 1
        daemon.until_state("ready")
        again = until(lambda: daemon.call("account.get"))
        assert {again["account"]} == made
        words = next(each["words"] for each in found if isinstance(each, dict) and each["words"])
        daemon.end()
        for path in (tmp_path / "home").rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert " ".join(words).encode() not in data
                assert not [True for one, two in zip(words, words[1:], strict=False) if f"{one} {two}".encode() in data]
        with sqlite3.connect(tmp_path / "home" / "state" / "vcd.db") as store:
            assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_request_ids_titles_and_numbers_of_every_wrong_kind(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.call("account.create", device_name="d")
        until(lambda: daemon.status().get("account") and daemon.until_state("ready"))
        name = new_request_id()
        chat = daemon.call("chat.create", title="tea", request_id=name)["chat"]
        assert daemon.call("chat.create", title="tea", request_id=name)["chat"] == chat
        wrong: list[tuple[str, str, dict[str, Any]]] = [
            ("E_REQUEST_REUSED", "msg.send", {"chat": chat, "data": b"x", "request_id": name}),
            ("E_REQUEST_REUSED", "chat.leave", {"chat": chat, "request_id": name}),
            ("E_REQUEST_REUSED", "account.rotate", {"request_id": name}),
            ("E_NAME", "chat.create", {"title": "a\nb"}),
            ("E_NAME", "chat.create", {"title": "\u202e"}),
            ("E_NAME", "chat.rename", {"chat": chat, "title": "\x00"}),
            ("E_NAME", "chat.migrate", {"chat": chat, "mode": "ec1", "title": "\x1b[2J"}),
            ("E_PARAM_INVALID", "chat.set_retention", {"chat": chat, "history_ms": (1 << 53) - 1}),
            ("E_PARAM_INVALID", "chat.set_retention", {"chat": chat, "history_ms": -1}),
            ("E_PARAM_INVALID", "msg.list", {"chat": chat, "before": 1 << 53}),
            ("E_PARAM_INVALID", "msg.list", {"chat": chat, "most": 1 << 20}),
            ("E_CURSOR_AHEAD", "events.next", {"from": (1 << 53) - 1}),
        ]
        for code, method, params in wrong:
            with pytest.raises(Exception, match=code):
                daemon.call(method, **params)
        most = (1 << 53) - 1
        assert daemon.call("msg.list", chat=chat, before=0, after=most, most=1) == {"messages": [], "more": False}
        for method, params in (
            ("chat.migrate", {"chat": chat, "mode": "ec1"}),
            ("account.rotate", {"chats": True}),
            ("chat.set_retention", {"chat": chat, "history_ms": 60_000}),
        ):
            request = new_request_id()
            assert daemon.call(method, request_id=request, **params) == daemon.call(
                method, request_id=request, **params
            )
        assert "\u202e" not in daemon.log
        assert "\x1b" not in daemon.log
        daemon.end()


def test_calls_that_are_given_up_and_locks_between_them_take_nothing_with_them(tmp_path: Path) -> None:
    """Six clients that give up after a moment and begin again, while somebody locks, unlocks and stops."""
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.call("account.create", device_name="d")
        until(lambda: daemon.status().get("account") and daemon.until_state("ready"))
        chat = daemon.call("chat.create")["chat"]
        over = threading.Event()
        said: list[bytes] = []
        odd: list[str] = []

        def talk(number: int) -> None:
            client, count = daemon.client("app"), 0
            while not over.is_set():
                count += 1
                data = f"{number} {count}".encode()
                try:
                    client.call("msg.send", chat=chat, data=data, timeout=(0.001, 0.005, 5.0)[count % 3])
                    said.append(data)
                except Exception as error:  # noqa: BLE001 - looked at below
                    odd.append(str(error))
                    client.close()
                    over.wait(0.01)

        threads = [threading.Thread(target=talk, args=(number,), daemon=True) for number in range(6)]
        for each in threads:
            each.start()
        for _ in range(4):
            time.sleep(0.3)
            assert daemon.call("vault.lock", timeout=10)["state"] == "locked"
            assert daemon.call("vault.unlock", timeout=20)["state"] == "ready"
        time.sleep(0.3)
        daemon.call("daemon.stop")
        assert daemon.process is not None
        assert daemon.process.wait(20) == 0, daemon.log
        over.set()
        for each in threads:
            each.join(20)
        assert said
        assert not [each for each in odd if "E_INTERNAL" in each]
        daemon.process = None
        daemon.start()
        heard: list[bytes] = []
        page: dict[str, Any] = {"more": True, "messages": [{"seq": 0}]}
        while page["more"]:
            page = daemon.call("msg.list", chat=chat, most=500, after=page["messages"][-1]["seq"])
            heard += [each["data"] for each in page["messages"]]
        assert set(said) <= set(heard)
        assert len(set(heard)) == len(heard)
        daemon.end()


def test_nobody_writes_a_line_of_their_own_into_the_log(tmp_path: Path) -> None:
    """Neither at the socket nor at the port; with everything logged that can be."""
    told = SETTINGS + '\n[logs]\nlevel = "debug"\nlibraries = "debug"\nform = "json"\n'
    with home(tmp_path / "home", told) as daemon:
        daemon.start()
        port = int(daemon.status()["addresses"][0].split("/")[4])
        greeting = [0, 1, "rpc.hello", [{"client": {"name": "evil\nname\x1b[2J"}}]]
        for data in (
            msgpack.packb([0, 1, 'evil\n{"level":"critical"}', [{}]]),
            msgpack.packb(greeting),
            msgpack.packb(greeting) + msgpack.packb([0, 2, "account.create", [{"evil\nkey": "evil\nvalue"}]]),
            b"\xc1evil\n" * 10,
        ):
            with socket.socket(socket.AF_UNIX) as app:
                app.connect(str(daemon.home / "run" / "app.sock"))
                _say(app, data)
        for data in (
            b"GET /evil\nline HTTP/1.0\r\n\r\n",
            b"\x13/multistream/1.0.0\n\x06evil\n\n" * 50,
            os.urandom(100_000),
        ):
            with socket.create_connection(("127.0.0.1", port)) as peer:
                _say(peer, data)
        assert daemon.status()["state"] == "ready"
        daemon.end()
        lines = daemon.log.splitlines()
        assert all(json.loads(line)["at"] for line in lines)
        assert not [line for line in lines if "evil" in line]


def _say(sock: socket.socket, data: bytes) -> None:
    sock.settimeout(0.5)
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.recv(4096)


# ---------------------------------------------------------------- the disk and the clock


def test_a_disk_without_room_at_the_start_is_said_and_waited_for(tmp_path: Path) -> None:
    """No file may grow over a few bytes, as on a disk that is full."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
    signals = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    with home(tmp_path / "home") as daemon:
        daemon.start()
        daemon.end()
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", limited + signals + RUN], env=daemon.environment(), stderr=subprocess.DEVNULL
        )
        until(lambda: daemon.status().get("store") not in {None, "ok", "locked"})
        assert daemon.status()["state"] == "starting"
        assert daemon.call("vault.lock")["state"] == "locked"
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert daemon.call("vault.unlock", timeout=20)["state"] == "ready"
        daemon.end()


def test_another_vault_in_its_place_opens_nothing(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon, home(tmp_path / "other") as other:
        for each in (daemon, other):
            each.start()
            each.end()
        names = ("vault.json", "vault.key")
        own = {name: (daemon.home / "state" / name).read_bytes() for name in names}
        for name in names:
            (daemon.home / "state" / name).write_bytes((other.home / "state" / name).read_bytes())
        daemon.start(ready=False)
        until(lambda: daemon.status().get("store") == "damaged")
        assert "foreign" in daemon.log
        for name in names:
            (daemon.home / "state" / name).write_bytes(own[name])
        daemon.call("vault.lock")
        assert daemon.call("vault.unlock", timeout=20)["state"] == "ready"
        daemon.end()


def test_something_else_where_a_socket_should_be_is_not_taken_away(tmp_path: Path) -> None:
    with home(tmp_path / "home") as daemon:
        run = daemon.home / "run"
        run.mkdir(mode=0o700)
        precious = tmp_path / "precious"
        precious.write_text("precious")
        (run / "app.sock").symlink_to(precious)
        ran = subprocess.run(
            [sys.executable, "-c", RUN], env=daemon.environment(), capture_output=True, timeout=30, check=False
        )
        assert ran.returncode == 1
        assert b"not ours" in ran.stderr
        assert b"Traceback" not in ran.stderr
        assert precious.read_text() == "precious"


def test_a_clock_that_jumps_ends_nothing(tmp_path: Path) -> None:
    """A day back, a year ahead, and before anybody set it."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    run = (
        "import sys, time; from pathlib import Path; from vcd.main import main, wall_ms\n"
        f"clock = Path({str(clock)!r}); real = time.time_ns\n"
        "time.time_ns = lambda: real() + int(clock.read_text() or 0) * 10**6\n"
        "sys.exit(main(now_ms=wall_ms))"
    )
    day = 86_400_000
    with home(tmp_path / "home") as daemon, (tmp_path / "log").open("wb") as log:
        clock.write_text(str(-int(time.time() * 1000)))  # 1970
        daemon.process = subprocess.Popen([sys.executable, "-c", run], env=daemon.environment(), stderr=log)
        daemon.until_state("ready")
        daemon.call("account.create", device_name="d")
        until(lambda: daemon.status().get("account") and daemon.until_state("ready"))
        chat = daemon.call("chat.create")["chat"]
        for number, off in enumerate((0, -day, 365 * day, 0, -60 * 365 * day, 0)):
            clock.write_text(str(off))
            time.sleep(0.3)
            daemon.call("msg.send", chat=chat, data=str(number).encode())
            assert daemon.call("contact.link")["link"]
            assert daemon.call("health.list")["ok"]
        assert daemon.heard(chat) == [str(number).encode() for number in range(6)]
        daemon.end()
