"""Welcomes that come to our inbox, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.framing import encode_message
from mls.registries import GroupId, KeyPackageRef, WireFormat
from mls.state import Group
from mls.welcome import decode_welcome
from tests.vcd.core.branches import release
from tests.vcd.core.homes import link
from tests.vcd.core.people import (
    TEA,
    accounts,
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
from vcd.core import events, inputs, introductions, payloads, steps, summaries, topics
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, TopicId
from vcd.core.payloads import Introduction, Invite, Lineage, Retry
from vcd.core.policy import Policy, Who
from vcd.core.strand import Strand
from vcd.core.topics import TopicSecret
from vcd.core.wanting import Stage

FREE = Policy(remove=Who.EVERYBODY)


def stranger(village: Village, name: str) -> None:
    """Somebody who has ben's card, and whom ben does not know."""
    village.account(name)
    village.do(name, inputs.AddContact(card=card(village, "ben"), petname="ben"))


def invites(village: Village, to: str) -> list[Invite]:
    """Those that lie in somebody's inbox."""
    inbox = village.state(to).household.inbox
    assert inbox is not None
    keys = topics.keys_of(village.devices[to].provider.suite(1), TopicSecret(inbox.raw))
    suite = village.devices[to].provider.suite(1)
    found = []
    for frame in village.log:
        if frame.topic == keys.name:
            payload = payloads.unpack(topics.open_sealed(suite, keys, frame.payload))
            assert isinstance(payload, Invite)
            found.append(payload)
    return found


def test_an_invitation_of_a_contact_is_accepted_without_asking() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    command = inputs.Invite(intent=intent("x"), conversation=TEA, account=village.own("ben"), greeting="tea?")
    village.do("anna", command)
    assert village.told("ben", events.Invited) == [
        events.Invited(conversation=TEA, by=village.own("anna"), asks=False, greeting="tea?")
    ]
    assert together(village, "anna", "ben")


def test_a_device_may_be_set_up_to_ask_for_contacts_too() -> None:
    village = friends("anna", "ben", accept_contacts=False)
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    assert [each.asks for each in village.told("ben", events.Invited)] == [True]
    assert TEA not in village.state("ben").strands


def test_an_invitation_of_a_stranger_waits_and_nothing_is_sent_before_the_answer() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    said, topics_before = len(village.log), set(village.devices["ben"].topics)
    invite(village, "mallory", "ben")
    assert village.told("ben", events.Invited) == [
        events.Invited(conversation=TEA, by=village.own("mallory"), asks=True, greeting="")
    ]
    village.wait(minutes=10)
    assert TEA not in village.state("ben").strands
    assert TEA not in village.state("ben").talks
    assert village.devices["ben"].topics == topics_before
    assert all(frame.by != "ben" for frame in village.log[said:])
    assert all(not each.used for each in village.state("ben").emulation.stock.values())  # type: ignore[union-attr]


def test_a_stranger_who_is_accepted_is_in_a_conversation_with_us() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    made = invite(village, "mallory", "ben")
    village.wait(minutes=10)
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=1)
    assert together(village, "mallory", "ben")
    assert fates(village, "mallory")[made].stands
    assert not village.state("ben").invitations
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))  # again is no mistake


def test_what_happened_while_an_invitation_waited_is_caught_up_with() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    for number in range(8):
        village.do("mallory", inputs.Refresh(intent=intent(f"fresh {number}"), conversation=TEA))
        village.wait(minutes=1)
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=1)
    assert together(village, "mallory", "ben")


def test_to_decline_is_to_leave_and_nothing_of_it_stays() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=False))
    village.wait(minutes=5)
    assert accounts(village, "mallory") == {village.own("mallory")}
    assert TEA not in village.state("ben").strands
    assert TEA not in village.state("ben").talks
    assert not village.state("ben").invitations
    with pytest.raises(Misuse, match="invites"):
        village.do("ben", inputs.Answer(conversation=TEA, accept=True))


@pytest.mark.parametrize("late", [False, True])
def test_to_decline_is_not_to_decline_what_comes_later(late: bool) -> None:
    """The phone hears that the user declined, perhaps when it was invited again, and never hears of what."""
    village = friends("ben")
    link(village, "ben", "phone")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    village.lost = lambda frame, name: name == "phone" and (late or frame.topic in inboxes(village, "phone"))
    invite(village, "mallory", "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=False))
    village.wait(minutes=5)
    first = [frame.id for frame in village.log]
    village.lost = lambda frame, name: name == "phone" and frame.id in first
    invite(village, "mallory", "ben", name="again")
    village.lost = lambda f, name: name == "phone" and f.id in first and f.topic in inboxes(village, "phone")
    village.deliver()
    assert village.state("phone").invitations[TEA].stage is Stage.ANSWER
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=1)
    assert together(village, "mallory", "ben", "phone")


