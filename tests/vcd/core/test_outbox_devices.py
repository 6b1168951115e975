"""What several devices of one account say in a conversation (`vcd.core.outbox`, `vcd.core.delivery`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from tests.vcd.core import homes
from tests.vcd.core.branches import bring, commit, heads, payload_of, release, remove, sent, tea
from tests.vcd.core.company import act, step
from tests.vcd.core.talking import TEA, fates, give, heard, nonce, publish, say, talk
from tests.vcd.core.village import Frame, Village
from vcd.core import events, inputs, missed, outbox
from vcd.core.events import Fate
from vcd.core.names import ContentId
from vcd.core.payloads import Missed, Post
from vcd.core.policy import HOUR
from vcd.core.spoken import Outgoing, Stage
from vcd.core.state import Acceptance
from vcd.core.strand import dropped
from vcd.core.turn import Turn

SENT, AGAIN, CONFIRMED, RETURNED = Fate.SENT, Fate.AGAIN, Fate.CONFIRMED, Fate.RETURNED


def family(seed: int = 1) -> Village:
    """One account on two devices, and a friend."""
    village = Village(seed)
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=TEA))
    village.wait(minutes=1)
    homes.link(village, "laptop", "phone")
    bring(village, "laptop", "ben")
    village.wait(minutes=2)
    assert len(heads(village, "laptop", "phone", "ben")) == 1
    return village


def test_a_message_is_shown_once_on_every_device_of_its_author_with_the_device_that_said_it() -> None:
    village = family()
    name = say(village, "phone", "hello")
    for device in ("laptop", "phone"):
        [message] = village.told(device, events.Message)
        assert message.content == name
        assert message.ours
        assert message.device == homes.device(village, "phone")
    [message] = village.told("ben", events.Message)
    assert (message.ours, message.device) == (False, None)
    assert fates(village, "laptop", name)[-1:] == [CONFIRMED]


def test_a_siblings_message_comes_at_once_however_much_this_device_said() -> None:
    village = family()
    for each in range(80):
        say(village, "laptop", f"{each}")
    say(village, "phone", "and me")
    assert heard(village, "laptop")[-1] == "and me"


def test_a_siblings_message_is_as_old_here_as_it_is_there() -> None:
    village = family()
    village.part(["phone"])
    commit(village, "phone")
    name = say(village, "phone", "hello")
    village.now += HOUR
    village.heal()
    mine, theirs = village.state("laptop").outbox[name], village.state("phone").outbox[name]
    assert mine.since == theirs.since
    assert mine.device == theirs.device == homes.device(village, "phone")


def test_two_devices_on_one_generation_both_say_theirs_again() -> None:
    """Ben can read one of the two, whichever comes first."""
    village = family()
    for device in ("laptop", "phone"):
        village.step(device, inputs.Say(conversation=TEA, nonce=nonce(device), data=device.encode()))
    village.deliver()
    assert len(heard(village, "ben")) == 1
    times = [next(iter(village.state(device).outbox.values())).again_at for device in ("laptop", "phone")]
    assert times[0] < times[1]  # or they would meet again
    before = len(village.log)
    village.wait(minutes=1)
    assert sorted(heard(village, "ben")) == ["laptop", "phone"]
    for device in ("laptop", "phone"):
        assert sorted(heard(village, device)) == ["laptop", "phone"]
    assert len(list(sent(village, Post, before))) == 2
    village.wait(minutes=10)
    assert len(list(sent(village, Post, before))) == 2


def give_again(village: Village, device: str, post: Post, mark: str) -> None:
    """As somebody does who says what it heard in a frame of its own."""
    topic = tea(village, device).kept[post.epoch].topic
    give(village, device, post, topic, mark + device + post.message.hex())


def test_what_met_is_said_again_once_however_often_somebody_says_it_after_them() -> None:
    village = family()
    for device in ("laptop", "phone"):
        village.step(device, inputs.Say(conversation=TEA, nonce=nonce(device), data=device.encode()))
    village.deliver()
    before, due = len(village.log), {}
    posts = [post for _, post in sent(village, Post)][-2:]
    for device in ("laptop", "phone"):
        [mine] = village.state(device).outbox.values()
        due[device] = mine.again_at
    for number in range(10):
        village.now += 100
        for device, post in product(("laptop", "phone"), posts):
            give_again(village, device, post, f"{number}")
    for device in ("laptop", "phone"):
        [mine] = village.state(device).outbox.values()
        assert mine.again_at in (0, due[device])  # it is not put off
        assert mine.tries == 1
    village.wait(minutes=1)
    assert sorted(heard(village, "ben")) == ["laptop", "phone"]
    for device, post in product(("laptop", "phone"), posts):
        give_again(village, device, post, "later")
        village.wait(minutes=1)
    again = [post for _, post in sent(village, Post, before) if post not in posts]
    assert len(again) == 2


def test_several_that_took_one_key_met_once() -> None:
    village = family()
    devices = ["laptop", "phone", "tablet", "watch"]
    for name in devices[2:]:
        homes.link(village, "laptop", name)
    village.wait(minutes=3)
    for device in devices:
        village.step(device, inputs.Say(conversation=TEA, nonce=nonce(device), data=device.encode()))
    village.deliver()
    for device in devices:
        [mine] = [each for each in village.state(device).outbox.values() if each.tries]
        assert mine.tries == 1


def deaf_to_each_other(village: Village) -> None:
    """The laptop and the phone do not hear what the other one says; ben hears both, and both hear him."""
    pair = {"laptop", "phone"}

    def lost(frame: Frame, name: str) -> bool:
        return name in pair and {frame.by} == pair - {name} and isinstance(payload_of(village, frame), Post)

    village.lost = lost


def test_what_met_a_used_key_each_time_that_it_was_said_is_said_until_it_is_read() -> None:
    village = family()
    deaf_to_each_other(village)
    for number in range(4):
        say(village, "laptop", f"laptop {number}")
        if number == 0:
            say(village, "phone", "phone")
        else:
            village.wait(minutes=1)
    village.wait(minutes=1)
    assert "phone" in heard(village, "ben")
    release(village)
    village.wait(minutes=2)
    for name in ("laptop", "phone", "ben"):
        assert sorted(heard(village, name)) == ["laptop 0", "laptop 1", "laptop 2", "laptop 3", "phone"]


def test_nobody_can_have_a_message_said_again_for_ever() -> None:
    village = family()
    say(village, "phone", "hello")
    before = len(village.log)
    for minutes in (*[2] * 48, *[60] * 48):
        [digest] = [each.places[-1].digest for each in village.state("phone").outbox.values()]
        publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(digest,)))
        village.wait(minutes=minutes)
        if minutes == 2:
            assert len(list(sent(village, Post, before))) < 20  # once in each epoch as well
    assert len(list(sent(village, Post, before))) < 26
    assert heard(village, "ben") == ["hello"]


def test_a_member_who_says_again_and_again_that_it_missed_a_message_keeps_it_from_nobody() -> None:
    """Ben wears out the laptop, while carol hears the phone alone, which takes all of those keys."""
    village = family()
    bring(village, "laptop", "carol")
    village.wait(hours=3)
    sides = {"laptop": 0, "ben": 0, "phone": 1, "carol": 1}
    village.lost = lambda frame, name: sides[frame.by] != sides[name] and isinstance(payload_of(village, frame), Post)
    say(village, "laptop", "one")
    texts = [f"other {number}" for number in range(20)]
    for text in texts:
        say(village, "phone", text)

    def mine() -> Outgoing:
        return next(each for each in village.state("laptop").outbox.values() if each.content.data == b"one")

    for _ in range(60):
        publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(mine().places[-1].digest,)))
        village.wait(minutes=1)
    assert {place.epoch for place in mine().places} == {tea(village, "phone").head}
    release(village)
    assert "one" not in heard(village, "carol")
    village.wait(hours=12)
    for name in ("laptop", "phone", "ben", "carol"):
        assert sorted(heard(village, name)) == sorted(["one", *texts])


def test_a_message_that_was_asked_for_often_is_said_soon_where_it_was_not_said_yet() -> None:
    village = family()
    say(village, "phone", "hello")

    def mine() -> Outgoing:
        return next(iter(village.state("phone").outbox.values()))

    def missed_it() -> None:
        publish(village, "ben", Missed(at=tea(village, "ben").head, digests=(mine().places[-1].digest,)))
        village.wait(minutes=1)

    while mine().again_at < village.now + HOUR:
        missed_it()
    head = commit(village, "ben")
    missed_it()
    assert mine().places[-1].epoch == head
    said = len(mine().places)
    for _ in range(3):  # once there, as for anybody
        missed_it()
    assert len(mine().places) <= said + 1


def test_nobody_can_have_a_message_said_again_for_keys_that_it_has_left() -> None:
    """What was said again is not said again once more for a key of before, as who pretends to have that can say."""
    village = family()
    for device in ("laptop", "phone"):
        village.step(device, inputs.Say(conversation=TEA, nonce=nonce(device), data=device.encode()))
    village.deliver()
    village.wait(minutes=1)
    before = len(village.log)
    [laptop] = [each for each in village.state("laptop").outbox.values() if each.content.data == b"laptop"]
    assert len(laptop.places) == 2

    def collides(turn: Turn) -> None:
        missed.collided(turn, turn.strand(TEA).kept[laptop.places[0].epoch].group, 0, None)

    for _ in range(3):
        step(village, "laptop", collides)
        village.wait(minutes=1)
    assert list(sent(village, Post, before)) == []


def test_five_devices_that_speak_at_once_are_all_heard_within_a_minute() -> None:
    """Each takes the key that the first one took. What they say again is apart."""
    village = family()
    devices = ["laptop", "phone", "tablet", "watch", "box"]
    for name in devices[2:]:
        homes.link(village, "laptop", name)
    village.wait(minutes=3)
    for number in range(4):
        for device in devices:
            text = f"{device} {number}"
            village.step(device, inputs.Say(conversation=TEA, nonce=nonce(text), data=text.encode()))
        village.deliver()
        village.wait(minutes=1)
        expected = sorted(f"{device} {each}" for device in devices for each in range(number + 1))
        assert sorted(heard(village, "ben")) == expected


def test_what_met_a_used_key_is_said_again_where_the_conversation_stands_in_the_end() -> None:
    """The phone says it again at once, on a branch that loses; where it was said first is final for all of them."""
    village = family()
    bring(village, "laptop", "carol")
    village.wait(minutes=5)
    village.part(["laptop", "ben"], ["phone"], ["carol"])
    say(village, "laptop", "one")
    say(village, "phone", "other")
    remove(village, "laptop", "carol")
    commit(village, "phone")
    lost, root = tea(village, "phone").head, tea(village, "phone").final
    village.lost = lambda frame, name: name == "phone" and not isinstance(payload_of(village, frame), Post)
    village.heal()
    village.wait(seconds=20)
    [mine] = [each for each in village.state("phone").outbox.values() if each.content.data == b"other"]
    assert [place.epoch for place in mine.places] == [root, lost]
    assert (mine.stage, mine.repeat) == (Stage.CONFIRMED, lost)
    release(village)
    village.wait(minutes=5)
    assert heads(village, "laptop", "phone", "ben") == {tea(village, "ben").final}
    assert lost not in tea(village, "ben").graph.steps
    for name in ("laptop", "phone", "ben"):
        assert sorted(heard(village, name)) == ["one", "other"]
    assert all(each.repeat is None for each in village.state("phone").outbox.values())
    assert not talk(village, "phone").unsure


def test_two_devices_that_took_many_keys_alike_both_say_theirs_again() -> None:
    """More than used keys are kept of: neither can read what the other said, but sees which keys it took."""
    village = family()
    village.part(["laptop"], ["phone"], ["ben"])
    for each in range(68):
        for device in ("laptop", "phone"):
            say(village, device, f"{device} {each}")
    village.heal()
    village.wait(minutes=2)
    expected = sorted(f"{device} {each}" for device in ("laptop", "phone") for each in range(68))
    for name in ("laptop", "phone", "ben"):
        assert sorted(heard(village, name)) == expected


def test_who_comes_back_when_others_have_forgotten_the_epoch_hears_what_was_said_there() -> None:
    """The phone alone went another way; meanwhile its account's other device voted, and windows went by."""
    village = family()
    root = tea(village, "phone").head
    say(village, "ben", "before")
    village.part(["phone"])
    commit(village, "phone")
    step(village, "phone", lambda turn: turn.put(dropped(turn.strand(TEA), root)))
    first = commit(village, "ben")
    village.wait(minutes=1)
    away = say(village, "ben", "while you were away")
    assert fates(village, "ben", away) == [SENT, CONFIRMED]
    commit(village, "ben")
    village.wait(days=2)
    assert first not in tea(village, "ben").kept
    village.heal()
    village.wait(hours=1)
    assert len(heads(village, "laptop", "phone", "ben")) == 1
    assert heard(village, "phone") == ["before", "while you were away"]
    assert heard(village, "laptop") == ["before", "while you were away"]
    said = village.state("ben").outbox.values()
    assert {each.content.data: len(each.places) for each in said} == {b"before": 1, b"while you were away": 2}


