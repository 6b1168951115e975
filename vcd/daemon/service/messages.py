"""msg.*: said, kept, and given back to be decided on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.core import events, inputs
from vcd.core.names import ContentId, GroupId
from vcd.core.state import State
from vcd.daemon.desk import PAGE, Desk
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import msg
from vcd.rpc.values import Done
from vcd.store.values import ChatMessage, DeleteMessage


async def send(desk: Desk, call: Call, given: msg.Send) -> msg.Sent:
    desk.talk(given.chat)
    chat, nonce = GroupId(given.chat), desk.name(call)
    command = inputs.Say(conversation=chat, nonce=nonce, data=given.data, media=given.media)

    def makes(state: State, told: tuple[events.Event, ...], seq: int) -> msg.Sent:
        said = next((each for each in told if isinstance(each, events.Message) and each.ours), None)
        if said is not None:
            return msg.Sent(msg=said.content, seq=seq, at=state.clock.now)
        known = state.talks[chat].nonces.find(nonce)  # it was said before, and its first answer is forgotten
        return msg.Sent(msg=known or bytes(32), seq=0, at=state.clock.now)

    sent = await desk.change(call, command, makes)
    if sent.seq:
        return sent
    kept = await desk.store.history.find(chat, sent.msg)
    return sent if kept is None else msg.Sent(msg=sent.msg, seq=kept.seq, at=kept.at_ms)


async def list_(desk: Desk, call: Call, given: msg.MsgList) -> msg.Messages:
    del call
    desk.history_of(given.chat)
    page = await desk.store.history.list(given.chat, before=given.before, after=given.after, most=given.most)
    found: list[msg.Message] = []
    room = PAGE
    # What is nearest to where was asked from comes first into the page.
    nearest = page.messages if given.after is not None else list(reversed(page.messages))
    for each in nearest:
        room -= len(each.data) + 512
        if found and room < 0:
            break
        found.append(_message(each))
    found.sort(key=lambda each: each.seq)
    return msg.Messages(messages=found, more=page.more or len(found) < len(page.messages))


def _message(kept: ChatMessage) -> msg.Message:
    fate: Any = kept.fate
    return msg.Message(
        chat=kept.chat,
        msg=kept.content,
        seq=kept.seq,
        at=kept.at_ms,
        sender=kept.sender,
        ours=kept.ours,
        device=kept.device,
        said_at=kept.said_at,
        after=[],
        data=kept.data,
        media=kept.media,
        relayed=False,
        fate=fate,
    )


async def get(desk: Desk, call: Call, given: msg.WhichMessage) -> msg.Message:
    del call
    desk.history_of(given.chat)
    kept = await desk.store.history.find(given.chat, given.msg)
    if kept is None:
        raise Failure("E_MSG_UNKNOWN")
    return _message(kept)


async def delete(desk: Desk, call: Call, given: msg.Delete) -> msg.Deleted:
    """It is there no more, however often it is asked for: the answer need not be remembered."""
    del call
    desk.history_of(given.chat)
    there = await desk.store.history.find(given.chat, given.msg) is not None
    if there:
        await desk.store.history.delete([DeleteMessage(chat=given.chat, content=given.msg)])
    return msg.Deleted(deleted=there)


async def answer(desk: Desk, call: Call, given: msg.Answer) -> Done:
    desk.talk(given.chat)
    command = inputs.SayAgain(conversation=GroupId(given.chat), content=ContentId(given.msg), again=given.again)
    return await desk.change(call, command, lambda *_: Done())


HANDLERS: Mapping[str, Any] = {
    "msg.send": send,
    "msg.list": list_,
    "msg.get": get,
    "msg.delete": delete,
    "msg.answer": answer,
}
