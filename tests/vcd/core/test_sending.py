"""Conversations of mode DIMLS: who comes in and how, what is said, what does not come, and who goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.distributed import session as dimls
from tests.vcd.core import homes
from tests.vcd.core.company import step
from tests.vcd.core.people import TEA, befriend, fates, friends, intent, invite, open_talk
from tests.vcd.core.talking import heard, nonce, say
from tests.vcd.core.village import Frame, Village
from vcd.core import entries, events, inputs, sending, sessions, stored, topics
from vcd.core.errors import Misuse
from vcd.core.names import FrameId
from vcd.core.payloads import Call, Entry, Letter, Offering, Payload, unpack
from vcd.core.policy import DAY, Mode, Policy
from vcd.core.sends import NewTopic, Sends, pack_word
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn

PEOPLE = ("anna", "ben", "cleo")


def hikers(*names: str) -> Village:
    v = friends(*(names or PEOPLE))
    open_talk(v, *(names or PEOPLE), mode=Mode.DIMLS)
    return v


def sends(v: Village, name: str) -> Sends:
    found = v.state(name).talks[TEA].sends
    assert found is not None
    return found


def session(v: Village, name: str) -> dimls.Session:
    return v.state(name).sessions[TEA]


def inside(v: Village, name: str) -> set[bytes]:
    """The accounts that are in it, as a device sees it."""
    return {bytes(each) for each in sessions.accounts(session(v, name)).values()}


def everybody(v: Village, *names: str) -> set[bytes]:
    return {bytes(v.own(name)) for name in names}


def payloads(v: Village, name: str, kind: type[Payload]) -> list[tuple[Frame, Payload]]:
    """What of one kind is in the topics that a device knows."""
    device, found = v.devices[name], []
    for frame in v.log:
        joined = device.state.joined.find(frame.topic)
        if joined is not None:
            payload = unpack(topics.open_sealed(device.provider.suite(1), joined.keys, frame.payload))
            if isinstance(payload, kind):
                found.append((frame, payload))
    return found


def give(v: Village, name: str, payload: Payload) -> None:
    frame = FrameId(nonce(repr(payload)) * 2)
    step(v, name, lambda turn: sending.on_payload(turn, TEA, payload, frame))


# ---------------------------------------------------------------- coming in


def test_who_was_called_is_let_in_by_everybody() -> None:
    v = hikers()
    for name in PEOPLE:
        assert inside(v, name) == everybody(v, *PEOPLE)
        assert not session(v, name).unjoined
        assert len(session(v, name).others) == 2
    assert all(fate.stands for fate in fates(v, "anna").values())
    assert [each.came for each in v.told("anna", events.MembersChanged)][-1] in (
        (v.own("ben"),),
        (v.own("cleo"),),
    )


def test_the_app_is_told_who_invites_and_with_what_words() -> None:
    v = friends("anna", "ben")
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    v.do("anna", inputs.Invite(intent=intent("x"), conversation=TEA, account=v.own("ben"), greeting="come along"))
    [told] = v.told("ben", events.Invited)
    assert (told.by, told.asks, told.greeting) == (v.own("anna"), False, "come along")


def test_a_call_says_nothing_to_others_who_read_the_inbox() -> None:
    v = hikers("anna", "ben")
    calls = [payload for _, payload in payloads(v, "ben", Call) if isinstance(payload, Call)]
    assert len(calls) == 1
    assert sends(v, "anna").topics[0].raw not in calls[0].sealed
    assert bytes(v.own("anna")) not in calls[0].sealed
    cleo = friends("cleo")
    assert not cleo.state("cleo").talks


def test_a_call_that_was_altered_is_dropped() -> None:
    v = friends("anna", "ben")
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    v.down("ben")
    invite(v, "anna", "ben")
    from vcd.core import calls

    [(_, call)] = payloads(v, "ben", Call)
    assert isinstance(call, Call)
    v.devices["ben"].up = True
    bad = replace(call, sealed=call.sealed[:-1] + bytes([call.sealed[-1] ^ 1]))
    step(v, "ben", lambda turn: calls.on_call(turn, bad, FrameId(bytes(32))))
    assert TEA not in v.state("ben").talks
    assert v.devices["ben"].refused[-1][0] == "call"


def test_a_strangers_call_waits_for_an_answer() -> None:
    v = friends("anna", "ben", accept_contacts=False)
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(v, "anna", "ben")
    v.wait(minutes=1)
    assert [each.asks for each in v.told("ben", events.Invited)] == [True]
    assert TEA not in v.state("ben").sessions
    assert not payloads(v, "anna", Offering)[1:]
    v.do("ben", inputs.Answer(conversation=TEA, accept=True))
    v.wait(minutes=1)
    assert inside(v, "anna") == everybody(v, "anna", "ben")
    say(v, "ben", "thank you")
    assert heard(v, "anna") == ["thank you"]


def test_who_declines_is_not_heard_of() -> None:
    v = friends("anna", "ben", accept_contacts=False)
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(v, "anna", "ben")
    v.do("ben", inputs.Answer(conversation=TEA, accept=False))
    v.wait(minutes=5)
    assert TEA not in v.state("ben").talks
    assert inside(v, "anna") == everybody(v, "anna")


def test_a_blocked_account_calls_in_vain() -> None:
    v = friends("anna", "ben")
    v.do("ben", inputs.Block(account=v.own("anna"), blocked=True))
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(v, "anna", "ben")
    v.wait(minutes=1)
    assert TEA not in v.state("ben").talks
    assert not v.told("ben", events.Invited)


def test_who_has_no_package_is_called_again_and_then_given_up() -> None:
    v = friends("anna", "ben")
    v.packages[v.own("ben")] = []
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    made = invite(v, "anna", "ben")
    v.wait(days=1)
    assert not fates(v, "anna")[made].stands
    assert fates(v, "anna")[made].reason == "unreachable"


def test_nobody_gets_in_who_was_not_called() -> None:
    v = hikers("anna", "ben")
    v.account("mallory")
    befriend(v, "anna", "mallory")
    topic = sends(v, "anna").topics[0]

    def sneak(turn: Turn) -> None:
        entries.begin(turn, TEA, by=v.own("anna"), topic=topic, number=0)
        entries.offer(turn, TEA)

    step(v, "mallory", sneak)
    v.deliver()
    v.wait(minutes=10)
    assert inside(v, "anna") == inside(v, "ben") == everybody(v, "anna", "ben")
    assert TEA not in v.state("mallory").sessions


def test_an_entry_by_somebody_else_than_who_called_lets_nobody_in() -> None:
    v = hikers("anna", "ben")
    for name in ("cleo", "dora"):
        v.account(name)
    befriend(v, "anna", "ben", "cleo", "dora")
    v.wait(seconds=1)
    v.lost = lambda frame, name: name == "cleo" and frame.by == "anna"
    invite(v, "ben", "cleo")
    v.wait(minutes=1)
    assert inside(v, "cleo") == everybody(v, "anna", "ben", "cleo")
    step(v, "cleo", lambda turn: turn.change(sessions=turn.state.sessions.discard(TEA)))
    step(v, "cleo", lambda turn: sessions.put(turn, TEA, by=v.own("dora")))
    [entry] = [payload for frame, payload in payloads(v, "cleo", Entry) if frame.by == "ben"][-1:]
    give(v, "cleo", entry)
    assert TEA not in v.state("cleo").sessions
    assert v.state("cleo").waiting.items  # it may be of use once the right one has come


def test_a_package_under_anothers_name_is_refused() -> None:
    v = hikers()
    mine = v.state("ben").talks[TEA].sends
    assert mine is not None
    theirs = payloads(v, "anna", Offering)[0][1]
    assert isinstance(theirs, Offering)
    broken = bytearray(theirs.package)
    broken[-1] ^= 1
    give(v, "anna", Offering(package=b"no package"))
    assert v.devices["anna"].refused[-1][0] == "sends"
    give(v, "anna", Offering(package=bytes(broken)))
    assert inside(v, "anna") == everybody(v, *PEOPLE)


def test_two_come_in_at_once_by_different_people() -> None:
    v = hikers()
    for name in ("dora", "emil"):
        v.account(name)
    befriend(v, "anna", "ben", "dora", "emil")
    v.wait(seconds=1)
    v.part(["anna", "dora"], ["ben", "cleo", "emil"])
    invite(v, "anna", "dora")
    invite(v, "ben", "emil")
    v.wait(minutes=5)
    v.heal()
    v.wait(minutes=30)
    names = (*PEOPLE, "dora", "emil")
    for name in names:
        assert inside(v, name) == everybody(v, *names)
        assert not session(v, name).unjoined
    for name in names:
        say(v, name, f"{name} is here")
    v.wait(minutes=5)
    for name in names:
        assert sorted(heard(v, name)) == sorted(f"{each} is here" for each in names)


# ---------------------------------------------------------------- said and heard


def test_what_is_said_stands_at_once_and_comes_once() -> None:
    v = hikers()
    content = say(v, "ben", "to the hut")
    assert [each.fate for each in v.told("ben", events.MessageFate)] == [events.Fate.SENT, events.Fate.CONFIRMED]
    v.do("ben", inputs.Say(conversation=TEA, nonce=nonce("to the hut"), data=b"to the hut"))
    for _, letter in payloads(v, "anna", Letter):
        give(v, "anna", letter)
    for name in PEOPLE:
        [message] = v.told(name, events.Message)
        assert (message.content, message.sender, message.ours) == (content, v.own("ben"), name == "ben")


def test_frames_in_any_order_end_in_the_same_place() -> None:
    v = friends(*PEOPLE)
    v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    for name in ("ben", "cleo"):
        invite(v, "anna", name)
    v.wait(minutes=2)
    v.down("cleo")
    for number in range(4):
        v.do("anna", inputs.Refresh(intent=intent(f"a{number}"), conversation=TEA))
        v.do("ben", inputs.Refresh(intent=intent(f"b{number}"), conversation=TEA))
        say(v, "anna", f"anna {number}")
        say(v, "ben", f"ben {number}")
    v.devices["cleo"].up = True
    v.log.reverse()
    v.deliver()
    v.wait(minutes=1)
    assert sorted(heard(v, "cleo")) == sorted(heard(v, "anna"))
    assert not v.state("cleo").waiting.items
    assert session(v, "cleo").others[session(v, "ben").own.id].group.epoch == session(v, "ben").own.group.epoch


def test_what_depends_on_a_commit_waits_for_it() -> None:
    v = hikers("anna", "ben")
    held: list[Frame] = []
    v.lost = lambda frame, name: frame in held
    count = len(v.log)
    v.step("anna", inputs.Refresh(intent=intent("1"), conversation=TEA))
    held += v.log[count:]
    v.deliver()
    say(v, "anna", "after that")
    assert heard(v, "ben") == []
    assert len(v.state("ben").waiting.items) == 1
    held.clear()
    v.deliver()
    assert heard(v, "ben") == ["after that"]
    assert not v.state("ben").waiting.items


def test_an_epoch_that_was_forgotten_is_told_once() -> None:
    v = hikers()
    ben = session(v, "ben")

    def forget(turn: Turn) -> None:
        mine = turn.state.sessions[TEA]
        bens = mine.others[ben.own.id]
        others = {**mine.others, ben.own.id: replace(bens, epochs={})}
        turn.change(sessions=turn.state.sessions.set(TEA, replace(mine, others=others)))

    v.do("ben", inputs.Refresh(intent=intent("1"), conversation=TEA))
    step(v, "anna", forget)
    v.do("cleo", inputs.Refresh(intent=intent("2"), conversation=TEA))
    assert [each.code for each in v.told("anna", events.Warned)] == ["sends-lost"]
    assert [(each.asks, each.over) for each in v.told("anna", events.OutOfSync)] == [(True, False)]
    v.do("cleo", inputs.Refresh(intent=intent("3"), conversation=TEA))
    assert len(v.told("anna", events.Warned)) == 1


def test_before_somebody_speaks_after_a_while_it_takes_up_what_others_did() -> None:
    v = hikers("anna", "ben")
    v.do("ben", inputs.Refresh(intent=intent("1"), conversation=TEA))
    before = session(v, "anna").own.group.epoch
    say(v, "anna", "too soon")
    assert session(v, "anna").own.group.epoch == before
    v.wait(minutes=15)
    say(v, "anna", "healed")
    assert session(v, "anna").own.group.epoch == before + 1
    assert session(v, "anna").own.taken[session(v, "ben").own.id] == session(v, "ben").own.group.epoch
    v.wait(minutes=15)
    say(v, "anna", "nothing new")
    assert session(v, "anna").own.group.epoch == before + 1


def test_leaves_and_packages_are_renewed_now_and_then() -> None:
    v = hikers("anna", "ben")
    before, offered = session(v, "anna").own.group.epoch, len(sends(v, "anna").offers)
    v.wait(days=31)
    assert session(v, "anna").own.group.epoch > before
    assert len(sends(v, "anna").offers) == offered + 1
    v.wait(days=200)
    assert len(sends(v, "anna").offers) <= entries.MAX_OFFERS


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (inputs.Say(conversation=TEA, nonce=b"short", data=b""), "bad-nonce"),
        (inputs.Say(conversation=TEA, nonce=bytes(16), data=bytes((1 << 20) + 1)), "said-size"),
        (inputs.ChangePolicy(intent=intent("p"), conversation=TEA, policy=Policy(mode=Mode.DIMLS)), "no-policy"),
        (inputs.Invite(intent=intent("i"), conversation=TEA, account=type(TEA)(bytes(32))), "no-card"),  # type: ignore[arg-type]
        (inputs.Remove(intent=intent("r"), conversation=TEA, account=type(TEA)(bytes(32))), "no-member"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_said_at_once(command: inputs.Input, code: str) -> None:
    v = hikers("anna", "ben")
    with pytest.raises(Misuse) as caught:
        v.do("anna", command)
    assert caught.value.code == code


def test_a_policy_cannot_be_had() -> None:
    v = friends("anna")
    with pytest.raises(Misuse) as caught:
        v.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS, policy=Policy(mode=Mode.DIMLS)))
    assert caught.value.code == "no-policy"


# ---------------------------------------------------------------- who goes


def remove(v: Village, by: str, who: str) -> None:
    v.do(by, inputs.Remove(intent=intent(f"{by} removes {who}"), conversation=TEA, account=v.own(who)))


def test_whom_one_removes_the_others_remove() -> None:
    v = hikers()
    remove(v, "ben", "cleo")
    v.wait(minutes=5)
    assert inside(v, "anna") == inside(v, "ben") == everybody(v, "anna", "ben")
    assert session(v, "cleo") if TEA in v.state("cleo").sessions else v.told("cleo", events.Gone)[0].removed
    assert fates(v, "ben")[intent("ben removes cleo")].stands
    with pytest.raises(Misuse):
        say(v, "cleo", "I am still here")


def test_the_removed_reads_no_new_topic_and_nothing_in_it() -> None:
    v = hikers()
    old = sends(v, "cleo").topics[0].raw
    remove(v, "ben", "cleo")
    v.wait(minutes=5)
    new = sends(v, "anna").topics[0]
    assert new.raw == sends(v, "ben").topics[0].raw != old
    count = len(v.log)
    say(v, "anna", "among us")
    assert heard(v, "ben") == ["among us"]
    assert {frame.topic for frame in v.log[count:]}.isdisjoint(v.devices["cleo"].topics)


def test_what_the_removed_says_counts_no_longer() -> None:
    v = hikers()
    v.part(["anna", "ben"], ["cleo"])
    remove(v, "ben", "cleo")
    v.wait(minutes=1)
    say(v, "cleo", "does anybody hear me?")
    v.heal()
    v.wait(minutes=5)
    assert heard(v, "anna") == heard(v, "ben") == []
    assert v.devices["anna"].refused[-1] in (("sends", "sends-removed"), ("sends", "WrongGroupError"))


def test_somebody_who_was_removed_comes_back_only_when_called_again() -> None:
    v = hikers()
    remove(v, "ben", "cleo")
    v.wait(minutes=5)
    invite(v, "anna", "cleo", name="once more")
    v.wait(minutes=5)
    for name in PEOPLE:
        assert inside(v, name) == everybody(v, *PEOPLE)
    say(v, "cleo", "back again")
    v.wait(minutes=5)
    assert "back again" in heard(v, "ben")


def test_the_removed_cannot_ask_to_be_let_in_again() -> None:
    v = hikers()
    old = sends(v, "cleo").topics[0]
    remove(v, "ben", "cleo")  # whom Anna had called
    v.wait(minutes=5)

    def sneak(turn: Turn) -> None:
        entries.begin(turn, TEA, by=v.own("anna"), topic=old, number=0)
        entries.offer(turn, TEA)

    step(v, "cleo", sneak)
    v.deliver()
    v.wait(minutes=10)
    assert inside(v, "anna") == inside(v, "ben") == everybody(v, "anna", "ben")


def test_who_departs_is_taken_out_by_the_others() -> None:
    v = hikers()
    v.do("cleo", inputs.Depart(intent=intent("bye"), conversation=TEA))
    v.wait(minutes=5)
    assert TEA not in v.state("cleo").sessions
    assert [each.removed for each in v.told("cleo", events.Gone)] == [False]
    assert inside(v, "anna") == inside(v, "ben") == everybody(v, "anna", "ben")


def test_two_who_remove_each_other_do_not_stop_the_third() -> None:
    v = hikers()
    v.step("anna", inputs.Remove(intent=intent("1"), conversation=TEA, account=v.own("ben")))
    v.step("ben", inputs.Remove(intent=intent("2"), conversation=TEA, account=v.own("anna")))
    v.deliver()
    v.wait(minutes=10)
    assert bytes(v.own("cleo")) in inside(v, "cleo")
    assert len(inside(v, "cleo")) <= 2
    say(v, "cleo", "who is left?")


def test_a_topic_that_is_far_ahead_is_refused() -> None:
    v = hikers("anna", "ben")
    topic = TopicSecret(bytes(32))
    word = NewTopic(number=1000, topic=topic)
    step(v, "anna", lambda turn: sending._seal(turn, TEA, pack_word(word)))
    v.deliver()
    assert all(each.raw != topic.raw for each in sends(v, "ben").topics)
    assert ("sends", "topic-number") in v.devices["ben"].refused


# ---------------------------------------------------------------- several devices, and stored


def test_each_device_of_an_account_is_a_member_and_the_app_hears_of_accounts() -> None:
    v = Village()
    v.account("laptop")
    v.account("ben")
    befriend(v, "laptop", "ben")
    v.wait(seconds=1)
    phone = homes.link(v, "laptop", "phone")
    open_talk(v, "laptop", "ben", mode=Mode.DIMLS)
    v.wait(minutes=5)
    assert len(session(v, "ben").own.members) == 3
    assert inside(v, "ben") == everybody(v, "laptop", "ben")
    say(v, phone, "from the phone")
    say(v, "ben", "hello")
    v.wait(minutes=1)
    for name in ("laptop", phone, "ben"):
        assert heard(v, name) == ["from the phone", "hello"]
    [mine, _] = v.told("laptop", events.Message)
    assert mine.ours
    assert mine.device == v.state(phone).me.device


def test_a_device_that_is_linked_later_comes_in_too() -> None:
    v = Village()
    v.account("laptop")
    v.account("ben")
    befriend(v, "laptop", "ben")
    v.wait(seconds=1)
    open_talk(v, "laptop", "ben", mode=Mode.DIMLS)
    phone = homes.link(v, "laptop", "phone")
    v.wait(minutes=5)
    assert len(session(v, phone).own.members) == 3
    say(v, "ben", "welcome")
    assert "welcome" in heard(v, phone)


def test_a_device_that_is_removed_from_the_account_is_taken_out() -> None:
    v = Village()
    v.account("laptop")
    v.account("ben")
    befriend(v, "laptop", "ben")
    v.wait(seconds=1)
    phone = homes.link(v, "laptop", "phone")
    open_talk(v, "laptop", "ben", mode=Mode.DIMLS)
    v.wait(minutes=5)
    assert len(session(v, "ben").own.members) == 3
    before = sends(v, "ben").topics[0].raw
    homes.remove(v, "laptop", phone)
    v.wait(minutes=10)
    assert len(session(v, "ben").own.members) == 2
    assert sends(v, "ben").topics[0].raw != before
    assert inside(v, "ben") == everybody(v, "laptop", "ben")


def test_an_old_disk_is_let_in_anew_and_its_old_place_is_cleared() -> None:
    v = hikers()
    old = v.state("ben")
    name = session(v, "ben").own.id
    say(v, "ben", "later than the backup")
    v.down("ben")
    v.wait(minutes=1)
    v.devices["ben"].has = set()
    v.restart("ben", sessions.restored(old))
    v.wait(minutes=10)
    assert session(v, "ben").own.id != name
    assert name not in session(v, "anna").own.members
    assert inside(v, "anna") == inside(v, "ben") == everybody(v, *PEOPLE)
    say(v, "ben", "here again")
    v.wait(minutes=5)
    assert heard(v, "anna")[-1] == "here again"


def test_sessions_are_stored_a_row_for_each_send_group() -> None:
    v = hikers()
    before = v.state("anna")
    rows = stored.rows(before)
    provider = v.devices["anna"].provider
    assert stored.rows(stored.load(rows, provider)) == rows
    say(v, "ben", "one message")
    changed, gone = stored.changes(before, v.state("anna"))
    written = [row for row in changed if row[0].startswith("sessions")]
    assert [table for table, _ in written] == ["sessions.others"]
    rows.update(changed)
    for row in gone:
        del rows[row]
    assert rows == stored.rows(v.state("anna"))


def test_a_restart_changes_nothing() -> None:
    v = hikers()
    state = stored.load(stored.rows(v.state("anna")), v.devices["anna"].provider)
    v.restart("anna", state)
    say(v, "anna", "after the restart")
    say(v, "ben", "indeed")
    for name in PEOPLE:
        assert heard(v, name) == ["after the restart", "indeed"]


def test_nothing_of_it_is_left_when_it_is_over() -> None:
    v = hikers()
    v.do("cleo", inputs.Depart(intent=intent("bye"), conversation=TEA))
    kept = sends(v, "cleo")
    assert (kept.signature, kept.offers, len(kept.packages)) == (None, (), 0)
    assert not [row for row in stored.rows(v.state("cleo")) if row[0].startswith("sessions")]
    v.wait(days=31)
    assert all(joined.group_id != TEA for joined in v.state("cleo").joined.values())


def test_time_is_not_spent_on_what_is_due_in_a_month() -> None:
    v = hikers("anna", "ben")
    due = [at for (duty, subject), at in v.state("anna").duties.items() if subject == TEA and duty.name == "TEND"]
    assert due
    assert min(due) > v.now + 20 * DAY
