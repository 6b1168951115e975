"""draft-xue-distributed-mls-02 §4.1: what makes a group a send group, and how its rules differ from RFC 9420's.

A send group says so in its GroupContext: the component `Numbers.dimls` has a `Marker` there, which names the DGroup,
and is among the components that every member must support. So nobody gets into one unaware, and one stays one.

Its owner made it, stands at leaf 0 and is the only one who speaks. The others' leaves come from their KeyPackages at
first and later, by LeafReplacement, from their own send groups. Such a leaf was signed for the place where it was made:
leaf 0 of its owner's own send group. Every leaf therefore names that group, in its own application data under the same
component, and its signature is checked for that place. The name is signed with the rest of the leaf, and so cannot be
lent to another member.

Every commit has a path. Then each epoch of a send group is a DMLS Update, with a leaf that was not there before it, and
an epoch's number is enough to say which leaf belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mls.codec import Reader, decode_exactly, opaque, u16, vector
from mls.components.dictionary import Dictionary, dictionary_extension, dictionary_of
from mls.components.lists import ComponentsList, components_of
from mls.components.numbers import Numbers
from mls.errors import PeerError
from mls.framing import Sender
from mls.leaf_node import (
    Capabilities,
    Extension,
    Extensions,
    LeafNode,
    RequiredCapabilities,
    default_capabilities,
    find_extension,
)
from mls.mode import Mode
from mls.parameters import Parameters
from mls.public_state import parse_required_capabilities
from mls.registries import ExtensionType, GroupId, LeafIndex, LeafNodeSource, ProposalType, SenderType
from mls.suite import Suite

VERSION = 1
OWNER = LeafIndex(0)
_NAME_LABEL = b"DiMLS send group"


@dataclass(frozen=True, slots=True)
class Marker:
    """What a send group's context says under the component: whose it is follows from the group."""

    dgroup_id: bytes
    version: int = VERSION

    def encode(self) -> bytes:
        return u16(self.version) + opaque(self.dgroup_id)

    @classmethod
    def decode(cls, reader: Reader) -> Marker:
        version = reader.u16()
        if version != VERSION:
            raise PeerError("DIMLS-4.2.1-1", f"version {version}")
        return cls(reader.opaque(), version)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGroupMode(Mode):
    """The rules of send groups. A client that takes part has one in its `Parameters.modes`."""

    numbers: Numbers = field(default_factory=Numbers)

    @property
    def needs_path(self) -> bool:
        return True

    @property
    def unique_signatures(self) -> bool:
        return True

    @property
    def replaces_leaves(self) -> bool:
        return True

    def governs(self, dictionary: Dictionary) -> bool:
        return dictionary.find(self.numbers.dimls) is not None

    def check_group(self, extensions: Extensions) -> None:
        """§4.2.1: the marker can be read, and nobody can be a member who cannot follow leaf replacements."""
        dictionary = dictionary_of(extensions)
        marker_of(self.numbers, dictionary)
        required = parse_required_capabilities(find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES))
        if self.numbers.dimls not in components_of(dictionary.find(self.numbers.app_components)):
            raise PeerError("DIMLS-4.2.1-2", "the component is not demanded")
        if ProposalType.LEAF_REPLACEMENT not in required.proposals:
            raise PeerError("DIMLS-4.2.1-3")

    def check_sender(self, sender: Sender) -> None:
        """§4.1: nobody but the owner."""
        if sender.type != SenderType.MEMBER or sender.index != OWNER:
            raise PeerError("DIMLS-4.1-1", f"leaf {sender.index}")

    def signed_place(self, group_id: bytes, index: int, leaf: LeafNode) -> tuple[bytes, int]:
        """§4.1.2: a leaf of source commit was made in the send group that it names, whatever tree it stands in."""
        if leaf.source == LeafNodeSource.UPDATE:
            raise PeerError("DIMLS-4.2.1-4")
        named = send_group_of(self.numbers, leaf)
        if index == OWNER and named != group_id:
            raise PeerError("DIMLS-4.2.1-6")
        return named, OWNER


def marker_of(numbers: Numbers, dictionary: Dictionary) -> Marker:
    """The marker of a send group."""
    data = dictionary.find(numbers.dimls)
    if data is None:
        raise PeerError("DIMLS-4.2.1-2", "there is no marker")
    return decode_exactly(data, Marker.decode)


def send_group_id(suite: Suite, dgroup_id: bytes, signature_key: bytes) -> GroupId:
    """§4.2.1: the name of a member's send group, made of the first signature key that it has in the DGroup.

    So nobody else can have the name, and nobody has it in two DGroups. It stays when the key changes.
    """
    return GroupId(suite.ref_hash(_NAME_LABEL, opaque(dgroup_id) + opaque(signature_key)))


def send_group_of(numbers: Numbers, leaf: LeafNode) -> GroupId:
    """The send group that a leaf names as its member's own."""
    data = dictionary_of(leaf.extensions).find(numbers.dimls)
    if data is None:
        raise PeerError("DIMLS-4.2.1-5")
    return GroupId(decode_exactly(data, Reader.opaque))


# What clients, leaves and groups say to take part


def with_send_groups(parameters: Parameters) -> Parameters:
    """The parameters of a client that takes part in DGroups too."""
    components = parameters.components
    numbers = components.numbers
    known = components.known | {numbers.dimls}
    mode = SendGroupMode(numbers=numbers)
    return replace(parameters, components=replace(components, known=known), modes=(*parameters.modes, mode))


def send_group_capabilities(
    cipher_suites: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7),
    *,
    extensions: Iterable[int] = (),
    proposals: Iterable[int] = (),
) -> Capabilities:
    """Capabilities of a client that takes part; both lists may name more."""
    return default_capabilities(
        cipher_suites,
        extensions=tuple(sorted({ExtensionType.APP_DATA_DICTIONARY, *extensions})),
        proposals=tuple(sorted({ProposalType.LEAF_REPLACEMENT, *proposals})),
    )


def leaf_extension(numbers: Numbers, group_id: GroupId, *, supported: Iterable[int] = ()) -> Extension:
    """What a member's leaf says in every send group: its own one, and the components that it supports."""
    listed = ComponentsList.of((numbers.dimls, *supported))
    said: dict[int, bytes] = {numbers.app_components: listed.encode(), numbers.dimls: opaque(group_id)}
    return dictionary_extension(said)


def group_extensions(numbers: Numbers, dgroup_id: bytes) -> Extensions:
    """What a send group says of itself and demands of everybody."""
    required = RequiredCapabilities((ExtensionType.APP_DATA_DICTIONARY,), (ProposalType.LEAF_REPLACEMENT,))
    listed = ComponentsList.of((numbers.dimls,))
    said: dict[int, bytes] = {numbers.app_components: listed.encode(), numbers.dimls: Marker(dgroup_id).encode()}
    return (required.extension(), dictionary_extension(said))


def removals_extension(numbers: Numbers, removed: Iterable[GroupId]) -> Extension:
    """What a Welcome's GroupInfo tells newcomers beside the group: who was removed, and is not to be added by them."""
    names = vector([opaque(name) for name in sorted(removed)])
    return dictionary_extension({numbers.dimls: names})


def removals_of(numbers: Numbers, extensions: Extensions) -> frozenset[GroupId]:
    """Who was removed, according to these extensions of a GroupInfo."""
    data = dictionary_of(extensions).find(numbers.dimls)
    if data is None:
        return frozenset()
    return frozenset(map(GroupId, decode_exactly(data, lambda reader: reader.vector(Reader.opaque))))
