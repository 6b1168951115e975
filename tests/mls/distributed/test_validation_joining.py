"""DiMLS §4.2.1: send groups that nobody should get into, rule by rule.

Bob is sent a Welcome into a group that Alice made up, with one fault; the same group without the fault is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mls import group as mls
from mls.codec import opaque, u16
from mls.components.dictionary import dictionary_extension
from mls.components.lists import ComponentsList
from mls.distributed import session as front
from mls.distributed.errors import AwaitedError, EpochName, StrangerError
from mls.distributed.mode import group_extensions, leaf_extension, removals_extension
from mls.distributed.send_group import psk_id
from mls.errors import MissingPskError
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extension, Extensions, RequiredCapabilities
from mls.proposals import Add
from mls.provider import Environment
from mls.psk import ApplicationPskId, ExternalPskId, PreSharedKeyId, ResumptionPskId
from mls.registries import Epoch, GroupId
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import environment
from tests.mls.distributed.people import DGROUP, PARAMETERS, create, group_id, identity, offer, person
from tests.mls.frankenstein import forge_leaf
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import refused
from tests.validation import breaks

ALICE, BOB, CAROL = map(group_id, ("alice", "bob", "carol"))
NUMBERS = PARAMETERS.components.numbers
GOOD = group_extensions(NUMBERS, DGROUP)


def welcome(
    env: Environment,
    package: KeyPackageSecrets,
    *,
    group: Extensions = GOOD,
    signer: str = "alice",
    first: str = "alice",
    owner: dict[str, Any] | None = None,
    third: dict[str, Any] | None = None,
    psks: Sequence[PreSharedKeyId] = (),
    removed: Sequence[GroupId] = (),
) -> bytes:
    """Into a send group of Alice with herself, Carol and whose KeyPackage it is."""
    keys = [Suite(1).generate_key_pair(env.provider.random)[1] for _ in range(2)]
    about_owner = {"source": 3, "group_id": ALICE, "extensions": (leaf_extension(NUMBERS, ALICE),), **(owner or {})}
    about_third = {"client": person("carol"), "extensions": (leaf_extension(NUMBERS, CAROL),), **(third or {})}
    third_client = about_third.pop("client")
    leaves = [
        forge_leaf(person(first), keys[0], **about_owner),
        package.key_package.leaf_node,
        forge_leaf(third_client, keys[1], **about_third),
    ]
    tree = RatchetTree.of_values(Suite(1), [leaves[0], None, leaves[1], None, leaves[2]])
    at = {"alice": 0, "carol": 2}[signer]
    who = person(first if at == 0 else signer)
    says = (removals_extension(NUMBERS, removed),) if removed else ()
    info = forge_info(env, tree, who, leaf=at, group_id=ALICE, group_extensions=group, extensions=says)
    return forge_welcome(env, info, package, psks=psks)


def refuses(rule: str, **fault: Any) -> None:
    env = environment("joining")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice"), offer(env, "carol")]).session
    bad = welcome(env, package, **fault)
    refused(rule, lambda: front.join(bob, env, bad, [package]))
    joined = front.join(bob, env, welcome(env, package), [package])
    assert joined.owner == ALICE
    assert joined.package is package


def said(listed: tuple[int, ...], marker: bytes | None) -> Extension:
    entries: dict[int, bytes] = {NUMBERS.app_components: ComponentsList.of(listed).encode()}
    if marker is not None:
        entries[NUMBERS.dimls] = marker
    return dictionary_extension(entries)


MARKER = u16(1) + opaque(DGROUP)


@breaks("DIMLS-4.1-1")
def test_a_welcome_that_somebody_else_signed() -> None:
    refuses("DIMLS-4.1-1", signer="carol")


@breaks("DIMLS-4.2.1-1")
def test_a_marker_of_another_version() -> None:
    refuses("DIMLS-4.2.1-1", group=(GOOD[0], said((NUMBERS.dimls,), u16(2) + opaque(DGROUP))))


@breaks("DIMLS-4.2.1-2")
def test_a_group_that_does_not_demand_the_component() -> None:
    refuses("DIMLS-4.2.1-2", group=(GOOD[0], said((), MARKER)))


@breaks("DIMLS-4.2.1-2")
def test_a_group_that_is_none() -> None:
    env = environment("plain")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice")]).session
    who = person("alice")
    plain = who.create(env, ALICE, leaf_extensions=(leaf_extension(NUMBERS, ALICE),))
    sent = mls.commit(plain, env, proposals=[Add(package.key_package)])
    assert sent.welcome is not None
    refused("DIMLS-4.2.1-2", lambda: front.join(bob, env, sent.welcome or b"", [package]))


@breaks("DIMLS-4.2.1-3")
def test_a_group_that_does_not_demand_leaf_replacement() -> None:
    required = RequiredCapabilities((6,)).extension()
    refuses("DIMLS-4.2.1-3", group=(required, GOOD[1]))


@breaks("DIMLS-4.2.1-4")
def test_a_leaf_that_came_by_an_update() -> None:
    refuses("DIMLS-4.2.1-4", third={"source": 2, "group_id": CAROL})


@breaks("DIMLS-4.2.1-5")
def test_a_leaf_that_names_no_send_group() -> None:
    refuses("DIMLS-4.2.1-5", third={"extensions": (said((NUMBERS.dimls,), None),)})


@breaks("DIMLS-4.2.1-6")
def test_an_owner_who_names_another_send_group() -> None:
    refuses("DIMLS-4.2.1-6", owner={"extensions": (leaf_extension(NUMBERS, GroupId(b"other")),)})


@breaks("DIMLS-4.2.1-7")
@pytest.mark.parametrize("name", [ALICE, BOB])
def test_two_leaves_with_one_name(name: GroupId) -> None:
    refuses("DIMLS-4.2.1-7", third={"extensions": (leaf_extension(NUMBERS, name),)})


@breaks("DIMLS-4.2.1-8")
def test_a_send_group_of_another_dgroup() -> None:
    refuses("DIMLS-4.2.1-8", group=group_extensions(NUMBERS, b"something else"))


@breaks("DIMLS-4.2.1-9")
def test_a_send_group_of_another_cipher_suite() -> None:
    env = environment("suites")
    package = offer(env, "bob", 3)
    bob = create(env, "bob", [offer(env, "alice")]).session
    sent = create(env, "alice", [package], cipher_suite=3)
    refused("DIMLS-4.2.1-9", lambda: front.join(bob, env, sent.welcome or b"", [package]))
    own = offer(env, "bob")
    front.join(bob, env, create(env, "alice", [own]).welcome or b"", [own])


@breaks("DIMLS-4.2.1-10")
def test_a_send_group_in_the_name_of_somebody_else() -> None:
    refuses("DIMLS-4.2.1-10", first="mallory")


@breaks("DIMLS-4.1.1.2-1")
def test_a_welcome_with_a_key_that_is_named_after_no_epoch() -> None:
    nonce = bytes(32)
    refuses("DIMLS-4.1.1.2-1", psks=[ExternalPskId(b"8 bytes.", nonce)])
    env = environment("awaited")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice"), offer(env, "carol")]).session
    name = EpochName(CAROL, Epoch(3))
    with pytest.raises(AwaitedError) as caught:
        front.join(bob, env, welcome(env, package, psks=[ExternalPskId(psk_id(name), nonce)]), [package])
    assert caught.value.needs == (name,)
    for psk in (ResumptionPskId(1, CAROL, Epoch(1), nonce), ApplicationPskId(NUMBERS.dimls, b"key", nonce)):
        with pytest.raises(MissingPskError):
            front.join(bob, env, welcome(env, package, psks=[psk]), [package])


def test_a_leaf_replaced_before_we_came_is_checked_for_where_it_was_made() -> None:
    """Carol's leaf in Alice's tree is from Carol's send group, and is signed for that place only."""
    moved = {"source": 3, "group_id": CAROL, "leaf_index": 0}
    env = environment("moved")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice"), offer(env, "carol")]).session
    front.join(bob, env, welcome(env, package, third=moved), [package])
    for wrong in ({"group_id": ALICE}, {"leaf_index": 2}):
        bad = welcome(env, package, third={**moved, **wrong})
        refused("VAL-7.3-2", lambda bad=bad: front.join(bob, env, bad, [package]))  # type: ignore[misc]


