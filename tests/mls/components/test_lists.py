"""mls-extensions §5: lists of components and of wire formats, which are sets in meaning."""

from __future__ import annotations

import pytest

from mls.components.lists import (
    ComponentsList,
    WireFormats,
    components_of,
    required_wire_formats,
    required_wire_formats_extension,
    supported_wire_formats,
    supported_wire_formats_extension,
)
from mls.components.numbers import GREASE_COMPONENTS
from mls.leaf_node import Extension
from tests.mls.refusals import refused
from tests.validation import breaks


def test_the_bytes() -> None:
    assert ComponentsList((3, 1, 0xFFFF)).encode().hex() == "06" + "0003" + "0001" + "ffff"
    assert ComponentsList.of([3, 1, 3]).encode().hex() == "04" + "0001" + "0003"
    assert ComponentsList().encode() == b"\x00"
    assert WireFormats((6, 0xF001)).encode().hex() == "04" + "0006" + "f001"
    assert supported_wire_formats_extension([6]).encode().hex() == "0007" + "03" + "02" + "0006"
    assert required_wire_formats_extension([7, 6, 7]).encode().hex() == "0008" + "05" + "04" + "0006" + "0007"


def test_order_and_repetition_say_nothing() -> None:
    assert components_of(bytes.fromhex("08" + "0003" + "0001" + "0003" + "0002")) == {1, 2, 3}
    assert components_of(b"\x00") == components_of(None) == frozenset()
    assert supported_wire_formats((Extension(7, bytes.fromhex("06" + "0007" + "0006" + "0007")),)) == {6, 7}


def test_each_extension_is_its_own() -> None:
    both = (supported_wire_formats_extension([6]), required_wire_formats_extension([7]))
    assert supported_wire_formats(both) == {6}
    assert required_wire_formats(both) == {7}
    assert supported_wire_formats(both[1:]) == required_wire_formats(both[:1]) == frozenset()
    assert supported_wire_formats(()) == frozenset()


@breaks("VAL-2.1-1")
@pytest.mark.parametrize("bad", ["01" + "00", "03" + "000100", "04" + "0001", ""])
def test_half_a_number(bad: str) -> None:
    refused("VAL-2.1-1", lambda: components_of(bytes.fromhex(bad)))
    refused("VAL-2.1-1", lambda: supported_wire_formats((Extension(7, bytes.fromhex(bad)),)))
    refused("VAL-2.1-1", lambda: required_wire_formats((Extension(8, bytes.fromhex(bad)),)))


@breaks("VAL-2.1-5")
def test_nothing_follows_a_list() -> None:
    refused("VAL-2.1-5", lambda: components_of(bytes.fromhex("0200010002")))
    refused("VAL-2.1-5", lambda: supported_wire_formats((Extension(7, bytes.fromhex("02000600")),)))


def test_grease_comes_with_random_bytes() -> None:
    plain = ComponentsList.of([1, 2])
    greased = ComponentsList.of([1, 2], grease=b"\x00\x09\x01")
    assert plain.component_ids == (1, 2)
    assert greased.component_ids == (1, 2, 0x0A0A, 0x1A1A)
    assert components_of(greased.encode()) - set(GREASE_COMPONENTS) == components_of(plain.encode())
