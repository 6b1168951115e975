"""Conversations of a virtual client that are re-initialized or branch off, on every device."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.errors import CallerError
from mls.proposals import Add, ReInit
from mls.registries import MLS10, GroupId, ResumptionUsage
from mls.virtual import client as vc
from mls.virtual.settings import Settings
from tests.mls.virtual.household import DERIVED, SETTINGS, Household, offer


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
@pytest.mark.parametrize("usage", [ResumptionUsage.REINIT, ResumptionUsage.BRANCH])
def test_a_conversation_goes_on_as_another_group(settings: Settings, usage: ResumptionUsage) -> None:
    house = Household(3, settings=settings)
    house.create("device0")
    house.invite("device1", b"group", "anna", "ben")
    suite = 3 if usage is ResumptionUsage.REINIT else 1
    if usage is ResumptionUsage.REINIT:
        house.commit("device1", proposals=[ReInit(GroupId(b"next"), MLS10, suite, ())])
    old = {name: house[name].groups[b"group"] for name in house.names}
    device = house["device2"]
    branch = None if usage is ResumptionUsage.REINIT else GroupId(b"next")
    begun = vc.continue_conversation(device.emulation, old["device2"], device.env, offer(suite), branch=branch)
    device.emulation = begun.emulation
    device.groups[b"next"] = begun.continuation.group
    house.others[b"next"] = {}
    house.announce("device2", begun.announcements)
    people = [house.person(name, suite) for name in ("anna", "ben")]
    packages = [person.package(house.env) for person in people]
    acted = vc.commit(
        device.emulation,
        begun.continuation.group,
        device.env,
        proposals=[*(Add(package.key_package) for package in packages), begun.continuation.psk],
        force_path=True,
        founding=begun.continuation.founding,
    )
    device.emulation = acted.emulation
    device.groups[b"next"] = acted.commit.group
    for name in ("device0", "device1"):
        sibling = house[name]
        got = vc.receive(
            sibling.emulation,
            sibling.groups[b"next"],
            sibling.env,
            acted.commit.message,
            founding=(usage, old[name]),
        )
        sibling.emulation = got.emulation
        sibling.groups[b"next"] = got.event.group
    for person, package in zip(people, packages, strict=True):
        assert acted.commit.welcome is not None
        prior = house.others[b"group"][person.name]
        joined, _ = front.join(house.env, person.parameters, acted.commit.welcome, [package], prior=prior)
        house.others[b"next"][person.name] = joined
    house.agree()
    house.say("device1", b"next")
    house.commit("device0", b"next", force_path=True)
    house.other_commit("anna", b"next")


@pytest.mark.parametrize("usage", [ResumptionUsage.REINIT, ResumptionUsage.BRANCH])
def test_no_conversation_goes_on_under_the_name_of_the_emulation_group(usage: ResumptionUsage) -> None:
    """No sibling would follow it; so no operation is taken for it either."""
    house = Household(2)
    house.create("device0")
    house.invite("device0", b"group", "anna")
    device = house["device0"]
    name, branch = device.emulation.group.group_id, None
    if usage is ResumptionUsage.REINIT:
        house.other_commit("anna", proposals=[ReInit(name, MLS10, 1, ())])
    else:
        branch = name
    with pytest.raises(CallerError, match="name of the emulation group") as caught:
        vc.continue_conversation(device.emulation, device.groups[b"group"], device.env, offer(), branch=branch)
    assert caught.value.consumed is None
