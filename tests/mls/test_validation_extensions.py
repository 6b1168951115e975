"""RFC 9420 §13.4: lists of extensions, and extensions of the group that somebody does not support."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.leaf_node import Extension, Extensions, RequiredCapabilities, default_capabilities
from mls.parameters import Parameters
from mls.proposals import GroupContextExtensions, Proposal, ReInit, Remove
from mls.registries import GREASE, GroupId, LeafIndex
from mls.state import Ended
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import ANY, DEFAULT, client, environment, party, snapshot
from tests.mls.frankenstein import Raw, extension_list, forge_commit, forge_package, proposed
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import (
    A,
    B,
    C,
    refused,
    refuses,
    refuses_in_path,
    refuses_in_tree,
    refuses_to_add,
    refuses_to_enter,
    refuses_to_join,
    refuses_update,
)
from tests.validation import breaks

STRANGER = client("stranger")
PRIVATE_USE = 0xF00D
ONE: Extensions = (Extension(PRIVATE_USE, b"once"),)
TWICE: Extensions = (*ONE, Extension(PRIVATE_USE, b"twice"))
ABLE = default_capabilities(extensions=(PRIVATE_USE,))
KNOWING = Parameters(extensions=frozenset({PRIVATE_USE}))


@breaks("VAL-13.4-1")
def test_one_type_twice_in_a_leaf() -> None:
    party_ = party(3)
    env = party_.env
    refuses_update("VAL-13.4-1", party_, extensions=TWICE, capabilities=ABLE)
    refuses_in_path("VAL-13.4-1", party_, extensions=TWICE, capabilities=ABLE)
    good = {"extensions": ONE, "capabilities": ABLE}
    refuses_in_tree("VAL-13.4-1", env, good=good, extensions=TWICE)


@breaks("VAL-13.4-1")
def test_one_type_twice_in_what_we_are_told_to_send() -> None:
    party_ = party(2, capabilities=ABLE, parameters=KNOWING)
    env = party_.env
    before = snapshot(party_[A])
    refused("VAL-13.4-1", lambda: front.propose(party_[A], env, GroupContextExtensions(TWICE)))
    refused("VAL-13.4-1", lambda: front.commit(party_[A], env, proposals=[GroupContextExtensions(TWICE)]))
    assert snapshot(party_[A]) == before
    front.commit(party_[A], env, proposals=[GroupContextExtensions(ONE)])
    able = client("founder", capabilities=ABLE)
    refused("VAL-13.4-1", lambda: able.create(env, extensions=TWICE))
    able.create(env, extensions=ONE)


@breaks("VAL-13.4-1")
@pytest.mark.parametrize("field", ["extensions", "leaf_extensions"])
def test_one_type_twice_in_a_key_package(field: str) -> None:
    party_ = party(2)
    env = party_.env
    packages = [
        forge_package(STRANGER, env, capabilities=ABLE, **{field: each}).key_package  # type: ignore[arg-type]
        for each in (TWICE, ONE)
    ]
    refuses("VAL-13.4-1", party_, A, *[proposed(party_[B], env, Raw(each.encoded, type=1)) for each in packages])


@breaks("VAL-13.4-1")
def test_one_type_twice_in_a_proposal() -> None:
    party_ = party(2, capabilities=ABLE, parameters=KNOWING)
    env = party_.env
    for kind, head in ((7, b""), (5, ReInit(GroupId(b"new"), 1, 1, ()).encode_body()[:-1])):
        proposals = [Raw(head + extension_list(each), type=kind) for each in (TWICE, ONE)]
        refuses("VAL-13.4-1", party_, A, *[proposed(party_[B], env, each) for each in proposals])


def refuses_info(rule: str, bad: dict[str, Extensions], good: dict[str, Extensions], parameters: Parameters) -> None:
    """GroupInfos of a group in which everybody lists whatever there is, in a Welcome and published."""
    env = environment("info")
    able = default_capabilities(extensions=(PRIVATE_USE, *GREASE))
    newcomer, stranger, first = [
        client(name, capabilities=able, parameters=parameters) for name in ("newcomer", "stranger", A)
    ]
    package = newcomer.package(env)
    leaves = [each.key_package.leaf_node for each in (first.package(env), package)]
    tree = RatchetTree.of_values(Suite(1), [leaves[0], None, leaves[1]])
    infos = [forge_info(env, tree, first, **fields) for fields in (bad, good)]  # type: ignore[arg-type]
    welcomes = [forge_welcome(env, info, package) for info in infos]
    refuses_to_join(rule, env, package, *welcomes, parameters=parameters)
    refuses_to_enter(rule, env, stranger, *[info.message for info in infos])


@breaks("VAL-13.4-1")
@pytest.mark.parametrize("field", ["extensions", "group_extensions"])
def test_one_type_twice_in_a_group_info(field: str) -> None:
    refuses_info("VAL-13.4-1", {field: TWICE}, {field: ONE}, KNOWING)


@breaks("VAL-13.4-2")
def test_an_extension_of_the_group_that_a_member_does_not_support() -> None:
    party_ = party(3, extensions=ONE, capabilities=ABLE, parameters=KNOWING)
    env = party_.env
    bad = forge_package(STRANGER, env, capabilities=ANY)
    refuses_to_add("VAL-13.4-2", party_, bad, forge_package(STRANGER, env, capabilities=ABLE), alone=False)
    refuses_update("VAL-13.4-2", party_, alone=False, capabilities=ANY)
    party_ = party(3, extensions=ONE, capabilities=ABLE, parameters=KNOWING)
    refuses_in_path("VAL-13.4-2", party_, capabilities=ANY)
    refused("VAL-13.4-2", lambda: STRANGER.create(env, extensions=ONE))


@breaks("VAL-13.4-2")
def test_a_new_extension_that_a_member_does_not_support() -> None:
    party_ = party(3, parameters=KNOWING)
    env = party_.env
    bad, good = GroupContextExtensions(ONE), GroupContextExtensions(())
    refused("VAL-13.4-2", lambda: front.commit(party_[A], env, proposals=[bad]))
    commits = [forge_commit(party_[B], env, party_.clients[B], [each]).message for each in (bad, good)]
    refuses("VAL-13.4-2", party_, A, *commits)


@breaks("VAL-13.4-2")
def test_a_group_to_join_with_an_extension_that_a_member_does_not_support() -> None:
    env = environment("joining")
    refuses_in_tree("VAL-13.4-2", env, parameters=KNOWING, bad_extensions=ONE)


@breaks("VAL-13.4-3")
def test_an_extension_of_the_group_that_we_do_not_implement() -> None:
    """Whatever our leaf lists: GREASE, or what another device of ours can do."""
    party_ = party(3, capabilities=default_capabilities(extensions=(PRIVATE_USE, GREASE[0])))
    env = party_.env
    for kind in (PRIVATE_USE, GREASE[0], 2, 4):  # ratchet_tree and external_pub belong to a GroupInfo
        bad = GroupContextExtensions((Extension(kind, b""),))
        refused("VAL-13.4-3", lambda: front.commit(party_[A], env, proposals=[bad]))  # noqa: B023 - used at once
        commits = [
            forge_commit(party_[B], env, party_.clients[B], [each]).message
            for each in (bad, GroupContextExtensions(()))
        ]
        refuses("VAL-13.4-3", party_, A, *commits)


@breaks("VAL-13.4-3")
def test_a_group_to_join_with_an_extension_that_we_do_not_implement() -> None:
    for kind in (PRIVATE_USE, GREASE[3]):
        refuses_info("VAL-13.4-3", {"group_extensions": (Extension(kind, b""),)}, {}, DEFAULT)


def test_who_is_removed_does_not_have_to_implement_new_extensions() -> None:
    """The commit that removes us is the last thing we have to understand."""
    party_ = party(3, capabilities=ABLE)
    env = party_.env
    proposals: list[Proposal] = [Remove(LeafIndex(2)), GroupContextExtensions(ONE)]
    commit = forge_commit(party_[B], env, party_.clients[B], proposals).message
    assert front.receive(party_[C], env, commit).group.ended is Ended.REMOVED


def test_unknown_values_are_ignored_where_they_may_be() -> None:
    """§13.4, §13.5: in capabilities, in the extensions of leaves and KeyPackages, and of a GroupInfo."""
    party_ = party(2)
    env = party_.env
    kind = GREASE[5]
    greased = default_capabilities(extensions=(kind,), grease=b"\x01\x02\x03\x04")
    extensions = (Extension(kind, b"anything"),)
    package = forge_package(
        STRANGER, env, capabilities=greased, leaf_extensions=extensions, extensions=(Extension(GREASE[6], b""),)
    )
    party_.commit(A, joining=[(STRANGER, package)])
    info = front.group_info(party_[A], extensions=extensions)
    client("another", capabilities=greased).join_externally(env, info)


@breaks("VAL-2.1-1")
@pytest.mark.parametrize("kind", [3, 5])
def test_an_extension_of_the_group_that_cannot_be_read(kind: int) -> None:
    """required_capabilities and external_senders are read when they come, not when they are used."""
    bad = Extension(kind, b"\x07")
    party_ = party(2)
    env = party_.env
    good = GroupContextExtensions((RequiredCapabilities().extension(),))
    messages = [proposed(party_[B], env, each) for each in (GroupContextExtensions((bad,)), good)]
    refuses("VAL-2.1-1", party_, A, *messages)
    refuses_in_tree("VAL-2.1-1", env, bad_extensions=(bad,))
