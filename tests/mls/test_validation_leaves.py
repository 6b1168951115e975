"""RFC 9420 §7.1 to §7.3 and §11.1: leaves that may not stand where they stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly, opaque, u32
from mls.credential import X509Credential
from mls.leaf_node import Capabilities, Extension, Lifetime, RequiredCapabilities, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add, GroupContextExtensions, Proposal, Remove
from mls.registries import CredentialType, LeafIndex
from mls.tree.nodes import ParentNode
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.clients import ANY, DEFAULT, LIFETIME, NOW, client, environment, party, with_parameters
from tests.mls.frankenstein import (
    PathSurgery,
    Raw,
    external_init,
    flipped,
    forge_commit,
    forge_package,
    proposed,
)
from tests.mls.refusals import (
    A,
    B,
    accepts,
    refused,
    refuses,
    refuses_in_path,
    refuses_in_tree,
    refuses_to_add,
    refuses_update,
    trusting,
)
from tests.validation import breaks

STRANGER = client("stranger")
CERTIFIED = X509Credential((b"some certificate",))
NOTHING = Capabilities((1,), (1,), (), (), (1,))
PRIVATE_USE = 0xF00D


def only(**lists: Any) -> Capabilities:
    return replace(NOTHING, **lists)


# §7.1


@breaks("VAL-7.1-1")
@pytest.mark.parametrize("leaves", [(2, 1), (1, 1), (0, 3, 2)])
def test_unmerged_leaves_out_of_order(leaves: tuple[int, ...]) -> None:
    head = opaque(b"key") + opaque(b"hash")
    good = head + opaque(b"".join(map(u32, sorted(set(leaves)))))
    assert decode_exactly(good, ParentNode.decode).unmerged_leaves == tuple(sorted(set(leaves)))
    bad = head + opaque(b"".join(map(u32, leaves)))
    refused("VAL-7.1-1", lambda: decode_exactly(bad, ParentNode.decode))
    suite = party(1)[A].suite
    refused("VAL-7.1-1", lambda: RatchetTree.decode(suite, opaque(b"\x00\x01\x02" + bad)))


@breaks("VAL-7.1-2")
@pytest.mark.parametrize("kind", [0, 3, 255])
def test_an_unknown_node_type(kind: int) -> None:
    group = party(2)[A]
    encoded = decode_exactly(group.public.tree.encode(), Reader.opaque)
    assert encoded[:2] == b"\x01\x01"
    refused("VAL-7.1-2", lambda: RatchetTree.decode(group.suite, opaque(b"\x01" + bytes([kind]) + encoded[2:])))


# §7.2


@breaks("VAL-7.2-1")
@pytest.mark.parametrize("source", [0, 4, 255])
def test_an_unknown_leaf_node_source(source: int) -> None:
    party_ = party(3)
    env = party_.env
    refuses_update("VAL-7.2-1", party_, source=source)
    refuses_in_path("VAL-7.2-1", party_, source=source)
    bad = forge_package(STRANGER, env, source=source).key_package
    good = forge_package(STRANGER, env).key_package
    adds = [proposed(party_[B], env, Raw(package.encoded, type=1)) for package in (bad, good)]
    refuses("VAL-7.2-1", party_, A, *adds)
    refuses_in_tree("VAL-7.2-1", env, source=source)


FOREVER = Lifetime(0, 2**64 - 1)


@breaks("VAL-7.2-2")
def test_a_lifetime_that_is_too_long() -> None:
    env = environment("forever")
    longest = Lifetime(LIFETIME.not_before, LIFETIME.not_before + DEFAULT.max_lifetime)
    longer = Lifetime(longest.not_before, longest.not_after + 1)
    good = forge_package(STRANGER, env, lifetime=longest)
    refuses_to_add("VAL-7.2-2", party(2), forge_package(STRANGER, env, lifetime=longer), good)
    refuses_to_add("VAL-7.2-2", party(2), forge_package(STRANGER, env, lifetime=FOREVER), good)
    refuses_in_tree("VAL-7.2-2", env, good={"lifetime": longest}, lifetime=longer)


def test_lifetimes_of_others_may_be_let_through() -> None:
    """Ours may not, whatever the parameters say (§7.3)."""
    party_ = party(2)
    env = party_.env
    party_.groups[A] = with_parameters(party_[A], check_received_lifetimes=False)
    package = forge_package(STRANGER, env, lifetime=FOREVER).key_package
    group = party_[A]
    accepts(party_, A, forge_commit(party_[B], env, party_.clients[B], [Add(package)]).message)
    refused("VAL-7.2-2", lambda: front.commit(group, env, proposals=[Add(package)]))


@breaks("VAL-7.2-3")
def test_a_credential_type_that_the_leaf_itself_does_not_list() -> None:
    bad = only(credentials=(2,))
    party_ = party(3)
    env = party_.env
    refuses_update("VAL-7.2-3", party_, capabilities=bad)
    refuses_in_path("VAL-7.2-3", party_, capabilities=bad)
    refuses_to_add("VAL-7.2-3", party_, forge_package(STRANGER, env, capabilities=bad), forge_package(STRANGER, env))
    refuses_in_tree("VAL-7.2-3", env, capabilities=bad)


def test_default_types_are_not_listed_by_us() -> None:
    """§7.2: they must not be; others who list them are understood all the same."""
    ours = default_capabilities(grease=b"\x00\x01\x02\x03")
    assert not {1, 2, 3, 4, 5} & set(ours.extensions)
    assert not {1, 2, 3, 4, 5, 6, 7} & set(ours.proposals)
    party_ = party(2)
    listing = only(extensions=(1, 2, 3, 4, 5), proposals=(1, 2, 3, 4, 5, 6, 7))
    good = forge_package(STRANGER, party_.env, capabilities=listing).key_package
    front.commit(party_[A], party_.env, proposals=[Add(good)])


# §7.3


@breaks("VAL-7.3-2")
def test_a_leaf_signature() -> None:
    party_ = party(3)
    env = party_.env
    refuses_update("VAL-7.3-2", party_, signature=flipped)
    refuses_in_path("VAL-7.3-2", party_, signature=flipped)
    bad = forge_package(STRANGER, env, leaf_signature=flipped)
    refuses_to_add("VAL-7.3-2", party_, bad, forge_package(STRANGER, env))
    refuses_in_tree("VAL-7.3-2", env, signature=flipped)


@breaks("VAL-7.3-2")
def test_a_leaf_that_was_signed_for_another_place() -> None:
    party_ = party(3)
    for wrong in ({"group_id": b"another group"}, {"leaf_index": 2}):
        refuses_update("VAL-7.3-2", party_, **wrong)
        refuses_in_path("VAL-7.3-2", party_, **wrong)
    good = {"source": 2, "group_id": b"group", "leaf_index": 1}
    refuses_in_tree("VAL-7.3-2", party_.env, good=good, leaf_index=2)
    refuses_in_tree("VAL-7.3-2", party_.env, good=good, group_id=b"another group")


@breaks("VAL-7.3-2")
def test_one_bad_leaf_signature_among_many_adds() -> None:
    party_ = party(2)
    env = party_.env
    good = [forge_package(client(f"friend {at}"), env).key_package for at in range(20)]
    bad = forge_package(STRANGER, env, leaf_signature=flipped).key_package
    adds = [Add(package) for package in (*good[:13], bad, *good[13:])]
    fine = [Add(package) for package in good]
    refused("VAL-7.3-2", lambda: front.commit(party_[A], env, proposals=adds))
    messages = [forge_commit(party_[B], env, party_.clients[B], each).message for each in (adds, fine)]
    refuses("VAL-7.3-2", party_, A, *messages)


REQUIRED = RequiredCapabilities(extensions=(PRIVATE_USE,), proposals=(PRIVATE_USE,), credentials=(2,))
ABLE = only(extensions=(PRIVATE_USE,), proposals=(PRIVATE_USE,), credentials=(1, 2))


@breaks("VAL-7.3-3")
@pytest.mark.parametrize(
    "unable",
    [
        only(proposals=(PRIVATE_USE,), credentials=(1, 2)),
        only(extensions=(PRIVATE_USE,), credentials=(1, 2)),
        only(extensions=(PRIVATE_USE,), proposals=(PRIVATE_USE,)),
    ],
)
def test_a_required_capability_that_a_member_lacks(unable: Capabilities) -> None:
    required = (REQUIRED.extension(),)
    party_ = party(3, extensions=required, capabilities=ABLE)
    env = party_.env
    bad = forge_package(STRANGER, env, capabilities=unable)
    refuses_to_add("VAL-7.3-3", party_, bad, forge_package(STRANGER, env, capabilities=ABLE), alone=False)
    refuses_update("VAL-7.3-3", party_, alone=False, capabilities=unable)
    refuses_in_path("VAL-7.3-3", party(3, extensions=required, capabilities=ABLE), capabilities=unable)
    plain = party(3, capabilities=unable)
    proposal = GroupContextExtensions(required)
    refused("VAL-7.3-3", lambda: front.commit(plain[A], env, proposals=[proposal]))
    refuses("VAL-7.3-3", plain, A, forge_commit(plain[B], plain.env, plain.clients[B], [proposal]).message)


@breaks("VAL-7.3-3")
def test_a_required_capability_that_a_member_of_a_group_to_join_lacks() -> None:
    refuses_in_tree("VAL-7.3-3", environment("required"), bad_extensions=(REQUIRED.extension(),))
    refused("VAL-7.3-3", lambda: STRANGER.create(environment("alone"), extensions=(REQUIRED.extension(),)))


@breaks("VAL-7.3-3")
def test_required_capabilities_are_those_of_the_next_epoch() -> None:
    """§12.3: a list's new extensions count for its other proposals, whatever their order."""
    party_ = party(2, capabilities=ABLE)
    env = party_.env
    able = Add(forge_package(STRANGER, env, capabilities=ABLE).key_package)
    unable = Add(forge_package(STRANGER, env).key_package)
    demand = GroupContextExtensions((REQUIRED.extension(),))
    messages = [forge_commit(party_[B], env, party_.clients[B], [add, demand]).message for add in (unable, able)]
    refuses("VAL-7.3-3", party_, A, *messages)


