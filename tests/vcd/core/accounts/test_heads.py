"""What others see of an account, and what they take for its next word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import editions
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.head import (
    Authority,
    Equivocation,
    Evidence,
    Head,
    Overruling,
    check,
    check_evidence,
    check_next,
    contradiction,
    may_follow,
    version_of,
)
from vcd.core.accounts.identity import AccountKey, DelegateKey, RootKey, new_key
from vcd.core.errors import Malformed, Refused
from vcd.core.record import decode, encode


def rivals(alice: Person) -> tuple[Edition, Edition]:
    """Two delegates make the next version, each a list of its own."""
    one = editions.add_device(alice.provider, alice.edition, alice.delegate, alice.device("phone"))
    other = editions.add_device(alice.provider, alice.edition, alice.delegate, alice.device("tablet"))
    return one.edition, other.edition


@pytest.mark.parametrize("cipher_suite", [1, 2, 4])
def test_each_version_holds_by_itself_and_follows_the_one_before(cipher_suite: int) -> None:
    alice = Person(cipher_suite=cipher_suite)
    seen = [alice.head]
    phone = alice.add()
    seen.append(alice.head)
    alice.revoke(phone)
    seen.append(alice.head)
    alice.term()
    seen.append(alice.head)
    for head in seen:
        assert check(head, alice.provider) == head
    for old, new in zip(seen, seen[1:], strict=False):
        check_next(old, new)
        assert may_follow(old, new)
    check_next(seen[0], seen[3])  # who was away sees the newest only


def test_versions_are_ordered_by_term_then_overruling_then_number() -> None:
    ranks = [
        version_of(0, 0),
        version_of(0, (1 << 32) - 1),
        version_of(0, 0, overruled=True),
        version_of(0, (1 << 32) - 1, overruled=True),
        version_of(1, 0),
        version_of((1 << 31) - 1, (1 << 32) - 1, overruled=True),
    ]
    assert ranks == sorted(ranks)
    assert ranks[-1] == (1 << 64) - 1


def test_a_head_has_the_same_size_for_any_number_of_devices() -> None:
    alice = Person()
    alice.refresh()
    alone = alice.head
    for at in range(20):
        alice.add(f"device {at}")
    assert len(encode(alice.head)) == len(encode(alone))


def test_the_digest_of_a_list_cannot_be_guessed() -> None:
    alice = Person()
    again = editions.refresh(alice.provider, alice.edition, alice.delegate).edition
    twice = editions.refresh(alice.provider, alice.edition, alice.delegate).edition
    assert again.devices.devices == twice.devices.devices
    assert again.head.list_digest != twice.head.list_digest


def test_a_head_that_follows_one_list_looks_like_one_that_joins_two() -> None:
    alice = Person()
    one, other = rivals(alice)
    joined = editions.join(alice.provider, one, other, alice.delegate).edition.head
    assert {joined.previous, joined.beside} == {one.head.digest, other.head.digest}
    plain = editions.refresh(alice.provider, one, alice.delegate).edition.head
    assert len(encode(plain)) == len(encode(joined))
    assert plain.beside not in {bytes(32), other.head.digest}


# ---------------------------------------------------------------- attacks


def test_a_replayed_older_head_is_refused() -> None:
    alice = Person()
    old = alice.head
    alice.add()
    refused("older-list", lambda: check_next(alice.head, old))
    alice.refresh()
    refused("older-list", lambda: check_next(alice.head, old))
    assert not may_follow(alice.head, old)


def test_a_second_list_of_one_version_is_reported_with_both() -> None:
    alice = Person()
    one, other = rivals(alice)
    for first, second in ((one, other), (other, one)):
        with pytest.raises(Equivocation) as caught:
            check_next(first.head, second.head)
        evidence = caught.value.evidence
        assert {evidence.first.digest, evidence.second.digest} == {one.head.digest, other.head.digest}
        check_evidence(evidence, alice.provider)
    assert contradiction(one.head, other.head) == contradiction(other.head, one.head)


def test_a_version_that_stands_on_another_list_gives_the_other_away() -> None:
    alice = Person()
    one, other = rivals(alice)
    third = editions.refresh(alice.provider, other, alice.delegate).edition
    with pytest.raises(Equivocation) as caught:
        check_next(one.head, third.head)
    check_evidence(caught.value.evidence, alice.provider)


def test_two_lists_that_were_joined_are_followed_from_both() -> None:
    alice = Person()
    one, other = rivals(alice)
    joined = editions.join(alice.provider, one, other, alice.delegate).edition
    check_next(one.head, joined.head)
    check_next(other.head, joined.head)


def test_two_heads_that_differ_in_signatures_alone_are_one() -> None:
    alice = Person()
    other = replace(alice.head, signature=bytes(64))
    assert contradiction(alice.head, other) is None
    check_next(alice.head, other)


def test_false_evidence_accuses_nobody() -> None:
    alice, bob = Person(), Person("bob")
    one, other = rivals(alice)
    alice.took(editions.refresh(alice.provider, one, alice.delegate))
    genuine = contradiction(one.head, other.head)
    assert genuine is not None
    for first, second in ((one.head, alice.head), (alice.head, bob.head), (one.head, one.head)):
        evidence = Evidence(first=first, second=second)
        refused("no-contradiction", lambda evidence=evidence: check_evidence(evidence, alice.provider))  # type: ignore[misc]
    forged = replace(genuine, second=replace(genuine.second, list_digest=bytes(32)))
    refused("head-signature", lambda: check_evidence(forged, alice.provider))


def test_another_account_is_no_successor() -> None:
    refused("another-account", lambda: check_next(Person().head, Person("bob").head))


def test_a_swapped_digest_of_the_list_breaks_the_signature() -> None:
    alice = Person()
    forged = replace(alice.head, list_digest=bytes(32))
    refused("head-signature", lambda: check(forged, alice.provider))


def test_a_delegate_cannot_sign_another_delegate_in() -> None:
    alice = Person()
    mandate = alice.head.authority.mandate
    thief, public = new_key(DelegateKey, alice.suite, alice.provider)
    own = replace(mandate, delegate=public, term=mandate.term + 1).signed(alice.provider, RootKey(alice.delegate.raw))
    authority = Authority(mandate=own)
    head = replace(alice.head, authority=authority, revoked=authority.start).signed(alice.provider, thief)
    refused("mandate-signature", lambda: check(head, alice.provider))


def test_a_delegate_cannot_begin_a_term() -> None:
    alice = Person()
    alice.add()
    first = replace(alice.head, number=0, revoked=alice.head.authority.start).signed(alice.provider, alice.delegate)
    refused("head-signature", lambda: check(first, alice.provider))


def test_a_delegate_cannot_overrule_whom_the_root_did_not_let() -> None:
    alice = Person()
    with pytest.raises(ValueError, match="power to overrule"):
        Authority(mandate=alice.head.authority.mandate, overruling=Overruling(delegate=b"key"))


def test_a_revoked_delegate_signs_below_every_later_term_however_far_it_counts() -> None:
    alice = Person()
    thief, before = alice.delegate, alice.edition
    alice.term()
    last = replace(before.head, number=(1 << 32) - 1).signed(alice.provider, thief)
    check(last, alice.provider)
    refused("older-list", lambda: check_next(alice.head, last))
    check_next(last, alice.head)  # and who believed it comes back


def test_a_revoked_delegate_cannot_sign_in_the_new_term() -> None:
    alice = Person()
    thief = alice.delegate
    alice.term()
    forged = replace(alice.head, number=1).signed(alice.provider, thief)
    refused("head-signature", lambda: check(forged, alice.provider))


def test_an_ordinary_device_cannot_sign_a_head() -> None:
    alice = Person()
    forged = replace(alice.head, number=1).signed(alice.provider, DelegateKey(alice.signing.raw))
    refused("head-signature", lambda: check(forged, alice.provider))


def test_two_mandates_of_one_term_contradict_each_other() -> None:
    alice = Person()
    one = editions.new_term(alice.provider, alice.root, alice.edition, delegates=(alice.first,))
    other = editions.new_term(alice.provider, alice.root, alice.edition, delegates=(alice.first,))
    assert other.delegate is not None
    later = editions.refresh(alice.provider, other.edition, other.delegate)
    evidence = contradiction(one.edition.head, later.edition.head)
    assert evidence is not None
    check_evidence(evidence, alice.provider)


def test_one_root_is_one_account_however_often_it_is_founded() -> None:
    alice = Person()
    again = editions.found(alice.provider, alice.root, alice.device("other")).edition
    assert again.account == alice.edition.account
    with pytest.raises(Equivocation):
        check_next(alice.head, again.head)


def test_a_root_of_another_suite_is_the_same_account_and_contradicts_it() -> None:
    alice = Person()
    again = editions.found(alice.provider, alice.root, alice.device("other"), cipher_suite=3).edition
    check(again.head, alice.provider)
    assert again.account == alice.edition.account
    assert contradiction(alice.head, again.head) is not None


def test_a_revocation_is_not_forgotten() -> None:
    alice = Person()
    phone = alice.add()
    before = alice.head
    alice.revoke(phone)
    hidden = replace(alice.head, number=alice.head.number + 2, revoked=before.revoked)
    hidden = hidden.signed(alice.provider, alice.delegate)
    check(hidden, alice.provider)
    refused("forgotten-revocation", lambda: check_next(alice.head, hidden))
    assert not may_follow(alice.head, hidden)


def test_a_revocation_is_seen_by_who_skipped_it() -> None:
    alice = Person()
    phone = alice.add()
    before = alice.head
    alice.revoke(phone)
    struck = alice.head.version
    alice.refresh()
    check_next(before, alice.head)
    assert alice.head.revoked == struck > before.version
    assert not alice.head.revokes


def test_shutting_out_without_a_new_account_key_is_refused() -> None:
    alice = Person()
    phone = alice.add()
    before = alice.head
    alice.revoke(phone)
    kept = replace(alice.head, signing_key=before.signing_key).signed(alice.provider, alice.delegate)
    refused("account-key-kept", lambda: check_next(before, kept))


def test_a_head_that_shuts_out_before_its_term_or_in_the_future_is_malformed() -> None:
    alice = Person()
    alice.term()
    for revoked in (alice.head.authority.start - 1, alice.head.version + 1):
        with pytest.raises(ValueError, match="shuts somebody out"):
            replace(alice.head, revoked=revoked)


def test_a_suite_that_nobody_knows_is_refused() -> None:
    alice = Person()
    mandate = replace(alice.head.authority.mandate, cipher_suite=9999)
    refused("unknown-suite", lambda: check(replace(alice.head, authority=Authority(mandate=mandate)), alice.provider))


@pytest.mark.parametrize(
    "change",
    [
        {"previous": bytes(31)},
        {"beside": bytes(33)},
        {"list_digest": b""},
        {"signing_key": b""},
        {"signing_key": bytes(3000)},
        {"signature": bytes(5000)},
        {"number": 1 << 32},
    ],
)
def test_fields_out_of_bounds_cannot_be_made_nor_read(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"has \d+ bytes|too long|out of range"):
        replace(Person().head, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"term": 1 << 31}, {"cipher_suite": 0}, {"cipher_suite": 1 << 16}])
def test_mandates_out_of_range_cannot_be(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        replace(Person().head.authority.mandate, **change)  # type: ignore[arg-type]


def test_heads_are_read_back_and_cut_ones_refused() -> None:
    data = encode(Person().head)
    assert encode(decode(Head, data)) == data
    for end in range(0, len(data), 7):
        with pytest.raises(Malformed):
            decode(Head, data[:end])


def test_no_changed_byte_of_a_head_is_accepted() -> None:
    alice = Person()
    data = encode(alice.head)
    for at in range(0, len(data), 9):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            head = decode(Head, changed)
        except Malformed:
            continue
        with pytest.raises(Refused):
            check(head, alice.provider)


def test_the_account_key_is_no_delegate_key() -> None:
    alice = Person()
    assert type(alice.signing) is AccountKey
    assert alice.head.signing_key != alice.head.authority.delegate != alice.head.authority.mandate.root
