"""A persistent map: the one container whose every change is a new value that shares the rest.

Groups are values and forks are several values with a common parent, so whatever grows with the group (key indices,
private keys, ratchets, pending proposals) must be changed without copying and kept without repeating. `PMap` is a
hash array mapped trie, 32 children a branch: a change copies one branch a level, at most `log32(n)` of them.

A node is either a branch (a tuple of 32 nodes or None) or a leaf (a dict of the entries whose hash ends here, which
is never changed once made). Dicts also absorb hash collisions, so a chosen key set makes lookups slower in one leaf
but never deep, and `hash(bytes)` is keyed per process. Iteration order is unspecified: sort where bytes depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")

_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1
_LEAF = 32  # entries a leaf holds before it becomes a branch: measured best in time and memory at 2,000 and 20,000
_DEPTH = 12  # 60 bits of hash; deeper only by collision, where a leaf just grows
_MISSING = object()
_EMPTY_BRANCH: tuple[None, ...] = (None,) * _WIDTH


def _build(entries: dict[Any, Any], shift: int) -> Any:
    if len(entries) <= _LEAF or shift >= _DEPTH * _BITS:
        return entries
    slots: list[Any] = [None] * _WIDTH
    for key, value in entries.items():
        at = (hash(key) >> shift) & _MASK
        slot = slots[at]
        if slot is None:
            slots[at] = {key: value}
        else:
            slot[key] = value
    return tuple([None if slot is None else _build(slot, shift + _BITS) for slot in slots])


def _assoc(node: Any, key: Any, value: Any, digest: int, shift: int) -> Any:
    if node is None:
        return {key: value}
    if type(node) is dict:
        entries = node.copy()
        entries[key] = value
        return entries if len(entries) <= _LEAF else _build(entries, shift)
    at = (digest >> shift) & _MASK
    return (*node[:at], _assoc(node[at], key, value, digest, shift + _BITS), *node[at + 1 :])


def _dissoc(node: Any, key: Any, digest: int, shift: int) -> Any:
    if type(node) is dict:
        entries = node.copy()
        del entries[key]
        return entries or None
    at = (digest >> shift) & _MASK
    branch = (*node[:at], _dissoc(node[at], key, digest, shift + _BITS), *node[at + 1 :])
    return None if branch == _EMPTY_BRANCH else branch


def _change(node: Any, work: list[tuple[int, Any, Any]], shift: int) -> Any:
    """Discards (marked by `_MISSING`) and settings in order, in one pass down."""
    if type(node) is not tuple:
        entries = {} if node is None else node.copy()
        for _, key, value in work:
            if value is _MISSING:
                del entries[key]
            else:
                entries[key] = value
        if not entries:
            return None
        return entries if len(entries) <= _LEAF else _build(entries, shift)
    slots = list(node)
    if len(work) == 1:
        at = (work[0][0] >> shift) & _MASK
        slots[at] = _change(slots[at], work, shift + _BITS)
    else:
        parts: dict[int, list[tuple[int, Any, Any]]] = {}
        for item in work:
            at = (item[0] >> shift) & _MASK
            part = parts.get(at)
            if part is None:
                parts[at] = [item]
            else:
                part.append(item)
        shift += _BITS
        for at, part in parts.items():
            slots[at] = _change(slots[at], part, shift)
    branch = tuple(slots)
    return None if branch == _EMPTY_BRANCH else branch


def _walk(node: Any) -> Iterator[tuple[Any, Any]]:
    if type(node) is dict:
        yield from node.items()
    elif node is not None:
        for child in node:
            if child is not None:
                yield from _walk(child)


def _changes(old: Any, new: Any, shift: int) -> Iterator[tuple[Any, Any, Any]]:
    """Entries that differ between two nodes, visiting only what they do not share."""
    if old is new:
        return
    if type(old) is tuple and type(new) is tuple:
        for before, after in zip(old, new, strict=True):
            yield from _changes(before, after, shift + _BITS)
        return
    was = dict(_walk(old))
    for key, value in _walk(new):
        before = was.pop(key, _MISSING)
        if before is not value:
            yield key, before, value
    for key, before in was.items():
        yield key, before, _MISSING


class PMap(Generic[K, V]):
    """An immutable mapping with cheap `set` and `discard`."""

    __slots__ = ("_root", "size")

    def __init__(self, entries: Iterable[tuple[K, V]] | dict[K, V] = ()) -> None:
        table = dict(entries)
        self.size = len(table)
        self._root: Any = _build(table, 0) if table else None

    @classmethod
    def _of(cls, root: Any, size: int) -> PMap[K, V]:
        made = cls.__new__(cls)
        made._root = root  # noqa: SLF001 - our own class
        made.size = size
        return made

    def find(self, key: K, default: V | None = None) -> V | None:
        node = self._root
        digest = hash(key)
        while type(node) is tuple:
            node = node[digest & _MASK]
            digest >>= _BITS
        return default if node is None else cast("V | None", node.get(key, default))

    def __getitem__(self, key: K) -> V:
        node = self._root
        digest = hash(key)
        while type(node) is tuple:
            node = node[digest & _MASK]
            digest >>= _BITS
        if node is None:
            raise KeyError
        return cast("V", node[key])

    def __contains__(self, key: K) -> bool:
        node = self._root
        digest = hash(key)
        while type(node) is tuple:
            node = node[digest & _MASK]
            digest >>= _BITS
        return node is not None and key in node

    def set(self, key: K, value: V) -> PMap[K, V]:
        grown = self.size if key in self else self.size + 1
        return PMap._of(_assoc(self._root, key, value, hash(key), 0), grown)

    def update(self, entries: dict[K, V]) -> PMap[K, V]:
        """Many at once; rebuilt in one pass when that is most of the map."""
        if len(entries) * 4 >= self.size:
            return PMap({**dict(self.items()), **entries})
        made = self
        for key, value in entries.items():
            made = made.set(key, value)
        return made

    def changed(self, gone: Iterable[K], entries: dict[K, V]) -> PMap[K, V]:
        """Discard some keys (all present) and then set others, copying every shared branch once."""
        work = [(hash(key), key, _MISSING) for key in gone]
        fewer = len(work)
        work += [(hash(key), key, value) for key, value in entries.items()]
        if not work:
            return self
        if len(work) * 4 >= self.size:
            table = dict(self.items())
            for _, key, _ in work[:fewer]:
                del table[key]
            return PMap({**table, **entries})
        more = sum(1 for key in entries if key not in self)
        more += sum(1 for _, key, _ in work[:fewer] if key in entries)
        return PMap._of(_change(self._root, work, 0), self.size - fewer + more)

    def discard(self, key: K) -> PMap[K, V]:
        if key not in self:
            return self
        return PMap._of(_dissoc(self._root, key, hash(key), 0), self.size - 1)

    def items(self) -> Iterator[tuple[K, V]]:
        return _walk(self._root)

    def values(self) -> Iterator[V]:
        return (value for _, value in _walk(self._root))

    def keys(self) -> Iterator[K]:
        return (key for key, _ in _walk(self._root))

    def __iter__(self) -> Iterator[K]:
        return self.keys()

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PMap) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # values may be secrets

    def __repr__(self) -> str:
        return f"<PMap of {self.size}>"

    def changes(self, older: PMap[K, V]) -> tuple[dict[K, V], list[K]]:
        """What was set and what was discarded since `older`; costs what is not shared."""
        changed: dict[K, V] = {}
        gone: list[K] = []
        for key, _, value in _changes(older._root, self._root, 0):
            if value is _MISSING:
                gone.append(key)
            else:
                changed[key] = value
        return changed, gone
