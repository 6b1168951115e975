"""Codes as people type, say and scan them."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given, strategies as st

from tests.vcd.pairing.pairs import LAPTOP
from vcd.pairing.code import MAX_CODE, MOST_PLATE, Uri, Words, WrongCode, new_uri, new_words, read
from vcd.pairing.words import WORDS

ADDRESSES = ("/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/4001", "/dns4/a.example/tcp/1/p2p/12D3K/p2p-circuit")


def test_words_are_told_from_each_other() -> None:
    assert len(WORDS) == len({each[:4] for each in WORDS}) == 512
    assert all(each.isascii() and each.isalpha() and each.islower() and 3 <= len(each) <= 8 for each in WORDS)


def test_one_wrong_letter_makes_no_other_word() -> None:
    known = set(WORDS)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for word in WORDS:
        for at in range(len(word)):
            others = {word[:at] + letter + word[at + 1 :] for letter in letters} - {word}
            assert not others & known


@given(st.binary(min_size=12, max_size=12))
def test_words_come_back_however_they_are_typed(drawn: bytes) -> None:
    at = iter((drawn[:8], drawn[8:]))
    code = new_words(lambda _: next(at))
    assert 1 <= code.plate <= MOST_PLATE
    plate, first, second = str(code).split("-")
    for typed in (str(code), f" {plate} {first.upper()}  {second} ", f"{plate}.{first[:4]}-{second[:4]}"):
        assert read(typed) == code


def test_a_uri_comes_back() -> None:
    made = new_uri(os.urandom, LAPTOP, ADDRESSES)
    assert read(str(made)) == made
    assert str(made).startswith("vcd1:pair:")
    assert made.addresses == ADDRESSES


def test_both_are_named_without_saying_what_is_secret() -> None:
    words, uri = new_words(os.urandom), new_uri(os.urandom, LAPTOP, ())
    assert words.words.raw not in words.name
    assert uri.token.raw not in uri.name
    assert words.password != uri.password


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "a number and two words"),
        ("otter-marble", "a number and two words"),
        ("7-otter", "a number and two words"),
        ("7-otter-marble-moon", "a number and two words"),
        ("x-otter-marble", "begins with a number"),
        ("0-otter-marble", "begins with a number"),
        ("1000-otter-marble", "begins with a number"),
        ("\u0667-otter-marble", "begins with a number"),
        ("7-otter-marbel", "Word 2"),
        ("7-oter-marble", "Word 1"),
        ("x" * (MAX_CODE + 1), "too long"),
        ("vcd2:pair:whatever", "newer version"),
        ("vcd1:AAECAwQFBgcICQ", "link to a person"),
        ("https://example.com", "no pairing code"),
        ("vcd1:pair:", "not whole"),
        (f"vcd1:pair:{LAPTOP}:AAAA:", "not whole"),
        (f"vcd1:pair:{LAPTOP}:AAAAAAAAAAAAAAAAAAAAAB:", "not whole"),
        (f"vcd1:pair:{LAPTOP}:AAAAAAAAAAAAAAAAAAAAAA:{'a,' * 9}", "more places"),
        (f"vcd1:pair:{LAPTOP}:AAAAAAAAAAAAAAAAAAAAAA:%0a", "more places"),
        (f"vcd1:pair:0OIl{LAPTOP}:AAAAAAAAAAAAAAAAAAAAAA:", "not whole"),
    ],
)
def test_what_is_wrong_is_told(typed: str, says: str) -> None:
    with pytest.raises(WrongCode, match=says):
        read(typed)


@given(st.text(max_size=200))
def test_whatever_is_typed_is_a_code_or_none(typed: str) -> None:
    with contextlib.suppress(WrongCode):
        assert isinstance(read(typed), Words | Uri)
