"""What the node tells, as apps are told it: entries of the journal, and what the history keeps of messages.

One function for each of the node's events (`_TELL`), each of which makes an entry that `vcd.rpc.table.EVENTS` has. What
the node has no event for because it is the same on whichever device it was asked for (who is a contact, what a device
is called, whether there is an account) is seen by comparing its state with the one before. The entries are stored with
the step that they came of, so each comes once, in order, and none without what it tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vcd.core import certificates, events, listing
from vcd.core.accounts.book import Contact
from vcd.core.labels import ACCOUNT
from vcd.core.node import Outcome
from vcd.core.state import Acceptance, State
from vcd.core.stored import Row
from vcd.core.wanting import Stage
from vcd.daemon import facts
from vcd.store.values import NewEntry, NewFate, NewMessage

FATES = {
    events.Fate.SENT: "sent",
    events.Fate.AGAIN: "rekeyed",
    events.Fate.CONFIRMED: "delivered",
    events.Fate.ASKS: "needs-attention",
    events.Fate.RETURNED: "failed",
}
"""As the history and the last part of `msg.*` events have them."""


@dataclass(slots=True)
class Told:
    """What a batch tells."""

    at_ms: int = 0
    entries: list[NewEntry] = field(default_factory=list)
    history: list[NewMessage | NewFate] = field(default_factory=list)
    keep: dict[Row, bytes | None] = field(default_factory=dict)
    """What the daemon keeps of it (`facts`)."""

    def add(self, entries: Sequence[NewEntry]) -> None:
        self.entries += entries

    def say(self, type_: str, data: dict[str, Any], chat: bytes | None = None) -> None:
        self.entries.append(NewEntry(at_ms=self.at_ms, type=type_, chat=chat, data=data))


@dataclass(frozen=True, slots=True)
class _Step:
    """What an event is told of."""

    before: State
    after: State
    told: Told

    def is_home(self, group: bytes | None) -> bool:
        return group is not None and group == self.after.home


def tell_of(before: State, outcome: Outcome, told: Told) -> None:
    """Add what a step tells."""
    told.at_ms = outcome.state.clock.now
    here = _Step(before, outcome.state, told)
    for event in outcome.events:
        _TELL[type(event)](here, event)
    if before.book is not outcome.state.book:
        _account(here)
        _people(here)
        _names(here)
    if before.household.labels is not outcome.state.household.labels and outcome.state.book.own is not None:
        _labels(here)  # they stay on a device that is removed, as what its chats were called (`removal`)
    if before.chains is not outcome.state.chains:
        _certificates(here)
    if before.invitations is not outcome.state.invitations:
        _answered(here)


# ---------------------------------------------------------------- what is seen by comparing


def called(contact: Contact) -> str:
    """What we call somebody: by our own name for them, else by the one that they suggest."""
    return contact.petname or ("" if contact.card is None else contact.card.name)


def _account(here: _Step) -> None:
    old, new = here.before.book.own, here.after.book.own
    if old == new:
        return
    edition = here.after.book.edition
    alone = edition is not None and len(edition.devices.devices) == 1
    anew = edition is not None and edition.head.authority.term > 0
    reason = "forgotten" if new is None else "joined" if not alone else "recovered" if anew else "created"
    device = None if new is None else bytes(here.after.me.device)
    here.told.say("account.changed", {"account": new, "device": device, "reason": reason})


def _people(here: _Step) -> None:
    now, gone = here.after.book.contacts.changes(here.before.book.contacts)
    for account in sorted({*now, *gone}):
        old, new = here.before.book.contacts.find(account), here.after.book.contacts.find(account)
        was, is_ = old or _NOBODY, new or _NOBODY
        name = {"account": account, "name": "" if new is None else called(new)}
        if is_.accepted and not was.accepted:
            here.told.say("contact.added", name)
        if was.accepted and not is_.accepted and old is not None:
            here.told.say("contact.removed", {"account": account, "name": called(old)})
        if is_.verified and not was.verified:
            here.told.say("contact.verified", name)
        if is_.blocked != was.blocked:
            here.told.say("contact.blocked", {"account": account, "blocked": is_.blocked})


@dataclass(frozen=True, slots=True)
class _Nobody:
    accepted: bool = False
    verified: bool = False
    blocked: bool = False


_NOBODY = _Nobody()


def _names(here: _Step) -> None:
    old, new = _listed(here.before), _listed(here.after)
    for device in sorted(old.keys() & new.keys()):
        if old[device] != new[device]:
            this = device == bytes(here.after.me.device)
            here.told.say("device.renamed", {"device": device, "name": new[device], "this": this})


def _labels(here: _Step) -> None:
    """Of the account and of chats."""
    old, new = here.before.household.labels, here.after.household.labels
    for what in sorted({*new.changes(old)[0], *new.changes(old)[1]}):
        was, now = old.find(what), new.find(what)
        title = "" if now is None else now.text
        if title == ("" if was is None else was.text):
            continue
        if what != ACCOUNT:
            here.told.say("chat.renamed", {"chat": what, "title": title}, what)
        elif here.before.book.own == here.after.book.own:  # else it is told of as an account that is new here
            here.told.say("account.renamed", {"name": title})


def _certificates(here: _Step) -> None:
    """What accounts show, as far as it was anything or is."""
    now, gone = here.after.chains.changes(here.before.chains)
    for account in sorted({*now, *gone}):
        old, new = certificates.of(here.before, account), certificates.of(here.after, account)
        if (None if old is None else old.chain) == (None if new is None else new.chain):
            continue
        if account == here.after.book.own:
            here.told.say("account.certified", {"shown": new is not None})
        elif here.after.book.find(account) is not None:
            here.told.say("contact.certified", {"account": account, "shown": new is not None})


def _listed(state: State) -> dict[bytes, str]:
    """What devices are called, by the newest list that is known."""
    edition = state.book.edition
    return {} if edition is None else {bytes(each.device): each.name for each in edition.devices.devices}


def _answered(here: _Step) -> None:
    """Invitations that waited for an answer, and do not any more."""
    for key, held in sorted(here.before.invitations.items()):
        after = here.after.invitations.find(key)
        if held.stage is not Stage.ANSWER or (after is not None and after.stage is Stage.ANSWER):
            continue
        talk = here.after.talks.find(held.group_id)
        if talk is not None:
            answer = "declined" if talk.acceptance is Acceptance.NO else "accepted"
            here.told.say("chat.answered", {"chat": held.group_id, "answer": answer}, held.group_id)


# ---------------------------------------------------------------- messages


def _message(here: _Step, event: events.Message) -> None:
    here.told.history.append(
        NewMessage(
            entry=len(here.told.entries),
            chat=event.conversation,
            content=event.content,
            sender=event.sender,
            ours=event.ours,
            device=event.device,
            said_at=event.said_at,
            data=event.data,
            media=event.media,
            fate="",
        )
    )
    data = {
        "chat": event.conversation,
        "msg": event.content,
        "sender": event.sender,
        "ours": event.ours,
        "device": event.device,
        "said_at": event.said_at,
        "after": list(event.after),
        "data": event.data,
        "media": event.media,
        "relayed": event.relayed,
    }
    here.told.say("msg.received", data, event.conversation)


def _fate(here: _Step, event: events.MessageFate) -> None:
    fate = FATES[event.fate]
    here.told.history.append(NewFate(chat=event.conversation, content=event.content, fate=fate))
    name = "msg." + fate.replace("-", "_")
    here.told.say(name, {"chat": event.conversation, "msg": event.content}, event.conversation)


# ---------------------------------------------------------------- what was wanted


def _settled(here: _Step, event: events.IntentFate) -> None:
    intent = here.before.intents.find(event.intent) or here.after.intents.find(event.intent)
    chat = None if intent is None or here.is_home(intent.group_id) else bytes(intent.group_id)
    data = {"action": event.intent, "stands": event.stands, "reason": event.reason, "chat": chat}
    here.told.say("action.settled", data, chat)


# ---------------------------------------------------------------- chats


def _members(here: _Step, event: events.MembersChanged) -> None:
    data = {
        "chat": event.conversation,
        "epoch": event.epoch,
        "members": list(event.members),
        "came": list(event.came),
        "went": list(event.went),
    }
    here.told.say("chat.changed", data, event.conversation)


def _invited(here: _Step, event: events.Invited) -> None:
    data = {"chat": event.conversation, "by": event.by, "asks": event.asks, "greeting": event.greeting}
    here.told.say("chat.invited", data, event.conversation)


def _gone(here: _Step, event: events.Gone) -> None:
    here.told.keep[facts.left(event.conversation)] = None if event.removed else facts.packed(here.told.at_ms)
    here.told.say("chat.left", {"chat": event.conversation, "removed": event.removed}, event.conversation)


def _forked(here: _Step, event: events.Forked) -> None:
    name = "healed" if event.over else "forked"
    branches: dict[str, Any] = {} if event.over else {"branches": event.branches}
    if here.is_home(event.group):
        here.told.say(f"account.{name}", branches)
    else:
        here.told.say(f"chat.{name}", {"chat": event.group, **branches}, event.group)


def _split(here: _Step, event: events.Split) -> None:
    if here.is_home(event.group):
        here.told.say("account.split", {"over": event.over})
    else:
        here.told.say("chat.split", {"chat": event.group, "over": event.over}, event.group)


# ---------------------------------------------------------------- the account


def devices_of(state: State) -> dict[bytes, str]:
    """The devices where the head of the home is, by id, with their names."""
    strand = None if state.home is None else state.strands.find(state.home)
    if strand is None or not strand.graph.has(strand.head):
        return {}
    here = strand.here
    edition = state.book.edition if here is None else listing.of_group(here.group)
    names = {} if edition is None else {bytes(each.device): each.name for each in edition.devices.devices}
    return {bytes(each.account): names.get(bytes(each.account), "") for each in strand.graph.members(strand.head)}


def _devices(here: _Step, event: events.DevicesChanged) -> None:
    old, new = devices_of(here.before), devices_of(here.after)
    now = {bytes(each): new.get(bytes(each), "") for each in event.devices}
    mine = bytes(here.after.me.device)
    for device in sorted({*now, *old}):
        if device in now and device not in old:
            here.told.say("device.added", {"device": device, "name": now[device], "this": device == mine})
        elif device not in now:
            here.told.say("device.removed", {"device": device, "name": old[device], "this": device == mine})


def _removing(here: _Step, event: events.Removing) -> None:
    data = {
        "devices": list(event.devices),
        "rotated": event.rotated,
        "chats": event.conversations,
        "complete": event.complete,
    }
    here.told.say("device.rotation", data)


def _overrule(here: _Step, event: events.OverruleAsked) -> None:
    data = {
        "device": event.device,
        "digest": event.digest,
        "stay": list(event.stay),
        "delegates": list(event.delegates),
        "signed": list(event.signed),
        "lacks": event.lacks,
    }
    here.told.say("account.overrule_asked", data)


# ---------------------------------------------------------------- what people should look at


def _attention(
    here: _Step, group: bytes | None, account: bytes | None, *, what: str, text: str, asks: bool, over: bool
) -> None:
    data: dict[str, Any] = {"what": what, "text": text}
    if group is not None and not here.is_home(group):
        here.told.say("chat.needs_attention", {"chat": group, **data, "asks": asks, "over": over}, group)
    elif account is not None and account != here.after.book.own:
        here.told.say("contact.needs_attention", {"account": account, **data})
    else:
        here.told.say("account.needs_attention", {**data, "asks": asks, "over": over})


def _out_of_sync(here: _Step, event: events.OutOfSync) -> None:
    whose = "your account's devices" if here.is_home(event.group) else "the chat"
    text = f"This device follows {whose} again." if event.over else f"This device cannot follow {whose} now."
    _attention(here, event.group, None, what="out-of-sync", text=text, asks=event.asks, over=event.over)


def _warned(here: _Step, event: events.Warned) -> None:
    _attention(here, event.group, event.account, what=event.code, text=event.text, asks=False, over=False)


def _contact(here: _Step, event: events.ContactChanged) -> None:
    data = {"account": event.account, "version": event.version % (1 << 32), "shut_out": event.shut_out}
    here.told.say("contact.changed", data)


# ---------------------------------------------------------------- groups of apps


def _raw_made(here: _Step, event: events.RawMade) -> None:
    """Whoever takes frames takes all that there are, so the first of them is told of."""
    if event.first:
        here.told.say("raw.waiting", {"group": event.group, "number": max(event.numbers)})


def _for_the_caller(here: _Step, event: Any) -> None:
    """What is an answer and not an event."""
    del here, event


_TELL: dict[type[Any], Callable[[_Step, Any], None]] = {
    events.Message: _message,
    events.MessageFate: _fate,
    events.IntentFate: _settled,
    events.MembersChanged: _members,
    events.Invited: _invited,
    events.Gone: _gone,
    events.DevicesChanged: _devices,
    events.Removing: _removing,
    events.OverruleAsked: _overrule,
    events.Forked: _forked,
    events.Split: _split,
    events.OutOfSync: _out_of_sync,
    events.ContactChanged: _contact,
    events.Warned: _warned,
    events.RawMade: _raw_made,
    events.RawHeard: _for_the_caller,
    events.RawOffered: _for_the_caller,
    events.RawEntered: _for_the_caller,
}
