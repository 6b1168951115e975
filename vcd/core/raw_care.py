"""Groups of apps, as far as the account's devices and the home have to do with them.

Our other devices are told how we came into a group, with what `mls.virtual` has for conversations (`RawTold`), and come
into it too. From then on each follows by itself, as its app gives it what the service delivered.

A leaf of ours is replaced where it would be replaced in a conversation (`leaves.due`): when a device was removed, when
one came that could not speak, when the list of devices shows somebody shut out. The devices take turns; the commit is a
frame like any other, and counts when it came back. Until then a device that was removed may go on reading: apps are
shown that (`renewing`). The removal of a device does not wait for it, as the app may be asleep for a year.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError, StaleError
from mls.group import retired
from mls.state import Ended, Group, stripped
from mls.virtual import client
from mls.virtual.announcements import Created, JoinedExternally, Welcomed, decode_announcement
from mls.virtual.errors import WithdrawnPackageError
from vcd.core import devices, kinds, leaves, ranks, raw, siblings
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.names import EpochId, GroupId
from vcd.core.raw_state import MAX_GONE, MAX_TOLD, PAST_LIFE, Epoch, Raw

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_LEAF = b"leaf"
_PAST = b"past"


def held(turn: Turn) -> Iterator[Group]:
    """All values of groups whose leaves are ours: what these were made by is kept."""
    for each in turn.state.raws.values():
        for epoch in each.epochs.values():
            group = epoch.group
            if group.public.tree.leaf(group.own_leaf) is not None:
                yield group


# ---------------------------------------------------------------- our other devices


def tell(turn: Turn, group_id: GroupId, announcement: bytes) -> None:
    """How we came into a group."""
    if len(announcement) > MAX_TOLD:
        turn.drop("raw-untold", f"{len(announcement)} bytes")
        return
    devices.tell(turn, siblings.RawTold(group_id=group_id, announcement=announcement))


def on_told(turn: Turn, told: siblings.Told, record: siblings.RawTold) -> None:
    """Another device came into a group. What rests on what is still to be heard is tried again by `devices`."""
    del told
    known = turn.state.raws.find(record.group_id)
    emulation, here = turn.emulation, None if known is None else known.live
    announcement = decode_announcement(record.announcement, emulation.settings.profile.form)
    taken = raw.Taken(turn, but=record.group_id)
    if here is not None and not isinstance(announcement, JoinedExternally):
        if isinstance(announcement, Welcomed) and _comes_again(turn, here, announcement):
            raise StaleError("our app has not come to where we went out of it, before that Welcome")
        return
    if len(turn.state.raws) >= turn.state.config.max_conversations:
        raise Refused("raw-full")
    match announcement:
        case Created():
            followed = client.follow_creation(
                emulation, turn.env, kinds.raw_parameters(), announcement, known_groups=taken
            )
        case JoinedExternally():
            followed = client.follow_external(
                emulation, turn.env, kinds.raw_parameters(), announcement, known_groups=taken
            )
        case Welcomed():
            _welcomed(turn, record.group_id, announcement)
            return
        case _:
            raise Refused("raw-told")
    group = followed.group
    if group.group_id != record.group_id or (here is not None and here.epoch >= group.epoch):
        return
    entry = EpochId(group.epoch_id)
    if entry in turn.state.raw_gone or (known is not None and known.entry == entry):
        return  # told again, as for a new device: of a group that we are out of since, the keys were used
    _check(group)
    turn.use(followed.emulation)
    raw.enter(turn, group)


def _comes_again(turn: Turn, here: Group, announcement: Welcomed) -> bool:
    """Whether a Welcome leads to a later time in a group than where this device's app has come to: `raw_heard` takes
    it up once the app has put what took us out. Of one that was taken up
    already the KeyPackage is gone.
    """
    try:
        got = client.join(
            turn.emulation,
            turn.env,
            kinds.raw_parameters(),
            announcement.welcome,
            tree=announcement.tree,
            known_groups=raw.Taken(turn, but=here.group_id),
        )
    except WithdrawnPackageError:
        return False
    return bool(got.group.group_id == here.group_id and got.group.epoch > here.epoch)


def _welcomed(turn: Turn, group_id: GroupId, announcement: Welcomed) -> None:
    """A Welcome that another device took up."""
    got = client.join(
        turn.emulation,
        turn.env,
        kinds.raw_parameters(),
        announcement.welcome,
        tree=announcement.tree,
        known_groups=raw.Taken(turn),
    )
    if got.group.group_id != group_id:
        raise Refused("raw-told")
    _check(got.group)
    from vcd.core import stock

    turn.use(got.emulation)
    if EpochId(got.group.epoch_id) not in turn.state.raw_gone:
        raw.enter(turn, got.group)
    stock.spent(turn, bytes(got.reference))


def _check(group: Group) -> None:
    try:
        raw.check_plain(group)
    except Misuse as misuse:
        raise Refused("raw-told", str(misuse)) from None


def forget(turn: Turn, command: inputs.RawForget) -> None:
    """Nothing of it stays, on any device."""
    known = raw.found(turn, command.group)
    _forget(turn, known)
    if known.entry and turn.state.home is not None and not turn.state.household.gone:
        devices.tell(turn, siblings.RawForgotten(group_id=known.group_id, entry=known.entry))


def on_forgotten(turn: Turn, told: siblings.Told, record: siblings.RawForgotten) -> None:
    """Another device was told to forget it."""
    del told
    known = turn.state.raws.find(record.group_id)
    if known is not None and known.entry == record.entry:
        _forget(turn, known)
    else:
        _note_gone(turn, record.entry)


def _forget(turn: Turn, known: Raw) -> None:
    gone = [number for number, frame in turn.state.raw_frames.items() if frame.group_id == known.group_id]
    turn.change(raws=turn.state.raws.discard(known.group_id), raw_frames=turn.state.raw_frames.changed(gone, {}))
    for subject in (_LEAF, _PAST):
        turn.not_due(Duty.RAW, subject + known.group_id)
    if known.entry:
        _note_gone(turn, known.entry)


def _note_gone(turn: Turn, entry: EpochId) -> None:
    """News of it that come late do not bring it back."""
    gone = turn.state.raw_gone
    if entry in gone:
        return
    number = 1 + max(gone.values(), default=0)
    if len(gone) >= MAX_GONE:
        gone = gone.discard(min(gone.items(), key=lambda item: item[1])[0])
    turn.change(raw_gone=gone.set(entry, number))


# ---------------------------------------------------------------- leaves that have to be replaced


def renewing(turn: Turn, known: Raw) -> bool:
    """Whether our leaf has to be replaced, and was not yet."""
    group = known.live
    if group is None or turn.state.household.gone or turn.home.here is None:
        return False
    return leaves.due(turn, group) or not leaves.able(turn, group)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The home stands elsewhere."""
    del before
    if after.home:
        look_at_all(turn)