def test_what_was_declined_on_another_device_is_not_asked_again_when_it_comes_late() -> None:
    village = friends("ben")
    link(village, "ben", "phone")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    village.lost = lambda frame, name: name == "phone" and frame.topic in inboxes(village, "phone")
    invite(village, "mallory", "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=False))
    release(village)
    assert not village.told("phone", events.Invited)


def test_whoever_is_blocked_is_not_heard() -> None:
    village = friends("anna", "ben")
    village.do("ben", inputs.Block(account=village.own("anna"), blocked=True))
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.wait(minutes=1)
    assert not village.told("ben", events.Invited)
    assert TEA not in village.state("ben").strands
    assert ("invite-blocked", "") in village.devices["ben"].refused


def test_to_block_somebody_lets_their_invitations_go() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    assert village.state("ben").invitations
    village.do("ben", inputs.Block(account=village.own("mallory"), blocked=True))
    assert not village.state("ben").invitations


def test_invitations_of_strangers_are_bounded_and_the_oldest_gives_way() -> None:
    village = friends("ben", max_invitations=2)
    stranger(village, "mallory")
    for number in range(3):
        group = GroupId(b"spam %d" % number)
        village.do("mallory", inputs.Open(conversation=group))
        invite(village, "mallory", "ben", group, name=f"spam {number}")
        village.wait(seconds=1)
    assert sorted(village.state("ben").invitations) == [b"spam 1", b"spam 2"]


def test_welcomes_that_nobody_can_open_displace_no_question() -> None:
    village = friends("ben", max_invitations=2)
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    [found] = invites(village, "ben")
    welcome = decode_welcome(found.welcome)
    for number in range(5):
        other = replace(welcome.secrets[0], new_member=KeyPackageRef(bytes([number]) * 32))
        spam = encode_message(WireFormat.WELCOME, replace(welcome, secrets=(other,)).encode())
        replay(village, "ben", replace(found, welcome=spam), b"spam %d" % number)
    held = village.state("ben").invitations
    assert held[TEA].stage is Stage.ANSWER
    assert [each.stage for each in held.values()].count(Stage.SIBLINGS) == 2


def test_no_stranger_takes_the_place_of_another_one_who_asked_first() -> None:
    village = friends("ben")
    stranger(village, "mallory")
    stranger(village, "trudy")
    for name in ("mallory", "trudy"):
        village.do(name, inputs.Open(conversation=TEA))
        invite(village, name, "ben")
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own("mallory")]
    assert village.state("ben").invitations[TEA].by == village.own("mallory")


def test_what_lies_in_an_inbox_does_not_say_who_invites_into_what() -> None:
    """All contacts of ben's can read his inbox topic."""
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    [found] = invites(village, "ben")
    seen = payloads.pack(found)
    for name in (TEA, village.own("anna"), village.own("ben")):
        assert seen.find(bytes(name)) < 0


def test_a_newcomer_knows_the_members_as_everybody_else_does() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    assert members(village, "anna") == members(village, "ben") == members(village, "cleo")


