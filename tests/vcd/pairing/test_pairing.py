"""Two devices meet, whatever the line between them does."""

from __future__ import annotations

import random
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings, strategies as st

from mls.secrets import HpkePrivateKey
from tests.vcd.pairing.pairs import LAPTOP, MALLORY, NOW, PHONE, WELCOME, Pair, met, pair, restarted
from vcd.core.errors import Malformed
from vcd.pairing import existing, kept, new
from vcd.pairing.code import Spoken, Words
from vcd.pairing.values import NotNow, Step, Why


def steps(both: Pair) -> tuple[Step, Step]:
    return both.offer.step, both.visit.step


@pytest.mark.parametrize("uri", [False, True], ids=["words", "uri"])
def test_from_the_code_to_the_account(uri: bool) -> None:
    both = pair(uri=uri)
    both.go()
    both.run()
    assert both.offer.step is both.visit.step is Step.COMPARING
    assert both.offer.check == both.visit.check != ""
    assert both.offer.name == "phone"
    assert both.offer.device == both.blank.me.device
    both.confirm()
    both.run()
    assert steps(both) == (Step.FINISHED, Step.FINISHED)
    assert new.question(both.visit) is None, "there is nothing left to be said"


def test_the_code_goes_when_it_was_used() -> None:
    both = met()
    assert both.visit.code is None
    both.confirm()
    both.run()
    assert both.offer.words is None
    assert both.offer.uri.token.raw == b""
    assert (both.visit.init, both.visit.leaf, both.visit.package) == (None, None, b"")


def test_different_meetings_have_different_strings() -> None:
    assert len({met(seed).offer.check for seed in range(5)}) == 5


def test_the_string_is_compared_however_it_is_typed() -> None:
    both = met()
    both.confirm(f"  {both.visit.check.upper().replace(' ', '-')} ")
    assert both.offer.step is Step.CONFIRMED


@pytest.mark.parametrize("who", ["new", "existing"])
@pytest.mark.parametrize("when", ["comparing", "confirmed"])
def test_who_gives_up_tells_the_other(who: str, when: str) -> None:
    both = met()
    if when == "confirmed":
        both.confirm()
    if who == "new":
        both.visit = new.give_up(both.visit, Why.CANCELED)
        both.run()
        assert (both.offer.step, both.offer.why) == (Step.CANCELED, Why.CANCELED_THERE)
        assert both.visit.why is Why.CANCELED
    else:
        both.offer = existing.give_up(both.offer, Why.EXPIRED)
        both.run()
        assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.EXPIRED_THERE)
        assert both.offer.why is Why.EXPIRED
    assert new.question(both.visit) is None


def test_given_up_before_anybody_came() -> None:
    both = pair()
    both.offer = existing.give_up(both.offer, Why.CANCELED)
    both.go()
    both.turn()
    assert both.visit.step is Step.WAITING
    assert both.visit.greeting is None, "with words it may be another device that waits"
    by_uri = pair(uri=True)
    by_uri.offer = existing.give_up(by_uri.offer, Why.CANCELED)
    by_uri.go()
    by_uri.turn()
    assert (by_uri.visit.step, by_uri.visit.why) == (Step.FAILED, Why.GONE)


def test_a_uri_is_for_one_peer() -> None:
    both = pair(uri=True)
    with pytest.raises(NotNow):
        both.go(MALLORY)


def test_what_cannot_be_done_yet() -> None:
    both = pair()
    with pytest.raises(NotNow):
        existing.confirm(both.offer, "otter 1234")
    with pytest.raises(NotNow):
        new.finish(both.visit)
    with pytest.raises(NotNow):
        new.bring(both.visit, b"", HpkePrivateKey(b""), HpkePrivateKey(b""))


def test_what_is_handed_over_is_always_the_same() -> None:
    both = met()
    both.confirm()
    both.turn()
    both.turn()
    assert both.offer.step is Step.LINKING
    assert both.offer.handed
    again = existing.hand_over(restarted(both.offer), WELCOME)
    assert again.channel is not None
    assert both.offer.channel is not None
    assert again.channel.log == both.offer.channel.log
    with pytest.raises(Malformed):
        existing.hand_over(restarted(both.offer), WELCOME + b"!")


def test_nothing_secret_is_shown() -> None:
    both = met()
    for side in (both.offer, both.visit, pair().offer, pair().visit):
        shown = repr(side)
        for secret in (side.channel.ours.raw, side.channel.theirs.raw) if side.channel is not None else ():
            assert repr(secret) not in shown
        if isinstance(side, existing.Existing) and side.words is not None:
            assert side.words.words.raw.decode() not in shown
            assert repr(side.uri.token.raw) not in shown


