"""Known answers for the puncturable tree of secrets (mls/puncture.py): the safe exporter's 16 bits, DMLS's 8 * KDF.Nh.

`python -m tests.vectors.own.puncture` writes puncture.json; docs/vectors.md says what is in it. The answers are those
of a second tree in tests/mls/test_puncture.py too, which is made by the letter of RFC 9420 §9.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mls.puncture import Puncturable
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")

SHAPES = [(1, 16), (5, 16), (7, 16), (1, 256), (7, 384), (5, 512)]
"""Cipher suites and levels; one suite for each hash."""

WHOLE = 4_000
"""A longer state appears by its hash alone."""


def generate() -> list[dict[str, Any]]:
    return [_case(suite, bits) for suite, bits in SHAPES]


def _case(cipher_suite: int, bits: int) -> dict[str, Any]:
    provider = SeededProvider(f"puncture, suite {cipher_suite}, {bits} levels")
    suite = provider.suite(cipher_suite)
    root = provider.random(suite.hash_size)
    somewhere, elsewhere, last = (int.from_bytes(provider.random(bits // 8), "big") for _ in range(3))
    order = [somewhere, somewhere ^ 1, elsewhere, 0, (1 << bits) - 1, last]
    tree = Puncturable.of(root, bits)
    evaluations = []
    for point in order:
        secret, tree = tree.evaluate(suite, point)
        evaluations.append(
            {
                "point": point.to_bytes(bits // 8, "big").hex(),
                "secret": secret.hex(),
                "state": _bytes(tree.encode()),
                "pprf_state": _bytes(tree.pprf_state(suite)) if bits <= 255 else None,
            }
        )
    return {"cipher_suite": cipher_suite, "bits": bits, "root": root.hex(), "evaluations": evaluations}


def _bytes(data: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if len(data) <= WHOLE:
        shown["bytes"] = data.hex()
    return shown


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
