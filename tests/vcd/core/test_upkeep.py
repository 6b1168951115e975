"""What has to be done in every group now and then."""

from __future__ import annotations

from dataclasses import replace

from tests.vcd.core.company import step
from tests.vcd.core.people import (
    TEA,
    accounts,
    fates,
    final_accounts,
    friends,
    intent,
    invite,
    members,
    open_talk,
    strand,
    together,
)
from tests.vcd.core.village import Village
from vcd.core import inputs
from vcd.core.accounts import editions
from vcd.core.accounts.admission import head_of
from vcd.core.duties import Duty
from vcd.core.policy import DAY, HOUR, Policy, Who

FREE = Policy(remove=Who.EVERYBODY, update_every=4 * HOUR, stale_after=DAY)
PEOPLE = ("anna", "ben", "cleo", "dora", "emil")


def leaf_keys(village: Village, name: str) -> list[bytes]:
    """Of all members, as a device sees them."""
    here = strand(village, name).here
    assert here is not None
    return [node.encryption_key for _, node in here.group.members]


def test_a_wish_to_leave_is_committed_by_the_most_senior_member_who_stays() -> None:
    village = friends(*PEOPLE)
    open_talk(village, *PEOPLE)
    village.do("anna", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(seconds=1)
    found = strand(village, "ben")
    assert found.graph.steps[found.head].author == members(village, "ben")[0].incarnation
    village.wait(minutes=2)
    assert final_accounts(village, "cleo") == {village.own(name) for name in PEOPLE[1:]}
    assert fates(village, "anna")[intent("bye")].stands


def test_the_next_one_does_it_if_the_most_senior_one_is_away() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", "dora")
    village.down("anna")
    village.do("dora", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(seconds=5)
    assert village.own("dora") in accounts(village, "cleo")
    village.wait(seconds=10)
    found = strand(village, "cleo")
    who = {each.incarnation: each.account for each in members(village, "cleo")}
    assert village.own("dora") not in accounts(village, "cleo")
    assert who[found.graph.steps[found.head].author] == village.own("ben")


def test_only_one_of_them_commits_it() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", "dora")
    number = strand(village, "anna").graph.number(strand(village, "anna").head)
    village.do("dora", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(minutes=10)
    assert strand(village, "anna").graph.number(strand(village, "anna").head) == number + 1
    assert together(village, "anna", "ben", "cleo")


def test_people_may_go_on_talking_while_a_wish_to_leave_waits() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    village.part(["ben", "cleo"])
    village.step("cleo", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.deliver()
    village.do("ben", inputs.Say(conversation=TEA, nonce=bytes(16), data=b"stay"))  # what waits is shelved for that
    village.wait(minutes=1)
    assert accounts(village, "ben") == {village.own("anna"), village.own("ben")}


def test_who_hears_of_a_branch_where_it_began_can_follow_a_commit_of_proposals_there() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "cleo")
    village.part(["anna", "ben"])
    heard = set(village.devices["cleo"].topics)
    invite(village, "anna", "ben")
    village.do("ben", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(minutes=1)
    assert accounts(village, "anna") == {village.own("anna"), village.own("cleo")}
    village.lost = lambda frame, name: name == "cleo" and frame.topic not in heard  # nobody serves these any more
    village.heal()
    assert together(village, "anna", "cleo")


def test_every_leaf_gets_fresh_keys_in_time() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    before = leaf_keys(village, "anna")
    village.wait(hours=6)
    after = leaf_keys(village, "anna")
    assert not set(before) & set(after)
    assert together(village, "anna", "ben")
    village.wait(hours=6)
    assert not set(after) & set(leaf_keys(village, "ben"))


def test_whatever_gives_a_leaf_fresh_keys_counts() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    village.wait(hours=2)
    due = village.state("anna").duties[Duty.UPDATE, TEA]
    village.do("anna", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    assert village.state("anna").duties[Duty.UPDATE, TEA] >= due + HOUR
    assert village.state("anna").talks[TEA].updated_at == village.now


def test_the_home_gets_fresh_keys_too() -> None:
    village = Village()
    village.account("anna")
    home = village.state("anna").home
    assert home is not None
    before = village.state("anna").strands[home].head
    village.do("anna", inputs.Refresh(intent=intent("fresh"), conversation=home))
    assert (Duty.UPDATE, home) in village.state("anna").duties
    second = village.state("anna").strands[home].head
    village.wait(days=35)
    assert len({before, second, village.state("anna").strands[home].head}) == 3


def test_newcomers_give_themselves_fresh_leaves_soon_and_one_after_the_other() -> None:
    village = friends("anna", "ben", "cleo")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    invite(village, "anna", "cleo")
    village.wait(minutes=1)
    assert [each.acted for each in members(village, "anna")] == [True, False, False]
    village.wait(minutes=15)
    assert all(each.acted for each in members(village, "anna"))
    there = strand(village, "anna")
    assert there.graph.number(there.head) == 4  # two came, and each made one commit
    assert there.final == there.head


def test_a_member_who_never_gives_itself_a_fresh_leaf_is_removed_in_the_end() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", policy=FREE)
    village.down("cleo")
    village.wait(hours=20)
    assert village.own("cleo") in accounts(village, "anna")
    village.wait(hours=30)
    assert village.own("cleo") not in accounts(village, "anna")
    assert together(village, "anna", "ben")


def test_nobody_is_removed_for_being_stale_by_those_whom_the_rules_do_not_let() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", policy=replace(FREE, remove=Who.NOBODY))
    village.down("cleo")
    village.wait(days=2)
    assert village.own("cleo") in accounts(village, "anna")


def test_who_was_away_for_long_does_not_take_the_others_for_lost() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", policy=FREE)
    village.do("anna", inputs.Online(online=False))
    village.part(["anna"], ["ben", "cleo"])
    village.wait(days=2)
    assert len(accounts(village, "anna")) == 3


def test_what_is_remembered_of_members_goes_with_them() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", policy=FREE)
    village.do("cleo", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(days=2)
    there = {each.incarnation for each in members(village, "anna")}
    assert {*village.state("anna").talks[TEA].fresh} == there


def test_a_fresh_leaf_shows_the_newest_list_of_our_devices() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    mine = village.state("ben")
    assert mine.book.edition is not None
    assert mine.household.delegate is not None
    newer = editions.refresh(village.devices["ben"].provider, mine.book.edition, mine.household.delegate).edition
    step(village, "ben", lambda turn: turn.change(book=replace(turn.state.book, edition=newer)))
    village.wait(hours=6)
    found = strand(village, "anna").here
    assert found is not None
    shown = {head.account: head for _, leaf in found.group.members if (head := head_of(leaf.credential)) is not None}
    assert shown[village.own("ben")].digest == newer.head.digest
    known = village.state("anna").book.find(village.own("ben"))
    assert known is not None
    assert known.head.digest == newer.head.digest
