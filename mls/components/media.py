"""mls-extensions §6.2: which kinds of content members can read, and saying of which kind a message is.

A leaf lists the media types it can read. A group may list those that everybody must be able to read, and then every
application message in it begins with its type, or with none for the first of the group's list.

The draft leaves open when two media types are the same. Here they are if their types are equal but for case, and they
have the same parameters, each with a name equal but for case and a value that is exactly equal, in any order: so RFC
2045 §5.1 says of types and of names, and values mean what each parameter says they mean. A required `text/plain` is
thus not met by a member that lists it with a charset only, nor the other way about. If the type of a message is empty
its parameters mean nothing, since the whole of it stands for the first of the list.

Types must look as IANA registers them (RFC 6838 §4.2). Parameters may hold anything, unquoted and unescaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from mls.codec import Reader, decode_exactly, opaque, vector
from mls.errors import CallerError, PeerError

_NAME = rb"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_FORM = re.compile(_NAME + rb"/" + _NAME)

Key = tuple[bytes, tuple[tuple[bytes, bytes], ...]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a media type, without quotes or escapes."""

    name: bytes
    value: bytes

    def encode(self) -> bytes:
        return opaque(self.name) + opaque(self.value)

    @classmethod
    def decode(cls, reader: Reader) -> Parameter:
        return cls(reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with its parameters; the type is empty only in front of a message."""

    type: bytes
    parameters: tuple[Parameter, ...] = ()

    def __post_init__(self) -> None:
        if self.type and not _FORM.fullmatch(self.type):
            raise CallerError("a media type has another form", "give a type and a subtype, as in text/plain")

    @property
    def key(self) -> Key:
        """Equal for media types that are the same."""
        parameters = [(parameter.name.lower(), parameter.value) for parameter in self.parameters]
        return self.type.lower(), tuple(sorted(parameters))

    def encode(self) -> bytes:
        return opaque(self.type) + vector([parameter.encode() for parameter in self.parameters])

    @classmethod
    def decode(cls, reader: Reader) -> MediaType:
        kind = reader.opaque()
        if kind and not _FORM.fullmatch(kind):
            raise PeerError("EXT-6.2-2")
        return cls(kind, reader.vector(Parameter.decode))


GROUPS_FIRST = MediaType(b"")
"""In front of a message: the first media type of the group's list."""


@dataclass(frozen=True, slots=True)
class MediaTypeList:
    """Media types that a leaf can read, or that a group demands; the first is the group's usual one."""

    media_type_list: tuple[MediaType, ...]

    def __post_init__(self) -> None:
        if not self.media_type_list or not all(each.type for each in self.media_type_list):
            raise CallerError("a list of media types has at least one, and each is named", "name one or more")

    def encode(self) -> bytes:
        return vector([each.encode() for each in self.media_type_list])

    @classmethod
    def decode(cls, reader: Reader) -> MediaTypeList:
        listed = reader.vector(MediaType.decode)
        if not listed:
            raise PeerError("EXT-6.2-1")
        if not all(each.type for each in listed):
            raise PeerError("EXT-6.2-3")
        return cls(listed)


_COMMON = 4096
"""Lists of more bytes are nobody's habit, and are not remembered: they would fill the memory."""


def media_types_of(data: bytes) -> MediaTypeList:
    """The list in a dictionary's `content_media_types` entry."""
    return _remembered(data) if len(data) <= _COMMON else decode_exactly(data, MediaTypeList.decode)


@lru_cache(maxsize=64)
def _remembered(data: bytes) -> MediaTypeList:
    return decode_exactly(data, MediaTypeList.decode)


def keys_of(data: bytes | None) -> frozenset[Key]:
    """What such an entry lists, to be compared; nothing if the entry is not there."""
    if data is None:
        return frozenset()
    if len(data) > _COMMON:
        return frozenset([each.key for each in media_types_of(data).media_type_list])
    return _remembered_keys(data)


@lru_cache(maxsize=64)
def _remembered_keys(data: bytes) -> frozenset[Key]:
    return frozenset([each.key for each in _remembered(data).media_type_list])


def supports(offered: Iterable[MediaType], required: Iterable[MediaType]) -> bool:
    """Whether everything required is among what is offered."""
    return {each.key for each in offered}.issuperset([each.key for each in required])


@dataclass(frozen=True, slots=True)
class ApplicationFraming:
    """An application message's content with its type in front."""

    media_type: MediaType
    inner_application_content: bytes = field(repr=False)

    def encode(self) -> bytes:
        return self.media_type.encode() + opaque(self.inner_application_content)

    @classmethod
    def decode(cls, reader: Reader) -> ApplicationFraming:
        return cls(MediaType.decode(reader), reader.opaque())


def frame(media_type: MediaType, content: bytes) -> bytes:
    """`application_data` for a group that has a list; `GROUPS_FIRST` is the shortest way to name its first type."""
    return ApplicationFraming(media_type, content).encode()


def unframe(data: bytes, group_list: MediaTypeList) -> tuple[MediaType, bytes]:
    """The type and content of `application_data` in a group with that list.

    The type need not be on the list: members may agree on more than the group demands.
    """
    framing = decode_exactly(data, ApplicationFraming.decode)
    named = framing.media_type if framing.media_type.type else group_list.media_type_list[0]
    return named, framing.inner_application_content
