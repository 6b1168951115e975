"""Topics: only members write and read, and what carriers see says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.providers import SeededProvider
from vcd.core.errors import Malformed
from vcd.core.topics import SMALLEST, TopicSecret, keys_of, open_sealed, seal

SUITE = SeededProvider("topics").suite(1)
KEYS = keys_of(SUITE, TopicSecret(b"t" * 32))
OTHER = keys_of(SUITE, TopicSecret(b"o" * 32))


@given(st.binary(max_size=3000))
def test_members_read_what_members_seal(payload: bytes) -> None:
    sealed = seal(SUITE, KEYS, payload)
    assert open_sealed(SUITE, KEYS, sealed) == payload
    assert sealed == seal(SUITE, KEYS, payload)
    assert len(payload) < 32 or payload not in sealed


def test_others_do_not() -> None:
    with pytest.raises(Malformed):
        open_sealed(SUITE, OTHER, seal(SUITE, KEYS, b"tea"))


@given(st.data())
def test_an_altered_envelope_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(seal(SUITE, KEYS, b"tea at four"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Malformed):
        open_sealed(SUITE, KEYS, bytes(sealed))


@given(st.binary(max_size=400))
def test_whatever_else_comes_is_refused(sealed: bytes) -> None:
    with pytest.raises(Malformed):
        open_sealed(SUITE, KEYS, sealed)


def test_small_payloads_are_of_one_size_and_larger_ones_of_few() -> None:
    sizes = {len(seal(SUITE, KEYS, bytes(size))) for size in range(SMALLEST - 4)}
    assert len(sizes) == 1
    assert len({len(seal(SUITE, KEYS, bytes(size))) for size in range(5000)}) < 80


def test_equal_payloads_are_equal_frames_and_different_ones_share_no_nonce() -> None:
    nonces = {seal(SUITE, KEYS, payload.to_bytes(4, "big"))[1:13] for payload in range(2000)}
    assert len(nonces) == 2000


def test_secrets_are_not_shown() -> None:
    assert b"t" * 8 not in repr(KEYS).encode()
    assert "tttt" not in repr(TopicSecret(b"t" * 32))
