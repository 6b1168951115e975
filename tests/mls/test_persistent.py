"""The persistent map against a dict, and beyond one: old versions stay, and share their memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from mls.persistent import _LEAF, PMap

# Python's hash of an integer is its remainder by this, so integers can be made to meet wherever a test wants.
MODULUS = sys.hash_info.modulus  # 2^61 - 1

# More keys than a leaf holds of each sort: with one hash; with hashes that agree in 55 bits, in twenty or in five;
# and spread. Negative hashes too.
COUNT = _LEAF + 16
POOL = [
    *(7 + n * MODULUS for n in range(COUNT)),
    *(7 + (n << 55) for n in range(1, COUNT)),
    *(-5 - (n << 20) for n in range(COUNT)),
    *(31 + (n << 5) for n in range(COUNT)),
    *(100_000 + n for n in range(2 * COUNT)),
]
assert len(set(POOL)) == len(POOL)
keys = st.sampled_from(POOL)
values = st.integers(0, 5)
# A subset as numbers: drawing hundreds of keys one by one would take most of the time. Two numbers together have
# three quarters of the keys, enough of each sort to fill a leaf.
masks = st.integers(0, 2 ** len(POOL) - 1)
subsets = st.builds(int.__or__, masks, masks).map(lambda mask: [key for n, key in enumerate(POOL) if mask >> n & 1])


def nodes(map_: PMap[Any, Any]) -> Iterator[Any]:
    """Every node of the trie, each object once."""
    seen: set[int] = set()
    todo = [map_._root]
    while todo:
        node = todo.pop()
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node
            if type(node) is tuple:
                todo += node


def check(map_: PMap[int, int], model: dict[int, int]) -> None:
    assert len(map_) == map_.size == len(model)
    assert bool(map_) is bool(model)
    assert dict(map_.items()) == model
    assert list(map_) == list(map_.keys()) == [key for key, _ in map_.items()]
    assert all(map_[key] == map_.find(key) == value and key in map_ for key, value in model.items())


class AgainstDict(RuleBasedStateMachine):
    """Versions grow from versions in any order; each is remembered beside the dict it should equal."""

    versions: Bundle[tuple[PMap[int, int], dict[int, int]]] = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[PMap[int, int], dict[int, int]]] = []

    def keep(self, map_: PMap[int, int], model: dict[int, int]) -> tuple[PMap[int, int], dict[int, int]]:
        check(map_, model)
        self.all.append((map_, model))
        return map_, model

    @initialize(target=versions, members=subsets, pairs=st.booleans())
    def make(self, members: list[int], pairs: bool) -> Any:
        model = {key: key % 6 for key in members}
        return multiple(self.keep(PMap(), {}), self.keep(PMap(model.items() if pairs else model), model))

    @rule(target=versions, version=versions, key=keys, value=values)
    def set(self, version: tuple[PMap[int, int], dict[int, int]], key: int, value: int) -> Any:
        map_, model = version
        return self.keep(map_.set(key, value), {**model, key: value})

    @rule(target=versions, version=versions, data=st.data())
    def discard_present(self, version: tuple[PMap[int, int], dict[int, int]], data: st.DataObject) -> Any:
        map_, model = version
        if not model:
            return multiple()
        key = data.draw(st.sampled_from(list(model)))
        return self.keep(map_.discard(key), {k: v for k, v in model.items() if k != key})

    @rule(version=versions, key=keys)
    def ask_for_what_may_be_absent(self, version: tuple[PMap[int, int], dict[int, int]], key: int) -> None:
        map_, model = version
        assert (key in map_) is (key in model)
        assert map_.find(key) == model.get(key)
        assert map_.find(key, -1) == model.get(key, -1)
        if key not in model:
            assert map_.discard(key) is map_
            with pytest.raises(KeyError):
                map_[key]

    @rule(target=versions, version=versions, members=st.lists(keys, max_size=12), value=values)
    def update(self, version: tuple[PMap[int, int], dict[int, int]], members: list[int], value: int) -> Any:
        map_, model = version
        entries = dict.fromkeys(members, value)
        return self.keep(map_.update(entries), {**model, **entries})

    @rule(target=versions, version=versions, gone=subsets, few=st.integers(0, 9), members=st.lists(keys, max_size=9))
    def change(
        self, version: tuple[PMap[int, int], dict[int, int]], gone: list[int], few: int, members: list[int]
    ) -> Any:
        """Some go and others come, a few or most; what goes may come again."""
        map_, model = version
        present = [key for key in gone if key in model]
        leaving = present[:few] if few < 9 else present
        entries = dict.fromkeys([*members, *leaving[:1]], 9)
        after = {key: value for key, value in model.items() if key not in set(leaving)} | entries
        return self.keep(map_.changed(leaving, entries), after)

    @rule(one=versions, two=versions)
    def changes(self, one: tuple[PMap[int, int], dict[int, int]], two: tuple[PMap[int, int], dict[int, int]]) -> None:
        """From any version to any other, and nothing needless."""
        (old, before), (new, after) = one, two
        changed, gone = new.changes(old)
        assert changed == {k: v for k, v in after.items() if k not in before or before[k] != v}
        assert set(gone) == before.keys() - after.keys()
        assert len(gone) == len(set(gone))
        assert (new == old) is (before == after)

    def teardown(self) -> None:
        for map_, model in self.all:  # whatever was made of it, no version has changed
            assert dict(map_.items()) == model


TestAgainstDict = AgainstDict.TestCase


@given(st.sets(st.integers(0, 1 << 70), max_size=300))
def test_contents_do_not_depend_on_history(members: set[int]) -> None:
    entries = {member: str(member) for member in sorted(members)}
    others = {-n - 1: "" for n in range(50)}
    grown: PMap[int, str] = PMap()
    for member, value in entries.items():
        grown = grown.set(member, value)
    shrunk = PMap({**entries, **others})
    for other in others:
        shrunk = shrunk.discard(other)
    assert grown == shrunk == PMap(reversed(entries.items()))
    assert shrunk.changes(grown) == grown.changes(shrunk) == ({}, [])


def test_equal_values_that_are_other_objects_count_as_changed() -> None:
    """`changes` compares by identity: values may be secrets, which nobody need compare here."""
    one: PMap[int, list[int]] = PMap({n: [n] for n in range(100)})
    same = one.set(5, one[5])
    other = one.set(5, [5])
    assert same.changes(one) == ({}, [])
    assert other.changes(one) == ({5: [5]}, [])
    assert other == one


def test_it_is_no_dictionary_key_and_shows_no_values() -> None:
    map_ = PMap({"key": "value"})
    assert repr(map_) == "<PMap of 1>"
    with pytest.raises(TypeError):
        hash(map_)
    assert map_ != {"key": "value"}


@pytest.mark.parametrize("count", [_LEAF + 1, 200])
def test_keys_with_one_hash_live_in_one_leaf(count: int) -> None:
    """Chosen collisions cannot make the trie deeper than twelve branches, nor lose an entry."""
    map_: PMap[int, int] = PMap()
    for name in range(count):
        map_ = map_.set(7 + name * MODULUS, name)
    depth, node = 0, map_._root
    while type(node) is tuple:
        depth, node = depth + 1, node[7 >> 5 * depth & 31]
    assert depth == 12
    assert len(node) == count
    for name in range(count):
        assert map_[7 + name * MODULUS] == name
    for name in range(count):
        map_ = map_.discard(7 + name * MODULUS)
    assert map_._root is None


def test_emptied_branches_go() -> None:
    map_: PMap[int, int] = PMap({n: n for n in range(1000)})
    for n in range(1000):
        map_ = map_.discard(n)
    assert map_._root is None
    assert map_ == PMap()


def test_emptied_branches_go_in_bulk_too() -> None:
    """Enough keys for eleven levels under one slot of the root, in a map large enough not to be rebuilt."""
    deep = [7 + (n << 55) for n in range(COUNT)]
    others: PMap[int, int] = PMap({32 * n: n for n in range(20 * COUNT)})
    map_ = others.update(dict.fromkeys(deep, 0))
    assert type(map_._root[7]) is tuple
    assert map_.changed(deep, {})._root[7] is None
    left = map_.changed(deep[1:], {deep[0]: 1})
    assert left[deep[0]] == 1
    assert left.changed(deep[:1], {})._root[7] is None
    assert left.changed((), {}) is left


def size_of(map_: PMap[Any, Any], without: PMap[Any, Any] | None = None) -> int:
    """Bytes of the trie itself, keys and values aside, not counting what it shares with another."""
    shared = {id(node) for node in nodes(without)} if without is not None else set()
    return sum(sys.getsizeof(node) for node in nodes(map_) if id(node) not in shared)


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_one_change_costs_a_few_nodes_whatever_the_size(count: int) -> None:
    map_: PMap[int, int] = PMap({n: n for n in range(count)})
    whole = size_of(map_)
    assert whole < 300 * count  # the worst is one entry a leaf, which is a dict of 184 bytes
    largest_leaf = sys.getsizeof(dict.fromkeys(range(_LEAF)))
    for changed in (map_.set(count // 2, -1), map_.set(count, -1), map_.discard(count // 3)):
        fresh = size_of(changed, without=map_)
        levels = 1
        while 32**levels < count:
            levels += 1
        assert fresh <= levels * sys.getsizeof((None,) * 32) + 2 * largest_leaf


def test_a_hundred_versions_share_almost_everything() -> None:
    """What a fork that keeps its ancestors pays: the changes, not the group."""
    first: PMap[int, int] = PMap({n: n for n in range(10_000)})
    versions = [first]
    for n in range(100):
        versions.append(versions[-1].set(97 * n, -n))
    together: dict[int, int] = {}
    for version in versions:
        together.update((id(node), sys.getsizeof(node)) for node in nodes(version))
    assert sum(together.values()) < 1.3 * size_of(first)
    changed, gone = versions[-1].changes(first)
    assert changed == {97 * n: -n for n in range(1, 100)}  # 0 is 0 again
    assert gone == []


def test_changes_visits_only_what_is_not_shared() -> None:
    """Measured by the comparisons it makes: a handful, where the map has ten thousand entries."""
    map_: PMap[int, int] = PMap({n: n for n in range(10_000)})
    changed = map_.set(1234, 0).discard(77)
    found: list[int] = []

    def trace(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name in {"_changes", "_walk"}:
            found.append(1)

    sys.setprofile(trace)
    try:
        result = changed.changes(map_)
    finally:
        sys.setprofile(None)
    assert result == ({1234: 0}, [77])
    assert len(found) < 2500


def test_update_of_a_small_part_shares_the_rest() -> None:
    map_: PMap[int, int] = PMap({n: n for n in range(10_000)})
    updated = map_.update(dict.fromkeys(range(5), 0))
    assert size_of(updated, without=map_) < size_of(map_) / 20
    assert map_.update({}) == map_
