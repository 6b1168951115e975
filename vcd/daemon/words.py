"""Recovery phrases: 24 words of a list that everybody has (BIP-39, English), with a checksum in the last one.

They stand for 32 bytes, from which the account's root key follows. Nothing keeps them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from mnemonic import Mnemonic

from vcd.core.accounts.identity import SEED, RecoverySeed

COUNT = 24
LEAST = 4
"""Letters by which each word of the list differs from all others."""
_WORDS = Mnemonic("english")


class WrongWords(Exception):
    """No recovery phrase. The text says what is wrong, and does not repeat a word."""


def of_seed(seed: RecoverySeed) -> list[str]:
    words: str = _WORDS.to_mnemonic(seed.raw)
    return words.split(" ")


def to_seed(words: Sequence[str]) -> RecoverySeed:
    """However they are written: in capitals, with numbers before them. Four letters of a word are enough."""
    plain = [unicodedata.normalize("NFKD", word).strip(" .,;0123456789").lower() for word in words]
    plain = [_whole(word, number) for number, word in enumerate((each for each in plain if each), 1)]
    if len(plain) != COUNT:
        raise WrongWords(f"A recovery phrase has {COUNT} words, and these are {len(plain)}.")
    if not _WORDS.check(" ".join(plain)):
        raise WrongWords(
            "Each of these words is in the list, but together they are no phrase: is one in a wrong place?"
        )
    seed = bytes(_WORDS.to_entropy(plain))
    assert len(seed) == SEED  # noqa: S101 - of 24 words
    return RecoverySeed(seed)


def _whole(word: str, number: int) -> str:
    if word in _WORDS.wordlist:
        return word
    fits: list[str] = [each for each in _WORDS.wordlist if len(word) >= LEAST and each.startswith(word)]
    if len(fits) != 1:
        raise WrongWords(f"Word {number} is not in the list of words.")
    return fits[0]
