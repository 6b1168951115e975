"""RFC 9420 §12.4.3.1: Welcomes and GroupInfos that nobody may join by.

What can be wrong with the tree itself is in test_validation_trees.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls import group as front
from mls.codec import opaque
from mls.proposals import Add
from mls.psk import ExternalPskId
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import Psks, client, environment, party
from tests.mls.frankenstein import PathSurgery, flipped, forge_commit
from tests.mls.frankenstein_welcome import forge_info, forge_welcome, info_of
from tests.mls.refusals import A, C, refused, refuses_to_enter, refuses_to_join, small_tree
from tests.validation import breaks

NEWCOMER = client("newcomer")
STRANGER = client("stranger")


def refuses_welcome(rule: str, *, info: dict[str, Any] | None = None, **welcome: Any) -> None:
    """A Welcome with that surgery, on itself or on the GroupInfo inside."""
    env = environment("welcome")
    package = NEWCOMER.package(env)
    tree = small_tree(env, package)
    good = forge_welcome(env, forge_info(env, tree, client(A)), package)
    bad = forge_welcome(env, forge_info(env, tree, client(A), **(info or {})), package, **welcome)
    refuses_to_join(rule, env, package, bad, good)


def refuses_info(rule: str, **info: Any) -> None:
    """A GroupInfo with that surgery, inside a Welcome and published."""
    refuses_welcome(rule, info=info)
    env = environment("info")
    tree = small_tree(env, NEWCOMER.package(env))
    infos = [forge_info(env, tree, client(A), **fields).message for fields in (info, {})]
    refuses_to_enter(rule, env, STRANGER, *infos)


# Which KeyPackage


@breaks("VAL-12.4.3.1-1")
@pytest.mark.parametrize(
    "fault", [{"reference": bytes(32)}, {"reference": b""}, {"cipher_suite": 3}, {"cipher_suite": 0xF00D}]
)
def test_a_welcome_for_none_of_our_key_packages(fault: dict[str, Any]) -> None:
    """Under another suite the reference is another one too, and for a suite that nobody has there is none."""
    refuses_welcome("VAL-12.4.3.1-1", **fault)


@breaks("VAL-12.4.3.1-1")
def test_a_welcome_for_a_key_package_of_another_suite() -> None:
    env = environment("suites")
    package = NEWCOMER.package(env)
    other = client("newcomer", 3).package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    reference = other.key_package.reference(Suite(1))
    bad = forge_welcome(env, info, package, reference=reference)
    refused("VAL-12.4.3.1-1", lambda: front.join(env, NEWCOMER.parameters, bad, [other, package]))
    front.join(env, NEWCOMER.parameters, forge_welcome(env, info, package), [other, package])


@breaks("VAL-12.4.3.1-2")
def test_group_secrets_that_do_not_decrypt() -> None:
    refuses_welcome("VAL-12.4.3.1-2", sealed=flipped)
    refuses_welcome("VAL-12.4.3.1-2", sealed=lambda _: b"")


@breaks("VAL-12.4.3.1-2")
def test_group_secrets_for_another_group_info() -> None:
    """§12.4.3.1: the encrypted GroupInfo is part of what they are sealed under."""
    env = environment("swapped")
    package = NEWCOMER.package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    good = forge_welcome(env, info, package)
    refuses_to_join("VAL-12.4.3.1-2", env, package, flipped(good), good)


@breaks("VAL-12.4.3.1-4")
def test_a_group_info_that_does_not_decrypt() -> None:
    refuses_welcome("VAL-12.4.3.1-4", encrypted=flipped)
    refuses_welcome("VAL-12.4.3.1-4", encrypted=lambda _: b"")
    refuses_welcome("VAL-12.4.3.1-4", secrets=lambda plain: opaque(bytes(32)) + plain[33:])


@breaks("VAL-2.1-5")
def test_bytes_after_the_group_secrets_or_the_group_info() -> None:
    refuses_welcome("VAL-2.1-5", secrets=lambda plain: plain + b"\x00")
    refuses_welcome("VAL-2.1-5", group_info=lambda plain: plain + b"\x00")


# Pre-shared keys; those that found a group are in test_validation_founding.py


@breaks("VAL-12.1.4-1")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_pre_shared_key_with_another_size_of_nonce(size: int) -> None:
    env = environment("nonce", psks=Psks({b"known": b"a key"}))
    package = NEWCOMER.package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    bad = forge_welcome(env, info, package, psks=[ExternalPskId(b"known", bytes(size))])
    refuses_to_join("VAL-12.1.4-1", env, package, bad, forge_welcome(env, info, package))


@breaks("VAL-8.4-2")
@pytest.mark.slow
def test_more_pre_shared_keys_than_16_bits_can_count() -> None:
    env = environment("many", psks=Psks({b"": b"a key"}))
    package = NEWCOMER.package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    psks = [ExternalPskId(b"", at.to_bytes(32, "big")) for at in range(0x1_0000)]
    bad = forge_welcome(env, info, package, psks=psks)
    refuses_to_join("VAL-8.4-2", env, package, bad, forge_welcome(env, info, package))


# What the GroupInfo says


@breaks("VAL-8.1-1")
@pytest.mark.parametrize("version", [0, 2, 0xFFFF])
def test_a_group_of_another_version(version: int) -> None:
    refuses_info("VAL-8.1-1", version=version)


@breaks("VAL-8.1-2")
@pytest.mark.parametrize("epoch", [2**63, 2**64 - 2, 2**64 - 1])
def test_an_epoch_after_which_there_is_none(epoch: int) -> None:
    refuses_info("VAL-8.1-2", epoch=epoch)


@breaks("VAL-12.4.3.1-5")
@pytest.mark.parametrize("leaf", [2, 3, 0xFFFF_FFFF])
def test_a_signer_who_is_not_there(leaf: int) -> None:
    refuses_info("VAL-12.4.3.1-5", leaf=leaf)


@breaks("VAL-12.4.3.1-6")
@pytest.mark.parametrize("fault", [{"signature": flipped}, {"signature": lambda _: b""}, {"leaf": 1}])
def test_a_group_info_signature(fault: dict[str, Any]) -> None:
    refuses_info("VAL-12.4.3.1-6", **fault)


@breaks("VAL-12.4.3.1-7")
def test_a_group_that_we_are_in_already() -> None:
    env = environment("again")
    package = NEWCOMER.package(env)
    tree = small_tree(env, package)
    welcomes = [
        forge_welcome(env, forge_info(env, tree, client(A), group_id=group_id), package)
        for group_id in (b"group", b"another group")
    ]
    refuses_to_join("VAL-12.4.3.1-7", env, package, *welcomes, known_groups={b"group"})


@breaks("VAL-12.4.3.1-8")
def test_a_group_info_for_another_suite_than_the_welcome() -> None:
    """Suite 3 has the same keys, hash and signatures as suite 1, so everything else would fit."""
    refuses_welcome("VAL-12.4.3.1-8", info={"cipher_suite": 3})
    refuses_welcome("VAL-12.4.3.1-8", info={"cipher_suite": 0xF00D})


@breaks("VAL-12.4.3.1-8")
def test_a_published_group_info_for_a_suite_that_nobody_has() -> None:
    env = environment("suite")
    tree = small_tree(env, NEWCOMER.package(env))
    infos = [forge_info(env, tree, client(A), cipher_suite=suite).message for suite in (0xF00D, 1)]
    refuses_to_enter("VAL-12.4.3.1-8", env, STRANGER, *infos)


@breaks("VAL-12.4.3.1-12")
def test_a_tree_without_us() -> None:
    env = environment("without")
    package, other = NEWCOMER.package(env), NEWCOMER.package(env)
    trees = [small_tree(env, each) for each in (other, package)]  # the same client, by another KeyPackage
    trees.append(small_tree(env, STRANGER.package(env)))
    infos = [forge_info(env, tree, client(A)) for tree in trees]
    good = forge_welcome(env, infos[1], package)
    for at in (0, 2):
        refuses_to_join("VAL-12.4.3.1-12", env, package, forge_welcome(env, infos[at], package), good)


# The path secret


def added_with(surgery: PathSurgery | bool) -> Callable[[bytes | None], tuple[Any, ...]]:
    """A commit of B's with a path, that adds the newcomer as leaf 3 of four, and a Welcome with any path secret."""
    party_ = party(3)
    env = party_.env
    package = NEWCOMER.package(env)
    forged = forge_commit(party_[C], env, party_.clients[C], [Add(package.key_package)], path=surgery)
    info = info_of(forged, party_.clients[C], 2)

    def welcome(secret: bytes | None) -> tuple[Any, ...]:
        given = forged.path_secrets[5] if secret is None else secret
        return env, package, forge_welcome(env, info, package, path_secret=given)

    return welcome


