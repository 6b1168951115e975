"""chat.*: opened, entered, changed, left, and how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vcd.core import inputs, leaves, leaving
from vcd.core.names import AccountId, GroupId, IntentId
from vcd.core.ordering.graph import Member
from vcd.core.ordinary import decided
from vcd.core.policy import Mode, Policy, Who, of_group, usual
from vcd.core.sights import sight_of
from vcd.core.spoken import Stage as Said
from vcd.core.state import Acceptance, State, Talk
from vcd.core.strand import Membership, Strand
from vcd.core.wanting import Intent, Kind, Stage
from vcd.daemon import facts
from vcd.daemon.desk import Desk, invitation
from vcd.daemon.telling import called
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import chat
from vcd.rpc.values import Begun, Done

MODES: Mapping[str, Mode] = {
    "demls": Mode.DEMLS,
    "ec1": Mode.EC1,
    "ec2": Mode.EC2,
    "lead": Mode.LEAD,
    "dimls": Mode.DIMLS,
}
MODE_NAMES: Mapping[Mode, Any] = {mode: name for name, mode in MODES.items()}
_WHO: Mapping[Who, Any] = {Who.EVERYBODY: "everybody", Who.ADMINS: "admins", Who.NOBODY: "nobody"}
_WHOSE = {name: who for who, name in _WHO.items()}
_KIND: Mapping[Kind, Any] = {
    Kind.INVITE: "invite",
    Kind.REMOVE: "remove",
    Kind.DEPART: "leave",
    Kind.REFRESH: "rotate",
    Kind.POLICY: "rules",
}


# ---------------------------------------------------------------- opened


async def create(desk: Desk, call: Call, given: chat.ChatCreate) -> chat.SameChat:
    desk.own()
    _readable(given.title)
    mode = MODES[given.mode]
    policy = _changed(usual(mode), given.rules, None)
    group_id = GroupId(desk.name(call) + bytes(16)) if call.request_id else GroupId(desk.random(32))
    if given.title:
        await desk.owner.do(inputs.Label(what=group_id, text=given.title))
    command = inputs.Open(conversation=group_id, mode=mode, policy=policy)
    return await desk.change(call, command, lambda *_: chat.SameChat(chat=group_id))


def _readable(title: str | None) -> None:
    if title and not title.isprintable():
        raise Failure("E_NAME")


def _changed(policy: Policy, new: chat.NewRules | None, strand: Strand | None) -> Policy:
    """Rules as they are to be: what is not named stays."""
    if new is None:
        return policy
    wanted: dict[str, Any] = {
        "window": new.window_ms,
        "horizon": new.horizon_ms,
        "succeed_after": new.succeed_after_ms,
        **{name: None if who is None else _WHOSE[who] for name, who in _whose(new)},
    }
    if new.admins is not None:
        wanted["admins"] = tuple(sorted({AccountId(each) for each in new.admins}))
    if new.lead is not None:
        members = () if strand is None else strand.graph.members(strand.head)
        lead = next((each.incarnation for each in members if each.account == new.lead), None)
        if lead is None:
            raise Failure("E_RULES", "Who is to lead has to be in the chat.")
        wanted["lead"] = lead
    try:
        return replace(policy, **{name: value for name, value in wanted.items() if value is not None})
    except ValueError as error:
        raise Failure("E_RULES", f"There can be no such rules: {error}.") from None


def _whose(new: chat.NewRules) -> Iterable[tuple[str, str | None]]:
    return (("add", new.add), ("remove", new.remove), ("change", new.change), ("come_back", new.come_back))


async def rename(desk: Desk, call: Call, given: chat.ChatTitle) -> chat.SameChat:
    desk.own()
    _there(desk, given.chat)
    command = inputs.Label(what=given.chat, text=given.title)
    keep = {facts.title(given.chat): None}
    return await desk.change(call, command, lambda *_: chat.SameChat(chat=given.chat), keep=keep)


# ---------------------------------------------------------------- seen


def _there(desk: Desk, name: bytes) -> None:
    """A chat that we are in, were in, or are asked to."""
    desk.reads()
    known = GroupId(name) in desk.state.talks or invitation(desk.state, name) is not None
    if not known and facts.past_of(desk.facts, name) is None:
        raise Failure("E_CHAT_UNKNOWN")


def _standing(desk: Desk, talk: Talk, strand: Strand | None) -> Any:
    state, out = desk.state, talk.sends is not None and talk.sends.over
    if out or (strand is not None and leaving.away(state, strand)):
        return "left" if _left(desk, talk) else "removed"
    if strand is None:
        return "joining"
    if strand.membership is Membership.LOST or strand.here is None:
        return "out-of-sync"
    return "member"


def _left(desk: Desk, talk: Talk) -> bool:
    """Whether the account is out of it by its own wish."""
    wanted = any(each.kind is Kind.DEPART and each.group_id == talk.group_id for each in desk.state.intents.values())
    return wanted or talk.acceptance is Acceptance.NO or facts.left(talk.group_id) in desk.facts


def _asks(state: State, talk: Talk) -> bool:
    if sight_of(state, talk.group_id).recovery.asks:
        return True
    return any(state.outbox[each].stage is Said.ASKS for each in talk.going if each in state.outbox)


def _line(desk: Desk, name: GroupId) -> chat.ChatLine:
    state = desk.state
    talk, held = state.talks.find(name), invitation(state, name)
    title = desk.title(name)
    past = facts.past_of(desk.facts, name)
    if talk is None and held is None and past is not None:
        return _past_line(name, title, past)
    if talk is None or (held is not None and name not in state.strands):
        assert held is not None  # noqa: S101 - it is one or the other
        return chat.ChatLine(
            chat=name,
            title=title,
            mode="demls",
            standing="invited",
            invited_by=held.by,
            greeting=held.greeting,
            members=0,
            branches=1,
            split=False,
            asks=True,
            unconfirmed=0,
            last_seq=0,
        )
    strand = state.strands.find(name)
    return chat.ChatLine(
        chat=name,
        title=title,
        mode=MODE_NAMES[talk.mode],
        standing=_standing(desk, talk, strand),
        invited_by=None,
        greeting="",
        members=0 if strand is None else len(strand.graph.members(strand.head)),
        branches=talk.branches,
        split=sight_of(state, name).suspected is not None,
        asks=_asks(state, talk),
        unconfirmed=len(talk.unsure),
        last_seq=0,
    )


def _past_line(name: GroupId, title: str, past: facts.Past) -> chat.ChatLine:
    mode: Any = past.mode
    return chat.ChatLine(
        chat=name,
        title=title,
        mode=mode,
        standing="past",
        invited_by=None,
        greeting="",
        members=len(past.members),
        branches=1,
        split=False,
        asks=False,
        unconfirmed=0,
        last_seq=0,
    )


async def list_(desk: Desk, call: Call, given: chat.ChatList) -> chat.Chats:
    del call
    desk.reads()
    waiting = [each.group_id for each in desk.state.invitations.values() if each.stage is Stage.ANSWER]
    past = [GroupId(name) for name, _ in facts.of(desk.facts, facts.PAST)]
    names = sorted({*desk.state.talks, *waiting, *past})
    after = given.after or b""
    found: list[chat.ChatLine] = []
    more = False
    for name in names:
        if name <= after:
            continue
        line = _line(desk, name)
        if given.standing is not None and line.standing != given.standing:
            continue
        if len(found) == given.most:
            more = True
            break
        found.append(line)
    return chat.Chats(chats=[await _with_seq(desk, each) for each in found], more=more)


async def _with_seq(desk: Desk, line: chat.ChatLine) -> chat.ChatLine:
    import msgspec

    page = await desk.store.history.list(line.chat, before=None, after=None, most=1)
    return msgspec.structs.replace(line, last_seq=page.messages[-1].seq) if page.messages else line


def _member(desk: Desk, talk: Talk, member: Member, policy: Policy | None) -> chat.Member:
    state = desk.state
    own = member.account == state.book.own
    contact = state.book.find(member.account)
    name = desk.called() if own else "" if contact is None else called(contact)
    updated = talk.fresh.find(member.incarnation)
    return chat.Member(
        account=member.account or None,
        name=name,
        own=own,
        admin=member.admin,
        lead=policy is not None and policy.lead == member.incarnation,
        verified=own or (contact is not None and contact.verified),
        since=member.since,
        updated_at=talk.updated_at or None if own else _at(desk, updated),
    )


def _was_member(desk: Desk, past: facts.Past, rank: int) -> chat.Member:
    """Somebody of a chat of before, whom one may ask for an invitation."""
    account, removed = AccountId(past.members[rank]), facts.removed_of(desk.facts)
    whose = desk.state.book.own or (None if removed is None else removed.account)
    own, contact = account == whose, desk.state.book.find(account)
    name = (desk.called() if own else "" if contact is None else called(contact)) or past.name(rank)
    return chat.Member(
        account=account,
        name=name,
        own=own,
        admin=False,
        lead=False,
        verified=own or (contact is not None and contact.verified),
        since=rank,
        updated_at=None,
    )


def _at(desk: Desk, awake: int | None) -> int | None:
    """A time that this device counted while awake, as near as it can be said by the wall's clock."""
    clock = desk.state.clock
    return None if awake is None else max(0, clock.now - (clock.awake - awake))


