"""What peers, members and contacts try on a device: to use up its KeyPackages, to have it dial whom they want."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.vcd.daemon.loopback import Node, now_ms, running
from transport.base import Address, AskFailed, Milliseconds, PeerId
from transport.discovery import records
from transport.signing import SigningKey, peer_id
from vcd.core.stored import Row
from vcd.daemon import facts, mesh as meshes, packages
from vcd.daemon.packages import GIVEN, NONE, TOGETHER, VERSION, Place, proof

HOME, TEA, OTHER = b"home", b"tea", b"other"


def key() -> SigningKey:
    return SigningKey.generate(os.urandom)


def name(who: SigningKey) -> PeerId:
    return peer_id(who.public)


def record(who: SigningKey, port: int = 4001, at: int = 1) -> bytes:
    """Where somebody is, as they say. Nobody listens there."""
    there = (Address(f"/ip4/127.0.0.1/tcp/{port}"),)
    return records.make(who, there, sequence=at, expires=Milliseconds(now_ms() + 10**7)).encoded


def question(node: Node, asker: str, *, contact: bool) -> bytes:
    inbox = node.state.household.inbox
    assert inbox is not None
    return VERSION + (proof(inbox.raw, asker, node.mesh.me) if contact else bytes(32))


async def stocked(node: Node) -> None:
    while not all(node.packages.left()):
        await node.owner.moved()


async def test_peers_of_many_names_do_not_use_up_the_packages(tmp_path: Path) -> None:
    """Each name has a pace, and all together have one; who comes later gets the last resort, which costs nothing."""
    async with running(tmp_path / "anna", "laptop") as anna:
        with trio.fail_after(60):
            await stocked(anna)
            for contact in (False, True):
                used = len(anna.state.stock.mine)
                seen: dict[bytes, int] = {}
                for number in range(TOGETHER[contact][0] + 40):
                    asker = f"peer {number}"
                    answer = await anna.packages.serve(asker, question(anna, asker, contact=contact))
                    assert answer[:1] == GIVEN
                    seen[answer] = seen.get(answer, 0) + 1
                again = [each for each, times in seen.items() if times > 1]
                assert len(again) == 1  # the last resort
                assert seen[again[0]] >= 40
                assert sum(each.given for each in anna.state.stock.mine.values()) <= sum(
                    most + 1 for most, _ in TOGETHER.values()
                )
                assert len(anna.state.stock.mine) <= used + TOGETHER[contact][0] + 40
            answer = b""
            for _ in range(20):
                answer = await anna.packages.serve("one", question(anna, "one", contact=False))
            assert answer == NONE


async def test_the_last_resort_is_there_after_a_restart_too(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna:
        with trio.fail_after(60):
            await stocked(anna)
            last = b""
            for number in range(TOGETHER[False][0] + 8):
                last = await anna.packages.serve(f"{number}", question(anna, "", contact=False))
    async with running(tmp_path / "anna", "laptop") as anna:
        with trio.fail_after(60):
            await stocked(anna)
            found = set()
            for number in range(TOGETHER[False][0] + 8):
                found.add(await anna.packages.serve(f"{number}", question(anna, "", contact=False)))
            assert last in found


async def test_who_asks_while_there_is_nothing_to_give_waits_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the list of devices changed; and only so many, and only so long."""
    async with running(tmp_path / "anna", "laptop") as anna:
        answers: dict[str, bytes] = {}

        async def ask(asker: str) -> None:
            answers[asker] = await anna.packages.serve(asker, question(anna, asker, contact=True))

        with trio.fail_after(60):
            await stocked(anna)
            await anna.packages.take_back(tuple(anna.packages._offers))
            monkeypatch.setattr(packages, "MOST_WAITING", 1)
            with monkeypatch.context() as short:
                short.setattr(packages, "PATIENCE", 0.05)
                await ask("first")
                assert answers["first"] == NONE
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "early")  # the first one has made room
                await trio.testing.wait_all_tasks_blocked()
                await ask("one too many")
                assert answers["one too many"] == NONE
                assert "early" not in answers
                anna.packages.here(b"new", b"package", stranger=False)
            assert answers["early"] == GIVEN + b"package"


