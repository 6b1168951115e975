"""What handlers have at hand, and how one of them changes something, once.

A call that changes something may come again with the same `request_id`, because its answer got lost. So the answer is
stored by the very transaction that carries it out (`change`), and the server looks there first. What the node is given
is named by the same id where it names things itself (`Desk.name`), so that also a call that was carried out before its
answer could be stored does nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from mls.provider import Provider
from vcd.core import inputs, labels
from vcd.core.errors import Misuse
from vcd.core.events import Event
from vcd.core.names import AccountId, GroupId, IntentId
from vcd.core.state import State, Talk
from vcd.core.wanting import Invitation, Stage
from vcd.daemon import facts, removal
from vcd.daemon.facts import Changes, Facts
from vcd.daemon.owner import Answer, Become, Done, Owner
from vcd.daemon.trust import Trust
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure, refused
from vcd.rpc.values import Begun, Result
from vcd.store.store import Store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import NewEntry, NewRequest, TooManyConsumers

R = TypeVar("R", bound=Result)
PAGE = 3 << 20
"""Bytes of a page of results: with what is around it, that fits into a message."""

Makes = Callable[[State, tuple[Event, ...], int], R]
"""The result of a command: from the state after it, its events, and the number of the first entry that it made."""


def invitation(state: State, chat: bytes) -> Invitation | None:
    """Into a chat, that waits for the user's answer."""
    found = state.invitations.find(chat)
    return found if found is not None and found.stage is Stage.ANSWER else None


def _same(result: R) -> R:
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What there is."""

    owner: Owner
    store: Store
    now_ms: Callable[[], int]
    random: Callable[[int], bytes]
    dispensers: Callable[[], tuple[bytes, ...]]
    """Where our KeyPackages are to be had, as a card has it."""
    provider: Provider
    trust: Trust = field(default_factory=Trust)
    """What is made of the certificates that people show."""

    @property
    def state(self) -> State:
        return self.owner.look()

    @property
    def facts(self) -> Facts:
        return self.owner.facts

    def title(self, chat: bytes) -> str:
        """What a chat is called here."""
        return labels.text(self.state, chat) or facts.text(self.facts, facts.title(chat))

    def called(self) -> str:
        """What our card suggests to call us."""
        return labels.text(self.state, labels.ACCOUNT) or facts.text(self.facts, facts.CALLED)

    def own(self) -> AccountId:
        own = self.state.book.own
        if own is None or self.state.home is None:
            raise self.homeless()
        return own

    def homeless(self) -> Failure:
        """That there is no account here, and why."""
        removed = facts.removed_of(self.facts)
        data = {"removed": None if removed is None else removed.at}
        return Failure("E_NO_ACCOUNT", removal.why(self.facts) or None, data=data)

    def reads(self) -> None:
        """That there is an account, or at least what was said in the chats of one that this device was removed from."""
        if facts.removed_of(self.facts) is None or not any(facts.of(self.facts, facts.PAST)):
            self.own()

    def talk(self, chat: bytes) -> Talk:
        self.own()
        talk = self.state.talks.find(GroupId(chat))
        if talk is None:
            raise self.not_in(chat)
        return talk

    def history_of(self, chat: bytes) -> None:
        """That there is, or was, a chat of that name, with messages of it."""
        self.reads()
        if GroupId(chat) not in self.state.talks and facts.past_of(self.facts, chat) is None:
            raise self.not_in(chat)

    def not_in(self, chat: bytes) -> Failure:
        """Why there is nothing to do in a chat that we are not in: it may be listed all the same."""
        if invitation(self.state, chat) is not None:
            return Failure("E_NOT_MEMBER", "We are invited to it and have not answered: accept that first.")
        if facts.past_of(self.facts, chat) is not None:
            text = "It is one of before, of which this device has no keys any more: somebody has to invite us anew."
            return Failure("E_NOT_MEMBER", text)
        return Failure("E_CHAT_UNKNOWN")

    def name(self, call: Call) -> bytes:
        """Sixteen bytes by which the node knows what this call wants."""
        return call.request_id or self.random(16)

    async def change(
        self,
        call: Call,
        command: inputs.Input | None,
        makes: Makes[R],
        *,
        become: Become | None = None,
        entries: Sequence[NewEntry] = (),
        keep: Changes | None = None,
        again: Callable[[R], R] = _same,
    ) -> R:
        """Carry out a command; what it gives is stored with it, should the same request come again (`again` of it)."""

        async def carry_out(answer: Answer | None) -> Done:
            if become is not None:
                return await self.owner.become(become, answer=answer, entries=entries, keep=keep)
            return await self.owner.do(command, answer=answer, entries=entries, keep=keep)

        request = call.request_id
        if request is None:
            done = await carry_out(None)
            return makes(done.state, done.events, done.seqs[0] if done.seqs else 0)
        made: list[R] = []

        def answer(state: State, events: tuple[Event, ...], seq: int) -> NewRequest:
            made.append(makes(state, events, seq))
            data: Any = msgspec.to_builtins(again(made[-1]), builtin_types=(bytes,))
            return NewRequest(id=request, method=call.method, digest=call.digest, result=data, at_ms=self.now_ms())

        await carry_out(answer)
        return made[-1]

    async def begin(self, call: Call, command: Callable[[IntentId], inputs.Input]) -> Begun:
        """Carry out a command that goes on by itself, under a name."""
        action = self.name(call)
        return await self.change(call, command(IntentId(action)), lambda *_: Begun(action=action))


_STORE = {
    Trouble.FULL: "E_STORE_FULL",
    Trouble.READ_ONLY: "E_STORE_READ_ONLY",
    Trouble.CORRUPT: "E_STORE_DAMAGED",
}


def failures(error: Exception) -> Failure | None:
    """What a caller is told of what the node and the store raise; None for what is a bug."""
    match error:
        case Misuse():
            return refused(error.code, str(error))
        case StoreTrouble() if error.code is Trouble.CLOSED:
            return Failure("E_STOPPING", "The daemon closes its state just now.", data={"state": "stopping"})
        case StoreTrouble() if error.code is Trouble.NEWER:
            return Failure("E_STORE_NEWER", f"{error.reason}. {error.hint}", data={"version": error.writer})
        case StoreTrouble():
            return Failure(_STORE.get(error.code, "E_STORE_DAMAGED"), str(error))
        case TooManyConsumers():
            return Failure("E_CONSUMERS", str(error))
        case _:
            return None
