"""What others missed, and hear when they are back (`vcd.core.missed`)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from mls.registries import GroupId
from tests.vcd.core import homes
from tests.vcd.core.branches import (
    bring,
    commit,
    forked,
    heads,
    member,
    payload_of,
    release,
    remove,
    sent,
    talk as converse,
    tea,
    withhold,
)
from tests.vcd.core.company import act, step
from tests.vcd.core.people import friends, invite, open_talk
from tests.vcd.core.talking import TEA, fates, give, heard, publish, say
from tests.vcd.core.test_invitations import withdraw_all
from tests.vcd.core.village import Village
from vcd.core import delivery, inputs, missed, node, outbox, steps
from vcd.core.duties import Duty
from vcd.core.events import Fate
from vcd.core.names import ContentId, EpochId, FrameId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Digest, Missed, Post, Votes
from vcd.core.strand import NEVER, dropped
from vcd.core.turn import Turn

SENT, AGAIN, CONFIRMED, ASKS, RETURNED = Fate.SENT, Fate.AGAIN, Fate.CONFIRMED, Fate.ASKS, Fate.RETURNED


def answer(village: Village, name: str, content: ContentId, *, again: bool, group: GroupId = TEA) -> None:
    village.do(name, inputs.SayAgain(conversation=group, content=content, again=again))


def test_what_was_confirmed_is_said_again_for_who_missed_it_but_not_to_somebody_new() -> None:
    village = converse("anna", "ben")
    frames = len(village.log)
    name = say(village, "anna", "for ben")
    [(_, post)] = list(sent(village, Post, frames))
    bring(village, "anna", "eve")
    village.wait(minutes=1)
    publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    assert heard(village, "eve") == []
    assert fates(village, "anna", name) == [SENT, CONFIRMED, ASKS]
    answer(village, "anna", name, again=True)
    village.wait(minutes=1)
    assert heard(village, "eve") == ["for ben"]
    assert heard(village, "ben") == ["for ben"]
    assert fates(village, "anna", name) == [SENT, CONFIRMED, ASKS, CONFIRMED]  # the question is over


def test_who_says_no_is_not_left_with_a_question() -> None:
    village = converse("anna", "ben")
    frames = len(village.log)
    name = say(village, "anna", "for ben")
    [(_, post)] = list(sent(village, Post, frames))
    bring(village, "anna", "eve")
    village.wait(minutes=1)
    publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    answer(village, "anna", name, again=False)
    village.wait(minutes=1)
    assert heard(village, "eve") == []
    assert fates(village, "anna", name) == [SENT, CONFIRMED, ASKS, CONFIRMED]


def test_what_was_read_is_not_asked_for_however_often_and_late_somebody_says_it_again() -> None:
    village = friends("anna", "ben", "mallory")
    open_talk(village, "anna", "ben", "mallory")
    frames = len(village.log)
    name = say(village, "anna", "hello")
    [(_, post)] = list(sent(village, Post, frames))
    topic = tea(village, "ben").kept[post.epoch].topic
    give(village, "ben", post, topic, "at once")
    village.wait(minutes=1)
    commit(village, "anna")
    for number in range(3):
        village.wait(minutes=1)
        give(village, "ben", post, topic, f"later {number}")
    step(village, "ben", lambda turn: turn.put(dropped(turn.strand(TEA), post.epoch)))
    give(village, "ben", post, topic, "much later")
    village.wait(minutes=5)
    assert ("post-late", "") in village.devices["ben"].refused
    assert list(sent(village, Missed)) == []
    assert len(list(sent(village, Post, frames))) == 1
    assert fates(village, "anna", name) == [SENT, CONFIRMED]


def test_what_was_said_again_and_read_twice_is_not_asked_for_either() -> None:
    village = friends("anna", "ben", "mallory")
    open_talk(village, "anna", "ben", "mallory")
    frames = len(village.log)
    say(village, "anna", "hello")
    [(_, post)] = list(sent(village, Post, frames))
    publish(village, "mallory", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    [_, (_, again)] = list(sent(village, Post, frames))
    topic = tea(village, "ben").kept[post.epoch].topic
    for number in range(3):
        for each in (again, post):
            give(village, "ben", each, topic, f"{number}" + each.message.hex())
            village.wait(minutes=1)
    assert len(list(sent(village, Post, frames))) == 2
    assert village.state("ben").talks[TEA].asked == (sha256(post.message).digest(),)


def test_who_said_no_is_not_asked_again_of_the_same_people() -> None:
    """However often somebody says that it missed the message. It is said when they are gone."""
    village = converse("anna", "ben", "cleo")
    frames = len(village.log)
    name = say(village, "anna", "for ben")
    [(_, post)] = list(sent(village, Post, frames))
    bring(village, "anna", "eve")
    village.wait(minutes=1)

    def missed_it() -> None:
        publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
        village.wait(minutes=1)

    missed_it()
    answer(village, "anna", name, again=False)
    for _ in range(3):
        missed_it()
    assert fates(village, "anna", name) == [SENT, CONFIRMED, ASKS, CONFIRMED]
    remove(village, "anna", "eve")
    village.wait(minutes=1)
    frames = len(village.log)
    missed_it()
    assert [frame.by for frame, _ in sent(village, Post, frames)] == ["anna"]
    assert heard(village, "eve") == []


def test_a_question_is_over_when_nobody_is_there_any_more_of_whom_it_was() -> None:
    village = converse("anna", "ben", "cleo")
    frames = len(village.log)
    name = say(village, "anna", "for ben")
    [(_, post)] = list(sent(village, Post, frames))
    bring(village, "anna", "eve")
    village.wait(minutes=1)
    publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    assert fates(village, "anna", name)[-1] is ASKS
    remove(village, "anna", "eve")
    village.wait(minutes=1)
    publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    assert fates(village, "anna", name)[-1] is CONFIRMED


def test_who_comes_in_does_not_ask_for_what_was_said_before() -> None:
    """It finds that in the topic that it comes into, of an epoch between what is final and its own."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    village.wait(minutes=2)
    before = say(village, "anna", "before")
    village.wait(minutes=1)
    invite(village, "anna", "cleo")
    village.wait(minutes=2)
    assert ("post-late", "") in village.devices["cleo"].refused
    assert list(sent(village, Missed)) == []
    assert fates(village, "anna", before) == [SENT, CONFIRMED]
    say(village, "anna", "after")
    village.wait(seconds=10)  # it names the one before
    assert heard(village, "cleo") == ["after"]