def _rules(strand: Strand, policy: Policy) -> chat.ChatRules:
    lead = next(
        (each.account for each in strand.graph.members(strand.head) if each.incarnation == policy.lead),
        None,
    )
    return chat.ChatRules(
        admins=list(policy.admins),
        add=_WHO[policy.add],
        remove=_WHO[policy.remove],
        change=_WHO[policy.change],
        come_back=_WHO[policy.come_back],
        window_ms=policy.window,
        horizon_ms=policy.horizon,
        latency_ms=policy.latency,
        update_every_ms=policy.update_every,
        stale_after_ms=policy.stale_after,
        lead=lead,
        succeed_after_ms=policy.succeed_after,
    )


def _pending(intent: Intent) -> chat.Pending:
    return chat.Pending(
        action=intent.intent, kind=_KIND[intent.kind], account=intent.account or None, device=intent.device
    )


async def get(desk: Desk, call: Call, given: chat.WhichChat) -> chat.Chat:
    del call
    _there(desk, given.chat)
    name, state = GroupId(given.chat), desk.state
    line = _line(desk, name)
    talk, strand = state.talks.find(name), state.strands.find(name)
    here = None if strand is None else strand.here
    policy = None if here is None else of_group(here.group)
    members = [] if strand is None or talk is None else sorted(strand.graph.members(strand.head), key=lambda m: m.rank)
    before = facts.past_of(desk.facts, name) if line.standing == "past" else None
    were = () if before is None else tuple(_was_member(desk, before, rank) for rank in range(len(before.members)))
    waiting = sum(each.group_id == name for each in state.waiting.items.values())
    pending = [_pending(each) for _, each in sorted(state.intents.items()) if each.group_id == name and not each.quiet]
    return chat.Chat(
        chat=name,
        title=line.title,
        mode=line.mode,
        standing=line.standing,
        invited_by=line.invited_by,
        greeting=line.greeting,
        rules=None if policy is None or strand is None or policy.mode is Mode.DIMLS else _rules(strand, policy),
        members=[*were] if talk is None else [_member(desk, talk, each, policy) for each in members],
        epoch=None if strand is None else strand.head,
        final=None if strand is None else strand.final,
        number=0 if strand is None else strand.graph.number(strand.head),
        branches=line.branches,
        split=line.split,
        can_speak=line.standing == "member" and leaves.speaks(state, name),
        asks=line.asks,
        unconfirmed=line.unconfirmed,
        queued=0 if talk is None else len(talk.queue),
        waiting=waiting,
        pending=pending,
        history_ms=facts.number(desk.facts, facts.keep(name)),
    )


