"""Hypothesis strategies for every struct of the wire, and mutations of bytes that are almost right.

Structs are built from drawn fields; what carries a signature gets drawn bytes for one, because the codec does not
look at it. `Unsigned` is a suite that stamps instead of signing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from mls.codec import Reader, opaque, u16, varint
from mls.credential import BasicCredential, Credential, X509Credential
from mls.framing import (
    AuthenticatedContent,
    Body,
    Commit,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
)
from mls.key_package import KeyPackage
from mls.leaf_node import (
    Capabilities,
    Extension,
    Extensions,
    LeafNode,
    Lifetime,
    RequiredCapabilities,
    encode_extensions,
    sign_leaf_node,
)
from mls.proposals import (
    Add,
    ExternalInit,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from mls.psk import ExternalPskId, PreSharedKeyId, ResumptionPskId
from mls.registries import (
    ContentType,
    Epoch,
    ExtensionType,
    GroupId,
    KeyPackageRef,
    LeafIndex,
    ProposalRef,
    SenderType,
    WireFormat,
)
from mls.schedule import GroupContext
from mls.secrets import JoinerSecret, PathSecret, SignaturePrivateKey
from mls.suite import Suite
from mls.tree.nodes import ParentNode
from mls.tree.path import UpdatePath, UpdatePathNode
from mls.welcome import (
    EncryptedGroupSecrets,
    GroupInfo,
    GroupSecrets,
    Welcome,
    sign_group_info,
)


class Unsigned(Suite):
    """A suite whose signature on anything is the given bytes."""

    __slots__ = ("stamp",)

    def __init__(self, stamp: bytes, cipher_suite: int = 1) -> None:
        super().__init__(cipher_suite)
        self.stamp = stamp

    def sign_with_label(self, private: SignaturePrivateKey, label: bytes, content: bytes) -> bytes:
        return self.stamp


NO_KEY = SignaturePrivateKey(b"")

# ---------------------------------------------------------------- numbers and bytes

u8s = st.integers(0, 0xFF)
u16s = st.integers(0, 0xFFFF)
u32s = st.integers(0, 0xFFFF_FFFF)
u64s = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
short = st.binary(max_size=8)
# The lengths at which the form of a length changes, with contents that do not matter; and short strings that do.
opaques = short | st.sampled_from([bytes(size) for size in (63, 64, 65, 300)])
u16_lists = st.lists(u16s, max_size=4).map(tuple)
group_ids = st.builds(GroupId, short)
epochs = st.builds(Epoch, u64s)
leaf_indices = st.builds(LeafIndex, u32s)

# ---------------------------------------------------------------- leaves and what is in them

extension = st.builds(Extension, u16s.filter(lambda kind: kind != ExtensionType.APP_DATA_DICTIONARY), opaques)
extensions_: st.SearchStrategy[Extensions] = st.lists(extension, max_size=3, unique_by=lambda each: each.type).map(
    tuple
)
basic = st.builds(BasicCredential, opaques)
x509 = st.builds(X509Credential, st.lists(short, max_size=3).map(tuple))
credentials: st.SearchStrategy[Credential] = basic | x509
capabilities = st.builds(Capabilities, u16_lists, u16_lists, u16_lists, u16_lists, u16_lists)
required = st.builds(RequiredCapabilities, u16_lists, u16_lists, u16_lists)
lifetimes = st.builds(Lifetime, u64s, u64s)


@st.composite
def leaf_nodes(draw: st.DrawFn) -> LeafNode:
    source = draw(st.integers(1, 3))
    return sign_leaf_node(
        Unsigned(draw(short)),
        NO_KEY,
        encryption_key=draw(short),
        signature_key=draw(short),
        credential=draw(credentials),
        capabilities=draw(capabilities),
        extensions=draw(extensions_),
        lifetime=draw(lifetimes) if source == 1 else None,
        parent_hash=draw(short) if source == 3 else None,
    )


@st.composite
def key_packages(draw: st.DrawFn) -> KeyPackage:
    version, suite, init_key = draw(u16s), draw(u16s), draw(opaques)
    leaf, extensions, signature = draw(leaf_nodes()), draw(extensions_), draw(opaques)
    body = u16(version) + u16(suite) + opaque(init_key) + leaf.encoded + encode_extensions(extensions)
    return KeyPackage(version, suite, init_key, leaf, extensions, signature, body + opaque(signature), len(body))


parent_nodes = st.builds(
    ParentNode.of, opaques, opaques, st.sets(u32s, max_size=4).map(lambda leaves: tuple(sorted(leaves)))
)

# ---------------------------------------------------------------- paths and proposals

# As honest members send them, all of one size, and otherwise.
hpke_ciphertexts = st.lists(st.tuples(opaques, opaques), max_size=3) | st.lists(
    st.tuples(st.binary(min_size=3, max_size=3), st.binary(min_size=70, max_size=70)), max_size=5
)


def path_node(key: bytes, sealed: list[tuple[bytes, bytes]]) -> UpdatePathNode:
    content = b"".join(opaque(kem_output) + opaque(ciphertext) for kem_output, ciphertext in sealed)
    return UpdatePathNode.decode(Reader(opaque(key) + opaque(content)))


path_nodes = st.builds(path_node, opaques, hpke_ciphertexts)
update_paths = st.builds(UpdatePath, leaf_nodes(), st.lists(path_nodes, max_size=3).map(tuple))
psk_ids: st.SearchStrategy[PreSharedKeyId] = st.builds(ExternalPskId, opaques, short) | st.builds(
    ResumptionPskId, st.integers(1, 3), group_ids, epochs, short
)
proposals: st.SearchStrategy[Proposal] = st.one_of(
    st.builds(Add, key_packages()),
    st.builds(Update, leaf_nodes()),
    st.builds(Remove, leaf_indices),
    st.builds(PreSharedKey, psk_ids),
    st.builds(ReInit, group_ids, u16s, u16s, extensions_),
    st.builds(ExternalInit, opaques),
    st.builds(GroupContextExtensions, extensions_),
)
proposal_refs = st.builds(ProposalRef, opaques)
commits = st.builds(Commit, st.lists(proposals | proposal_refs, max_size=3).map(tuple), st.none() | update_paths)
external_senders = st.builds(ExternalSender, opaques, credentials)

# ---------------------------------------------------------------- framing

senders = st.one_of(
    st.builds(Sender, st.sampled_from([int(SenderType.MEMBER), int(SenderType.EXTERNAL)]), u32s),
    st.builds(Sender, st.sampled_from([3, 4])),
)


@st.composite
def framed_contents(draw: st.DrawFn) -> FramedContent:
    kind = draw(st.integers(1, 3))
    bodies: dict[int, st.SearchStrategy[Body]] = {
        ContentType.APPLICATION: opaques,
        ContentType.PROPOSAL: proposals,
        ContentType.COMMIT: commits,
    }
    return FramedContent.of(draw(group_ids), draw(epochs), draw(senders), draw(opaques), kind, draw(bodies[kind]))


@st.composite
def authenticated_contents(draw: st.DrawFn, wire_format: st.SearchStrategy[int] = u16s) -> AuthenticatedContent:
    content = draw(framed_contents())
    tag = draw(opaques) if content.content_type == ContentType.COMMIT else b""
    return AuthenticatedContent(draw(wire_format), content, draw(short), tag)


@st.composite
def public_messages(draw: st.DrawFn) -> PublicMessage:
    authenticated = draw(authenticated_contents(st.just(int(WireFormat.PUBLIC_MESSAGE))))
    member = authenticated.content.sender.type == SenderType.MEMBER
    return PublicMessage(authenticated, draw(opaques) if member else b"")


private_messages = st.builds(PrivateMessage, group_ids, epochs, st.integers(1, 3), opaques, opaques, opaques)

# ---------------------------------------------------------------- epochs and joining

group_contexts = st.builds(GroupContext.of, u16s, group_ids, u64s, opaques, opaques, extensions_)


@st.composite
def group_infos(draw: st.DrawFn) -> GroupInfo:
    return sign_group_info(
        Unsigned(draw(opaques)), NO_KEY, draw(u32s), draw(group_contexts), draw(opaques), draw(extensions_)
    )


encrypted_group_secrets = st.builds(EncryptedGroupSecrets, st.builds(KeyPackageRef, opaques), opaques, opaques)
welcomes = st.builds(Welcome, u16s, st.lists(encrypted_group_secrets, max_size=3).map(tuple), opaques)
group_secrets = st.builds(
    GroupSecrets,
    st.builds(JoinerSecret, opaques),
    st.none() | st.builds(PathSecret, opaques),
    st.lists(psk_ids, max_size=3).map(tuple),
)

# ---------------------------------------------------------------- almost right

FRACTION = 1 << 16
positions = st.integers(0, FRACTION - 1)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of bytes at places given as fractions of their length, so that it fits any message."""

    kind: str
    at: int
    value: int
    to: int

    def __call__(self, data: bytes) -> bytes:
        size = len(data)
        if not size:
            return bytes([self.value & 0xFF])
        at = self.at * size // FRACTION
        other = self.to * size // FRACTION
        low, high = min(at, other), max(at, other)
        return CHANGES[self.kind](data, at, low, high, self.value)