def test_a_welcome_of_a_stranger_waits_until_somebody_knows_them() -> None:
    env = environment("stranger")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "carol")]).session
    with pytest.raises(StrangerError):
        front.join(bob, env, welcome(env, package), [package])


@breaks("DIMLS-4.2.1-11")
def test_a_key_package_that_was_for_another_dgroup() -> None:
    """Alice knows Bob from two DGroups, and takes the one's KeyPackage into the other."""
    env = environment("two")
    other = front.offer(env, PARAMETERS, 1, b"elsewhere", **identity(person("bob")))
    own = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice"), offer(env, "carol")]).session
    refused("DIMLS-4.2.1-11", lambda: front.join(bob, env, welcome(env, other), [own, other]))
    front.join(bob, env, welcome(env, own), [own, other])


@breaks("DIMLS-4.2.1-10")
def test_a_tree_in_which_a_member_is_somebody_else() -> None:
    """What Bob knows of Carol is not what stands under her name in Alice's send group."""
    refuses("DIMLS-4.2.1-10", third={"client": person("puppet")})


def test_a_name_in_a_tree_whose_member_nobody_knows_has_to_wait() -> None:
    """A leaf without the key that made its name follows from others; Bob has not seen any of those."""
    env = environment("unseen")
    package = offer(env, "bob")
    bob = create(env, "bob", [offer(env, "alice")]).session
    renewed = {"client": replace(person("carol"), signer=person("carol anew").signer)}
    with pytest.raises(StrangerError):
        front.join(bob, env, welcome(env, package, third=renewed), [package])
    front.join(bob, env, welcome(env, package), [package])
    knowing = create(env, "bob", [offer(env, "alice"), offer(env, "carol")]).session
    front.join(knowing, env, welcome(env, package, third=renewed), [package])


@breaks("DIMLS-5-3")
def test_a_welcome_that_lists_its_own_members_as_removed() -> None:
    for name in (ALICE, BOB, CAROL):
        refuses("DIMLS-5-3", removed=[name])
