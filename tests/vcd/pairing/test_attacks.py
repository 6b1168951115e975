"""What somebody does who wants into an account, or only wants to be in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.vcd.pairing.pairs import (
    LAPTOP,
    MALLORY,
    NOW,
    PHONE,
    PROVIDER,
    Pair,
    draw,
    met,
    pair,
    restarted,
    visit_of,
    wrong,
)
from vcd.core.founding import blank
from vcd.pairing import existing, new, wire
from vcd.pairing.existing import MOST_HELLOS, MOST_PENDING, Existing
from vcd.pairing.new import Visit
from vcd.pairing.values import MOST_TRIES, NotNow, Step, Why, same

GONE, WRONG = b"\x01", b"\x02"


def asked(visit: Visit) -> bytes:
    question = new.question(visit)
    assert question is not None
    return question


def stranger(offer: Existing, seed: int = 50, me: str = MALLORY) -> Visit:
    """Somebody who does not know the words, and guesses."""
    rng = draw(seed)
    visit = visit_of(wrong(offer.words), blank(PROVIDER, "mallory"), rng, me)
    return new.go(visit, offer.me, (), rng.randbytes)


def proof_of(both: Pair, visit: Visit, peer: str) -> bytes:
    """Its hello is answered; what it proves by then."""
    answer = both.hear(asked(visit), peer)
    assert answer is not None
    return asked(new.answered(visit, answer, NOW))


def test_a_wrong_code_ends_it_on_both_sides() -> None:
    both = pair()
    both.visit = replace(both.visit, code=wrong(both.offer.words))
    both.go()
    both.run()
    assert (both.offer.step, both.offer.why) == (Step.FAILED, Why.WRONG_CODE)
    assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.WRONG_CODE)
    assert both.offer.words is None


def test_a_second_guess_is_not_looked_at() -> None:
    both = pair()
    code = both.offer.words
    guess = proof_of(both, stranger(both.offer), MALLORY)
    assert both.hear(guess, MALLORY) == WRONG
    both.visit = replace(both.visit, code=code)
    both.go()
    both.turn()
    assert both.offer.step is Step.FAILED, "not even with the right words"
    assert both.visit.step is Step.WAITING


def test_two_guesses_begun_at_once_are_one() -> None:
    both = pair()
    first, second = stranger(both.offer, 50), stranger(both.offer, 51, PHONE)
    proofs = [proof_of(both, first, MALLORY), proof_of(both, second, PHONE)]
    assert both.hear(proofs[0], MALLORY) == WRONG
    assert both.hear(proofs[1], PHONE) == GONE


def test_a_guess_is_not_forgotten_by_a_restart() -> None:
    both = pair()
    guess = proof_of(both, stranger(both.offer), MALLORY)
    both.hear(guess, MALLORY)
    both.offer = restarted(both.offer)
    both.go()
    both.turn()
    assert both.offer.step is Step.FAILED


def test_the_new_device_proves_once_whoever_it_is_asked_by() -> None:
    """Somebody pretends to be the one that waits, and says nothing to the proof, hoping for another."""
    both = pair()
    code = both.visit.code
    assert code is not None
    both.go(MALLORY)
    liar = existing.start(draw(60).randbytes, MALLORY, (), NOW + 1, words=True)
    liar = replace(liar, words=replace(wrong(both.offer.words)))
    liar, answer = existing.hear(liar, PHONE, asked(both.visit), NOW, draw(61).randbytes)
    assert answer is not None
    both.take(answer)
    proof = asked(both.visit)
    assert both.visit.code is None
    with pytest.raises(NotNow):
        both.go(LAPTOP)
    both.visit = restarted(both.visit)
    both.take(b"")
    both.take(answer)
    assert asked(both.visit) == proof
    _, verdict = existing.hear(liar, PHONE, proof, NOW, draw(62).randbytes)
    assert verdict == WRONG


def test_somebody_who_says_that_a_proof_was_right_without_the_code() -> None:
    both = pair()
    both.go()
    both.turn()
    assert both.visit.proving is not None
    both.take(wire.answer(wire.Proved(tag=bytes(32))))
    assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.WRONG_CODE)


def test_somebody_in_the_middle_who_passes_everything_on() -> None:
    """Bytes as they are, between two peers that each think it to be the other: their ids are in the keys."""
    both = pair()
    both.go(MALLORY)
    answer = both.hear(asked(both.visit), MALLORY)
    assert answer is not None
    both.take(answer)
    assert both.hear(asked(both.visit), MALLORY) == WRONG
    both.take(WRONG)
    assert both.offer.why is both.visit.why is Why.WRONG_CODE


def test_somebody_in_the_middle_who_knows_the_code() -> None:
    """Seen over a shoulder. Both meetings go through, and the two screens show different strings."""
    for seed in range(4):
        both = pair(seed)
        assert both.offer.words is not None
        rng = draw(70 + seed)
        towards = new.go(visit_of(both.offer.words, blank(PROVIDER, "phone"), rng, MALLORY), LAPTOP, (), rng.randbytes)
        pretends = replace(existing.start(rng.randbytes, MALLORY, (), NOW + 1, words=True), words=both.offer.words)
        both.go(MALLORY)
        for _ in range(4):
            pretends, answer = existing.hear(pretends, PHONE, asked(both.visit), NOW, rng.randbytes)
            assert answer is not None
            both.visit = new.answered(both.visit, answer, NOW)
            said = both.hear(asked(towards), MALLORY)
            assert said is not None
            towards = new.answered(towards, said, NOW)
        assert both.visit.step is both.offer.step is Step.COMPARING
        assert both.visit.check != both.offer.check
        both.confirm(both.visit.check)
        assert both.offer.step is Step.COMPARING
        assert both.offer.tries == 1


def test_the_string_cannot_be_chosen_by_trying_nonces() -> None:
    """The nonce that a proof shows was fixed by the hello, before the other one's was known."""
    both = pair()
    both.go()
    answer = both.hear(asked(both.visit))
    assert answer is not None
    greeting = both.visit.greeting
    assert greeting is not None
    for number in range(1, 4):
        other = replace(both.visit, greeting=replace(greeting, nonce=bytes([number]) * 32))
        chosen = asked(new.answered(other, answer, NOW))
        offer, verdict = existing.hear(both.offer, PHONE, chosen, NOW, both.rng.randbytes)
        assert verdict == WRONG
        assert offer.why is Why.WRONG_CODE


