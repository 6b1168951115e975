"""The virtual client acts and its devices follow, whichever of them acts."""

from __future__ import annotations

import pytest

from mls.proposals import Add
from tests.mls.virtual.household import DERIVED, SETTINGS, Household, offer


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
def test_everybody_follows_everything(settings) -> None:
    house = Household(3, settings=settings)
    house.create("device1")
    house.invite("device0", b"group", "anna", "ben")
    for name in house.names:
        house.commit(name, force_path=True)
        house.agree()
        for got in house.say(name).values():
            assert got.ours
            assert got.author is not None
            assert got.author.leaf == house[name].emulation.group.own_leaf
    house.other_say("anna")
    house.other_commit("ben")
    batch = house.upload("device2", offer(), offer())
    package = batch.released(announced=True)[0]
    anna = house.others[b"group"]["anna"]
    assert anna


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
def test_a_welcome_to_any_outstanding_key_package(settings) -> None:
    house = Household(3, settings=settings)
    batch = house.upload("device2", offer(), offer())
    first, second = batch.released(announced=True)
    anna = house.person("anna")
    group = anna.create(house.env)
    from mls import group as front

    sent = front.commit(group, house.env, proposals=[Add(second)])
    house.others[b"group"] = {"anna": sent.group}
    from mls.virtual.announcements import Welcomed

    for name in house.names:
        house.follow(name, Welcomed(sent.welcome))
    house.agree()
    house.other_commit("anna", force_path=True)
    house.commit("device0", force_path=True)
    house.say("device1")
    # external rejoin
    from mls.virtual import client as vc

    d = house["device1"]
    em, public = d.emulation.drawn_key(d.env, 1)
    from mls.virtual.announcements import Keys, SignatureKey

    d.emulation = em
    key = None
    if settings is SETTINGS:
        key = em.keys[public].private
        house.announce("device1", [Keys((SignatureKey(cipher_suite=1, public=public, private=key),))])
    info = front.group_info(house.others[b"group"]["anna"])
    o = offer()
    entered = vc.join_externally(
        d.emulation,
        d.env,
        house.parameters,
        info,
        credential=o.credential,
        capabilities=o.capabilities,
        signature_private=key,
        remove=d.groups[b"group"].own_leaf,
        prior=d.groups[b"group"],
    )
    d.emulation = entered.emulation
    house.spread(b"group", entered.joined.message, by="device1")
    d.groups[b"group"] = entered.joined.group
    house.agree()
    house.say("device2")
    # first external join
    ben = house.person("ben")
    group = ben.create(house.env, b"second")
    house.others[b"second"] = {"ben": group}
    d = house["device0"]
    if settings is SETTINGS:
        key = d.emulation.keys[public].private
    entered = vc.join_externally(
        d.emulation,
        d.env,
        house.parameters,
        front.group_info(group),
        credential=o.credential,
        capabilities=o.capabilities,
        signature_private=key,
    )
    d.emulation = entered.emulation
    house.spread(b"second", entered.joined.message, by="device0")
    d.groups[b"second"] = entered.joined.group
    house.announce("device0", entered.announcements)
    house.agree()
    house.say("device2", b"second")
    # updates
    up = vc.propose_update(house["device1"].emulation, house["device1"].groups[b"second"], house["device1"].env)
    house["device1"].emulation = up.emulation
    house["device1"].groups[b"second"] = up.group
    house.spread(b"second", up.message, by="device1")
    house.other_commit("ben", b"second")
    house.say("device2", b"second")
