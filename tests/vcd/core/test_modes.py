"""Every mode carries a conversation of three people through commits at once: to one head, with every message once."""

from __future__ import annotations

import pytest

from tests.vcd.core.people import TEA, accounts, fates, friends, intent, invite, open_talk, together
from tests.vcd.core.talking import heard, say
from tests.vcd.core.village import Village
from vcd.core import events, inputs, sessions
from vcd.core.policy import Mode
from vcd.core.turn import Turn

PEOPLE = ("anna", "ben", "cleo")
MODES = list(Mode)


def agreed(village: Village, mode: Mode, names: tuple[str, ...] = PEOPLE) -> bool:
    """Whether all stand at one place with the same members."""
    everybody = {village.own(name) for name in names}
    if mode is not Mode.DIMLS:
        return together(village, *names) and all(accounts(village, name) == everybody for name in names)
    for name in names:
        session = village.state(name).sessions[TEA]
        if set(sessions.accounts(session).values()) != everybody or session.unjoined:
            return False
    return True


def at_once(village: Village, *given: tuple[str, inputs.Input]) -> None:
    """Several do something before any of them hears of the others."""
    for name, what in given:
        village.step(name, what)
    village.deliver()


@pytest.mark.parametrize("mode", MODES)
def test_a_conversation_of_three(mode: Mode) -> None:
    v = friends(*PEOPLE)
    open_talk(v, *PEOPLE, mode=mode)
    assert agreed(v, mode)
    refreshes = [(name, inputs.Refresh(intent=intent(f"{name} 1"), conversation=TEA)) for name in PEOPLE]
    said = [(name, inputs.Say(conversation=TEA, nonce=intent(f"{name} says"), data=name.encode())) for name in PEOPLE]
    at_once(v, *refreshes, *said)
    v.wait(minutes=30)
    for name in PEOPLE:
        say(v, name, f"{name} again")
    v.wait(minutes=30)
    assert agreed(v, mode)
    wanted = sorted([*PEOPLE, *[f"{name} again" for name in PEOPLE]])
    for name in PEOPLE:
        assert sorted(heard(v, name)) == wanted
        mine = [each.fate for each in v.told(name, events.MessageFate)]
        assert mine.count(events.Fate.CONFIRMED) == 2
    stands = [fates(v, name)[intent(f"{name} 1")].stands for name in PEOPLE]
    assert stands == [True, True, True]


@pytest.mark.parametrize("mode", MODES)
def test_a_conversation_that_was_split(mode: Mode) -> None:
    v = friends(*PEOPLE)
    open_talk(v, *PEOPLE, mode=mode)
    v.part(["anna", "ben"], ["cleo"])
    for name in PEOPLE:
        v.do(name, inputs.Refresh(intent=intent(f"{name} 1"), conversation=TEA))
        say(v, name, f"{name} during")
    v.wait(minutes=10)
    v.heal()
    v.wait(minutes=30)
    for name in PEOPLE:
        say(v, name, f"{name} after")
    v.wait(minutes=30)
    assert agreed(v, mode)
    wanted = sorted([*[f"{name} during" for name in PEOPLE], *[f"{name} after" for name in PEOPLE]])
    for name in PEOPLE:
        assert sorted(heard(v, name)) == wanted


@pytest.mark.parametrize("mode", MODES)
def test_somebody_comes_and_somebody_goes_at_once(mode: Mode) -> None:
    v = friends(*PEOPLE, "dora", "emil")
    open_talk(v, *PEOPLE, "dora", mode=mode)
    v.step("anna", inputs.Remove(intent=intent("remove"), conversation=TEA, account=v.own("dora")))
    invite(v, "cleo", "emil", name="bring")
    v.wait(minutes=30)
    names = (*PEOPLE, "emil")
    assert agreed(v, mode, names)
    assert fates(v, "anna")[intent("remove")].stands
    assert fates(v, "cleo")[intent("bring")].stands
    say(v, "emil", "good evening")
    v.wait(minutes=10)
    for name in names:
        assert "good evening" in heard(v, name)
    assert "good evening" not in heard(v, "dora")
    assert v.told("dora", events.Gone)


def test_the_modes_do_not_share_handlers_by_mistake() -> None:
    v = friends("anna")
    for mode in Mode:
        group = type(TEA)(mode.name.encode())
        v.do("anna", inputs.Open(conversation=group, mode=mode))
        state = v.state("anna")
        assert state.talks[group].mode is mode
        assert (group in state.strands) is (mode is not Mode.DIMLS)
        assert (group in state.sessions) is (mode is Mode.DIMLS)
        turn = Turn(state, v.now, v.devices["anna"].provider)
        assert sessions.is_here(turn, group) is (mode is Mode.DIMLS)
