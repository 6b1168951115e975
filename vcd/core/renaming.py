"""What the account's devices are called: names on the list, which only the account's own devices see.

A delegate signs a list with another name (`RenameDevice`) and commits it in the home. Where that commit loses, and the
list is joined with the one of the home, which has the old name, it is made again once the home stands for good: not
before, so that two delegates who call one device differently do not contradict each other without end. The later one
stands. Who gives another name where the first one stands has heard it: that one is wanted no more from then on,
whatever becomes of either commit, as whoever gave the later one makes that again. Where two devices were given one name
apart, the one that is new on the list gets a number (`editions.free_name`), and that is what was wanted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from vcd.core import acting, devices, linking, listing
from vcd.core.accounts import editions
from vcd.core.accounts.device_list import MAX_NAME
from vcd.core.accounts.identity import readable
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.household import Naming

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.accounts.device_list import Edition
    from vcd.core.names import DeviceId
    from vcd.core.turn import Turn

TRIES = 12


def rename(turn: Turn, command: inputs.RenameDevice) -> None:
    """Call a device otherwise."""
    if devices.require(turn).delegate is None:
        raise Misuse("not-delegate", "this device may not rename others, nor itself")
    try:
        readable(command.name, MAX_NAME, "this")
    except ValueError:
        raise Misuse("bad-name", f"A name is one line of at most {MAX_NAME} letters.") from None
    edition = linking.next_edition(turn)
    if (
        linking.delegate_key(turn, edition) is None
    ):  # a term began under which it is none, or its key is still on its way
        raise Misuse("not-delegate", "this device may not rename others now, nor itself")
    entry = edition.devices.find(command.device)
    if entry is None:
        raise Misuse("no-such-device", "there is no such device in the account")
    if _taken(turn, edition, command.device, command.name):
        raise Misuse("bad-name", "Another device is called so: people could not tell them apart.")
    wanted = turn.state.household.names.set(command.device, Naming(name=command.name))
    devices.keep(turn, names=wanted)
    push(turn)


def _taken(turn: Turn, edition: Edition, device: DeviceId, name: str) -> bool:
    wanted = turn.state.household.names
    called = [(each.device, each.name) for each in edition.devices.devices if each.device not in wanted]
    called += [(each, naming.name) for each, naming in sorted(wanted.items())]
    return any(each != device and known.casefold() == name.casefold() for each, known in called)


def push(turn: Turn) -> None:
    """Duty HOME: commit a list with the names that are wanted, where it has others."""
    here = turn.home.here
    if not turn.state.household.names or here is None:
        return
    turn.later(Duty.HOME, devices.NAMES, turn.now + turn.state.config.retry)
    if not devices.may_speak(turn):
        return
    settled = turn.home.head == turn.home.final
    if not settled and all(each.tries for each in turn.state.household.names.values()):
        return
    now = listing.of_group(here.group)
    for device, naming in sorted(turn.state.household.names.items()):
        entry = now.devices.find(device)
        stands = entry is None or entry.name == _free(now, device, naming)  # it may have been called so before
        if (settled and stands) or naming.tries >= TRIES:
            _drop(turn, device)
        elif not stands:
            wanted = turn.state.household.names.set(device, replace(naming, tries=naming.tries + 1))
            devices.keep(turn, names=wanted)
            try:
                _sign(turn, device, naming)
            except (Misuse, Refused) as error:  # another term began, in which this device is no delegate
                turn.drop("rename-later", str(error))
    made = turn.state.household.made
    if made is None or made.head.digest == now.head.digest or not _stands_alone(turn, made, now):
        return
    try:
        acting.commit(turn, turn.home, proposals=[listing.update(made)], force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("rename-later", str(error))


def _free(edition: Edition, device: DeviceId, naming: Naming) -> str:
    """What that device can be called on a list."""
    return editions.free_name(naming.name, [each.name for each in edition.devices.devices if each.device != device])


def _sign(turn: Turn, device: DeviceId, naming: Naming) -> None:
    edition = linking.next_edition(turn)
    entry, key = edition.devices.find(device), linking.signer(turn, edition)
    name = _free(edition, device, naming)
    if entry is None or key is None:
        _drop(turn, device)
    elif entry.name != name:
        linking.sign(turn, editions.rename_device(turn.provider, edition, key, device, name))


def _stands_alone(turn: Turn, made: Edition, now: Edition) -> bool:
    """Whether the list can be committed as it is: nobody has to go for it, and it says what is wanted."""
    if any(made.devices.find(each) is None for each in devices.present(turn.home)):
        return False  # `rotation` commits it, with the removal
    wanted = turn.state.household.names
    names = {each.device: each.name for each in made.devices.devices}
    before = {each.device: each.name for each in now.devices.devices}
    news = any(names.get(each) == _free(made, each, naming) != before.get(each) for each, naming in wanted.items())
    return news and linking.follows(turn, now, made)


def _drop(turn: Turn, device: DeviceId) -> None:
    devices.keep(turn, names=turn.state.household.names.discard(device))


def followed(turn: Turn, old: Edition, new: Edition) -> None:
    """Another device's commit: of the names that stood before it, those that it takes back are wanted no more.

    A list of another term says nothing of names: it may have been signed before, where they did not stand.
    """
    if old.head.authority.digest != new.head.authority.digest:
        return
    for device, naming in sorted(turn.state.household.names.items()):
        entry = new.devices.find(device)
        if entry is not None and _stands(old, device, naming) and not _stands(new, device, naming):
            if entry.name != _called(old, device):  # else another device's name is all that is new
                _drop(turn, device)


def _called(edition: Edition, device: DeviceId) -> str | None:
    entry = edition.devices.find(device)
    return None if entry is None else entry.name


def _stands(edition: Edition, device: DeviceId, naming: Naming) -> bool:
    return _called(edition, device) == _free(edition, device, naming)


def moved(turn: Turn) -> None:
    """The home stands elsewhere: a name may stand for good, or be wanted again."""
    strand = turn.home
    final = strand.kept.find(strand.final)
    if not turn.state.household.names or final is None:
        return
    certain = listing.of_group(final.group)
    for device, naming in sorted(turn.state.household.names.items()):
        if _stands(certain, device, naming):
            _drop(turn, device)
    if turn.state.household.names:
        turn.later(Duty.HOME, devices.NAMES, turn.now + turn.state.config.retry)