def test_what_met_a_used_key_is_said_again_when_its_author_cannot_see_that_any_more() -> None:
    """When the devices meet, the laptop cannot open what the phone said: that both took one key only carol sees."""
    village = family()
    bring(village, "laptop", "carol")
    village.wait(minutes=5)
    village.part(["laptop", "ben"], ["phone", "carol"])
    say(village, "laptop", "one")
    say(village, "phone", "other")
    village.down("phone")
    village.down("carol")
    commit(village, "laptop")
    village.wait(days=2, hours=1)
    assert len(tea(village, "laptop").kept) == 1
    village.heal()
    village.restart("carol")
    village.wait(minutes=5)
    assert sorted(heard(village, "carol")) == ["one", "other"]
    village.restart("phone")
    village.wait(minutes=5)
    for name in ("laptop", "phone", "ben", "carol"):
        assert sorted(heard(village, name)) == ["one", "other"]


def test_siblings_know_who_had_left_before_a_message_was_said() -> None:
    """So none of them says it again to whom its own device would not."""
    village = family()
    bring(village, "laptop", "carol")
    village.wait(minutes=5)
    step(village, "laptop", lambda turn: turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.ASKS)))
    name = say(village, "laptop", "for ben and carol")
    remove(village, "phone", "carol")
    step(village, "laptop", lambda turn: turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.YES)))
    act(village, "laptop", lambda turn: outbox.flush(turn, TEA))
    assert heard(village, "ben") == ["for ben and carol"]
    for device in ("laptop", "phone"):
        assert village.state(device).outbox[name].left == (village.own("carol"),)


