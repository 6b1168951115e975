"""What some of an account's devices know of people and names, and others do not: they ask, and are told it once more.

There are two ways to that. One is an old disk.

What a device tells is kept until an epoch is final that stands on the one where it was told (`devices`): by then all
have voted for that, and so have heard it. A device that was set back had voted, and knows nothing of it any more: not
what others told it, where the logs have lost that or it cannot follow to those epochs, and not what it told them itself
in epochs that it had begun. Whom it lets in then would be handed its gaps. So it asks as soon as it may speak again.

The other is a device that was removed. What it had told before counts for those who heard it first, and nobody who
hears of the removal first does anything that it says, as it could say anything. If one who stays had heard it by then
it has to count for all, and what nobody had, for nobody. So whoever follows a removal asks; from then on neither who
asks nor who answers does anything more that the removed one says.

A question (`siblings.Compare`) is a hash of all that the device has of this kind. Those who have something else are
to tell what they have (`siblings.Recalled`), in turn: the most senior one first, who has asked itself and was not
answered yet last, and nobody who has no more than what was told by then. All take what they hear so, as the later of
two words counts. That somebody is blocked or verified has no time, so only who asked takes that. As an answer is much
longer than a question, who was answered is answered again a while later.

This is for labels, contacts and certificates. Conversations and intents are found again elsewhere (`leaves`, `desync`,
`intents`), and so are keys (`comeback`, `list_keys`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vcd.core import certificates, contacts, devices, labels, ranks, siblings
from vcd.core.duties import Duty
from vcd.core.errors import Malformed
from vcd.core.names import DeviceId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vcd.core.siblings import Told
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

AT_ONCE = 256 << 10
"""So many bytes are told in one message, about."""

_TIMED = siblings.Labeled | siblings.ContactAdded | siblings.ContactRemoved | siblings.CertificateSet
_UNTIMED = siblings.ContactBlocked | siblings.ContactVerified
_Recalled = _TIMED | _UNTIMED


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Where a device went from the home, those who stay compare what they know."""
    if not after.home or turn.state.home is None or turn.state.household.gone or not before.graph.has(before.head):
        return
    here = devices.present(after)
    if len(here) > 1 and not {*devices.present(before)} <= {*here}:
        turn.due(Duty.HOME, devices.RECALL, turn.now + turn.state.config.quiet)


def ask(turn: Turn) -> None:
    """Duty HOME: after a device with an old disk may act again, or another one went."""
    if len(devices.present(turn.home)) < 2:
        return
    if not devices.may_speak(turn):
        turn.due(Duty.HOME, devices.RECALL, turn.now + turn.state.config.retry_most)
        return
    turn.due(Duty.HOME, _subject(turn.state.me.device), turn.now + turn.state.config.retry_most)
    devices.tell(turn, siblings.Compare(whole=_whole(_known(turn))))


def on_compare(turn: Turn, told: Told, record: siblings.Compare) -> None:
    """Another device asks. This one may have been set back, and hear what it asked itself before that."""
    me, config = turn.state.me.device, turn.state.config
    if told.device == me or record.whole == _whole(_known(turn)):
        return
    asks = (Duty.HOME, _subject(me)) in turn.state.duties
    before = ranks.device_place(turn) + (len(devices.present(turn.home)) if asks else 0)
    said = [each.at for each in turn.state.household.said.values() if _is_for(told.device, each.data)]
    soon = max([turn.now, *(at + config.digest_every for at in said)])  # what it was told may be on its way
    turn.due(Duty.HOME, _subject(told.device), soon + config.quiet + before * config.turn_taking)


def chore(turn: Turn, device: DeviceId) -> None:
    """Duty HOME: nobody before us told that device what we have. Our own name says that nobody answered us yet."""
    if device == turn.state.me.device or device not in devices.present(turn.home):
        return
    if not devices.may_speak(turn):
        turn.due(Duty.HOME, _subject(device), turn.now + turn.state.config.retry_most)
        return
    known = _known(turn)
    _unsay(turn, device)
    for several in _parts(known):
        devices.tell(turn, siblings.Recalled(device=device, records=several, whole=_whole(known)))


def _unsay(turn: Turn, device: DeviceId) -> None:
    """What it was told before is not said again: whoever asks all the time pushes out nothing else that is."""
    said = turn.state.household.said
    old = [number for number, each in said.items() if _is_for(device, each.data)]
    devices.keep(turn, said=said.changed(old, {}))


def _is_for(device: DeviceId, data: bytes) -> bool:
    if data[:2] != bytes([siblings.MARK, siblings.Recalled.RECORD_TAG]):
        return False
    record = siblings.unpack(data)
    return isinstance(record, siblings.Recalled) and record.device == device


def on_recalled(turn: Turn, told: Told, record: siblings.Recalled) -> None:
    """A device told another one all that it has."""
    mine = record.device == turn.state.me.device
    several = [_recalled(data) for data in record.records]
    blocked = {each.account for each in several if isinstance(each, siblings.ContactBlocked) and each.blocked}
    for each in sorted(several, key=_order):
        if isinstance(each, siblings.ContactRemoved):
            contacts.on_removed(turn, told, each, blocked=each.account in blocked)
        elif mine or isinstance(each, _TIMED):
            siblings.handlers()[type(each)](turn, told, each)
    if mine or record.whole == _whole(_known(turn)):
        turn.not_due(Duty.HOME, _subject(record.device))


def _recalled(data: bytes) -> _Recalled:
    each = siblings.unpack(data)
    if not isinstance(each, _TIMED | _UNTIMED):
        raise Malformed("nothing that an old disk is told again")
    return each


def _order(each: _Recalled) -> int:
    """Cards come first, as what is not known can be neither blocked nor verified; then who was removed, which ends
    both; then what holds of them now.
    """
    return 2 if isinstance(each, _UNTIMED) else isinstance(each, siblings.ContactRemoved)


def _subject(device: DeviceId) -> bytes:
    return devices.RECALL + device


def _known(turn: Turn) -> list[bytes]:
    """The same on all devices that have heard the same."""
    several = [*labels.records(turn), *contacts.records(turn), *certificates.records(turn)]
    return [data for _, data in sorted((_order(each), siblings.pack(each)) for each in several)]


def _whole(known: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in sorted(known))).digest()


def _parts(known: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    part: list[bytes] = []
    size = 0
    for each in known:
        if part and size + len(each) > AT_ONCE:
            yield tuple(part)
            part, size = [], 0
        part.append(each)
        size += len(each)
    if part:
        yield tuple(part)
