"""Generation ids: the known answers by the letter, and that a name names one generation."""

from __future__ import annotations

import hmac
import json
from itertools import combinations
from typing import Any

import pytest

from mls.errors import CallerError
from mls.registries import Epoch, GroupId
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import GenerationIdSecret
from mls.suite import Suite
from mls.virtual.generation_id import (
    RATCHET_TYPES,
    PrivateMessageContext,
    RatchetType,
    generation_id,
)
from tests.vectors.own import guard as pinned

CASES: list[dict[str, Any]] = json.loads(pinned.PATH.read_text())["generation_ids"]
BY_SUITE = {1: ("sha256", 32), 7: ("sha384", 48), 5: ("sha512", 64)}
SECRET = GenerationIdSecret(bytes(range(32)))


def context(group_id: bytes = b"group", epoch: int = 7, generation: int = 3, ratchet: int = APPLICATION) -> Any:
    return PrivateMessageContext.of(GroupId(group_id), Epoch(epoch), generation, ratchet)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["cipher_suite"]))
def test_known_answers(case: dict[str, Any]) -> None:
    """By the letter: one HMAC over KDFLabel and the context, its lengths written out."""
    algorithm, size = BY_SUITE[case["cipher_suite"]]
    secret = bytes.fromhex(case["generation_id_secret"])
    for message in case["messages"]:
        group_id = bytes.fromhex(message["group_id"])
        length = bytes([len(group_id)]) if len(group_id) < 64 else (0x4000 | len(group_id)).to_bytes(2, "big")
        written = length + group_id + message["epoch"].to_bytes(8, "big") + message["generation"].to_bytes(4, "big")
        written += bytes([message["ratchet_type"]])
        assert written.hex() == message["private_message_context"]
        total = len(written)
        head = bytes([total]) if total < 64 else (0x4000 | total).to_bytes(2, "big")
        label = size.to_bytes(2, "big") + b"\x15MLS 1.0 generation id" + head + written
        assert hmac.digest(secret, label + b"\x01", algorithm).hex() == message["generation_id"]
        assert len(message["generation_id"]) == 2 * size


def test_known_answers_are_those_of_the_generator() -> None:
    assert pinned.generate()["generation_ids"] == CASES


def test_ratchet_types() -> None:
    """The draft's numbers are not those of our ratchets."""
    assert {APPLICATION: 1, HANDSHAKE: 2} == RATCHET_TYPES
    assert (RatchetType.APPLICATION, RatchetType.HANDSHAKE) == (1, 2)
    assert context(ratchet=APPLICATION).encode()[-1] == 1
    assert context(ratchet=HANDSHAKE).encode()[-1] == 2
    for ratchet in (-1, 2, 3):
        with pytest.raises(CallerError, match="no ratchet"):
            context(ratchet=ratchet)


def test_a_name_names_one_generation() -> None:
    """Siblings agree on it, and whatever else differs gives another name."""
    suite = Suite(1)
    variants = [
        context(),
        context(group_id=b"other"),
        context(group_id=b"grou", epoch=0x7000_0000_0000_0007),
        context(epoch=8),
        context(generation=4),
        context(ratchet=HANDSHAKE),
        context(epoch=3, generation=7),
    ]
    names = [generation_id(suite, SECRET, variant) for variant in variants]
    assert names == [generation_id(suite, GenerationIdSecret(SECRET.raw), variant) for variant in variants]
    assert all(one != other for one, other in combinations(names, 2))
    elsewhere = [generation_id(suite, GenerationIdSecret(bytes(32)), variant) for variant in variants]
    assert not set(names) & set(elsewhere)


def test_any_message_has_a_name() -> None:
    suite = Suite(1)
    for group_id in (b"", bytes(255), bytes(70_000)):
        for epoch, generation in ((0, 0), (2**64 - 1, 2**32 - 1)):
            assert len(generation_id(suite, SECRET, context(group_id, epoch, generation))) == 32


def test_repr_shows_no_secret() -> None:
    assert repr(SECRET) == "<GenerationIdSecret 32 bytes>"