def test_messages_of_another_meeting_replayed() -> None:
    """All that was said in one pairing, said again in another one with the same words."""
    both = pair()
    code = both.offer.words
    said: list[bytes] = []
    both.go()
    for _ in range(3):
        said.append(asked(both.visit))
        both.turn()
    again = pair(1)
    again.offer = replace(again.offer, words=code)
    answers = [again.hear(each) for each in said]
    assert again.offer.step is Step.WAITING, "a hello that was heard before is a hello, and no more"
    assert answers[1:] == [GONE, GONE]


def test_messages_reflected() -> None:
    both = met()
    assert both.visit.channel is not None
    assert both.offer.channel is not None
    exchange = both.visit.channel.outgoing()
    mirrored = wire.answer(replace(exchange, first=0, sealed=both.visit.channel.log))
    before = both.visit
    both.take(mirrored)
    assert both.visit is before
    own = replace(both.offer.channel.outgoing(), first=1, sealed=both.visit.channel.log)
    offer = both.offer
    assert both.hear(wire.question(own)) is None
    assert both.offer is offer


def test_a_share_reflected() -> None:
    both = pair()
    both.go()
    hello = wire.read_question(asked(both.visit))
    assert isinstance(hello, wire.Hello)
    before = both.visit
    both.take(wire.answer(wire.Welcome(meeting=bytes(16), share=hello.share, nonce=bytes(32))))
    assert both.visit is before
    both.take(wire.answer(wire.Welcome(meeting=bytes(16), share=b"B" + hello.share[1:], nonce=bytes(32))))
    assert both.visit is before


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_shares_that_are_no_points_or_of_small_order(point: bytes) -> None:
    both = pair()
    assert both.offer.words is not None
    hello = wire.Hello(name=both.offer.words.name, share=b"A" + point, commitment=bytes(32))
    before = both.offer
    assert both.hear(wire.question(hello), MALLORY) is None
    assert both.offer is before


def test_a_peer_that_floods_with_hellos_ends_the_offer_and_fills_nothing() -> None:
    both = pair()
    for number in range(MOST_HELLOS):
        visit = stranger(both.offer, 100 + number, f"{MALLORY[:-2]}{number:02}")
        assert both.hear(asked(visit), visit.me) not in (None, GONE)
        assert len(both.offer.pending) <= MOST_PENDING
    assert both.hear(asked(stranger(both.offer, 300)), MALLORY) == GONE
    assert both.offer.why is Why.FLOODED


def test_a_peer_that_repeats_its_hello_costs_nothing() -> None:
    both = pair()
    visit = stranger(both.offer)
    first = both.hear(asked(visit), MALLORY)
    before = both.offer
    for _ in range(100):
        assert both.hear(asked(visit), MALLORY) == first
    assert both.offer is before


