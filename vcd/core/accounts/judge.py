"""The authentication service (RFC 9420 §5.3.1, RFC 9750 §4), as groups ask it.

`ConversationJudge` judges leaves of conversations, `HomeJudge` those of the home; each believes the credentials of its
place only. A device's credential in a conversation would tell strangers of the device, so it is refused there even if
it holds.

The answers depend on the credential, and for the home on whose home it is: not on contacts, versions or what was heard.
RFC 9750 §6.5 wants validity to be uniform, or members of one group would go different ways. Where certificates or bare
names of ordinary clients are allowed, the services that judge those have to be set up alike at all members too.

Leaves that were found good are remembered, up to a bound: a tree that is met again costs no signatures.
"""

from __future__ import annotations

from collections.abc import Callable

from mls.credential import Authentication, BasicCredential, Credential, X509Credential
from mls.errors import PeerError
from mls.provider import Provider
from mls.x509 import X509Authentication
from vcd.core.accounts.credential import (
    DeviceCredential,
    Identity,
    VirtualCredential,
    check_device,
    check_virtual,
    read,
)
from vcd.core.accounts.head import Evidence, check_next, contradiction
from vcd.core.accounts.identity import digest
from vcd.core.errors import NodeError
from vcd.core.names import AccountId
from vcd.core.record import encode_as

REMEMBERED = 4096


class _Memory:
    """Credentials with a key that were found good, the newest of them."""

    __slots__ = ("_good",)

    def __init__(self) -> None:
        self._good: dict[tuple[bytes, bytes], None] = {}

    def check(self, credential: Credential, leaf_key: bytes, judge: Callable[[], None]) -> None:
        place = (credential.encode(), leaf_key)
        if place in self._good:
            return
        try:
            judge()
        except NodeError as error:
            raise PeerError("VAL-5.3.1-1", str(error)) from None
        if len(self._good) >= REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[place] = None


def _identity(credential: Credential) -> Identity | None:
    try:
        return read(credential)
    except NodeError as error:
        raise PeerError("VAL-5.3.1-1", str(error)) from None


class ConversationJudge:
    """Believes accounts by themselves; certificates and bare names as the services that are given do."""

    def __init__(
        self,
        provider: Provider,
        *,
        certificates: X509Authentication | None = None,
        names: Authentication | None = None,
    ) -> None:
        self._provider = provider
        self._certificates = certificates
        self._names = names
        self._memory = _Memory()

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        identity = _identity(credential)
        match identity:
            case VirtualCredential():
                self._memory.check(
                    credential, signature_key, lambda: check_virtual(identity, signature_key, self._provider)
                )
            case DeviceCredential():
                raise PeerError("VAL-5.3.1-1", "a device's credential does not belong here")
            case None:
                self._other(credential).validate(credential, signature_key, now)

    def succeeds(self, old: Credential, new: Credential) -> bool:
        try:
            before, after = read(old), read(new)
            if isinstance(before, VirtualCredential) and isinstance(after, VirtualCredential):
                check_next(before.head, after.head)
                return True
            if before is None and after is None and type(old) is type(new):
                return self._other(new).succeeds(old, new)
        except (NodeError, PeerError):
            pass
        return False

    def account(self, credential: Credential) -> AccountId:
        """Whose a leaf is, in the form in which accounts are named, for ordinary clients too."""
        identity = _identity(credential)
        if identity is not None:
            return identity.account
        if isinstance(credential, BasicCredential):
            return AccountId(digest("vcd plain account", credential.identity))
        if self._certificates is None:
            raise PeerError("VAL-5.3.1-1", "certificates are not accepted here")
        presented = self._certificates.identity(credential)
        return AccountId(digest("vcd certified account", encode_as(tuple[tuple[str, str], ...], presented)))

    def _other(self, credential: Credential) -> Authentication:
        judge = self._certificates if isinstance(credential, X509Credential) else self._names
        if judge is None:
            raise PeerError("VAL-5.3.1-1", "the credential is of no account")
        return judge


class Witness:
    """Judges as another one does, and writes down where an account contradicts itself."""

    def __init__(self, judge: ConversationJudge, evidence: list[Evidence]) -> None:
        self._judge = judge
        self._evidence = evidence

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        self._judge.validate(credential, signature_key, now)

    def succeeds(self, old: Credential, new: Credential) -> bool:
        found = self._judge.succeeds(old, new)
        if not found:
            self._evidence += _contradictions(old, new)
        return found


def _contradictions(old: Credential, new: Credential) -> list[Evidence]:
    """What two leaves prove, if both of them are the account's own."""
    try:
        before, after = read(old), read(new)
    except NodeError:
        return []
    if not isinstance(before, VirtualCredential) or not isinstance(after, VirtualCredential):
        return []
    found = contradiction(before.head, after.head)
    return [] if found is None else [found]


class HomeJudge:
    """Believes the devices of one account."""

    def __init__(self, provider: Provider, account: AccountId) -> None:
        self._provider = provider
        self._account = account
        self._memory = _Memory()

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:  # noqa: ARG002 - no clock here
        identity = _identity(credential)
        if not isinstance(identity, DeviceCredential):
            raise PeerError("VAL-5.3.1-1", "no device's credential")
        if identity.account != self._account:
            raise PeerError("VAL-5.3.1-1", "another account's device")
        self._memory.check(credential, signature_key, lambda: check_device(identity, signature_key, self._provider))

    def succeeds(self, old: Credential, new: Credential) -> bool:
        """The same device, under the same authority or a later one."""
        try:
            before, after = read(old), read(new)
        except NodeError:
            return False
        if not isinstance(before, DeviceCredential) or not isinstance(after, DeviceCredential):
            return False
        same = (before.account, before.device) == (after.account, after.device)
        if not same or after.authority.start < before.authority.start:
            return False
        return after.authority.start > before.authority.start or after.authority.digest == before.authority.digest
