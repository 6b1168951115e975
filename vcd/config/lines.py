"""On which line of a TOML file each key stands, for errors and origins; tomllib does not say.

Only for text that tomllib has accepted: what is a table, a key, a text or a bracket is then certain, and this need
not judge. Keys inside inline tables and inside arrays are found where the whole value begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Path = tuple[str, ...]

_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def lines_of(text: str) -> Mapping[Path, int]:
    """Of each key and table that is written out, its first line, counted from 1."""
    return _Scanner(text.replace("\r\n", "\n")).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self._newlines: list[int] = [index for index, letter in enumerate(text) if letter == "\n"]

    def run(self) -> Mapping[Path, int]:
        table: Path = ()
        while self._skip_blank():
            start = self.at
            if self._peek("["):
                self.at += 2 if self._peek("[[") else 1
                table = self._key()
                self._note(table, start)
                self._skip_line()
            else:
                path = table + self._key()
                self._note(path, start)
                self.at += 1  # the equals sign
                self._value()
        return self.found

    def _note(self, path: Path, start: int) -> None:
        import bisect

        line = bisect.bisect_left(self._newlines, start) + 1
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _peek(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def _skip_blank(self) -> bool:
        """To the next statement; false at the end."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t\n":
                self.at += 1
            elif self._peek("#"):
                self._skip_line()
            else:
                return True
        return False

    def _skip_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _key(self) -> Path:
        """A dotted key; stops at what follows it."""
        parts = []
        while True:
            self._skip_space()
            parts.append(self._part())
            self._skip_space()
            if not self._peek("."):
                return tuple(parts)
            self.at += 1

    def _part(self) -> str:
        if self._peek('"'):
            return self._basic()
        start = self.at
        if self._peek("'"):
            self.at = self.text.index("'", start + 1) + 1
            return self.text[start + 1 : self.at - 1]
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "-_"):
            self.at += 1
        return self.text[start : self.at]

    def _basic(self) -> str:
        """A key in quotes, its escapes resolved."""
        letters = []
        self.at += 1
        while not self._peek('"'):
            letter = self.text[self.at]
            if letter == "\\":
                self.at += 1
                letter = self.text[self.at]
                if letter in "uU":
                    digits = 4 if letter == "u" else 8
                    letter = chr(int(self.text[self.at + 1 : self.at + 1 + digits], 16))
                    self.at += digits
                else:
                    letter = _ESCAPES[letter]
            letters.append(letter)
            self.at += 1
        self.at += 1
        return "".join(letters)

    def _value(self) -> None:
        """Past a value: to the end of the line on which its last bracket closes."""
        depth = 0
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter in "\"'":
                self._skip_text(letter)
                continue
            if letter == "#":
                self._skip_line()
                continue
            depth += (letter in "[{") - (letter in "]}")
            if letter == "\n" and depth == 0:
                return
            self.at += 1

    def _skip_text(self, quote: str) -> None:
        if self._peek(quote * 3):
            self.at += 3
            while not self._peek(quote * 3):
                self.at += 2 if quote == '"' and self._peek("\\") else 1
            self.at += 3
            while self._peek(quote):  # up to two more belong to the text
                self.at += 1
            return
        self.at += 1
        while not self._peek(quote):
            self.at += 2 if quote == '"' and self._peek("\\") else 1
        self.at += 1
