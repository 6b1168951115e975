"""People of a village who know each other and talk, for tests of what is wanted of groups."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from mls.registries import GroupId
from tests.vcd.core.company import show_up
from tests.vcd.core.village import Village
from vcd.core import events, inputs
from vcd.core.accounts.card import make_card, to_bytes
from vcd.core.config import Config
from vcd.core.names import AccountId, IntentId
from vcd.core.ordering.graph import Member
from vcd.core.policy import DAY, Mode, Policy
from vcd.core.strand import Strand

TEA = GroupId(b"tea")
SMALL = Config(packages=4, package_public=0)


def intent(name: str) -> IntentId:
    return IntentId(sha256(name.encode()).digest()[:16])


def card(village: Village, name: str) -> bytes:
    """What the device's account gives to whoever is to reach it."""
    state = village.state(name)
    edition, signing, inbox = state.book.edition, state.household.signing, state.household.inbox
    assert edition is not None
    assert signing is not None
    assert inbox is not None
    provider = village.devices[name].provider
    made = make_card(provider, edition.head, signing, name=name, inbox=inbox, expires=village.now + 300 * DAY)
    return to_bytes(made)


def befriend(village: Village, *names: str) -> None:
    """All of them have the cards of all others."""
    for one in names:
        for other in names:
            if village.state(one).book.own != village.state(other).book.own:
                village.do(one, inputs.AddContact(card=card(village, other), petname=other))


def friends(*names: str, seed: int = 1, **config: object) -> Village:
    """Accounts of one device each, who know each other and have KeyPackages to be had."""
    village = Village(seed, config=replace(SMALL, **config))  # type: ignore[arg-type]
    for name in names:
        village.account(name)
    befriend(village, *names)
    village.wait(seconds=1)
    return village


def invite(village: Village, by: str, who: str, group: GroupId = TEA, name: str = "") -> IntentId:
    made = intent(name or f"{by} invites {who}")
    village.do(by, inputs.Invite(intent=made, conversation=group, account=village.own(who)))
    return made


def open_talk(
    village: Village,
    founder: str,
    *others: str,
    group: GroupId = TEA,
    policy: Policy | None = None,
    mode: Mode = Mode.DEMLS,
) -> None:
    """A conversation with all of them in it, which all agree on."""
    village.do(founder, inputs.Open(conversation=group, mode=mode, policy=policy))
    for other in others:
        invite(village, founder, other, group, name=f"{other} comes into {group!r}")
    village.wait(minutes=2)
    if mode not in (Mode.LEAD, Mode.DIMLS):
        show_up(village, group, *others)


def strand(village: Village, name: str, group: GroupId = TEA) -> Strand:
    return village.state(name).strands[group]


def members(village: Village, name: str, group: GroupId = TEA) -> tuple[Member, ...]:
    """Of the head, as a device sees it."""
    found = strand(village, name, group)
    return found.graph.members(found.head)


def accounts(village: Village, name: str, group: GroupId = TEA) -> set[AccountId]:
    return {each.account for each in members(village, name, group)}


def final_accounts(village: Village, name: str, group: GroupId = TEA) -> set[AccountId]:
    found = strand(village, name, group)
    return {each.account for each in found.graph.members(found.final)}


def together(village: Village, *names: str, group: GroupId = TEA) -> bool:
    """Whether all of them stand on one head and have its keys."""
    heads = {strand(village, name, group).head for name in names}
    return len(heads) == 1 and all(strand(village, name, group).here is not None for name in names)


def fates(village: Village, name: str) -> dict[IntentId, events.IntentFate]:
    return {each.intent: each for each in village.told(name, events.IntentFate)}