def test_a_newcomer_who_comes_in_while_nothing_is_final_learns_how_it_came_about() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo")
    village.part(["anna", "dora"])  # without ben and cleo nothing becomes final
    village.do("anna", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    invite(village, "anna", "dora")
    assert together(village, "anna", "dora")
    assert len(strand(village, "dora").graph.steps) == 2
    assert members(village, "dora") == members(village, "anna")
    village.heal()
    village.wait(minutes=2)
    assert together(village, "anna", "ben", "cleo", "dora")
    assert len(final_accounts(village, "dora")) == 4


def test_a_welcome_that_comes_before_the_others_have_the_commit_strands_nobody() -> None:
    """Welcome before commit ack forks joiners: here the commit then loses, and who came in by it ends on the winner."""
    seen = set()
    for seed in range(4):
        village = friends("anna", "ben", "cleo", seed=seed)
        open_talk(village, "anna", "ben", policy=FREE)
        village.part(["anna", "cleo"], ["ben"])
        invite(village, "anna", "cleo")
        first = strand(village, "cleo").head
        village.do("ben", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
        village.heal()
        seen.add(strand(village, "anna").graph.is_ancestor(first, strand(village, "anna").head))
        village.wait(minutes=5)
        assert together(village, "anna", "ben", "cleo")
        assert len(final_accounts(village, "cleo")) == 3
    assert seen == {False, True}


def test_who_was_removed_and_is_brought_in_on_another_branch_still_knows_of_the_first() -> None:
    """Ben's side removes cleo, which hears that. Anna's side does so too, and brings it back: cleo hears that last."""
    seen = set()
    for seed in range(4):
        village = friends("anna", "ben", "cleo", seed=seed)
        open_talk(village, "anna", "ben", "cleo", policy=FREE)
        village.part(["anna"], ["ben", "cleo"])
        village.step("anna", removal(village, "anna", "cleo"))
        village.step("ben", removal(village, "ben", "cleo"))
        village.deliver()
        out = strand(village, "cleo").head
        assert out == strand(village, "ben").head
        village.wait(seconds=3)
        invite(village, "anna", "cleo")
        inbox = {name for name, each in village.state("cleo").joined.items() if each.inbox}
        hear_only(village, "cleo", inbox)
        village.heal()
        assert strand(village, "cleo").graph.has(out)
        assert sum(not each.settled for each in strand(village, "cleo").kept.values()) == 2
        village.lost = lambda _frame, _name: False
        village.deliver()
        assert {strand(village, name).head for name in ("anna", "ben", "cleo")} == {strand(village, "anna").head}
        seen.add(strand(village, "cleo").head == out)
    assert seen == {False, True}


def hear_only(village: Village, name: str, topics: set[TopicId]) -> None:
    village.lost = lambda frame, whom: whom == name and frame.topic not in topics


def removal(village: Village, by: str, whom: str) -> inputs.Remove:
    return inputs.Remove(intent=intent(f"{by} removes {whom}"), conversation=TEA, account=village.own(whom))


def test_the_same_welcome_again_changes_nothing() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    [found] = invites(village, "ben")
    before = village.state("ben")
    replay(village, "ben", found, b"again")
    village.wait(seconds=1)
    after = village.state("ben")
    assert after.strands == before.strands
    assert len(village.told("ben", events.Invited)) == 1


def replay(village: Village, to: str, payload: Invite | Retry, frame: bytes, secret: TopicSecret | None = None) -> None:
    """Somebody writes to a topic that a device listens to; to its inbox, unless it is said."""
    inbox = village.state(to).household.inbox
    assert inbox is not None
    suite = village.devices[to].provider.suite(1)
    keys = topics.keys_of(suite, secret or TopicSecret(inbox.raw))
    sealed = topics.seal(suite, keys, payloads.pack(payload))
    village.do(to, inputs.Arrived(frame=frame, topic=keys.name, payload=sealed))  # type: ignore[arg-type]


def test_a_handed_out_key_package_that_was_withdrawn_is_answered_and_another_one_is_taken() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    first = village.packages[village.own("ben")][0]
    withdraw_all(village, "ben")
    made = invite(village, "anna", "ben")
    village.wait(minutes=5)
    assert together(village, "anna", "ben")
    assert len(members(village, "anna")) == 2  # the one that nobody is behind is out again
    assert first not in village.packages[village.own("ben")]
    assert fates(village, "anna")[made].stands


def test_who_cannot_be_reached_after_all_is_taken_out_again_by_who_brought_them_in() -> None:
    """Also where only admins may remove people: whom nobody has seen there is no more than an invitation."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    withdraw_all(village, "cleo")
    offered = village.packages[village.own("cleo")]
    made = invite(village, "ben", "cleo")
    village.packages[village.own("cleo")] = []
    assert len(members(village, "anna")) == 3
    village.wait(days=2)
    assert not fates(village, "ben")[made].stands
    assert offered
    assert len(members(village, "anna")) == 2
    assert final_accounts(village, "anna") == {village.own("anna"), village.own("ben")}


def test_who_brought_somebody_in_may_not_take_them_out_once_they_were_there() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    invite(village, "ben", "cleo")
    command = inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("cleo"))
    village.wait(minutes=15)
    with pytest.raises(Misuse, match="rules of the conversation"):
        village.do("ben", command)
    assert len(members(village, "anna")) == 3


def withdraw_all(village: Village, name: str) -> None:
    """Its KeyPackages are good no more, and it makes new ones."""
    from vcd.core import stock
    from vcd.core.turn import Turn

    device = village.devices[name]
    turn = Turn(device.state, village.now, device.provider)
    held = turn.emulation.stock
    stock._withdraw(turn, sorted(held))
    device.state = turn.state
    offered = village.packages[village.own(name)]
    village.do(name, inputs.TakenBack(references=tuple(sorted(device.state.stock.mine))))
    village.packages[village.own(name)] = offered[:1]  # a dispenser that has not heard of it yet gives this one
    village.restart(name)
    village.wait(seconds=1)


def test_a_key_package_that_nobody_knows_is_answered_after_a_while_and_not_at_once() -> None:
    """It may be one that another device of ours has still to tell of."""
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    device = village.devices["ben"]
    emulation = device.state.emulation
    assert emulation is not None
    forgotten = replace(emulation, stock=emulation.stock.changed(list(emulation.stock), {}))
    device.state = replace(device.state, emulation=forgotten)
    said = len(village.log)
    made = invite(village, "anna", "ben")
    assert [each.stage for each in village.state("ben").invitations.values()] == [Stage.SIBLINGS]
    village.wait(minutes=9)
    assert all(frame.by != "ben" for frame in village.log[said:])
    device.state = replace(device.state, stock=replace(device.state.stock, mine=type(device.state.stock.mine)()))
    village.packages[village.own("ben")].clear()
    village.do("ben", inputs.Started())
    village.wait(minutes=30)
    assert not village.state("ben").waiting.items  # it has no other device
    assert together(village, "anna", "ben")
    assert fates(village, "anna")[made].stands


def test_an_answer_that_the_account_did_not_sign_is_not_believed() -> None:
    village = friends("anna", "ben", "mallory")
    village.do("anna", inputs.Open(conversation=TEA))
    withdraw_all(village, "ben")
    village.part(["anna"], ["ben", "mallory"])
    made = invite(village, "anna", "ben")
    [found] = invites(village, "ben")
    edition = village.state("mallory").book.edition
    bens = village.state("ben").book.edition
    assert edition is not None
    assert bens is not None
    before = village.state("anna").intents[made]
    from mls.codec import decode_exactly
    from mls.key_package import KeyPackage

    package = decode_exactly(before.package, KeyPackage.decode)
    reference = bytes(package.reference(village.devices["anna"].provider.suite(1)))
    for number, head in enumerate((edition.head, bens.head)):
        forged = Retry(reference=reference, head=head, signature=bytes(64))
        replay(village, "anna", forged, b"forged %d" % number, found.reply)
    assert village.state("anna").intents[made].package == before.package
    assert ("retry-signature", "") in village.devices["anna"].refused


def test_a_handed_out_key_package_used_twice_is_taken_up_twice_and_people_are_warned() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    shelf = village.packages[village.own("ben")]
    shelf[:] = [shelf[0], shelf[0]]  # a dispenser that lies, or was restored from a backup
    talks = {name: GroupId(name.encode()) for name in ("anna", "cleo")}
    for name, group in talks.items():
        open_talk(village, name, "dora", group=group)
    village.down("dora")  # so nothing is final yet
    for name, group in talks.items():
        invite(village, name, "ben", group)
    for name, group in talks.items():
        assert together(village, name, "ben", group=group)
    warned = [each for each in village.told("ben", events.Warned) if each.code == "package-reused"]
    assert [(each.group, each.account) for each in warned] == [(talks["cleo"], village.own("cleo"))]
    village.wait(seconds=1)
    keys = [strand(village, "ben", group).here for group in talks.values()]
    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0].group.own_leaf_node.encryption_key != keys[1].group.own_leaf_node.encryption_key


@pytest.mark.parametrize(("commits", "rule"), [(0, "invite-lost"), (5, "invite-elsewhere")])
def test_an_invitation_leads_nobody_out_of_a_conversation_that_they_can_follow(commits: int, rule: str) -> None:
    """Somebody makes another conversation of that name, and invites a member of the first one into it."""
    village = friends("anna", "ben", "mallory")
    open_talk(village, "anna", "ben")
    before = strand(village, "ben")
    village.do("mallory", inputs.Open(conversation=TEA))
    for number in range(commits):
        village.do("mallory", inputs.Refresh(intent=intent(f"refresh {number}"), conversation=TEA))
        village.wait(minutes=1)
    invite(village, "mallory", "ben")
    assert strand(village, "ben").head == before.head
    assert rule in [each for each, _ in village.devices["ben"].refused]


def test_a_lineage_that_does_not_fit_the_tree_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "cleo")
    plain = summaries.lineage

    def lying(found: Strand, most: int) -> Lineage:
        told = plain(found, most)
        one, other = told.anchor.members
        swapped = (replace(one, account=other.account), replace(other, account=one.account))
        return replace(told, anchor=replace(told.anchor, members=swapped))

    monkeypatch.setattr(summaries, "lineage", lying)
    invite(village, "anna", "ben")
    assert TEA not in village.state("ben").strands
    assert any(rule == "roster" for rule, _ in village.devices["ben"].refused)


def test_a_header_that_its_author_did_not_sign_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    plain = steps.signed
    monkeypatch.setattr(steps, "signed", lambda *given: replace(plain(*given), signature=bytes(64)))
    invite(village, "anna", "ben")
    assert TEA not in village.state("ben").strands
    assert "step-signature" in {rule for rule, _ in village.devices["ben"].refused}


def test_no_byte_of_an_invitation_can_be_altered() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    village.part(["anna"], ["ben"])
    invite(village, "anna", "ben")
    [found] = invites(village, "ben")
    for number, at in enumerate(range(0, len(found.sealed), max(1, len(found.sealed) // 20))):
        sealed = found.sealed[:at] + bytes([found.sealed[at] ^ 1]) + found.sealed[at + 1 :]
        replay(village, "ben", replace(found, sealed=sealed), b"sealed %d" % number)
    for number, at in enumerate(range(0, len(found.welcome), max(1, len(found.welcome) // 40))):
        welcome = found.welcome[:at] + bytes([found.welcome[at] ^ 1]) + found.welcome[at + 1 :]
        replay(village, "ben", replace(found, welcome=welcome), b"welcome %d" % number)
    assert TEA not in village.state("ben").strands
    assert not village.told("ben", events.Invited)


def test_key_packages_that_served_are_forgotten_when_that_is_final() -> None:
    village = friends("anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.wait(minutes=2)
    emulation = village.state("ben").emulation
    assert emulation is not None
    assert not village.state("ben").stock.uses
    assert all(not each.used for each in emulation.stock.values())
    assert len(emulation.withdrawn) == 1


def test_an_invitation_that_comes_before_we_know_that_we_were_removed_is_taken_up_then() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben")
    known = strand(village, "ben").head
    inbox = {name for name, each in village.state("ben").joined.items() if each.inbox}
    village.lost = lambda frame, name: name == "ben" and frame.topic not in inbox
    village.do("anna", inputs.Remove(intent=intent("anna removes ben"), conversation=TEA, account=village.own("ben")))
    village.wait(minutes=2)
    invite(village, "anna", "ben", name="anna invites ben again")
    village.wait(minutes=2)
    assert strand(village, "ben").head == known
    village.lost = lambda _frame, _name: False
    village.deliver()
    village.wait(minutes=2)
    assert len(village.told("ben", events.Gone)) == 1
    assert together(village, "anna", "ben")
    assert strand(village, "anna").head == strand(village, "anna").final
    assert not village.state("ben").waiting.items


def test_who_was_removed_for_good_comes_not_in_again_by_a_branch_that_lost() -> None:
    """Dora is apart and brings cleo in anew, when the others have removed both of them."""
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", "dora", policy=FREE)
    village.lost = lambda frame, name: name == "cleo" and frame.topic in inboxes(village, "cleo")
    village.part(["dora"], ["anna", "ben", "cleo"])
    village.do("dora", removal(village, "dora", "cleo"))
    invite(village, "dora", "cleo", name="dora invites cleo again")
    village.do("anna", removal(village, "anna", "dora"))
    village.do("anna", removal(village, "anna", "cleo"))
    village.wait(minutes=2)
    assert strand(village, "cleo").over
    final = strand(village, "cleo").final
    village.lost = lambda frame, name: name == "cleo" and frame.topic not in inboxes(village, "cleo")
    village.heal()
    village.wait(minutes=2)
    assert strand(village, "cleo").over
    assert strand(village, "cleo").final == final
    assert "invite-lost" in [rule for rule, _ in village.devices["cleo"].refused]


def inboxes(village: Village, name: str) -> set[TopicId]:
    return {topic for topic, each in village.state(name).joined.items() if each.inbox}


def test_a_welcome_by_which_we_are_members_where_the_group_stands_may_come_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another device of ours may have come in by it, and voted."""
    seen, plain = [], introductions.inviter

    def looked_into(group: Group, told: Introduction) -> AccountId:
        seen.append((group, told))
        return plain(group, told)

    monkeypatch.setattr(introductions, "inviter", looked_into)
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben")
    [(group, told)] = seen
    assert strand(village, "ben").graph.number(strand(village, "ben").final) > group.epoch
    assert not introductions.lost(strand(village, "ben"), group, told)
    village.do("anna", removal(village, "anna", "ben"))
    village.wait(minutes=2)
    assert strand(village, "ben").over
    assert introductions.lost(strand(village, "ben"), group, told)
