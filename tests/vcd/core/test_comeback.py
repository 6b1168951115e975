"""Accounts of several devices, and homes, that come back from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.virtual.announcements import ExternalJoin, JoinedExternally
from tests.vcd.core.branches import TEA as CHAT, bring, commit, finals, heads, sent, tea, withhold
from tests.vcd.core.company import step
from tests.vcd.core.homes import device, home, link
from tests.vcd.core.village import Village
from vcd.core import acting, desync, devices, events, founding, inputs, voting
from vcd.core.duties import Duty
from vcd.core.names import EpochId, IntentId
from vcd.core.payloads import Commit, Door, Votes, Want
from vcd.core.strand import Membership
from vcd.core.turn import Turn

INTENT = IntentId(b"remove somebody")
ALL = ("anna", "ben", "laptop", "phone")


def chat() -> Village:
    """Anna, Ben, and an account of two devices."""
    village = Village()
    village.account("anna")
    village.do("anna", inputs.Open(conversation=CHAT))
    bring(village, "anna", "ben")
    bring(village, "anna", "laptop")
    village.wait(minutes=1)
    link(village, "laptop", "phone")
    village.wait(minutes=1)
    assert len(heads(village, *ALL)) == 1
    assert all(tea(village, name).here is not None for name in ALL)
    return village


def lose(village: Village, *people: str) -> EpochId:
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, *people)
    lost.append(commit(village, "anna", heard=False))
    village.deliver()
    return lost[0]


def test_one_device_votes_for_the_account() -> None:
    village = chat()
    voters = [name for name in ("laptop", "phone") if voting.votes_here(village.state(name), tea(village, name))]
    assert voters == ["laptop"]  # the senior one
    before = len(village.log)
    commit(village, "phone")
    village.wait(minutes=1)
    by = {frame.by for frame, _ in sent(village, Votes, before) if frame.topic in _topics(village)}
    assert by == {"anna", "ben", "laptop"}
    assert finals(village, *ALL) == heads(village, *ALL)


def _topics(village: Village) -> set[bytes]:
    return {each.keys.name for each in village.state("anna").joined.values() if each.group_id == CHAT}


def test_a_device_that_takes_over_the_voting_waits_until_the_votes_of_before_have_reached_it() -> None:
    village = chat()
    before = home(village, "phone")
    members = tuple(each for each in before.graph.anchor.members if bytes(each.account) == device(village, "phone"))
    anchor = replace(before.graph.anchor, members=members, epoch=EpochId(b"later".ljust(32)))
    now = replace(before.standing, head=anchor.epoch, final=anchor.epoch)
    after = replace(before, graph=type(before.graph)(anchor=anchor), standing=now)

    def gone(turn: Turn) -> tuple[bool, bool]:
        turn.state = replace(turn.state, strands=turn.state.strands.set(after.group_id, after))
        strand = turn.strand(CHAT)
        was = voting.votes_here(turn.state, strand)
        voting.moved(turn, before, after)
        at = turn.state.duties[(Duty.VOTE, b"")]
        assert at == turn.now + turn.state.config.digest_every
        waits = voting.votes_here(turn.state, strand)
        turn.not_due(Duty.VOTE, b"")
        ready = voting.votes_here(turn.state, strand)
        turn.state = village.state("phone")
        assert was
        return waits, ready

    assert step(village, "phone", gone) == (False, True)


def test_a_device_with_an_old_disk_does_not_vote() -> None:
    village = chat()
    state = founding.restored(village.state("laptop"))
    assert voting.votes_here(village.state("laptop"), tea(village, "laptop"))
    assert not voting.votes_here(state, state.strands[CHAT])
    assert not voting.votes_here(state, home(village, "laptop"))


def test_one_device_brings_the_account_back_and_the_others_come_along() -> None:
    village = chat()
    lose(village, "laptop", "phone")
    village.wait(minutes=30)
    assert len(heads(village, *ALL)) == 1
    for name in ("laptop", "phone"):
        strand = tea(village, name)
        assert strand.here is not None
        assert strand.membership is Membership.IN
    backs = [said for _, said in sent(village, Commit) if said.signed.step.moved]
    assert len({each.signed.step.epoch for each in backs}) == 1
    village.wait(minutes=5)
    assert finals(village, *ALL) == heads(village, *ALL)


def test_a_device_is_helped_by_its_own_account() -> None:
    village = chat()
    village.lost = lambda frame, name: name == "phone" and frame.topic in _topics(village)
    commit(village, "anna")
    village.wait(minutes=1)
    village.lost = lambda _frame, _name: False
    village.down("anna")
    village.down("ben")
    village.wait(minutes=20)
    assert heads(village, "laptop", "phone") == {tea(village, "laptop").head}
    assert tea(village, "phone").here is not None


def test_a_sibling_that_is_about_to_is_waited_for() -> None:
    village = chat()
    lose(village, "laptop", "phone")
    for _ in range(60):
        if tea(village, "phone").here is None:
            break
        village.wait(seconds=30)
    village.now += 1
    step(village, "phone", lambda turn: desync.sibling_tries(turn, CHAT))
    due = village.state("phone").duties[(Duty.DESYNC, CHAT)]
    assert due == village.now + village.config.desync_after


# ---------------------------------------------------------------- the home


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
