"""mls-extensions §4.9: authenticated data of several components is the whole field, in order, each once."""

from __future__ import annotations

import pytest

from mls.codec import opaque, u16, vector
from mls.components.aad import decode_items, encode_items
from mls.errors import CallerError
from tests.mls.refusals import refused
from tests.validation import breaks


def raw(*items: tuple[int, bytes]) -> bytes:
    return vector([u16(component) + opaque(data) for component, data in items])


def test_the_bytes() -> None:
    assert encode_items({0x8001: b"last", 1: b""}).hex() == "0a" + "0001" + "00" + "8001" + "04" + b"last".hex()
    assert encode_items({}) == b"\x00"
    assert decode_items(b"\x00") == ()
    assert decode_items(raw((1, b"a"), (2, b""))) == ((1, b"a"), (2, b""))


@breaks("EXT-4.9-1")
@pytest.mark.parametrize(
    "items", [[(2, b""), (1, b"")], [(1, b"a"), (1, b"b")], [(1, b"a"), (1, b"a")], [(1, b""), (3, b""), (2, b"")]]
)
def test_out_of_order_or_twice(items: list[tuple[int, bytes]]) -> None:
    refused("EXT-4.9-1", lambda: decode_items(raw(*items)))
    once = sorted(dict(items).items())
    assert decode_items(raw(*once)) == tuple(once)


@breaks("EXT-4.9-2")
@pytest.mark.parametrize("more", [b"\x00", b"unsafe", raw((9, b""))])
def test_data_after_the_items(more: bytes) -> None:
    """The field went on with data of the application's in earlier drafts."""
    good = raw((1, b"one"))
    refused("EXT-4.9-2", lambda: decode_items(good + more))
    assert decode_items(good) == ((1, b"one"),)


@breaks("VAL-2.1-1")
def test_an_empty_field_is_not_framed() -> None:
    refused("VAL-2.1-1", lambda: decode_items(b""))


@pytest.mark.parametrize("component", [-1, 0x10000])
def test_a_component_number_has_sixteen_bits(component: int) -> None:
    with pytest.raises(CallerError):
        encode_items({component: b""})
