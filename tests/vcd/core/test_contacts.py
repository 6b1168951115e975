"""People we know, and what is learned of them from what their leaves show."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from mls.commit import NewLeaf
from tests.vcd.core import homes
from tests.vcd.core.company import act, bring, gather, package, step
from tests.vcd.core.people import befriend, card
from tests.vcd.core.village import Village
from vcd.core import acting, contacts, events, inputs, siblings, steps
from vcd.core.accounts import book as book_room, editions
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.book import Book, Relation
from vcd.core.accounts.card import from_bytes
from vcd.core.accounts.credential import virtual_credential
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.head import CheckedHead
from vcd.core.accounts.judge import ConversationJudge
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.policy import Mode
from vcd.core.turn import Turn

TEA, MILK = GroupId(b"tea"), GroupId(b"milk")


def newer(v: Village, name: str) -> Edition:
    """A list that follows the one that an account has: each time another one, of the same version."""
    state = v.state(name)
    assert state.book.edition is not None
    assert state.household.delegate is not None
    return editions.refresh(v.devices[name].provider, state.book.edition, state.household.delegate).edition


def show(v: Village, name: str, edition: Edition, group_id: GroupId = TEA) -> None:
    """A commit that shows a list of devices. The device goes back to its own afterwards."""

    def do(turn: Turn) -> None:
        own = turn.state.book.edition
        turn.change(book=replace(turn.state.book, edition=edition))
        acting.commit(turn, turn.strand(group_id), force_path=True)
        turn.change(book=replace(turn.state.book, edition=own))

    act(v, name, do)


def known_version(v: Village, name: str, other: str) -> int:
    found = v.state(name).book.find(v.own(other))
    assert found is not None
    return found.head.version


def warned(v: Village, name: str) -> list[tuple[str, object]]:
    return [(each.code, each.account) for each in v.told(name, events.Warned)]


def test_whoever_is_in_a_conversation_is_met_there() -> None:
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna", "ben", "cleo")
    for name in ("anna", "ben", "cleo"):
        others = {v.own(each) for each in ("anna", "ben", "cleo")} - {v.own(name)}
        assert {*v.state(name).book.contacts} == others
        assert {v.state(name).book.relation(each) for each in others} == {Relation.STRANGER}


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.LEAD])
def test_a_newer_list_that_a_contact_shows_is_known_and_told(mode: Mode) -> None:
    v = Village()
    gather(v, TEA, mode, "anna", "ben", "cleo")
    befriend(v, "anna", "ben")
    before = known_version(v, "anna", "ben")
    show(v, "ben", newer(v, "ben"))
    for name in ("anna", "cleo"):
        assert known_version(v, name, "ben") == before + 1
    assert v.told("anna", events.ContactChanged) == [
        events.ContactChanged(account=v.own("ben"), version=before + 1, shut_out=False)
    ]
    assert not v.told("cleo", events.ContactChanged)  # to whom ben is a stranger
    assert not warned(v, "anna")


def test_it_is_told_when_a_contact_has_shut_out_a_device() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    befriend(v, "anna", laptop)
    bring(v, laptop, homes.TEA, "anna")
    homes.remove(v, laptop, phone)
    v.wait(minutes=5)
    told = v.told("anna", events.ContactChanged)
    assert [(each.account, each.shut_out) for each in told] == [(v.own(laptop), True)]


def test_nobody_is_invited_by_a_list_that_was_seen_to_be_superseded() -> None:
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna", "ben")
    old = head_of(package(v, "ben").leaf_node.credential)
    assert old is not None
    assert not v.state("anna").book.superseded(old)
    show(v, "ben", newer(v, "ben"))
    assert v.state("anna").book.superseded(old)


def test_lists_are_learned_from_branches_that_lose_too() -> None:
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna", "ben", "cleo")
    before = known_version(v, "anna", "ben")
    v.part(["anna", "cleo"], ["ben"])
    for _ in range(2):
        show(v, "ben", newer(v, "ben"))
    act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    v.heal()
    assert known_version(v, "cleo", "ben") == before + 1


def test_an_account_that_shows_two_lists_of_one_version_in_two_places_is_found_out_once() -> None:
    v = Village()
    for group_id in (TEA, MILK):
        gather(v, group_id, Mode.DEMLS, "anna", "ben")
    one, other = newer(v, "ben"), newer(v, "ben")
    show(v, "ben", one, TEA)
    assert not warned(v, "anna")
    show(v, "ben", other, MILK)
    assert warned(v, "anna") == [("second-list", v.own("ben"))]
    found = v.state("anna").book.find(v.own("ben"))
    assert found is not None
    assert found.evidence is not None
    assert found.head.digest == one.head.digest
    act(v, "ben", lambda turn: acting.commit(turn, turn.strand(MILK), force_path=True))
    assert len(warned(v, "anna")) == 1


def test_a_second_list_is_refused_where_the_first_one_was_seen_and_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna", "ben")
    show(v, "ben", newer(v, "ben"))
    at = v.state("anna").strands[TEA].head
    second = newer(v, "ben")

    def lie(turn: Turn) -> None:
        turn.change(book=replace(turn.state.book, edition=second))
        strand = turn.strand(TEA)
        assert strand.here is not None
        signing, key = turn.state.household.signing, strand.here.group.own_leaf_node.signature_key
        assert signing is not None
        leaf = NewLeaf(credential=virtual_credential(turn.provider, second.head, signing, key))
        acting.commit(turn, strand, force_path=True, leaf=leaf)

    with monkeypatch.context() as patch:  # a program that does not keep to the rules
        patch.setattr(ConversationJudge, "succeeds", lambda *_: True)
        patch.setattr(steps, "admit", lambda *_: ())
        step(v, "ben", lie)
    v.deliver()
    assert v.state("anna").strands[TEA].head == at
    assert warned(v, "anna") == [("second-list", v.own("ben"))]


def test_large_groups_do_not_fill_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "_MET_AT_ONCE", 1)
    v = Village()
    gather(v, TEA, Mode.DEMLS, "anna", "ben", "cleo", "dora")
    assert len(v.state("dora").book.contacts) == 1
    assert len(v.state("anna").book.contacts) == 3


def test_a_card_is_added_once_and_people_are_blocked_and_unblocked() -> None:
    v = Village()
    for name in ("anna", "ben"):
        v.account(name)
    v.do("anna", inputs.AddContact(card=card(v, "ben"), petname="Ben"))
    assert v.state("anna").book.relation(v.own("ben")) is Relation.CONTACT
    v.do("anna", inputs.Block(account=v.own("ben"), blocked=True))
    assert v.state("anna").book.relation(v.own("ben")) is Relation.BLOCKED
    v.do("anna", inputs.Block(account=v.own("ben"), blocked=False))
    assert v.state("anna").book.relation(v.own("ben")) is Relation.CONTACT


def verified(v: Village, name: str, other: str) -> bool:
    found = v.state(name).book.find(v.own(other))
    assert found is not None
    return found.verified


def test_whose_fingerprint_was_compared_is_verified_on_all_devices() -> None:
    v = Village()
    for name in ("anna", "ben"):
        v.account(name)
    homes.link(v, "anna", "phone")
    with pytest.raises(Misuse, match="met"):
        v.do("phone", inputs.Verify(account=v.own("ben"), fingerprint=""))
    befriend(v, "anna", "ben")
    found = v.state("anna").book.find(v.own("ben"))
    assert found is not None
    with pytest.raises(Misuse, match="fingerprint"):
        v.do("phone", inputs.Verify(account=v.own("ben"), fingerprint=found.fingerprint[:-1] + "x"))
    assert not verified(v, "phone", "ben")
    v.do("phone", inputs.Verify(account=v.own("ben"), fingerprint=f" {found.fingerprint}\n"))
    assert verified(v, "phone", "ben")
    assert verified(v, "anna", "ben")
    homes.link(v, "anna", "tablet")
    assert verified(v, "tablet", "ben")


# ---------------------------------------------------------------- removed


def test_who_is_removed_is_a_stranger_on_all_devices_and_chats_go_on() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    befriend(v, "anna", laptop)
    bring(v, laptop, homes.TEA, "anna")
    v.wait(minutes=2)
    anna = v.own("anna")
    assert v.state(phone).book.relation(anna) is Relation.CONTACT
    v.do(phone, inputs.RemoveContact(account=anna))
    for name in (laptop, phone):
        known = v.state(name).book.find(anna)  # a member of a conversation of ours: its newest head stays known
        assert known is not None
        assert (known.relation, known.card, known.petname, known.verified) == (Relation.STRANGER, None, "", False)
        assert v.state(name).book.strangers == 1
    homes.say(v, laptop, b"still here")
    v.wait(minutes=1)
    assert b"still here" in [each.data for each in v.told("anna", events.Message)]
    befriend(v, phone, "anna")
    assert v.state(laptop).book.relation(anna) is Relation.CONTACT
    homes.link(v, laptop, "tablet")
    assert v.state("tablet").book.relation(anna) is Relation.CONTACT
    v.do("tablet", inputs.RemoveContact(account=anna))
    assert {v.state(each).book.relation(anna) for each in (laptop, phone, "tablet")} == {Relation.STRANGER}


def test_who_shares_nothing_with_us_is_forgotten() -> None:
    v = Village()
    for name in ("anna", "ben"):
        v.account(name)
    befriend(v, "anna", "ben")
    v.do("anna", inputs.Block(account=v.own("ben"), blocked=True))
    v.do("anna", inputs.RemoveContact(account=v.own("ben")))
    assert v.state("anna").book.find(v.own("ben")) is None
    assert v.state("anna").book.strangers == 0
    with pytest.raises(Misuse) as refused:
        v.do("anna", inputs.RemoveContact(account=v.own("ben")))
    assert refused.value.code == "no-such-contact"


def test_the_later_word_about_a_contact_counts_in_whatever_order_it_is_heard() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    anna, told = v.own("anna"), siblings.Told(device=homes.device(v, laptop), epoch=EpochId(b""), newest=b"")
    added = siblings.ContactAdded(card=card(v, "anna"), petname="Anna", at=v.now)
    removed = siblings.ContactRemoved(account=anna, at=v.now + 1)
    again = siblings.ContactAdded(card=card(v, "anna"), petname="Anna", at=v.now + 2)
    words = {contacts.on_added: (added, again), contacts.on_removed: (removed,)}
    for order in permutations([(each, word) for each, several in words.items() for word in several]):
        state = v.state(phone)
        turn = Turn(state, v.now, v.devices[phone].provider)
        for handle, word in (*order, *order):
            handle(turn, told, word)  # type: ignore[operator]
        assert turn.state.book.relation(anna) is Relation.CONTACT
    for order in permutations(((contacts.on_added, added), (contacts.on_removed, removed))):
        turn = Turn(v.state(phone), v.now, v.devices[phone].provider)
        for handle, word in (*order, *order):
            handle(turn, told, word)  # type: ignore[operator]
        assert turn.state.book.find(anna) is None


def test_who_was_added_on_one_device_is_a_contact_also_where_a_newer_list_was_seen_first() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    bring(v, laptop, homes.TEA, "anna")
    v.wait(minutes=2)
    given, anna = card(v, "anna"), v.own("anna")
    v.part([laptop, "anna"], [phone])
    v.do(laptop, inputs.AddContact(card=given, petname="Ann"))
    v.do(laptop, inputs.AddContact(card=given, petname="Anna"))
    turn = Turn(v.state(phone), v.now, v.devices[phone].provider)
    contacts.learn(turn, CheckedHead(newer(v, "anna").head))
    v.devices[phone].state = turn.state
    v.part()
    v.wait(hours=1)
    for name in (laptop, phone):
        known = v.state(name).book.find(anna)
        assert known is not None
        assert (known.accepted, known.petname, known.card) == (True, "Anna", from_bytes(given))


def test_a_card_under_a_list_that_is_over_does_not_take_the_place_of_a_newer_one_that_another_device_has() -> None:
    """Anna's tablet is shut out, and gives somebody who does not know that yet a card with an inbox of its own."""
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    homes.link(v, "anna", "tablet")
    befriend(v, "anna", laptop)
    v.wait(minutes=2)
    v.part([laptop], [phone], ["anna"], ["tablet"])
    homes.remove(v, "anna", "tablet")
    v.wait(minutes=2)
    good, old = card(v, "anna"), card(v, "tablet")
    v.do(phone, inputs.AddContact(card=good))
    v.wait(minutes=1)
    v.do(laptop, inputs.AddContact(card=old, petname="Anna"))
    v.heal()
    v.wait(hours=1)
    for name in (laptop, phone):
        known = v.state(name).book.find(v.own("anna"))
        assert known is not None
        assert (known.accepted, known.petname, known.card) == (True, "Anna", from_bytes(good))


