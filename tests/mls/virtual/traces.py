"""What people outside a virtual client see of it, and of an ordinary client, written down alike.

An `Observer` is a member of the conversation who keeps notes, and who also sees what carriers see. Of each message,
Welcome, GroupInfo and KeyPackage it makes a `Sighting`: `fields` are all lengths, and all that stands there in clear or
that a member can decrypt; `noise` is what ought to be random. Two clients that do the same things in the same order
must give equal fields, whatever keys they draw.

One thing is excepted by name, because the draft admits that it is seen (draft-ietf-mls-virtual-clients, privacy
considerations): the DerivationInfo in a leaf's application data, and the component's number in the leaf's list of
components. An observer that is told to overlook it takes both out of every leaf and encodes what contained the leaf
again, down to the padding, so that no length still shows them. Nothing else is taken out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from sys import intern

from mls.codec import Reader, opaque
from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.lists import ComponentsList, components_of
from mls.components.numbers import Numbers
from mls.framing import (
    Body,
    Commit,
    FramedContent,
    PrivateMessage,
    encode_body,
    encode_message,
    read_wire_format,
)
from mls.key_package import KeyPackage
from mls.leaf_node import Extension, Extensions, LeafNode, encode_extensions, find_extension
from mls.messages import Opened, open_message
from mls.parameters import Padding
from mls.proposals import Add, Proposal, Update
from mls.registries import ExtensionType, LeafIndex, ProposalRef, SenderType, WireFormat
from mls.state import Group
from mls.tree.path import UpdatePath
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import GroupInfo, decode_group_info, decode_welcome

Fields = dict[str, object]

NUMBERS = Numbers()
TAG = 16
"""Of every AEAD of RFC 9420."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing that was seen."""

    kind: str
    fields: Fields
    noise: Fields = field(default_factory=dict)


def _crc(data: bytes) -> int:
    return zlib.crc32(data)


# Without the DerivationInfo


def bare_extensions(extensions: Extensions) -> Extensions:
    dictionary = dictionary_of(extensions)
    listed = dictionary.find(NUMBERS.app_components)
    if listed is not None:
        rest = ComponentsList.of(components_of(listed) - {NUMBERS.virtual_clients}).encode()
        dictionary = dictionary.with_entry(NUMBERS.app_components, rest)
    return with_dictionary(extensions, dictionary.without(NUMBERS.virtual_clients))


def bare_leaf(leaf: LeafNode) -> LeafNode:
    extensions = bare_extensions(leaf.extensions)
    if extensions == leaf.extensions:
        return leaf
    body = leaf.encoded[: leaf.signed_size - len(encode_extensions(leaf.extensions))] + encode_extensions(extensions)
    encoded = body + opaque(leaf.signature)
    return replace(leaf, extensions=extensions, encoded=encoded, signed_size=len(body))


def bare_package(package: KeyPackage) -> KeyPackage:
    leaf = bare_leaf(package.leaf_node)
    lost = len(package.leaf_node.encoded) - len(leaf.encoded)
    return replace(package, leaf_node=leaf, encoded=bytes(len(package.encoded) - lost))


def bare_proposal(proposal: Proposal) -> Proposal:
    if isinstance(proposal, Add):
        return Add(bare_package(proposal.key_package))
    if isinstance(proposal, Update):
        return Update(bare_leaf(proposal.leaf_node))
    return proposal


def bare_body(body: Body) -> Body:
    if isinstance(body, bytes):
        return body
    if isinstance(body, Commit):
        path = None if body.path is None else UpdatePath(bare_leaf(body.path.leaf_node), body.path.nodes)
        return Commit(
            tuple([item if isinstance(item, bytes) else bare_proposal(item) for item in body.proposals]), path
        )
    return bare_proposal(body)


def bare_tree(tree: RatchetTree) -> bytes:
    """As many bytes as the tree has without what its leaves would lose."""
    lost = sum(len(leaf.encoded) - len(bare_leaf(leaf).encoded) for _, leaf in tree.leaves())
    return opaque(bytes(len(Reader(tree.encode()).opaque()) - lost))


# What is seen


