"""mls-extensions §4.7 and §4.8: what an application's components do with what a commit tells them.

A component is known by its number and may have a `Logic`: a pure function from its old data and the updates of a commit
to its new data, which every member must compute alike. For one that has none of its own the last update is the whole
new data, which is also how updates of the three lists of §5 are read here, since the text leaves it open
(docs/spec-notes.md). Those who join by external commit change neither: else who does not meet a group's demands could
lower them and come in. Refusing is an answer: the commit is then refused by everybody.

`Components` is what one client implements. It is consulted for every received commit, so it must not change while a
group lives, except by learning more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mls.codec import decode_exactly
from mls.components.ack import AppAck
from mls.components.lists import components_of
from mls.components.media import media_types_of
from mls.components.numbers import Numbers

if TYPE_CHECKING:
    from mls.credential import Credential
    from mls.framing import Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a proposal brings for a component, and who made it."""

    data: bytes = field(repr=False)
    """Nothing, if it removes."""
    sender: Sender
    credential: Credential | None
    """The sender's in the epoch that ends; None for somebody who is not known in it yet."""
    external_commit: bool
    """Whether it stands in the commit of somebody who joins by it."""


class Refused(Exception):
    """A logic's answer to what it does not accept; the commit is refused."""


class Logic(Protocol):
    """How one component's data in the GroupContext changes. All members must answer alike; `Refused` is an answer."""

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes: ...
    def remove(self, old: bytes, by: Said) -> None: ...
    def ephemeral(self, said: Said) -> None: ...


@dataclass(frozen=True, slots=True)
class LastWins:
    """The last update is the new data, whatever it is."""

    outside: bool = False
    """Whether those who join may change it too. RFC 9420 lets them change no extensions; §4.7 leaves it to us."""

    def _look(self, said: Said) -> None:
        if said.external_commit and not self.outside:
            raise Refused

    def check(self, data: bytes) -> None:
        """Whether this can be the component's data; PeerError or Refused if not."""

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes:  # noqa: ARG002 - whatever it was
        for said in updates:
            self._look(said)
        data = updates[-1].data
        self.check(data)
        return data

    def remove(self, old: bytes, by: Said) -> None:  # noqa: ARG002 - whatever it was
        self._look(by)

    def ephemeral(self, said: Said) -> None:
        """Heard, and nothing to do here: the application reads it from the commit's plan."""


LONGEST = 4096
"""How many bytes a list of what a group demands may have: everybody compares it with every leaf."""


class _Listed(LastWins):
    """A ComponentsList."""

    __slots__ = ()

    def check(self, data: bytes) -> None:
        if len(data) > LONGEST:
            raise Refused
        components_of(data)


class _Media(LastWins):
    """A MediaTypeList."""

    __slots__ = ()

    def check(self, data: bytes) -> None:
        if len(data) > LONGEST:
            raise Refused
        media_types_of(data)


class _Ack(LastWins):
    """An AppAck (§6.1)."""

    __slots__ = ()

    def ephemeral(self, said: Said) -> None:
        decode_exactly(said.data, AppAck.decode)


_ANYTHING = LastWins()
_LISTED = _Listed()
_MEDIA = _Media()
_ACK = _Ack()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """The components that a client implements, and their numbers."""

    numbers: Numbers = field(default_factory=Numbers)
    logic: Mapping[int, Logic] = field(default_factory=dict)
    """By component; one that is here is known."""
    known: frozenset[int] = frozenset()
    """Components that are known and need no logic of their own."""
    wire_formats: frozenset[int] = frozenset()
    """Wire formats that are understood beyond those of RFC 9420."""

    @property
    def all(self) -> frozenset[int]:
        """Every component that is known."""
        numbers = self.numbers
        lists = (numbers.app_components, numbers.safe_aad, numbers.content_media_types)
        return self.known.union(self.logic, lists, (numbers.app_ack,))

    def knows(self, component: int) -> bool:
        return component in self.all

    def of(self, component: int) -> Logic:
        """What a known component does."""
        numbers = self.numbers
        found = self.logic.get(component)
        if found is not None:
            return found
        own: dict[int, Logic] = {
            numbers.app_components: _LISTED,
            numbers.safe_aad: _LISTED,
            numbers.content_media_types: _MEDIA,
            numbers.app_ack: _ACK,
        }
        return own.get(component, _ANYTHING)


COMPONENTS = Components()
"""Those of mls-extensions alone."""