@breaks("VAL-12.4.3.1-13")
@pytest.mark.parametrize("secret", [bytes(32), bytes(31), b""])
def test_a_path_secret_that_does_not_lead_to_the_tree(secret: bytes) -> None:
    welcome = added_with(surgery=True)
    env, package, bad = welcome(secret)
    refuses_to_join("VAL-12.4.3.1-13", env, package, bad, welcome(None)[2])


@breaks("VAL-12.4.3.1-13")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_path_secret_of_another_size(size: int) -> None:
    """All keys of the path follow from it, only its size is wrong."""
    env, package, bad = added_with(PathSurgery(first=size))(None)
    refuses_to_join("VAL-12.4.3.1-13", env, package, bad, None)


@breaks("VAL-12.4.3.1-13")
def test_a_path_secret_where_there_is_no_path() -> None:
    refuses_welcome("VAL-12.4.3.1-13", path_secret=bytes(32))


@breaks("VAL-12.4.3.1-13")
def test_a_path_secret_from_ourselves() -> None:
    """A GroupInfo that our own leaf signed, in a group of nobody else: there is no node that the secret could be of."""
    env = environment("own")
    package = NEWCOMER.package(env)
    suite = Suite(1)
    tree = RatchetTree.of_values(suite, [package.key_package.leaf_node])
    info = forge_info(env, tree, NEWCOMER)
    welcomes = [forge_welcome(env, info, package, path_secret=secret) for secret in (bytes(32), None)]
    refuses_to_join("VAL-12.4.3.1-13", env, package, *welcomes)


@breaks("VAL-12.4.3.1-14")
@pytest.mark.parametrize("tag", [flipped, lambda _: b"", lambda _: bytes(32)])
def test_a_confirmation_tag(tag: Callable[[bytes], bytes]) -> None:
    refuses_welcome("VAL-12.4.3.1-14", info={"tag": tag})


def test_a_good_welcome_and_group_info() -> None:
    """What the tests above vary, once as it should be: the newcomer and the epoch's maker share its secrets."""
    env = environment("good")
    package = NEWCOMER.package(env)
    info = forge_info(env, small_tree(env, package), client(A))
    joined = NEWCOMER.join(env, forge_welcome(env, info, package), [package])
    assert joined.authenticator == info.advanced.secrets.authenticator
    assert joined.own_leaf == 1
