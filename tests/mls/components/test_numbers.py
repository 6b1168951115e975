"""mls-extensions §4.1, §5.1 and §7.5: component numbers are the deployment's to choose, and GREASE means nothing."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, strategies as st

from mls.components import numbers
from mls.components.numbers import GREASE_COMPONENTS, ComponentId, Numbers, pick_grease
from mls.errors import CallerError


def test_the_registry() -> None:
    assert asdict(Numbers()) == {
        "app_components": 1,
        "safe_aad": 2,
        "content_media_types": 3,
        "last_resort_key_package": 4,
        "app_ack": 5,
        "virtual_clients": 0x667A,
        "dmls": 0x8D01,
        "dimls": 0x8D02,
        "virtual_companion": 0x8D03,
    }
    assert GREASE_COMPONENTS == (0x0A0A, 0x1A1A, 0x2A2A, 0x3A3A, 0x4A4A, 0x5A5A, 0x6A6A, 0x7A7A)
    assert numbers.HIGHEST == 2**16 - 1


@pytest.mark.parametrize("name", [each.name for each in fields(Numbers)])
def test_each_can_be_another(name: str) -> None:
    assert getattr(replace(Numbers(), **{name: ComponentId(0xFFFF)}), name) == 0xFFFF
    assert getattr(replace(Numbers(), **{name: ComponentId(0x8000)}), name) == 0x8000


@pytest.mark.parametrize("number", [-1, 0, 0x10000, *GREASE_COMPONENTS])
def test_some_are_nobodys(number: int) -> None:
    with pytest.raises(CallerError, match="app_ack"):
        Numbers(app_ack=ComponentId(number))


def test_no_two_are_equal() -> None:
    with pytest.raises(CallerError, match="components safe_aad and dmls have one number"):
        Numbers(dmls=numbers.SAFE_AAD)
    swapped = Numbers(dmls=numbers.SAFE_AAD, safe_aad=numbers.DMLS)
    assert (swapped.dmls, swapped.safe_aad) == (2, 0x8D01)


@given(random=st.binary(max_size=40))
def test_grease_follows_from_the_bytes(random: bytes) -> None:
    picked = pick_grease(random)
    assert len(set(picked)) == len(picked)
    assert set(picked) == {0x0A0A + 0x1010 * (byte % 8) for byte in random}


def test_every_grease_number_can_come() -> None:
    assert set(pick_grease(bytes(range(256)))) == set(GREASE_COMPONENTS)
    assert pick_grease(b"") == ()
