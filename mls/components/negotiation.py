"""mls-extensions §5: what a group demands of its members' leaves beyond RFC 9420's required capabilities.

A GroupContext may demand components, components that use authenticated data, media types and wire formats; a leaf says
which it supports. The text states the demand and no rule that enforces it (docs/spec-notes.md). Here it binds like
required capabilities do: no leaf enters a group, by Add, Update, commit or external commit, that does not meet its
demands, none can be made that a member does not meet, and who joins looks at every leaf.

Leaves are looked at when they or the demands change, never for a message or for other application data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mls.components.dictionary import dictionary_extension, dictionary_of
from mls.components.lists import (
    ComponentsList,
    components_of,
    required_wire_formats,
    supported_wire_formats,
    supported_wire_formats_extension,
)
from mls.components.logic import Components
from mls.components.media import Key, MediaType, MediaTypeList, keys_of
from mls.components.numbers import Numbers
from mls.errors import PeerError
from mls.leaf_node import Extensions, LeafNode, find_extension
from mls.registries import ExtensionType, WireFormat

_ALWAYS = frozenset(range(1, WireFormat.KEY_PACKAGE + 1))
"""Wire formats that everybody has, RFC 9420's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a GroupContext asks of every leaf."""

    components: frozenset[int]
    safe_aad: frozenset[int]
    media_types: frozenset[Key]
    wire_formats: frozenset[int]


_NOTHING = Demands(components=frozenset(), safe_aad=frozenset(), media_types=frozenset(), wire_formats=frozenset())


def demands_of(numbers: Numbers, extensions: Extensions) -> Demands:
    """The demands of a group with these extensions."""
    if not extensions:
        return _NOTHING  # as in most groups
    dictionary = dictionary_of(extensions)
    return Demands(
        components=components_of(dictionary.find(numbers.app_components)),
        safe_aad=components_of(dictionary.find(numbers.safe_aad)),
        media_types=keys_of(dictionary.find(numbers.content_media_types)),
        wire_formats=required_wire_formats(extensions) - _ALWAYS,
    )


def check_leaves(numbers: Numbers, extensions: Extensions, leaves: Iterable[LeafNode]) -> None:
    """Each of these leaves meets the demands of a group with these extensions."""
    demands = demands_of(numbers, extensions)
    if demands is _NOTHING or demands == _NOTHING:
        return
    met: set[tuple[bytes | None, ...]] = set()
    for leaf in leaves:
        said = dictionary_of(leaf.extensions)
        components, safe_aad, media_types = [
            said.find(number) for number in (numbers.app_components, numbers.safe_aad, numbers.content_media_types)
        ]
        wire_formats = find_extension(leaf.extensions, ExtensionType.SUPPORTED_WIRE_FORMATS)
        # Most leaves of a group say the same; what was found good once is not compared again.
        key = (components, safe_aad, media_types, wire_formats)
        if key in met:
            continue
        if not demands.components <= components_of(components):
            raise PeerError("EXT-5-1")
        if not demands.safe_aad <= components_of(safe_aad):
            raise PeerError("EXT-5-2")
        if demands.media_types and not demands.media_types <= keys_of(media_types):
            raise PeerError("EXT-5-3")
        if not demands.wire_formats <= supported_wire_formats(leaf.extensions):
            raise PeerError("EXT-5-4")
        met.add(key)


def check_changed_leaves(
    numbers: Numbers, before: Extensions, after: Extensions, members: Iterable[LeafNode], fresh: Iterable[LeafNode]
) -> None:
    """What a commit has to look at: all `members` if the demands are others now, and else those that are `fresh`.

    So what other application data is updated costs nothing that grows with the group.
    """
    changed = after is not before and demands_of(numbers, after) != demands_of(numbers, before)
    check_leaves(numbers, after, members if changed else fresh)


def strange(
    numbers: Numbers, extensions: Extensions, components: frozenset[int], leaves: Iterable[LeafNode]
) -> frozenset[int]:
    """Which of these components a leaf does not list, in a group with these extensions.

    A member must refuse data for a component that it does not know (§4.7, §4.8), so whoever commits such data throws it
    out of the group without a Remove, if everybody else goes along. Nobody goes along. What the group demands is listed
    by all, and who lists the components of §5 knows them; so a group that demands what it uses looks at no leaf. A leaf
    without a list says nothing either way.
    """
    dictionary = dictionary_of(extensions)
    demanded = components_of(dictionary.find(numbers.app_components))
    asked = components - demanded - {numbers.app_components, numbers.safe_aad}
    if not asked:
        return asked
    lists = {dictionary_of(leaf.extensions).find(numbers.app_components) for leaf in leaves}
    return frozenset().union(*[asked - components_of(each) for each in lists if each is not None])


def offered(
    components: Components,
    *,
    safe_aad: Iterable[int] = (),
    media_types: Sequence[MediaType] = (),
    data: Mapping[int, bytes] | None = None,
    grease: bytes = b"",
) -> Extensions:
    """The extensions of a leaf that says what these components are: all that are known, and all wire formats.

    `safe_aad` are those that read authenticated data, `media_types` the kinds of content that can be read, and `data`
    what other components say of this client. Each byte of `grease` adds a GREASE number to the list of components
    (§5.1). The leaf's capabilities must list both kinds of extension.
    """
    numbers = components.numbers
    entries = dict(data or {})
    entries[numbers.app_components] = ComponentsList.of(components.all, grease=grease).encode()
    entries[numbers.safe_aad] = ComponentsList.of(safe_aad).encode()
    if media_types:
        entries[numbers.content_media_types] = MediaTypeList(tuple(media_types)).encode()
    dictionary = dictionary_extension(entries)
    if not components.wire_formats:
        return (dictionary,)
    return (dictionary, supported_wire_formats_extension(components.wire_formats))


def check_own(components: Components, extensions: Extensions) -> None:
    """We know what the group demands; judged by what we do, not by what our leaf says."""
    demands = demands_of(components.numbers, extensions)
    for component in sorted(demands.components | demands.safe_aad):
        if not components.knows(component):
            raise PeerError("EXT-5-5", f"component {component}")
    if not demands.wire_formats <= components.wire_formats:
        raise PeerError("EXT-5-6")
