"""Terms that begin where others do not hear of it: on two devices at once, or on one that is lost before they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core.branches import sent
from tests.vcd.core.company import step
from tests.vcd.core.homes import appoint, delegates, device, devices_of, fates, link, listed, root, say
from tests.vcd.core.people import TEA, befriend, members, open_talk
from tests.vcd.core.village import Village
from vcd.core import contacts, desync, events, inputs
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.device_list import Edition, Policy
from vcd.core.accounts.editions import NewDevice, found, new_term, refresh
from vcd.core.accounts.head import check, check_next, contradiction
from vcd.core.accounts.identity import AccountKey
from vcd.core.names import IntentId
from vcd.core.payloads import HeadPlea, Want
from vcd.core.policy import MINUTE


def edition(v: Village, name: str) -> Edition:
    found = v.state(name).book.edition
    assert found is not None
    return found


def warned(v: Village, *names: str) -> list[str]:
    return [each.code for name in names for each in v.told(name, events.Warned)]


def remove_with_phrase(v: Village, by: str, name: str) -> IntentId:
    intent = IntentId(b"phrase" + device(v, name)[:10])
    v.do(by, inputs.RemoveDevice(intent=intent, device=device(v, name), root=root(v, by)))
    return intent


def talking(*several: str) -> Village:
    """Anna's devices, all but the tablet delegates, in a conversation with Ben and Cleo."""
    v = Village()
    delegates(v, *(each for each in several if each != "tablet"))
    for name in several:
        if name == "tablet":
            link(v, several[0], name)
    for name in ("ben", "cleo"):
        v.account(name)
    befriend(v, several[0], "ben", "cleo")
    open_talk(v, several[0], "ben", "cleo")
    v.wait(minutes=5)
    return v


def shown(v: Village, name: str) -> int:
    """The term that Anna's leaf shows."""
    here = v.state(name).strands[TEA].here
    assert here is not None
    own = edition(v, "laptop").account
    heads = [head_of(node.credential) for _, node in here.group.members]
    return next(each.authority.term for each in heads if each is not None and each.account == own)


def spoken(v: Village, name: str) -> None:
    """Anna says something there, and all others hear it."""
    text = b"it is me on " + name.encode()
    say(v, name, text, TEA)
    v.wait(minutes=5)
    for other in ("ben", "cleo"):
        assert text in v.said(other)


# ---------------------------------------------------------------- at once


def test_of_two_terms_that_begin_apart_the_later_one_is_above() -> None:
    """And whom the other one shut out goes all the same."""
    v = talking("laptop", "phone", "tablet")
    gone = device(v, "tablet")
    v.part(["laptop"], ["phone", "tablet", "ben", "cleo"])
    intent = remove_with_phrase(v, "laptop", "tablet")
    v.wait(minutes=5)
    appoint(v, "phone", "laptop", "phone")
    v.wait(minutes=5)
    one, other = edition(v, "laptop").head, edition(v, "phone").head
    assert contradiction(one, other) is None
    check_next(one, other)
    v.heal()
    v.wait(hours=2)
    for name in ("laptop", "phone"):
        assert gone not in devices_of(v, name)
        assert gone not in listed(v, name)
        assert edition(v, name).head.authority.digest == other.authority.digest
    assert fates(v, "laptop", intent) == [True]
    assert v.state("tablet").home is None
    assert not warned(v, "laptop", "phone", "ben", "cleo")
    for name in ("laptop", "phone"):
        spoken(v, name)


def test_a_term_is_numbered_by_the_clock_unless_the_last_one_is_ahead_of_it() -> None:
    v = Village()
    delegates(v, "laptop")
    first = edition(v, "laptop").head.authority.term
    assert v.now // MINUTE - 10 < first <= v.now // MINUTE
    for number in range(20):
        rules = inputs.SetRules(intent=IntentId(bytes([number]) * 16), root=root(v, "laptop"), rules=Policy())
        v.do("laptop", rules)
        v.wait(seconds=2)
    assert edition(v, "laptop").head.authority.term >= first + 20


# ---------------------------------------------------------------- begun, shown, and lost


def lost_term(*several: str) -> Village:
    """The last of these has begun a term and shown it, and is lost; the others have not heard of it."""
    v = talking(*several)
    rest, last = several[:-1], several[-1]
    v.part(list(rest), [last, "ben", "cleo"])
    appoint(v, last, *several)
    v.wait(minutes=5)
    assert shown(v, "ben") == edition(v, last).head.authority.term > edition(v, rest[0]).head.authority.term
    v.devices[last].up = False
    v.heal()
    return v


def test_who_cannot_speak_as_a_lost_device_has_shown_a_newer_list_is_told_so() -> None:
    v = lost_term("laptop", "phone", "desk")
    v.wait(hours=4)
    for name in ("laptop", "phone"):
        assert v.state(name).strands[TEA].here is None
        assert [(each.code, each.group) for each in v.told(name, events.Warned)] == [("newer-list", TEA)]


