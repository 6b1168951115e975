"""draft-ietf-mls-pq-ciphersuites: whole groups in every suite of the draft, and the way into one from suite 1.

The X-Wing suites are also among those that the flows, hooks and joins of the other tests are tried in (GROUP_SUITES).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front, snapshot
from mls.credential import BasicCredential, TrustBasic
from mls.errors import MlsError, PeerError
from mls.group import CommitMessage
from mls.leaf_node import default_capabilities, sign_leaf_node
from mls.parameters import Parameters
from mls.proposals import Add, ReInit, Remove
from mls.provider import Environment
from mls.registries import MLS10, GroupId, HybridSuite, OpenMlsSuite
from tests.mls.clients import (
    ANY,
    DEFAULT,
    LIFETIME,
    NOW,
    PUBLIC,
    Party,
    Psks,
    client,
    default_in,
    environment,
    party,
    refusal,
    removed,
)
from tests.mls.suite_variants import repeats_sealing
from vcd.crypto import SystemProvider

every_suite = pytest.mark.parametrize("suite", HybridSuite, ids=lambda suite: suite.name)


@every_suite
@pytest.mark.parametrize("parameters", [DEFAULT, PUBLIC], ids=["private", "public"])
def test_a_life(suite: HybridSuite, parameters: Parameters) -> None:
    ours = party(3, suite, parameters=parameters, psks=Psks({b"psk": b"shared"}))
    ours.say("member01", b"hello", authenticated_data=b"aad")
    ours.commit("member02")
    ours.add("member01", "anna")
    ours.propose_update("anna")
    ours.propose("member02", Remove(ours.leaf("member00")))
    ours.propose("anna", front.external_psk(ours["anna"], ours.env, b"psk"))
    ours.commit("member01")
    assert removed(ours["member00"])
    ours.join_externally("ben")
    ours.join_externally("anna", through="ben", remove=ours.leaf("anna"))
    for name in ours.names:
        ours.say(name, name.encode())


@pytest.mark.parametrize("suite", [OpenMlsSuite(0x004D), OpenMlsSuite(0x0052)], ids=lambda suite: suite.name)
def test_groups_by_openmls_numbers(suite: OpenMlsSuite) -> None:
    """tests/peers has OpenMLS itself in the others, and in the second of these."""
    ours = party(3, suite, shape="full")
    ours.add("member01", "anna")
    ours.join_externally("ben")
    ours.say("ben", b"hello")


@every_suite
def test_both_families_of_libraries_in_one_group(suite: HybridSuite) -> None:
    """A member over libsodium and one over OpenSSL, each with the keys that the other parsed."""
    sodium, openssl = environment("families"), environment("families too", libsodium=False)
    alice, bob = client("alice", suite), client("bob", suite)
    package = bob.package(openssl)
    sent = front.commit(alice.create(sodium), sodium, proposals=[Add(package.key_package)], force_path=True)
    bobs = bob.join(openssl, sent.welcome, [package])
    reply = front.commit(bobs, openssl)
    alices = front.receive(sent.group, sodium, reply.message).group
    assert alices.authenticator == reply.group.authenticator
    again = front.commit(alices, openssl)  # her keys, the other library
    assert front.receive(reply.group, sodium, again.message).group.authenticator == again.group.authenticator


@every_suite
def test_from_suite_1_by_reinit(suite: HybridSuite) -> None:
    """The upgrade: the old group ends, and its last epoch vouches for the new one."""
    ours = party(3, 1, capabilities=default_capabilities((*ANY.cipher_suites, suite)))
    reinit = ReInit(GroupId(b"quantum"), MLS10, suite, ())
    sent = front.commit(ours["member00"], ours.env, proposals=[reinit])
    for event in ours.deliver(sent.message, by="member00").values():
        assert isinstance(event, CommitMessage)
        assert event.plan.reinit == reinit
    ours.groups["member00"] = sent.group
    people = {name: client(name, suite) for name in ours.groups}
    packages = {name: people[name].package(ours.env) for name in ours.groups if name != "member01"}
    founded = front.continue_group(
        ours["member01"],
        ours.env,
        [Add(package.key_package) for package in packages.values()],
        signature_private=people["member01"].signer,
        lifetime=LIFETIME,
    )
    groups = {"member01": founded.group}
    for name, package in packages.items():
        groups[name] = people[name].join(ours.env, founded.welcome, [package], prior=ours[name])
    after = Party(ours.env, people, groups)
    after.agree()
    assert (after.any.suite.cipher_suite, after.any.group_id) == (suite, b"quantum")
    for name in after.names:
        after.say(name, b"in the new group")
    after.commit("member02")


def test_members_that_do_not_list_the_suite_keep_a_group_from_it() -> None:
    env = environment("unlisted")
    suite = HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519
    assert default_in(suite).cipher_suites == (*range(1, 8), suite)
    assert refusal(lambda: client("alice", suite, capabilities=ANY).create(env)) == "VAL-11.1-1"
    founder = client("alice", suite).create(env)
    package = client("bob", suite, capabilities=ANY).package(env)
    with pytest.raises(MlsError, match="VAL-"):
        front.commit(founder, env, proposals=[Add(package.key_package)])


def test_nobody_advertises_these_suites_unasked() -> None:
    assert default_capabilities().cipher_suites == tuple(range(1, 8))


@every_suite
def test_a_snapshot_goes_on(suite: HybridSuite) -> None:
    ours = party(3, suite, shape="full")
    group = ours["member01"]
    loaded = snapshot.decode(ours.env.provider, group.parameters, snapshot.encode(group))
    assert [key.raw for key in loaded.private.values()] == [key.raw for key in group.private.values()]
    assert all(key.handle is None for key in loaded.private.values())  # parsed when first used
    ours.groups["member01"] = loaded
    ours.commit("member02")  # sealed to a key that was loaded
    ours.commit("member01")
    ours.say("member01", b"signed with a key that was loaded")
    after = snapshot.apply_delta(group, snapshot.encode_delta(group, ours["member01"]))
    assert after.authenticator == ours["member01"].authenticator


@every_suite
def test_a_seed_repeats_the_state_where_it_cannot_repeat_the_bytes(suite: HybridSuite) -> None:
    """What is derived follows from the seed; encapsulations and ML-DSA signatures are new each time."""
    runs = []
    for _ in range(2):
        env = environment("repeated")
        alice, bob = client("alice", suite), client("bob", suite)
        package = bob.package(env)
        sent = front.commit(alice.create(env), env, proposals=[Add(package.key_package)], force_path=True)
        bobs = bob.join(env, sent.welcome, [package])
        assert bobs.authenticator == sent.group.authenticator
        runs.append((package, sent, bobs))
    (package, one, bobs), (again, two, _) = runs
    assert (package.key_package.init_key, package.init_private) == (again.key_package.init_key, again.init_private)
    assert [key.raw for key in one.group.private.values()] == [key.raw for key in two.group.private.values()]
    assert one.path_secrets == two.path_secrets
    assert not repeats_sealing(suite)
    assert one.welcome != two.welcome
    assert bobs.own_leaf_node.encryption_key == again.key_package.leaf_node.encryption_key


# ---------------------------------------------------------------- keys that arrive


def spoiled(suite: HybridSuite, good: bytes) -> bytes:
    """A public key whose first coefficient is not reduced (FIPS 203 §7.2)."""
    return b"\xff\xff" + good[2:]


@every_suite
@pytest.mark.parametrize("which", ["init_key", "leaf_key"])
def test_a_key_package_with_a_key_that_nothing_can_be_sealed_to(suite: HybridSuite, which: str) -> None:
    env = environment("hostile")
    provider = env.provider.suite(suite)
    private, public = provider.generate_key_pair(env.provider.random)
    bad = spoiled(suite, public)
    founder = client("alice", suite).create(env)
    package = client("mallory", suite).package(env, **{which: (private, bad)})
    assert refusal(lambda: front.commit(founder, env, proposals=[Add(package.key_package)])).startswith("VAL-")


@every_suite
def test_an_update_with_such_a_key(suite: HybridSuite) -> None:
    """A leaf signed by its owner: the signature holds, the key does not."""
    env = environment("hostile update")
    made = env.provider.suite(suite)
    owner = client("mallory", suite)
    _, public = made.generate_key_pair(env.provider.random)
    for key, fine in ((public, True), (spoiled(suite, public), False), (public[:-1], False)):
        leaf = sign_leaf_node(
            made,
            owner.signer,
            encryption_key=key,
            signature_key=made.scheme.public_key(owner.signer),
            credential=BasicCredential(b"mallory"),
            capabilities=default_in(suite),
            lifetime=LIFETIME,
        )
        assert made.verify_with_label(leaf.signature_key, b"LeafNodeTBS", *tbs_and_signature(leaf))
        if fine:
            made.hpke.check_public(leaf.encryption_key)
        else:
            with pytest.raises(PeerError):
                check(made, leaf)
