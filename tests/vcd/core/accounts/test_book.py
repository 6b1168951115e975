"""What a device knows of people."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import book as books, editions
from vcd.core.accounts.book import Book, Contact, Relation
from vcd.core.accounts.card import Card, InboxSecret, make_card
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.head import CheckedHead, Equivocation, Evidence, Head, check, contradiction
from vcd.core.accounts.identity import fingerprint
from vcd.core.errors import Misuse, Refused
from vcd.core.names import AccountId
from vcd.core.record import decode, encode

NOW = 1_000_000


def seen(person: Person) -> CheckedHead:
    return check(person.head, person.provider)


def met(book: Book, person: Person) -> Book:
    return book.learn(seen(person)).book


def gave_card(person: Person, name: str = "Alice") -> Card:
    return make_card(
        person.provider,
        person.head,
        person.signing,
        name=name,
        inbox=InboxSecret(bytes(32)),
        expires=NOW + 1,
    )


def rivals(person: Person) -> tuple[Head, Head]:
    one = editions.refresh(person.provider, person.edition, person.delegate)
    other = editions.refresh(person.provider, person.edition, person.delegate)
    return one.edition.head, other.edition.head


def test_whoever_is_met_first_is_a_stranger() -> None:
    alice = Person()
    learned = Book().learn(seen(alice))
    assert learned.stranger
    assert learned.newer
    found = learned.book.find(alice.edition.account)
    assert found is not None
    assert (found.relation, found.verified, found.petname) == (Relation.STRANGER, False, "")
    assert found.root == alice.head.authority.mandate.root
    assert learned.book.relation(AccountId(bytes(32))) is Relation.STRANGER


def test_newer_heads_are_learned_and_older_ones_teach_nothing() -> None:
    alice = Person()
    old = seen(alice)
    book = met(Book(), alice)
    alice.refresh()
    learned = book.learn(seen(alice))
    assert learned.newer
    assert not learned.stranger
    again = learned.book.learn(old)
    assert again.book is learned.book
    assert not again.newer
    assert again.evidence is None
    assert learned.book.learn(seen(alice)).book is learned.book


def test_a_version_is_known_to_be_superseded_by_a_higher_one_or_a_rival() -> None:
    alice = Person()
    old = alice.head
    one, other = rivals(alice)
    book = met(Book(), alice)
    assert not book.superseded(old)
    assert not book.superseded(one)
    book = book.learn(CheckedHead(one)).book
    assert book.superseded(old)
    assert book.superseded(other)
    assert not book.superseded(one)
    assert not book.superseded(Person("bob").head)


def test_two_lists_of_one_version_are_evidence_once() -> None:
    alice = Person()
    book = met(Book(), alice)
    one, other = rivals(alice)
    book = book.learn(CheckedHead(one)).book
    learned = book.learn(CheckedHead(other))
    assert learned.evidence == contradiction(one, other)
    assert not learned.newer
    found = learned.book.known(alice.edition.account)
    assert found.evidence == learned.evidence
    assert found.head == one
    again = learned.book.learn(CheckedHead(other))
    assert again.evidence is None
    assert again.book is learned.book


def test_two_delegates_that_joined_their_lists_are_followed() -> None:
    alice = Person()
    book = met(Book(), alice)
    one = editions.refresh(alice.provider, alice.edition, alice.delegate).edition
    other = editions.refresh(alice.provider, alice.edition, alice.delegate).edition
    joined = editions.join(alice.provider, one, other, alice.delegate).edition.head
    book = book.learn(CheckedHead(one.head)).book
    learned = book.learn(CheckedHead(joined))
    assert learned.newer
    assert learned.evidence is None


def test_a_higher_version_counts_even_if_it_contradicts() -> None:
    alice = Person()
    one, _ = rivals(alice)
    book = met(Book(), alice).learn(CheckedHead(one)).book
    alice.refresh()
    alice.refresh()
    learned = book.learn(seen(alice))
    assert learned.newer
    assert learned.evidence is not None
    assert learned.book.known(alice.edition.account).head == alice.head


def test_a_higher_version_that_forgets_a_revocation_does_not_count() -> None:
    alice = Person()
    phone = alice.add()
    base = alice.edition
    alice.revoke(phone)
    book = met(Book(), alice)
    alice.edition = base
    for _ in range(3):
        alice.refresh()
    learned = book.learn(seen(alice))
    assert learned.book is book
    assert not learned.newer


def test_evidence_of_others_is_checked() -> None:
    alice, bob = Person(), Person("bob")
    book = met(Book(), alice)
    one, other = rivals(alice)
    evidence = contradiction(one, other)
    assert evidence is not None
    learned = book.accuse(evidence, alice.provider)
    assert learned.evidence == evidence
    assert learned.book.known(alice.edition.account).evidence == evidence
    assert learned.book.accuse(evidence, alice.provider).evidence is None
    assert Book().accuse(evidence, alice.provider).evidence is None
    false = Evidence(first=alice.head, second=bob.head)
    refused("no-contradiction", lambda: book.accuse(false, alice.provider))


# ---------------------------------------------------------------- contacts


def test_a_card_makes_a_contact() -> None:
    alice = Person()
    card = gave_card(alice)
    book = Book().take_card(card, alice.provider, NOW)
    found = book.known(alice.edition.account)
    assert (found.relation, found.petname, found.card) == (Relation.CONTACT, "Alice", card)
    assert book.strangers == 0
    book = book.take_card(card, alice.provider, NOW, petname="Al")
    assert book.known(alice.edition.account).petname == "Al"


def test_a_card_of_a_superseded_version_is_refused() -> None:
    alice = Person()
    phone = alice.add()
    card = gave_card(alice)
    alice.revoke(phone)
    book = met(Book(), alice)
    refused("card-superseded", lambda: book.take_card(card, alice.provider, NOW))
    refused("card-expired", lambda: Book().take_card(card, alice.provider, NOW + 1))


def test_our_own_card_is_no_contact() -> None:
    alice = Person()
    card = gave_card(alice)
    with pytest.raises(Misuse) as caught:
        Book(edition=alice.edition).take_card(card, alice.provider, NOW)
    assert caught.value.code == "own-card"


def test_blocking_outlasts_new_versions_and_is_undone() -> None:
    alice = Person()
    book = met(Book(), alice).accept(alice.edition.account, "Al").block(alice.edition.account)
    alice.refresh()
    book = met(book, alice)
    assert book.relation(alice.edition.account) is Relation.BLOCKED
    book = book.unblock(alice.edition.account)
    assert book.relation(alice.edition.account) is Relation.CONTACT
    assert book.known(alice.edition.account).petname == "Al"


def test_a_contact_is_verified_by_what_the_other_reads_out() -> None:
    alice = Person()
    account = alice.edition.account
    book = met(Book(), alice)
    digits = fingerprint(alice.head.authority.mandate.root)
    with pytest.raises(Misuse):
        book.verify(account, digits[:-1])
    book = book.verify(account, digits.replace(" ", "\n"))
    assert book.known(account).verified
    alice.term()
    assert met(book, alice).known(account).verified  # the root stays


def test_names_and_people_that_there_are_not() -> None:
    alice = Person()
    account = alice.edition.account
    book = met(Book(), alice)
    assert book.name(account, "Al").known(account).petname == "Al"
    stranger = AccountId(bytes(32))
    calls: list[Callable[[], object]] = [
        lambda: book.name(account, "a\nb"),
        lambda: book.name(stranger, "x"),
        lambda: book.block(stranger),
        lambda: book.forget(stranger),
    ]
    for call in calls:
        with pytest.raises(Misuse):
            call()


def test_who_is_forgotten_is_a_stranger_when_met_again() -> None:
    alice = Person()
    account = alice.edition.account
    book = met(Book(), alice)
    assert book.forget(account).strangers == 0
    book = book.accept(account).forget(account)
    assert (book.find(account), book.strangers) == (None, 0)
    assert book.learn(seen(alice)).stranger


def test_strangers_make_room_for_each_other_and_never_take_a_contact_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MAX_STRANGERS", 3)
    people = [Person(f"person {at}") for at in range(6)]
    friend, blocked = people[0].edition.account, people[1].edition.account
    book = met(met(Book(), people[0]), people[1]).accept(friend).block(blocked)
    for person in people[2:]:
        book = met(book, person)
    assert book.strangers == 3
    assert len(book.contacts) == 4
    kept = {friend, blocked, people[4].edition.account, people[5].edition.account}
    assert {account for account, _ in book.contacts.items()} == kept


def test_contacts_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MAX_CONTACTS", 1)
    alice, bob = Person(), Person("bob")
    book = met(met(Book(), alice), bob).accept(alice.edition.account)
    assert book.accept(alice.edition.account, "again").strangers == 1
    with pytest.raises(Misuse):
        book.accept(bob.edition.account)


# ---------------------------------------------------------------- ourselves


def test_our_own_editions_are_followed_by_the_rules() -> None:
    alice = Person()
    assert Book().own is None
    book = Book().adopt(alice.edition, alice.provider)
    assert book.own == alice.edition.account
    old = alice.edition
    alice.add()
    book = book.adopt(alice.edition, alice.provider)
    refused("older-list", lambda: book.adopt(old, alice.provider))
    refused("another-account", lambda: book.adopt(Person("bob").edition, alice.provider))
    alice.edition = old
    alice.add("tablet")
    with pytest.raises(Equivocation):
        book.adopt(alice.edition, alice.provider)


def test_heads_of_our_own_account_are_compared_and_not_kept() -> None:
    alice = Person()
    book = Book().adopt(alice.edition, alice.provider)
    old = alice.head
    alice.refresh()
    learned = book.learn(seen(alice))
    assert learned.newer
    assert learned.book is book
    book = book.adopt(alice.edition, alice.provider)
    assert book.superseded(old)
    assert not book.learn(CheckedHead(old)).newer


def test_a_book_is_read_back() -> None:
    alice, bob = Person(), Person("bob")
    card = gave_card(bob)
    book = met(Book().adopt(alice.edition, alice.provider), Person("carol")).take_card(card, bob.provider, NOW)
    found = decode(Book, encode(book))
    assert found == book
    assert encode(found) == encode(book)
    assert isinstance(found.known(bob.edition.account), Contact)


def test_nothing_but_refusals_comes_of_others() -> None:
    with pytest.raises(Refused):
        Book().adopt(Edition(devices=Person("bob").edition.devices, head=Person().head), Person().provider)
