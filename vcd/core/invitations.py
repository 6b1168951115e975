"""Welcomes that come to our inbox, and what we answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vcd.core.names import FrameId, GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.payloads import Invite, Retry
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A Welcome that waits."""

    group_id: GroupId


def on_invite(turn: Turn, payload: Invite, frame: FrameId) -> None:
    """Welcomes that come to our inbox, and what we answer."""


def on_retry(turn: Turn, payload: Retry, frame: FrameId) -> None:
    """Welcomes that come to our inbox, and what we answer."""


def answer(turn: Turn, command: inputs.Answer) -> None:
    """Welcomes that come to our inbox, and what we answer."""


def started(turn: Turn) -> None:
    """Welcomes that come to our inbox, and what we answer."""
