"""What is answered of chats that one is in, was in, or is asked to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from tests.vcd.core.people import TEA, card, friends, invite, open_talk
from tests.vcd.core.village import Village
from tests.vcd.daemon.test_backup import CALL
from vcd.core import events, inputs
from vcd.core.names import GroupId, IntentId
from vcd.core.node import Outcome
from vcd.core.policy import Mode
from vcd.core.state import State
from vcd.daemon import facts
from vcd.daemon.desk import Desk
from vcd.daemon.facts import Facts
from vcd.daemon.service import chats, graph, messages
from vcd.daemon.telling import Told, tell_of
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import chat, msg
from vcd.rpc.values import Params

PAST = GroupId(b"p" * 32)


@dataclass
class Still:
    """An owner at whom one only looks."""

    state: State
    facts: Facts = field(default_factory=Facts)

    def look(self) -> State:
        return self.state


def desk_of(village: Village, name: str) -> Desk:
    nothing: Any = None
    past = facts.Past("demls", (bytes(village.own(name)),)).encode()
    owner = Still(village.state(name), facts.changed(Facts(), {facts.past(PAST): past}))
    return Desk(
        owner=cast("Any", owner),
        store=nothing,
        now_ms=lambda: village.now,
        random=bytes,
        dispensers=tuple,
        provider=village.devices[name].provider,
    )


def asked() -> Village:
    """Ben is invited by somebody whom he does not know."""
    village = friends("ben")
    village.account("mallory")
    village.do("mallory", inputs.AddContact(card=card(village, "ben"), petname="ben"))
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    assert village.told("ben", events.Invited)[-1].asks
    return village


IN_IT: dict[str, Params] = {
    "msg.send": msg.Send(chat=TEA, data=b"hello", request_id=bytes(16)),
    "chat.leave": chat.ThisChat(chat=TEA),
    "chat.rotate": chat.ThisChat(chat=TEA),
    "chat.graph": chat.GraphOf(chat=TEA),
}
TOLD: dict[str, Params] = {
    "msg.list": msg.MsgList(chat=TEA),
    "msg.get": msg.WhichMessage(chat=TEA, msg=bytes(32)),
    "msg.delete": msg.Delete(chat=TEA, msg=bytes(32)),
}
HANDLERS = {**chats.HANDLERS, **messages.HANDLERS, "chat.graph": graph.graph}


@pytest.mark.parametrize("method", [*IN_IT, *TOLD])
async def test_where_one_is_invited_there_is_a_chat_and_the_answer_comes_first(method: str) -> None:
    desk = desk_of(asked(), "ben")
    with pytest.raises(Failure, match=r"E_NOT_MEMBER.*accept"):
        await HANDLERS[method](desk, CALL, {**IN_IT, **TOLD}[method])


@pytest.mark.parametrize("method", list(IN_IT))
async def test_where_one_was_before_the_recovery_there_was_a_chat(method: str) -> None:
    desk = desk_of(asked(), "ben")
    with pytest.raises(Failure, match=r"E_NOT_MEMBER.*invite us anew"):
        await HANDLERS[method](desk, CALL, msgspec.structs.replace(IN_IT[method], chat=PAST))


@pytest.mark.parametrize("method", [*IN_IT, *TOLD])
async def test_of_other_chats_nothing_is_known(method: str) -> None:
    desk = desk_of(asked(), "ben")
    with pytest.raises(Failure, match="E_CHAT_UNKNOWN"):
        await HANDLERS[method](desk, CALL, msgspec.structs.replace({**IN_IT, **TOLD}[method], chat=b"n" * 32))


@pytest.mark.parametrize("method", ["chat.accept", "chat.decline"])
async def test_who_is_not_asked_gives_no_answer(method: str) -> None:
    village = asked()
    for who, name in (("mallory", TEA), ("ben", PAST)):
        with pytest.raises(Failure, match="E_NOT_ASKED"):
            await HANDLERS[method](desk_of(village, who), CALL, chat.ThisChat(chat=name))


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.DIMLS])
def test_a_chat_is_left_or_removed_by_whoever_wanted_that(mode: Mode) -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", mode=mode)
    village.do("ben", inputs.Depart(intent=IntentId(b"b" * 16), conversation=TEA))
    village.wait(minutes=5)
    village.do("anna", inputs.Remove(intent=IntentId(b"a" * 16), conversation=TEA, account=village.own("cleo")))
    village.wait(minutes=5)
    for name, how in (("ben", "left"), ("cleo", "removed")):
        desk, told = desk_of(village, name), Told()
        gone = village.told(name, events.Gone)[-1]
        tell_of(desk.state, Outcome(state=desk.state, events=(gone,), effects=()), told)
        cast("Any", desk.owner).facts = facts.changed(desk.facts, told.keep)
        assert chats._line(desk, TEA).standing == how
