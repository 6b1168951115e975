"""What a device keeps of conversations of mode DIMLS, as values, and what is said in them. `sending` changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import ClassVar

from mls.distributed import stored
from mls.distributed.mode import send_group_capabilities, with_send_groups
from mls.distributed.send_group import SendGroup
from mls.distributed.stored import SessionSnapshot
from mls.distributed.values import Session
from mls.leaf_node import Capabilities
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.provider import Provider
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from vcd.core.accounts.head import Head
from vcd.core.names import AccountId, DeviceId, GroupId, IntentId
from vcd.core.payloads import Content
from vcd.core.policy import Mode, Policy
from vcd.core.record import decode_as, encode_as
from vcd.core.topics import TopicSecret

POLICY = Policy(mode=Mode.DIMLS)
"""Of all these conversations: how long messages are remembered, and how often leaves are renewed."""
MAX_PACKAGES = 1024
"""KeyPackages that are kept for newcomers, and those in one entry."""


@cache
def parameters() -> Parameters:
    """Of send groups. They are plain MLS, and hold no policy."""
    return with_send_groups(Parameters())


NUMBERS = parameters().components.numbers


@cache
def capabilities() -> Capabilities:
    return send_group_capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A KeyPackage of this device, by which others add it to their send groups."""

    package: bytes
    reference: bytes
    init_private: HpkePrivateKey
    leaf_private: HpkePrivateKey
    until: int
    """When it is not good any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Somebody whom this device is to bring in."""

    intent: IntentId
    greeting: str = ""
    asked: int = 0
    """When their KeyPackage was asked for last."""
    tries: int = 0
    sent: bool = False
    """Whether the call is on its way to them."""
    came: bool = False
    """Whether a device of theirs is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sends:
    """One conversation."""

    by: AccountId
    """Who called us, or ourselves."""
    signature: SignaturePrivateKey | None = None
    """Of this device's leaves; None on a device that was not let in yet and has not asked."""
    session: SessionSnapshot | None = None
    """None until somebody who is in has let this device in."""
    topics: tuple[TopicSecret, ...] = field(default=(), repr=False)
    """All that are listened to; the first is the one to write to."""
    number: int = 0
    """How often the topic was changed."""
    offers: tuple[Offered, ...] = ()
    packages: PMap[bytes, bytes] = field(default_factory=PMap)
    """The newest KeyPackage of each member, for those who come in, by the name of its send group."""
    called: PMap[AccountId, Called] = field(default_factory=PMap)
    devices: PMap[bytes, DeviceId] = field(default_factory=PMap)
    """Which of our devices has which send group."""
    leaving: frozenset[AccountId] = frozenset()
    """Who asked to be taken out."""
    lost: frozenset[bytes] = frozenset()
    """Members who cannot be followed any more."""
    shown: tuple[AccountId, ...] = ()
    """Who is in it, as the app was told last."""
    took: int = 0
    """When this device committed last."""
    offered: int = 0
    """When it made its last KeyPackage."""
    over: bool = False
    """Whether we are out of it."""


def for_another(sends: Sends) -> Sends:
    """What another device of ours is told: it asks to be let in by itself."""
    return Sends(
        by=sends.by,
        topics=sends.topics,
        number=sends.number,
        packages=sends.packages,
        devices=sends.devices,
        shown=sends.shown,
        over=sends.over,
    )


# ---------------------------------------------------------------- a session in rows


BESIDE_OTHERS = tuple(each.name for each in fields(Session) if each.name not in ("parameters", "settings", "others"))


def encode_own(session: Session) -> bytes:
    """Our own send group, and what belongs to none of them."""
    return stored.encode(replace(session, others={})).raw


def encode_other(session: Session, group: SendGroup) -> bytes:
    """One that we follow."""
    return stored.encode(
        Session(parameters=session.parameters, settings=session.settings, dgroup_id=b"", own=group, others={})
    ).raw


def decode_session(provider: Provider, own: bytes, others: Iterable[bytes]) -> Session:
    session = stored.decode(provider, parameters(), SessionSnapshot(own))
    groups = [stored.decode(provider, parameters(), SessionSnapshot(each)).own for each in others]
    return replace(session, others={each.id: each for each in groups})


# ---------------------------------------------------------------- what is said inside


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """Where to write from now on: somebody was removed, who knows the topics of before."""

    RECORD_TAG: ClassVar[int] = 10
    number: int
    topic: TopicSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The speaker's account asks to be taken out, with all its devices."""

    RECORD_TAG: ClassVar[int] = 11


Word = Content | NewTopic | Leaving


def pack_word(word: Word) -> bytes:
    return encode_as(Word, word)


def unpack_word(data: bytes) -> Word:
    found: Word = decode_as(Word, data)
    return found


MAX_GREETING = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """What a call says, sealed to a KeyPackage of whom it is for."""

    group_id: GroupId
    topic: TopicSecret
    number: int
    head: Head
    """Of who calls."""
    greeting: str
    signature: bytes = field(repr=False)
    """By the account key."""
