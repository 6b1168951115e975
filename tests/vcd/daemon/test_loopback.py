"""Nodes talk over real sockets, and nothing is lost by being killed."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from tests.vcd.daemon.loopback import Node, running
from transport.signing import SigningKey
from vcd.core import inputs
from vcd.core.names import GroupId, IntentId
from vcd.store.values import Entry

TEA = GroupId(b"tea")


async def meet(anna: Node, ben: Node) -> None:
    await anna.owner.do(inputs.AddContact(card=ben.card("Ben"), petname="Ben"))
    await ben.owner.do(inputs.AddContact(card=anna.card("Anna"), petname="Anna"))


async def say(node: Node, text: bytes) -> None:
    await node.owner.do(inputs.Say(conversation=TEA, nonce=os.urandom(16), data=text))


def text(entry: Entry) -> bytes:
    found: bytes = entry.data["data"]
    return found


async def test_two_people_meet_by_cards_and_talk(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna, running(tmp_path / "ben", "phone") as ben:
        await meet(anna, ben)
        await anna.owner.do(inputs.Open(conversation=TEA))
        own = ben.state.book.own
        assert own is not None
        await anna.owner.do(inputs.Invite(intent=IntentId(os.urandom(16)), conversation=TEA, account=own))
        await ben.until("chat.invited")
        await say(anna, b"tea at five?")
        assert text(await ben.until("msg.received")) == b"tea at five?"
        await say(ben, b"yes")
        assert text(await anna.until("msg.received", lambda each: not each.data["ours"])) == b"yes"


async def test_who_was_away_gets_what_was_said_and_who_restarts_has_lost_nothing(tmp_path: Path) -> None:
    key = SigningKey.generate(os.urandom)
    async with running(tmp_path / "anna", "laptop") as anna:
        async with running(tmp_path / "ben", "phone", key=key) as ben:
            await meet(anna, ben)
            await anna.owner.do(inputs.Open(conversation=TEA))
            own = ben.state.book.own
            assert own is not None
            await anna.owner.do(inputs.Invite(intent=IntentId(os.urandom(16)), conversation=TEA, account=own))
            await ben.until("chat.changed")
            last = ben.at
        for number in range(20):
            await say(anna, b"%d" % number)
        async with running(tmp_path / "ben", "phone", key=key) as ben:
            ben.at = last
            ben.mesh.keep(anna.mesh.me, anna.mesh.addresses())
            heard: list[bytes] = []
            with trio.fail_after(30):
                while len(heard) < 20:
                    heard.append(text(await ben.until("msg.received")))
            assert heard == [b"%d" % number for number in range(20)]
