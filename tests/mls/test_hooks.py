"""What a caller may supply or choose in the place of the core: keys, secrets, extensions, reuse guards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.errors import CallerError, MissingPskError, MlsError
from mls.group import CommitMessage
from mls.leaf_node import Extension, Extensions
from mls.proposals import Add
from mls.registries import ExtensionType
from mls.secrets import EpochSecret, InitSecret
from mls.welcome import decode_group_info
from tests.mls.clients import (
    Party,
    Psks,
    client,
    environment,
    party,
    snapshot,
)
from tests.mls.siblings import APPLICATION_ID, Notebook, Siblings, alike
from tests.mls.suite_variants import GROUP_SUITES, REPEATING_SUITES


@pytest.mark.parametrize("suite", REPEATING_SUITES)
def test_supplied_keys_of_a_key_package(suite: int) -> None:
    ours = party(2, suite)
    anna = client("anna", suite)
    init = ours.suite.generate_key_pair(ours.env.provider.random)
    leaf = ours.suite.generate_key_pair(ours.env.provider.random)
    package = anna.package(ours.env, init_key=init, leaf_key=leaf)
    assert (package.key_package.init_key, package.key_package.leaf_node.encryption_key) == (init[1], leaf[1])
    assert (package.init_private, package.leaf_private) == (init[0], leaf[0])
    again = anna.package(environment("elsewhere"), init_key=init, leaf_key=leaf)
    assert again.key_package.reference(ours.suite) == package.key_package.reference(ours.suite)
    sent = ours.commit("member00", joining=[(anna, package)])
    alike(ours["anna"], anna.join(ours.env, sent.welcome, [again]))


@pytest.mark.parametrize("suite", REPEATING_SUITES)
def test_a_supplied_first_epoch(suite: int) -> None:
    """Devices that derive the leaf key and the epoch secret found the same group, each for itself."""
    env = environment()
    secret = EpochSecret(b"\7" * env.provider.suite(suite).hash_size)
    key = env.provider.suite(suite).generate_key_pair(env.provider.random)
    founder = client("founder", suite)
    one, two = (
        founder.create(environment(seed), leaf_key=key, epoch_secret=secret, leaf_extensions=(APPLICATION_ID,))
        for seed in (1, 2)
    )
    assert snapshot(one) == snapshot(two)
    assert one.own_leaf_node.extensions == (APPLICATION_ID,)
    other = founder.create(env, leaf_key=key)
    assert other.authenticator != one.authenticator
    ours = Party(env, {"founder": founder}, {"founder": one})
    anna = client("anna", suite)
    ours.commit("founder", joining=[(anna, anna.package(env))])
    ours.say("anna", b"hello")


@pytest.mark.parametrize("shape", ["flat", "full"])
@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_supplied_path(suite: int, shape: Any) -> None:
    ours = party(5, suite, shape=shape)
    notebook = Notebook()
    supply = notebook.supply(ours["member01"], ours.env)
    sent = ours.commit("member01", supply=supply)
    group = sent.group
    assert group.private[2] is supply.leaf_private
    assert group.own_leaf_node.encryption_key == supply.leaf_public
    lowest = min(sent.path_secrets, key=lambda node: ~node & (node + 1))
    assert sent.path_secrets[lowest] == supply.path_secret.raw
    with pytest.raises(MlsError):  # and no key twice
        front.commit(group, ours.env, supply=supply)


# ---------------------------------------------------------------- what the caller adds


def test_leaf_extensions_are_chosen_when_the_key_is_known() -> None:
    """For Updates, commits and external commits; only the last has an init secret to carry."""
    ours = party(2)
    seen: list[tuple[bytes, InitSecret | None]] = []

    def choose(encryption_key: bytes, external_init: InitSecret | None) -> Extensions:
        seen.append((encryption_key, external_init))
        return (Extension(ExtensionType.APPLICATION_ID, encryption_key[:4]),)

    new = NewLeaf(extensions=choose)
    ours.propose_update("member01", leaf=new)
    sent = ours.commit("member00", leaf=new)
    leaves = [ours.any.public.tree.leaf(leaf) for leaf in (1, 0)]
    joined = ours.join_externally("anna", leaf_extensions=choose)
    leaves.append(joined.group.own_leaf_node)
    assert [key for key, _ in seen] == [leaf.encryption_key for leaf in leaves if leaf is not None]
    assert [init for _, init in seen] == [None, None, joined.external_init]
    for leaf in leaves:
        assert leaf is not None
        assert leaf.extensions == (Extension(ExtensionType.APPLICATION_ID, leaf.encryption_key[:4]),)
    assert sent.group.own_leaf_node == leaves[1]


def test_group_info_extensions_are_the_callers() -> None:
    ours = party(1)
    anna = client("anna")
    package = anna.package(ours.env)
    mine = Extension(0xF042, b"state for the new device")
    sent = ours.commit("member00", joining=[(anna, package)], group_info_extensions=(mine,))
    assert sent.group_info is not None
    assert mine in sent.group_info.extensions
    assert mine in decode_group_info(front.group_info(ours.any, extensions=(mine,))).extensions
    add = Add(client("ben").package(ours.env).key_package)
    again = front.commit(ours.any, ours.env, proposals=[add])
    assert again.group_info is not None
    assert mine not in again.group_info.extensions


def test_no_list_gets_two_extensions_of_one_type() -> None:
    """§13.4: everybody would refuse it, so nobody here makes it, wherever the caller adds extensions."""
    ours = party(2)
    twice = (Extension(ExtensionType.APPLICATION_ID, b"a"), Extension(ExtensionType.APPLICATION_ID, b"b"))
    tree = (Extension(ExtensionType.RATCHET_TREE, b""),)
    anna = client("anna")
    add = Add(anna.package(ours.env).key_package)
    calls: list[Callable[[], object]] = [
        lambda: anna.package(ours.env, extensions=twice),
        lambda: anna.package(ours.env, leaf_extensions=twice),
        lambda: front.commit(ours.any, ours.env, leaf=NewLeaf(extensions=twice)),
        lambda: front.commit(ours.any, ours.env, leaf=NewLeaf(extensions=lambda *_: twice)),
        lambda: front.propose_update(ours.any, ours.env, leaf=NewLeaf(extensions=twice)),
        lambda: front.commit(ours.any, ours.env, proposals=[add], group_info_extensions=twice),
        lambda: front.commit(ours.any, ours.env, proposals=[add], group_info_extensions=tree),
        lambda: front.group_info(ours.any, extensions=twice),
        lambda: front.group_info(ours.any, extensions=tree),
        lambda: anna.join_externally(ours.env, front.group_info(ours.any), leaf_extensions=twice),
    ]
    for call in calls:
        with pytest.raises(CallerError, match="of one type"):
            call()


def test_a_missing_psk_is_told_apart_from_a_missing_path() -> None:
    siblings = Siblings(party(3, psks=Psks({b"psk": b"shared"})))
    ours = siblings.party
    supply = siblings.notebook.supply(siblings.first, ours.env)
    psk = front.external_psk(siblings.first, ours.env, b"psk")
    sent = front.commit(siblings.first, ours.env, supply=supply, proposals=[psk])
    with pytest.raises(MissingPskError):
        front.receive(siblings.second, environment(), sent.message, own=siblings.notebook)
    assert isinstance(siblings.hear(sent.message), CommitMessage)
