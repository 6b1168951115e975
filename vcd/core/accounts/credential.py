"""What a leaf says about whose it is: MLS credentials of the account, and of a device in the home.

Both are basic credentials (RFC 9420 §5.3) whose identity is a statement that proves itself:

* `VirtualCredential`, for conversations: the account's head, and the account key's signature over that head's digest
  and the leaf's signature key. Every device can make one, whenever a leaf gets a new key. It says nothing of devices.
* `DeviceCredential`, for the home: the device's id, and the delegates' signature over it and its key. It has no name
  for people; names are on the list.

Whether one holds follows from the credential and the leaf's key alone. So two members never judge one leaf differently,
whatever each of them has heard; what somebody *knows* of newer versions matters elsewhere (`admission`, `book`).

A credential that does not begin with our mark is somebody else's: an ordinary MLS client's. With the mark, it is right
or it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mls.credential import BasicCredential, Credential
from mls.provider import Provider
from vcd.core.accounts.device_list import DeviceEntry, Edition
from vcd.core.accounts.head import Authority, Head, check, check_authority
from vcd.core.accounts.identity import (
    DEVICE_ID,
    MAX_SIGNATURE,
    AccountKey,
    DelegateKey,
    bounded,
    exactly,
    sign,
    suite_of,
    verify,
)
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.names import AccountId, DeviceId
from vcd.core.record import decode_as, encode_as

MARK = b"vcd\x00"
MAX_IDENTITY = 1 << 15
"""Bytes of an identity: room for the longest keys and signatures that there are."""

_LEAF = "vcd leaf"
_DEVICE = "vcd device"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCredential:
    """A leaf of the account in a conversation."""

    RECORD_TAG = 1

    head: Head
    signature: bytes

    def __post_init__(self) -> None:
        bounded(self.signature, MAX_SIGNATURE, "a signature")

    @property
    def account(self) -> AccountId:
        return self.head.account


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCredential:
    """A device's leaf in the home."""

    RECORD_TAG = 2

    authority: Authority
    device: DeviceId
    signature: bytes

    def __post_init__(self) -> None:
        exactly(self.device, DEVICE_ID, "the id of a device")
        bounded(self.signature, MAX_SIGNATURE, "a signature")

    @property
    def account(self) -> AccountId:
        return self.authority.account


Identity = VirtualCredential | DeviceCredential


def virtual_credential(provider: Provider, head: Head, signing: AccountKey, leaf_key: bytes) -> BasicCredential:
    """For a leaf of the account with that signature key."""
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if suite.scheme.public_key(signing) != head.signing_key:
        raise Misuse("not-account-key", "This is not the account's key now.")
    signature = sign(suite, signing, _LEAF, head.digest + leaf_key)
    return _as_basic(VirtualCredential(head=head, signature=signature))


def device_credential(
    provider: Provider, authority: Authority, delegate: DelegateKey, device: DeviceId, key: bytes
) -> BasicCredential:
    """For a device's leaf in the home. A delegate makes it for each device that it lets in, and anew in a new term."""
    suite = suite_of(provider, authority.mandate.cipher_suite)
    if suite.scheme.public_key(delegate) != authority.delegate:
        raise Misuse("not-delegate", "This is not the key of this account's delegates now.")
    signature = sign(suite, delegate, _DEVICE, _device_content(authority, device, key))
    return _as_basic(DeviceCredential(authority=authority, device=device, signature=signature))


def read(credential: Credential) -> Identity | None:
    """What a credential says, unverified; None if it is of another kind."""
    if not isinstance(credential, BasicCredential) or not credential.identity.startswith(MARK):
        return None
    return _read(credential.identity)


@lru_cache(maxsize=2048)
def _read(identity: bytes) -> Identity:
    if len(identity) > MAX_IDENTITY:
        raise Malformed("an identity is too long")
    found: Identity = decode_as(Identity, identity[len(MARK) :])
    return found


def check_virtual(credential: VirtualCredential, leaf_key: bytes, provider: Provider) -> None:
    """Whether the account says that a leaf with that signature key is its own."""
    head = credential.head
    check(head, provider)
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if not verify(suite, head.signing_key, _LEAF, head.digest + leaf_key, credential.signature):
        raise Refused("leaf-key")


def check_device(credential: DeviceCredential, leaf_key: bytes, provider: Provider) -> None:
    """Whether a delegate of the account says that a leaf with that signature key is that device's."""
    authority = credential.authority
    check_authority(authority, provider)
    suite = suite_of(provider, authority.mandate.cipher_suite)
    content = _device_content(authority, credential.device, leaf_key)
    if not verify(suite, authority.delegate, _DEVICE, content, credential.signature):
        raise Refused("leaf-key")


def check_listed(edition: Edition, credential: DeviceCredential, leaf_key: bytes) -> DeviceEntry:
    """The entry of a device that is to come into the home, or is there: whether that edition has it, with that key.

    `edition` is the one that the home agreed on in the epoch at hand, so all its members decide alike.
    """
    if credential.account != edition.account:
        raise Refused("another-account")
    if edition.devices.revoked(credential.device) is not None:
        raise Refused("device-revoked")
    entry = edition.devices.find(credential.device)
    if entry is None or entry.key != leaf_key:
        raise Refused("device-unlisted")
    return entry


def _device_content(authority: Authority, device: DeviceId, key: bytes) -> bytes:
    return authority.digest + device + key


def _as_basic(identity: Identity) -> BasicCredential:
    return BasicCredential(MARK + encode_as(Identity, identity))