# ---------------------------------------------------------------- changed


async def invite(desk: Desk, call: Call, given: chat.Invite) -> Begun:
    desk.talk(given.chat)
    where, who = GroupId(given.chat), AccountId(given.account)
    return await desk.begin(
        call, lambda action: inputs.Invite(intent=action, conversation=where, account=who, greeting=given.greeting)
    )


def _asked(desk: Desk, name: bytes) -> None:
    """That an answer is waited for: a member who declines would be told that they did, and stay."""
    desk.own()
    _there(desk, name)
    talk = desk.state.talks.find(GroupId(name))
    called = talk is not None and talk.acceptance is Acceptance.ASKS
    if not called and invitation(desk.state, name) is None:
        raise Failure("E_NOT_ASKED")


async def accept(desk: Desk, call: Call, given: chat.ThisChat) -> chat.SameChat:
    _asked(desk, given.chat)
    if len(desk.state.talks) >= desk.state.config.max_conversations:
        raise Failure("E_FULL")
    command = inputs.Answer(conversation=GroupId(given.chat), accept=True)
    return await desk.change(call, command, lambda *_: chat.SameChat(chat=given.chat))


async def decline(desk: Desk, call: Call, given: chat.ThisChat) -> Done:
    _asked(desk, given.chat)
    command = inputs.Answer(conversation=GroupId(given.chat), accept=False)
    return await desk.change(call, command, lambda *_: Done())


async def remove(desk: Desk, call: Call, given: chat.ChatMember) -> Begun:
    desk.talk(given.chat)
    where, who = GroupId(given.chat), AccountId(given.account)
    return await desk.begin(call, lambda action: inputs.Remove(intent=action, conversation=where, account=who))


