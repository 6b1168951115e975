"""The account: founded, recovered, ruled."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import (
    AccountId,
    ActionId,
    Begun,
    Change,
    ChatId,
    Count,
    DeviceId,
    Done,
    Id32,
    Just,
    Key,
    MaybeName,
    Milliseconds,
    Name,
    Nothing,
    Path,
    Result,
    Secret,
    Time,
    Words,
    sized,
)

Devices = Annotated[tuple[DeviceId, ...], msgspec.Meta(max_length=64)]


class AccountRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who rules the account's devices; only the recovery phrase changes it."""

    delegates_remove: bool = True
    """Whether a delegate may remove devices that are no delegates."""
    overrulers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """How many devices together may overrule the delegates without the recovery phrase; 0 for none, and never 1."""
    overrule_delay_ms: Milliseconds = 7 * 24 * 3600 * 1000
    """How long each of them waits first."""


class AccountCreate(Change, frozen=True, kw_only=True):
    device_name: Name
    name: MaybeName = ""
    """What our card suggests to be called."""


class AccountCreated(Result, frozen=True, kw_only=True):
    account: AccountId
    device: DeviceId
    fingerprint: str
    words: list[str]
    """The recovery phrase. It is shown this once and kept nowhere: empty where a request is answered again."""


class Certificate(Result, frozen=True, kw_only=True):
    """What an account shows beside its root key, as this device judges it now. It decides nothing."""

    subject: str
    """By what name its issuer knows the account; of a contact's that is refused, empty."""
    issuer: str
    expires_at: Time
    trust: Literal["verified", "unchecked", "refused"]
    """Whether it leads to one of `trust.anchors`; `unchecked` where there are none in the settings."""
    reason: str
    """Why it is refused, for people."""


class Overruling(Result, frozen=True, kw_only=True):
    """What a device asks for instead of the present delegates; see account.overrule."""

    device: DeviceId
    """Who asks."""
    digest: Id32
    stay: list[DeviceId]
    delegates: list[DeviceId]
    signed: list[DeviceId]
    lacks: Count


class Account(Result, frozen=True, kw_only=True):
    account: AccountId
    name: str
    fingerprint: str
    """Of the root key: what others compare."""
    version: Count
    """Of the list of devices, within its term."""
    term: Count
    devices: Count
    delegate: bool
    """Whether this device may let in others."""
    rules: AccountRules
    signing_key: Key
    """Public; what a certificate is to be for."""
    mailbox_key: Annotated[str, msgspec.Meta(max_length=64)]
    """By which mailboxes know the account: 64 digits for `mailbox.tenants`, others after each removal of a device.

    Empty on a device that was removed.
    """
    certificate: Certificate | None
    overrulings: list[Overruling]
    branches: Count
    """Of the devices' own group: more than one while they have not heard each other."""
    in_sync: bool
    """Whether this device can follow the others."""
    asks: bool
    """Whether it waits for account.come_back."""


class AccountRename(Change, frozen=True, kw_only=True):
    name: MaybeName
    """What links of ours suggest to call us from now on; empty for nothing."""


class Rotate(Change, frozen=True, kw_only=True):
    chats: bool = False
    """Also in every chat."""


class Rotating(Result, frozen=True, kw_only=True):
    actions: list[Begun]
    """The devices' own group first."""


class Recover(Change, frozen=True, kw_only=True):
    words: Words | None = None
    """The recovery phrase; not needed with a backup that holds it."""
    device_name: Name
    backup: Path | None = None
    """A backup file to take contacts and history from."""
    passphrase: Secret | None = None
    """Of the backup."""


class Recovered(Result, frozen=True, kw_only=True):
    account: AccountId
    device: DeviceId
    contacts: Count
    chats: Count
    """How many there is history of. This device is in none of them before it is invited again."""


class SetCertificate(Change, frozen=True, kw_only=True):
    chain: Annotated[list[Annotated[bytes, sized(1, 65536)]], msgspec.Meta(max_length=16)]
    """X.509 in DER, the account's own first; none to go without."""


class CertificateSet(Result, frozen=True, kw_only=True):
    certificate: Certificate | None


