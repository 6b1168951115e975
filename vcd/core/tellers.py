"""What counts of what our devices announce of keys and KeyPackages: who told it, and how much of that is kept.

`mls.virtual` carries such an announcement out while the message is opened, as what comes next may rest on it. Here is
what it may change (`carry`):

    a device where the home stands   all of it, up to its share: a part of the signature keys, and of the KeyPackages,
                                     that can be kept. An eighth of the keys is for those that this device draws itself
    any other                        nothing, but for a few signature keys. It waits with whatever else that device said
                                     (`devices`), and is carried out (`late`) if the home comes to stand where it is one

A device that was removed still has the keys of epochs before that, and whoever stole it can speak in these for as long
as others keep them. It must not withdraw what was made since, or fill what they keep. What it told before, it told when
it was there: most have heard that, and who hears it late goes without. Its KeyPackages are withdrawn by the removal
anyway, and what it passed on others pass on too. A signature key is another matter: somebody may have to follow what
it did with that while it was there. A key that no leaf has does no harm, as long as there are not many.

So it is noted who told a key (`Household.tellers`) until a leaf has it. Each who tells it is noted, so nobody takes a
key of somebody else's into its own share. Of a device that is not here any more for good, those beyond what a removed
one may tell are dropped (`trim`). Whoever hands the keys over to a new device says who told them. What nobody told, as
this device drew it, or who handed it over did, is not touched.

Who made a KeyPackage is known by the operation that it comes from. Reserved ones are no custom of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mls.errors import LimitError, OwnMessageError, ReplayError
from mls.group import ApplicationMessage
from mls.persistent import PMap
from mls.registries import LeafIndex
from mls.virtual.announcements import Keys, Renewed, Reserved, Uploaded
from mls.virtual.devices import carried_out
from vcd.core import waiting
from vcd.core.names import DeviceId

if TYPE_CHECKING:
    from mls.state import Group
    from mls.virtual.announcements import Announcement, SignatureKey
    from mls.virtual.devices import Carry
    from mls.virtual.emulation import Emulation, RingKey
    from vcd.core import siblings
    from vcd.core.keys import Opened
    from vcd.core.turn import Turn

KEYS = 2
"""A device's share of the signature keys is one of so many: with a removal it draws one for each conversation, and
others may hear of all these before they hear of the leaves."""
OWN = 8
"""One of so many is for what this device draws itself."""
PACKAGES = 4
"""A device's share of the KeyPackages is one of so many."""
GONE = 256
"""Signature keys that no leaf has yet, of a device that is not here any more."""


def carry(turn: Turn, group: Group) -> Carry:
    """What is carried out of what is announced in this epoch of the home."""
    from vcd.core import devices

    def carried(emulation: Emulation, told: Announcement, sender: LeafIndex) -> Emulation:
        device = devices.device_at(group, int(sender))
        if device is None or isinstance(told, Reserved):
            return emulation
        if device in devices.present(turn.home):
            return _carried(turn, emulation, told, sender, device)
        fits = _told(turn, emulation, device) + len(_new(emulation, told)) <= GONE and _room(emulation, told)
        return carried_out(emulation, turn.home_env, told, sender) if isinstance(told, STAYS) and fits else emulation

    return carried


STAYS = (Keys, Renewed)
"""What counts of a device that is not here any more."""


def _carried(turn: Turn, emulation: Emulation, told: Announcement, sender: LeafIndex, device: DeviceId) -> Emulation:
    keys, packages = _new(emulation, told), _uploaded(emulation, told)
    if keys and _told(turn, emulation, device) + len(keys) > emulation.settings.max_keys // KEYS:
        raise LimitError("a device told of too many signature keys that no leaf has")
    if not _room(emulation, told):
        raise LimitError("too many signature keys are kept already")
    if packages and made(turn, device) + packages > share(turn):
        raise LimitError("too many KeyPackages of one device wait for a Welcome")
    return carried_out(emulation, turn.home_env, told, sender)


def _room(emulation: Emulation, told: Announcement) -> bool:
    most = emulation.settings.max_keys
    return len(emulation.keys) + len(_new(emulation, told)) <= most - most // OWN


