"""Packed tables against dicts; and their bytes, on the disk and on the wire, against those of a `PMap`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from mls.persistent import PMap
from vcd.core.errors import Malformed
from vcd.core.names import AccountId, ContentId
from vcd.core.packed import FULL, MOST
from vcd.core.record import decode, encode
from vcd.core.shapes import Parts, Rows
from vcd.core.spoken import Names, Remembered, Seen

KEYS = [bytes([n % 251]) * (1 + n % 40) + n.to_bytes(2) for n in range(400)]
"""Enough for some leaves to become branches; short ones lie in long ones, and in values."""
keys = st.sampled_from(KEYS)
values = st.sampled_from(KEYS[:20]).map(ContentId)
Version = tuple[Names, dict[bytes, ContentId]]


class AgainstDict(RuleBasedStateMachine):
    """Versions grow from versions in any order; each is remembered beside the dict it should equal."""

    versions: Bundle[Version] = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Version] = []

    def keep(self, table: Names, model: dict[bytes, ContentId]) -> Version:
        self.all.append((table, model))
        return table, model

    @initialize(target=versions, many=st.integers(0, len(KEYS)))
    def make(self, many: int) -> Version:
        model = {key: ContentId(key[::-1]) for key in KEYS[:many]}
        return self.keep(Names(model), model)

    @rule(target=versions, version=versions, key=keys, value=values)
    def put(self, version: Version, key: bytes, value: ContentId) -> Version:
        table, model = version
        return self.keep(table.set(key, value), {**model, key: value})

    @rule(target=versions, version=versions, key=keys)
    def discard(self, version: Version, key: bytes) -> Version:
        table, model = version
        if key not in model:
            assert table.discard(key) is table
            assert table.find(key) is None
            with pytest.raises(KeyError):
                table[key]
        return self.keep(table.discard(key), {each: name for each, name in model.items() if each != key})

    @rule(target=versions, version=versions, gone=st.sets(keys, max_size=200), new=st.dictionaries(keys, values))
    def change(self, version: Version, gone: set[bytes], new: dict[bytes, ContentId]) -> Version:
        table, model = version
        leaving = [key for key in model if key in gone]
        after = {key: name for key, name in model.items() if key not in gone} | new
        return self.keep(table.changed(leaving, new), after)

    @rule(one=versions, two=versions)
    def changes(self, one: Version, two: Version) -> None:
        (old, before), (new, after) = one, two
        changed, gone = new.changes(old)
        assert changed == {key: name for key, name in after.items() if before.get(key) != name}
        assert sorted(gone) == sorted(before.keys() - after.keys())
        assert (new == old) is (before == after)

    def teardown(self) -> None:
        for table, model in self.all:  # whatever was made of it, no version has changed
            assert len(table) == table.size == len(model)
            assert dict(table.items()) == model
            assert sorted(table) == sorted(table.keys()) == sorted(model)
            assert sorted(table.values()) == sorted(model.values())
            assert all(table[key] == name for key, name in model.items())
            assert [key for key in KEYS if key in table] == [key for key in KEYS if key in model]


TestAgainstDict = pytest.mark.slow(AgainstDict.TestCase)


def test_what_is_emptied_is_as_it_was() -> None:
    table = Names(dict.fromkeys(KEYS, ContentId(b"name")))
    assert type(table._root) is tuple
    for key in KEYS:
        table = table.discard(key)
    assert table == Names()
    assert table._root == b""


def test_only_a_part_is_copied() -> None:
    table = Names(dict.fromkeys([n.to_bytes(32) for n in range(5000)], ContentId(bytes(32))))
    after = table.set(b"one more", ContentId(bytes(32)))
    shared = [new for old, new in zip(table._root, after._root, strict=True) if old is new]
    assert len(shared) == 31


def test_no_key_is_found_inside_another() -> None:
    table = Names({b"abcdef": ContentId(b"ghijkl")})
    assert [key for key in (b"", b"abc", b"cdef", b"ghi", b"ghijkl", b"fghi") if key in table] == []
    assert "abcdef" not in table


@pytest.mark.parametrize("entry", [(bytes(MOST + 1), b"name"), (b"key", bytes(MOST + 1))])
def test_what_is_large_does_not_fit(entry: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError):
        Names({entry[0]: ContentId(entry[1])})
    assert Names({bytes(MOST): ContentId(bytes(MOST))})[bytes(MOST)] == bytes(MOST)


def test_it_shows_nothing_and_is_no_key() -> None:
    table = Names({b"key": ContentId(b"name")})
    assert repr(table) == "<Names of 1>"
    assert table != {b"key": b"name"}
    with pytest.raises(TypeError):
        hash(table)


times = st.integers(0, 2**64 - 1)
seen = st.builds(
    Seen, sender=st.binary(max_size=64).map(AccountId), said_at=times, until=times, nonce=st.binary(max_size=64)
)


@pytest.mark.slow
@given(st.dictionaries(st.binary(max_size=40).map(ContentId), seen, max_size=40))
def test_what_is_remembered_comes_back(model: dict[ContentId, Seen]) -> None:
    assert dict(Remembered(model).items()) == model


@dataclass(frozen=True, slots=True, kw_only=True)
class AsObjects:
    seen: PMap[ContentId, Seen] = field(default_factory=PMap)
    names: PMap[bytes, ContentId] = field(default_factory=PMap)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsBytes:
    seen: Remembered = field(default_factory=Remembered)
    names: Names = field(default_factory=Names)


def in_rows(value: Any) -> Rows:
    out: Rows = {}
    Parts("t", "t.", type(value)).write(value, b"", out)
    return out


@pytest.mark.slow
@given(
    st.dictionaries(st.binary(max_size=40).map(ContentId), seen, max_size=10),
    st.dictionaries(st.binary(max_size=40), st.binary(max_size=40).map(ContentId), max_size=10),
)
def test_bytes_are_those_of_a_pmap(remembered: dict[ContentId, Seen], names: dict[bytes, ContentId]) -> None:
    one = AsObjects(seen=PMap(remembered), names=PMap(names))
    other = AsBytes(seen=Remembered(remembered), names=Names(names))
    assert encode(one) == encode(other)
    assert decode(AsBytes, encode(one)) == other
    assert in_rows(one) == in_rows(other)


def test_what_was_read_is_known_for_as_long_as_its_message_is_remembered() -> None:
    def message(read: bytes) -> Seen:
        return Seen(sender=AccountId(bytes(32)), said_at=1, until=2, read=read)

    one, other = ContentId(b"one"), ContentId(b"other")
    table = Remembered({one: message(b"first")}).set(other, message(b"")).set(one, message(b"again"))
    assert table.was_read(b"again")
    assert not table.was_read(b"first")
    assert not table.was_read(b"")
    assert decode(AsBytes, encode(AsBytes(seen=table))).seen.was_read(b"again")
    assert not table.discard(one).was_read(b"again")
    assert not table.changed([one, other], {}).was_read(b"again")
    assert table.discard(ContentId(b"nobody")).was_read(b"again")


@pytest.mark.parametrize(
    "value",
    [
        AsObjects(names=PMap({bytes(300): ContentId(b"name")})),
        AsObjects(seen=PMap({ContentId(b"name"): Seen(sender=AccountId(bytes(300)), said_at=1, until=1)})),
        AsObjects(seen=PMap({ContentId(b"name"): Seen(sender=AccountId(b""), said_at=1, until=1, nonce=bytes(300))})),
        AsObjects(seen=PMap({ContentId(b"name"): Seen(sender=AccountId(b""), said_at=1, until=1, read=bytes(300))})),
    ],
)
def test_a_table_that_does_not_fit_is_malformed(value: AsObjects) -> None:
    with pytest.raises(Malformed):
        decode(AsBytes, encode(value))


def test_its_weight() -> None:
    """A hundred bytes for each of ten thousand messages, of which 83 are what is remembered."""

    def size(node: Any) -> int:
        return sys.getsizeof(node) + (sum(map(size, node)) if type(node) is tuple else 0)

    count = 10_000
    table = Remembered()
    for n in range(count):
        name = ContentId(n.to_bytes(32))
        table = table.set(name, Seen(sender=AccountId(bytes(32)), said_at=n << 20, until=n << 21))
    assert size(table._root) < count * 130
    assert max(len(leaf) for leaf in leaves(table._root)) <= FULL


def leaves(node: Any) -> list[bytes]:
    return [leaf for child in node for leaf in leaves(child)] if type(node) is tuple else [node]
