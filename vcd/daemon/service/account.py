"""account.*: founded, shown, ruled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mls.persistent import PMap
from vcd.core import inputs, labels
from vcd.core.accounts import overrule
from vcd.core.accounts.device_list import Edition, Policy as Rules
from vcd.core.accounts.identity import RecoverySeed, RootKey, fingerprint, new_seed, readable, root_key
from vcd.core.errors import Misuse
from vcd.core.founding import new_account
from vcd.core.household import Asked, Label
from vcd.core.names import DeviceId, IntentId
from vcd.core.sights import sight_of
from vcd.core.state import State
from vcd.daemon import facts, words
from vcd.daemon.boxes import mailbox_key
from vcd.daemon.desk import Desk
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import account
from vcd.rpc.values import Begun, Done

__all__ = ["HANDLERS", "named", "root_for", "root_of", "seed_of"]
_NAME = 64


def named(name: str) -> str:
    """A name that people can see."""
    try:
        readable(name, _NAME, "this")
    except ValueError:
        raise Failure("E_NAME") from None
    return name


def root_of(desk: Desk, phrase: Sequence[str]) -> RootKey:
    """The root key, for as long as the caller holds it."""
    edition = desk.state.book.edition
    if edition is None:
        raise desk.homeless()
    return root_for(desk, seed_of(phrase), edition)


def seed_of(phrase: Sequence[str]) -> RecoverySeed:
    """What a phrase stands for, whosever it is."""
    try:
        return words.to_seed(phrase)
    except words.WrongWords as error:
        raise Failure("E_WORDS", str(error)) from None


def root_for(desk: Desk, seed: RecoverySeed, edition: Edition) -> RootKey:
    """The root key of the account of that list."""
    mandate = edition.head.authority.mandate
    root, public = root_key(desk.provider.suite(mandate.cipher_suite), seed)
    if public != mandate.root:
        raise Failure("E_WORDS", "This is the recovery phrase of another account.")
    return root


async def create(desk: Desk, call: Call, given: account.AccountCreate) -> account.AccountCreated:
    if desk.state.book.own is not None:
        raise Failure("E_ACCOUNT_EXISTS")
    name = named(given.device_name)
    if given.name:
        named(given.name)
    seed = new_seed(desk.provider)
    made = new_account(desk.provider, seed, name, desk.now_ms(), desk.state.config)
    if given.name:
        label = Label(text=given.name, at=desk.now_ms())
        made = replace(made, household=replace(made.household, labels=PMap({labels.ACCOUNT: label})))

    def become(before: State) -> State:
        if before.book.own is not None:
            raise Failure("E_ACCOUNT_EXISTS")
        return made

    edition = made.book.edition
    assert edition is not None  # noqa: S101 - it was just founded
    created = account.AccountCreated(
        account=edition.account,
        device=made.me.device,
        fingerprint=fingerprint(edition.head.authority.mandate.root),
        words=words.of_seed(seed),
    )
    return await desk.change(
        call,
        None,
        lambda *_: created,
        become=become,
        again=lambda result: msgspec.structs.replace(result, words=[]),
    )


def _asked(state: State, device: DeviceId, asked: Asked, desk: Desk) -> account.Overruling:
    wanted, edition = asked.overrule, state.book.edition
    try:
        lacks = 0 if edition is None else overrule.check_overrule(wanted, edition, desk.provider)
    except Misuse:
        lacks = 0
    return account.Overruling(
        device=device,
        digest=wanted.digest,
        stay=[each.device for each in wanted.stay],
        delegates=[each.device for each in wanted.stay if each.delegate],
        signed=[each.device for each in wanted.signatures],
        lacks=lacks,
    )


async def get(desk: Desk, call: Call, given: object) -> account.Account:
    del call, given
    own, state = desk.own(), desk.state
    edition = state.book.edition
    assert edition is not None and state.home is not None  # noqa: S101, PT018 - `own` saw to it
    strand = state.strands[state.home]
    rules = edition.devices.policy
    branches = sum(1 for each in strand.kept if strand.graph.has(each) and not strand.graph.children(each))
    return account.Account(
        account=own,
        name=desk.called(),
        fingerprint=fingerprint(edition.head.authority.mandate.root),
        version=edition.version % (1 << 32),
        term=edition.head.authority.term,
        devices=len(edition.devices.devices),
        delegate=state.household.delegate is not None,
        rules=account.AccountRules(
            delegates_remove=rules.delegates_revoke,
            overrulers=rules.overrulers,
            overrule_delay_ms=rules.overrule_delay,
        ),
        signing_key=edition.head.signing_key,
        mailbox_key=mailbox_key(state),
        certificate=desk.trust.look(state, own, desk.now_ms()),
        overrulings=[_asked(state, device, each, desk) for device, each in sorted(state.household.asked.items())],
        branches=max(1, branches),
        in_sync=strand.here is not None and not state.household.gone,
        asks=sight_of(state, strand.group_id).recovery.asks,
    )


async def rename(desk: Desk, call: Call, given: account.AccountRename) -> Done:
    desk.own()
    command = inputs.Label(what=labels.ACCOUNT, text=given.name)
    return await desk.change(call, command, lambda *_: Done(), keep={facts.CALLED: None})


async def rotate(desk: Desk, call: Call, given: account.Rotate) -> account.Rotating:
    desk.own()
    home = desk.state.home
    assert home is not None  # noqa: S101 - `own` saw to it
    seed = desk.name(call)
    groups = [home, *(sorted(desk.state.talks) if given.chats else [])]
    actions: list[Begun] = []
    for number, group_id in enumerate(groups):
        action = IntentId((int.from_bytes(seed, "big") ^ number).to_bytes(16, "big"))
        try:
            await desk.owner.do(inputs.Refresh(intent=action, conversation=group_id))
        except Misuse:
            if group_id == home:
                raise
            continue  # a chat that we are out of, or cannot follow now, has no keys of ours to renew
        actions.append(Begun(action=action))
    return await desk.change(call, None, lambda *_: account.Rotating(actions=actions))


async def set_rules(desk: Desk, call: Call, given: account.SetAccountRules) -> Begun:
    desk.own()
    root = root_of(desk, given.words)
    try:
        rules = Rules(
            delegates_revoke=given.rules.delegates_remove,
            overrulers=given.rules.overrulers,
            overrule_delay=given.rules.overrule_delay_ms,
        )
    except ValueError as error:
        raise Failure("E_OVERRULE", f"There can be no such rules: {error}.") from None
    delegates = tuple(DeviceId(each) for each in given.delegates)
    return await desk.begin(
        call, lambda action: inputs.SetRules(intent=action, root=root, rules=rules, delegates=delegates)
    )


async def set_certificate(desk: Desk, call: Call, given: account.SetCertificate) -> account.CertificateSet:
    own, now = desk.own(), desk.now_ms()
    command = inputs.Certify(chain=tuple(given.chain))
    return await desk.change(
        call, command, lambda state, *_: account.CertificateSet(certificate=desk.trust.look(state, own, now))
    )


async def ask_overrule(desk: Desk, call: Call, given: account.Overrule) -> Begun:
    desk.own()
    stay = tuple(sorted(DeviceId(each) for each in given.stay))
    delegates = tuple(sorted(DeviceId(each) for each in given.delegates))
    return await desk.begin(call, lambda action: inputs.Overrule(intent=action, stay=stay, delegates=delegates))


async def consent(desk: Desk, call: Call, given: account.Consent) -> Done:
    desk.own()
    command = inputs.Countersign(device=DeviceId(given.device), digest=given.digest)
    return await desk.change(call, command, lambda *_: Done())


async def come_back(desk: Desk, call: Call, given: object) -> Done:
    del given
    desk.own()
    home = desk.state.home
    assert home is not None  # noqa: S101 - `own` saw to it
    return await desk.change(call, inputs.ComeBack(group=home), lambda *_: Done())


HANDLERS: Mapping[str, Any] = {
    "account.create": create,
    "account.get": get,
    "account.rename": rename,
    "account.rotate": rotate,
    "account.set_certificate": set_certificate,
    "account.set_rules": set_rules,
    "account.overrule": ask_overrule,
    "account.consent": consent,
    "account.come_back": come_back,
}
