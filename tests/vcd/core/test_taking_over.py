"""What an account's devices know of each other's wishes, and when one of them does what another one was to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mls.registries import GroupId
from tests.vcd.core.homes import device, link, remove
from tests.vcd.core.people import (
    SMALL,
    TEA,
    accounts,
    befriend,
    card,
    fates,
    final_accounts,
    intent,
    invite,
    members,
    open_talk,
    strand,
    together,
)
from tests.vcd.core.village import Village
from vcd.core import events, inputs, intents, payloads, ranks, topics
from vcd.core.duties import Duty
from vcd.core.payloads import Retry
from vcd.core.policy import HOUR, Policy, Who
from vcd.core.siblings import IntentMade, Told
from vcd.core.turn import Turn
from vcd.core.wanting import Intent, Kind, Stage

FREE = Policy(remove=Who.EVERYBODY, update_every=4 * HOUR)


@pytest.fixture
def village() -> Iterator[Village]:
    """Anna with a laptop and a phone; ben, whom she knows."""
    made = Village(config=SMALL)
    for name in ("laptop", "ben"):
        made.account(name)
    befriend(made, "laptop", "ben")
    link(made, "laptop", "phone")
    yield made
    # Whatever happened, nobody refused what another one of these people did, but for what came late.
    rules = {rule for name in made.devices for rule, _ in made.devices[name].refused}
    assert not {each for each in rules if each.startswith(("mls-refuse", "step", "policy", "lineage", "malformed"))}


def starve(village: Village, name: str) -> list[bytes]:
    """Nobody gets a KeyPackage of theirs for now."""
    shelf = village.packages[village.own(name)]
    held = [*shelf]
    shelf.clear()
    return held


def test_all_devices_know_what_is_wanted_and_that_it_is_over(village: Village) -> None:
    village.do("laptop", inputs.Open(conversation=TEA))
    held = starve(village, "ben")
    made = invite(village, "laptop", "ben")
    assert village.state("phone").intents[made].device == device(village, "laptop")
    village.packages[village.own("ben")][:] = held
    village.wait(minutes=5)
    assert together(village, "laptop", "phone", "ben")
    assert made not in village.state("phone").intents
    assert fates(village, "laptop")[made].stands
    assert made not in fates(village, "phone"), "the app that wanted it is told, and no other"


def test_a_device_that_is_silent_for_long_is_taken_over_from(village: Village) -> None:
    village.do("laptop", inputs.Open(conversation=TEA))
    held = starve(village, "ben")
    made = invite(village, "laptop", "ben")
    village.down("laptop")
    village.packages[village.own("ben")][:] = held
    village.wait(minutes=50)
    assert len(accounts(village, "phone")) == 1
    village.wait(minutes=30)
    assert together(village, "phone", "ben")
    village.restart("laptop")
    village.wait(minutes=5)
    assert together(village, "laptop", "phone", "ben")
    assert len(members(village, "ben")) == 2
    assert fates(village, "laptop")[made].stands


def test_devices_that_take_over_from_each_other_do_not_ask_for_a_key_package_for_ever(village: Village) -> None:
    """To ask as often as a device may takes longer than the others wait for it."""
    village.do("laptop", inputs.Open(conversation=TEA))
    starve(village, "ben")
    made = invite(village, "laptop", "ben")
    village.wait(hours=6)
    assert fates(village, "laptop")[made].reason == "unreachable"
    assert made not in village.state("phone").intents


def test_what_a_device_wanted_that_was_removed_is_done_by_another_one_at_once(village: Village) -> None:
    village.do("laptop", inputs.Open(conversation=TEA))
    held = starve(village, "ben")
    made = invite(village, "phone", "ben")
    village.packages[village.own("ben")][:] = held
    village.down("phone")
    remove(village, "laptop", "phone")
    village.wait(minutes=10)
    assert together(village, "laptop", "ben")
    assert made not in village.state("laptop").intents


def test_whoever_takes_over_uses_the_same_key_package(village: Village) -> None:
    village.account("cleo")
    befriend(village, "laptop", "ben", "cleo")
    open_talk(village, "laptop", "ben", policy=FREE)
    village.wait(minutes=1)
    village.down("ben")  # so nothing becomes final
    village.part(["laptop", "phone"])
    made = invite(village, "laptop", "cleo")
    assert village.state("phone").intents[made].package == village.state("laptop").intents[made].package != b""
    assert village.state("phone").intents[made].made == village.state("laptop").intents[made].made


def test_a_stranger_is_accepted_on_one_device_and_all_come_in(village: Village) -> None:
    village.account("mallory")
    village.do("mallory", inputs.AddContact(card=card(village, "laptop"), petname="anna"))
    village.do("mallory", inputs.Open(conversation=TEA))
    village.do(
        "mallory", inputs.Invite(intent=intent("m"), conversation=TEA, account=village.own("laptop"), greeting="hello")
    )
    assert [len(village.told(name, events.Invited)) for name in ("laptop", "phone")] == [1, 1]
    village.do("phone", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=2)
    assert together(village, "laptop", "phone", "mallory")
    assert not village.state("laptop").invitations


def test_an_answer_that_comes_before_the_welcome_waits_for_it(village: Village) -> None:
    village.account("mallory")
    village.do("mallory", inputs.AddContact(card=card(village, "laptop"), petname="anna"))
    village.do("mallory", inputs.Open(conversation=TEA))
    inbox = village.state("laptop").household.inbox
    assert inbox is not None
    name = topics.keys_of(village.devices["laptop"].provider.suite(1), topics.TopicSecret(inbox.raw)).name
    village.lost = lambda frame, to: to == "laptop" and frame.topic == name
    invite(village, "mallory", "laptop")
    village.do("phone", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=2)
    assert village.state("laptop").invitations[TEA].stage is Stage.ANSWERED
    village.lost = lambda _frame, _to: False
    village.deliver()
    village.wait(minutes=2)
    assert together(village, "laptop", "phone", "mallory")
    assert not village.state("laptop").invitations


def test_to_decline_on_one_device_is_to_decline(village: Village) -> None:
    village.account("mallory")
    village.do("mallory", inputs.AddContact(card=card(village, "laptop"), petname="anna"))
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "laptop")
    village.do("phone", inputs.Answer(conversation=TEA, accept=False))
    village.wait(minutes=10)
    assert len(accounts(village, "mallory")) == 1
    for name in ("laptop", "phone"):
        assert TEA not in village.state(name).talks
        assert not village.state(name).invitations
        assert not village.state(name).intents


def test_an_account_answers_once_however_many_devices_it_has(village: Village) -> None:
    village.do("ben", inputs.Open(conversation=TEA))
    from vcd.core import stock
    from vcd.core.turn import Turn

    for name in ("laptop", "phone"):
        made = village.devices[name]
        turn = Turn(made.state, village.now, made.provider)
        stock._withdraw(turn, sorted(turn.emulation.stock))
        made.state = turn.state
    village.part(["ben", "laptop", "phone"])
    command = inputs.Invite(intent=intent("ben invites laptop"), conversation=TEA, account=village.own("laptop"))
    village.do("ben", command)
    due = [
        at for name in ("laptop", "phone") for (duty, _), at in village.state(name).duties.items() if duty is Duty.REPLY
    ]
    assert len(due) == 1 or due[0] + 10_000 <= due[1], "one after the other"
    reply = village.state("ben").intents[intent("ben invites laptop")].reply
    assert reply is not None
    village.wait(minutes=5)
    suite = village.devices["ben"].provider.suite(1)
    keys = topics.keys_of(suite, reply)
    said = [
        (frame.by, payloads.unpack(topics.open_sealed(suite, keys, frame.payload)))
        for frame in village.log
        if frame.topic == keys.name
    ]
    answers = [(by, each) for by, each in said if isinstance(each, Retry)]
    references = [each.reference for _, each in answers]
    assert answers
    assert len(set(references)) == len(references), "each KeyPackage is answered for once"


def test_a_contact_is_known_to_all_devices(village: Village) -> None:
    village.account("cleo")
    village.do("phone", inputs.AddContact(card=card(village, "cleo"), petname="Cleo"))
    contact = village.state("laptop").book.find(village.own("cleo"))
    assert contact is not None
    assert contact.petname == "Cleo"
    village.do("laptop", inputs.Block(account=village.own("cleo"), blocked=True))
    blocked = village.state("phone").book.find(village.own("cleo"))
    assert blocked is not None
    assert blocked.blocked


def test_key_packages_of_any_device_bring_in_all_of_them(village: Village) -> None:
    assert village.state("phone").stock.mine
    assert not {*village.state("phone").stock.mine} & {*village.state("laptop").stock.mine}
    emulation = village.state("laptop").emulation
    assert emulation is not None
    assert {*village.state("phone").stock.mine} <= {bytes(each) for each in emulation.stock}
    village.do("ben", inputs.Open(conversation=TEA))
    shelf = village.packages[village.own("laptop")]
    shelf.reverse()  # the phone's were made last
    invite(village, "ben", "laptop")
    village.wait(minutes=2)
    assert together(village, "laptop", "phone", "ben")
    assert final_accounts(village, "ben") == {village.own("laptop"), village.own("ben")}


def test_a_device_that_was_offline_comes_in_by_the_welcome_in_the_inbox(village: Village) -> None:
    village.down("phone")
    village.do("ben", inputs.Open(conversation=TEA))
    invite(village, "ben", "laptop")
    village.wait(hours=1)
    assert together(village, "laptop", "ben")
    village.restart("phone")
    village.wait(minutes=2)
    assert together(village, "laptop", "phone", "ben")


def test_one_of_the_devices_renews_the_leaf(village: Village) -> None:
    open_talk(village, "laptop", "ben", policy=FREE)
    village.wait(minutes=10)
    before = strand(village, "ben").graph.number(strand(village, "ben").head)
    village.wait(hours=5)
    found = strand(village, "ben")
    assert found.graph.number(found.head) - before == 2, "once for each account"
    assert together(village, "laptop", "phone", "ben")


def test_a_new_device_is_told_what_is_wanted_and_who_asks(village: Village) -> None:
    village.account("mallory")
    village.do("mallory", inputs.AddContact(card=card(village, "laptop"), petname="anna"))
    other = GroupId(b"other")
    village.do("mallory", inputs.Open(conversation=other))
    invite(village, "mallory", "laptop", other)
    village.do("laptop", inputs.Open(conversation=TEA))
    starve(village, "ben")
    made = invite(village, "laptop", "ben")
    link(village, "laptop", "tablet")
    assert made in village.state("tablet").intents
    village.do("tablet", inputs.Answer(conversation=other, accept=True))
    village.wait(minutes=2)
    assert together(village, "laptop", "phone", "tablet", "mallory", group=other)


def test_of_two_who_took_it_over_the_later_one_acts(village: Village) -> None:
    village.do("laptop", inputs.Open(conversation=TEA))
    starve(village, "ben")
    made = invite(village, "laptop", "ben")
    known = village.state("phone").intents[made]
    told = Told(device=device(village, "laptop"), epoch=known.decided_on, newest=b"")
    owner = village.devices["laptop"]
    turn = Turn(owner.state, village.now, owner.provider)
    later = replace(known, device=device(village, "phone"), term=1)
    for each in (later, known, later):
        intents.on_intent(turn, told, IntentMade(intent=each))
        assert turn.state.intents[made].device == device(village, "phone")


def test_what_was_over_before_this_device_heard_of_it_does_not_begin_again(village: Village) -> None:
    open_talk(village, "laptop", "ben", policy=FREE)
    made = invite_record(village)
    village.do("laptop", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    village.wait(minutes=5)
    phone = village.devices["phone"]
    turn = Turn(phone.state, village.now, phone.provider)
    intents.on_intent(turn, Told(device=made.device, epoch=made.decided_on, newest=b""), IntentMade(intent=made))
    assert not turn.state.intents


def invite_record(village: Village) -> Intent:
    """A wish of the laptop's, of now, as the others are told of it."""
    here = strand(village, "laptop")
    own = ranks.own(here)
    assert own is not None
    return Intent(
        intent=intent("old"),
        kind=Kind.REMOVE,
        group_id=TEA,
        origin=device(village, "laptop"),
        device=device(village, "laptop"),
        decided_on=here.head,
        author=own.incarnation,
        account=village.own("ben"),
        targets=tuple(each.incarnation for each in members(village, "laptop") if each != own),
    )