class Observer:
    """Keeps notes for one conversation."""

    def __init__(self, *, overlooks: bool = True) -> None:
        self.overlooks = overlooks
        """Whether it takes no notice of what the draft admits."""
        self.sightings: list[Sighting] = []
        self._last: dict[tuple[int, int, int], int] = {}
        self._known: dict[bytes, int] = {}
        self._keys: set[bytes] = set()
        self._epoch = 0
        self._guard = 0

    def _leaf(self, leaf: LeafNode) -> LeafNode:
        return bare_leaf(leaf) if self.overlooks else leaf

    def message(self, view: Group, message: bytes) -> Opened:
        """What was sent to the conversation, and what a member makes of it whose group is `view` when it comes."""
        opened = open_message(view, message, shared_leaf=False)
        authenticated = opened.verified.authenticated
        content = authenticated.content
        body = bare_body(content.body) if self.overlooks else content.body
        auth = authenticated.encode_auth()
        encoded = encode_body(content.content_type, body)
        fields: Fields = {
            "wire format": authenticated.wire_format,
            "content type": content.content_type,
            "epochs since": content.epoch - self._epoch,
            "authenticated data": len(content.authenticated_data),
            "sender type": content.sender.type,
            "sender": content.sender.index,
            "signature": len(authenticated.signature),
            "confirmation tag": len(authenticated.confirmation_tag),
            "body": len(encoded),
        }
        noise: Fields = {}
        self._epoch = content.epoch
        if opened.sealing is None:
            fields["size"] = self._public_size(message, content, body)
        else:
            sealing = opened.sealing
            reader = Reader(message)
            read_wire_format(reader)
            private = PrivateMessage.decode(reader)
            said = encode_body(content.content_type, content.body)
            room = len(private.ciphertext) - TAG - len(said) - len(auth)
            fields["padding beyond the rule"] = room - Padding.PADME.size(len(said) + len(auth))
            plain = len(encoded) + len(auth)
            sealed = plain + Padding.PADME.size(plain) + TAG
            fields["ciphertext"] = sealed
            fields["sender data"] = len(private.encrypted_sender_data)
            fields["size"] = len(
                encode_message(WireFormat.PRIVATE_MESSAGE, replace(private, ciphertext=bytes(sealed)).encode())
            )
            place = (content.epoch, content.sender.index, min(content.content_type, 2))
            fields["generation"] = sealing.generation
            fields["generations since"] = sealing.generation - self._last.get(place, -1)
            self._last[place] = sealing.generation
            guard = int.from_bytes(sealing.reuse_guard, "big")
            noise |= {f"guard bit {bit}": guard >> bit & 1 for bit in range(32)}
            noise |= {"guard mod 8": guard & 7, "guard mod 16": guard & 15, "guard top": guard >> 28}
            noise["guard against the last, mod 8"] = (guard - self._guard) & 7
            noise["guard with the last, mod 8"] = (guard ^ self._guard) & 7
            noise["guard with the nonce, mod 8"] = (guard ^ int.from_bytes(sealing.nonce[:4], "big")) & 7
            noise["ciphertext starts"] = private.ciphertext[0] >> 4
            self._guard = guard
        if isinstance(body, Commit):
            fields["proposals"] = tuple([self._proposal(item) for item in body.proposals])
            fields["path"] = body.path is not None
            if body.path is not None:
                self._path(body.path, fields, noise)
        elif not isinstance(body, bytes):
            fields["proposal"] = self._proposal(body)
            if isinstance(body, Update):
                self._describe(body.leaf_node, fields, noise)
        kind = _NAMES[content.content_type]
        if isinstance(body, Commit) and body.path is not None:
            kind = "commit with path" if content.sender.type == SenderType.MEMBER else "external commit"
        self._noted(kind, fields, noise)
        return opened

    @staticmethod
    def _public_size(message: bytes, content: FramedContent, body: Body) -> int:
        shorter = FramedContent.of(
            content.group_id, content.epoch, content.sender, content.authenticated_data, content.content_type, body
        )
        return len(message) - len(content.encoded) + len(shorter.encoded)

    def _proposal(self, item: Proposal | ProposalRef) -> tuple[object, ...]:
        if isinstance(item, bytes):
            return ("reference", len(item))
        return (item.type, len(item.encode_body()))

    def _path(self, path: UpdatePath, fields: Fields, noise: Fields) -> None:
        fields["path nodes"] = tuple([(len(node.encryption_key), node.count, node.stride) for node in path.nodes])
        if path.nodes:
            noise["path key starts"] = path.nodes[0].encryption_key[0] >> 4
        self._describe(path.leaf_node, fields, noise)

    def _describe(self, leaf: LeafNode, fields: Fields, noise: Fields) -> None:
        """What a leaf says; it may be bare already."""
        leaf = self._leaf(leaf)
        dictionary = dictionary_of(leaf.extensions)
        lifetime = leaf.lifetime
        fields |= {
            "leaf": len(leaf.encoded),
            "leaf keys": (len(leaf.encryption_key), len(leaf.signature_key), len(leaf.signature)),
            "leaf credential": _crc(leaf.credential.encode()),
            "leaf capabilities": _crc(leaf.capabilities.encode()),
            "leaf source": leaf.source,
            "leaf lifetime": None if lifetime is None else (lifetime.not_before, lifetime.not_after),
            "leaf parent hash": len(leaf.parent_hash),
            "leaf extensions": tuple([(each.type, len(each.data)) for each in leaf.extensions]),
            "leaf components": tuple([(component, len(data)) for component, data in dictionary.entries]),
            "leaf lists": dictionary.find(NUMBERS.app_components),
            "leaf signature key seen": min(self._known.get(leaf.signature_key, 0), 3),
        }
        self._known[leaf.signature_key] = self._known.get(leaf.signature_key, 0) + 1
        if leaf.encryption_key not in self._keys:  # else it is no other chance than the one before
            self._keys.add(leaf.encryption_key)
            noise |= {f"leaf key bit {bit}": leaf.encryption_key[0] >> bit & 1 for bit in range(8)}
            noise |= {f"leaf signature bit {bit}": leaf.signature[0] >> bit & 1 for bit in range(8)}

    def welcome(self, message: bytes, info: GroupInfo, tree: RatchetTree, subject: LeafIndex) -> None:
        """A Welcome, as who can open it sees it, and as carriers do: `tree` is that of the epoch it is of."""
        welcome = decode_welcome(message)
        fields, noise = self._info(info, tree, subject)
        lost = len(info.encoded) - self._info_size(info, tree)
        shorter = replace(welcome, encrypted_group_info=bytes(len(welcome.encrypted_group_info) - lost))
        fields["size"] = len(encode_message(WireFormat.WELCOME, shorter.encode()))
        fields["secrets"] = tuple(
            [(len(each.new_member), len(each.kem_output), len(each.ciphertext)) for each in welcome.secrets]
        )
        noise["kem output starts"] = welcome.secrets[0].kem_output[0] >> 4
        self._noted("welcome", fields, noise)

    def group_info(self, message: bytes, tree: RatchetTree, subject: LeafIndex) -> None:
        """A GroupInfo that was published, with our subject's leaf in its tree."""
        info = decode_group_info(message)
        fields, noise = self._info(info, tree, subject)
        fields["size"] = len(message) - len(info.encoded) + self._info_size(info, tree)
        noise["tag starts"] = info.confirmation_tag[0] >> 4
        self._noted("group info", fields, noise)

    def _info_size(self, info: GroupInfo, tree: RatchetTree) -> int:
        if not self.overlooks or find_extension(info.extensions, ExtensionType.RATCHET_TREE) is None:
            return len(info.encoded)
        kind = ExtensionType.RATCHET_TREE
        kept = tuple([Extension(kind, bare_tree(tree)) if each.type == kind else each for each in info.extensions])
        return len(info.encoded) - len(encode_extensions(info.extensions)) + len(encode_extensions(kept))

    def _info(self, info: GroupInfo, tree: RatchetTree, subject: LeafIndex) -> tuple[Fields, Fields]:
        size = self._info_size(info, tree)
        kind = ExtensionType.RATCHET_TREE
        fields: Fields = {
            "group info": size,
            "extensions": tuple([(each.type, 0 if each.type == kind else len(each.data)) for each in info.extensions]),
            "context": len(info.context.encoded),
            "signer": info.signer,
            "signature": len(info.signature),
            "confirmation tag": len(info.confirmation_tag),
            "members": tree.member_count,
            "places": tree.leaf_count,
            "tree": len(bare_tree(tree)) if self.overlooks else len(tree.encode()),
        }
        noise: Fields = {}
        leaf = tree.leaf(subject)
        assert leaf is not None
        self._describe(leaf, fields, noise)
        return fields, noise

    def package(self, package: KeyPackage) -> None:
        """A KeyPackage that was published."""
        if self.overlooks:
            package = bare_package(package)
        fields: Fields = {
            "size": len(package.encoded),
            "version": package.version,
            "suite": package.cipher_suite,
            "init key": len(package.init_key),
            "extensions": tuple([(each.type, len(each.data)) for each in package.extensions]),
            "signature": len(package.signature),
        }
        noise: Fields = {"init key starts": package.init_key[0] >> 4}
        self._describe(package.leaf_node, fields, noise)
        self._noted("key package", fields, noise)

    def _noted(self, kind: str, fields: Fields, noise: Fields) -> None:
        self.sightings.append(Sighting(kind, fields, noise))


_NAMES = {1: "message", 2: "proposal", 3: "commit"}


# For a classifier


def tokens(sightings: list[Sighting]) -> list[tuple[str, ...]]:
    """Each sighting as statements about it and about the two before it."""
    found: list[tuple[str, ...]] = []
    heads = ["start", "start"]
    for sighting in sightings:
        said = {f"{sighting.kind}: {name}={value!r}" for name, value in sighting.fields.items()}
        said |= {f"{name}={value!r}" for name, value in sighting.noise.items()}
        size = sighting.fields["size"]
        assert isinstance(size, int)
        head = f"{sighting.kind} of 2^{size.bit_length()}"
        said |= {sighting.kind, head, f"{sighting.kind}: size mod 8={size % 8}"}
        said |= {f"{heads[-1]}, {head}", f"{heads[-2]}, {heads[-1]}, {head}", f"after {heads[-1]}"}
        said.add(f"generations since={sighting.fields.get('generations since')}")
        heads.append(head)
        found.append(tuple([intern(each) for each in sorted(said)]))
    return found