def test_who_was_out_for_a_while_does_not_ask_for_what_was_said_meanwhile() -> None:
    """Neither where that comes when nothing is known any more of who was there then."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    there = remove(village, "anna", "cleo")
    name = say(village, "anna", "without cleo")
    village.wait(minutes=1)
    invite(village, "anna", "cleo")
    village.wait(minutes=5)
    commit(village, "anna")
    village.wait(hours=1)
    assert there in tea(village, "cleo").past
    assert not tea(village, "cleo").graph.has(there)
    release(village)
    village.wait(minutes=2)
    assert ("post-late", "") in village.devices["cleo"].refused
    assert list(sent(village, Missed)) == []
    assert fates(village, "anna", name) == [SENT, CONFIRMED]


def test_a_new_device_is_not_told_that_its_account_was_there_before_it_came_in() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    village.wait(minutes=2)
    say(village, "anna", "before")
    village.wait(minutes=1)
    there = tea(village, "anna").head
    invite(village, "anna", "cleo")
    village.wait(minutes=5)
    commit(village, "anna")
    village.wait(hours=1)
    homes.link(village, "cleo", "phone")
    for name in ("cleo", "phone"):
        assert not tea(village, name).graph.has(there)
        assert tea(village, name).past.find(there) in (NEVER, None)
    assert heads(village, "anna", "cleo", "phone") == {tea(village, "ben").head}


def test_who_was_out_for_a_while_says_again_what_somebody_missed_before() -> None:
    """Cleo gets it when the keys are gone and ben is out. He hears when he is back that it asked."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    there = tea(village, "ben").head
    name = say(village, "ben", "hello")
    remove(village, "anna", "ben")
    village.wait(minutes=1)
    step(village, "cleo", lambda turn: turn.put(dropped(turn.strand(TEA), there)))
    release(village)
    assert fates(village, "ben", name) == [SENT, CONFIRMED]
    assert heard(village, "cleo") == []
    invite(village, "anna", "ben")
    village.wait(minutes=5)
    assert heard(village, "cleo") == ["hello"]


