"""Devices of the account: listed, renamed, removed, and paired with it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import (
    ActionId,
    Change,
    Count,
    DeviceId,
    Done,
    Line,
    Milliseconds,
    Name,
    Nothing,
    PairId,
    Params,
    Result,
    Time,
    Words,
)

Step = Literal["waiting", "comparing", "confirmed", "linking", "finished", "failed", "canceled"]
Role = Literal["existing", "new"]


class Device(Result, frozen=True, kw_only=True):
    device: DeviceId
    name: str
    this: bool
    delegate: bool
    """Whether it may let in others."""
    added: Count
    """The version of the list that let it in."""
    seen_at: Time | None
    """When it was heard of last; None if it never was."""
    stale: bool
    """So long ago that it may be lost."""
    removing: bool


class Removal(Result, frozen=True, kw_only=True):
    """The removal of devices that is under way: complete when every chat has new keys."""

    devices: list[DeviceId]
    rotated: Count
    chats: Count


class DeviceList(Result, frozen=True, kw_only=True):
    devices: list[Device]
    version: Count
    removal: Removal | None


class Rename(Change, frozen=True, kw_only=True):
    device: DeviceId
    name: Name


class Remove(Change, frozen=True, kw_only=True):
    device: DeviceId
    words: Words | None = None
    """The recovery phrase, which it takes to remove a delegate."""


class Removing(Result, frozen=True, kw_only=True):
    action: ActionId
    chats: Count
    """How many need new keys before it is complete; `device.rotation` counts them."""


# ---------------------------------------------------------------- pairing


class PairStart(Params, frozen=True, kw_only=True):
    expires_ms: Annotated[int, msgspec.Meta(ge=10_000, le=3_600_000)] = 600_000


class PairOffer(Result, frozen=True, kw_only=True):
    pair: PairId
    code: str
    """Words to type on the new device, in the same local network; empty if this one speaks to none."""
    uri: str
    """For a QR code, or to be copied; it works from everywhere."""
    expires_at: Time


class PairJoin(Params, frozen=True, kw_only=True):
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """The words, or the URI of the QR code. Of E_PAIR_CODE, `given` says what it is instead, if that is known: the link
    of a `contact`; or a code that leads nowhere while nobody else can be asked: `words`, where this device looks into
    no local network, or a `uri` without addresses."""
    device_name: Name


class PairGet(Params, frozen=True, kw_only=True):
    pair: PairId | None = None
    """None for the one that is under way."""
    step: Step | None = None
    """With `wait_ms`: come back as soon as it is past this step."""
    wait_ms: Milliseconds = 0


class Pairing(Result, frozen=True, kw_only=True):
    pair: PairId
    role: Role
    step: Step
    code: str
    """As pair.start gave it, on the device that shows it, while it waits; empty otherwise."""
    uri: str
    check: str
    """The same short string on both screens; empty before the two have met."""
    peer_name: str
    """What the new device is called; on that one, what the other one is called, once people have compared."""
    peer: DeviceId | None
    """The new device; None on that one, and before the two have met."""
    reason: str
    """Why it failed, for people."""
    expires_at: Time


class PairConfirm(Params, frozen=True, kw_only=True):
    pair: PairId
    check: Line
    """What the other screen shows: it has to be the same."""
    name: Name | None = None
    """To call the new device otherwise than it says."""


class PairCancel(Params, frozen=True, kw_only=True):
    pair: PairId


# ---------------------------------------------------------------- events


class DeviceChanged(EventData, frozen=True, kw_only=True):
    device: DeviceId
    name: str
    this: bool


class DeviceRotation(EventData, frozen=True, kw_only=True):
    devices: list[DeviceId]
    """That are removed."""
    rotated: Count
    chats: Count
    complete: bool


class PairChanged(EventData, frozen=True, kw_only=True):
    pair: PairId
    role: Role
    step: Step
    check: str
    peer_name: str
    peer: DeviceId | None
    reason: str


_PAIRING = Pairing(
    pair=samples.PAIR,
    role="existing",
    step="comparing",
    code="",
    uri="",
    check="otter 4821",
    peer_name="phone",
    peer=samples.PHONE,
    reason="",
    expires_at=samples.AT,
)


def _pair_changed(step: Step, reason: str = "") -> PairChanged:
    return PairChanged(
        pair=samples.PAIR,
        role="existing",
        step=step,
        check="" if step == "waiting" else "otter 4821",
        peer_name="" if step == "waiting" else "phone",
        peer=None if step == "waiting" else samples.PHONE,
        reason=reason,
    )


FUNCTIONS = (
    Function(
        name="device.list",
        params=Nothing,
        result=DeviceList,
        errors=("E_NO_ACCOUNT",),
        doc="The devices of this account.",
        example=(
            Nothing(),
            DeviceList(
                devices=[
                    Device(
                        device=samples.LAPTOP,
                        name="laptop",
                        this=True,
                        delegate=True,
                        added=0,
                        seen_at=samples.AT,
                        stale=False,
                        removing=False,
                    )
                ],
                version=3,
                removal=None,
            ),
        ),
    ),
    Function(
        name="device.rename",
        params=Rename,
        result=Done,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_DEVICE_UNKNOWN", "E_NOT_DELEGATE", "E_NAME", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="Call a device otherwise; only our own devices see its name.",
        example=(Rename(device=samples.PHONE, name="old phone"), Done()),
    ),
    Function(
        name="device.remove",
        params=Remove,
        result=Removing,
        socket="admin",
        mutates=True,
        errors=(
            "E_NO_ACCOUNT",
            "E_DEVICE_UNKNOWN",
            "E_DEVICE_OWN",
            "E_NOT_DELEGATE",
            "E_ROOT_NEEDED",
            "E_WORDS",
            "E_OUT_OF_SYNC",
            "E_RESTORED",
        ),
        doc="Remove a device and shut it out of every chat; until that is complete it may read along.",
        example=(Remove(device=samples.PHONE), Removing(action=samples.ACTION, chats=7)),
    ),
    Function(
        name="pair.start",
        params=PairStart,
        result=PairOffer,
        socket="admin",
        errors=("E_NO_ACCOUNT", "E_NOT_DELEGATE", "E_PAIR_BUSY", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="On a device of the account: wait for a new device that is told the code.",
        example=(
            PairStart(),
            PairOffer(
                pair=samples.PAIR,
                code="7-otter-marble",
                uri="vcd1:pair:12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo:"
                "AAECAwQFBgcICQoLDA0ODw:/ip4/192.0.2.1/tcp/4001",
                expires_at=samples.AT,
            ),
        ),
    ),
    Function(
        name="pair.join",
        params=PairJoin,
        result=Pairing,
        socket="admin",
        errors=("E_ACCOUNT_EXISTS", "E_PAIR_CODE", "E_PAIR_BUSY", "E_NAME"),
        doc="On the new device: go to the device that shows the code.",
        example=(PairJoin(code="7-otter-marble", device_name="phone"), _PAIRING),
    ),
    Function(
        name="pair.confirm",
        params=PairConfirm,
        result=Pairing,
        socket="admin",
        errors=("E_PAIR_UNKNOWN", "E_PAIR_CHECK", "E_PAIR_STEP", "E_NAME"),
        doc="On the device of the account: both screens show the same, so let the new device in. "
        "After three wrong strings it is over.",
        example=(PairConfirm(pair=samples.PAIR, check="otter 4821"), _PAIRING),
    ),
    Function(
        name="pair.get",
        params=PairGet,
        result=Pairing,
        socket="admin",
        errors=("E_PAIR_UNKNOWN",),
        doc="How far a pairing is; it can wait for the next step.",
        example=(PairGet(pair=samples.PAIR, step="waiting", wait_ms=30_000), _PAIRING),
    ),
    Function(
        name="pair.cancel",
        params=PairCancel,
        result=Pairing,
        socket="admin",
        errors=("E_PAIR_UNKNOWN",),
        doc="Give a pairing up, on either device; the other one is told. A device that was let in already stays.",
        example=(PairCancel(pair=samples.PAIR), msgspec.structs.replace(_PAIRING, step="canceled")),
    ),
)

EVENTS = (
    EventType(
        type="device.added",
        data=DeviceChanged,
        doc="The account has a device more, where its devices stand now.",
        example=DeviceChanged(device=samples.PHONE, name="phone", this=False),
    ),
    EventType(
        type="device.removed",
        data=DeviceChanged,
        doc="The account has a device less; `device.rotation` says when it is shut out of every chat.",
        example=DeviceChanged(device=samples.PHONE, name="phone", this=False),
    ),
    EventType(
        type="device.renamed",
        data=DeviceChanged,
        doc="A device has another name.",
        example=DeviceChanged(device=samples.PHONE, name="old phone", this=False),
    ),
    EventType(
        type="device.rotation",
        data=DeviceRotation,
        doc="How far the removal of devices is: in how many of the chats they are shut out.",
        example=DeviceRotation(devices=[samples.PHONE], rotated=3, chats=7, complete=False),
    ),
    EventType(
        type="pair.started",
        data=PairChanged,
        doc="A pairing waits for the other device.",
        example=_pair_changed("waiting"),
    ),
    EventType(
        type="pair.met",
        data=PairChanged,
        doc="Both devices know the code; compare `check` on both screens.",
        example=_pair_changed("comparing"),
    ),
    EventType(
        type="pair.confirmed",
        data=PairChanged,
        doc="The device of the account lets the new one in; that takes as long as its other devices take to agree.",
        example=_pair_changed("confirmed"),
    ),
    EventType(
        type="pair.finished",
        data=PairChanged,
        doc="The new device is one of the account.",
        example=_pair_changed("finished"),
    ),
    EventType(
        type="pair.failed",
        data=PairChanged,
        doc="The pairing came to nothing, by `reason`.",
        example=_pair_changed("failed", "The code was typed wrong, or somebody is between the two devices."),
    ),
    EventType(
        type="pair.canceled",
        data=PairChanged,
        doc="One of the two gave it up.",
        example=_pair_changed("canceled"),
    ),
)
