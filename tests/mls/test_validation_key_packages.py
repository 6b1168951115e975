"""RFC 9420 §10.1 and §16.6: KeyPackages that nobody may be added by, and keys that nothing can be sealed to."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.hpke import SMALL_ORDER
from mls.proposals import Add
from tests.mls.clients import client, environment, party
from tests.mls.frankenstein import (
    PathSurgery,
    external_init,
    flipped,
    forge_commit,
    forge_package,
)
from tests.mls.refusals import (
    A,
    B,
    C,
    refuses,
    refuses_in_path,
    refuses_in_tree,
    refuses_to_add,
    refuses_update,
)
from tests.validation import breaks

STRANGER = client("stranger")


@breaks("VAL-10.1-1")
@pytest.mark.parametrize("fault", [{"version": 0}, {"version": 2}, {"cipher_suite": 3}, {"cipher_suite": 0xF00D}])
def test_a_key_package_for_another_version_or_suite(fault: dict[str, int]) -> None:
    env = environment("other")
    bad = forge_package(STRANGER, env, **fault)  # type: ignore[arg-type]
    refuses_to_add("VAL-10.1-1", party(2), bad, forge_package(STRANGER, env))


@breaks("VAL-10.1-2")
@pytest.mark.parametrize("source", [2, 3])
def test_a_key_package_with_a_leaf_from_elsewhere(source: int) -> None:
    env = environment("source")
    bad = forge_package(STRANGER, env, source=source)
    refuses_to_add("VAL-10.1-2", party(2), bad, forge_package(STRANGER, env))


@breaks("VAL-10.1-3")
def test_a_key_package_signature() -> None:
    env = environment("signature")
    refuses_to_add(
        "VAL-10.1-3", party(2), forge_package(STRANGER, env, signature=flipped), forge_package(STRANGER, env)
    )


@breaks("VAL-10.1-4")
def test_an_init_key_that_is_the_leaf_s_key() -> None:
    env = environment("one key")
    _, key = party(1)[A].suite.generate_key_pair(env.provider.random)
    bad = forge_package(STRANGER, env, init_key=key, leaf_key=key)
    refuses_to_add("VAL-10.1-4", party(2), bad, forge_package(STRANGER, env, leaf_key=key))


NO_KEYS = [b"", bytes(31), bytes(33), *sorted(key for key in SMALL_ORDER if len(key) == 32)]


@breaks("VAL-10.1-5")
@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: key.hex()[:8] or "empty")
def test_a_key_that_is_none(key: bytes) -> None:
    """Short and long ones, and those with which every exchange gives zero: nobody could commit any more."""
    env = environment("no key")
    good = forge_package(STRANGER, env)
    refuses_to_add("VAL-10.1-5", party(2), forge_package(STRANGER, env, init_key=key), good)
    refuses_to_add("VAL-10.1-5", party(2), forge_package(STRANGER, env, leaf_key=key), good)
    refuses_update("VAL-10.1-5", party(3), encryption_key=key)
    refuses_in_path("VAL-10.1-5", party(3), encryption_key=key)
    refuses_in_tree("VAL-10.1-5", env, encryption_key=key)


@breaks("VAL-10.1-5")
@pytest.mark.parametrize("key", NO_KEYS[2:5], ids=lambda key: key.hex()[:8])
def test_a_path_node_s_key_that_is_none(key: bytes) -> None:
    """Who is not below the node cannot compare it with a secret, and would seal to it in the next commit."""
    party_ = party(4, shape="full")
    env = party_.env
    surgery = PathSurgery(public=lambda keys: [key, *keys[1:]])
    messages = [forge_commit(party_[B], env, party_.clients[B], path=path).message for path in (surgery, True)]
    refuses("VAL-10.1-5", party_, C, *messages)
    init, secret = external_init(party_[A], env)
    commits = [
        forge_commit(party_[A], env, STRANGER, [init], external=secret, path=path).message
        for path in (PathSurgery(leaf={"encryption_key": key}), True)
    ]
    refuses("VAL-10.1-5", party_, C, *commits)


@breaks("VAL-10.1-5")
@pytest.mark.parametrize("suite", [2, 4, 5, 6, 7])
def test_a_key_that_is_none_for_other_suites(suite: int) -> None:
    env = environment("no key")
    party_ = party(2, suite)
    stranger = client("stranger", suite)
    good = forge_package(stranger, env)
    key = good.key_package.init_key
    if suite in (4, 6):
        wrong = [key[:-1], b"", *(each for each in SMALL_ORDER if len(each) == 56)]
    else:
        compressed = bytes([2 + key[-1] % 2]) + key[1 : 1 + len(key) // 2]
        wrong = [key[:-1], b"\x00", compressed, flipped(key)]
    for each in wrong:
        refuses_to_add("VAL-10.1-5", party_, forge_package(stranger, env, init_key=each), good, alone=False)


def test_the_good_key_package_is_added_and_joins() -> None:
    party_ = party(2)
    package = forge_package(STRANGER, party_.env)
    sent = front.commit(party_[A], party_.env, proposals=[Add(package.key_package)])
    assert STRANGER.join(party_.env, sent.welcome, [package]).authenticator == sent.group.authenticator