def test_one_peer_does_not_push_out_another_by_itself() -> None:
    both = pair()
    both.go()
    answer = both.hear(asked(both.visit))
    assert answer is not None
    for number in range(MOST_HELLOS - 1):
        both.hear(asked(stranger(both.offer, 100 + number)), MALLORY)
    both.take(answer)
    both.run()
    assert both.offer.step is Step.COMPARING


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x01\x01", b"\x01\x02", b"\x01\x03", b"\x02"]))
def test_rubbish_changes_nothing(rubbish: bytes, begins: bytes) -> None:
    offer, visit = _MET.offer, _MET.visit
    assert existing.hear(offer, PHONE, begins + rubbish, NOW, draw().randbytes)[0] is offer
    assert existing.hear(_WAITS, MALLORY, begins + rubbish, NOW, draw().randbytes)[0] is _WAITS
    after = new.answered(visit, b"\x00" + rubbish, NOW)
    assert after is visit


_MET = met()
_WAITS = pair().offer


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_bit_turned_over_anywhere_is_noticed(data: st.DataObject) -> None:
    exchange = asked(_MET_BEFORE.visit)
    counted = 2 + 1 + wire.MEETING  # how many they have: nobody gains by saying something else
    at = data.draw(st.integers(0, 8 * len(exchange) - 1).filter(lambda bit: bit // 8 != counted))
    turned = bytearray(exchange)
    turned[at // 8] ^= 1 << at % 8
    offer, _ = existing.hear(_MET_BEFORE.offer, PHONE, bytes(turned), NOW, draw().randbytes)
    assert offer.step is Step.WAITING
    assert offer.device == b""


def _before_it_says_who_it_is() -> Pair:
    both = pair()
    both.go()
    both.turn()
    both.turn()
    assert both.visit.step is Step.COMPARING
    assert both.offer.step is Step.WAITING
    return both


_MET_BEFORE = _before_it_says_who_it_is()


def test_confirming_without_comparing() -> None:
    """What is typed is compared here: neither nothing, nor what this screen does not show, lets anybody in."""
    both = met()
    for typed in ("", "yes", both.offer.check.split()[0]):
        tried = existing.confirm(both.offer, typed)
        assert tried.step is Step.COMPARING
        with pytest.raises(NotNow):
            existing.admit(tried, b"credential", "phone")


def test_guessing_the_string() -> None:
    both = met()
    for _ in range(MOST_TRIES):
        both.confirm("otter 0000" if not same(both.offer.check, "otter 0000") else "otter 0001")
    assert (both.offer.step, both.offer.why) == (Step.FAILED, Why.CHECK)
    both.run()
    assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.CHECK)


def test_a_new_device_that_brings_its_package_before_it_was_admitted() -> None:
    both = met()
    assert both.visit.channel is not None
    early = both.visit.channel.say(wire.Package(package=b"package"))
    both.visit = replace(both.visit, channel=early)
    both.turn()
    assert (both.offer.step, both.offer.why) == (Step.FAILED, Why.BROKEN)
    assert both.offer.package == b""


def test_a_new_device_that_says_twice_who_it_is() -> None:
    """After the strings were compared it is another one, if that went."""
    both = met()
    assert both.visit.channel is not None
    other = both.visit.channel.say(wire.Introduce(device=bytes(16), key=b"key", name="mallory"))
    both.visit = replace(both.visit, channel=other)
    device = both.offer.device
    both.turn()
    assert both.offer.step is Step.FAILED
    assert both.offer.device == device


def test_a_device_of_the_account_that_hands_over_before_it_admits() -> None:
    both = met()
    assert both.offer.channel is not None
    early = both.offer.channel.say(wire.Part(number=0, of=1, data=b"welcome"))
    both.offer = replace(both.offer, channel=early)
    both.turn()
    assert (both.visit.step, both.visit.why) == (Step.FAILED, Why.BROKEN)


def test_names_that_would_be_seen_wrongly_are_refused() -> None:
    for name in ("", "a\nb", "\u202eenohp", "x" * 65, "\x1b[2J"):
        with pytest.raises(ValueError):
            wire.Introduce(device=bytes(16), key=b"key", name=name)


def test_another_peer_with_the_meetings_id() -> None:
    both = met()
    before = both.offer
    assert both.hear(asked(both.visit), MALLORY) == GONE
    assert both.offer is before


def test_an_id_in_the_mesh_is_not_enough_for_the_channel() -> None:
    """Whoever speaks as that peer, and has not its keys."""
    both = met()
    assert both.visit.channel is not None
    stolen = met(3).visit.channel
    assert stolen is not None
    forged = replace(stolen, meeting=both.visit.channel.meeting, given=0, log=()).say(wire.Finished())
    before = both.offer
    assert both.hear(wire.question(replace(forged.outgoing(), first=1))) is None
    assert both.offer is before
