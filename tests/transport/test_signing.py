"""Keys, signatures and peer ids: the same as libp2p's own, without it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, strategies as st

from transport.signing import SigningKey, base58, peer_id, public_key, unbase58, verifies

SEED = bytes(range(32))

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_the_rfc_s_own_examples(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verifies(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_a_key_shows_nothing_of_itself() -> None:
    key = SigningKey(SEED)
    assert key.seed() == SEED
    assert SEED.hex() not in repr(key)
    assert key.public.hex()[:16] in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError, match="32 bytes"):
            SigningKey(bytes(size))


def test_a_new_key_takes_its_randomness_from_the_caller() -> None:
    asked = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        return SEED

    assert SigningKey.generate(random_bytes).public == SigningKey(SEED).public
    assert asked == [32]


@given(public=st.binary(max_size=40), message=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_junk_does_not_verify_and_does_not_raise(public: bytes, message: bytes, signature: bytes) -> None:
    assert not verifies(public, message, signature)


@given(junk=st.binary(min_size=96, max_size=96), message=st.binary(max_size=40))
def test_junk_of_the_right_size_does_not_verify_either(junk: bytes, message: bytes) -> None:
    assert not verifies(junk[:32], message, junk[32:])
    assert not verifies(SigningKey(SEED).public, message, junk[:64])


def test_every_flipped_bit_of_a_signature_counts() -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"message")
    for place in range(512):
        flipped = bytearray(signature)
        flipped[place // 8] ^= 1 << place % 8
        assert not verifies(key.public, b"message", bytes(flipped))


# ---------------------------------------------------------------- peer ids


@pytest.mark.slow  # loads libp2p
def test_peer_ids_are_libp2p_s_own() -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    for number in range(50):
        seed = number.to_bytes(32, "big")
        theirs = create_new_key_pair(seed)
        ours = SigningKey(seed)
        assert theirs.public_key.to_bytes() == ours.public
        assert ID.from_pubkey(theirs.public_key).to_base58() == peer_id(ours.public)


@pytest.mark.slow  # loads libp2p
@given(data=st.binary(max_size=64))
def test_base58_is_libp2p_s_own(data: bytes) -> None:
    from libp2p.peer.id import ID

    text = base58(data)
    assert text == ID(data).to_base58()
    assert unbase58(text) == data


def test_a_peer_id_contains_the_key() -> None:
    key = SigningKey(SEED)
    peer = peer_id(key.public)
    assert peer == "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
    assert public_key(peer) == key.public


@given(text=st.text(max_size=60))
def test_what_is_not_a_peer_id_contains_none(text: str) -> None:
    assert public_key(text) is None or peer_id(public_key(text) or b"") == text


@pytest.mark.parametrize(
    "text", ["", "0", "12D3KooW", "1" * 129, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKgvEZ", "é"]
)
def test_other_names_contain_none(text: str) -> None:
    """Of an RSA key the id is only a hash; others are not even base58."""
    assert public_key(text) is None


def test_an_id_has_one_spelling() -> None:
    peer = peer_id(SigningKey(SEED).public)
    for other in ("1" + peer, peer + "1", peer[:-1], peer.lower(), " " + peer):
        assert public_key(other) is None
    assert unbase58("1" * 128) == bytes(128)
    assert unbase58("1" * 129) is None
    assert unbase58("") == b""
