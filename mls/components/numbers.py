"""mls-extensions §4.1 and §7.5: component numbers.

A component is named by sixteen bits that the application assigns. IANA keeps a registry of those that have a meaning
everywhere, but it is not final: drafts have collided on numbers before. So nothing in `mls` writes one of these down;
all is asked of a `Numbers` value that a deployment may fill differently. Every member of a group must use the same.

GREASE numbers stand for nothing. They are sent so that everybody stays used to ignoring what they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NewType

from mls.errors import CallerError

ComponentId = NewType("ComponentId", int)

APP_COMPONENTS = ComponentId(0x0001)
SAFE_AAD = ComponentId(0x0002)
CONTENT_MEDIA_TYPES = ComponentId(0x0003)
LAST_RESORT_KEY_PACKAGE = ComponentId(0x0004)
APP_ACK = ComponentId(0x0005)
VIRTUAL_CLIENTS = ComponentId(0x667A)
DMLS = ComponentId(0x8D01)
DIMLS = ComponentId(0x8D02)
VIRTUAL_COMPANION = ComponentId(0x8D03)

HIGHEST = 0xFFFF

GREASE_COMPONENTS: tuple[ComponentId, ...] = tuple([ComponentId(0x0A0A + 0x1010 * n) for n in range(8)])
"""Fewer than RFC 9420 has for its registries: the upper half of this one is for private use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Which number each component of this implementation has."""

    app_components: ComponentId = APP_COMPONENTS
    safe_aad: ComponentId = SAFE_AAD
    content_media_types: ComponentId = CONTENT_MEDIA_TYPES
    last_resort_key_package: ComponentId = LAST_RESORT_KEY_PACKAGE
    app_ack: ComponentId = APP_ACK
    virtual_clients: ComponentId = VIRTUAL_CLIENTS
    """The draft's temporary number (draft-ietf-mls-virtual-clients)."""
    dmls: ComponentId = DMLS
    """For private use, as the draft has none."""
    dimls: ComponentId = DIMLS
    """For private use, as the draft has none."""
    virtual_companion: ComponentId = VIRTUAL_COMPANION
    """For private use: what a new device of a virtual client is told beside what the draft's state can say."""

    def __post_init__(self) -> None:
        taken: dict[int, str] = {}
        for each in fields(self):
            number: int = getattr(self, each.name)
            if not 1 <= number <= HIGHEST:
                raise CallerError(f"component {each.name} has the number {number}", "give one of 1 to 65535")
            if number in GREASE_COMPONENTS:
                raise CallerError(f"component {each.name} has a GREASE number, which means nothing", "give another")
            if number in taken:
                raise CallerError(f"components {taken[number]} and {each.name} have one number", "give each its own")
            taken[number] = each.name


def pick_grease(random: bytes) -> tuple[ComponentId, ...]:
    """One GREASE number per byte, each once, in the order of the bytes (§5.1)."""
    count = len(GREASE_COMPONENTS)
    return tuple(dict.fromkeys([GREASE_COMPONENTS[byte % count] for byte in random]))
