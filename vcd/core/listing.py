"""The account's list of devices where all of them agree on it: in the context of the home.

Each epoch of the home says in its context which edition of the list counts there, so the list forks with the home and
is one again when the home is. Every device of an epoch is on its list, with the key that its leaf has, and nobody is
removed who is not shut out there: a commit that breaks this is refused by all alike, those too whom it removes. So a
device comes in by one commit that adds it and puts it on the list, which takes a delegate's signature, and goes by one
that removes it and shuts it out. What somebody proposes is committed by nobody else. A list may be ahead of the home (a
device that is on it and not in the home can be added by anybody) and never behind.

A list also says who is right where branches of the home contradict each other. A commit that brings a list in which
somebody is shut out strikes what that device does at the same time under lists before it, however senior it is; and it
becomes final without the votes of those whom it removes. So nobody can hold up or undo its own removal, if those
ordered it who may: delegates, for devices that are none, or the root. Of two that shut out each other the higher
version counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mls.components.dictionary import Dictionary
from mls.components.logic import LastWins, Refused as NotTaken
from mls.components.numbers import ComponentId
from mls.proposals import AppDataUpdate
from mls.provider import Provider
from mls.state import Group
from mls.tree.ratchet_tree import RatchetTree
from vcd.core.accounts.credential import DeviceCredential, check_listed, read
from vcd.core.accounts.device_list import Edition, check_edition, check_successor
from vcd.core.errors import Malformed, Refused
from vcd.core.names import AccountId, DeviceId
from vcd.core.ordering.graph import ListShown, Member
from vcd.core.record import decode, encode

COMPONENT = ComponentId(0x8D21)
"""Private use (mls-extensions, component ids)."""
MAX_EDITION = 1 << 18


class ListLogic(LastWins):
    """How the list changes: the last update is the new one. Whether it may follow the old one is for `check`."""

    __slots__ = ()

    def check(self, data: bytes) -> None:
        try:
            _decoded(data)
        except Malformed:
            raise NotTaken from None


@lru_cache(maxsize=32)
def _decoded(data: bytes) -> Edition:
    if len(data) > MAX_EDITION:
        raise Malformed("a list is too long")
    return decode(Edition, data)


def of_dictionary(dictionary: Dictionary) -> Edition:
    data = dictionary.find(COMPONENT)
    if data is None:
        raise Refused("home-list", "a home without a list of devices")
    return _decoded(data)


def of_group(group: Group) -> Edition:
    """The edition that counts in an epoch of the home."""
    return of_dictionary(group.public.context.dictionary)


def update(edition: Edition) -> AppDataUpdate:
    """For a commit that changes the list."""
    return AppDataUpdate(COMPONENT, encode(edition))


def check(before: Group, after: Dictionary, tree: RatchetTree, provider: Provider) -> None:
    """Raise `Refused` unless the epoch that begins has a list that may follow, and all its devices are on it.

    Of that epoch it takes the context's data and the tree, which those know too who are removed by the commit.
    """
    edition = of_dictionary(after)
    if before.public.context.dictionary.find(COMPONENT) != after.find(COMPONENT):
        check_successor(of_group(before), edition, provider)
    check_members(edition, tree)
    for device in sorted(devices_in(before.public.tree) - devices_in(tree)):
        if edition.devices.revoked(device) is None:
            raise Refused("removal-unlisted", "nobody goes but by the list")


def check_first(group: Group, provider: Provider) -> Edition:
    """The same for an epoch that a device comes in by: the list has to hold by itself."""
    edition = of_group(group)
    check_edition(edition, provider)
    check_members(edition, group.public.tree)
    return edition


def devices_in(tree: RatchetTree) -> frozenset[DeviceId]:
    found = [read(node.credential) for _, node in tree.leaves()]
    return frozenset([each.device for each in found if isinstance(each, DeviceCredential)])


def is_home(group: Group) -> bool:
    return group.public.context.dictionary.find(COMPONENT) is not None


def step_of(before: Group, after: Dictionary, removed: Sequence[Member]) -> tuple[tuple[ListShown, ...], int, bool]:
    """What a commit in the home means for the choice of branches.

    Devices that its list shuts out, the version it is under, and whether its list orders all that it removes.
    """
    old, new = of_group(before), of_dictionary(after)
    known = {stone.device for stone in old.devices.tombstones}
    gone = sorted(stone.device for stone in new.devices.tombstones if stone.device not in known)
    lists = tuple(ListShown(account=AccountId(device), version=new.version, revokes=True) for device in gone)
    ordered = bool(removed) and all(new.devices.revoked(DeviceId(each.account)) is not None for each in removed)
    return lists, new.version, ordered


def check_members(edition: Edition, tree: RatchetTree) -> None:
    for _, node in tree.leaves():
        identity = read(node.credential)
        if not isinstance(identity, DeviceCredential):
            raise Refused("home-leaf")
        check_listed(edition, identity, node.signature_key)
