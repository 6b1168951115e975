"""What the device of the account shows, for the new one: words to type, or a URI for a QR code.

    7-otter-marble                          a number that finds the device, and two words: 18 bits
    vcd1:pair:PEER:TOKEN:ADDRESS,ADDRESS    who it is, where it is, and 128 bits

Eighteen bits are enough for one guess, and no more than one is ever given. They find the device in the local network
only. The URI works everywhere: it says who is to be there, so a wrong device is not even talked to, and its token
cannot be guessed by anybody.

The first field of the URI is the scheme with its version. One that is newer is told from one that is wrong.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

from mls.secrets import Secret
from vcd.pairing.words import WORDS

SCHEME: Final = "vcd1:pair:"
MOST_PLATE: Final = 999
TOKEN: Final = 16
MOST_ADDRESSES: Final = 8
MAX_ADDRESS: Final = 200
MAX_CODE: Final = 4096
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,64}\Z")
_KNOWN: Final = frozenset(WORDS)
_FIRST: Final = {word[:4]: word for word in WORDS}
_SPOKEN = re.compile(r"[0-9]{1,3}[\s\-_.,]+[^\W\d_]{2,12}[\s\-_.,]+[^\W\d_]{2,12}")
_TOKEN_TEXT = re.compile(r"[A-Za-z0-9_-]{22}\Z")


class WrongCode(Exception):
    """This is no pairing code. The text is for people, and repeats nothing of what was typed."""

    def __init__(self, text: str, given: str = "") -> None:
        super().__init__(text)
        self.given = given
        """What it is, if that is known: `contact`, the link of a person."""


class Password(Secret):
    """What both know: keys SPAKE2."""

    __slots__ = ()


class Token(Secret):
    """Of a URI: strong enough by itself."""

    __slots__ = ()


class Spoken(Secret):
    """The words of a code."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Typed by somebody who reads them off the other screen."""

    plate: int
    words: Spoken = field(repr=False)

    @property
    def name(self) -> bytes:
        """How the offer is called on the wire: not secret."""
        return b"plate %d" % self.plate

    @property
    def password(self) -> Password:
        return Password(b"words %d-" % self.plate + self.words.raw)

    def __str__(self) -> str:
        return f"{self.plate}-{self.words.raw.decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uri:
    """Read from a QR code."""

    peer: str
    token: Token = field(repr=False)
    addresses: tuple[str, ...] = ()

    @property
    def name(self) -> bytes:
        return b"token " + sha256(b"vcd pair offer" + self.token.raw).digest()[:8]

    @property
    def password(self) -> Password:
        return Password(b"token " + self.token.raw)

    def __str__(self) -> str:
        token = urlsafe_b64encode(self.token.raw).rstrip(b"=").decode()
        places = ",".join(quote(each, safe="/") for each in self.addresses)
        return f"{SCHEME}{self.peer}:{token}:{places}"


Code = Words | Uri


def new_words(random: Callable[[int], bytes]) -> Words:
    """Plates are small, so that they are short; two devices of one network that have the same are told apart later."""
    plate = 1 + int.from_bytes(random(8), "big") % MOST_PLATE
    drawn = int.from_bytes(random(4), "big")  # both sizes divide 2^32, so every word is as likely
    words = (WORDS[drawn % len(WORDS)], WORDS[drawn // len(WORDS) % len(WORDS)])
    return Words(plate=plate, words=Spoken("-".join(words).encode()))


def new_uri(random: Callable[[int], bytes], peer: str, addresses: Sequence[str]) -> Uri:
    fit = [each for each in addresses if 0 < len(each) <= MAX_ADDRESS]
    return Uri(peer=peer, token=Token(random(TOKEN)), addresses=tuple(fit[:MOST_ADDRESSES]))


def read(text: str) -> Code:
    """What somebody typed or scanned."""
    text = text.strip()
    if len(text) > MAX_CODE:
        raise WrongCode("That is too long for a pairing code.")
    return _uri(text) if ":" in text else _words(text)


def meant(text: str) -> bool:
    """Whether it is a pairing code, right or wrong, that somebody gives where something else is wanted."""
    return "".join(text[:64].split()).lower().startswith(SCHEME) or _SPOKEN.fullmatch(text.strip()) is not None


def _words(text: str) -> Words:
    """In capitals, with spaces, or with the first four letters of each word: all the same."""
    parts = [each for each in re.split(r"[\s\-\u2013\u2014_.,]+", text.casefold()) if each]
    if len(parts) != 3:
        raise WrongCode("A pairing code is a number and two words, such as 7-otter-marble.")
    plate, *typed = parts
    if not re.fullmatch(r"[0-9]{1,3}", plate) or not 1 <= int(plate) <= MOST_PLATE:
        raise WrongCode(f"A pairing code begins with a number from 1 to {MOST_PLATE}, such as 7-otter-marble.")
    words = [each if each in _KNOWN else _FIRST.get(each[:4], "") for each in typed]
    for number, (word, each) in enumerate(zip(words, typed, strict=True), 1):
        if not word or not word.startswith(each):
            raise WrongCode(f"Word {number} of that code is none that a device shows: look again.")
    return Words(plate=int(plate), words=Spoken("-".join(words).encode()))


def _uri(text: str) -> Uri:
    version = re.match(r"vcd([1-9][0-9]{0,3}):", text)
    if version is None:
        raise WrongCode("That is no pairing code: one begins with a number, or with vcd1:pair:.")
    if version[1] != "1":
        raise WrongCode("That code was made by a newer version of vcd: bring this device up to date.")
    if not text.startswith(SCHEME):
        raise WrongCode("That is a link to a person. A code to pair with begins with vcd1:pair:.", "contact")
    fields = text.removeprefix(SCHEME).split(":")
    if len(fields) != 3 or not _PEER.match(fields[0]) or not _TOKEN_TEXT.match(fields[1]):
        raise WrongCode("That pairing code is not whole: copy all of it, or scan it again.")
    token = urlsafe_b64decode(fields[1] + "==")
    if urlsafe_b64encode(token).rstrip(b"=").decode() != fields[1]:
        raise WrongCode("That pairing code is not whole: copy all of it, or scan it again.")
    places = tuple(unquote(each) for each in fields[2].split(",") if each)
    if len(places) > MOST_ADDRESSES or any(len(each) > MAX_ADDRESS or not each.isprintable() for each in places):
        raise WrongCode("That pairing code names more places than a device has.")
    return Uri(peer=fields[0], token=Token(token), addresses=places)
