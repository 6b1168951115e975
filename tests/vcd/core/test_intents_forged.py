"""Intents that no honest device makes: a stolen one tells of them, or they were kept before anybody looked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.vcd.core.company import act, step
from tests.vcd.core.homes import TEA, device, remove, tea, trio
from tests.vcd.core.people import befriend, friends, intent, invite
from tests.vcd.core.village import Village
from vcd.core import comers, devices, events, inputs, intents, leaving, ranks, siblings
from vcd.core.errors import Malformed, Misuse
from vcd.core.names import AccountId, DeviceId, EpochId, Incarnation, IntentId
from vcd.core.policy import Mode, Policy, of_group
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn
from vcd.core.wanting import MAX_GREETING, MAX_MADE, MAX_TERM, MAX_TRIES, MAX_WHO, Intent, Kind, check, taken_over

FORGED = intent("forged")


def forged(village: Village, who: str, **parts: Any) -> Intent:
    """Something that the tablet says is wanted, and that is for `who` to do."""
    turn = Turn(village.state("tablet"), village.now, village.devices["tablet"].provider)
    strand = turn.strand(TEA)
    own = ranks.own(strand)
    assert own is not None
    return Intent(
        intent=FORGED,
        group_id=TEA,
        origin=device(village, who),
        device=device(village, who),
        decided_on=strand.head,
        author=own.incarnation,
        **parts,
    )


@pytest.fixture(name="village")
def fixture_village() -> Village:
    village = Village()
    trio(village)
    village.account("anna")
    befriend(village, "laptop", "anna")
    village.wait(minutes=2)
    return village


def talking() -> Village:
    """Somebody else is there."""
    village = friends("tablet", "ben")
    village.do("tablet", inputs.Open(conversation=TEA))
    invite(village, "tablet", "ben", TEA)
    village.wait(minutes=2)
    return village


def says(village: Village, record: siblings.Sibling) -> None:
    act(village, "tablet", lambda turn: devices.tell(turn, record))


def lacks(village: Village, kind: str) -> dict[str, Any]:
    """Intents that cannot be carried out, or not be counted on."""
    anna, rules = village.own("anna"), of_group(tea(village, "tablet"))
    forms: dict[str, dict[str, Any]] = {
        "rules that are none": {"kind": Kind.POLICY, "was": rules},
        "a KeyPackage that is none": {
            "kind": Kind.INVITE,
            "account": anna,
            "reply": TopicSecret(b"r" * 32),
            "package": b"junk",
        },
        "no place for the answer": {"kind": Kind.INVITE, "account": anna},
        "tries that no clock bears": {"kind": Kind.REFRESH, "tries": 1 << 40},
        "the last term of all": {"kind": Kind.REFRESH, "term": (1 << 64) - 1},
    }
    return forms[kind]


FORMS = (
    "rules that are none",
    "a KeyPackage that is none",
    "no place for the answer",
    "tries that no clock bears",
    "the last term of all",
)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_stolen_device_wants_is_not_kept_if_it_cannot_be_done(village: Village, form: str) -> None:
    says(village, siblings.IntentMade(intent=forged(village, "laptop", **lacks(village, form))))
    village.wait(minutes=30)
    assert all(FORGED not in village.state(who).intents for who in ("laptop", "phone"))


def test_nor_is_it_taken_over_when_the_stolen_device_is_removed(village: Village) -> None:
    says(village, siblings.IntentMade(intent=forged(village, "tablet", **lacks(village, "rules that are none"))))
    remove(village, "laptop", "tablet")
    village.wait(minutes=30)
    assert village.state("laptop").rotation is None
    assert all(FORGED not in village.state(who).intents for who in ("laptop", "phone"))


@pytest.mark.parametrize("form", FORMS)
def test_what_was_kept_already_ends_no_device(village: Village, form: str) -> None:
    bad = forged(village, "laptop", **lacks(village, form))

    def kept(turn: Turn) -> None:
        intents.keep(turn, bad)
        intents.schedule(turn, bad)

    act(village, "laptop", kept)
    village.wait(minutes=90)
    found = [each.reason for each in village.told("laptop", events.IntentFate) if each.intent == FORGED]
    if form in {"rules that are none", "no place for the answer"}:
        assert found == ["forbidden"]
    else:
        assert len(found) <= 1


def test_a_new_device_is_briefed_of_good_intents_only(village: Village) -> None:
    good = forged(village, "laptop", kind=Kind.REFRESH)
    bad = replace(forged(village, "laptop", kind=Kind.REFRESH, tries=1 << 40), intent=intent("bad"))

    def briefed(turn: Turn) -> None:
        intents.briefed(turn, turn.state.intents.set(good.intent, good).set(bad.intent, bad))
        assert good.intent in turn.state.intents
        assert bad.intent not in turn.state.intents
        assert [rule for rule, _ in turn.refused] == ["sibling"]

    step(village, "phone", briefed)


def test_word_that_the_account_has_left_makes_no_more_intents_than_there_may_be() -> None:
    village = talking()
    left = siblings.LeftAlone(intent=forged(village, "tablet", kind=Kind.DEPART, since=(1 << 64) - 1))

    def heard(turn: Turn, most: int) -> bool:
        turn.change(config=replace(turn.state.config, max_intents=most))
        leaving.on_left(turn, None, left)  # type: ignore[arg-type]
        kept = turn.state.intents.find(FORGED)
        assert kept is None or kept.since <= turn.now
        return kept is not None

    held = village.devices["tablet"]
    assert not heard(Turn(held.state, village.now, held.provider), 0)
    assert heard(Turn(held.state, village.now, held.provider), 1)


def test_those_who_are_to_go_are_only_so_many_however_often_others_are_named() -> None:
    village = talking()
    who = [Incarnation(number.to_bytes(32, "big")) for number in range(2 * MAX_WHO)]
    first = forged(village, "tablet", kind=Kind.DEPART, targets=tuple(who[:MAX_WHO]))
    held = village.devices["tablet"]
    turn = Turn(held.state, village.now, held.provider)
    for each in (first, replace(first, targets=tuple(who[MAX_WHO:]))):
        intents.on_intent(turn, None, siblings.IntentMade(intent=each))  # type: ignore[arg-type]
    assert turn.state.intents[FORGED].targets == first.targets


def test_the_wait_before_another_try_has_an_end_whatever_the_count(village: Village) -> None:
    held = village.devices["laptop"]
    turn = Turn(held.state, village.now, held.provider)
    waits = [ranks.backoff(turn, FORGED, tries) for tries in (1 << 32, 1 << 40, (1 << 64) - 1)]
    assert max(waits) < 2 * turn.state.config.retry_most


def test_a_greeting_is_no_longer_than_others_take(village: Village) -> None:
    with pytest.raises(Misuse, match="too long"):
        village.do(
            "laptop",
            inputs.Invite(
                intent=FORGED, conversation=TEA, account=village.own("anna"), greeting="a" * (MAX_GREETING + 1)
            ),
        )


def test_a_keypackage_of_an_unknown_suite_is_not_good() -> None:
    village = talking()
    ben = village.own("ben")
    package = village.packages[ben][-1]
    strange = package[:2] + b"\xff\xff" + package[4:]
    made = forged(village, "tablet", kind=Kind.INVITE, account=ben, reply=TopicSecret(b"r" * 32), package=package)
    check(made)
    with pytest.raises(Malformed, match="unknown cipher suite"):
        check(replace(made, package=strange))
    held = village.devices["tablet"]
    turn = Turn(held.state, village.now, held.provider)
    assert comers.checked(turn, ben, package) is not None
    assert comers.checked(turn, ben, strange) is None
    assert comers.package(turn, made) is not None
    assert comers.package(turn, replace(made, package=strange)) is None
    turn.change(intents=turn.state.intents.set(made.intent, replace(made, package=strange)))
    assert intents.unusable(turn, ben, b"r" * 32) == []


PLAIN = Intent(
    intent=FORGED,
    kind=Kind.REFRESH,
    group_id=TEA,
    origin=DeviceId(bytes(16)),
    device=DeviceId(bytes(16)),
    decided_on=EpochId(b"e"),
    author=Incarnation(bytes(32)),
)


def test_what_is_as_large_as_can_be_is_good() -> None:
    check(
        replace(
            PLAIN,
            term=MAX_TERM,
            fetches=MAX_TERM,
            tries=MAX_TRIES,
            made=(EpochId(b"e"),) * MAX_MADE,
            targets=(Incarnation(bytes(32)),) * MAX_WHO,
            dead=(Incarnation(bytes(32)),) * MAX_WHO,
            greeting="a" * MAX_GREETING,
        )
    )
    assert taken_over(replace(PLAIN, term=MAX_TERM), PLAIN.device, 1).term == MAX_TERM


@pytest.mark.parametrize(
    "parts",
    [
        {"intent": IntentId(b"short")},
        {"origin": DeviceId(b"short")},
        {"device": DeviceId(b"")},
        {"author": Incarnation(b"short")},
        {"account": AccountId(b"short")},
        {"fingerprint": b"short"},
        {"targets": (Incarnation(b"short"),)},
        {"dead": (Incarnation(b"short"),)},
        {"term": MAX_TERM + 1},
        {"fetches": MAX_TERM + 1},
        {"tries": MAX_TRIES + 1},
        {"made": (EpochId(b"e"),) * (MAX_MADE + 1)},
        {"targets": (Incarnation(bytes(32)),) * (MAX_WHO + 1)},
        {"dead": (Incarnation(bytes(32)),) * (MAX_WHO + 1)},
        {"greeting": "a" * (MAX_GREETING + 1)},
        {"reply": TopicSecret(bytes(32))},
        {"policy": Policy(), "was": Policy()},
        {"kind": Kind.POLICY, "policy": Policy()},
        {"kind": Kind.POLICY, "policy": Policy(), "was": Policy(mode=Mode.LEAD)},
        {"kind": Kind.INVITE, "reply": TopicSecret(bytes(32))},
        {"kind": Kind.INVITE, "account": AccountId(bytes(32)), "reply": TopicSecret(b"short")},
    ],
    ids="-".join,
)
def test_what_no_honest_device_makes_is_refused(parts: dict[str, Any]) -> None:
    check(PLAIN)
    with pytest.raises(Malformed):
        check(replace(PLAIN, **parts))


@pytest.mark.parametrize("record", [siblings.IntentMade, siblings.LeftAlone])
def test_no_record_carries_what_no_honest_device_makes(
    record: type[siblings.IntentMade | siblings.LeftAlone],
) -> None:
    good = record(intent=replace(PLAIN, kind=Kind.DEPART))
    assert siblings.unpack(siblings.pack(good)) == good
    with pytest.raises(Malformed):
        siblings.unpack(siblings.pack(record(intent=replace(good.intent, term=(1 << 64) - 1))))