async def test_questions_of_any_size_and_kind_are_answered_or_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna, running(tmp_path / "eve", "phone") as eve:
        eve.mesh.keep(anna.mesh.me, anna.mesh.addresses())
        refused = answered = 0

        async def ask(data: bytes) -> None:
            nonlocal refused, answered
            try:
                answer = await eve.mesh.ask(anna.mesh.me, "/vcd/packages/1", data, within=5)
            except AskFailed:
                refused += 1
            else:
                answered += 1
                assert answer[:1] in {GIVEN, NONE}

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for size in (0, 1, 32, 33, 34, 1000, 65_536, 10**6, 10**7):
                    for _ in range(8):
                        nursery.start_soon(ask, os.urandom(size))
        assert (refused + answered) == 72
        await anna.owner.do(None, keep={facts.CALLED: b"Anna"})  # all is well


async def test_a_member_who_tells_of_thousands_displaces_only_what_the_same_chat_brought(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna:
        mesh = anna.mesh
        noted: dict[Row, bytes | None] = {}
        mesh.note = noted.update
        own, friends = [key() for _ in range(3)], [key() for _ in range(5)]
        for each in own:
            mesh.met(record(each), group=HOME, own=True)
        for each in friends:
            mesh.met(record(each), group=OTHER, own=False)
        for number in range(1000):
            mesh.met(record(key(), 1 + number), group=TEA, own=False)
        mesh.met(record(own[0], 5001, at=2), group=TEA, own=False)  # also where another group tells of it
        kept = {row[1].decode() for row, value in noted.items() if value is not None}
        assert {name(each) for each in (*own, *friends)} <= kept
        assert len(kept) <= meshes.MOST_MET + len(own)
        assert mesh.gate.own == {name(each) for each in own}
        assert len(mesh.gate.met) == meshes.MOST_MET
        assert len(mesh.book) <= meshes.MOST_MET + len(own)
        for _ in range(200):  # an account does not have so many devices, and the group of its devices is bounded too
            mesh.met(record(key()), group=HOME, own=True)
        assert len(mesh.gate.own) == meshes.MOST_OWN
        assert len(mesh.gate.met) == meshes.MOST_MET


async def test_where_cards_led_to_once_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna:
        mesh = anna.mesh
        static = PeerId(name(key()))
        mesh.keep(static, [Address("/ip4/127.0.0.1/tcp/4001")])
        for turn in range(50):
            places = [Place(name(key()), (f"/ip4/127.0.0.1/tcp/{4100 + turn}",)) for _ in range(20)]
            mesh.lead_to([Place(static, ()), *places])
            assert mesh.gate.contacts() == {static, *(each.peer for each in places)}
        mesh.lead_to(Place(name(key()), ("/ip4/127.0.0.1/tcp/4001",)) for _ in range(10_000))
        assert len(mesh.gate.contacts()) == meshes.MOST_CONTACTS
        mesh.lead_to([])
        for _ in range(500):
            mesh.reach(PeerId(name(key())), [Address("/ip4/127.0.0.1/tcp/4001")])
        assert static in anna.sockets.peers()
        assert len(anna.sockets.peers()) <= meshes.MOST_ASKED + 1
        assert len(mesh.book) <= meshes.MOST_ASKED + 1


async def test_a_strange_place_in_a_card_is_not_dialed(tmp_path: Path) -> None:
    async with running(tmp_path / "anna", "laptop") as anna:
        odd = [
            "",
            "/",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/tcp/99999",
            "/dns4/example.org/tcp/1",
            "/ip4/1.2.3.4/udp/53",
            "x" * 400,
        ]
        for text in odd:
            anna.mesh.lead_to(
                [Place("not a peer", (text,)), Place("\n", (text,)), Place("", (text,)), Place(name(key()), (text,))]
            )
            anna.mesh.reach(PeerId("\x00"), [Address(text)])
        await trio.sleep(0.2)
        assert anna.mesh.connected() == 0
        await anna.owner.do(None, keep={facts.CALLED: b"Anna"})
