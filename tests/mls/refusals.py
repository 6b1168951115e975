"""How the validation tests ask: a bad message is refused by its number, nothing has changed, a good one still works.

The good message is what the bad one would be without its one fault, so each test also shows that only that fault is
the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.credential import Credential
from mls.errors import PeerError
from mls.group import Event, ExternallyJoined
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extensions, LeafNode
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment
from mls.state import Group
from mls.suite import Suite
from mls.tree.nodes import Value
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import DEFAULT, NAMES, Client, Party, client, snapshot
from tests.mls.frankenstein import (
    PathSurgery,
    changed_tree,
    forge_commit,
    forge_leaf,
    own_update,
    proposed,
    spoken,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome

A, B, C, D, E, F, G, H = NAMES[:8]


class Trusting:
    """Believes everyone and everything, so that other rules can be looked at."""

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        pass

    def succeeds(self, old: Credential, new: Credential) -> bool:
        return True


def trusting(env: Environment) -> Environment:
    return replace(env, authentication=Trusting())


def refused(rule: str, action: Callable[[], object]) -> PeerError:
    """The refusal of `action`, which must be for that rule."""
    with pytest.raises(PeerError) as caught:
        action()
    assert caught.value.check == rule, caught.value
    return caught.value


def refuses(rule: str, party: Party, to: str, message: bytes, good: bytes | None = None, **options: Any) -> PeerError:
    """`to` refuses the message, is what it was before, and takes the good one (or hears somebody speak)."""
    group = party[to]
    before = snapshot(group)
    error = refused(rule, lambda: front.receive(group, party.env, message, **options))
    assert snapshot(group) == before
    if good is None:
        speaker = next(name for name in party.names if name != to)
        good = spoken(party[speaker], party.env)
    front.receive(group, party.env, good, **options)
    assert snapshot(group) == before
    return error


def accepts(party: Party, to: str, message: bytes, **options: Any) -> Event:
    """`to` takes the message and goes on from there."""
    event = front.receive(party[to], party.env, message, **options)
    party.groups[to] = event.group
    return event


def refuses_to_join(
    rule: str,
    env: Environment,
    package: KeyPackageSecrets,
    welcome: bytes,
    good: bytes | None,
    *,
    parameters: Parameters = DEFAULT,
    **options: Any,
) -> None:
    """The Welcome is refused; with the same KeyPackage, the good one makes a member."""
    refused(rule, lambda: front.join(env, parameters, welcome, [package], **options))
    if good is not None:
        group, used = front.join(env, parameters, good, [package], **options)
        assert used is package
        assert isinstance(group, Group)


def refuses_to_enter(
    rule: str, env: Environment, client: Client, group_info: bytes, good: bytes | None, **options: Any
) -> None:
    """The GroupInfo is refused by who wants to join by external commit; the good one is taken."""
    refused(rule, lambda: client.join_externally(env, group_info, **options))
    if good is not None:
        joined = client.join_externally(env, good, **options)
        assert isinstance(joined, ExternallyJoined)


# The places where leaves come from


def refuses_to_add(
    rule: str, party: Party, bad: KeyPackageSecrets, good: KeyPackageSecrets, *, alone: bool = True
) -> None:
    """Nobody adds that KeyPackage: we do not commit it, nor take a proposal or a commit of it.

    Without `alone` the fault is one of the list that the proposal stands in.
    """
    env = party.env
    before = snapshot(party[A])
    refused(rule, lambda: front.commit(party[A], env, proposals=[Add(bad.key_package)]))
    assert snapshot(party[A]) == before
    front.commit(party[A], env, proposals=[Add(good.key_package)])
    if alone:
        refuses(
            rule,
            party,
            A,
            proposed(party[B], env, Add(bad.key_package)),
            proposed(party[B], env, Add(good.key_package)),
        )
    refuses(
        rule,
        party,
        A,
        forge_commit(party[B], env, party.clients[B], [Add(bad.key_package)]).message,
        forge_commit(party[B], env, party.clients[B], [Add(good.key_package)]).message,
    )


def refuses_update(rule: str, party: Party, *, alone: bool = True, **leaf: Any) -> None:
    """An Update of B's leaf with those fields is refused; without `alone`, only once it is committed."""
    env = party.env
    bad = proposed(party[B], env, own_update(party[B], party.clients[B], env, **leaf))
    good = proposed(party[B], env, own_update(party[B], party.clients[B], env))
    if alone:
        refuses(rule, party, A, bad, good)
        return
    for name in (A, C):
        accepts(party, name, bad)
    items = list(party[C].proposals.values())
    commit = forge_commit(party[C], env, party.clients[C], items).message
    refuses(rule, party, A, commit, forge_commit(party[C], env, party.clients[C]).message)


def refuses_in_path(rule: str, party: Party, **leaf: Any) -> None:
    """A commit by B whose new leaf has those fields is refused."""
    bad = forge_commit(party[B], party.env, party.clients[B], path=PathSurgery(leaf=leaf))
    good = forge_commit(party[B], party.env, party.clients[B])
    refuses(rule, party, A, bad.message, good.message)


def small_tree(env: Environment, newcomer: KeyPackageSecrets, *others: LeafNode) -> RatchetTree:
    """Leaf 0 is A; then the others, then the newcomer; no parent nodes."""
    suite = Suite(newcomer.key_package.cipher_suite)
    first = client(A, suite.cipher_suite).package(env).key_package.leaf_node
    values: list[Value] = []
    for leaf in (first, *others, newcomer.key_package.leaf_node):
        values.extend((leaf, None))
    return RatchetTree.of_values(suite, values[:-1])


def refuses_in_tree(
    rule: str,
    env: Environment,
    *,
    by: Client | None = None,
    copied: str = "",
    group_extensions: Extensions = (),
    bad_extensions: Extensions | None = None,
    parameters: Parameters = DEFAULT,
    good: dict[str, Any] | None = None,
    **leaf: Any,
) -> None:
    """Nobody joins a group in which B's leaf has those fields, or which has those extensions.

    The bad leaf is signed `by` somebody else, or has a field `copied` from A's, if that is said.
    """
    newcomer = client("newcomer", parameters=parameters)
    package = newcomer.package(env)
    someone = client(B)
    _, key = Suite(1).generate_key_pair(env.provider.random)
    fine = small_tree(env, package, forge_leaf(someone, **{"encryption_key": key, **(good or {})}))
    if copied:
        leaf[copied] = getattr(fine.leaf(0), copied)
    wrong = changed_tree(fine, {2: forge_leaf(by or someone, **{"encryption_key": key, **(good or {}), **leaf})})
    if bad_extensions is None:
        bad_extensions = group_extensions
    bad_info = forge_info(env, wrong, client(A), group_extensions=bad_extensions)
    good_info = forge_info(env, fine, client(A), group_extensions=group_extensions)
    refuses_to_join(
        rule,
        env,
        package,
        forge_welcome(env, bad_info, package),
        forge_welcome(env, good_info, package),
        parameters=parameters,
    )
    stranger = client("stranger", parameters=parameters)
    refuses_to_enter(rule, env, stranger, bad_info.message, good_info.message)