@breaks("VAL-7.3-4")
def test_a_credential_type_that_others_do_not_support() -> None:
    """The type is in use by everyone else, so the newcomer must support it."""
    x509 = only(credentials=(CredentialType.X509,))

    party_ = party(3)
    env = party_.env
    newcomer = forge_package(STRANGER, env, capabilities=x509, credential=CERTIFIED)
    party_.env = trusting(env)
    refuses_to_add("VAL-7.3-4", party_, newcomer, forge_package(STRANGER, env), alone=False)
    refuses_update("VAL-7.3-4", party_, alone=False, capabilities=x509, credential=CERTIFIED)
    party_ = party(3)
    party_.env = trusting(env)
    refuses_in_path("VAL-7.3-4", party_, capabilities=x509, credential=CERTIFIED)
    refuses_in_tree("VAL-7.3-4", party_.env, capabilities=x509, credential=CERTIFIED)


@breaks("VAL-7.3-4")
def test_a_new_credential_type_that_one_member_does_not_support() -> None:
    party_ = party(3, capabilities=NOTHING)
    env = trusting(party_.env)
    party_.env = env
    bad = forge_package(STRANGER, env, capabilities=ANY, credential=CERTIFIED)
    refuses_to_add("VAL-7.3-4", party_, bad, forge_package(STRANGER, env, capabilities=ANY), alone=False)