def late(turn: Turn, told: siblings.Told, announcement: Announcement) -> None:
    """What a device announced when it was not here, now that it is."""
    roster, before = turn.state.household.rosters.find(told.newest), turn.emulation
    leaf = None if roster is None else roster.leaf(told.device)
    if leaf is None or isinstance(announcement, Reserved):
        return
    try:
        after = _carried(turn, before, announcement, LeafIndex(leaf), told.device)
    except (ReplayError, OwnMessageError):  # another message told it
        return
    _note(turn, told.device, announcement, before, after)
    turn.change(emulation=after)
    waiting.wake_home(turn)


# ---------------------------------------------------------------- KeyPackages


def share(turn: Turn) -> int:
    """How many KeyPackages of one device are kept."""
    return turn.emulation.settings.max_packages // PACKAGES


def made(turn: Turn, device: DeviceId) -> int:
    """How many a device has made that a Welcome may be for."""
    rosters = turn.state.household.rosters
    origins = [each.origin for _, each in turn.emulation.stock.items() if each.origin is not None]
    makers = {each.epoch_id: rosters.find(each.epoch_id) for each in origins}
    return sum((there := makers[each.epoch_id]) is not None and there.at(each.leaf) == device for each in origins)


def _uploaded(emulation: Emulation, told: Announcement) -> int:
    if not isinstance(told, Uploaded):
        return 0
    return sum(each.reference not in emulation.stock for each in told.upload.key_packages)


# ---------------------------------------------------------------- signature keys


def heard(turn: Turn, group: Group, opened: Opened) -> None:
    """What was announced in this epoch of the home is about to be adopted: note who told it."""
    from vcd.core import devices

    event, told = opened.event, opened.announcement
    if told is None or not isinstance(event, ApplicationMessage):
        return
    device = devices.device_at(group, int(event.sender))
    if device is not None:
        _note(turn, device, told, turn.emulation, opened.emulation)


def _note(turn: Turn, device: DeviceId, told: Announcement, before: Emulation, after: Emulation) -> None:
    from vcd.core import devices

    table = noted = turn.state.household.tellers
    for public in {key.public for key in _keys(told)}:
        key, known = after.keys.find(public), table.find(public) or ()
        ours = public in before.keys and not known
        if key is not None and not key.used and not ours and device not in known:
            table = table.set(public, (*known, device))
    if table is not noted:
        devices.keep(turn, tellers=table)


def _keys(told: Announcement) -> Iterable[SignatureKey]:
    return told.keys if isinstance(told, Keys | Renewed | Uploaded) else ()


def _new(emulation: Emulation, told: Announcement) -> set[bytes]:
    return {key.public for key in _keys(told) if key.public not in emulation.keys}


def _told(turn: Turn, emulation: Emulation, device: DeviceId) -> int:
    """How many keys a device told of that no leaf has yet."""
    table = turn.state.household.tellers
    return sum(device in who and _waits(emulation.keys, public) for public, who in table.items())


def _waits(ring: PMap[bytes, RingKey], public: bytes) -> bool:
    key = ring.find(public)
    return key is not None and not key.used


def trim(turn: Turn) -> None:
    """More of the home is final: who is not in it any more keeps few."""
    from vcd.core import devices

    ring, noted = turn.emulation.keys, turn.state.household.tellers
    table: Mapping[bytes, tuple[DeviceId, ...]] = {
        public: who for public, who in sorted(noted.items()) if _waits(ring, public)
    }
    left, several = dict(table), _several(turn)
    count: dict[DeviceId, int] = {}
    for public, who in table.items():
        for device in who:
            count[device] = count.get(device, 0) + 1
            if device not in several and count[device] > GONE:
                left[public] = tuple(each for each in left[public] if each != device)
    gone: list[Any] = [public for public in noted if not left.get(public)]
    changed = {public: who for public, who in left.items() if who and who != noted[public]}
    if gone or changed:
        devices.keep(turn, tellers=noted.changed(gone, changed))
    turn.change(emulation=turn.emulation.without_keys([public for public, who in left.items() if not who]))


def handed(emulation: Emulation, table: PMap[bytes, tuple[DeviceId, ...]]) -> PMap[bytes, tuple[DeviceId, ...]]:
    """What a new device is told of who told: of the keys that it is handed and no leaf has yet."""
    return PMap({public: who for public, who in table.items() if _waits(emulation.keys, public)})


def _several(turn: Turn) -> frozenset[DeviceId]:
    """The devices where the home stands, and where it stands for good."""
    home = turn.home
    return frozenset(DeviceId(each.account) for at in (home.head, home.final) for each in home.graph.members(at))
