from __future__ import annotations

import pickle

import pytest
from hypothesis import given, strategies as st

from vcd.vault.sealing import NONCE_SIZE, OVERHEAD, Sealer, SealKey, Unopened, new_key, open_sealed, place

PLACES = st.tuples(st.text(max_size=20), st.binary(max_size=40), st.text(max_size=20), st.integers(0, 65535))


@given(where=PLACES, data=st.binary(max_size=200))
def test_what_was_sealed_opens_at_its_place(where: tuple[str, bytes, str, int], data: bytes) -> None:
    key = new_key()
    sealed = Sealer().seal(key, place(*where), data)
    assert open_sealed(key, place(*where), sealed) == data
    assert len(sealed) == len(data) + OVERHEAD


@given(one=PLACES, other=PLACES)
def test_places_are_told_apart(one: tuple[str, bytes, str, int], other: tuple[str, bytes, str, int]) -> None:
    assert (place(*one) == place(*other)) == (one == other)


def test_parts_of_a_place_do_not_run_into_each_other() -> None:
    assert place("ab", b"c", "", 1) != place("a", b"bc", "", 1)


@given(at=st.integers(0, OVERHEAD + 9), bit=st.integers(0, 7))
def test_one_bit_of_it_changed_opens_no_more(at: int, bit: int) -> None:
    key = new_key()
    sealed = bytearray(Sealer().seal(key, b"here", b"0123456789"))
    sealed[at] ^= 1 << bit
    with pytest.raises(Unopened):
        open_sealed(key, b"here", bytes(sealed))


def test_elsewhere_under_another_key_or_cut_short_it_does_not_open() -> None:
    key = new_key()
    sealed = Sealer().seal(key, b"here", b"data")
    for other, where, data in (
        (key, b"there", sealed),
        (new_key(), b"here", sealed),
        (key, b"here", sealed[:-1]),
        (key, b"here", sealed[:NONCE_SIZE]),
        (key, b"here", b""),
    ):
        with pytest.raises(Unopened):
            open_sealed(other, where, data)


def test_no_nonce_is_used_twice_by_any_run_of_any_number_of_keys() -> None:
    keys = [new_key() for _ in range(3)]
    nonces = [Sealer().seal(key, b"", b"")[:NONCE_SIZE] for _ in range(50) for key in keys]
    sealer = Sealer()
    nonces += [sealer.seal(keys[n % 3], b"", b"")[:NONCE_SIZE] for n in range(5000)]
    assert len(set(nonces)) == len(nonces)


def test_the_same_counter_in_another_run_is_another_stream() -> None:
    """What a nonce used twice would show: the two ciphertexts of one text would be the same."""
    key = new_key()
    assert Sealer().seal(key, b"", bytes(64))[NONCE_SIZE:] != Sealer().seal(key, b"", bytes(64))[NONCE_SIZE:]


def test_many_runs_under_one_key_stay_readable() -> None:
    key = new_key()
    sealed = [Sealer().seal(key, b"", b"%d" % n) for n in range(100)]
    assert [open_sealed(key, b"", each) for each in sealed] == [b"%d" % n for n in range(100)]


def test_a_key_does_not_show_itself() -> None:
    key = SealKey(b"s" * 32)
    assert "ssss" not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(ValueError, match="32 bytes"):
        SealKey(b"short")
