"""What one person gives another to be reached by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import card as cards
from vcd.core.accounts.card import Card, InboxSecret, check_card, from_bytes, from_text, make_card, to_bytes, to_text
from vcd.core.errors import Malformed, Misuse, NodeError

NOW = 1_000_000
INBOX = InboxSecret(bytes(range(32)))


def card_of(person: Person, *, name: str = "Alice", expires: int = NOW + 1) -> Card:
    return make_card(
        person.provider,
        person.head,
        person.signing,
        name=name,
        inbox=INBOX,
        dispensers=(b"mailbox one", b"mailbox two"),
        expires=expires,
    )


@pytest.mark.parametrize("cipher_suite", [1, 2])
def test_a_card_goes_there_as_text_and_as_bytes(cipher_suite: int) -> None:
    alice = Person(cipher_suite=cipher_suite)
    card = card_of(alice)
    text = to_text(card)
    assert text.startswith("vcd1:")
    for found in (from_text(text), from_bytes(to_bytes(card))):
        assert found == card
        assert check_card(found, alice.provider, NOW) == alice.head
    assert card.account == alice.edition.account


def test_text_is_read_as_people_paste_it() -> None:
    text = to_text(card_of(Person()))
    wrapped = "\n ".join(text[at : at + 40] for at in range(0, len(text), 40))
    assert from_text(f"  {wrapped}\n") == from_text(text) == from_text("VCD1:" + text[5:])


def test_a_card_need_have_no_name_and_no_dispenser() -> None:
    alice = Person()
    card = make_card(alice.provider, alice.head, alice.signing, name="", inbox=INBOX, expires=NOW + 1)
    check_card(from_text(to_text(card)), alice.provider, NOW)


def test_a_card_expires() -> None:
    alice = Person()
    check_card(card_of(alice, expires=NOW + 1), alice.provider, NOW)
    refused("card-expired", lambda: check_card(card_of(alice, expires=NOW), alice.provider, NOW))


@pytest.mark.parametrize(
    "change", [{"name": "Bob"}, {"inbox": InboxSecret(bytes(32))}, {"dispensers": (b"mine",)}, {"expires": NOW + 2}]
)
def test_nothing_on_a_card_can_be_changed(change: dict[str, object]) -> None:
    alice = Person()
    changed = replace(card_of(alice), **change)  # type: ignore[arg-type]
    refused("card-signature", lambda: check_card(changed, alice.provider, NOW))


def test_a_card_with_another_head_is_refused() -> None:
    alice, mallory = Person(), Person("mallory")
    swapped = replace(card_of(mallory), head=alice.head)
    refused("card-signature", lambda: check_card(swapped, alice.provider, NOW))
    forged = replace(card_of(alice), head=replace(alice.head, signing_key=mallory.head.signing_key))
    refused("head-signature", lambda: check_card(forged, alice.provider, NOW))


def test_only_the_account_key_of_now_makes_cards() -> None:
    alice = Person()
    old = alice.signing
    alice.revoke(alice.add())
    alice.signing = old
    with pytest.raises(Misuse):
        card_of(alice)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "two\nlines"},
        {"name": "x" * 65},
        {"inbox": InboxSecret(b"short")},
        {"dispensers": tuple(b"%d" % at for at in range(9))},
        {"dispensers": (b"same", b"same")},
        {"dispensers": (b"",)},
        {"dispensers": (bytes(513),)},
        {"signature": bytes(5000)},
    ],
)
def test_cards_out_of_bounds_cannot_be_made_nor_read(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(card_of(Person()), **change)  # type: ignore[arg-type]


def test_a_local_program_is_told_what_is_wrong() -> None:
    with pytest.raises(Misuse) as caught:
        card_of(Person(), name="x\0y")
    assert caught.value.code == "bad-card"


def test_the_inbox_is_not_shown() -> None:
    assert repr(INBOX.raw)[2:-1] not in repr(card_of(Person()))


@pytest.mark.parametrize(
    "text",
    ["", "vcd1", "vcd1:", "vcd2:AAAA", "vcd1:AAAA", "vcd1:A", "vcd1:AA=A", "vcd1:ä", "vcd1:AB", "x" * 200_000],
)
def test_text_that_is_no_card(text: str) -> None:
    with pytest.raises(Malformed):
        from_text(text)


def test_another_scheme_is_none_of_ours() -> None:
    text = to_text(card_of(Person()))
    for other in ("vcd2:" + text[5:], text[5:], text + " " * 10 + "A" * 80_000):
        with pytest.raises(Malformed, match="no contact card"):
            from_text(other)


def test_there_is_one_text_of_a_card() -> None:
    text = to_text(card_of(Person()))
    for other in (text + "=", text + "==", text.replace("-", "+").replace("_", "/") + "+", text + "A"):
        with pytest.raises(Malformed):
            from_text(other)


def test_no_cut_or_changed_card_is_accepted() -> None:
    alice = Person()
    data = to_bytes(card_of(alice))
    for at in range(0, len(data), 17):
        with pytest.raises(Malformed):
            from_bytes(data[:at])
        with pytest.raises(NodeError):
            check_card(from_bytes(data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]), alice.provider, NOW)


def test_a_card_has_a_size() -> None:
    with pytest.raises(Malformed, match="too long"):
        from_bytes(bytes(cards.MAX_CARD + 1))
