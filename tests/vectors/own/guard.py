"""Known answers for reuse guards and generation ids (mls/virtual): the permutation, its keys, guards, and names.

`python -m tests.vectors.own.guard` writes guard.json; docs/vectors.md says what is in it. tests/mls/virtual computes
every answer a second time, from HMAC and from FF1 as NIST's samples have it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mls.messages import Sealing
from mls.registries import Epoch, Generation, GroupId, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import GenerationIdSecret, ReuseGuardSecret
from mls.suite import NONCE_SIZE, Suite
from mls.virtual.ff1 import KEY_SIZE, BitOrder, SmallSpacePrp
from mls.virtual.generation_id import PrivateMessageContext, generation_id
from mls.virtual.guard import Guard
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")

SUITES = (1, 7, 5)
"""One for each hash."""

NUMBERS = (0, 1, 7, 0x01234567, 0x80000000, 0xFFFFFFFF)

DEVICES = ((1, 0), (2, 1), (4, 0), (8, 5), (32, 31), (256, 0), (256, 255))
"""Leaves of the emulation group, and which of them sends."""

MESSAGES = (
    (b"", 0, 0, APPLICATION),
    (b"group", 1, 0, HANDSHAKE),
    (b"group", 7, 3, APPLICATION),
    (b"group", 7, 3, HANDSHAKE),
    (bytes(range(100)), 1 << 40, (1 << 32) - 1, APPLICATION),
)
"""Group id, epoch, generation and ratchet."""


class Scripted:
    """A provider whose next random bytes are known."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def random(self, length: int) -> bytes:
        assert length == len(self.data)
        return self.data

    def suite(self, cipher_suite: int) -> Suite:
        return Suite(cipher_suite)


def generate() -> dict[str, Any]:
    return {
        "small_space_prp": _permutations(),
        "reuse_guards": [_guards(cipher_suite) for cipher_suite in SUITES],
        "generation_ids": [_names(cipher_suite) for cipher_suite in SUITES],
    }


def _permutations() -> list[dict[str, Any]]:
    provider = SeededProvider("small-space PRP")
    cases = [(bytes(range(KEY_SIZE)), number) for number in NUMBERS]
    cases += [(provider.random(KEY_SIZE), int.from_bytes(provider.random(4), "big")) for _ in range(6)]
    return [
        {
            "key": key.hex(),
            "input": _word(number),
            "output": {order.value: _word(SmallSpacePrp(key, order).encrypt(number)) for order in BitOrder},
        }
        for key, number in cases
    ]


def _guards(cipher_suite: int) -> dict[str, Any]:
    provider = SeededProvider(f"reuse guards, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    secret = ReuseGuardSecret(provider.random(suite.hash_size))
    sent = []
    for leaf_count, leaf_index in DEVICES:
        nonce, random = provider.random(NONCE_SIZE), provider.random(4)
        guards = {}
        for order in BitOrder:
            guard = Guard(
                suite=suite, secret=secret, leaf_count=leaf_count, own_leaf=LeafIndex(leaf_index), bit_order=order
            )
            drawn = guard.sender(Scripted(random))(nonce, 0, APPLICATION)
            assert guard.attribute(Sealing(Generation(0), drawn, nonce)) == leaf_index
            guards[order.value] = drawn.hex()
        sent.append(
            {
                "leaf_count": leaf_count,
                "leaf_index": leaf_index,
                "key_schedule_nonce": nonce.hex(),
                "random": random.hex(),
                "x": _word(int.from_bytes(random, "big") // leaf_count * leaf_count + leaf_index),
                "prp_key": suite.expand_with_label(secret.raw, b"reuse guard", nonce, KEY_SIZE).hex(),
                "reuse_guard": guards,
            }
        )
    return {"cipher_suite": cipher_suite, "reuse_guard_secret": secret.raw.hex(), "sent": sent}


def _names(cipher_suite: int) -> dict[str, Any]:
    provider = SeededProvider(f"generation ids, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    secret = GenerationIdSecret(provider.random(suite.hash_size))
    messages = []
    for group_id, epoch, generation, ratchet in MESSAGES:
        context = PrivateMessageContext.of(GroupId(group_id), Epoch(epoch), generation, ratchet)
        messages.append(
            {
                "group_id": group_id.hex(),
                "epoch": epoch,
                "generation": generation,
                "ratchet_type": int(context.ratchet_type),
                "private_message_context": context.encode().hex(),
                "generation_id": generation_id(suite, secret, context).hex(),
            }
        )
    return {"cipher_suite": cipher_suite, "generation_id_secret": secret.raw.hex(), "messages": messages}


def _word(number: int) -> str:
    return f"{number:08x}"


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
