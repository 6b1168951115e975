"""What people want done, on whatever branch, until it stands or was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.registries import GroupId
from tests.vcd.core.people import (
    TEA,
    accounts,
    befriend,
    card,
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
from vcd.core import effects, events, inputs, ranks
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.policy import HOUR, Mode, Policy, Who
from vcd.core.turn import Turn

FREE = Policy(remove=Who.EVERYBODY, change=Who.EVERYBODY)
"""Everybody may do everything."""


def test_an_invitation_stands_when_it_is_final_and_the_app_is_told_once() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    made = invite(village, "anna", "ben")
    village.wait(minutes=2)
    assert village.told("anna", events.IntentFate) == [events.IntentFate(intent=made, stands=True)]
    assert made not in village.state("anna").intents
    assert together(village, "anna", "ben")
    assert accounts(village, "ben") == {village.own("anna"), village.own("ben")}


def test_the_same_command_again_is_not_begun_again() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    village.part(["anna"], ["ben"])
    first = invite(village, "anna", "ben")
    head = strand(village, "anna").head
    assert invite(village, "anna", "ben") == first
    assert strand(village, "anna").head == head


def test_three_people_end_in_one_conversation() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    assert together(village, "anna", "ben", "cleo")
    assert len(final_accounts(village, "cleo")) == 3
    assert all(each.stands for each in fates(village, "anna").values())


def test_an_add_on_a_losing_branch_is_made_again_with_the_same_key_package() -> None:
    """Who was added only on the branch that lost is stranded, unless whoever wanted it there adds it again."""
    seen = set()
    for seed in range(4):  # the tags decide which of the two loses, so both come
        village = friends("anna", "ben", "cleo", "dora", seed=seed)
        open_talk(village, "anna", "ben", policy=FREE)
        village.part(["anna", "cleo"], ["ben", "dora"])
        one, other = invite(village, "anna", "cleo"), invite(village, "ben", "dora")
        assert village.own("cleo") in accounts(village, "cleo")
        assert village.own("dora") in accounts(village, "dora")
        offered = {name: village.state(name).intents[made].package for name, made in (("anna", one), ("ben", other))}
        village.heal()
        loser = "anna" if village.own("cleo") not in accounts(village, "anna") else "ben"
        seen.add(loser)
        again = village.state(loser).intents[one if loser == "anna" else other]
        assert again.package == offered[loser]
        village.wait(minutes=5)
        everybody = {village.own(name) for name in ("anna", "ben", "cleo", "dora")}
        assert together(village, "anna", "ben", "cleo", "dora")
        assert final_accounts(village, "dora") == everybody
        assert len(members(village, "anna")) == 4
        assert fates(village, "anna")[one].stands
        assert fates(village, "ben")[other].stands
    assert seen == {"anna", "ben"}


def test_two_who_invite_the_same_person_end_with_one_member_of_that_account() -> None:
    """Intent races: both add them, on two branches; one of the two stands, and is enough for both."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", policy=FREE)
    village.part(["anna"], ["ben"], ["cleo"])
    one, other = invite(village, "anna", "cleo"), invite(village, "ben", "cleo")
    village.heal()
    village.wait(minutes=5)
    assert [each.account for each in members(village, "anna")].count(village.own("cleo")) == 1
    assert together(village, "anna", "ben", "cleo")
    assert fates(village, "anna")[one].stands
    assert fates(village, "ben")[other].stands


def test_members_who_lose_again_and_again_do_not_keep_each_other_from_it_for_ever() -> None:
    """Intent races: five people want something at once on one head; all of it stands in the end."""
    names = ("anna", "ben", "cleo", "dora", "emil")
    guests = tuple(f"guest {name}" for name in names)
    village = friends(*names, *guests)
    open_talk(village, "anna", *names[1:], policy=FREE)
    village.part(*([name, guest] for name, guest in zip(names, guests, strict=True)))
    made = {name: invite(village, name, guest) for name, guest in zip(names, guests, strict=True)}
    village.heal()
    village.wait(minutes=30)
    assert together(village, *names, *guests)
    assert len(final_accounts(village, "anna")) == 10
    for name, each in made.items():
        assert fates(village, name)[each].stands


def test_removal_stands_and_the_removed_is_out() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    made = intent("out")
    village.do("anna", inputs.Remove(intent=made, conversation=TEA, account=village.own("cleo")))
    village.wait(minutes=2)
    assert fates(village, "anna")[made].stands
    assert village.own("cleo") not in final_accounts(village, "ben")


