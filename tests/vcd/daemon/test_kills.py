"""`kill -9` at any instant under load: nothing is lost, nothing comes twice, no key is used again.

Who sends repeats a call that had no answer, with the same `request_id`, as every app does. A key that was used twice
would show at the other side: MLS gives each message of a sender a generation of its own, and a second one of a
generation cannot be opened, which is counted there as refused.

    VCD_KILLS=100 pytest tests/vcd/daemon/test_kills.py        as many as one wants; 500 in `make test-long`
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.vcd.daemon.process import Daemon, home, until
from vcd.client import Client, NotReady, Unavailable, new_request_id

KILLS = int(os.environ.get("VCD_KILLS", "500" if os.environ.get("VCD_LONG") else "25"))
PAUSE = 0.02
QUIET = 60.0
"""Seconds without anything new after which what lacks is lost."""


class Talker:
    """Says one thing after the other, each until it is accepted."""

    def __init__(self, daemon: Daemon, name: str, chat: bytes) -> None:
        self._client = Client(str(daemon.home / "run" / "app.sock"), name=name)
        self._name, self._chat = name, chat
        self.said: list[bytes] = []
        self.failed: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            data, request = f"{self._name} {number}".encode(), new_request_id()
            while True:
                try:
                    self._client.call("msg.send", chat=self._chat, data=data, request_id=request, timeout=20)
                except (Unavailable, NotReady):
                    self._client.close()
                    time.sleep(0.05)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test has to say so
                    self.failed = error
                    return
                else:
                    break
            self.said.append(data)
            time.sleep(PAUSE)

    def end(self) -> None:
        self._over.set()
        self._thread.join(60)
        self._client.close()
        assert not self._thread.is_alive()
        assert self.failed is None, self.failed


def refused(daemon: Daemon) -> dict[str, int]:
    """What came from others and was dropped, by rule."""
    lines = daemon.call("metrics.get")["text"].splitlines()
    found = [line.split('"') for line in lines if line.startswith("vcd_refused_total{")]
    return {parts[1]: int(parts[2].split()[-1]) for parts in found}


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_kills_lose_nothing_and_say_nothing_twice(tmp_path: Path) -> None:
    rng = random.Random(7)
    with home(tmp_path / "alice") as alice, home(tmp_path / "bob") as bob:
        alice.start(ready=False)
        bob.start()
        alice.until_state("ready")
        accounts = [each.call("account.create", device_name="d")["account"] for each in (alice, bob)]
        for each in (alice, bob):
            until(lambda each=each: each.status().get("account") and each.until_state("ready"))  # type: ignore[misc]
        links = [each.call("contact.link")["link"] for each in (alice, bob)]
        alice.call("contact.add", link=links[1])
        bob.call("contact.add", link=links[0])
        chat = alice.call("chat.create")["chat"]
        alice.call("chat.invite", chat=chat, account=accounts[1])
        until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
        talkers = [Talker(alice, "alice", chat), Talker(bob, "bob", chat)]
        for number in range(KILLS):
            if number % 4:  # else it is mostly killed while it starts
                alice.until_state("ready")
            time.sleep(rng.uniform(0, 2))
            alice.end(signal.SIGKILL, code=-signal.SIGKILL)
            alice.start(ready=False)
        alice.until_state("ready")
        time.sleep(1)
        for talker in talkers:
            talker.end()
        wanted = {data for talker in talkers for data in talker.said}
        assert all(len(talker.said) > KILLS for talker in talkers), "there was no load"
        for daemon in (alice, bob):
            heard = _all_heard(daemon, chat, len(wanted))
            lacks, more = wanted - {*heard}, len(heard) - len({*heard})
            assert (sorted(lacks)[:5], len(lacks), more) == ([], 0, 0)
            assert {*heard} == wanted
        for daemon in (alice, bob):
            told = [each.data["data"] for each in daemon.events("msg.received")]
            assert sorted(told) == sorted(wanted)
        assert not {rule: number for rule, number in refused(bob).items() if "generation" in rule or "nonce" in rule}
        assert [each["code"] for each in alice.call("health.list")["problems"]] == []


def _all_heard(daemon: Daemon, chat: bytes, wanted: int) -> list[bytes]:
    """What it heard, when that is as much as was said, or nothing more came for a minute."""
    heard, end = _heard(daemon, chat), time.monotonic() + QUIET
    while len(heard) < wanted and time.monotonic() < end:
        time.sleep(0.5)
        before, heard = len(heard), _heard(daemon, chat)
        if len(heard) > before:
            end = time.monotonic() + QUIET
    return heard


def _heard(daemon: Daemon, chat: bytes) -> list[bytes]:
    found: list[bytes] = []
    after = 0
    while True:
        page = daemon.call("msg.list", chat=chat, most=500, after=after)
        found += [each["data"] for each in page["messages"]]
        if not page["more"]:
            return found
        after = page["messages"][-1]["seq"]
