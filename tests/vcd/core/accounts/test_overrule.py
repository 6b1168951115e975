"""Several devices against a stolen delegate, without the recovery phrase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core.accounts.person import Person, refused
from vcd.core.accounts import editions, overrule
from vcd.core.accounts.device_list import DAY, Edition, Policy, check_edition, check_successor
from vcd.core.accounts.editions import Made
from vcd.core.accounts.head import Overruling, check, check_next
from vcd.core.accounts.identity import DelegateKey, OverruleKey, new_key
from vcd.core.accounts.overrule import Overrule
from vcd.core.accounts.shares import Share
from vcd.core.errors import Malformed, Misuse
from vcd.core.names import DeviceId
from vcd.core.record import decode, encode

POLICY = Policy(overrulers=2, overrule_delay=DAY)


class House(Person):
    """A laptop that is the delegate, a phone and a tablet; any two overrule it."""

    def __init__(self) -> None:
        super().__init__()
        self.phone, self.tablet = self.add("phone"), self.add("tablet")
        self.term(POLICY)
        self.base = self.edition

    def asked(self, *signers: DeviceId) -> Overrule:
        """Without the laptop; the phone is to be the delegate."""
        found = overrule.propose(self.base, self.phone, stay=(self.phone, self.tablet), delegates=(self.phone,))
        for signer in signers:
            found = overrule.countersign(self.provider, found, self.base, signer, self.keys[signer])
        return found

    def carried(self, edition: Edition) -> Made:
        asked = self.asked(self.phone, self.tablet)
        shares = [self.shares[self.phone], self.shares[self.tablet]]
        return overrule.carry_out(self.provider, asked, edition, shares)


def test_two_of_three_overrule_the_third() -> None:
    house = House()
    asked = house.asked(house.phone)
    assert overrule.check_overrule(asked, house.edition, house.provider) == 1
    asked = overrule.merged(asked, house.asked(house.tablet))
    assert asked == overrule.merged(house.asked(house.tablet), house.asked(house.phone))
    assert overrule.check_overrule(asked, house.edition, house.provider) == 0
    before = house.edition
    made = house.carried(house.edition)
    overrule.check_carried_out(asked, before, made.edition, house.provider)
    check_next(before.head, made.edition.head)
    assert [entry.device for entry in made.edition.devices.delegates] == [house.phone]
    assert made.edition.devices.revoked(house.first) is not None
    assert made.edition.head.revokes
    house.took(made)
    house.add("watch")
    check_successor(made.edition, house.edition, house.provider)


def test_each_waits_before_it_gives_its_part_away() -> None:
    house = House()
    asked = house.asked(house.phone, house.tablet)
    edition, provider = house.edition, house.provider
    assert not overrule.due(asked, edition, provider, complete_since=5, now=5 + DAY - 1)
    assert overrule.due(asked, edition, provider, complete_since=5, now=5 + DAY)
    assert not overrule.due(house.asked(house.phone), edition, provider, complete_since=5, now=5 + 2 * DAY)


def test_the_root_speaks_above_who_overruled_without_knowing_of_it() -> None:
    house = House()
    before = house.edition
    made = house.carried(before)
    root = editions.new_term(house.provider, house.root, before, delegates=(house.first,))
    check_next(made.edition.head, root.edition.head)
    refused("older-list", lambda: check_next(root.edition.head, made.edition.head))


def test_contacts_cannot_tell_how_many_it_took() -> None:
    house = House()
    big = House()
    for at in range(7):
        big.add(f"device {at}")
    big.term(Policy(overrulers=6))
    assert len(encode(big.head)) == len(encode(house.head))


def test_one_alone_cannot() -> None:
    house = House()
    asked = house.asked(house.phone)
    parts = [house.shares[house.phone], house.shares[house.tablet]]
    with pytest.raises(Misuse):
        overrule.carry_out(house.provider, asked, house.edition, parts)
    asked = house.asked(house.phone, house.tablet)
    with pytest.raises(Misuse):
        overrule.carry_out(house.provider, asked, house.edition, parts[:1] * 2)


def test_parts_that_are_not_genuine_are_left_out() -> None:
    house = House()
    asked = house.asked(house.phone, house.tablet)
    parts = [Share(b"\x01" + bytes(32)), house.shares[house.phone], Share(b""), house.shares[house.tablet]]
    made = overrule.carry_out(house.provider, asked, house.edition, parts)
    check_edition(made.edition, house.provider)


def test_a_stolen_delegate_cannot_prevent_it() -> None:
    """It makes new versions, shuts out those who could overrule it, and lets in devices of its own."""
    house = House()
    house.refresh()
    house.revoke(house.phone)
    house.revoke(house.tablet)
    house.add("ghost")
    before = house.edition
    asked = house.asked(house.phone, house.tablet)
    assert overrule.check_overrule(asked, before, house.provider) == 0
    made = house.carried(before)
    overrule.check_carried_out(asked, before, made.edition, house.provider)
    assert {entry.device for entry in made.edition.devices.devices} == {house.phone, house.tablet}


def test_a_ghost_cannot_vote() -> None:
    house = House()
    asked = house.asked(house.phone)
    ghost = house.add("ghost")
    with pytest.raises(Misuse):
        overrule.countersign(house.provider, asked, house.edition, ghost, house.keys[ghost])
    own = replace(asked.signatures[0], device=ghost)
    refused(
        "no-overruler",
        lambda: overrule.check_overrule(replace(asked, signatures=(own,)), house.edition, house.provider),
    )


def test_a_signature_counts_for_its_device_and_its_wish_only() -> None:
    house = House()
    asked = house.asked(house.phone)
    stolen = replace(asked.signatures[0], device=house.tablet)
    forged = replace(asked, signatures=(stolen,))
    refused("overrule-signature", lambda: overrule.check_overrule(forged, house.edition, house.provider))
    other = overrule.propose(house.base, house.tablet, stay=(house.tablet,), delegates=(house.tablet,))
    moved = replace(other, signatures=asked.signatures)
    refused("overrule-signature", lambda: overrule.check_overrule(moved, house.edition, house.provider))
    with pytest.raises(Misuse):
        overrule.merged(asked, other)


def test_it_is_over_with_its_term() -> None:
    house = House()
    asked = house.asked(house.phone, house.tablet)
    house.term(POLICY)
    refused("another-term", lambda: overrule.check_overrule(asked, house.edition, house.provider))


def test_it_works_once_in_a_term() -> None:
    house = House()
    house.took(house.carried(house.edition))
    with pytest.raises(Misuse):
        overrule.propose(house.edition, house.phone, stay=(house.phone,), delegates=(house.phone,))


def test_without_a_policy_only_the_root_can() -> None:
    alice = Person()
    with pytest.raises(Misuse):
        overrule.propose(alice.edition, alice.first, stay=(alice.first,), delegates=(alice.first,))


def test_what_is_carried_out_is_what_was_asked() -> None:
    house = House()
    asked = house.asked(house.phone, house.tablet)
    wish = overrule.propose(house.base, house.phone, stay=(house.phone,), delegates=(house.phone,))
    for signer in (house.phone, house.tablet):
        wish = overrule.countersign(house.provider, wish, house.base, signer, house.keys[signer])
    made = house.carried(house.edition)
    refused("not-as-asked", lambda: overrule.check_carried_out(wish, house.base, made.edition, house.provider))
    later = house.refresh()
    refused("another-term", lambda: overrule.check_carried_out(asked, house.base, later, house.provider))


def test_a_forged_overruling_is_refused() -> None:
    house = House()
    thief, public = new_key(DelegateKey, house.suite, house.provider)
    mandate = house.head.authority.mandate
    forged = Overruling(delegate=public).signed(house.provider, mandate, OverruleKey(house.delegate.raw))
    authority = replace(house.head.authority, overruling=forged)
    head = replace(house.head, authority=authority, number=1, revoked=authority.start).signed(house.provider, thief)
    refused("overruling-signature", lambda: check(head, house.provider))


def test_a_wish_has_a_delegate_that_keeps_it_and_devices_in_order() -> None:
    house = House()
    for keeper, stay, delegates in (
        (house.first, (house.phone,), (house.phone,)),
        (house.phone, (house.phone,), ()),
        (house.phone, (house.phone,), (house.phone, house.tablet)),
        (house.phone, (house.phone, DeviceId(bytes(16))), (house.phone,)),
    ):
        with pytest.raises(Misuse):
            overrule.propose(house.base, keeper, stay=stay, delegates=delegates)
    asked = house.asked(house.phone, house.tablet)
    for change in ({"stay": asked.stay[::-1]}, {"signatures": asked.signatures * 2}, {"authority": b""}):
        with pytest.raises(ValueError, match=r"order|bytes"):
            replace(asked, **change)


def test_another_key_does_not_sign_for_a_device() -> None:
    house = House()
    with pytest.raises(Misuse):
        overrule.countersign(house.provider, house.asked(), house.base, house.phone, house.keys[house.tablet])


def test_a_wish_is_read_back_and_cut_ones_are_refused() -> None:
    asked = House().asked()
    data = encode(asked)
    assert decode(Overrule, data) == asked
    for end in range(0, len(data), 13):
        with pytest.raises(Malformed):
            decode(Overrule, data[:end])


def test_parts_are_bound_to_the_key_that_the_root_named() -> None:
    house, other = House(), House()
    other.term(POLICY)
    mandate = house.head.authority.mandate
    parts = [other.shares[other.phone], other.shares[other.tablet]]
    refused("overrule-parts", lambda: overrule._whole(house.suite, parts, mandate))


def test_a_delegate_cannot_take_parts_away_or_deal_them_anew() -> None:
    house = House()
    version = house.edition.version + 1
    head = replace(house.head, number=house.head.number + 1, previous=house.head.digest)
    for overrulers in (house.edition.devices.overrulers[:2], ()):
        devices = replace(house.edition.devices, version=version, overrulers=overrulers)
        edition = editions.sealed(house.provider, head, devices, house.delegate)
        check_next(house.head, edition.head)
        refused(
            "overrulers-changed",
            lambda edition=edition: check_successor(house.edition, edition, house.provider),  # type: ignore[misc]
        )


def test_those_who_overrule_are_in_order_and_enough() -> None:
    devices = House().edition.devices
    powers = devices.overrulers
    for change in (powers[::-1], powers[:1] * 2, powers[:1]):
        with pytest.raises(ValueError, match="overrul"):
            replace(devices, overrulers=change)
    with pytest.raises(ValueError, match="takes more"):
        replace(devices, policy=Policy())
