"""What is said of people."""

from __future__ import annotations

from dataclasses import replace

from tests.vcd.core.accounts.person import Person
from vcd.core.accounts.book import Book, Contact
from vcd.core.accounts.card import InboxSecret, make_card
from vcd.core.accounts.head import check
from vcd.daemon.service.contacts import reachable

NOW = 1_000_000


def known(person: Person) -> Book:
    """A book with their card."""
    card = make_card(
        person.provider, person.head, person.signing, name="Alice", inbox=InboxSecret(bytes(32)), expires=NOW + 1
    )
    return Book().take_card(card, person.provider, NOW)


def seen(book: Book, person: Person) -> Contact:
    """The same person, once their newest list was seen in a chat."""
    return book.learn(check(person.head, person.provider)).book.known(person.edition.account)


def test_a_link_stays_good_while_devices_come_and_go() -> None:
    alice = Person()
    book = known(alice)
    assert reachable(seen(book, alice), NOW)
    phone = alice.add()
    assert reachable(seen(book, alice), NOW)
    alice.revoke(phone)
    assert reachable(seen(book, alice), NOW)


def test_a_link_is_no_good_once_it_expired_or_the_account_may_have_another_inbox() -> None:
    alice = Person()
    book = known(alice)
    found = seen(book, alice)
    assert not reachable(found, NOW + 1)
    assert not reachable(replace(found, card=None), NOW)
    alice.term(revoke=(alice.add(),))
    assert not reachable(seen(book, alice), NOW)