SECOND = NOW // 1000


@breaks("VAL-7.3-5")
@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (Lifetime(SECOND - 100, SECOND - 1), Lifetime(SECOND - 100, SECOND)),
        (Lifetime(SECOND + 1, SECOND + 100), Lifetime(SECOND, SECOND + 100)),
        (Lifetime(SECOND + 1, SECOND - 1), LIFETIME),
    ],
)
def test_a_lifetime_that_does_not_cover_now(bad: Lifetime, good: Lifetime) -> None:
    env = environment("late")
    strict = party(2, parameters=Parameters(refuse_expired=True))
    packages = [forge_package(STRANGER, env, lifetime=lifetime) for lifetime in (bad, good)]
    refuses_to_add("VAL-7.3-5", strict, *packages)
    # by default others may be late, and we may not
    party_ = party(2)
    group = party_[A]
    add = Add(packages[0].key_package)
    refused("VAL-7.3-5", lambda: front.commit(group, env, proposals=[add]))
    refused("VAL-7.3-5", lambda: front.propose(group, env, add))
    accepts(party_, A, forge_commit(party_[B], env, party_.clients[B], [add]).message)


@breaks("VAL-7.3-5")
def test_a_leaf_that_expires_while_its_proposal_waits() -> None:
    party_ = party(2)
    env = party_.env
    package = forge_package(STRANGER, env, lifetime=Lifetime(SECOND, SECOND + 10)).key_package
    accepts(party_, A, proposed(party_[B], env, Add(package)))
    group = party_[A]
    references = list(group.proposals)
    assert front.commit(group, env, references=references).added == (2,)
    late = replace(env, now=env.now + 11_000)
    refused("VAL-7.3-5", lambda: front.commit(group, late, references=references))
    assert front.commit(group, late).added == ()