def look_at_all(turn: Turn) -> None:
    for group_id in sorted(turn.state.raws.keys()):
        look(turn, group_id)


def look(turn: Turn, group_id: GroupId) -> None:
    """A group, or the home, stands elsewhere: is our leaf still good?"""
    known = turn.state.raws.find(group_id)
    if known is None or known.pending is not None or turn.state.home is None or not renewing(turn, known):
        return
    group, config = known.live, turn.state.config
    wait = leaves.SPREAD + ranks.device_place(turn) * config.turn_taking
    if group is not None and not leaves.able(turn, group) and len(devices.present(turn.home)) > 1:
        wait += config.desync_after  # somebody who can is better than an open commit
    turn.due(Duty.RAW, _LEAF + group_id, turn.now + wait)


def tend(turn: Turn, subject: bytes) -> None:
    """Duty RAW."""
    what, group_id = subject[: len(_LEAF)], GroupId(subject[len(_LEAF) :])
    known = turn.state.raws.find(group_id)
    if known is None or turn.state.home is None:
        return
    if what == _PAST:
        _expire(turn, known)
    else:
        _renew(turn, known)


def _renew(turn: Turn, known: Raw) -> None:
    group = known.live
    if group is None or known.pending is not None or not renewing(turn, known):
        return
    if not devices.may_speak(turn):
        turn.due(Duty.RAW, _LEAF + known.group_id, turn.now + turn.state.config.retry_most)
        return
    try:
        raw.make(turn, known, group, references=())  # what to take up is for the app to say
    except (MlsError, Misuse, Refused) as error:
        turn.drop("raw-later", str(error))
        turn.due(Duty.RAW, _LEAF + known.group_id, turn.now + turn.state.config.retry_most)


# ---------------------------------------------------------------- epochs that were left


def expire_later(turn: Turn, group_id: GroupId) -> None:
    known = turn.state.raws[group_id]
    times = [each.left_at for each in known.epochs.values() if each.left_at is not None]
    if times:
        turn.later(Duty.RAW, _PAST + group_id, min(times) + PAST_LIFE)


def _expire(turn: Turn, known: Raw) -> None:
    """Keys whose time is over. Of a group that we are out of, who was in it stays to be seen."""
    epochs = known.epochs
    for name, each in sorted(known.epochs.items()):
        if each.left_at is None or each.left_at + PAST_LIFE > turn.now:
            continue
        if name == known.here:
            epochs = epochs.set(name, Epoch(group=stripped(each.group, Ended.REMOVED)))
        else:
            epochs = epochs.discard(name)
    raw.keep(turn, replace(known, epochs=epochs))
    expire_later(turn, known.group_id)


# ---------------------------------------------------------------- a new device


def handed(turn: Turn) -> Iterator[tuple[Raw, Group, list[Group]]]:
    """The groups that a new device is to be in at once, with those earlier epochs that read late messages, and those
    that commits would begin which are on their way.
    """
    for _, known in sorted(turn.state.raws.items()):
        group = known.live
        if group is not None:
            beside = [each.group for name, each in known.epochs.items() if name != known.here]
            yield known, group, sorted(beside, key=lambda each: -each.epoch)


def took_up(turn: Turn, entry: EpochId, group: Group, past: Sequence[Group]) -> None:
    """On the new device."""
    parameters = kinds.raw_parameters()
    raw.enter(turn, replace(group, parameters=parameters))
    known = turn.state.raws[group.group_id]
    epochs, spare = known.epochs, list[EpochId]()
    for each in past:
        name, value = EpochId(each.epoch_id), replace(each, parameters=parameters)
        if each.epoch > group.epoch:
            epochs = epochs.set(name, Epoch(group=value))
            spare.append(name)
        else:
            value = value if value.ended is not None else retired(value)
            epochs = epochs.set(name, Epoch(group=value, left_at=turn.now))
    raw.keep(turn, replace(known, entry=entry, epochs=epochs, spare=tuple(spare)))
    expire_later(turn, group.group_id)
