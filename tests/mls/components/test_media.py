"""mls-extensions §6.2: media types, when two are the same, and the frame around application data."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, strategies as st

from mls.codec import opaque, vector
from mls.components.media import (
    GROUPS_FIRST,
    ApplicationFraming,
    MediaType,
    MediaTypeList,
    Parameter,
    frame,
    media_types_of,
    supports,
    unframe,
)
from mls.errors import CallerError
from tests.mls.refusals import refused
from tests.validation import breaks

TEXT = MediaType(b"text/plain", (Parameter(b"charset", b"UTF-8"),))
PNG = MediaType(b"image/png")
MSGBUS = MediaType(b"application/vnd.example.msgbus+cbor")

BAD_TYPES = [
    b"text",
    b"text/",
    b"/plain",
    b"text/plain/more",
    b"text /plain",
    b"text/plain ",
    b"text/pl\xc3\xa4in",
    b"*/*",
    b".text/plain",
    b"text/plain;charset=UTF-8",
    b"text/plain\n",
    b"a" * 128 + b"/b",
    b"a/" + b"b" * 128,
]


def raw(kind: bytes, *parameters: tuple[bytes, bytes]) -> bytes:
    return opaque(kind) + vector([opaque(name) + opaque(value) for name, value in parameters])


def test_the_bytes() -> None:
    assert TEXT.encode().hex() == "".join(
        ["0a", b"text/plain".hex(), "0e", "07", b"charset".hex(), "05", b"UTF-8".hex()]
    )
    assert MediaTypeList((PNG,)).encode().hex() == "0b" + "09" + b"image/png".hex() + "00"
    assert frame(GROUPS_FIRST, b"hello").hex() == "0000" + "05" + b"hello".hex()
    assert media_types_of(MediaTypeList((TEXT, PNG, MSGBUS)).encode()).media_type_list == (TEXT, PNG, MSGBUS)


@breaks("EXT-6.2-1")
def test_an_empty_list() -> None:
    refused("EXT-6.2-1", lambda: media_types_of(b"\x00"))
    assert media_types_of(vector([PNG.encode()])) == MediaTypeList((PNG,))


@breaks("EXT-6.2-3")
def test_an_unnamed_type_in_a_list() -> None:
    for listed in ([b""], [b"image/png", b""]):
        refused("EXT-6.2-3", partial(media_types_of, vector([raw(kind) for kind in listed])))


@breaks("EXT-6.2-2")
@pytest.mark.parametrize("kind", BAD_TYPES)
def test_a_type_of_another_form(kind: bytes) -> None:
    refused("EXT-6.2-2", lambda: media_types_of(vector([PNG.encode(), raw(kind)])))
    refused("EXT-6.2-2", lambda: unframe(raw(kind) + opaque(b"content"), MediaTypeList((PNG,))))


@breaks("VAL-2.1-5")
def test_nothing_follows_the_content() -> None:
    refused("VAL-2.1-5", lambda: unframe(frame(PNG, b"content") + b"\x00", MediaTypeList((PNG,))))


@pytest.mark.parametrize("kind", BAD_TYPES)
def test_nobody_names_a_type_of_another_form(kind: bytes) -> None:
    with pytest.raises(CallerError):
        MediaType(kind)


def test_nobody_lists_nothing() -> None:
    for listed in ((), (GROUPS_FIRST,), (PNG, GROUPS_FIRST)):
        with pytest.raises(CallerError):
            MediaTypeList(listed)


def test_a_message_says_its_type_or_means_the_first() -> None:
    group = MediaTypeList((TEXT, PNG))
    assert unframe(frame(PNG, b"content"), group) == (PNG, b"content")
    assert unframe(frame(GROUPS_FIRST, b"content"), group) == (TEXT, b"content")
    assert unframe(frame(MSGBUS, b""), group) == (MSGBUS, b"")
    nameless = raw(b"", (b"charset", b"latin1")) + opaque(b"content")
    assert unframe(nameless, group) == (TEXT, b"content")


def test_framing_shows_no_content() -> None:
    assert "secret" not in repr(ApplicationFraming(PNG, b"secret"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PNG, MediaType(b"Image/PNG"), True),
        (PNG, MediaType(b"image/gif"), False),
        (TEXT, MediaType(b"text/plain"), False),
        (TEXT, MediaType(b"text/plain", (Parameter(b"CharSet", b"UTF-8"),)), True),
        (TEXT, MediaType(b"text/plain", (Parameter(b"charset", b"utf-8"),)), False),
        (TEXT, MediaType(b"text/plain", (Parameter(b"charset", b"UTF-8"), Parameter(b"charset", b"UTF-8"))), False),
    ],
)
def test_when_two_are_the_same(one: MediaType, other: MediaType, same: bool) -> None:
    assert (one.key == other.key) is same
    assert supports([one], [other]) is same
    assert supports([other], [one]) is same


@given(st.permutations([Parameter(b"a", b"1"), Parameter(b"b", b"2"), Parameter(b"a", b"0")]))
def test_parameters_have_no_order(parameters: list[Parameter]) -> None:
    one = MediaType(b"a/b", tuple(parameters))
    other = MediaType(b"a/b", (Parameter(b"a", b"0"), Parameter(b"a", b"1"), Parameter(b"b", b"2")))
    assert supports([one], [other])


def test_all_that_is_required_must_be_offered() -> None:
    assert supports([TEXT, PNG], [PNG])
    assert supports([TEXT, PNG], [PNG, TEXT])
    assert supports([], [])
    assert not supports([TEXT, PNG], [PNG, MSGBUS])
    assert not supports([], [PNG])
