"""The account leaves a conversation: alone in it, or not, and what its devices say of that afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vcd.core.branches import sent
from tests.vcd.core.company import step
from tests.vcd.core.homes import link, remove
from tests.vcd.core.people import SMALL, TEA, accounts, befriend, fates, final_accounts, intent, invite, strand
from tests.vcd.core.talking import heard, say
from tests.vcd.core.village import Village
from vcd.core import events, inputs, intents, leaving
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.events import Gone
from vcd.core.founding import restored
from vcd.core.names import GroupId
from vcd.core.payloads import Post
from vcd.core.policy import Mode, Policy, Who
from vcd.core.siblings import IntentOver, LeftAlone
from vcd.core.stored import load, rows
from vcd.core.strand import Membership

BYE = intent("bye")
OURS = ("laptop", "phone", "tablet")
"""The account's devices. The first one votes."""
MODES = (Mode.DEMLS, Mode.EC1, Mode.EC2, Mode.LEAD)


def home(*devices: str, mode: Mode = Mode.DEMLS, policy: Policy | None = None) -> Village:
    """An account of these devices, with a conversation in which it is alone, and people whom it knows."""
    village = Village(config=SMALL)
    for name in (devices[0], "ben", "cleo"):
        village.account(name)
    for name in devices[1:]:
        link(village, devices[0], name)
    befriend(village, devices[0], "ben", "cleo")
    village.do(devices[0], inputs.Open(conversation=TEA, mode=mode, policy=policy))
    village.wait(minutes=5)
    assert all(accounts(village, name) == {village.own(name)} for name in devices)
    return village


def leave(village: Village, name: str, group: GroupId = TEA) -> None:
    village.do(name, inputs.Depart(intent=BYE, conversation=group))


def is_out(village: Village, *names: str) -> bool:
    """That it is over for good, on each of these devices."""
    return all(
        strand(village, name).membership is Membership.OUT
        and village.own(name) not in accounts(village, name)
        and not village.state(name).intents
        for name in names
    )


def empty(village: Village, name: str) -> bool:
    """That no key is left, and none is waited for."""
    found = strand(village, name)
    return found.over and not found.kept and found.trunk is None and not found.laid and not found.bodies


def gone(village: Village, name: str) -> list[bool]:
    return [each.removed for each in village.told(name, Gone)]


def silent(village: Village, name: str) -> bool:
    with pytest.raises(Misuse) as refused:
        say(village, name, f"{name} is there still")
    return refused.value.code == "not-a-member"


# ---------------------------------------------------------------- alone


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("who", OURS[:2])
def test_who_is_alone_leaves_on_all_devices_at_once(who: str, mode: Mode) -> None:
    village = home(*OURS[:2], mode=mode)
    say(village, "phone", "a note")
    village.wait(minutes=1)
    leave(village, who)
    village.wait(seconds=1)
    for name in OURS[:2]:
        assert is_out(village, name)
        assert empty(village, name)
        assert gone(village, name) == [False]
        assert silent(village, name)
        assert heard(village, name) == ["a note"]
        assert TEA in village.state(name).talks
    assert fates(village, who)[BYE].stands
    village.wait(days=32)
    for name in OURS[:2]:
        assert gone(village, name) == [False]
        assert TEA not in village.state(name).topics
        assert not village.devices[name].topics & {
            topic for topic, joined in village.state(name).joined.items() if joined.group_id == TEA
        }


def test_a_device_that_was_off_meanwhile_has_left_too() -> None:
    village = home(*OURS)
    village.down("tablet")
    leave(village, "laptop")
    village.wait(days=3)
    village.restart("tablet")
    village.wait(minutes=5)
    assert is_out(village, *OURS)
    assert empty(village, "tablet")
    assert [gone(village, name) for name in OURS] == [[False]] * 3


def test_while_the_device_that_votes_is_off_the_others_can_do_nothing_there_and_then_all_have_left() -> None:
    village = home(*OURS)
    village.down("laptop")
    leave(village, "phone")
    village.wait(minutes=30)
    for name in OURS[1:]:
        assert silent(village, name)
        assert not gone(village, name)
    village.restart("laptop")
    village.wait(minutes=5)
    assert is_out(village, *OURS)
    assert all(empty(village, name) for name in OURS)
    assert [gone(village, name) for name in OURS] == [[False]] * 3
    assert fates(village, "phone")[BYE].stands


