"""Homes that come back from outside."""

from __future__ import annotations

import pytest

from mls.virtual.announcements import ExternalJoin, JoinedExternally
from tests.vcd.core.branches import (
    TEA as CHAT,
    heads,
    sent,
    tea,
    withhold,
)
from tests.vcd.core.company import act, step
from tests.vcd.core.homes import device, home, link, refresh_home, restore
from tests.vcd.core.village import Village
from vcd.core import (
    acting,
    desync,
    devices,
    events,
    inputs,
    leaves,
)
from vcd.core.names import IntentId
from vcd.core.payloads import Commit, Door, Want
from vcd.core.strand import Membership, at_rest
from vcd.core.turn import Turn

INTENT = IntentId(b"remove somebody!")


def couple() -> Village:
    village = Village()
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=CHAT))
    village.wait(minutes=1)
    link(village, "laptop", "phone")
    link(village, "laptop", "tablet")
    village.wait(minutes=1)
    return village


def test_a_device_that_cannot_follow_its_home_comes_back_into_its_own_place() -> None:
    village = couple()
    members = home(village, "tablet").graph.members(home(village, "tablet").head)
    said = step(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True)[0])
    lost = said.step.epoch
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch == lost, "tablet")
    village.deliver()
    for _ in range(90):
        village.wait(minutes=1)
        if any(each.group == home(village, "tablet").group_id for each in village.told("tablet", events.OutOfSync)):
            break
    else:
        pytest.fail("it did not notice")
    village.wait(minutes=30)
    assert len({home(village, name).head for name in ("laptop", "phone", "tablet")}) == 1
    assert home(village, "tablet").here is not None
    after = [each.incarnation for each in home(village, "laptop").graph.members(home(village, "laptop").head)]
    assert sorted(after) == sorted(each.incarnation for each in members)
    assert list(sent(village, Door))
    # It takes part in everything again.
    village.wait(minutes=10)
    village.do("tablet", inputs.Say(conversation=CHAT, nonce=b"from the tablet.", data=b"here again"))
    village.wait(minutes=1)
    for name in ("laptop", "phone"):
        assert b"here again" in village.said(name)


def test_a_home_that_stands_again_where_it_was_settled_is_come_back_to() -> None:
    village = couple()
    act(village, "tablet", lambda turn: turn.put(at_rest(turn.home, turn.home.head), graph=True))
    step(village, "tablet", lambda turn: desync.moved(turn, turn.home, turn.home))
    assert home(village, "tablet").membership is Membership.LOST
    village.wait(hours=1)
    here = home(village, "tablet").here
    assert here is not None
    assert not here.settled
    assert len({home(village, name).head for name in ("laptop", "phone", "tablet")}) == 1


def test_an_old_disk_that_hears_of_its_own_commit_comes_back_after_it_and_makes_none_beside_it() -> None:
    village = couple()
    names = ("laptop", "phone", "tablet")
    before = village.state("laptop")
    old = home(village, "laptop").head
    village.do("laptop", inputs.Refresh(intent=INTENT, conversation=home(village, "laptop").group_id))
    village.wait(minutes=2)
    assert {home(village, name).final for name in names} == {home(village, "laptop").head} != {old}
    restore(village, "laptop", before)
    assert home(village, "laptop").head != old
    sofar = len(village.log)
    village.wait(minutes=30)
    assert all(said.signed.step.parent != old for frame, said in sent(village, Commit, sofar) if frame.by == "laptop")
    assert len({home(village, name).head for name in names}) == 1
    assert not village.state("laptop").household.listening


def test_an_old_disk_comes_back_into_a_conversation_that_stands_on_what_it_had_derived() -> None:
    village = couple()
    names = ("laptop", "phone", "tablet")
    before = village.state("laptop")
    step(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True))
    village.deliver()
    village.wait(minutes=2)
    village.do("laptop", inputs.Refresh(intent=IntentId(b"a fresh leaf too"), conversation=CHAT))
    village.wait(minutes=2)
    stood = tea(village, "phone").final
    assert stood != before.strands[CHAT].final
    restore(village, "laptop", before)
    village.wait(minutes=90)
    assert heads(village, *names) == {tea(village, "phone").head}
    assert all(tea(village, name).here is not None for name in names)
    village.do("laptop", inputs.Say(conversation=CHAT, nonce=b"from an old disk", data=b"here again"))
    village.wait(minutes=1)
    assert all(village.said(name)[-1:] == [b"here again"] for name in ("phone", "tablet"))


def test_an_old_disk_whose_new_epoch_loses_begins_another() -> None:
    village = couple()
    village.part(["laptop"], ["phone", "tablet"])
    restore(village, "laptop", village.state("laptop"))
    village.wait(minutes=5)
    begun = home(village, "laptop").head
    assert not village.state("laptop").household.listening
    for number in range(2):
        refresh_home(village, "phone", number)
        village.wait(minutes=2)
    village.heal()
    village.wait(minutes=1)
    assert not home(village, "laptop").graph.is_ancestor(begun, home(village, "laptop").head)
    assert village.state("laptop").household.listening
    village.wait(hours=1)
    assert not village.state("laptop").household.listening
    village.do("laptop", inputs.Say(conversation=CHAT, nonce=b"from an old disk", data=b"here again"))
    village.wait(minutes=1)
    assert all(village.said(name)[-1:] == [b"here again"] for name in ("phone", "tablet"))


def test_a_device_that_was_removed_from_the_home_does_not_come_back() -> None:
    village = couple()
    village.do("laptop", inputs.RemoveDevice(intent=INTENT, device=device(village, "tablet")))
    village.wait(hours=2)
    members = home(village, "laptop").graph.members(home(village, "laptop").head)
    assert all(bytes(each.account) != device(village, "tablet") for each in members)
    pleas = [frame for frame, want in sent(village, Want) if want.plea is not None and frame.by == "tablet"]
    assert not pleas


def test_the_announcements_are_those_that_siblings_understand() -> None:
    assert {ExternalJoin, JoinedExternally} <= set(devices.ANNOUNCED)


def test_who_comes_back_again_and_again_does_not_push_out_what_the_others_told() -> None:
    """Each time it is told of all epochs of the home that are kept, and there may be hundreds."""
    village = couple()
    for _ in range(3):
        act(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True))

    def told(turn: Turn) -> int:
        leaves._lacking(turn)
        leaves.pass_on(turn)
        return turn.state.household.said.size

    village.part(["laptop"], ["phone", "tablet"])
    once = act(village, "laptop", told)
    assert once > 3
    assert {act(village, "laptop", told) for _ in range(5)} == {once}
