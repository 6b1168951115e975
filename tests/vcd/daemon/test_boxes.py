"""Mailboxes of the settings, with real processes: what one said while the other was away is read from there alone."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.vcd.daemon.mailboxes import Box
from tests.vcd.daemon.process import PATIENCE, SETTINGS, Daemon, home, of_kind, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("boxes")]


@dataclass
class Town:
    """Two people with a chat and one mailbox, which has both as tenants."""

    box: Box
    alice: Daemon
    bob: Daemon
    chat: bytes
    keys: tuple[str, str]

    def settled(self) -> int:
        """How many frames the mailbox has, once it gets no more of them for a while.

        By how often it said so, every second: on a machine that stands still, time passes and nothing comes.
        """
        last, seen, same = -1, 0, 0

        def look() -> int | None:
            nonlocal last, seen, same
            now = self.box.number("vcd_mailbox_frames")
            said = self.box.numbers.stat().st_mtime_ns if now >= 0 else 0
            if now != last:
                last, seen, same = now, said, 0
            elif said != seen:
                seen, same = said, same + 1
            return now if now > 0 and same > 3 else None

        return until(look)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with of_kind(Box, folder / "box") as box:
        box.start()
        text = SETTINGS.replace("[node]", f'mailboxes = ["{box.addresses[0]}"]\n\n[node]')
        with home(folder / "alice", text) as alice, home(folder / "bob", text) as bob:
            both = (alice, bob)
            for daemon in both:
                daemon.start(ready=False)
            for daemon, name in zip(both, ("Alice", "Bob"), strict=True):
                daemon.until_state("ready")
                daemon.call("account.create", device_name="laptop", name=name)
            for daemon in both:
                until(lambda daemon=daemon: daemon.until_state("ready") and daemon.call("status.get")["account"])  # type: ignore[misc]
            accounts = [daemon.call("account.get") for daemon in both]
            keys = (accounts[0]["mailbox_key"], accounts[1]["mailbox_key"])
            box.admit(*keys)
            links = [daemon.call("contact.link")["link"] for daemon in both]
            alice.call("contact.add", link=links[1])
            bob.call("contact.add", link=links[0])
            chat = alice.call("chat.create", title="tea")["chat"]
            alice.call("chat.invite", chat=chat, account=accounts[1]["account"])
            until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
            until(lambda: box.number("vcd_mailbox_topics") >= 5)  # two homes, two inboxes, and the chat
            yield Town(box, alice, bob, chat, keys)


def test_a_mailbox_keeps_what_was_said_while_one_was_away(town: Town) -> None:
    assert len(set(town.keys)) == 2
    assert all(len(bytes.fromhex(each)) == 32 for each in town.keys)
    town.bob.end()
    before = town.settled()
    said = [b"tea at five?", b"or at six", b"there is cake"]
    for each in said:
        town.alice.call("msg.send", chat=town.chat, data=each)
    until(lambda: town.box.number("vcd_mailbox_frames") >= before + len(said))
    town.settled()  # one of these may have been another frame
    town.alice.end()
    town.bob.start()
    until(lambda: set(said) <= set(town.bob.heard(town.chat)))
    assert [each for each in town.bob.heard(town.chat) if each in said] == said
    town.alice.start()


def test_who_is_no_tenant_any_more_gets_nothing(town: Town) -> None:
    town.bob.end()
    before = town.settled()
    town.alice.call("msg.send", chat=town.chat, data=b"are you there?")
    until(lambda: town.box.number("vcd_mailbox_frames") > before)
    town.settled()
    town.alice.end()
    town.box.admit()
    refused = town.bob.log.count("not_found")
    town.bob.start()
    until(lambda: town.bob.log.count("not_found") > refused)
    assert b"are you there?" not in town.bob.heard(town.chat)
    town.box.admit(town.keys[1])  # a slip of the operator: nothing was lost
    until(lambda: b"are you there?" in town.bob.heard(town.chat))
    town.box.admit(*town.keys)
    town.alice.start()


def test_who_is_away_is_invited_by_a_package_from_a_mailbox(town: Town) -> None:
    """The KeyPackage, the invitation and what was said: all of it goes through the mailbox."""
    bob = town.bob
    account = bob.call("account.get")["account"]
    for _ in range(2):  # what no mailbox took while we were no tenants is offered again after a start
        bob.end()
        bob.start()
        if town.box.number("vcd_mailbox_packages") > 0:
            break
        time.sleep(3)
    until(lambda: town.box.number("vcd_mailbox_packages") > 0)
    bob.end()
    before = town.settled(), town.box.number("vcd_mailbox_packages")
    topics = town.box.number("vcd_mailbox_topics")
    chat = town.alice.call("chat.create", title="cake")["chat"]
    until(lambda: town.box.number("vcd_mailbox_topics") > topics)
    town.alice.call("chat.invite", chat=chat, account=account)
    until(lambda: town.box.number("vcd_mailbox_packages") < before[1])
    until(lambda: len(town.alice.call("chat.get", chat=chat)["members"]) == 2)
    town.alice.call("msg.send", chat=chat, data=b"there is some left")
    town.settled()
    town.alice.end()
    bob.start()
    until(lambda: chat in [each["chat"] for each in bob.call("chat.list")["chats"]])
    until(lambda: b"there is some left" in bob.heard(chat))
    town.alice.start()


def test_a_mailbox_that_lost_its_disk_is_left_new_packages(town: Town) -> None:
    until(lambda: town.box.number("vcd_mailbox_packages") > 0 and _last_resorts(town.box) > 0)
    began = time.monotonic()
    town.box.end()
    for path in (town.box.home / "state").glob("mailbox.db*"):
        path.unlink()
    town.box.numbers.unlink()
    town.box.start()
    away = time.monotonic() - began  # they wait as long again before they look whether it is back
    until(lambda: town.box.number("vcd_mailbox_packages") > 0 and _last_resorts(town.box) > 0, PATIENCE + 2 * away)
    assert any("has lost what was left there" in each.log for each in (town.alice, town.bob))


def _last_resorts(box: Box) -> int:
    with contextlib.closing(sqlite3.connect(box.home / "state" / "mailbox.db")) as db:
        (count,) = db.execute("SELECT count(*) FROM package WHERE state = 0 AND lasting").fetchone()
    return int(count)
