"""The small parts: addresses, feeds, multistream lines, and the table of mends."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import trio

from transport.base import Address, Link, PeerId, PeerState
from transport.host import mends
from transport.host.addresses import MOST_ANNOUNCED, announced, interface_addresses
from transport.host.feeds import EventFeed, StateFeed
from transport.host.mends import MENDS, Mend, Unmended
from transport.host.swarm import plain
from transport.network import PeerEvent

ROOT = Path(__file__).parents[3]
HERE, THERE = PeerId("here"), PeerId("there")
INTERFACES: dict[int, list[str]] = {
    socket.AF_INET: ["127.0.0.1", "192.0.2.7", "198.51.100.9"],
    socket.AF_INET6: ["::1", "fe80::1", "2001:db8::7"],
}


def told(*listening: str, extra: tuple[str, ...] = ()) -> list[str]:
    return list(announced(map(Address, listening), INTERFACES, map(Address, extra)))


def test_all_interfaces_become_the_real_ones_without_loopback_and_link_local() -> None:
    assert told("/ip4/0.0.0.0/tcp/4001") == ["/ip4/192.0.2.7/tcp/4001", "/ip4/198.51.100.9/tcp/4001"]
    assert told("/ip6/::/tcp/4001") == ["/ip6/2001:db8::7/tcp/4001"]
    assert told("/ip4/0.0.0.0/tcp/1", "/ip4/192.0.2.7/tcp/1") == ["/ip4/192.0.2.7/tcp/1", "/ip4/198.51.100.9/tcp/1"]


def test_loopback_is_told_when_there_is_nothing_else() -> None:
    assert told("/ip4/127.0.0.1/tcp/4001") == ["/ip4/127.0.0.1/tcp/4001"]
    assert told("/ip4/127.0.0.1/tcp/4001", "/ip4/192.0.2.7/tcp/4001") == ["/ip4/192.0.2.7/tcp/4001"]
    assert told() == []


def test_what_extensions_found_comes_first_and_there_is_an_end_to_it() -> None:
    assert told("/ip4/192.0.2.7/tcp/1", extra=("/dns4/relay.example/tcp/1/p2p-circuit",))[0].startswith("/dns4/")
    assert len(told(*(f"/ip4/192.0.2.7/tcp/{port}" for port in range(1, 100)))) == MOST_ANNOUNCED


def test_the_machine_has_interfaces() -> None:
    assert "127.0.0.1" in interface_addresses()[socket.AF_INET]


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("/ip4/192.0.2.1/tcp/1/p2p/QmA", "/ip4/192.0.2.1/tcp/1"),
        ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"),
        ("/ip4/192.0.2.1/tcp/1/p2p/QmR/p2p-circuit", "/ip4/192.0.2.1/tcp/1/p2p/QmR/p2p-circuit"),
        ("/ip4/192.0.2.1/tcp/1/p2p/QmR/p2p-circuit/p2p/QmA", "/ip4/192.0.2.1/tcp/1/p2p/QmR/p2p-circuit"),
    ],
)
def test_the_peer_is_cut_off_an_address_and_a_relay_is_not(long: str, short: str) -> None:
    assert plain(long) == short


async def test_events_come_in_order_and_a_slow_reader_holds_little(autojump_clock: object) -> None:
    feed = EventFeed()
    with feed.subscribe([HERE]) as events:
        assert await anext(events) == PeerEvent(peer=HERE, up=True)
        for _ in range(1000):
            feed.tell(PeerEvent(peer=HERE, up=False))
            feed.tell(PeerEvent(peer=HERE, up=True))
        feed.tell(PeerEvent(peer=THERE, up=True))
        seen = []
        with trio.move_on_after(1):
            async for event in events:
                seen.append(event)
        assert seen == [
            PeerEvent(peer=HERE, up=False),
            PeerEvent(peer=HERE, up=True),
            PeerEvent(peer=THERE, up=True),
        ]
        for up in (False, True, False):
            feed.tell(PeerEvent(peer=HERE, up=up))
        assert await anext(events) == PeerEvent(peer=HERE, up=False)
        with trio.move_on_after(1) as scope:
            await anext(events)
        assert scope.cancelled_caught
    feed.tell(PeerEvent(peer=HERE, up=True))


async def test_a_slow_reader_of_states_gets_the_last_of_each_peer(autojump_clock: object) -> None:
    feed = StateFeed(2048)
    states = feed.subscribe()
    for link in (Link.DIALING, Link.AWAY, Link.DIALING, Link.CONNECTED):
        feed.tell(PeerState(peer=HERE, link=link))
    feed.tell(PeerState(peer=THERE, link=Link.BARRED))
    assert [(await anext(states)).link for _ in range(2)] == [Link.CONNECTED, Link.BARRED]
    with trio.move_on_after(1) as scope:
        await anext(states)
    assert scope.cancelled_caught


async def test_strangers_who_come_and_go_do_not_fill_the_memory_of_a_reader(autojump_clock: object) -> None:
    feed = StateFeed(3)
    states = feed.subscribe()
    feed.tell(PeerState(peer=HERE, link=Link.AWAY, kept=True))
    feed.tell(PeerState(peer=THERE, link=Link.CONNECTED))
    for number in range(1000):
        for link in (Link.CONNECTED, Link.AWAY):
            feed.tell(PeerState(peer=PeerId(f"stranger {number}"), link=link))
    assert [(await anext(states)).peer for _ in range(3)] == [HERE, THERE, "stranger 999"]
    with trio.move_on_after(1) as scope:
        await anext(states)
    assert scope.cancelled_caught


def test_every_name_that_a_mend_leans_on_is_there() -> None:
    mends.check()
    for mend in MENDS:
        assert mends.resolve(mend.by)


def test_a_library_that_moved_a_name_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Mend(name="x", hazards=(), wrong="", by="", leans_on=("libp2p.network.swarm:Swarm.no_such_thing",))
    monkeypatch.setattr(mends, "MENDS", (gone,))
    with pytest.raises(Unmended, match="no_such_thing"):
        mends.check()


def test_the_document_has_every_mend_and_its_tests_exist() -> None:
    text = (ROOT / "docs" / "libp2p.md").read_text()
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests" / "transport" / "host").rglob("test_*.py")))
    for mend in MENDS:
        for number in mend.hazards:
            assert f"## {number}. " in text, mend.name
        assert f"`{mend.by.rpartition(':')[2]}`" in text, mend.name
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name
    for number in re.findall(r"^## (\d+)\. ", text, re.MULTILINE):
        section = re.split(rf"^## {number}\. ", text, flags=re.MULTILINE)[1].split("\n## ")[0]
        assert "Test" in section, number
