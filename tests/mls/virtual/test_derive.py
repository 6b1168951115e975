"""draft-ietf-mls-virtual-clients §6.2: from operation to keys, against the file, and against HMAC alone."""

from __future__ import annotations

from typing import Any

import pytest

from mls.errors import BugError
from mls.registries import CipherSuite
from mls.secrets import KeyPackageSeed, OperationSecret, PathSecret, TargetOperationSecret
from mls.signatures import Ecdsa
from mls.suite import SUITES
from mls.virtual import derive
from tests.mls.virtual.ladder import Hash, imported, number, var
from tests.providers import SeededProvider
from tests.vector_files import load
from tests.vectors.own import virtual as own

CASES = load(own.PATH)
PROVIDER = SeededProvider()
OPERATION = OperationSecret(bytes(range(32)))
KEY_PACKAGES = [(case, each) for case in CASES for each in case["key_packages"]]
LEAF_NODES = [(case, each) for case in CASES for each in case["leaf_nodes"]]
OF_RFC_9420 = [int(suite) for suite in CipherSuite]


def name(value: Any) -> str:
    if "operations" in value:
        return f"from {value['cipher_suite']}"
    return f"to {value['cipher_suite']}" + (f", {value['key_package_index']}" if "key_package_index" in value else "")


def check_pair(each: dict[str, Any], kind: str, pair: Any) -> None:
    assert (pair[0].raw.hex(), pair[1].hex()) == (each[f"{kind}_priv"], each[f"{kind}_pub"])


def operation_of(case: dict[str, Any], each: dict[str, Any]) -> OperationSecret:
    return OperationSecret(bytes.fromhex(case["operations"][each["operation"]]["operation_secret"]))


@pytest.mark.parametrize(("case", "each"), KEY_PACKAGES, ids=name)
def test_key_packages(case: dict[str, Any], each: dict[str, Any]) -> None:
    source = operation_of(case, each)
    suite, index = PROVIDER.suite(each["cipher_suite"]), each["key_package_index"]
    seed = imported(suite.cipher_suite, source.raw, b"vc key package seed", number(index, 4))
    assert seed.hex() == each["key_package_seed_secret"]
    ours = derive.key_package_seed(suite, source, index)
    assert ours == KeyPackageSeed(seed)
    hash_ = Hash(suite.cipher_suite)
    assert hash_.derive(seed, b"Signature Key").hex() == each["signature_key_secret"]
    assert hash_.derive(seed, b"Group Creation").hex() == each["group_creation_epoch_secret"]
    assert derive.group_creation_secret(suite, ours).raw.hex() == each["group_creation_epoch_secret"]
    check_pair(each, "init", suite.derive_key_pair(hash_.derive(seed, b"Init Key")))
    check_pair(each, "init", derive.init_key(suite, ours))
    check_pair(each, "encryption", suite.derive_key_pair(hash_.derive(seed, b"Encryption Key")))
    check_pair(each, "encryption", derive.leaf_key(suite, ours))
    check_pair(each, "signature", derive.derived_signature_key(suite, ours))
    check_signature_private(each)


@pytest.mark.parametrize(("case", "each"), LEAF_NODES, ids=name)
def test_leaf_nodes(case: dict[str, Any], each: dict[str, Any]) -> None:
    source = operation_of(case, each)
    suite, group_id = PROVIDER.suite(each["cipher_suite"]), bytes.fromhex(each["group_id"])
    secret = imported(suite.cipher_suite, source.raw, b"vc target operation", var(group_id))
    assert secret.hex() == each["target_operation_secret"]
    ours = derive.target_operation_secret(suite, source, group_id)
    assert ours == TargetOperationSecret(secret)
    hash_ = Hash(suite.cipher_suite)
    assert hash_.derive(secret, b"Signature Key").hex() == each["signature_key_secret"]
    assert hash_.derive(secret, b"Init Key").hex() == each["init_key_secret"]
    assert hash_.derive(secret, b"Path Generation").hex() == each["path_secret"]
    check_pair(each, "encryption", suite.derive_key_pair(hash_.derive(secret, b"Encryption Key")))
    check_pair(each, "encryption", derive.leaf_key(suite, ours))
    check_pair(each, "signature", derive.derived_signature_key(suite, ours))
    check_signature_private(each)
    supply = derive.path_supply(suite, ours)
    check_pair(each, "encryption", (supply.leaf_private, supply.leaf_public))
    assert supply.path_secret == PathSecret(bytes.fromhex(each["path_secret"]))


