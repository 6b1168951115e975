"""A state folder that was copied, and put back after the device had gone on: nothing is done a second time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.vcd.daemon.process import SETTINGS, Daemon, home, until

PATIENT = SETTINGS + 'desync_after = "3 s"\nretry = "1 s"\n'


def test_a_copy_that_was_put_back_says_nothing_before_it_has_keys_of_its_own(tmp_path: Path) -> None:
    with home(tmp_path / "alice", PATIENT) as alice, home(tmp_path / "bob", PATIENT) as bob:
        alice.start(ready=False)
        bob.start()
        alice.until_state("ready")
        accounts = []
        for daemon, name in ((alice, "Alice"), (bob, "Bob")):
            accounts.append(daemon.call("account.create", device_name="laptop", name=name)["account"])
            until(lambda daemon=daemon: daemon.until_state("ready") and daemon.call("status.get")["account"])  # type: ignore[misc]
        alice.call("contact.add", link=bob.call("contact.link")["link"])
        bob.call("contact.add", link=alice.call("contact.link")["link"])
        chat = alice.call("chat.create", title="tea")["chat"]
        alice.call("chat.invite", chat=chat, account=accounts[1])
        until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
        alice.call("msg.send", chat=chat, data=b"before")
        until(lambda: b"before" in bob.heard(chat))
        until(lambda: _settled(alice, chat))

        alice.end()
        state, copy = alice.home / "state", tmp_path / "copy"
        shutil.copytree(state, copy)
        alice.start()
        log = alice.call("status.get")["log"]["log_id"]
        for number in range(5):
            alice.call("msg.send", chat=chat, data=b"meanwhile %d" % number)
        until(lambda: b"meanwhile 4" in bob.heard(chat))
        alice.end()
        shutil.rmtree(state)
        shutil.copytree(copy, state)

        alice.start("--restored")
        assert alice.call("status.get")["log"]["log_id"] != log
        before = alice.call("chat.graph")["head"]
        alice.call("msg.send", chat=chat, data=b"after")  # it is kept, and said as soon as that is safe
        alice.end()
        alice.start()  # still one that only listens, though nobody says so again
        until(lambda: b"after" in bob.heard(chat), within=150)
        assert alice.call("chat.graph")["head"] != before  # an epoch of its own
        heard = bob.heard(chat)
        assert [each for each in heard if each.startswith(b"meanwhile")] == [b"meanwhile %d" % n for n in range(5)]
        assert heard.count(b"after") == 1
        bob.call("msg.send", chat=chat, data=b"welcome back")
        until(lambda: b"welcome back" in alice.heard(chat))


def _settled(daemon: Daemon, chat: bytes) -> dict[str, Any] | None:
    graph: dict[str, Any] = daemon.call("chat.graph", chat=chat)
    return graph if graph["final"] == graph["head"] else None