class SetAccountRules(Change, frozen=True, kw_only=True):
    words: Words
    rules: AccountRules
    delegates: Devices = ()
    """None for those who are delegates now."""


class Overrule(Change, frozen=True, kw_only=True):
    stay: Devices
    """All others would be removed."""
    delegates: Devices
    """Who of those may let in others from then on; this device among them."""


class Consent(Change, frozen=True, kw_only=True):
    device: DeviceId
    digest: Id32
    """As told: another wish than the one that was shown is not consented to."""


# ---------------------------------------------------------------- events


class ActionSettled(EventData, frozen=True, kw_only=True):
    action: ActionId
    stands: bool
    """Whether it is done, for good."""
    reason: str
    """Why not (docs/node-reference.md, Reasons)."""
    chat: ChatId | None


class AccountForked(EventData, frozen=True, kw_only=True):
    branches: Count


class AccountHealed(EventData, frozen=True, kw_only=True):
    pass


class AccountSplit(EventData, frozen=True, kw_only=True):
    over: bool


class AccountNeedsAttention(EventData, frozen=True, kw_only=True):
    what: str
    """`out-of-sync`, or a warning of docs/node-reference.md."""
    text: str
    asks: bool
    """Whether it waits for account.come_back."""
    over: bool


class AccountRenamed(EventData, frozen=True, kw_only=True):
    name: str


class AccountCertified(EventData, frozen=True, kw_only=True):
    shown: bool
    """Whether there is one now."""


class OverruleAsked(EventData, frozen=True, kw_only=True):
    device: DeviceId
    digest: Id32
    stay: list[DeviceId]
    delegates: list[DeviceId]
    signed: list[DeviceId]
    lacks: Count


class AccountChanged(EventData, frozen=True, kw_only=True):
    account: AccountId | None
    """None when this device belongs to no account any more."""
    device: DeviceId | None
    reason: str
    """`created`, `joined`, `recovered`, `forgotten`."""


CERTIFICATE = Certificate(
    subject="CN=Alice", issuer="CN=Example CA", expires_at=samples.AT, trust="verified", reason=""
)