def check_signature_private(each: dict[str, Any]) -> None:
    """By the letter: a seed, or the first candidate that is below the order."""
    cipher_suite = each["cipher_suite"]
    secret, suite = bytes.fromhex(each["signature_key_secret"]), number(cipher_suite, 2)
    expand = Hash(cipher_suite).expand
    scheme = SUITES[cipher_suite].signature
    if isinstance(scheme, Ecdsa):
        size = len(each["signature_priv"]) // 2
        first = bytearray(expand(secret, b"vc signature candidate", suite + b"\x00", size))
        if cipher_suite == CipherSuite.P521_AES256GCM_SHA512_P521:
            first[0] &= 0x01
        assert int.from_bytes(first, "big") < scheme.order
        assert first.hex() == each["signature_priv"]
    else:
        size = len(each["signature_priv"]) // 2
        assert expand(secret, b"vc signature seed", suite, size).hex() == each["signature_priv"]


@pytest.mark.parametrize("cipher_suite", sorted(SUITES))
def test_derived_signature_keys_sign(cipher_suite: int) -> None:
    suite = PROVIDER.suite(cipher_suite)
    secret = derive.target_operation_secret(suite, OPERATION, b"group")
    private, public = derive.derived_signature_key(suite, secret)
    assert len(private.raw) == len(suite.scheme.generate(PROVIDER.random)[0].raw)
    signature = suite.sign_with_label(private, b"label", b"content")
    assert suite.verify_with_label(public, b"label", b"content", signature)
    again, same = derive.derived_signature_key(suite, secret)
    assert (again, same) == (private, public)


def test_candidates_out_of_range_are_passed_over() -> None:
    asked: list[int] = []
    candidates = [b"\x00\x00", b"\xfe\x00", b"\xff\xff", b"\x01\x10", b"\x01\x0f"]

    def candidate(counter: int) -> bytes:
        asked.append(counter)
        return candidates[counter]

    # Below 0x110, of which nine bits count: zero is none, twice; 0x1ff and 0x110 are too large.
    assert derive._below(0x110, candidate) == b"\x01\x0f"
    assert asked == [0, 1, 2, 3, 4]


def test_candidates_that_are_none_are_a_defect() -> None:
    with pytest.raises(BugError):
        derive._below(0x110, lambda _: b"\x01\xff")


def everything(cipher_suite: int, operation: OperationSecret, group_id: bytes, index: int) -> list[bytes]:
    """All secrets and keys of one operation in one target."""
    suite = PROVIDER.suite(cipher_suite)
    target = derive.target_operation_secret(suite, operation, group_id)
    seed = derive.key_package_seed(suite, operation, index)
    found = [target.raw, seed.raw, derive.path_secret(suite, target).raw, derive.group_creation_secret(suite, seed).raw]
    pairs = [derive.leaf_key(suite, target), derive.leaf_key(suite, seed), derive.init_key(suite, seed)]
    signing = [derive.derived_signature_key(suite, target), derive.derived_signature_key(suite, seed)]
    return [*found, *[each[0].raw for each in pairs], *[each[0].raw for each in signing]]


@pytest.mark.parametrize("cipher_suite", OF_RFC_9420)
def test_whatever_differs_gives_other_keys(cipher_suite: int) -> None:
    base = everything(cipher_suite, OPERATION, b"group", 0)
    assert len(set(base)) == len(base)
    assert base == everything(cipher_suite, OPERATION, b"group", 0)
    another = everything(cipher_suite, OperationSecret(bytes(32)), b"group", 0)
    assert not set(base) & set(another)
    elsewhere = everything(cipher_suite, OPERATION, b"Group", 1)
    assert not set(base) & set(elsewhere)
    for other in OF_RFC_9420:
        if other != cipher_suite:  # those of the same KDF too
            assert not set(base) & set(everything(other, OPERATION, b"group", 0))


def test_no_secret_is_shown() -> None:
    suite = PROVIDER.suite(1)
    target = derive.target_operation_secret(suite, OPERATION, b"group")
    seed = derive.key_package_seed(suite, OPERATION, 0)
    shown = repr((OPERATION, target, seed, derive.path_supply(suite, target), derive.init_key(suite, seed)))
    for secret in [OPERATION.raw, *everything(1, OPERATION, b"group", 0)]:
        assert repr(secret)[2:-1] not in shown