def test_an_old_disk_hears_what_it_told_the_others_itself() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    old = v.state(laptop)
    befriend(v, laptop, "anna")
    v.wait(minutes=1)
    homes.restore(v, laptop, old)
    for name in (laptop, phone):
        assert v.state(name).book.relation(v.own("anna")) is Relation.CONTACT


def test_of_two_words_about_a_contact_the_later_one_gives_the_name() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    told = siblings.Told(device=homes.device(v, laptop), epoch=EpochId(b""), newest=b"")
    for order in permutations((("Ann", v.now), ("Anna", v.now + 1))):
        turn = Turn(v.state(phone), v.now, v.devices[phone].provider)
        for petname, at in order:
            contacts.on_added(turn, told, siblings.ContactAdded(card=card(v, "anna"), petname=petname, at=at))
        assert turn.state.book.known(v.own("anna")).petname == "Anna"


def test_who_is_added_again_by_a_device_whose_clock_is_behind_is_a_contact() -> None:
    v = Village()
    laptop, phone = homes.couple(v)
    v.account("anna")
    befriend(v, "anna", laptop)
    v.do(phone, inputs.RemoveContact(account=v.own("anna")))
    book = v.state(laptop).book
    assert book.later(v.own("anna"), 0) > (book.removed.find(v.own("anna")) or 0) > 0


def test_what_is_remembered_of_removed_contacts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_room, "MAX_REMOVED", 2)
    book = Book()
    for number in range(4):
        book = book.noted(AccountId(bytes([number]) * 32), number + 1)
    assert sorted(book.removed.values()) == [3, 4]