def on_a_losing_branch() -> tuple[Village, ContentId]:
    """The phone says something that only the laptop hears, and is gone when its branch has lost to ben's."""
    for seed in range(1, 20):
        village = family(seed)
        village.part(["laptop", "phone"], ["ben"])
        epochs = {commit(village, "phone"), commit(village, "ben")}
        name = say(village, "phone", "hello")
        village.down("phone")
        said = {frame.id for frame in village.log if frame.by == "phone"}
        village.lost = lambda frame, who, said=said: frame.id in said and who == "ben"  # type: ignore[misc]
        village.heal()
        assert tea(village, "laptop").head in epochs
        if tea(village, "laptop").head == tea(village, "ben").head:
            return village, name
    raise AssertionError("it never lost")


def test_a_sibling_says_again_what_its_device_does_not() -> None:
    village, name = on_a_losing_branch()
    village.wait(minutes=4)
    assert heard(village, "ben") == []
    village.wait(minutes=3)
    [message] = village.told("ben", events.Message)
    assert message.content == name
    assert message.relayed
    assert message.sender == village.own("laptop")
    village.restart("phone")
    village.wait(minutes=20)
    assert heard(village, "ben") == ["hello"]
    for device in ("laptop", "phone"):
        assert heard(village, device) == ["hello"]
    assert fates(village, "laptop", name) == [AGAIN, CONFIRMED]
    assert fates(village, "phone", name) == [SENT, CONFIRMED]


