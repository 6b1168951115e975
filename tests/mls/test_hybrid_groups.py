"""draft-ietf-mls-pq-ciphersuites: whole groups in every suite of the draft, and the way into one from suite 1.

The X-Wing suites are also among those that the flows, hooks and joins of the other tests are tried in (GROUP_SUITES).
"""

from __future__ import annotations

import pytest

from mls import group as front, snapshot
from mls.errors import MlsError
from mls.group import CommitMessage
from mls.leaf_node import default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add, ReInit, Remove
from mls.registries import MLS10, GroupId, HybridSuite, OpenMlsSuite
from tests.mls.clients import (
    ANY,
    DEFAULT,
    LIFETIME,
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
from tests.mls.frankenstein import PathSurgery, flipped, forge_commit, forge_package
from tests.mls.refusals import B, C, refuses, refuses_in_path, refuses_to_add, refuses_update
from tests.mls.suite_variants import bad_hybrid_keys, repeats_sealing
from tests.validation import breaks

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
    assert loaded.private == group.private
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
    assert one.group.private == two.group.private
    assert one.path_secrets == two.path_secrets
    assert not repeats_sealing(suite)
    assert one.welcome != two.welcome
    assert bobs.own_leaf_node.encryption_key == again.key_package.leaf_node.encryption_key


# ---------------------------------------------------------------- keys that arrive


@breaks("VAL-10.1-5")
@every_suite
def test_keys_that_nothing_can_be_sealed_to(suite: HybridSuite) -> None:
    """In a KeyPackage, an Update, a commit's leaf and above it: FIPS 203 §7.2, and each group's own idea of a point."""
    env = environment("hostile")
    stranger = client("stranger", suite)
    good = forge_package(stranger, env)
    ours = party(3, suite)
    key = good.key_package.init_key
    for bad in (key[:-1], key + b"\0", *bad_hybrid_keys(suite, key)):
        refuses_to_add("VAL-10.1-5", ours, forge_package(stranger, env, init_key=bad), good)
    bad = bad_hybrid_keys(suite, key)[-1]
    refuses_to_add("VAL-10.1-5", ours, forge_package(stranger, env, leaf_key=bad), good)
    refuses_update("VAL-10.1-5", ours, encryption_key=bad)
    refuses_in_path("VAL-10.1-5", ours, encryption_key=bad)
    full = party(4, suite, shape="full")
    surgery = PathSurgery(public=lambda keys: [bad, *keys[1:]])
    messages = [forge_commit(full[B], full.env, full.clients[B], path=path).message for path in (surgery, True)]
    refuses("VAL-10.1-5", full, C, *messages)


@every_suite
def test_a_signature_by_another_key_is_none(suite: HybridSuite) -> None:
    """Lengths of ML-DSA and of the others; whoever has the wrong one is not believed."""
    env = environment("signatures")
    stranger = client("stranger", suite)
    good = forge_package(stranger, env)
    for fault in (flipped, lambda signature: signature[:-1], lambda signature: signature + b"\0", lambda _: b""):
        refuses_to_add("VAL-10.1-3", party(2, suite), forge_package(stranger, env, signature=fault), good)
