"""The authentication service at work in real groups: a conversation, and a home."""

from __future__ import annotations

import pytest

from mls import group as mls
from mls.commit import NewLeaf
from mls.credential import BasicCredential
from mls.errors import PeerError
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Lifetime
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment
from mls.registries import GroupId
from mls.secrets import SignaturePrivateKey
from mls.virtual.membership import client_capabilities
from tests.vcd.core.accounts.person import Person
from vcd.core.accounts.admission import admit, heads
from vcd.core.accounts.credential import device_credential, virtual_credential
from vcd.core.accounts.judge import ConversationJudge, HomeJudge

NOW = 1_700_000_000_000
LIFETIME = Lifetime(NOW // 1000 - 1, NOW // 1000 + 86_400)


def key_of(person: Person) -> tuple[SignaturePrivateKey, bytes]:
    return person.suite.scheme.generate(person.provider.random)


def leaf(credential: BasicCredential, private: SignaturePrivateKey) -> dict[str, object]:
    return {
        "credential": credential,
        "signature_private": private,
        "capabilities": client_capabilities((1,)),
        "lifetime": LIFETIME,
        "leaf_extensions": (),
    }


def in_conversation(person: Person) -> Environment:
    return Environment(provider=person.provider, authentication=ConversationJudge(person.provider), now=NOW)


def packaged(person: Person, env: Environment, credential: BasicCredential | None = None) -> KeyPackageSecrets:
    private, public = key_of(person)
    of_leaf = leaf(credential or person.credential(public), private)
    return create_key_package(env, 1, **of_leaf)  # type: ignore[arg-type]


def shown(group: mls.Group) -> list[BasicCredential]:
    found = [member.credential for _, member in group.members]
    assert all(isinstance(each, BasicCredential) for each in found)
    return found  # type: ignore[return-value]


def test_two_accounts_converse_and_one_moves_on_to_a_newer_version() -> None:
    alice, bob = Person(), Person("bob")
    own, others = in_conversation(alice), in_conversation(bob)
    private, public = key_of(alice)
    founded = mls.create(own, Parameters(), 1, GroupId(b"tea"), **leaf(alice.credential(public), private))  # type: ignore[arg-type]
    package = packaged(bob, others)
    commit = mls.commit(founded, own, proposals=[Add(package.key_package)])
    assert commit.welcome is not None
    joined, _ = mls.join(others, Parameters(), commit.welcome, [package])
    before = heads(shown(joined))
    old = alice.credential()

    alice.revoke(alice.add())
    private, public = key_of(alice)
    new = NewLeaf(credential=alice.credential(public), signature_private=private)
    moved = mls.commit(commit.group, own, leaf=new, force_path=True)
    event = mls.receive(joined, others, moved.message)
    [seen] = admit(before, old, [alice.credential(public)])
    assert seen.revokes
    assert heads(shown(event.group))[alice.edition.account] == alice.head

    # Back to the version before, the members themselves refuse.
    alice_old = Person()
    private, public = key_of(alice)
    back = virtual_credential(alice.provider, alice_old.head, alice_old.signing, public)
    with pytest.raises(PeerError) as caught:
        mls.commit(moved.group, own, leaf=NewLeaf(credential=back, signature_private=private), force_path=True)
    assert caught.value.check == "VAL-5.3.1-2"


def test_a_key_package_with_a_stolen_credential_is_not_added() -> None:
    alice, mallory = Person(), Person("mallory")
    own, thief = in_conversation(alice), in_conversation(mallory)
    private, public = key_of(alice)
    founded = mls.create(own, Parameters(), 1, GroupId(b"tea"), **leaf(alice.credential(public), private))  # type: ignore[arg-type]
    package = packaged(mallory, thief, alice.credential(public))
    with pytest.raises(PeerError) as caught:
        mls.commit(founded, own, proposals=[Add(package.key_package)])
    assert caught.value.check == "VAL-5.3.1-1"


def test_a_device_comes_home_and_another_account_s_does_not() -> None:
    alice, mallory = Person(), Person("mallory")
    env = Environment(provider=alice.provider, authentication=HomeJudge(alice.provider, alice.edition.account), now=NOW)

    def device(person: Person) -> dict[str, object]:
        entry = person.edition.devices.devices[-1]
        own = device_credential(person.provider, person.head.authority, person.delegate, entry.device, entry.key)
        return leaf(own, person.keys[entry.device])

    home = mls.create(env, Parameters(), 1, GroupId(b"home"), **device(alice))  # type: ignore[arg-type]
    alice.add("phone")
    phone = create_key_package(env, 1, **device(alice))  # type: ignore[arg-type]
    commit = mls.commit(home, env, proposals=[Add(phone.key_package)])
    assert commit.welcome is not None
    joined, _ = mls.join(env, Parameters(), commit.welcome, [phone])
    assert len(joined.members) == 2
    stranger = create_key_package(env, 1, **device(mallory))  # type: ignore[arg-type]
    with pytest.raises(PeerError) as caught:
        mls.commit(commit.group, env, proposals=[Add(stranger.key_package)])
    assert caught.value.check == "VAL-5.3.1-1"