def test_two_devices_that_leave_at_the_same_time() -> None:
    village = home(*OURS[:2])
    village.part(["laptop"], ["phone"])
    leave(village, "laptop")
    village.do("phone", inputs.Depart(intent=intent("bye too"), conversation=TEA))
    village.heal()
    village.wait(minutes=5)
    assert is_out(village, *OURS[:2])
    assert [gone(village, name) for name in OURS[:2]] == [[False]] * 2
    assert fates(village, "laptop")[BYE].stands
    assert fates(village, "phone")[intent("bye too")].stands


def test_an_account_of_one_device_leaves_without_a_network() -> None:
    village = home("laptop")
    village.do("laptop", inputs.Online(online=False))
    leave(village, "laptop")
    assert is_out(village, "laptop")
    assert empty(village, "laptop")
    assert gone(village, "laptop") == [False]


# ---------------------------------------------------------------- with an invitation


def test_somebody_whom_the_device_that_votes_has_let_in_stays_and_lets_the_account_go() -> None:
    """The account voted, so they are in: leaving is what it is among others."""
    village = home(*OURS)
    village.part(["laptop", "ben"], ["phone", "tablet"])
    made = invite(village, "laptop", "ben")
    village.wait(minutes=2)
    assert fates(village, "laptop")[made].stands
    leave(village, "phone")
    village.heal()
    village.wait(minutes=10)
    assert is_out(village, *OURS)
    assert final_accounts(village, "ben") == {village.own("ben")}
    assert not gone(village, "ben")
    assert [gone(village, name) for name in OURS] == [[False]] * 3


@pytest.mark.parametrize("inviter", ["phone", "tablet"])
def test_leaving_wins_over_somebody_whom_the_device_that_votes_has_not_heard_of(inviter: str) -> None:
    village = home(*OURS)
    village.part(["laptop"], ["phone", "tablet", "ben"])
    made = invite(village, inviter, "ben")
    village.wait(minutes=2)
    assert village.own("ben") in accounts(village, inviter)
    say(village, "ben", "hello")
    leave(village, "laptop")
    assert empty(village, "laptop")
    village.heal()
    village.wait(minutes=10)
    assert is_out(village, *OURS)
    assert all(empty(village, name) for name in OURS)
    assert [gone(village, name) for name in OURS] == [[False]] * 3
    assert fates(village, inviter)[made].reason == "not-a-member"
    assert village.own("ben") not in accounts(village, "ben")
    assert gone(village, "ben") == [True]


def test_what_is_at_the_very_same_time_ends_on_all_devices_alike() -> None:
    """In whatever order the devices hear of the invitation and of the leave."""
    ends = set()
    for at in range(24):
        village = home(*OURS)
        leaver, inviter = [("laptop", "phone"), ("phone", "laptop"), ("tablet", "phone")][at % 3]
        village.step(inviter, inputs.Invite(intent=intent("ben"), conversation=TEA, account=village.own("ben")))
        village.step(leaver, inputs.Depart(intent=BYE, conversation=TEA))
        if at % 2:
            village.log.reverse()
        village.lost = _late(village, at)
        village.deliver()
        village.wait(seconds=10)
        village.lost = lambda _frame, _name: False
        village.deliver()
        village.wait(minutes=30)
        assert is_out(village, *OURS)
        assert all(gone(village, name)[-1:] == [False] for name in OURS)
        there = strand(village, "ben") if TEA in village.state("ben").strands else None
        ends.add(there is not None and there.membership is Membership.IN)
        if there is not None and there.membership is Membership.IN:
            assert final_accounts(village, "ben") == {village.own("ben")}
    assert ends == {True, False}


def _late(village: Village, at: int) -> Callable[..., bool]:
    """Some frames reach some devices later."""
    known = len(village.log)
    marks = {frame.id: number for number, frame in enumerate(village.log, start=known)}

    def lost(frame: object, name: str) -> bool:
        number = marks.setdefault(frame.id, len(marks))  # type: ignore[attr-defined]
        return (number * 7 + len(name) + at) % 3 == 0

    return lost