def test_who_is_invited_again_is_told_what_was_missed_while_it_was_out() -> None:
    """Cleo asks for what ben said in a topic that he never learns of, and asks again when he is back."""
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", "dora")
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    there = tea(village, "ben").head
    say(village, "ben", "hello")
    remove(village, "anna", "ben")
    village.wait(minutes=1)
    step(village, "cleo", lambda turn: turn.put(dropped(turn.strand(TEA), there)))
    release(village)
    village.wait(minutes=5)
    assert len(list(sent(village, Missed))) == 1
    remove(village, "anna", "dora")
    village.wait(minutes=1)
    invite(village, "anna", "ben")
    village.wait(minutes=5)
    assert heard(village, "cleo") == ["hello"]


def test_what_was_said_again_where_somebody_was_out_is_said_again_for_who_is_back() -> None:
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "ben", "cleo", "dora")
    withhold(village, lambda payload: isinstance(payload, Post), "anna", "cleo")
    there, frames = tea(village, "ben").head, len(village.log)
    say(village, "ben", "hello")
    [(_, post)] = list(sent(village, Post, frames))
    remove(village, "anna", "cleo")
    village.wait(minutes=1)
    for name in ("anna", "cleo"):
        step(village, name, lambda turn: turn.put(dropped(turn.strand(TEA), there)))
    release(village)
    village.wait(minutes=1)
    assert heard(village, "anna") == ["hello"]  # said again without cleo
    remove(village, "anna", "dora")
    village.wait(minutes=1)
    invite(village, "anna", "cleo")
    village.wait(seconds=1)
    for head in (tea(village, "cleo").head, commit(village, "anna")):
        publish(village, "cleo", Missed(at=head, digests=(sha256(post.message).digest(),)))
        village.wait(minutes=1)
        assert heard(village, "cleo") == ["hello"]
        assert [len(each.places) for each in village.state("ben").outbox.values()] == [3]


def test_what_was_said_again_on_a_branch_that_lost_is_said_again_for_who_missed_it_elsewhere() -> None:
    village = converse("anna", "ben", "cleo", "dora")
    frames = len(village.log)
    say(village, "ben", "hello")
    [(_, post)] = list(sent(village, Post, frames))
    asked = (sha256(post.message).digest(),)
    forked(village)
    there = Missed(at=tea(village, "ben").head, digests=asked)
    step(village, "ben", lambda turn: missed.on_missed(turn, TEA, there, FrameId(b"")))
    village.wait(seconds=20)
    assert [len(each.places) for each in village.state("ben").outbox.values()] == [2]
    frames = len(village.log)
    village.heal()
    village.wait(minutes=2)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").final}
    for _ in range(2):  # asked again, and said again since
        publish(village, "cleo", Missed(at=tea(village, "cleo").head, digests=asked))
        village.wait(minutes=1)
    assert [each.epoch for _, each in sent(village, Post, frames)] == [tea(village, "anna").head]


def test_who_comes_back_from_outside_is_told_what_was_missed_while_it_was_away() -> None:
    """Cleo gets ben's message when the keys are gone, and asks in a topic that he never learns of."""
    village = converse("anna", "ben", "cleo", "dora")
    root = tea(village, "ben").head
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    say(village, "ben", "hello")
    forked(village)
    for name in ("ben", "cleo"):
        step(village, name, lambda turn: turn.put(dropped(turn.strand(TEA), root)))
    release(village)
    village.wait(minutes=5)
    village.heal()
    village.wait(minutes=30)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").final}
    assert heard(village, "cleo") == ["hello"]


