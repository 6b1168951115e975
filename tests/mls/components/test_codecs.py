"""mls-extensions §4 to §6: what components write survives its encoding, and there is one way to write it.

Every decoder here either refuses what it gets with a `PeerError` or has read all of it: what it read, written again, is
the same bytes. That holds for valid bytes, for valid bytes with a few changes, and for noise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, decode_exactly
from mls.components import aad
from mls.components.ack import AppAck, MessageRange
from mls.components.dictionary import Dictionary
from mls.components.lists import ComponentsList, WireFormats
from mls.components.media import ApplicationFraming, MediaType, MediaTypeList, Parameter
from mls.errors import PeerError
from mls.registries import Generation, LeafIndex
from tests.mls.refusals import refused
from tests.mls.strategies import Mutation, mutated, mutations
from tests.validation import breaks

ids = st.integers(0, 0xFFFF)
datas = st.binary(max_size=80)
u32s = st.integers(0, 2**32 - 1)
entries = st.dictionaries(ids, datas, max_size=8)
names = st.from_regex(rb"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,20}", fullmatch=True)
named_types = st.builds(
    MediaType,
    st.builds(lambda kind, subtype: kind + b"/" + subtype, names, names),
    st.lists(st.builds(Parameter, datas, datas), max_size=4).map(tuple),
)
ranges = st.builds(
    lambda sender, one, other: MessageRange(
        LeafIndex(sender), Generation(min(one, other)), Generation(max(one, other))
    ),
    u32s,
    u32s,
    u32s,
)


def encode(value: Any) -> bytes:
    return bytes(value.encode())


def encode_aad(items: tuple[tuple[int, bytes], ...]) -> bytes:
    return aad.encode_items(dict(items))


def decode_aad(reader: Reader) -> tuple[tuple[int, bytes], ...]:
    """SafeAAD is always a whole field."""
    return aad.decode_items(reader.take(reader.end - reader.pos))


Codec = tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[Reader], Any]]

CODECS: dict[str, Codec] = {
    "AppDataDictionary": (entries.map(Dictionary.of), encode, Dictionary.decode),
    "ComponentsList": (st.builds(ComponentsList, st.lists(ids).map(tuple)), encode, ComponentsList.decode),
    "WireFormats": (st.builds(WireFormats, st.lists(ids).map(tuple)), encode, WireFormats.decode),
    "SafeAAD": (entries.map(lambda items: tuple(sorted(items.items()))), encode_aad, decode_aad),
    "MediaType": (named_types | st.just(MediaType(b"")), encode, MediaType.decode),
    "MediaTypeList": (
        st.lists(named_types, min_size=1, max_size=4).map(tuple).map(MediaTypeList),
        encode,
        MediaTypeList.decode,
    ),
    "ApplicationFraming": (st.builds(ApplicationFraming, named_types, datas), encode, ApplicationFraming.decode),
    "AppAck": (st.lists(ranges, max_size=6).map(tuple).map(AppAck), encode, AppAck.decode),
}

every_codec = pytest.mark.parametrize("name", CODECS)


@pytest.mark.slow
@every_codec
@given(data=st.data())
def test_a_value_survives(name: str, data: st.DataObject) -> None:
    make, write, read = CODECS[name]
    value = data.draw(make)
    assert decode_exactly(write(value), read) == value


def read_or_refuse(name: str, data: bytes) -> None:
    _, write, read = CODECS[name]
    with suppress(PeerError):
        assert write(decode_exactly(data, read)) == data


@pytest.mark.slow
@every_codec
@given(data=st.data(), changes=st.lists(mutations, min_size=1, max_size=3))
def test_changed_bytes_are_read_whole_or_refused(name: str, data: st.DataObject, changes: list[Mutation]) -> None:
    make, write, _ = CODECS[name]
    read_or_refuse(name, mutated(write(data.draw(make)), changes))


@pytest.mark.slow
@every_codec
@given(noise=st.binary(max_size=40))
def test_noise_is_read_whole_or_refused(name: str, noise: bytes) -> None:
    read_or_refuse(name, noise)


@pytest.mark.slow
@every_codec
@breaks("VAL-2.1-1")
@given(data=st.data())
def test_no_value_is_read_from_a_part_of_it(name: str, data: st.DataObject) -> None:
    make, write, read = CODECS[name]
    whole = write(data.draw(make))
    cut = data.draw(st.integers(0, len(whole) - 1))
    refused("VAL-2.1-1", lambda: decode_exactly(whole[:cut], read))