def test_a_re_add_does_not_get_around_a_removal_on_another_branch() -> None:
    """Re-add against sticky removal: cleo is removed on both branches, and added again on one that did not know."""
    seen = set()
    for seed in (0, 1, 7, 8):  # the tags decide which of the two wins
        village = friends("anna", "ben", "cleo", seed=seed)
        open_talk(village, "anna", "ben", "cleo", policy=FREE)
        cleo = village.own("cleo")
        village.part(["anna"], ["ben"], ["cleo"])
        village.do("anna", inputs.Remove(intent=intent("anna: out"), conversation=TEA, account=cleo))
        back = invite(village, "anna", "cleo", name="and in again")
        assert cleo in accounts(village, "anna")
        village.do("ben", inputs.Remove(intent=intent("ben: out"), conversation=TEA, account=cleo))
        village.heal()
        won = cleo in accounts(village, "ben")
        village.wait(minutes=30)
        assert together(village, "anna", "ben")
        assert (cleo in final_accounts(village, "anna")) == won
        reason = "" if won else "removed-meanwhile"
        assert fates(village, "anna")[back] == events.IntentFate(intent=back, stands=won, reason=reason)
        seen.add(won)
    assert seen == {False, True}


def test_an_invitation_by_somebody_who_was_removed_is_void() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", policy=FREE)
    village.part(["anna"], ["ben"], ["cleo"])
    made = invite(village, "ben", "cleo")
    village.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("ben")))
    village.heal()
    village.wait(minutes=30)
    assert final_accounts(village, "anna") == {village.own("anna")}
    assert not fates(village, "ben")[made].stands
    assert fates(village, "ben")[made].reason == "not-a-member"


def test_leaving_takes_somebody_elses_commit_and_is_asked_for_again_where_that_lost() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", policy=FREE)
    village.part(["anna", "ben"], ["cleo"], ["dora"])
    made = intent("bye")
    village.do("cleo", inputs.Depart(intent=made, conversation=TEA))
    invite(village, "anna", "dora")  # on the head that cleo asked on; so nobody can commit what she asked there
    village.heal()
    village.wait(minutes=10)
    assert village.own("cleo") not in final_accounts(village, "anna")
    assert village.own("dora") in final_accounts(village, "ben")
    assert fates(village, "cleo")[made].stands


def test_who_is_alone_just_goes() -> None:
    village = friends("anna")
    village.do("anna", inputs.Open(conversation=TEA))
    village.do("anna", inputs.Depart(intent=intent("bye"), conversation=TEA))
    assert fates(village, "anna")[intent("bye")].stands


def test_fresh_keys_are_made_again_on_the_branch_that_won() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    village.part(["anna"], ["ben"])
    for name in ("anna", "ben"):
        village.do(name, inputs.Refresh(intent=intent(name), conversation=TEA))
    first = {name: strand(village, name).head for name in ("anna", "ben")}
    village.heal()
    village.wait(minutes=5)
    assert together(village, "anna", "ben")
    for name in ("anna", "ben"):
        assert fates(village, name)[intent(name)].stands
    assert strand(village, "anna").head not in first.values()


def test_the_homes_own_leaf_can_be_refreshed() -> None:
    village = friends("anna")
    home = village.state("anna").home
    assert home is not None
    before = village.state("anna").strands[home].head
    village.do("anna", inputs.Refresh(intent=intent("home"), conversation=home))
    village.wait(minutes=1)
    assert village.state("anna").strands[home].head != before
    assert fates(village, "anna")[intent("home")].stands


def test_rules_that_somebody_else_changed_meanwhile_are_not_changed_back() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    was = replace(FREE, admins=(village.own("anna"),))
    village.part(["anna"], ["ben"])
    for name, window in (("anna", 2 * HOUR), ("ben", 3 * HOUR)):
        command = inputs.ChangePolicy(intent=intent(name), conversation=TEA, policy=replace(was, window=window))
        village.do(name, command)
    village.heal()
    village.wait(minutes=10)
    said = [fates(village, name)[intent(name)] for name in ("anna", "ben")]
    assert sorted(each.stands for each in said) == [False, True]
    assert [each.reason for each in said if not each.stands] == ["policy-changed"]


def test_what_the_rules_forbid_is_refused_at_once() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    with pytest.raises(Misuse, match="rules"):
        village.do("ben", inputs.Remove(intent=intent("no"), conversation=TEA, account=village.own("cleo")))
    assert intent("no") not in village.state("ben").intents


def test_rules_that_change_meanwhile_refuse_what_was_allowed_when_it_was_wanted() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", policy=FREE)
    policy = replace(FREE, admins=(village.own("anna"),), add=Who.ADMINS)
    village.part(["anna"], ["ben"], ["cleo"])
    village.packages[village.own("cleo")].clear()
    made = invite(village, "ben", "cleo")  # waits for a KeyPackage
    village.do("anna", inputs.ChangePolicy(intent=intent("rules"), conversation=TEA, policy=policy))
    village.heal()
    village.wait(minutes=20)
    assert fates(village, "ben")[made] == events.IntentFate(intent=made, stands=False, reason="forbidden")


def test_who_has_no_key_package_to_be_had_counts_as_unreachable_after_a_while() -> None:
    village = friends("anna", "ben", max_fetches=3)
    village.do("anna", inputs.Open(conversation=TEA))
    village.packages[village.own("ben")].clear()
    made = invite(village, "anna", "ben")
    assert made in village.state("anna").intents
    village.wait(hours=3)
    assert fates(village, "anna")[made] == events.IntentFate(intent=made, stands=False, reason="unreachable")


