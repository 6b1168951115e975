"""Whom leaves belong to, and whom groups believe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.credential import BasicCredential, Credential, TrustBasic, X509Credential
from mls.errors import PeerError
from mls.x509 import X509Authentication
from tests.mls import little_pki
from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import judge
from vcd.core.accounts.credential import (
    MARK,
    MAX_IDENTITY,
    DeviceCredential,
    VirtualCredential,
    check_device,
    check_listed,
    check_virtual,
    device_credential,
    read,
    virtual_credential,
)
from vcd.core.accounts.judge import ConversationJudge, HomeJudge
from vcd.core.errors import Malformed, Misuse
from vcd.core.record import encode_as

LEAF = b"leaf key"


def virtual(credential: Credential) -> VirtualCredential:
    found = read(credential)
    assert isinstance(found, VirtualCredential)
    return found


def device(credential: Credential) -> DeviceCredential:
    found = read(credential)
    assert isinstance(found, DeviceCredential)
    return found


def of_device(person: Person, key: bytes = LEAF) -> BasicCredential:
    return device_credential(person.provider, person.head.authority, person.delegate, person.first, key)


def believed(service: ConversationJudge | HomeJudge, credential: Credential, key: bytes = LEAF) -> bool:
    try:
        service.validate(credential, key, 0)
    except PeerError as error:
        assert error.check == "VAL-5.3.1-1"  # noqa: PT017 - any other one would be a wrong number
        return False
    return True


# ---------------------------------------------------------------- conversations


@pytest.mark.parametrize("cipher_suite", [1, 2, 4])
def test_a_leaf_of_the_account_is_believed(cipher_suite: int) -> None:
    alice = Person(cipher_suite=cipher_suite)
    service = ConversationJudge(Person("bob").provider)
    assert believed(service, alice.credential())
    assert service.account(alice.credential()) == alice.edition.account


def test_a_credential_for_another_signature_key_is_refused() -> None:
    alice = Person()
    refused("leaf-key", lambda: check_virtual(virtual(alice.credential()), b"another", alice.provider))
    assert not believed(ConversationJudge(alice.provider), alice.credential(), b"another")


def test_the_signature_of_one_version_does_not_serve_for_the_next() -> None:
    alice = Person()
    old = virtual(alice.credential())
    alice.refresh()  # the account key stays
    moved = replace(old, head=alice.head)
    refused("leaf-key", lambda: check_virtual(moved, LEAF, alice.provider))


def test_one_account_cannot_lend_its_head_to_another() -> None:
    alice, mallory = Person(), Person("mallory")
    mixed = replace(virtual(mallory.credential()), head=alice.head)
    refused("leaf-key", lambda: check_virtual(mixed, LEAF, alice.provider))


def test_a_shut_out_device_cannot_make_credentials_under_the_new_version() -> None:
    alice = Person()
    phone = alice.add()
    stolen = alice.signing
    alice.revoke(phone)
    with pytest.raises(Misuse):
        virtual_credential(alice.provider, alice.head, stolen, LEAF)


def test_what_is_valid_does_not_depend_on_what_was_seen() -> None:
    """RFC 9750 §6.5: members that know different versions judge one credential alike."""
    alice = Person()
    phone = alice.add()
    old = alice.credential()
    alice.revoke(phone)
    informed, ignorant = ConversationJudge(alice.provider), ConversationJudge(alice.provider)
    assert believed(informed, alice.credential())
    assert believed(informed, old)
    assert believed(ignorant, old)


def test_a_leaf_is_followed_by_one_of_the_same_account_and_no_lower_version() -> None:
    alice = Person()
    service = ConversationJudge(alice.provider)
    old = alice.credential()
    assert service.succeeds(old, alice.credential(b"new key"))
    alice.add()
    new = alice.credential()
    assert service.succeeds(old, new)
    assert not service.succeeds(new, old)
    assert not service.succeeds(new, Person("bob").credential())


def test_a_second_list_of_one_version_does_not_follow_the_first() -> None:
    alice = Person()
    base = alice.edition
    alice.refresh()
    one = alice.credential()
    alice.edition = base
    alice.refresh()
    assert not ConversationJudge(alice.provider).succeeds(one, alice.credential())


def test_a_device_does_not_show_itself_in_a_conversation() -> None:
    alice = Person()
    service = ConversationJudge(alice.provider, names=TrustBasic())
    assert not believed(service, of_device(alice))
    assert not service.succeeds(of_device(alice), of_device(alice))


def test_ordinary_clients_are_believed_where_somebody_judges_them() -> None:
    alice = Person()
    plain, certified = BasicCredential(b"bob"), X509Credential((b"certificate",))
    service = ConversationJudge(alice.provider)
    assert not believed(service, plain)
    assert not believed(service, certified)
    assert not service.succeeds(plain, plain)
    lenient = ConversationJudge(alice.provider, names=TrustBasic())
    assert believed(lenient, plain)
    assert lenient.succeeds(plain, plain)
    assert not lenient.succeeds(plain, alice.credential())
    assert not lenient.succeeds(alice.credential(), plain)
    assert not lenient.succeeds(plain, certified)
    assert lenient.account(plain) != lenient.account(BasicCredential(b"carol"))
    with pytest.raises(PeerError):
        service.account(certified)


def test_a_bare_name_cannot_pass_for_an_account() -> None:
    """Nor be taken for one by accident: with our mark it is ours, or refused."""
    alice = Person()
    lenient = ConversationJudge(alice.provider, names=TrustBasic())
    for identity in (MARK, MARK + b"x", MARK + alice.edition.account):
        assert not believed(lenient, BasicCredential(identity))
        assert not lenient.succeeds(BasicCredential(identity), BasicCredential(identity))
        with pytest.raises(PeerError):
            lenient.account(BasicCredential(identity))
    assert lenient.account(BasicCredential(alice.edition.account)) != alice.edition.account


def test_good_leaves_are_remembered_and_bad_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    alice = Person()
    asked: list[bytes] = []
    monkeypatch.setattr(judge, "REMEMBERED", 2)
    monkeypatch.setattr(judge, "check_virtual", lambda credential, key, provider: asked.append(key))
    service = ConversationJudge(alice.provider)
    credential = alice.credential()
    for key in (b"1", b"1", b"2", b"1", b"3", b"1"):
        service.validate(credential, key, 0)
    assert asked == [b"1", b"2", b"3", b"1"]
    monkeypatch.undo()
    strict = ConversationJudge(alice.provider)
    assert not believed(strict, credential, b"1")
    assert not believed(strict, credential, b"1")


def test_members_with_certificates_have_accounts_of_their_own() -> None:
    alice = Person()
    certificates = X509Authentication([little_pki.ROOT.der])
    service = ConversationJudge(alice.provider, certificates=certificates)
    leaf = little_pki.chain(little_pki.LEAF, little_pki.MIDDLE)
    service.validate(leaf, little_pki.LEAF_KEY.public_key().public_bytes_raw(), little_pki.NOW)
    assert service.succeeds(leaf, leaf)
    assert len(service.account(leaf)) == 32
    assert service.account(leaf) == service.account(little_pki.chain(little_pki.LEAF))
    broken = X509Credential((b"no certificate",))
    with pytest.raises(PeerError):
        service.validate(broken, LEAF, little_pki.NOW)
    assert not service.succeeds(leaf, broken)


# ---------------------------------------------------------------- the home


def test_a_device_of_the_account_is_believed_at_home() -> None:
    alice, bob = Person(), Person("bob")
    home = HomeJudge(alice.provider, alice.edition.account)
    assert believed(home, of_device(alice))
    assert not believed(home, of_device(alice), b"another key")
    assert not believed(home, of_device(bob))
    assert not believed(home, alice.credential())
    assert not believed(home, BasicCredential(b"alice"))
    assert not believed(home, BasicCredential(MARK))


def test_a_device_stays_the_same_and_its_authority_does_not_go_back() -> None:
    alice = Person()
    home = HomeJudge(alice.provider, alice.edition.account)
    old = of_device(alice)
    other = device_credential(alice.provider, alice.head.authority, alice.delegate, alice.add(), LEAF)
    alice.term()
    new = of_device(alice)
    assert home.succeeds(old, old)
    assert home.succeeds(old, new)
    assert not home.succeeds(new, old)
    assert not home.succeeds(old, other)
    assert not home.succeeds(old, alice.credential())
    assert not home.succeeds(old, BasicCredential(MARK))


def test_an_ordinary_device_cannot_let_another_one_in() -> None:
    alice = Person()
    found = device(of_device(alice))
    forged = replace(found, signature=bytes(64))
    refused("leaf-key", lambda: check_device(forged, LEAF, alice.provider))
    with pytest.raises(Misuse):
        device_credential(alice.provider, alice.head.authority, Person("bob").delegate, alice.first, LEAF)


def test_the_list_has_the_last_word_on_who_comes_in() -> None:
    alice = Person()
    phone = alice.add()
    entry = alice.edition.devices.find(phone)
    assert entry is not None
    credential = device(device_credential(alice.provider, alice.head.authority, alice.delegate, phone, entry.key))
    assert check_listed(alice.edition, credential, entry.key) == entry
    refused("device-unlisted", lambda: check_listed(alice.edition, credential, b"another key"))
    ghost = replace(credential, device=alice.device("ghost").device)
    refused("device-unlisted", lambda: check_listed(alice.edition, ghost, entry.key))
    refused("another-account", lambda: check_listed(Person("bob").edition, credential, entry.key))
    alice.revoke(phone)
    refused("device-revoked", lambda: check_listed(alice.edition, credential, entry.key))


def test_a_device_credential_has_no_name_and_no_list_in_it() -> None:
    alice = Person()
    assert b"laptop" not in of_device(alice).identity
    assert alice.head.list_digest not in of_device(alice).identity


def test_nothing_of_a_device_is_in_what_contacts_see() -> None:
    alice = Person()
    entry = alice.edition.devices.devices[0]
    shown = alice.credential().identity
    for part in (entry.device, entry.key, entry.name.encode(), alice.edition.devices.salt):
        assert part not in shown


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("of", [Person.credential, of_device])
def test_no_cut_or_changed_credential_is_believed(of: object) -> None:
    alice = Person()
    assert callable(of)
    identity: bytes = of(alice, LEAF).identity
    services = (ConversationJudge(alice.provider), HomeJudge(alice.provider, alice.edition.account))
    for at in range(0, len(identity), 17):
        for changed in (
            identity[:at],
            identity[:at] + bytes([identity[at] ^ 1]) + identity[at + 1 :],
            identity + b"\0",
        ):
            assert not any(believed(service, BasicCredential(changed)) for service in services)


def test_an_identity_has_a_size() -> None:
    with pytest.raises(Malformed, match="too long"):
        read(BasicCredential(MARK + bytes(MAX_IDENTITY)))


def test_the_longest_keys_there_are_fit() -> None:
    alice = Person()
    head, key, signature = alice.head, bytes(2592), bytes(4627)
    mandate = replace(head.authority.mandate, root=key, delegate=key, overrule=key, signature=signature)
    authority = replace(head.authority, mandate=mandate)
    whole = replace(head, authority=authority, signing_key=key, signature=signature)
    identity = encode_as(VirtualCredential | DeviceCredential, VirtualCredential(head=whole, signature=signature))
    assert len(identity) + len(MARK) <= MAX_IDENTITY


def test_a_credential_is_small() -> None:
    assert len(Person().credential().identity) < 512
