"""RFC 9420 §12.4.3.1 for devices that share a leaf: a Welcome for a KeyPackage that only a sibling has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mls import group as front
from mls.errors import (
    UnderivedError,
)
from mls.key_package import JoinSecrets, KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.provider import Environment
from mls.registries import (
    KeyPackageRef,
)
from mls.secrets import SignaturePrivateKey
from tests.mls.clients import (
    DEFAULT,
    check_private_keys,
    client,
    environment,
    party,
    snapshot,
)
from tests.mls.frankenstein import forge_leaf
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import A, B, refused, small_tree
from tests.mls.suite_variants import GROUP_SUITES
from tests.validation import breaks


def derived(env: Environment, package: KeyPackageSecrets, **changes: Any) -> JoinSecrets:
    """What a device knows that has the secrets, and not the KeyPackage."""
    suite = env.suite(package.key_package.cipher_suite)
    fields = {
        "reference": package.key_package.reference(suite),
        "cipher_suite": suite.cipher_suite,
        "init_private": package.init_private,
        "leaf_private": package.leaf_private,
        "signer": lambda _: package.signature_private,
        **changes,
    }
    return JoinSecrets(**fields)


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_welcome_without_the_key_package(suite: int) -> None:
    ours = party(3, suite, shape="full")
    anna, ben = client("anna", suite), client("ben", suite)
    package, other = anna.package(ours.env), ben.package(ours.env)
    asked: list[LeafNode] = []

    def signer(leaf_node: LeafNode) -> SignaturePrivateKey:
        asked.append(leaf_node)
        return package.signature_private

    sent = ours.commit("member00", joining=[(anna, package), (ben, other)])
    assert sent.welcome is not None
    secrets = derived(ours.env, package, signer=signer)
    welcomed = front.join_informed(ours.env, DEFAULT, sent.welcome, [secrets])
    assert isinstance(welcomed, front.Welcomed)
    assert welcomed.package is secrets
    assert asked == [package.key_package.leaf_node]
    assert snapshot(welcomed.group) == snapshot(ours["anna"])
    check_private_keys(welcomed.group)
    # KeyPackages and what replaces them may be offered together.
    mixed: list[KeyPackageSecrets | JoinSecrets] = [client("carl", suite).package(ours.env), secrets]
    group, used = front.join(ours.env, DEFAULT, sent.welcome, mixed)
    assert used is secrets
    assert snapshot(group) == snapshot(ours["anna"])
    assert all(repr(key.raw) not in repr(secrets) for key in (package.init_private, package.leaf_private))


@breaks("VAL-12.4.3.1-1")
def test_a_welcome_for_another_reference_or_suite() -> None:
    env = environment()
    package = client(B).package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    welcome = forge_welcome(env, info, package)
    for wrong in ({"reference": KeyPackageRef(bytes(32))}, {"cipher_suite": 2}):
        refused(
            "VAL-12.4.3.1-1",
            partial(front.join, env, DEFAULT, welcome, [derived(env, package, **wrong)]),
        )
    front.join(env, DEFAULT, welcome, [derived(env, package)])


@breaks("VAL-12.4.3.1-12")
def test_a_tree_without_our_key() -> None:
    env = environment()
    package, other = client(B).package(env), client(B).package(env)
    for name, good in ((other, False), (package, True)):
        welcome = forge_welcome(env, forge_info(env, small_tree(env, name), client(A)), package)
        if good:
            front.join(env, DEFAULT, welcome, [derived(env, package)])
        else:
            refused("VAL-12.4.3.1-12", lambda: front.join(env, DEFAULT, welcome, [derived(env, package)]))  # noqa: B023 - used at once


@breaks("VAL-12.4.3.1-12")
def test_our_key_at_a_parent_node() -> None:
    """Whoever has to sign a KeyPackage could take a key from a tree for it; it is no leaf's key there."""
    ours = party(4, shape="full")
    anna = client("anna")
    package = anna.package(ours.env)
    sent = ours.commit("member00", joining=[(anna, package)])
    assert sent.welcome is not None
    root, key = max(ours[A].private.items())
    assert root & 1
    bad = derived(ours.env, package, leaf_private=key)
    refused("VAL-12.4.3.1-12", lambda: front.join(ours.env, DEFAULT, sent.welcome or b"", [bad]))
    front.join(ours.env, DEFAULT, sent.welcome, [derived(ours.env, package)])


@breaks("VAL-12.4.3.1-12")
@pytest.mark.parametrize("source", [2, 3])
def test_our_key_in_a_leaf_of_another_source(source: int) -> None:
    """The siblings' own signature, and yet not what was published."""
    env = environment()
    ben = client(B)
    package = ben.package(env)
    key = package.key_package.leaf_node.encryption_key
    place = {"group_id": b"group", "leaf_index": 1, "source": source}
    for fields, good in ((place, False), ({"extensions": ()}, True)):
        leaf = forge_leaf(ben, key, **fields)
        swapped = replace(package, key_package=replace(package.key_package, leaf_node=leaf))
        welcome = forge_welcome(env, forge_info(env, small_tree(env, swapped), client(A)), package)
        secrets = derived(env, package)
        if good:
            front.join(env, DEFAULT, welcome, [secrets])
        else:
            refused("VAL-12.4.3.1-12", lambda: front.join(env, DEFAULT, welcome, [secrets]))  # noqa: B023 - used at once


@breaks("VAL-12.4.3.1-12")
def test_our_key_under_somebody_elses_signature() -> None:
    """Encryption keys are public: whoever saw our KeyPackage can put the key into a leaf of its own."""
    env = environment()
    package = client(B).package(env)
    key = package.key_package.leaf_node.encryption_key
    stolen = replace(package, key_package=replace(package.key_package, leaf_node=forge_leaf(client("thief"), key)))
    bad, good = (
        forge_welcome(env, forge_info(env, small_tree(env, each), client(A)), package) for each in (stolen, package)
    )
    refused("VAL-12.4.3.1-12", lambda: front.join(env, DEFAULT, bad, [derived(env, package)]))
    front.join(env, DEFAULT, good, [derived(env, package)])


def test_a_signature_key_that_is_not_here() -> None:
    env = environment()
    package = client(B).package(env)
    welcome = forge_welcome(env, forge_info(env, small_tree(env, package), client(A)), package)

    def missing(_: LeafNode) -> SignaturePrivateKey:
        raise UnderivedError

    with pytest.raises(UnderivedError):
        front.join(env, DEFAULT, welcome, [derived(env, package, signer=missing)])