def test_another_device_takes_out_whom_a_lost_one_brought_in() -> None:
    village = home(*OURS)
    village.part(["laptop"], ["phone", "tablet", "ben"])
    invite(village, "phone", "ben")
    village.wait(minutes=2)
    village.down("phone")
    leave(village, "laptop")
    village.heal()
    village.wait(hours=3)
    assert is_out(village, "laptop", "tablet")
    assert gone(village, "ben") == [True]
    village.restart("phone")
    village.wait(minutes=10)
    assert is_out(village, *OURS)


def test_nobody_is_invited_any_more_where_the_account_wants_to_leave() -> None:
    village = home(*OURS[:2])
    village.down("laptop")
    village.packages[village.own("ben")], kept = [], village.packages[village.own("ben")]
    made = invite(village, "phone", "ben")
    leave(village, "phone")
    village.packages[village.own("ben")] = kept
    village.wait(hours=1)
    assert accounts(village, "phone") == {village.own("phone")}
    village.restart("laptop")
    village.wait(minutes=5)
    assert is_out(village, *OURS[:2])
    assert not fates(village, "phone")[made].stands


# ---------------------------------------------------------------- restarts, and old disks


@pytest.mark.parametrize("who", OURS[:2])
def test_devices_that_start_again_after_each_step(who: str) -> None:
    village = home(*OURS[:2])

    def again() -> None:
        for name in OURS[:2]:
            device = village.devices[name]
            village.restart(name, load(rows(village.state(name)), device.provider))

    village.step(who, inputs.Depart(intent=BYE, conversation=TEA))
    again()
    village.wait(seconds=1)
    again()
    village.wait(minutes=5)
    again()
    village.wait(days=40)
    again()
    assert is_out(village, *OURS[:2])
    assert all(empty(village, name) and gone(village, name) == [False] for name in OURS[:2])


@pytest.mark.parametrize("old", OURS[:2])
def test_an_older_disk_hears_of_it_from_the_others(old: str) -> None:
    village = home(*OURS[:2])
    disk = village.state(old)
    leave(village, "phone")
    village.wait(minutes=1)
    village.devices[old].has = set()
    village.restart(old, restored(disk))
    village.wait(hours=2)
    assert is_out(village, *OURS[:2])
    assert all(gone(village, name)[-1] is False for name in OURS[:2])


def test_a_device_that_has_not_heard_of_it_can_leave_too() -> None:
    """Nobody but the device that votes could let it go, and that has gone: it says so once more."""
    village = home(*OURS[:2])
    before = village.state("phone")
    leave(village, "laptop")
    village.wait(minutes=1)
    village.restart("phone", before)
    village.wait(minutes=5)
    assert strand(village, "phone").membership is Membership.IN
    village.do("phone", inputs.Depart(intent=intent("bye too"), conversation=TEA))
    village.wait(minutes=5)
    assert is_out(village, *OURS[:2])
    assert empty(village, "phone")


# ---------------------------------------------------------------- among others


def among(village: Village) -> None:
    invite(village, "laptop", "ben")
    village.wait(minutes=2)
    invite(village, "laptop", "cleo")
    village.wait(minutes=2)
    for name in ("ben", "cleo", *OURS[:2]):
        say(village, name, f"{name} is there")
    village.wait(minutes=2)


@pytest.mark.parametrize("first", ["home", "tea"])
def test_all_devices_say_that_the_account_left_in_whatever_order_they_hear(first: str) -> None:
    village = home(*OURS[:2])
    among(village)
    village.down("phone")
    leave(village, "laptop")
    village.wait(minutes=10)
    assert is_out(village, "laptop")
    home_topics = set(village.state("phone").topics[village.state("phone").home])  # type: ignore[index]
    village.lost = lambda frame, name: name == "phone" and (frame.topic in home_topics) is (first == "tea")
    village.restart("phone")
    village.wait(seconds=20)
    assert gone(village, "phone") == ([] if first == "home" else [True])
    village.lost = lambda _frame, _name: False
    village.deliver()
    village.wait(minutes=10)
    assert is_out(village, *OURS[:2])
    assert gone(village, "laptop") == [False]
    assert gone(village, "phone")[-1] is False


