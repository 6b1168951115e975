"""Dataclasses as bytes: one encoding for each value, and nothing else is read."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import given, strategies as st

from mls.persistent import PMap
from mls.secrets import PathSecret
from vcd.core.errors import Malformed
from vcd.core.names import EpochId
from vcd.core.record import MAX_NUMBER, decode, decode_as, encode, encode_as, number, since


class Color(enum.Enum):
    RED = 1
    BLUE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    RECORD_TAG: ClassVar[int] = 9

    name: str

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ValueError("a name that cannot be")


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    RECORD_TAG: ClassVar[int] = 4


Either = Small | Empty | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    count: int
    yes: bool
    epoch: EpochId
    words: tuple[str, ...] = ()
    pair: tuple[int, bytes] = (0, b"")
    color: Color = Color.RED
    either: Either = None
    several: tuple[Either, ...] = ()
    table: PMap[bytes, Small] = field(default_factory=PMap)
    names: frozenset[bytes] = frozenset()
    secret: PathSecret = field(default_factory=lambda: PathSecret(b""))


numbers = st.integers(0, MAX_NUMBER)
smalls = st.builds(Small, name=st.text(max_size=8).filter(lambda text: text != "forbidden"))
eithers = st.one_of(smalls, st.just(Empty()), st.none())
larges = st.builds(
    Large,
    count=numbers,
    yes=st.booleans(),
    epoch=st.binary(max_size=40).map(EpochId),
    words=st.lists(st.text(max_size=5), max_size=4).map(tuple),
    pair=st.tuples(numbers, st.binary(max_size=5)),
    color=st.sampled_from(Color),
    either=eithers,
    several=st.lists(eithers, max_size=4).map(tuple),
    table=st.dictionaries(st.binary(max_size=3), smalls, max_size=4).map(PMap),
    names=st.frozensets(st.binary(max_size=3), max_size=4),
    secret=st.binary(max_size=4).map(PathSecret),
)


@given(larges)
def test_what_is_written_is_read_and_written_alike(value: Large) -> None:
    data = encode(value)
    again = decode(Large, data)
    assert again == value
    assert encode(again) == data


@given(st.binary(max_size=80))
def test_whatever_bytes_are_read_are_the_only_ones_of_their_value(data: bytes) -> None:
    try:
        value = decode(Large, data)
    except Malformed:
        return
    assert encode(value) == data


@given(larges, st.data())
def test_altered_bytes_are_refused_or_are_another_value(value: Large, draw: st.DataObject) -> None:
    data = bytearray(encode(value))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] ^= draw.draw(st.integers(1, 255))
    try:
        other = decode(Large, bytes(data))
    except Malformed:
        return
    assert other != value


@given(larges)
def test_cut_and_extended_bytes_are_refused(value: Large) -> None:
    data = encode(value)
    with pytest.raises(Malformed):
        decode(Large, data + b"\0")
    with pytest.raises(Malformed):
        decode(Large, data[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """As it was in version 1."""

    name: str
    last: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    name: str
    inner: Small | None = since(2, None)
    last: bytes = b""
    words: tuple[str, ...] = since(3, factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """It had no field before version 2."""

    count: int = since(2, 5)


def test_a_field_that_came_later_is_not_in_what_was_written_before() -> None:
    before = encode(First(name="a", last=b"b"))
    assert decode_as(Second, before, 1) == Second(name="a", last=b"b")
    table = encode_as(PMap[bytes, tuple[First, ...]], PMap({b"k": (First(name="a"), First(name="b"))}))
    found = decode_as(PMap[bytes, tuple[Second, ...]], table, 1)
    assert found[b"k"] == (Second(name="a"), Second(name="b"))
    value = Second(name="a", inner=Small(name="s"), last=b"b", words=("w",))
    assert decode_as(Second, encode(value), 3) == decode(Second, encode(value)) == value


def test_each_version_has_what_had_come_by_then() -> None:
    value = Second(name="a", inner=Small(name="s"), last=b"b", words=())
    assert encode(value)[-1:] == b"\0"  # no words, which version 2 did not say
    assert decode_as(Second, encode(value)[:-1], 2) == value
    for data, version in ((encode(value), 1), (encode(value), 2), (encode(value)[:-1], 3)):
        with pytest.raises(Malformed):
            decode_as(Second, data, version)
    with pytest.raises(Malformed):
        decode(Second, encode(First(name="a")))


def test_a_class_that_was_empty_took_a_byte() -> None:
    both = encode_as(tuple[Empty, ...], (Empty(), Empty()))
    assert decode_as(tuple[Filled, ...], both, 1) == (Filled(), Filled())
    assert decode_as(tuple[Filled, ...], encode_as(tuple[Filled, ...], (Filled(count=9),)), 2) == (Filled(count=9),)


def test_a_class_is_known_by_its_number_in_a_union() -> None:
    assert encode_as(Either, Small(name="a"))[0] == 9
    assert encode_as(Either, Empty())[0] == 4
    assert encode_as(Either, None) == b"\0"
    with pytest.raises(Malformed):
        decode_as(Either, b"\x05")


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff" * 10, b"\xff" * 9 + b"\x02", b""])
def test_a_number_has_one_form_and_64_bits(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_as(int, data)


def test_a_number_out_of_range_is_not_written() -> None:
    for value in (-1, MAX_NUMBER + 1):
        with pytest.raises(ValueError, match="numbers"):
            number(value)


def test_a_table_has_one_order() -> None:
    data = encode_as(PMap[bytes, int], PMap({b"a": 1, b"b": 2}))
    assert decode_as(PMap[bytes, int], data)[b"b"] == 2
    for wrong in (b"\x02\x01b\x02\x01a\x01", b"\x02\x01a\x01\x01a\x02"):
        with pytest.raises(Malformed):
            decode_as(PMap[bytes, int], wrong)


def test_a_claimed_length_costs_nothing() -> None:
    with pytest.raises(Malformed):
        decode_as(tuple[bytes, ...], number(1 << 40) + b"\0" * 20)


def test_what_a_class_demands_of_its_fields_is_demanded_of_bytes() -> None:
    with pytest.raises(Malformed):
        decode(Small, b"\x09forbidden")


def test_what_has_no_encoding_is_said_at_once() -> None:
    with pytest.raises(TypeError):
        encode_as(float, 1.0)
    with pytest.raises(TypeError):
        encode_as(Either, Large(count=1, yes=True, epoch=EpochId(b"")))
