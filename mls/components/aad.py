"""mls-extensions §4.9: authenticated data that several components share.

A group whose application data has a `safe_aad` entry frames the `authenticated_data` of every message as a SafeAAD: one
item per component, in the order of their numbers, and nothing after. The draft says the first of these only ("sorted"),
and one item per component is our reading: an order that is "increasing" repeats nothing. A message in which no
component has anything to say carries an empty vector, which is one zero byte and not an empty field.

This data is authenticated and not encrypted: whoever carries the message can read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mls.codec import Reader, opaque, u16, vector
from mls.components.numbers import HIGHEST, ComponentId
from mls.errors import CallerError, PeerError


def encode_items(items: Mapping[int, bytes]) -> bytes:
    """SafeAAD, as the whole of `authenticated_data`."""
    for component in items:
        if not 0 <= component <= HIGHEST:
            raise CallerError(f"{component} is no component number", "give one of 0 to 65535")
    return vector([u16(component) + opaque(items[component]) for component in sorted(items)])


def _item(reader: Reader) -> tuple[ComponentId, bytes]:
    return ComponentId(reader.u16()), reader.opaque()


def decode_items(data: bytes) -> tuple[tuple[ComponentId, bytes], ...]:
    """The items of a message's whole `authenticated_data`."""
    reader = Reader(data)
    items = reader.vector(_item)
    if reader.pos != reader.end:
        raise PeerError("EXT-4.9-2", f"{reader.end - reader.pos} bytes")
    last = -1
    for component, _ in items:
        if component <= last:
            raise PeerError("EXT-4.9-1", f"component {component}")
        last = component
    return items