def _length(data: bytes, at: int, value: int) -> bytes:
    """A length that says `value`, in place of whatever length may be there."""
    width = (1, 2, 4, 1)[data[at] >> 6]
    return data[:at] + varint(value % (1 << 30)) + data[at + width :]


CHANGES: dict[str, Callable[[bytes, int, int, int, int], bytes]] = {
    "truncate": lambda data, at, low, high, value: data[:at],
    "extend": lambda data, at, low, high, value: data + bytes([value & 0xFF]) * (1 + (value >> 8) % 40),
    "flip": lambda data, at, low, high, value: data[:at] + bytes([data[at] ^ (1 << (value & 7))]) + data[at + 1 :],
    "set": lambda data, at, low, high, value: data[:at] + bytes([value & 0xFF]) + data[at + 1 :],
    "length": lambda data, at, low, high, value: _length(data, at, value),
    "huge": lambda data, at, low, high, value: (
        data[:at] + (0xBFFF_FFFF - (value & 0xFF)).to_bytes(4, "big") + data[at + 1 :]
    ),
    "remove": lambda data, at, low, high, value: data[:low] + data[high:],
    "repeat": lambda data, at, low, high, value: data[:high] + data[low:high] * (1 + value % 3) + data[high:],
    "move": lambda data, at, low, high, value: data[high:] + data[:low] + data[low:high],
    "nest": lambda data, at, low, high, value: data[:low] + opaque(data[low:high]) + data[high:],
    "zero": lambda data, at, low, high, value: data[:low] + bytes(high - low) + data[high:],
}

mutations = st.builds(Mutation, st.sampled_from(sorted(CHANGES)), positions, u32s, positions)


def mutated(data: bytes, changes: list[Mutation]) -> bytes:
    for change in changes:
        data = change(data)
    return data
