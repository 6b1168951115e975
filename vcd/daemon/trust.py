"""Whom this device believes when people show certificates: the settings' anchors, and what is made of a chain.

The node keeps what accounts show (`vcd.core.certificates`) and judges nothing. Here it is judged, whenever it is shown
to a person or an app, by the anchors of this device alone: the system's own are not asked, as they vouch for web
servers, and without any anchor in the settings nothing is believed. What comes of it is a word beside a name. It never
makes a contact verified.

    verified    the chain leads to an anchor, and everything in it holds now
    unchecked   it holds by itself and is for the account's key; there is no anchor to ask
    refused     it does not hold, is for another key, or leads to nobody who is trusted

Of a chain that is refused nothing is shown but why: anybody can show anybody's certificate. What a certificate says of
its holder and issuer is text by strangers, so it is made one line that can be printed.

An anchor that cannot be read is left out and told of (`Trust.missing`); it never makes more believed.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mls.credential import X509Credential
from mls.errors import MlsError, PeerError
from mls.x509 import Shown, X509Authentication, show
from vcd.core import certificates
from vcd.core.accounts.certificate import Chain, check, explained
from vcd.core.errors import Misuse
from vcd.core.names import AccountId
from vcd.core.state import State
from vcd.rpc.nouns.account import Certificate

MAX_FILE = 262_144
MAX_ANCHORS = 256
LONGEST = 200
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")

Word = Literal["verified", "unchecked", "refused"]


@dataclass(slots=True)
class Trust:
    """The anchors, as they were read last."""

    missing: tuple[str, ...] = ()
    """Files of the settings that hold no anchor that can be used."""
    judge: X509Authentication | None = field(default=None, repr=False)

    def read(self, files: Sequence[str]) -> None:
        """Take these files as the anchors from now on: certificates, in PEM or DER, any number in each."""
        found: dict[bytes, None] = {}
        missing = []
        for each in files:
            several = list(_in_file(Path(each)))
            if not several or len(found) + len(several) > MAX_ANCHORS:
                missing.append(each)
                continue
            found.update(dict.fromkeys(several))
        self.missing = tuple(missing)
        self.judge = X509Authentication(found) if found else None

    def look(self, state: State, account: AccountId, now: int) -> Certificate | None:
        """What somebody shows, for people; None if nothing."""
        chain = certificates.of(state, account)
        if chain is None:
            return None
        edition, contact = state.book.edition, state.book.find(account)
        own = edition is not None and edition.account == account
        head = edition.head if edition is not None and own else None if contact is None else contact.head
        key = b"" if head is None else head.signing_key
        word, reason = self._judged(chain, key, now)
        shown = _shown(chain.chain[0])
        if shown is None or (word == "refused" and not own):
            return Certificate(subject="", issuer="", expires_at=0, trust="refused", reason=reason)
        return Certificate(
            subject=line(shown.subject),
            issuer=line(shown.issuer),
            expires_at=max(0, shown.ends),
            trust=word,
            reason=reason,
        )

    def _judged(self, chain: Chain, key: bytes, now: int) -> tuple[Word, str]:
        try:
            check(chain.chain, key, now)
            if self.judge is None:
                return "unchecked", ""
            self.judge.validate(X509Credential(chain.chain), key, now)
        except Misuse as error:
            return "refused", str(error)
        except PeerError as error:
            return "refused", explained(error)
        return "verified", ""


def _in_file(path: Path) -> Iterator[bytes]:
    """The certificates of a file; none if it cannot be read, or if one of them is no anchor."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError:
        return
    if len(data) > MAX_FILE:
        return
    try:
        several = [b64decode(b"".join(body.split()), validate=True) for body in _PEM.findall(data)] or [data]
        X509Authentication(several)
    except (MlsError, Error):
        return
    yield from several


@lru_cache(maxsize=512)
def _shown(der: bytes) -> Shown | None:
    try:
        return show(der)
    except PeerError:
        return None


def line(text: str) -> str:
    """As it can be printed in one line."""
    seen = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: LONGEST + 1])
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