def test_all_devices_say_that_others_removed_the_account() -> None:
    village = home(*OURS[:2])
    village.do("laptop", inputs.Depart(intent=BYE, conversation=TEA))
    village.do("ben", inputs.Open(conversation=GroupId(b"cake")))
    invite(village, "ben", "laptop", GroupId(b"cake"))
    village.wait(minutes=5)
    village.down("phone")
    command = inputs.Remove(intent=intent("out"), conversation=GroupId(b"cake"), account=village.own("laptop"))
    village.do("ben", command)
    village.wait(minutes=5)
    village.restart("phone")
    village.wait(minutes=5)
    for name in OURS[:2]:
        told = {each.conversation: each.removed for each in village.told(name, events.Gone)}
        assert told == {TEA: False, b"cake": True}


def test_who_left_and_was_invited_again_can_be_removed() -> None:
    """A word that the account wanted to leave is about the member that it was then."""
    village = home(*OURS[:2], policy=Policy(remove=Who.EVERYBODY))
    among(village)
    words = set(village.state("phone").topics[village.state("phone").home])  # type: ignore[index]
    village.down("phone")
    leave(village, "laptop")
    village.wait(minutes=10)
    invite(village, "ben", "laptop", name="again")
    village.wait(minutes=10)
    assert village.own("laptop") in final_accounts(village, "ben")
    village.do("ben", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("laptop")))
    village.wait(minutes=10)
    assert gone(village, "laptop") == [False, True]
    village.lost = lambda frame, name: name == "phone" and frame.topic in words
    village.restart("phone")
    village.wait(minutes=1)
    village.lost = lambda _frame, _name: False
    village.deliver()
    village.wait(minutes=10)
    assert is_out(village, *OURS[:2])
    assert gone(village, "phone")[-1] is True


def left_unseen() -> Village:
    """The tablet has had the account leave, among others, and the phone has heard so, but does not see it."""
    village = home(*OURS)
    among(village)
    there = set(village.state("phone").topics[TEA])
    village.lost = lambda frame, name: name == "phone" and frame.topic in there
    leave(village, "tablet")
    village.wait(minutes=10)
    assert is_out(village, "laptop", "tablet")
    assert nothing_to_do(village, "phone")
    return village


def nothing_to_do(village: Village, name: str) -> bool:
    """That a device knows of a wish to leave, and that another one carried it out."""
    state = village.state(name)
    return leaving.is_done(state.intents[BYE]) and (Duty.INTENT, BYE) not in state.duties


def then_seen(village: Village) -> list[bool]:
    """What the phone says at last."""
    village.lost = lambda _frame, _name: False
    village.deliver()
    village.wait(minutes=10)
    assert is_out(village, "phone")
    return gone(village, "phone")


def test_nobody_begins_anew_what_another_device_has_done_when_that_device_is_gone() -> None:
    village = left_unseen()
    frames, there = len(village.log), village.state("phone").topics[TEA]
    remove(village, "laptop", "tablet")
    village.wait(hours=3)
    assert nothing_to_do(village, "phone")
    assert not [frame for frame, _ in sent(village, Post, frames) if frame.by == "phone" and frame.topic in there]
    assert then_seen(village) == [False]


def test_a_new_device_does_not_begin_anew_what_another_one_has_done() -> None:
    village = left_unseen()
    known = village.state("phone").intents
    step(village, "phone", lambda turn: intents.briefed(turn, known))
    assert nothing_to_do(village, "phone")
    step(village, "phone", lambda turn: intents.retry(turn, BYE))
    village.wait(hours=3)
    assert nothing_to_do(village, "phone")
    assert village.state("phone").intents[BYE].term == known[BYE].term


def test_why_the_account_is_out_is_not_forgotten_by_a_later_word_that_it_was_in_vain() -> None:
    village = left_unseen()
    over = IntentOver(intent=BYE, reason="no-conversation")
    step(village, "phone", lambda turn: intents.on_over(turn, None, over))  # type: ignore[arg-type]
    assert nothing_to_do(village, "phone")
    assert then_seen(village) == [False]


def test_whom_a_device_that_has_gone_did_not_know_of_is_taken_out_though_it_was_called_done() -> None:
    village = left_unseen()
    left = LeftAlone(intent=village.state("phone").intents[BYE])
    step(village, "phone", lambda turn: leaving.on_left(turn, None, left))  # type: ignore[arg-type]
    wish = village.state("phone").intents[BYE]
    assert len(wish.targets) == 3
    assert not nothing_to_do(village, "phone")
    assert (Duty.INTENT, BYE) in village.state("phone").duties
