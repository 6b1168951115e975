"""mls-extensions §4.6: application data by component, attached to leaves, KeyPackages, GroupInfos and groups.

The `app_data_dictionary` extension holds an AppDataDictionary: one piece of data per component, in the order of their
numbers. What it means depends on where it stands. In a GroupContext all members agree on it; in a leaf or a KeyPackage
a client says it of itself; in a GroupInfo it reaches those who join. There is one way to write a given dictionary, so
two members who hold equal ones hold equal bytes, and what is not written in that way is refused.

Entries that nobody here knows are kept as they are (§5.1): this room does not know what any component's data means.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mls.codec import Reader, decode_exactly, opaque, u16, vector
from mls.components.numbers import HIGHEST, ComponentId, pick_grease
from mls.errors import CallerError, PeerError
from mls.leaf_node import Extension, Extensions, find_extension
from mls.registries import ExtensionType

Entries = tuple[tuple[ComponentId, bytes], ...]


@dataclass(frozen=True, slots=True)
class Dictionary:
    """AppDataDictionary: data by component, in the order of their numbers, each once."""

    entries: Entries = ()
    _data: dict[int, bytes] = field(init=False, compare=False, repr=False)
    """The same, to be looked up: every message and every leaf asks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_data", dict(self.entries))
        last = -1
        for component, _ in self.entries:
            if not last < component <= HIGHEST:
                raise CallerError("application data is not in the order of its components", "use Dictionary.of")
            last = component

    @classmethod
    def of(cls, entries: Mapping[int, bytes]) -> Dictionary:
        return cls(tuple([(ComponentId(component), entries[component]) for component in sorted(entries)]))

    def _place(self, component: int) -> tuple[int, bool]:
        """Where a component's entry is or belongs, and whether it is there."""
        at = bisect_left(self.entries, component, key=_number)
        return at, at < len(self.entries) and self.entries[at][0] == component

    def find(self, component: int) -> bytes | None:
        return self._data.get(component)

    def with_entry(self, component: int, data: bytes) -> Dictionary:
        """With this component's data, instead of what it had if it had any."""
        at, present = self._place(component)
        return Dictionary((*self.entries[:at], (ComponentId(component), data), *self.entries[at + present :]))

    def without(self, component: int) -> Dictionary:
        """Without this component's data; equal to this one if there was none."""
        at, present = self._place(component)
        return Dictionary((*self.entries[:at], *self.entries[at + 1 :])) if present else self

    def encode(self) -> bytes:
        return vector([u16(component) + opaque(data) for component, data in self.entries])

    @classmethod
    def decode(cls, reader: Reader) -> Dictionary:
        entries = reader.vector(_component_data)
        last = -1
        for component, _ in entries:
            if component <= last:
                raise PeerError("EXT-4.6-1", f"component {component}")
            last = component
        return cls(entries)


def _number(entry: tuple[ComponentId, bytes]) -> int:
    return entry[0]


def _component_data(reader: Reader) -> tuple[ComponentId, bytes]:
    return ComponentId(reader.u16()), reader.opaque()


EMPTY = Dictionary()

_COMMON = 512
"""Dictionaries of more bytes are few, and no more than two of them are remembered: they would fill the memory."""


@lru_cache(maxsize=256)
def _remembered(data: bytes) -> Dictionary:
    return decode_exactly(data, Dictionary.decode)


@lru_cache(maxsize=2)
def _remembered_large(data: bytes) -> Dictionary:
    """A group's, before and after a commit, each of which asks for it several times."""
    return decode_exactly(data, Dictionary.decode)


def dictionary_of(extensions: Extensions) -> Dictionary:
    """The application data among these extensions; `EMPTY` if they hold none.

    Clients of one make say the same of themselves, so what they say is parsed once.
    """
    if not extensions:
        return EMPTY
    data = find_extension(extensions, ExtensionType.APP_DATA_DICTIONARY)
    if data is None:
        return EMPTY
    return _remembered(data) if len(data) <= _COMMON else _remembered_large(data)


def with_dictionary(extensions: Extensions, dictionary: Dictionary) -> Extensions:
    """The extensions with this application data: in its place if they had some, else at their end (§4.7).

    An empty dictionary stays if the extension was there, because its absence would be another statement about the
    group, and is not added if it was not.
    """
    kind = ExtensionType.APP_DATA_DICTIONARY
    fresh = Extension(kind, dictionary.encode())
    if any(each.type == kind for each in extensions):
        return tuple([fresh if each.type == kind else each for each in extensions])
    return (*extensions, fresh) if dictionary.entries else extensions


def dictionary_extension(entries: Mapping[int, bytes], *, grease: bytes = b"") -> Extension:
    """The extension for a leaf, a KeyPackage, a GroupInfo or a new group.

    With random bytes for `grease` it has one entry more, under a GREASE number that the first byte picks and with the
    rest of the bytes as its data (§5.1). Not for a GroupContext, where no GREASE belongs.
    """
    extra: dict[int, bytes] = dict.fromkeys(pick_grease(grease[:1]), grease[1:])
    extra.update(entries)
    return Extension(ExtensionType.APP_DATA_DICTIONARY, Dictionary.of(extra).encode())