FUNCTIONS = (
    Function(
        name="account.create",
        params=AccountCreate,
        result=AccountCreated,
        socket="admin",
        mutates=True,
        errors=("E_ACCOUNT_EXISTS", "E_NAME"),
        doc="Found an account with this device as its first one; shows the recovery phrase, once.",
        example=(
            AccountCreate(device_name="laptop", name="Alice"),
            AccountCreated(
                account=samples.ALICE, device=samples.LAPTOP, fingerprint=samples.FINGERPRINT, words=samples.WORDS
            ),
        ),
    ),
    Function(
        name="account.get",
        params=Nothing,
        result=Account,
        errors=("E_NO_ACCOUNT",),
        doc="The account that this device belongs to, and who rules its devices.",
        example=(
            Nothing(),
            Account(
                account=samples.ALICE,
                name="Alice",
                fingerprint=samples.FINGERPRINT,
                version=3,
                term=0,
                devices=2,
                delegate=True,
                rules=AccountRules(),
                signing_key=b"\x04" * 32,
                mailbox_key="05" * 32,
                certificate=None,
                overrulings=[],
                branches=1,
                in_sync=True,
                asks=False,
            ),
        ),
    ),
    Function(
        name="account.rename",
        params=AccountRename,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_NAME", "E_OUT_OF_SYNC"),
        doc="Call the account otherwise, on all devices; contacts keep the name that they have for us.",
        example=(AccountRename(name="Alice"), Done()),
    ),
    Function(
        name="account.rotate",
        params=Rotate,
        result=Rotating,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="Give the group of our devices fresh keys, and on request each chat.",
        example=(Rotate(), Rotating(actions=[Begun(action=samples.ACTION)])),
    ),
    Function(
        name="account.recover",
        params=Recover,
        result=Recovered,
        socket="admin",
        mutates=True,
        errors=("E_ACCOUNT_EXISTS", "E_WORDS", "E_PASSPHRASE", "E_FILE", "E_NAME", "E_CLOCK"),
        doc="With the recovery phrase, when no device is left: take the account up again on this one.",
        example=(
            Recover(words=samples.WORDS, device_name="laptop"),
            Recovered(account=samples.ALICE, device=samples.LAPTOP, contacts=0, chats=0),
        ),
    ),
    Function(
        name="account.set_certificate",
        params=SetCertificate,
        result=CertificateSet,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CERTIFICATE", "E_OUT_OF_SYNC"),
        doc="Show others an X.509 certificate for the account's key, or none.",
        example=(SetCertificate(chain=[b"\x30\x82"]), CertificateSet(certificate=CERTIFICATE)),
    ),
    Function(
        name="account.set_rules",
        params=SetAccountRules,
        result=Begun,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_WORDS", "E_DEVICE_UNKNOWN", "E_OVERRULE", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="With the recovery phrase: who may let in devices, and how many together may overrule those.",
        example=(SetAccountRules(words=samples.WORDS, rules=AccountRules(overrulers=2)), Begun(action=samples.ACTION)),
    ),
    Function(
        name="account.overrule",
        params=Overrule,
        result=Begun,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_DEVICE_UNKNOWN", "E_OVERRULE", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="Ask the other devices for other delegates, without the recovery phrase; devices that shall not stay go.",
        example=(
            Overrule(stay=(samples.LAPTOP, samples.PHONE), delegates=(samples.LAPTOP,)),
            Begun(action=samples.ACTION),
        ),
    ),
    Function(
        name="account.consent",
        params=Consent,
        result=Done,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_DEVICE_UNKNOWN", "E_OVERRULE", "E_OUT_OF_SYNC", "E_RESTORED"),
        doc="Sign what another device asked for with account.overrule.",
        example=(Consent(device=samples.PHONE, digest=b"\x0d" * 32), Done()),
    ),
    Function(
        name="account.come_back",
        params=Just,
        result=Done,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_IN_SYNC"),
        doc="Consent to this device coming back to the others, where account.needs_attention asks.",
        example=(Just(), Done()),
    ),
)

EVENTS = (
    EventType(
        type="action.settled",
        data=ActionSettled,
        doc="What was asked for on this device stands for good, or cannot be any more.",
        example=ActionSettled(action=samples.ACTION, stands=True, reason="", chat=samples.TEA),
    ),
    EventType(
        type="account.changed",
        data=AccountChanged,
        doc="This device has an account now, or none any more.",
        example=AccountChanged(account=samples.ALICE, device=samples.LAPTOP, reason="created"),
    ),
    EventType(
        type="account.renamed",
        data=AccountRenamed,
        doc="The account has another name, which links of ours suggest.",
        example=AccountRenamed(name="Alice"),
    ),
    EventType(
        type="account.certified",
        data=AccountCertified,
        doc="The account shows another certificate, or none any more, as was said on whichever of our devices.",
        example=AccountCertified(shown=True),
    ),
    EventType(
        type="account.forked",
        data=AccountForked,
        doc="Our devices stand on branches that are not decided.",
        example=AccountForked(branches=2),
    ),
    EventType(
        type="account.healed",
        data=AccountHealed,
        doc="They do not any more.",
        example=AccountHealed(),
    ),
    EventType(
        type="account.split",
        data=AccountSplit,
        doc="The network between our devices seems to be split, or is not any more.",
        example=AccountSplit(over=False),
    ),
    EventType(
        type="account.needs_attention",
        data=AccountNeedsAttention,
        doc="Something about our own devices that a person should look at.",
        example=AccountNeedsAttention(
            what="out-of-sync", text="This device cannot follow the others.", asks=True, over=False
        ),
    ),
    EventType(
        type="account.overrule_asked",
        data=OverruleAsked,
        doc="A device asks for other delegates, or one more signed that; it waits for account.consent.",
        example=OverruleAsked(
            device=samples.PHONE,
            digest=b"\x0d" * 32,
            stay=[samples.LAPTOP, samples.PHONE],
            delegates=[samples.PHONE],
            signed=[samples.PHONE],
            lacks=1,
        ),
    ),
)
