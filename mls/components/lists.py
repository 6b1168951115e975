"""mls-extensions §5: lists by which members and groups say what they support and what they demand.

Capabilities (RFC 9420 §7.2) have no room for components or wire formats, so these travel elsewhere. A `ComponentsList`
is an entry of the application data: under `app_components` it says which components a leaf supports or a group demands,
under `safe_aad` which of them do so for authenticated data. `WireFormats` are two extensions of their own: what a leaf
can read beyond the formats of RFC 9420, and what a group demands of everybody.

All of them are sets in meaning and vectors in form. Order says nothing and a number said twice is said, since the text
forbids neither. Numbers that nobody knows are carried and ignored (§5.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mls.codec import Reader, decode_exactly, read_u16_vector, u16_vector
from mls.components.numbers import pick_grease
from mls.leaf_node import Extension, Extensions, find_extension
from mls.registries import ExtensionType


@dataclass(frozen=True, slots=True)
class ComponentsList:
    """Components that a leaf supports, or that a group demands."""

    component_ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, components: Iterable[int], *, grease: bytes = b"") -> ComponentsList:
        """Ascending, and for a leaf with one GREASE number per random byte (§5.1)."""
        return cls((*sorted(set(components)), *pick_grease(grease)))

    def encode(self) -> bytes:
        return u16_vector(self.component_ids)

    @classmethod
    def decode(cls, reader: Reader) -> ComponentsList:
        return cls(read_u16_vector(reader))


def components_of(data: bytes | None) -> frozenset[int]:
    """The components that a dictionary's entry lists; none if the entry is not there."""
    if data is None:
        return frozenset()
    return _remembered(data) if len(data) <= _COMMON else _remembered_large(data)


_COMMON = 512
"""Lists of more bytes are nobody's habit, and no more than two of them are remembered."""


def _parsed(data: bytes) -> frozenset[int]:
    return frozenset(decode_exactly(data, ComponentsList.decode).component_ids)


@lru_cache(maxsize=256)
def _remembered(data: bytes) -> frozenset[int]:
    return _parsed(data)


@lru_cache(maxsize=2)
def _remembered_large(data: bytes) -> frozenset[int]:
    return _parsed(data)


@dataclass(frozen=True, slots=True)
class WireFormats:
    """Wire formats beyond those of RFC 9420 that a leaf supports, or that a group demands."""

    wire_formats: tuple[int, ...] = ()

    @classmethod
    def of(cls, wire_formats: Iterable[int]) -> WireFormats:
        return cls(tuple(sorted(set(wire_formats))))

    def encode(self) -> bytes:
        return u16_vector(self.wire_formats)

    @classmethod
    def decode(cls, reader: Reader) -> WireFormats:
        return cls(read_u16_vector(reader))


def _wire_formats(extensions: Extensions, kind: int) -> frozenset[int]:
    data = find_extension(extensions, kind)
    return frozenset() if data is None else frozenset(decode_exactly(data, WireFormats.decode).wire_formats)


def supported_wire_formats(extensions: Extensions) -> frozenset[int]:
    """What a leaf with these extensions can read beyond RFC 9420."""
    return _wire_formats(extensions, ExtensionType.SUPPORTED_WIRE_FORMATS)


def required_wire_formats(extensions: Extensions) -> frozenset[int]:
    """What a group with these extensions demands of its members beyond RFC 9420."""
    return _wire_formats(extensions, ExtensionType.REQUIRED_WIRE_FORMATS)


def supported_wire_formats_extension(wire_formats: Iterable[int]) -> Extension:
    return Extension(ExtensionType.SUPPORTED_WIRE_FORMATS, WireFormats.of(wire_formats).encode())


def required_wire_formats_extension(wire_formats: Iterable[int]) -> Extension:
    return Extension(ExtensionType.REQUIRED_WIRE_FORMATS, WireFormats.of(wire_formats).encode())
