from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.transport.discovery.samples import KEY_A, KEY_B, NOW, PLACES, A, B, C
from transport.base import Address, Milliseconds, PeerId
from transport.discovery.addresses import Policy, Source, static_peers
from transport.discovery.book import MOST_ADDRESSES, AddressBook
from transport.discovery.finding import keep_static
from transport.discovery.records import LIFE, PeerRecord, make
from transport.signing import SigningKey, peer_id

SOON = Milliseconds(NOW + 1000)
RELAYED = Address(f"{PLACES[50]}/p2p/{C}/p2p-circuit")


def record(*places: Address, sequence: int = 1, key: SigningKey = KEY_A) -> PeerRecord:
    return make(key, places, sequence=sequence, expires=Milliseconds(NOW + LIFE))


def test_order() -> None:
    book = AddressBook(Policy())
    book.add(A, [PLACES[4]], Source.OBSERVED, SOON)
    book.add_record(record(RELAYED, PLACES[3]))
    book.add(A, [PLACES[1], PLACES[2]], Source.STATIC)
    assert book.order(A) == [PLACES[1], PLACES[2], PLACES[3], PLACES[4], RELAYED]
    assert book.order(B) == []


def test_a_newer_record_takes_back_what_the_older_said() -> None:
    book = AddressBook(Policy())
    assert book.add_record(record(PLACES[1], PLACES[2], sequence=5)) == [PLACES[1], PLACES[2]]
    assert book.add_record(record(PLACES[9], sequence=4)) == []
    assert book.add_record(record(PLACES[2], PLACES[3], sequence=6)) == [PLACES[3]]
    assert set(book.order(A)) == {PLACES[2], PLACES[3]}


def test_what_is_not_believed_is_not_in_it() -> None:
    book = AddressBook(Policy())
    assert book.add_record(record(Address("/ip4/127.0.0.1/tcp/1"), Address("/ip4/10.0.0.1/tcp/1"))) == []
    assert book.order(A) == []
    assert book.add(B, ["/ip4/10.0.0.1/tcp/1"], Source.OBSERVED, SOON) == []


def test_expiry() -> None:
    book = AddressBook(Policy())
    book.add(A, [PLACES[1]], Source.STATIC)
    book.add(A, [PLACES[2]], Source.OBSERVED, SOON)
    book.add_record(record(PLACES[3]))
    book.add(B, [PLACES[2]], Source.OBSERVED, SOON)
    book.expire(SOON)
    assert book.order(A) == [PLACES[1], PLACES[3]]
    assert book.order(B) == []
    assert len(book) == 1
    book.expire(Milliseconds(NOW + LIFE))
    assert book.order(A) == [PLACES[1]]
    assert book.record(A) is None
    book.forget(A)
    assert len(book) == 0


def test_only_static_addresses_are_for_ever() -> None:
    book = AddressBook(Policy())
    with pytest.raises(ValueError):
        book.add(A, PLACES[:1], Source.OBSERVED)
    with pytest.raises(ValueError):
        book.add(A, PLACES[:1], Source.STATIC, SOON)


def test_a_flood_of_addresses_leaves_the_static_ones() -> None:
    book = AddressBook(Policy())
    book.add(A, [PLACES[0]], Source.STATIC)
    for place in PLACES[1:]:
        book.add(A, [place], Source.OBSERVED, SOON)
    assert len(book.order(A)) == MOST_ADDRESSES
    assert book.order(A)[0] == PLACES[0]
    assert book.order(A)[1] == PLACES[-1]
    better = record(*PLACES[20:30])
    book.add_record(better)
    assert set(better.addresses) <= set(book.order(A))
    assert book.add(A, [PLACES[70]], Source.STATIC) == [PLACES[70]]


def test_a_flood_of_peers_leaves_those_with_static_addresses() -> None:
    book = AddressBook(Policy(), most_peers=4)
    book.add(A, [PLACES[0]], Source.STATIC)
    strangers = [peer_id(SigningKey(number.to_bytes(32)).public) for number in range(10)]
    for stranger in strangers:
        book.add(stranger, [PLACES[1]], Source.OBSERVED, SOON)
    assert len(book) == 4
    assert book.order(A)
    assert [bool(book.order(stranger)) for stranger in strangers[-3:]] == [True] * 3
    for stranger in strangers[-3:]:
        book.add(stranger, [PLACES[2]], Source.STATIC)
    assert book.add(B, [PLACES[3]], Source.STATIC) == []
    assert book.add_record(record(PLACES[1], key=KEY_B)) == []


def test_configured_peers_are_kept() -> None:
    kept: dict[PeerId, list[Address]] = {}
    lines = [f"{PLACES[1]}/p2p/{A}", f"{PLACES[2]}/p2p/{A}", f"{PLACES[3]}/p2p/{B}"]
    keep_static(AddressBook(Policy()), static_peers(lines), lambda peer, places: kept.update({peer: list(places)}))
    assert kept == {A: [PLACES[1], PLACES[2]], B: [PLACES[3]]}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C]),
            st.lists(st.sampled_from(PLACES), max_size=20),
            st.sampled_from(Source),
            st.integers(0, 5),
        ),
        max_size=40,
    )
)
def test_bounds_hold_whatever_comes(told: list[tuple[PeerId, list[Address], Source, int]]) -> None:
    book = AddressBook(Policy(), most_peers=2)
    static: set[tuple[PeerId, Address]] = set()
    for peer, places, source, later in told:
        expires = None if source is Source.STATIC else Milliseconds(NOW + later)
        new = book.add(peer, places, source, expires)
        assert len(new) == len(set(new))
        if source is Source.STATIC:
            static |= {(peer, place) for place in new}
        assert len(book) <= 2
        assert all(len(book.order(peer)) <= MOST_ADDRESSES for peer in (A, B, C))
        assert all(place in book.order(peer) for peer, place in static)
    book.expire(Milliseconds(NOW + 5))
    assert {(peer, place) for peer in (A, B, C) for place in book.order(peer)} >= static