@breaks("VAL-7.3-6")
def test_a_leaf_extension_that_the_leaf_does_not_list() -> None:
    listed = (Extension(PRIVATE_USE, b"x"),)
    party_ = party(3)
    env = party_.env
    able = default_capabilities(extensions=(PRIVATE_USE,))
    refuses_update("VAL-7.3-6", party_, extensions=listed)
    refuses_in_path("VAL-7.3-6", party_, extensions=listed)
    bad = forge_package(STRANGER, env, leaf_extensions=listed)
    good = forge_package(STRANGER, env, leaf_extensions=listed, capabilities=able)
    refuses_to_add("VAL-7.3-6", party_, bad, good)
    refuses_in_tree("VAL-7.3-6", env, good={"capabilities": able, "extensions": listed}, capabilities=ANY)


@breaks("VAL-7.3-7")
def test_a_new_leaf_with_the_old_encryption_key() -> None:
    party_ = party(3)
    old = party_[B].own_leaf_node.encryption_key
    refuses_update("VAL-7.3-7", party_, encryption_key=old)
    refuses_in_path("VAL-7.3-7", party_, encryption_key=old)


@breaks("VAL-7.3-7")
def test_a_resync_with_the_old_encryption_key() -> None:
    party_ = party(3)
    env = party_.env
    init, secret = external_init(party_[A], env)
    proposals: list[Proposal] = [init, Remove(LeafIndex(1))]
    old = party_[B].own_leaf_node.encryption_key
    surgery = PathSurgery(leaf={"encryption_key": old})
    messages = [
        forge_commit(party_[A], env, party_.clients[B], proposals, external=secret, path=path).message
        for path in (surgery, True)
    ]
    refuses("VAL-7.3-7", party_, A, *messages)


# §11.1


@breaks("VAL-11.1-1")
@pytest.mark.parametrize("unable", [only(versions=(2,)), only(cipher_suites=(2, 3))])
def test_a_member_who_does_not_list_the_version_or_the_suite(unable: Capabilities) -> None:
    party_ = party(3)
    env = party_.env
    bad = forge_package(STRANGER, env, capabilities=unable)
    refuses_to_add("VAL-11.1-1", party_, bad, forge_package(STRANGER, env), alone=False)
    refuses_update("VAL-11.1-1", party_, alone=False, capabilities=unable)
    refuses_in_path("VAL-11.1-1", party(3), capabilities=unable)
    refuses_in_tree("VAL-11.1-1", env, capabilities=unable)