def brought_in_anew(*others: str) -> Village:
    """Anna has brought ben in by a KeyPackage that he has withdrawn. When he is in anew, cleo has not heard of that."""
    village = friends("anna", "ben", "cleo")
    for name in others:
        homes.link(village, "ben", name)
    open_talk(village, "anna", "cleo")
    say(village, "cleo", "before")
    for name in ("ben", *others):
        withdraw_all(village, name)
    invite(village, "anna", "ben")
    say(village, "anna", "welcome")
    village.part(["cleo"])
    village.wait(minutes=15)
    assert heads(village, "anna") == heads(village, "ben", *others) != heads(village, "cleo")
    return village


def test_who_is_brought_in_anew_is_told_what_was_said_to_it_where_nobody_of_it_was() -> None:
    """Also by who did not know of that when it spoke; nothing of before, though, and all devices ask as one."""
    village = brought_in_anew("phone")
    name = say(village, "cleo", "hello ben")
    village.heal()
    village.wait(minutes=5)
    for device in ("ben", "phone"):
        assert sorted(heard(village, device)) == ["hello ben", "welcome"]
    assert len({frame.payload for frame, _ in sent(village, Missed)}) == 1
    assert fates(village, "cleo", name) == [SENT, CONFIRMED]
    frames = len(village.log)
    commit(village, "anna")
    village.wait(minutes=5)
    assert list(sent(village, Post, frames)) == []


def test_who_is_brought_in_anew_is_told_so_when_that_is_final_long_since() -> None:
    village = brought_in_anew()
    withhold(village, lambda payload: isinstance(payload, Missed), "cleo")
    name = say(village, "cleo", "hello ben")
    village.heal()
    village.wait(minutes=5)
    commit(village, "anna")
    village.wait(minutes=5)
    [(_, asked)] = list(sent(village, Missed))
    assert not tea(village, "cleo").graph.has(asked.at)
    assert fates(village, "cleo", name) == [SENT, CONFIRMED]
    assert "hello ben" not in heard(village, "ben")
    release(village)
    village.wait(minutes=5)
    assert sorted(heard(village, "ben")) == ["hello ben", "welcome"]


def test_who_is_brought_in_anew_and_is_told_of_nothing_before_asks_for_all_that_was_said_to_it() -> None:
    """Where the first Welcome's epoch is final already, nobody tells what was before that."""
    village = brought_in_anew()
    withhold(village, lambda payload: isinstance(payload, Missed) and payload.since != b"", "cleo")
    say(village, "cleo", "hello ben")
    village.heal()

    def begins_there(turn: Turn) -> None:
        after = turn.strand(TEA)
        dead = next(step.parent for epoch, step in after.graph.steps.items() if after.graph.anew(epoch))
        standing = replace(after.standing, head=dead, final=dead)
        delivery.moved(turn, replace(after, graph=after.graph.rebased(dead)[0], standing=standing), after)

    act(village, "ben", begins_there)
    village.wait(minutes=5)
    assert sorted(heard(village, "ben")) == ["hello ben", "welcome"]


@pytest.mark.parametrize("accept", [True, False])
def test_who_is_brought_in_anew_asks_for_that_when_the_user_has_accepted(accept: bool) -> None:
    village = friends("anna", "ben", accept_contacts=False)
    village.do("anna", inputs.Open(conversation=TEA))
    withdraw_all(village, "ben")
    invite(village, "anna", "ben")
    say(village, "anna", "welcome")
    village.wait(minutes=5)
    village.do("ben", inputs.Answer(conversation=TEA, accept=accept))
    village.wait(minutes=5)
    assert heard(village, "ben") == ["welcome"] * accept
    assert len(list(sent(village, Missed))) == accept


