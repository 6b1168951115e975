"""Chats that an account left, and those that it was thrown out of, on both of its devices: as `vcd run` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vcd.daemon.process import Daemon, home, until
from vcd.client import RpcError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

FAR = 90.0
"""What takes several daemons takes that long if there is much else to do on the machine."""


@dataclass
class House:
    """Alice's two devices, and Bob."""

    laptop: Daemon
    phone: Daemon
    bob: Daemon
    accounts: tuple[bytes, bytes]

    @property
    def ours(self) -> tuple[Daemon, Daemon]:
        return self.laptop, self.phone


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with home(tmp_path / "laptop") as laptop, home(tmp_path / "phone") as phone, home(tmp_path / "bob") as bob:
        for daemon in (laptop, phone, bob):
            daemon.start()
        alice = laptop.call("account.create", device_name="laptop", name="Alice")["account"]
        other = bob.call("account.create", device_name="desk", name="Bob")["account"]
        _pair(laptop, phone)
        links = [daemon.call("contact.link")["link"] for daemon in (laptop, bob)]
        laptop.call("contact.add", link=links[1])
        bob.call("contact.add", link=links[0])
        yield House(laptop, phone, bob, (alice, other))


def _pair(laptop: Daemon, phone: Daemon) -> None:
    offer = laptop.call("pair.start")
    phone.call("pair.join", code=offer["uri"], device_name="phone")
    shown = until(lambda: laptop.call("pair.get")["check"] or None, FAR)
    laptop.call("pair.confirm", pair=offer["pair"], check=shown)
    until(lambda: phone.status()["account"] is not None, FAR)
    until(lambda: len(phone.call("device.list")["devices"]) == 2, FAR)


def standing(daemon: Daemon, chat: bytes) -> str:
    """As both the list and the chat itself say; it may change between the two."""
    line = next((each for each in daemon.call("chat.list")["chats"] if each["chat"] == chat), None)
    if line is None:
        return ""
    found: str = line["standing"]
    return found if daemon.call("chat.get", chat=chat)["standing"] == found else ""


def left(daemon: Daemon, chat: bytes) -> list[bool]:
    return [each.data["removed"] for each in daemon.events("chat.left") if each.data["chat"] == chat]


def stands(house: House, chat: bytes, how: str) -> None:
    until(lambda: all(standing(daemon, chat) == how for daemon in house.ours), FAR)


def test_both_devices_say_whether_the_account_left_or_was_removed(house: House) -> None:
    alone, among, theirs = (
        daemon.call("chat.create", title=title)["chat"]
        for daemon, title in ((house.laptop, "den"), (house.laptop, "tea"), (house.bob, "cake"))
    )
    house.laptop.call("chat.invite", chat=among, account=house.accounts[1])
    house.bob.call("chat.invite", chat=theirs, account=house.accounts[0])
    for chat in (alone, among, theirs):
        stands(house, chat, "member")
    until(lambda: standing(house.bob, among) == "member", FAR)
    house.phone.call("msg.send", chat=alone, data=b"a note")
    until(lambda: house.laptop.heard(alone) == [b"a note"], FAR)

    house.phone.call("chat.leave", chat=alone)
    stands(house, alone, "left")
    house.phone.end()

    house.laptop.call("chat.leave", chat=among)
    house.bob.call("chat.remove", chat=theirs, account=house.accounts[0])
    until(lambda: standing(house.laptop, among) == "left" and standing(house.laptop, theirs) == "removed", FAR)
    house.phone.start()
    house.laptop.end()
    house.laptop.start()
    for chat, how in ((alone, "left"), (among, "left"), (theirs, "removed")):
        stands(house, chat, how)
    until(lambda: not any(daemon.call("chat.get", chat=among)["pending"] for daemon in house.ours), FAR)
    for daemon in house.ours:
        assert [left(daemon, chat)[-1:] for chat in (alone, among, theirs)] == [[False], [False], [True]]
        assert daemon.heard(alone) == [b"a note"]
        for chat in (alone, among, theirs):
            with pytest.raises(RpcError, match="E_NOT_MEMBER"):
                daemon.call("msg.send", chat=chat, data=b"is anybody there?")
    assert [each["account"] for each in house.bob.call("chat.get", chat=among)["members"]] == [house.accounts[1]]
