"""Conversations that a device that stays told us of, and what a device that went may still say of them.

A device that is removed may have brought the account into a conversation that its other devices follow. What it said of
that counts although it is gone, for whoever hears it late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.virtual.announcements import Created, JoinedExternally, decode_announcement
from mls.welcome import decode_group_info
from vcd.core import siblings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vcd.core.names import GroupId
    from vcd.core.turn import Turn


def vouched(turn: Turn, data: bytes) -> bool:
    """Whether it is of a conversation that a device that stays told us of."""
    known = turn.state.household.vouched
    if not known or data[:1] >= bytes([siblings.MARK]):
        return False
    try:
        announcement = decode_announcement(data, turn.emulation.settings.profile.form)
        if not isinstance(announcement, Created | JoinedExternally):
            return False
        return decode_group_info(announcement.group_info).context.group_id in known
    except MlsError:
        return False


MAX_VOUCHED = 4096


def vouch(turn: Turn, group_ids: Iterable[GroupId]) -> None:
    """Another device is in these conversations; this one may have missed how the account came in."""
    from vcd.core import devices

    unknown = [each for each in group_ids if each not in turn.state.strands]
    vouched = frozenset([*turn.state.household.vouched, *unknown])
    if len(vouched) <= MAX_VOUCHED and vouched != turn.state.household.vouched:
        devices.keep(turn, vouched=vouched)
        devices.try_held(turn)