@pytest.mark.parametrize("anew", [True, False])
def test_that_somebody_came_back_by_a_header_which_nobody_followed_makes_nobody_say_all_again(anew: bool) -> None:
    village = converse("anna", "ben", "cleo")
    for number in range(3):
        say(village, "cleo", f"hello {number}")
    commit(village, "anna")
    village.wait(minutes=2)
    own, other, child = member(village, "ben", "ben"), member(village, "ben", "anna"), EpochId(b"x" * 32)
    there, group = tea(village, "ben"), tea(village, "ben").kept[tea(village, "ben").head].group
    comer = replace(
        other,
        incarnation=steps.incarnation(child, 9),
        since=there.graph.number(there.head) + 1,
        leaf=9,
        by=own.incarnation,
        acted=False,
    )
    lie = Step(epoch=child, parent=there.head, author=own.incarnation)
    if anew:
        lie = replace(lie, adds=(comer,), removes=(other.incarnation,))
    else:
        lie = replace(lie, moved=((own.incarnation, 9),))
    said = steps.signed(group.suite, group.signature_key, lie)
    frames = len(village.log)
    publish(village, "ben", Digest(final=there.final, head=child, steps=(said,)))
    assert tea(village, "cleo").graph.returns(child)
    for number in range(2):
        publish(village, "ben", Missed(at=child, since=EpochId(b"" if not number else there.final)))
        village.wait(minutes=1)
    assert list(sent(village, Post, frames)) == []


def test_who_asks_after_all_that_was_said_gets_it_once_on_a_head() -> None:
    """Somebody did come back, so nobody knows better."""
    village = converse("anna", "ben", "cleo")
    say(village, "cleo", "hello")
    commit(village, "anna")
    village.wait(minutes=1)
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, "ben")
    lost.append(commit(village, "cleo", heard=False))
    village.deliver()
    village.wait(hours=1)
    assert len(village.state("cleo").talks[TEA].returns) == 1
    for _ in range(2):
        frames = len(village.log)
        for _ in range(3):
            publish(village, "ben", Missed(at=tea(village, "cleo").head, since=EpochId(b"")))
            village.wait(minutes=1)
        assert len([frame for frame, _ in sent(village, Post, frames) if frame.by == "cleo"]) == 1
        commit(village, "anna")
        village.wait(minutes=1)


def test_who_was_there_on_another_branch_and_is_brought_in_anew_on_this_one_asks_too() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo")
    withdraw_all(village, "ben")
    village.lost = lambda frame, name: isinstance(
        payload_of(village, frame), Commit | Votes if name == "ben" else Votes
    )
    remove(village, "anna", "ben")
    invite(village, "anna", "ben")
    say(village, "cleo", "hello again")
    assert tea(village, "ben").here is not None  # he has not heard that he was out
    village.wait(minutes=5)
    assert heads(village, "ben") == heads(village, "anna")
    assert heard(village, "ben") == ["hello again"]


def test_messages_that_were_withheld_are_confirmed_by_nobody_but_the_graph() -> None:
    """Finality is of epochs: what is in a final one stands, whoever has not got it yet."""
    village = converse("anna", "ben", "cleo")
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    name = say(village, "anna", "hello")
    assert fates(village, "anna", name) == [SENT, CONFIRMED]
    assert heard(village, "cleo") == []
    release(village)
    assert heard(village, "cleo") == ["hello"]


def test_one_word_has_only_so_much_said_again_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[list[ContentId]] = []
    plain_relay, plain_again = outbox.relay, outbox._again

    def relay(turn: Turn, subject: bytes) -> None:
        times.append([])
        plain_relay(turn, subject)

    def again(turn: Turn, name: ContentId) -> None:
        times[-1].append(name)
        plain_again(turn, name)

    monkeypatch.setattr(outbox, "AT_ONCE", 4)
    monkeypatch.setattr(outbox, "_again", again)
    monkeypatch.setitem(node.DUTIES, Duty.RELAY, relay)
    village = converse("anna", "ben")
    frames = len(village.log)
    for number in range(10):
        say(village, "anna", f"{number}")
    digests = tuple(sha256(post.message).digest() for _, post in sent(village, Post, frames))
    publish(village, "ben", Missed(at=tea(village, "ben").head, digests=digests))
    village.wait(minutes=1)
    assert [len(each) for each in times] == [4, 4, 2]
    assert len(list(sent(village, Post, frames))) == 20
