"""mls-extensions §4.6 and §4.7: application data by component, and where the extension that holds it stands."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mls.codec import decode_exactly, opaque, u16, vector
from mls.components.dictionary import (
    EMPTY,
    Dictionary,
    dictionary_extension,
    dictionary_of,
    with_dictionary,
)
from mls.components.numbers import GREASE_COMPONENTS, ComponentId
from mls.errors import CallerError
from mls.leaf_node import Extension
from mls.registries import ExtensionType
from tests.mls.refusals import refused
from tests.validation import breaks

ids = st.integers(0, 0xFFFF)
entries = st.dictionaries(ids, st.binary(max_size=20), max_size=10)
OTHER = Extension(0xF00D, b"other")
ANOTHER = Extension(0xF00E, b"another")


def raw(*items: tuple[int, bytes]) -> bytes:
    """A dictionary as somebody else may write one."""
    return vector([u16(component) + opaque(data) for component, data in items])


def test_the_bytes() -> None:
    made = Dictionary.of({0x8001: b"", 5: b"five"})
    assert made.encode().hex() == "0a" + "0005" + "04" + b"five".hex() + "8001" + "00"
    assert EMPTY.encode() == b"\x00"
    assert dictionary_extension({5: b"five"}).encode().hex() == "0006" + "08" + "07" + "0005" + "04" + b"five".hex()


@breaks("EXT-4.6-1")
@pytest.mark.parametrize(
    "items",
    [
        [(2, b"two"), (1, b"one")],
        [(1, b"one"), (1, b"one")],
        [(1, b"one"), (1, b"two")],
        [(0, b""), (0, b"")],
        [(1, b""), (2, b""), (0xFFFF, b""), (3, b"")],
    ],
)
def test_out_of_order_or_twice(items: list[tuple[int, bytes]]) -> None:
    refused("EXT-4.6-1", lambda: decode_exactly(raw(*items), Dictionary.decode))
    refused("EXT-4.6-1", lambda: dictionary_of((Extension(ExtensionType.APP_DATA_DICTIONARY, raw(*items)),)))
    once = dict(items)
    good = raw(*sorted(once.items()))
    assert decode_exactly(good, Dictionary.decode) == Dictionary.of(once)


@breaks("VAL-2.1-5")
def test_nothing_follows_in_the_extension() -> None:
    refused(
        "VAL-2.1-5", lambda: dictionary_of((Extension(ExtensionType.APP_DATA_DICTIONARY, raw((1, b"one")) + b"\x00"),))
    )


def test_nobody_makes_one_out_of_order() -> None:
    for wrong in (((2, b""), (1, b"")), ((1, b""), (1, b"")), ((0x10000, b""),), ((-1, b""),)):
        with pytest.raises(CallerError):
            Dictionary(tuple((ComponentId(component), data) for component, data in wrong))
    with pytest.raises(CallerError):
        Dictionary.of({0x10000: b""})
    with pytest.raises(CallerError):
        EMPTY.with_entry(-1, b"")


@pytest.mark.slow
@given(before=entries, component=ids, data=st.binary(max_size=20))
def test_it_is_a_table(before: dict[int, bytes], component: int, data: bytes) -> None:
    made = Dictionary.of(before)
    assert dict(made.entries) == before
    for each in {*before, component}:
        assert made.find(each) == before.get(each)
    assert made.with_entry(component, data) == Dictionary.of({**before, component: data})
    assert made.without(component) == Dictionary.of({key: value for key, value in before.items() if key != component})
    assert made == Dictionary.of(before)


def test_where_the_extension_stands() -> None:
    first, second = Dictionary.of({1: b"first"}), Dictionary.of({1: b"second"})
    held = dictionary_extension({1: b"first"})
    assert with_dictionary((OTHER, ANOTHER), first) == (OTHER, ANOTHER, held)
    replaced = with_dictionary((OTHER, held, ANOTHER), second)
    assert replaced == (OTHER, dictionary_extension({1: b"second"}), ANOTHER)
    assert dictionary_of(replaced) == second
    assert with_dictionary((held,), EMPTY) == (dictionary_extension({}),)
    assert with_dictionary((OTHER,), EMPTY) == (OTHER,)
    assert with_dictionary((), EMPTY) == ()
    assert dictionary_of((OTHER,)) is EMPTY
    assert dictionary_of(()) is EMPTY


@pytest.mark.parametrize("size", [0, 500, 600])
def test_large_and_small_are_read_alike(size: int) -> None:
    extension = dictionary_extension({7: bytes(size)})
    assert dictionary_of((extension,)) == Dictionary.of({7: bytes(size)})


@pytest.mark.slow
@given(
    held=st.dictionaries(ids.filter(lambda each: each not in GREASE_COMPONENTS), st.binary(max_size=9)),
    random=st.binary(max_size=9),
)
def test_grease_is_one_entry_more(held: dict[int, bytes], random: bytes) -> None:
    made = dictionary_of((dictionary_extension(held, grease=random),))
    extra = {component: data for component, data in made.entries if component in GREASE_COMPONENTS}
    assert {component: data for component, data in made.entries if component not in extra} == held
    assert list(extra.values()) == ([random[1:]] if random else [])


def test_grease_takes_no_entrys_place() -> None:
    held: dict[int, bytes] = dict.fromkeys(GREASE_COMPONENTS, b"ours")
    assert dictionary_of((dictionary_extension(held, grease=b"\x00data"),)) == Dictionary.of(held)
