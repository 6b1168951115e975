"""Large tables of small things: maps like `PMap`, whose entries lie packed in bytes.

What is remembered of each message is some dozens of bytes, and a conversation remembers a hundred thousand of them. As
objects in a `PMap` each of these takes some 250 bytes and more, packed as many as it has, and five. It is made into an
object whenever it is asked for, which is seldom: mostly one asks whether a key is there.

A node of the trie is a branch (a tuple of 32 nodes), or a leaf: `bytes` with an entry after the other, each with the
lengths of both its parts in front. A change copies a leaf, of at most `FULL` bytes, and a branch a level. Which way a
key leads is its hash, which is keyed per process: nobody can choose keys that meet. A key is looked for in a leaf as
bytes are in bytes; what is found need not be where an entry's key is, and only then the entries are walked.

A kind of table says how its values lie in bytes (`pack`, `unpack`). That is for memory alone: what is stored and sent
is as for a `PMap` of the same types (`vcd.core.record`, `vcd.core.shapes`), so a table may be the one or the other.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from mls.persistent import PMap

K = TypeVar("K", bound=bytes)
V = TypeVar("V")

FULL = 2048
"""Bytes that a leaf holds before it becomes a branch."""
MOST = 255
"""Bytes of a key, and of a value."""
_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1
_DEEPEST = 12 * _BITS
_BARE: tuple[bytes, ...] = (b"",) * _WIDTH


class Packed(ABC, Generic[K, V]):
    """An immutable mapping of bytes to something small. Its kinds are subclasses."""

    __slots__ = ("_root", "size")

    @staticmethod
    @abstractmethod
    def pack(value: Any) -> bytes:
        """A value, in at most `MOST` bytes."""

    @staticmethod
    @abstractmethod
    def unpack(data: bytes) -> Any:
        """What was packed."""

    def __init__(self, entries: Mapping[K, V] | None = None) -> None:
        table = {} if entries is None else entries
        self.size = len(table)
        self._root: Any = _grown(b"".join([_entry(key, self.pack(value)) for key, value in table.items()]), 0)

    def _with(self, root: Any, size: int) -> typing.Self:
        made = type(self).__new__(type(self))
        made._root = root  # noqa: SLF001 - our own class
        made.size = size
        return made

    def find(self, key: K) -> V | None:
        leaf = self._leaf(key)
        at = _place(leaf, key)
        if at < 0:
            return None
        start = at + 2 + len(key)
        found: V = self.unpack(leaf[start : start + leaf[at + 1]])
        return found

    def __getitem__(self, key: K) -> V:
        found = self.find(key)
        if found is None:
            raise KeyError
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and _place(self._leaf(key), key) >= 0

    def _leaf(self, key: bytes) -> bytes:
        node = self._root
        digest = hash(key)
        while type(node) is tuple:
            node = node[digest & _MASK]
            digest >>= _BITS
        return node  # type: ignore[no-any-return]

    def set(self, key: K, value: V) -> typing.Self:
        grown = self.size if key in self else self.size + 1
        return self._with(_put(self._root, key, _entry(key, self.pack(value)), hash(key), 0), grown)

    def discard(self, key: K) -> typing.Self:
        if key not in self:
            return self
        return self._with(_put(self._root, key, b"", hash(key), 0), self.size - 1)

    def changed(self, gone: Iterable[K], entries: Mapping[K, V]) -> typing.Self:
        """Discard some keys (all present) and then set others."""
        made = self
        for key in gone:
            made = made.discard(key)
        for key, value in entries.items():
            made = made.set(key, value)
        return made

    def items(self) -> Iterator[tuple[K, V]]:
        return ((typing.cast("K", key), self.unpack(data)) for key, data in _walk(self._root))

    def values(self) -> Iterator[V]:
        return (self.unpack(data) for _, data in _walk(self._root))

    def keys(self) -> Iterator[K]:
        return (typing.cast("K", key) for key, _ in _walk(self._root))

    def __iter__(self) -> Iterator[K]:
        return self.keys()

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(_walk(self._root)) == dict(_walk(other._root))

    __hash__ = None  # type: ignore[assignment]  # as of a PMap

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.size}>"

    def changes(self, older: Packed[K, V]) -> tuple[dict[K, V], list[K]]:
        """What was set and what was discarded since `older`; costs what is not shared."""
        changed: dict[K, V] = {}
        gone: list[K] = []
        for key, data in _changes(older._root, self._root):
            if data is None:
                gone.append(typing.cast("K", key))
            else:
                changed[typing.cast("K", key)] = self.unpack(data)
        return changed, gone


def table_types(kind: Any) -> tuple[Any, Any, Any] | None:
    """For a table's type: what makes one of a dict, and the types of its keys and values."""
    if typing.get_origin(kind) is PMap:
        return (PMap, *typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Packed):
        key, value = typing.get_args(kind.__orig_bases__[0])  # type: ignore[attr-defined]
        return kind, key, value
    return None


# ---------------------------------------------------------------- leaves and branches


def _entry(key: bytes, data: bytes) -> bytes:
    if len(key) > MOST or len(data) > MOST:
        raise ValueError("too large to be packed")
    return bytes((len(key), len(data))) + key + data


def _place(leaf: bytes, key: bytes) -> int:
    """Where the entry with a key begins; -1 if there is none."""
    if key not in leaf:
        return -1
    at, size = 0, len(key)
    while at < len(leaf):
        start = at + 2
        if leaf[at] == size and leaf.startswith(key, start):
            return at
        at = start + leaf[at] + leaf[at + 1]
    return -1


def _entries(leaf: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(leaf):
        middle = at + 2 + leaf[at]
        end = middle + leaf[at + 1]
        yield leaf[at + 2 : middle], leaf[middle:end]
        at = end


def _put(node: Any, key: bytes, entry: bytes, digest: int, shift: int) -> Any:
    """With an entry in the place of the one that has its key; without that, if the entry is empty."""
    if type(node) is tuple:
        at = (digest >> shift) & _MASK
        branch = (*node[:at], _put(node[at], key, entry, digest, shift + _BITS), *node[at + 1 :])
        return b"" if branch == _BARE else branch
    at = _place(node, key)
    if at < 0:
        return _grown(node + entry, shift)
    end = at + 2 + node[at] + node[at + 1]
    return _grown(node[:at] + node[end:] + entry, shift)


def _grown(leaf: bytes, shift: int) -> Any:
    """A leaf, or the branch that it becomes."""
    if len(leaf) <= FULL or shift >= _DEEPEST:
        return leaf
    parts: list[list[bytes]] = [[] for _ in range(_WIDTH)]
    for key, data in _entries(leaf):
        parts[(hash(key) >> shift) & _MASK].append(_entry(key, data))
    return tuple([_grown(b"".join(part), shift + _BITS) for part in parts])


def _walk(node: Any) -> Iterator[tuple[bytes, bytes]]:
    if type(node) is tuple:
        for child in node:
            yield from _walk(child)
    else:
        yield from _entries(node)


def _changes(old: Any, new: Any) -> Iterator[tuple[bytes, bytes | None]]:
    """Entries that differ between two nodes; None for what is gone."""
    if old is new:
        return
    if type(old) is tuple and type(new) is tuple:
        for before, after in zip(old, new, strict=True):
            yield from _changes(before, after)
        return
    was = dict(_walk(old))
    for key, data in _walk(new):
        if was.pop(key, None) != data:
            yield key, data
    for key in was:
        yield key, None