def test_bytes_that_are_no_key_package_of_that_account_are_not_used() -> None:
    village = friends("anna", "ben", "cleo", max_fetches=3)
    village.do("anna", inputs.Open(conversation=TEA))
    village.packages[village.own("ben")][:] = [b"no package", village.packages[village.own("cleo")][0]]
    made = invite(village, "anna", "ben")
    village.wait(hours=3)
    assert fates(village, "anna")[made].reason == "unreachable"
    assert len(members(village, "anna")) == 1


def test_a_key_package_that_was_asked_for_is_asked_for_again_after_a_crash() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    device = village.devices["anna"]
    held, village.packages[village.own("ben")] = village.packages[village.own("ben")], []
    invite(village, "anna", "ben")
    village.packages[village.own("ben")] = held
    village.restart("anna")
    assert (Duty.INTENT, intent("anna invites ben")) in device.state.duties
    village.wait(minutes=1)
    assert together(village, "anna", "ben")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (lambda v: inputs.Invite(intent=intent("x"), conversation=TEA, account=v.own("ben")), "member-already"),
        (lambda v: inputs.Invite(intent=intent("x"), conversation=TEA, account=v.own("anna")), "no-card"),
        (lambda v: inputs.Remove(intent=intent("x"), conversation=TEA, account=v.own("anna")), "ourselves"),
        (lambda v: inputs.Remove(intent=intent("x"), conversation=TEA, account=v.own("cleo")), "no-member"),
        (lambda v: inputs.Depart(intent=intent("x"), conversation=GroupId(b"nowhere")), "no-conversation"),
        (lambda v: inputs.Depart(intent=intent("x"), conversation=v.state("anna").home), "home"),
        (
            lambda v: inputs.ChangePolicy(intent=intent("x"), conversation=TEA, policy=Policy(mode=Mode.EC1)),
            "policy-mode",
        ),
    ],
)
def test_what_cannot_be_done_at_all_is_said_at_once(command: object, code: str) -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    before = village.state("anna")
    with pytest.raises(Misuse) as caught:
        village.do("anna", command(village))  # type: ignore[operator]
    assert caught.value.code == code
    assert village.state("anna") is before


def test_nobody_invites_whom_they_blocked() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    village.do("anna", inputs.Block(account=village.own("ben"), blocked=True))
    with pytest.raises(Misuse, match="blocked"):
        invite(village, "anna", "ben")
    village.do("anna", inputs.Block(account=village.own("ben"), blocked=False))
    invite(village, "anna", "ben")
    village.wait(minutes=1)
    assert together(village, "anna", "ben")


def test_a_card_teaches_who_somebody_is_and_nobody_is_their_own_contact() -> None:
    village = Village()
    village.account("anna")
    village.account("ben")
    befriend(village, "anna", "ben")
    contact = village.state("anna").book.find(village.own("ben"))
    assert contact is not None
    assert contact.petname == "ben"
    for bad in (card(village, "anna"), b"", card(village, "ben")[:-1]):
        with pytest.raises(Misuse):
            village.do("anna", inputs.AddContact(card=bad))


def test_asking_for_a_key_package_names_where_it_may_be_had() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    device = village.devices["anna"]
    from vcd.core import node

    command = inputs.Invite(intent=intent("x"), conversation=TEA, account=village.own("ben"))
    outcome = node.step(device.state, command, village.now, device.provider)
    assert [each for each in outcome.effects if isinstance(each, effects.FetchPackage)] == [
        effects.FetchPackage(account=village.own("ben"), addresses=())
    ]


def test_where_somebody_leads_a_commit_is_made_once_however_long_the_decision_takes() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", policy=replace(FREE, mode=Mode.LEAD), mode=Mode.LEAD)
    village.down("anna")
    made = invite(village, "ben", "cleo")
    village.wait(minutes=30)
    assert len(village.state("ben").intents[made].made) == 1
    village.restart("anna")
    village.wait(minutes=5)
    assert together(village, "anna", "ben", "cleo")


def test_what_loses_waits_longer_each_time_and_devices_wait_differently() -> None:
    village = friends("anna", "ben")
    turns = [Turn(village.state(name), village.now, village.devices[name].provider) for name in ("anna", "ben")]
    waits = [[ranks.backoff(turn, b"thing", tries) for tries in range(1, 20)] for turn in turns]
    config = village.config
    for several in waits:
        for tries, wait in enumerate(several, start=1):
            plain = min(config.retry * 2 ** (tries - 1), config.retry_most)
            assert plain <= wait <= plain * 3 // 2
    assert all(one != other for one, other in zip(*waits, strict=True))
    assert waits[0] == [ranks.backoff(turns[0], b"thing", tries) for tries in range(1, 20)]
