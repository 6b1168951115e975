"""Several devices overrule their delegates, without the recovery phrase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.vcd.core.homes import TEA, device, devices_of, fates, here, home, link, listed, say
from tests.vcd.core.village import Village
from vcd.core import events, inputs, listing, overruling
from vcd.core.accounts import overrule as rules
from vcd.core.accounts.device_list import DAY, Policy
from vcd.core.accounts.identity import RecoverySeed, RootKey, root_key
from vcd.core.accounts.shares import seal_of
from vcd.core.errors import Misuse, Refused
from vcd.core.founding import new_account
from vcd.core.names import IntentId
from vcd.core.siblings import OverrulePart, OverruleTold, Told
from vcd.core.turn import Turn

PHRASE = RecoverySeed(b"s" * 32)
RULES = Policy(overrulers=2, overrule_delay=DAY)
ALL = ("laptop", "phone", "tablet")
WISH = IntentId(b"overrule".ljust(16))


def root(village: Village) -> RootKey:
    return root_key(village.world("laptop").suite(1), PHRASE)[0]


def family(rules: Policy | None = RULES) -> Village:
    """A laptop that is the delegate, a phone and a tablet; any two overrule it."""
    village = Village()
    provider = village.world("laptop")
    village.move_in("laptop", provider, new_account(provider, PHRASE, "laptop", village.now, village.config))
    village.do("laptop", inputs.Open(conversation=TEA))
    for name in ("phone", "tablet"):
        link(village, "laptop", name)
    if rules is not None:
        village.do("laptop", inputs.SetRules(intent=IntentId(b"rules".ljust(16)), root=root(village), rules=rules))
        village.wait(minutes=2)
    return village


def ask(village: Village, *stay: str, by: str = "phone", intent: IntentId = WISH) -> None:
    names = tuple(device(village, name) for name in stay)
    village.do(by, inputs.Overrule(intent=intent, stay=names, delegates=(device(village, by),)))


def consent(village: Village, name: str) -> None:
    asked = village.told(name, events.OverruleAsked)[-1]
    village.do(name, inputs.Countersign(device=asked.device, digest=asked.digest))


def delegates(village: Village, name: str) -> list[str]:
    found = {entry.device for entry in listing.of_group(here(village, name).group).devices.delegates}
    return [each for each in village.devices if device(village, each) in found]


def test_rules_of_the_root_come_to_stand_and_every_device_has_its_part() -> None:
    village = family()
    assert fates(village, "laptop", IntentId(b"rules".ljust(16))) == [True]
    edition = listing.of_group(here(village, "tablet").group)
    assert edition.devices.policy == RULES
    seals = {each.device: each.seal for each in edition.devices.overrulers}
    for name in ALL:
        part = village.state(name).household.part
        assert part is not None
        assert seal_of(part) == seals[device(village, name)]
        assert not village.state(name).household.dealt
    assert delegates(village, "phone") == ["laptop"]
    link(village, "laptop", "watch")
    assert village.state("watch").household.part is None


def test_two_of_three_shut_out_the_delegate_after_the_delay() -> None:
    village = family()
    stolen = device(village, "laptop")
    ask(village, "phone", "tablet")
    [asked] = village.told("tablet", events.OverruleAsked)
    assert (asked.device, asked.lacks, asked.signed) == (device(village, "phone"), 1, (device(village, "phone"),))
    assert set(asked.stay) == {device(village, name) for name in ("phone", "tablet")}
    village.wait(hours=30)
    assert delegates(village, "phone") == ["laptop"], "one alone cannot"
    consent(village, "tablet")
    assert [each.lacks for each in village.told("phone", events.OverruleAsked)] == [1, 0]
    village.wait(hours=23)
    assert delegates(village, "phone") == ["laptop"], "each waits before it gives its part away"
    village.wait(hours=2)
    for name in ("phone", "tablet"):
        assert devices_of(village, name) == listed(village, name) == {device(village, n) for n in ("phone", "tablet")}
        assert listing.of_group(here(village, name).group).devices.revoked(stolen) is not None
        assert home(village, name).head == home(village, name).final
        assert village.state(name).household.part is None
        assert not village.state(name).household.asked
        assert not village.told(name, events.Warned)
    assert fates(village, "phone", WISH) == [True]
    assert village.state("laptop").home is None
    say(village, "tablet", b"it is gone")
    assert village.said("phone")[-1] == b"it is gone"
    assert village.said("laptop")[-1:] != [b"it is gone"]
    link(village, "phone", "watch")
    assert device(village, "watch") in devices_of(village, "tablet")


def test_others_are_named_and_nobody_goes() -> None:
    village = family()
    ask(village, *ALL)
    consent(village, "tablet")
    village.wait(hours=25)
    for name in ALL:
        assert delegates(village, name) == ["phone"]
        assert len(devices_of(village, name)) == 3
        assert home(village, name).head == home(village, name).final
    assert fates(village, "phone", WISH) == [True]
    assert village.state("laptop").household.delegate is None
    link(village, "phone", "watch")
    with pytest.raises(Misuse, match="recovery phrase"):
        ask(village, *ALL, intent=IntentId(b"again".ljust(16)))


def test_without_rules_for_it_or_a_part_nobody_overrules() -> None:
    village = family(None)
    with pytest.raises(Misuse, match="recovery phrase"):
        ask(village, "phone", "tablet")
    village = family()
    link(village, "laptop", "watch")
    with pytest.raises(Misuse, match="no part"):
        ask(village, "watch", "tablet", by="watch")
    with pytest.raises(Misuse, match="does not ask"):
        village.do("tablet", inputs.Countersign(device=device(village, "phone"), digest=b"what"))


def test_the_root_may_speak_while_they_wait() -> None:
    village = family()
    ask(village, "phone", "tablet")
    consent(village, "tablet")
    village.wait(hours=12)
    again = replace(RULES, overrulers=3)
    village.do("laptop", inputs.SetRules(intent=IntentId(b"more".ljust(16)), root=root(village), rules=again))
    village.wait(hours=24)
    assert [each.reason for each in village.told("phone", events.IntentFate) if each.intent == WISH] == ["other-rules"]
    for name in ALL:
        assert listing.of_group(here(village, name).group).devices.policy == again
        assert not village.state(name).household.asked


def test_what_is_asked_for_last_counts_and_what_is_asked_twice_once() -> None:
    village = family()
    ask(village, "phone", "tablet")
    ask(village, "phone", "tablet")
    assert len(village.told("tablet", events.OverruleAsked)) == 1
    first = village.told("tablet", events.OverruleAsked)[0].digest
    later = IntentId(b"later".ljust(16))
    ask(village, *ALL, intent=later)
    with pytest.raises(Misuse, match="does not ask"):
        village.do("tablet", inputs.Countersign(device=device(village, "phone"), digest=first))
    consent(village, "tablet")
    consent(village, "tablet")
    village.wait(hours=25)
    assert len(devices_of(village, "tablet")) == 3
    assert (fates(village, "phone", WISH), fates(village, "phone", later)) == ([False], [True])


def test_a_device_that_was_off_gives_its_part_when_it_is_back() -> None:
    village = family()
    ask(village, "phone", "tablet")
    consent(village, "tablet")
    village.down("tablet")
    village.wait(hours=30)
    assert delegates(village, "phone") == ["laptop"]
    village.restart("tablet")
    village.wait(minutes=30)
    assert delegates(village, "phone") == delegates(village, "tablet") == ["phone"]


def test_others_warn_of_a_list_that_is_not_what_they_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    village = family()
    really = rules.carry_out

    def otherwise(provider: Any, wanted: rules.Overrule, edition: Any, parts: Any) -> Any:
        more = replace(wanted, stay=tuple(replace(each, delegate=True) for each in wanted.stay))
        monkeypatch.setattr(rules, "check_overrule", lambda *_: 0)
        return really(provider, more, edition, parts)

    ask(village, *ALL)
    consent(village, "tablet")
    monkeypatch.setattr(rules, "carry_out", otherwise)
    village.wait(hours=25)
    assert "overruled-otherwise" in [each.code for each in village.told("tablet", events.Warned)]


def refused(village: Village, name: str, what: Callable[[Turn], None]) -> str:
    owner = village.devices[name]
    with pytest.raises(Refused) as caught:
        what(Turn(owner.state, village.now, owner.provider))
    return caught.value.rule


def test_what_siblings_make_up_is_refused() -> None:
    village = family()
    ask(village, "phone", "tablet")
    known = village.state("tablet").household.asked[device(village, "phone")].overrule
    told = Told(device=device(village, "laptop"), epoch=home(village, "tablet").head, newest=b"")
    unsigned = OverruleTold(overrule=replace(known, signatures=()))
    assert refused(village, "tablet", lambda turn: overruling.on_told(turn, told, unsigned)) == "no-overruler"
    part = OverrulePart(device=device(village, "phone"), digest=known.digest, kem=b"k" * 32, sealed=b"s" * 48)
    assert refused(village, "phone", lambda turn: overruling.on_part(turn, told, part)) == "overrule-parts"
