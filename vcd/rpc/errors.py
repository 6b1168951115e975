"""Every error that a caller can get: one table, and the exception that carries one.

On the wire an error is `{code, num, message, retry, after_ms?, data}`. Codes never change and never get another
meaning; messages may, so nobody should read them but people. `retry` says what to do:

    no             the same call will fail again
    later          try again, after `after_ms` if that is there
    after_event    try again after the event (or the action of a person) that the message names

Numbers go by what is at fault: 1xxx the call itself, 2xxx chats and groups, 3xxx account, devices and contacts, 4xxx
cryptography and certificates, 5xxx disk and vault, 6xxx the network, 9xxx the daemon. An error of the daemon's own has
the id that its log has it under, and nothing else: no traceback and no value of anybody's leaves the process.

`MISUSE` says which error a refusal of the node is (docs/node-reference.md, Misuse).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Retry = Literal["no", "later", "after_event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A row of the table."""

    code: str
    num: int
    retry: Retry
    doc: str
    data: tuple[str, ...] = ()
    """What `data` has."""


_ROWS: tuple[tuple[str, int, Retry, str, tuple[str, ...]], ...] = (
    # 1xxx: the call
    ("E_PROTOCOL", 1001, "no", "What came is no msgpack-rpc; the connection is closed after this.", ()),
    (
        "E_TOO_LARGE",
        1002,
        "no",
        "A message is longer than one may be; the connection is closed after this.",
        ("limit",),
    ),
    ("E_METHOD_UNKNOWN", 1003, "no", "There is no such function.", ("method", "nearest")),
    ("E_PARAMS", 1004, "no", "Parameters are an array with one map of named arguments in it.", ()),
    ("E_PARAM_UNKNOWN", 1005, "no", "The function has no such argument.", ("name", "nearest")),
    ("E_PARAM_MISSING", 1006, "no", "An argument is missing.", ("name",)),
    ("E_PARAM_INVALID", 1007, "no", "An argument is of the wrong kind, or out of bounds.", ("path",)),
    ("E_HELLO_FIRST", 1008, "no", "The first call of a connection is rpc.hello.", ()),
    ("E_ADMIN_ONLY", 1009, "no", "This function is served on admin.sock only.", ()),
    ("E_API_LEVEL", 1010, "no", "The daemon does not serve the level that the client wants.", ("level", "compatible")),
    ("E_BUSY", 1011, "later", "Too many calls of this connection are in flight.", ("limit",)),
    ("E_MSGID_USED", 1012, "no", "A call with that msgid is in flight.", ("msgid",)),
    ("E_CANCELED", 1013, "no", "The caller gave this call up. What was done already stays.", ()),
    ("E_TIMEOUT", 1014, "later", "The call took longer than its timeout_ms. What was done already stays.", ()),
    ("E_REQUEST_REUSED", 1015, "no", "That request_id was used for another call.", ("method",)),
    ("E_RESULT_TOO_LARGE", 1016, "no", "The answer would be longer than a message may be: ask for less.", ("limit",)),
    ("E_OTHER_USER", 1017, "no", "This daemon belongs to another user of this machine; the connection is closed.", ()),
    ("E_STARTING", 1020, "later", "The daemon is starting.", ("state",)),
    (
        "E_MIGRATING",
        1021,
        "later",
        "The daemon brings its database up to date; status.get has the progress.",
        ("state",),
    ),
    ("E_LOCKED", 1022, "after_event", "The vault is locked: run `vcd unlock`.", ("state",)),
    ("E_STOPPING", 1023, "later", "The daemon is stopping.", ("state",)),
    (
        "E_CURSOR_EXPIRED",
        1030,
        "no",
        "Events from there on are not kept any more: begin anew from a snapshot.",
        ("floor",),
    ),
    ("E_CURSOR_AHEAD", 1031, "no", "There are no events that late: the cursor is of another log.", ("last",)),
    ("E_LOG_CHANGED", 1032, "no", "This is another log of events than that one: begin anew.", ("log_id",)),
    ("E_SUBSCRIPTIONS", 1033, "no", "This connection has as many subscriptions as it may.", ("limit",)),
    ("E_SUBSCRIPTION_UNKNOWN", 1034, "no", "This connection has no such subscription, or it ended.", ()),
    ("E_CONSUMERS", 1035, "no", "There are as many named consumers as there may be.", ("limit",)),
    # 2xxx: chats and groups
    ("E_CHAT_UNKNOWN", 2001, "no", "There is no such chat here.", ()),
    ("E_NOT_MEMBER", 2002, "no", "We are no member of it: somebody has to invite us.", ()),
    ("E_NO_MEMBER", 2003, "no", "That account, or leaf, is not in it.", ()),
    ("E_MEMBER_ALREADY", 2004, "no", "That account is in it already.", ()),
    ("E_FORBIDDEN", 2005, "no", "The rules of the chat do not allow it.", ()),
    ("E_RULES", 2006, "no", "There can be no such rules.", ()),
    (
        "E_OUT_OF_SYNC",
        2007,
        "after_event",
        "This device cannot follow there now; it comes back by itself, or asks.",
        (),
    ),
    ("E_IN_SYNC", 2008, "no", "There is nothing to come back to.", ()),
    ("E_NOT_ASKED", 2009, "no", "There is no such question, or it was answered.", ()),
    ("E_FULL", 2010, "later", "There is no room for more of it.", ()),
    ("E_MSG_UNKNOWN", 2011, "no", "There is no such message here.", ()),
    ("E_MESSAGE", 2012, "no", "A message is too long, or its media type is.", ()),
    ("E_OUTBOX_FULL", 2013, "later", "Too many messages are not confirmed yet: say more when some are.", ()),
    ("E_NOT_LEAD", 2014, "no", "There are ordinary clients only in chats of mode `lead`.", ()),
    ("E_EPOCH", 2015, "no", "That epoch is not here: not yet, or not any more.", ()),
    ("E_GROUP_UNKNOWN", 2020, "no", "There is no such group of an app here.", ()),
    ("E_GROUP_EXISTS", 2021, "no", "There is a group of that name.", ()),
    (
        "E_PENDING",
        2022,
        "after_event",
        "A commit of ours has not come back yet; give it, or the one that won, by raw.put.",
        (),
    ),
    # 3xxx: account, devices, contacts
    (
        "E_NO_ACCOUNT",
        3001,
        "after_event",
        "This device has no account: run `vcd init`, or `vcd device join`.",
        ("removed",),
    ),
    ("E_ACCOUNT_EXISTS", 3002, "no", "This device has an account already.", ()),
    (
        "E_RESTORED",
        3003,
        "after_event",
        "This device has an old disk, and only listens until others have heard it.",
        (),
    ),
    ("E_NAME", 3004, "no", "That is no name: one line that can be printed, and not too long.", ()),
    ("E_WORDS", 3005, "no", "That is not the recovery phrase of this account.", ()),
    ("E_DEVICE_UNKNOWN", 3010, "no", "The account has no such device.", ()),
    ("E_DEVICE_OWN", 3011, "no", "A device is removed by another one.", ()),
    ("E_NOT_DELEGATE", 3012, "no", "This device may not do that: use one that may let in others.", ()),
    ("E_ROOT_NEEDED", 3013, "no", "This takes the recovery phrase.", ()),
    ("E_OVERRULE", 3014, "no", "That cannot be overruled so; the message says why.", ()),
    ("E_CLOCK", 3015, "no", "The clock of this device is wrong: set it first.", ()),
    ("E_PAIR_UNKNOWN", 3020, "no", "There is no such pairing.", ()),
    ("E_PAIR_BUSY", 3021, "no", "A pairing is under way: finish it, or cancel it.", ("pair",)),
    ("E_PAIR_CODE", 3022, "no", "That is no pairing code, or not one that is good now.", ("given",)),
    ("E_PAIR_CHECK", 3023, "no", "The two screens do not show the same: cancel, somebody may be between them.", ()),
    ("E_PAIR_STEP", 3024, "later", "The pairing is not at that step.", ("step",)),
    ("E_CONTACT_UNKNOWN", 3030, "no", "Nobody of that name was met here.", ()),
    ("E_LINK", 3031, "no", "That is no link of a contact, or not one that is good any more.", ("given",)),
    ("E_NO_CARD", 3032, "no", "There is no link of that contact: ask for a new one, and add it.", ()),
    ("E_BLOCKED", 3033, "no", "That contact is blocked.", ()),
    ("E_FINGERPRINT", 3034, "no", "That is the fingerprint of another key: do not trust this contact.", ()),
    ("E_CONTACTS_FULL", 3035, "no", "There is no room for more contacts.", ()),
    # 4xxx: cryptography
    ("E_MLS", 4001, "no", "That breaks a rule of MLS (docs/validation.md).", ("rule",)),
    ("E_NOT_MLS", 4002, "no", "That is no MLS message of that chat or group, or it asks for what cannot be.", ()),
    ("E_SUITE", 4003, "no", "There is no such cipher suite here.", ()),
    ("E_CERTIFICATE", 4004, "no", "That certificate is no good; the message says why.", ()),
    # 5xxx: disk and vault
    ("E_STORE_FULL", 5001, "later", "The disk is full: nothing was changed.", ()),
    ("E_STORE_READ_ONLY", 5002, "no", "The database cannot be written to: nothing was changed.", ()),
    ("E_STORE_DAMAGED", 5003, "no", "The database is damaged: run `vcd doctor`.", ()),
    ("E_STORE_NEWER", 5004, "no", "A newer vcd wrote this database: use that one.", ("version",)),
    ("E_PASSPHRASE", 5010, "no", "That is not the passphrase.", ()),
    ("E_UNLOCKER", 5011, "no", "The vault cannot be opened that way here; the message says why.", ()),
    ("E_FILE", 5012, "no", "That file cannot be used; the message says why.", ()),
    # 6xxx: the network
    ("E_OFFLINE", 6001, "later", "Nobody is connected.", ()),
    ("E_UNREACHABLE", 6002, "later", "That cannot be reached now.", ()),
    # 9xxx: the daemon
    ("E_INTERNAL", 9001, "later", "This is a bug of ours; the daemon's log has it under this id.", ("bug",)),
    ("E_NOT_THERE", 9002, "no", "This daemon was built without that.", ()),
)

