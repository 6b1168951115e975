"""What is kept, and told, on a device that was removed from its account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from tests.vcd.core.homes import link, remove, say
from tests.vcd.core.people import TEA, friends, open_talk
from tests.vcd.core.village import Village
from tests.vcd.daemon.test_backup import CALL
from tests.vcd.daemon.test_chats import Still
from vcd.core import inputs
from vcd.core.founding import blank
from vcd.core.policy import Mode
from vcd.core.state import State
from vcd.crypto import SystemProvider
from vcd.daemon import facts, health, removal
from vcd.daemon.desk import Desk
from vcd.daemon.facts import Facts, Past, Removed
from vcd.daemon.service import _ROOMS
from vcd.daemon.service.chats import MODE_NAMES
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import chat, msg
from vcd.rpc.table import FUNCTIONS

PROVIDER = SystemProvider()
HANDLERS = {name: handle for room in _ROOMS for name, handle in room.HANDLERS.items()}
READING = {"chat.list", "chat.get", "chat.set_retention", "msg.list", "msg.get", "msg.delete"}
"""What can be done without an account, where there are chats of before."""
HOMELESS = sorted(
    name for name, row in FUNCTIONS.items() if name in HANDLERS and "E_NO_ACCOUNT" in row.errors and name not in READING
)


def people() -> Village:
    """Ann has a laptop and a phone, and a chat with Ben."""
    village = friends("laptop", "ben")
    link(village, "laptop", "phone")
    open_talk(village, "laptop", "ben")
    village.do("laptop", inputs.Label(what=TEA, text="tea"))
    village.do("laptop", inputs.Label(what=b"", text="Ann"))
    village.wait(minutes=2)
    say(village, "laptop", b"tea at five?", TEA)
    village.wait(minutes=2)
    return village


def after(before: State, now: State, kept: Facts | None = None) -> Facts:
    kept = kept or Facts()
    return facts.changed(kept, removal.changes(before, now, kept.find(facts.REMOVED)))


def desk_of(state: State, kept: Facts) -> Desk:
    owner: Any = Still(state, kept)
    nothing: Any = None
    now = state.clock.now
    return Desk(owner=owner, store=nothing, now_ms=lambda: now, random=bytes, dispensers=tuple, provider=PROVIDER)


@pytest.fixture(scope="module")
def removed() -> tuple[Village, State, Facts]:
    """The phone was off while the laptop removed it, and has come back: with its state of before."""
    village = people()
    before = village.state("phone")
    village.down("phone")
    remove(village, "laptop", "phone")
    village.wait(minutes=10)
    village.restart("phone")
    village.wait(minutes=10)
    assert village.state("phone").book.own is None
    return village, before, after(before, village.state("phone"))


def test_it_keeps_that_it_was_removed_and_what_its_chats_were(removed: tuple[Village, State, Facts]) -> None:
    village, before, kept = removed
    own, ben = village.own("laptop"), village.own("ben")
    assert facts.removed_of(kept) == Removed(village.state("phone").clock.now, own)
    assert before.book.own == own
    past = facts.past_of(kept, TEA)
    assert past is not None
    assert past.mode == "demls"
    assert dict(zip(past.members, past.names, strict=True)) == {own: "Ann", ben: "ben"}
    assert facts.text(kept, facts.title(TEA)) == "tea"


def test_what_is_kept_is_told(removed: tuple[Village, State, Facts]) -> None:
    village, _, kept = removed
    [trouble] = health.node(village.state("phone"), 1, kept)
    assert (trouble.code, trouble.severity, trouble.command) == ("removed", "error", "vcd device join CODE")
    for words in ("It learned of that on 20", "Nothing is sent or received", "vcd chat list", "vcd init"):
        assert words in trouble.text


@pytest.mark.parametrize("method", HOMELESS)
async def test_who_asks_for_something_is_told_why_there_is_no_account(
    method: str, removed: tuple[Village, State, Facts]
) -> None:
    village, _, kept = removed
    with pytest.raises(Failure, match="E_NO_ACCOUNT: This device was removed from its account") as caught:
        await HANDLERS[method](desk_of(village.state("phone"), kept), CALL, FUNCTIONS[method].example[0])
    known = facts.removed_of(kept)
    assert known is not None
    assert caught.value.data == {"removed": known.at}


async def test_a_device_that_is_new_says_nothing_of_a_removal() -> None:
    state = blank(PROVIDER, "laptop")
    with pytest.raises(Failure, match="E_NO_ACCOUNT: This device has no account") as caught:
        desk_of(state, Facts()).reads()
    assert caught.value.data == {"removed": None}
    assert [each.code for each in health.node(state, 1, Facts())] == ["no-account"]


async def test_chats_of_before_can_be_looked_at(removed: tuple[Village, State, Facts]) -> None:
    village, _, kept = removed
    desk = desk_of(village.state("phone"), kept)
    found = await HANDLERS["chat.get"](desk, CALL, chat.WhichChat(chat=TEA))
    assert (found.title, found.standing, found.can_speak) == ("tea", "past", False)
    assert {(each.name, each.own) for each in found.members} == {("Ann", True), ("ben", False)}
    desk.history_of(TEA)
    with pytest.raises(Failure, match="E_CHAT_UNKNOWN"):
        await HANDLERS["msg.list"](desk, CALL, msg.MsgList(chat=b"n" * 32))


async def test_where_there_was_no_chat_nothing_can_be_read(removed: tuple[Village, State, Facts]) -> None:
    village, _, kept = removed
    nothing = Facts({facts.REMOVED: kept[facts.REMOVED]})
    with pytest.raises(Failure, match="removed from its account") as caught:
        await HANDLERS["chat.list"](desk_of(village.state("phone"), nothing), CALL, chat.ChatList())
    assert "chat list" not in caught.value.message


def test_one_that_is_on_knows_since_when_before_it_forgets() -> None:
    village = people()
    states = [village.state("phone")]
    remove(village, "laptop", "phone")
    kept, since = Facts(), None
    for _ in range(900):
        village.wait(seconds=1)
        states.append(village.state("phone"))
        kept = after(states[-2], states[-1], kept)
        if states[-1].household.gone:
            since = facts.removed_of(kept)
            assert since is not None
            assert "removed" in [each.code for each in health.node(states[-1], 1, kept)]
            assert facts.past_of(kept, TEA) is None
        if states[-1].book.own is None:
            break
    assert any(each.household.gone for each in states)
    assert facts.removed_of(kept) == since
    assert facts.past_of(kept, TEA) is not None


def test_one_that_is_in_again_was_not_removed() -> None:
    village = people()
    state = village.state("phone")
    gone = replace(state, household=replace(state.household, gone=True))
    kept = after(state, gone)
    assert facts.removed_of(kept) == Removed(state.clock.now, village.own("phone"))
    assert after(gone, state, kept) == Facts()


def test_an_account_ends_it_and_chats_stay(removed: tuple[Village, State, Facts]) -> None:
    village, before, kept = removed
    again = after(village.state("phone"), before, kept)
    assert facts.removed_of(again) is None
    assert facts.past_of(again, TEA) == facts.past_of(kept, TEA)
    assert "removed" not in [each.code for each in health.node(before, 1, again)]


def test_modes_are_called_as_the_socket_calls_them() -> None:
    assert {mode: mode.name.lower() for mode in Mode} == MODE_NAMES


def test_chats_of_earlier_versions_have_no_names() -> None:
    old = msgpack.packb(["ec1", [b"a" * 32]])
    past = facts.past_of(Facts({facts.past(TEA): old}), TEA)
    assert past == Past("ec1", (b"a" * 32,))
    assert past.name(0) == ""