@pytest.mark.parametrize("removed", [True, False])
def test_with_the_phrase_the_account_comes_back_above_the_list_that_is_lost(removed: bool) -> None:
    """Whether the lost device is removed, or somebody types the phrase as they are told of the newer list."""
    v = lost_term("laptop", "phone", "desk")
    v.wait(minutes=30)
    before = shown(v, "ben")
    if removed:
        remove_with_phrase(v, "phone", "desk")
    else:
        appoint(v, "phone", "laptop", "phone")
    v.wait(hours=6)
    assert shown(v, "ben") == shown(v, "cleo") == edition(v, "laptop").head.authority.term > before
    for name in ("laptop", "phone"):
        spoken(v, name)
    assert "second-list" not in warned(v, "laptop", "phone", "ben", "cleo")


def test_among_two_members_the_account_comes_back_with_its_persons_consent() -> None:
    v = Village()
    delegates(v, "laptop", "phone")
    v.account("ben")
    befriend(v, "laptop", "ben")
    open_talk(v, "laptop", "ben")
    v.wait(minutes=5)
    v.part(["laptop"], ["phone", "ben"])
    appoint(v, "phone", "phone", "laptop")
    v.wait(minutes=5)
    v.devices["phone"].up = False
    v.heal()
    v.wait(minutes=30)
    remove_with_phrase(v, "laptop", "phone")
    v.wait(hours=2)
    if v.state("laptop").strands[TEA].here is None:
        v.do("laptop", inputs.ComeBack(group=TEA))
    v.wait(hours=2)
    say(v, "laptop", b"it is me", TEA)
    v.wait(minutes=5)
    assert b"it is me" in v.said("ben")


# ---------------------------------------------------------------- who is shown the way


def head_plea() -> tuple[Village, HeadPlea]:
    """What the account asks with, while nobody answers."""
    v = lost_term("laptop", "phone", "desk")
    v.wait(minutes=30)
    v.part(["laptop", "phone"], ["ben", "cleo"])
    remove_with_phrase(v, "laptop", "desk")
    v.wait(hours=6)
    pleas = [want.plea for _, want in sent(v, Want) if isinstance(want.plea, HeadPlea)]
    assert pleas
    return v, pleas[-1]


def hears(v: Village, plea: HeadPlea, name: str = "ben") -> bool:
    return step(v, name, lambda turn: desync.heard(turn, turn.strand(TEA), plea))


def signed(v: Village, plea: HeadPlea, by: AccountKey, **changed: object) -> HeadPlea:
    """The same with something else in it, and signed with that key."""
    after = replace(plea, **changed)  # type: ignore[arg-type]
    return step(v, "ben", lambda turn: desync._under_head(turn, TEA, after.member, after.key, after.head, by))


def test_only_the_account_itself_is_heard() -> None:
    v, plea = head_plea()
    account_key = v.state("laptop").household.account_keys[plea.head.signing_key]
    assert hears(v, plea)
    assert hears(v, signed(v, plea, account_key, key=b"k" * 32))
    assert not hears(v, replace(plea, key=b"k" * 32))
    assert not hears(v, replace(plea, signature=bytes(64)))
    cleo = next(each for each in members(v, "ben") if each.account == v.own("cleo"))
    assert not hears(v, signed(v, plea, account_key, member=cleo.incarnation))
    forged = replace(plea.head, signature=bytes(64))
    assert not hears(v, signed(v, plea, account_key, head=forged))


def test_a_device_that_is_shut_out_is_not_heard_under_the_lists_that_it_has() -> None:
    """Nor under one that it makes: the delegates' key of its term is all that it signs with."""
    v, plea = head_plea()
    own = v.state("desk").household.made
    assert own is not None
    last = v.state("desk").household.account_keys[own.head.signing_key]
    assert shown(v, "ben") == own.head.authority.term
    assert not hears(v, signed(v, plea, last, head=own.head))
    assert not hears(v, signed(v, plea, last))
    v.heal()
    v.wait(hours=2)
    assert shown(v, "ben") == plea.head.authority.term
    delegate = v.state("desk").household.delegate
    assert delegate is not None
    made = refresh(v.devices["desk"].provider, own, delegate).edition
    assert not hears(v, signed(v, plea, last, head=made.head))


def test_a_list_that_is_superseded_or_contradicts_the_one_that_is_shown_is_not_heard() -> None:
    v, plea = head_plea()
    provider, me = v.devices["laptop"].provider, v.state("laptop").me
    key = v.devices["laptop"].provider.suite(1).scheme.public_key(me.signature_private)
    new = NewDevice(device=me.device, key=key, name="laptop")
    beside = found(provider, root(v, "laptop"), new, term=shown(v, "ben"))
    assert beside.delegate is not None
    assert beside.signing is not None
    after = refresh(provider, beside.edition, beside.delegate).edition
    assert not hears(v, signed(v, plea, beside.signing, head=after.head))
    above = new_term(provider, root(v, "laptop"), edition(v, "laptop"), delegates=[me.device])
    assert hears(v, plea)
    step(v, "ben", lambda turn: contacts.learn(turn, check(above.edition.head, turn.provider)))
    assert not hears(v, plea)
