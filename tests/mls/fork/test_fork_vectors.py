"""The pinned answers of fork.json, against the code and against a second writing of the draft."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from typing import Any

import pytest

from mls.codec import opaque, u16
from mls.errors import MlsError
from mls.suite import Suite
from tests.vectors.own import fork as pinned

FILE: dict[str, list[dict[str, Any]]] = json.loads(pinned.PATH.read_text())
BY_HASH = {32: "sha256", 48: "sha384", 64: "sha512"}


def names(case: dict[str, Any]) -> str:
    return f"suite {case['cipher_suite']}, version {case['version']}"


@pytest.mark.slow
def test_the_file_is_what_the_generator_writes() -> None:
    assert pinned.generate() == FILE


def expand(secret: bytes, label: bytes, context: bytes = b"") -> bytes:
    """ExpandWithLabel to KDF.Nh, with HMAC alone."""
    size = len(secret)
    info = u16(size) + opaque(b"MLS 1.0 " + label) + opaque(context)
    return hmac.digest(secret, info + b"\x01", BY_HASH[size])


def subtrees(root: bytes, points: list[bytes]) -> bytes:
    """The secrets of the largest subtrees without a point, from left to right."""
    nodes = {"": root}
    for point in points:
        path = format(int.from_bytes(point, "big"), f"0{8 * len(root)}b")
        at = next(path[:length] for length in range(len(path)) if path[:length] in nodes)
        while at != path:
            secret = nodes.pop(at)
            nodes[at + "0"] = expand(secret, b"tree", b"left")
            nodes[at + "1"] = expand(secret, b"tree", b"right")
            at = path[: len(at) + 1]
        del nodes[path]
    return b"".join([nodes[path] for path in sorted(nodes)])


@pytest.mark.parametrize("case", FILE["schedule"], ids=names)
def test_the_key_schedule_by_the_letter(case: dict[str, Any]) -> None:
    size = Suite(case["cipher_suite"]).hash_size
    epoch_secret = bytes.fromhex(case["epoch_secret"])
    root = expand(epoch_secret, b"parent_init")
    assert len(epoch_secret) == size
    assert case["dmls_epoch"] == expand(epoch_secret, b"epoch").hex()
    assert case["parent_init_secret"] == root.hex()
    inputs = []
    for child in case["children"]:
        confirmation = expand(bytes.fromhex(child["path_secret"]), b"conf")
        bound = case if case["version"] == 1 else child
        point = expand(confirmation, b"child_init", bytes.fromhex(bound["group_context"]))
        secret = root
        for bit in format(int.from_bytes(point, "big"), f"0{8 * size}b"):
            secret = expand(secret, b"tree", b"right" if bit == "1" else b"left")
        assert child["commit_confirmation"] == confirmation.hex()
        assert child["input"] == point.hex()
        assert child["leaf_secret"] == secret.hex()
        assert child["init_secret"] == expand(secret, b"pprf").hex()
        inputs.append(point)
    assert case["state_after_first_and_second"] == case["state_after_second_and_first"]
    first, second = inputs
    assert first != second
    same_path = case["children"][0]["path_secret"] == case["children"][1]["path_secret"]
    assert same_path is (case["version"] == 2)
    for name, points in (
        ("state_after_first", [first]),
        ("state_after_second", [second]),
        ("state_after_first_and_second", [first, second]),
    ):
        state = u16(8 * size) + opaque(b"".join(sorted(points))) + opaque(subtrees(root, points))
        assert case[name]["length"] == len(state)
        assert case[name]["sha256"] == hashlib.sha256(state).hexdigest()
        assert case[name].get("bytes", state.hex()) == state.hex()


@pytest.mark.parametrize("case", FILE["groups"], ids=names)
def test_a_member_follows_every_branch(case: dict[str, Any]) -> None:
    values = pinned.follow(case)
    assert pinned.states(values) == case["states"]
    assert [state["children"] for state in case["states"]] == [2, 1, 1, 0, 0, 0]
    assert len({group.epoch for group in values.values()}) == 3
    assert len(values) == 6


@pytest.mark.slow
@pytest.mark.parametrize("case", FILE["groups"][:1], ids=names)
def test_following_notices_what_is_not_so(case: dict[str, Any]) -> None:
    """Each expectation of a case is looked at."""
    for at, message in enumerate(case["messages"]):
        for place in ("begins", "application_data", "dmls_epoch", "message", "again"):
            if place not in message:
                continue
            changed = copy.deepcopy(case)
            target = changed["messages"][at]
            if place == "begins":
                target["begins"]["epoch_authenticator"] = "00" * 32
            elif place == "message":
                raw = bytearray.fromhex(target["message"])
                raw[len(raw) // 2] ^= 1
                target["message"] = raw.hex()
            elif place == "again":
                del target["again"]
            else:
                target[place] = "00" * 32
            with pytest.raises((pinned.Unlike, MlsError)):
                pinned.follow(changed)