async def leave(desk: Desk, call: Call, given: chat.ThisChat) -> Begun:
    desk.talk(given.chat)
    return await desk.begin(call, lambda action: inputs.Depart(intent=action, conversation=GroupId(given.chat)))


async def rotate(desk: Desk, call: Call, given: chat.ThisChat) -> Begun:
    desk.talk(given.chat)
    return await desk.begin(call, lambda action: inputs.Refresh(intent=action, conversation=GroupId(given.chat)))


async def set_rules(desk: Desk, call: Call, given: chat.SetRules) -> Begun:
    desk.talk(given.chat)
    name = GroupId(given.chat)
    strand = desk.state.strands.find(name)
    here = None if strand is None else strand.here
    if here is None:
        raise Failure("E_OUT_OF_SYNC")
    policy = _changed(of_group(here.group), given.rules, strand)
    return await desk.begin(call, lambda action: inputs.ChangePolicy(intent=action, conversation=name, policy=policy))


async def migrate(desk: Desk, call: Call, given: chat.Migrate) -> chat.Migrated:
    """A new chat, and an invitation for each member: one command after the other, each of which is known again."""
    desk.talk(given.chat)
    _readable(given.title)
    strand = desk.state.strands.find(GroupId(given.chat))
    if strand is None or strand.here is None:
        raise Failure("E_OUT_OF_SYNC")
    others = sorted({each.account for each in strand.graph.members(strand.head)} - {desk.own()})
    seed = desk.name(call)
    new = GroupId(seed + bytes(16)) if call.request_id else GroupId(desk.random(32))
    mode = MODES[given.mode]
    title = given.title or desk.title(given.chat)
    if title:
        await desk.owner.do(inputs.Label(what=new, text=title))
    await desk.owner.do(inputs.Open(conversation=new, mode=mode, policy=usual(mode)))
    actions: list[Begun] = []
    for number, account in enumerate(others):
        action = IntentId(_mixed(seed, number))
        contact = desk.state.book.find(account)
        if contact is None or contact.card is None:
            continue  # nobody here knows how to reach them: whoever does may invite them
        await desk.owner.do(inputs.Invite(intent=action, conversation=new, account=account))
        actions.append(Begun(action=action))
    return await desk.change(call, None, lambda *_: chat.Migrated(chat=new, actions=actions))


def _mixed(seed: bytes, number: int) -> bytes:
    return (int.from_bytes(seed, "big") ^ (number + 1)).to_bytes(16, "big")


async def set_retention(desk: Desk, call: Call, given: chat.SetRetention) -> chat.Retention:
    _there(desk, given.chat)
    value = None if given.history_ms is None else facts.packed(given.history_ms)
    await desk.owner.do(None, keep={facts.keep(given.chat): value})
    deleted = 0
    if given.history_ms is not None:
        deleted = await desk.store.history.expire(given.chat, desk.now_ms() - given.history_ms)
    made = chat.Retention(chat=given.chat, history_ms=given.history_ms, deleted=deleted)
    return await desk.change(call, None, lambda *_: made)


async def come_back(desk: Desk, call: Call, given: chat.ThisChat) -> Done:
    desk.talk(given.chat)
    return await desk.change(call, inputs.ComeBack(group=GroupId(given.chat)), lambda *_: Done())


# ---------------------------------------------------------------- ordinary clients


async def carry(desk: Desk, call: Call, given: chat.Carry) -> Done:
    desk.talk(given.chat)
    command = inputs.Carry(conversation=GroupId(given.chat), message=given.message)
    return await desk.change(call, command, lambda *_: Done())


async def carried(desk: Desk, call: Call, given: chat.Carried) -> chat.Decided:
    del call
    desk.talk(given.chat)
    strand = desk.state.strands.find(GroupId(given.chat))
    if strand is None or strand.mode is not Mode.LEAD:
        raise Failure("E_NOT_LEAD")
    for epoch, kept in strand.kept.items():
        if kept.group.authenticator == given.epoch:
            return chat.Decided(commits=list(decided(strand, epoch)))
    raise Failure("E_EPOCH")


HANDLERS: Mapping[str, Any] = {
    "chat.create": create,
    "chat.list": list_,
    "chat.get": get,
    "chat.rename": rename,
    "chat.invite": invite,
    "chat.accept": accept,
    "chat.decline": decline,
    "chat.remove": remove,
    "chat.leave": leave,
    "chat.rotate": rotate,
    "chat.migrate": migrate,
    "chat.set_rules": set_rules,
    "chat.set_retention": set_retention,
    "chat.come_back": come_back,
    "chat.carry": carry,
    "chat.carried": carried,
}