def test_a_sibling_says_nothing_again_that_its_device_did() -> None:
    village, name = on_a_losing_branch()
    village.restart("phone")
    village.wait(minutes=20)
    [message] = village.told("ben", events.Message)
    assert (message.content, message.relayed) == (name, False)
    assert AGAIN not in fates(village, "laptop", name)


def test_a_sibling_says_nothing_again_for_a_device_that_was_removed() -> None:
    village, name = on_a_losing_branch()
    homes.remove(village, "laptop", "phone")
    village.wait(minutes=20)
    assert heard(village, "ben") == []
    assert fates(village, "laptop", name)[-1] is RETURNED


def test_a_new_device_says_what_it_has_to_as_soon_as_it_may() -> None:
    """It must not encrypt under a leaf from before its time; what it says until then waits."""
    village = Village()
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=TEA))
    village.account("ben")
    bring(village, "laptop", "ben")
    village.wait(minutes=1)
    made = homes.blank(village, "laptop", "phone")
    homes.ask(village, "laptop", "phone", made)
    for _ in range(30):
        if homes.handed(village, "laptop", "phone"):
            break
        village.wait(seconds=5)
    village.down("laptop")
    homes.take_up(village, "laptop", "phone", made)
    name = say(village, "phone", "hello")
    assert fates(village, "phone", name) == []
    village.restart("laptop")
    village.wait(minutes=5)
    assert heard(village, "ben") == ["hello"]
    assert fates(village, "phone", name)[0] is SENT