CODES: Mapping[str, Code] = {
    code: Code(code=code, num=num, retry=retry, doc=doc, data=data) for code, num, retry, doc, data in _ROWS
}


class Failure(Exception):
    """A call cannot be done. What is in it is shown to the caller."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        retry: Retry | None = None,
        after_ms: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        row = CODES[code]
        self.code = code
        self.num = row.num
        self.message = row.doc if message is None else message
        self.retry: Retry = row.retry if retry is None else retry
        self.after_ms = after_ms
        self.data = dict(data or {})
        super().__init__(f"{code}: {self.message}")

    def wire(self) -> dict[str, Any]:
        """The error field of a response."""
        out: dict[str, Any] = {
            "code": self.code,
            "num": self.num,
            "message": self.message,
            "retry": self.retry,
            "data": self.data,
        }
        if self.after_ms is not None:
            out["after_ms"] = self.after_ms
        return out


MISUSE: Mapping[str, str] = {
    "no-account": "E_NO_ACCOUNT",
    "no-conversation": "E_CHAT_UNKNOWN",
    "no-member": "E_NO_MEMBER",
    "member-already": "E_MEMBER_ALREADY",
    "not-a-member": "E_NOT_MEMBER",
    "not-member": "E_NOT_MEMBER",
    "out-of-sync": "E_OUT_OF_SYNC",
    "in-sync": "E_IN_SYNC",
    "restored": "E_RESTORED",
    "forbidden": "E_FORBIDDEN",
    "policy-mode": "E_RULES",
    "no-policy": "E_RULES",
    "home": "E_FORBIDDEN",
    "ourselves": "E_FORBIDDEN",
    "too-many": "E_FULL",
    "too-long": "E_MESSAGE",
    "outbox-full": "E_OUTBOX_FULL",
    "book-full": "E_CONTACTS_FULL",
    "bad-nonce": "E_PARAM_INVALID",
    "record-size": "E_PARAM_INVALID",
    "said-size": "E_MESSAGE",
    "said-media": "E_MESSAGE",
    "said-time": "E_MESSAGE",
    "declined": "E_NOT_ASKED",
    "not-asked": "E_NOT_ASKED",
    "no-invitation": "E_NOT_ASKED",
    "no-card": "E_NO_CARD",
    "blocked": "E_BLOCKED",
    "bad-card": "E_LINK",
    "own-card": "E_LINK",
    "no-such-contact": "E_CONTACT_UNKNOWN",
    "other-fingerprint": "E_FINGERPRINT",
    "bad-name": "E_NAME",
    "bad-certificate": "E_CERTIFICATE",
    "not-delegate": "E_NOT_DELEGATE",
    "is-delegate": "E_ROOT_NEEDED",
    "revocation-forbidden": "E_ROOT_NEEDED",
    "own-device": "E_DEVICE_OWN",
    "no-such-device": "E_DEVICE_UNKNOWN",
    "device-known": "E_FORBIDDEN",
    "device-revoked": "E_FORBIDDEN",
    "bad-device": "E_FORBIDDEN",
    "bad-handover": "E_MLS",
    "not-lead": "E_NOT_LEAD",
    "no-epoch": "E_EPOCH",
    "not-mls": "E_NOT_MLS",
    "another-account": "E_WORDS",
    "bad-seed": "E_WORDS",
    "not-account-key": "E_FORBIDDEN",
    "bad-list": "E_FORBIDDEN",
    "term-over": "E_OVERRULE",
    "no-terms": "E_OVERRULE",
    "clock": "E_CLOCK",
    "not-beside": "E_OVERRULE",
    "no-overruling": "E_OVERRULE",
    "no-overruler": "E_OVERRULE",
    "another-overrule": "E_OVERRULE",
    "too-few": "E_OVERRULE",
    "bad-threshold": "E_OVERRULE",
    "no-group": "E_GROUP_UNKNOWN",
    "group-exists": "E_GROUP_EXISTS",
    "pending": "E_PENDING",
    "proposals": "E_PENDING",
    "no-leaf": "E_NO_MEMBER",
    "no-suite": "E_SUITE",
    "not-plain": "E_NOT_MLS",
    "not-yet": "E_EPOCH",
    "lost-track": "E_OUT_OF_SYNC",
    "spent-package": "E_MLS",
    "old-package": "E_MLS",
    "bad-proposal": "E_PARAM_INVALID",
    "broken": "E_MLS",
}
"""Which error a refusal of the node is, by `Misuse.code`. `no-parent` and `no-path` never leave it."""


def refused(code: str, text: str) -> Failure:
    """What a caller is told where the node refused a command: its text is for people already."""
    found = MISUSE.get(code)
    if found is None:
        raise KeyError(code)
    return Failure(found, text, data={"misuse": code})
