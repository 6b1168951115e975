"""Which commits a conversation refuses for the version that they show."""

from __future__ import annotations

import itertools

import pytest

from mls.credential import BasicCredential
from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts.admission import Shown, admit, head_of, heads, version_under
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.head import Equivocation

PLAIN = BasicCredential(b"an ordinary client")


def at(person: Person, edition: Edition) -> BasicCredential:
    """A leaf under an edition whose account key is the person's present one."""
    kept, person.edition = person.edition, edition
    try:
        return person.credential()
    finally:
        person.edition = kept


def test_the_tree_says_which_version_is_the_newest() -> None:
    alice, bob = Person(), Person("bob")
    old = alice.credential()
    alice.refresh()
    leaves = [old, PLAIN, bob.credential(), alice.credential()]
    for order in itertools.permutations(leaves):
        found = heads(order)
        assert found == {alice.edition.account: alice.head, bob.edition.account: bob.head}
    assert head_of(PLAIN) is None
    assert version_under(PLAIN) == 0
    assert version_under(old) < version_under(alice.credential())


def test_rivals_in_one_tree_are_seen_alike_by_all() -> None:
    alice = Person()
    base = alice.edition
    one = at(alice, alice.refresh())
    alice.edition = base
    other = at(alice, alice.refresh())
    assert heads([one, other]) == heads([other, one])


def test_a_newer_version_is_shown() -> None:
    alice = Person()
    tree = heads([alice.credential()])
    author = alice.credential()
    phone = alice.add()
    [shown] = admit(tree, author, [alice.credential()])
    assert shown == Shown(
        account=alice.edition.account,
        version=alice.head.version,
        revoked=alice.head.revoked,
        revokes=False,
        root=False,
    )
    alice.revoke(phone)
    struck = alice.head.version
    alice.refresh()
    [shown] = admit(tree, author, [alice.credential()])
    assert (shown.revokes, shown.root, shown.revoked, shown.version) == (True, False, struck, struck + 1)
    alice.term()
    [shown] = admit(tree, author, [alice.credential()])
    assert (shown.revokes, shown.root) == (True, True)


def test_nothing_new_shows_nothing() -> None:
    alice = Person()
    tree = heads([alice.credential()])
    assert admit(tree, alice.credential(), [alice.credential(b"new key")]) == ()
    assert admit(tree, PLAIN, []) == ()
    assert admit(tree, PLAIN, [PLAIN]) == ()


def test_who_is_new_shows_a_version_and_revokes_nothing() -> None:
    alice, bob = Person(), Person("bob")
    bob.term()
    [shown] = admit(heads([alice.credential()]), alice.credential(), [bob.credential()])
    assert (shown.account, shown.revokes, shown.root) == (bob.edition.account, False, False)


def test_a_commit_that_shows_a_superseded_version_is_refused() -> None:
    """Whoever was shut out still signs well, under the old version."""
    alice, bob = Person(), Person("bob")
    phone = alice.add()
    stolen = alice.credential()
    alice.revoke(phone)
    tree = heads([alice.credential(), bob.credential()])
    refused("older-list", lambda: admit(tree, bob.credential(), [stolen]))  # added again by an accomplice
    refused("older-list", lambda: admit(tree, stolen, [stolen]))  # or coming from outside


def test_a_commit_by_a_leaf_under_a_superseded_version_is_refused() -> None:
    alice = Person()
    old = alice.credential()
    alice.refresh()
    tree = heads([old, alice.credential()])
    refused("older-list", lambda: admit(tree, old, []))


def test_a_second_list_of_a_version_that_the_tree_has_is_refused_with_evidence() -> None:
    alice, bob = Person(), Person("bob")
    base = alice.edition
    one = at(alice, alice.refresh())
    alice.edition = base
    other = at(alice, alice.refresh())
    for tree, fresh in (([one], [other]), ([other], [one]), ([], [one, other])):
        with pytest.raises(Equivocation) as caught:
            admit(heads(tree), bob.credential(), fresh)
        assert {caught.value.evidence.first.digest, caught.value.evidence.second.digest} == {
            head.digest for head in map(head_of, (one, other)) if head is not None
        }


def test_two_versions_in_one_commit_are_refused_in_any_order() -> None:
    alice, bob = Person(), Person("bob")
    old = alice.credential()
    alice.refresh()
    alice.refresh()
    for fresh in ([old, alice.credential()], [alice.credential(), old]):
        refused("older-list", lambda fresh=fresh: admit({}, bob.credential(), fresh))  # type: ignore[misc]


def test_what_is_shown_comes_in_one_order() -> None:
    people = [Person(name) for name in ("alice", "bob", "carol")]
    leaves = [person.credential() for person in people]
    found = {admit({}, PLAIN, order) for order in itertools.permutations(leaves)}
    assert len(found) == 1
    assert [shown.account for shown in found.pop()] == sorted(person.edition.account for person in people)


def test_a_joiner_from_outside_may_show_a_newer_version() -> None:
    alice = Person()
    tree = heads([alice.credential()])
    alice.revoke(alice.add())
    [shown] = admit(tree, alice.credential(), [alice.credential()])
    assert shown.revokes