def test_a_row_of_another_version() -> None:
    data = kept.pack(pair().offer)
    with pytest.raises(Malformed):
        kept.unpack(bytes((kept.FORMAT + 1,)) + data[1:])
    with pytest.raises(Malformed):
        kept.unpack(data[:-1])


def test_another_version_of_the_protocol() -> None:
    both = pair(uri=True)
    both.go()
    asked = both.ask()
    assert asked is not None
    answer = both.hear(b"\x02" + asked[1:])
    assert answer is not None
    both.take(answer)
    assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.VERSION)
    assert both.offer.step is Step.WAITING


def _drive(both: Pair, choices: list[int]) -> None:
    """A line that loses, repeats and delays; restarts of both; a person who confirms when there is something to."""
    asked: list[bytes] = []
    answers: list[bytes] = []
    for choice in choices:
        match choice:
            case 0 | 1 | 2:
                question = both.ask()
                if question is not None:
                    asked.append(question)
            case 3 | 4 if asked:
                answer = both.hear(asked[choice % len(asked)])
                if answer is not None:
                    answers.append(answer)
            case 5 if asked:
                answer = both.hear(asked.pop())
                if answer is not None:
                    answers.append(answer)
            case 6 | 7 if answers:
                both.take(answers.pop())
            case 8 if answers:
                both.take(answers[0])
            case 9 if both.offer.channel is not None:
                both.offer = restarted(both.offer)
            case 10:
                both.visit = restarted(both.visit)
                asked, answers = [], []  # its connections end with it
            case 11:
                if both.offer.step is Step.COMPARING and both.visit.check:
                    both.confirm()
            case 12:
                both.act()
            case 13:
                asked, answers = [], []
            case _:
                pass
        _check(both)


def _check(both: Pair) -> None:
    assert both.offer.why is Why.NONE
    assert both.visit.why is Why.NONE
    if both.offer.check and both.visit.check:
        assert both.offer.check == both.visit.check


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 13), max_size=120), st.integers(0, 5))
def test_loss_repetition_delay_and_restarts_change_nothing(choices: list[int], seed: int) -> None:
    both = pair(seed)
    both.go()
    _drive(both, choices)
    both.act()
    both.run()
    if both.offer.step is Step.COMPARING:
        both.confirm()
    both.act()
    both.run()
    assert both.offer.step is both.visit.step is Step.FINISHED


def test_no_number_is_used_for_two_messages() -> None:
    """However a log came to be, what is at a place of it never changes, also over restarts."""
    both = met()
    both.confirm()
    logs: dict[tuple[str, int], bytes] = {}
    for _ in range(12):
        both.turn()
        both.offer, both.visit = restarted(both.offer), restarted(both.visit)
        both.act()
        if both.offer.step is Step.LINKING:
            both.offer = existing.hand_over(both.offer, WELCOME)
        for name, channel in (("offer", both.offer.channel), ("visit", both.visit.channel)):
            for number, sealed in enumerate(() if channel is None else channel.log):
                assert logs.setdefault((name, number), sealed) == sealed
    assert len(logs) > 5


def test_an_offer_that_was_met_hears_nobody_else() -> None:
    both = met()
    other = pair(9)
    other.visit = replace(other.visit, me=MALLORY, code=pair().offer.words)
    other.go()
    asked = other.ask()
    assert asked is not None
    before = both.offer
    assert both.hear(asked, MALLORY) == b"\x01"
    assert both.offer is before


def test_known_answer() -> None:
    """docs/pairing.md says how to come to this: other words here are another protocol, and take another version."""
    drawn = random.Random(22)
    shown = Words(plate=7, words=Spoken(b"otter-marble"))
    offer = replace(existing.start(drawn.randbytes, LAPTOP, (), NOW, words=False), words=shown)
    visit = new.start(drawn.randbytes, PHONE, shown, device=bytes(16), key=bytes(32), name="phone", expires=NOW)
    visit = new.go(visit, LAPTOP, (), drawn.randbytes)
    said = []
    for _ in range(2):
        question = new.question(visit)
        assert question is not None
        offer, answer = existing.hear(offer, PHONE, question, NOW, drawn.randbytes)
        assert answer is not None
        visit = new.answered(visit, answer, NOW)
        said += [question, answer]
    assert sha256(b"".join(said)).hexdigest() == "f9bbb60b0a399d07ceb53e7c4a5cc73a435400895de2f3ae21b96525f5a721a4"
    assert visit.check == "seagull 1748"
    question = new.question(visit)
    assert question is not None
    assert sha256(question).hexdigest() == "64fc988078560976ac89ef10b338728d1127635fcbae9e390b04350ac95cf2e5"
