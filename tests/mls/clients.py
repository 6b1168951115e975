"""Clients and groups for tests: the same run gives the same bytes.

A `Client` is an identity with its keys and settings. A `Party` is several members of one group with whatever carries
messages between them; it exists to keep tests short, so it asserts as it goes that everybody agrees. `party` makes
one of a given size and shape, and remembers the making: groups are values, so everyone gets a copy for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pytest

from mls import group as front
from mls.codec import opaque, u16, u32, u64
from mls.commit import Committed
from mls.credential import Authentication, BasicCredential, TrustBasic
from mls.errors import PeerError, StaleError
from mls.framing import Sender, encode_message
from mls.group import ApplicationMessage, CommitMessage, Event, ExternallyJoined, ProposalMessage
from mls.key_package import KeyPackage, KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, Extensions, Lifetime, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment, PskStore
from mls.registries import MLS10, ContentType, GroupId, LeafIndex, SenderType, WireFormat
from mls.schedule import welcome_key_and_nonce, welcome_secret
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import (
    ExternalPsk,
    HpkePrivateKey,
    JoinerSecret,
    PskSecret,
    ResumptionPsk,
    Secret,
    SignaturePrivateKey,
)
from mls.state import Ended, Group
from mls.suite import Suite
from mls.tree.nodes import ParentNode
from mls.welcome import EncryptedGroupSecrets, Welcome
from tests.providers import SeededProvider

NOW = 1_800_000_000_000  # milliseconds
LIFETIME = Lifetime(NOW // 1000 - 3600, NOW // 1000 + 90 * 24 * 3600)
DEFAULT = Parameters()
PUBLIC = Parameters(encrypt_handshakes=False)
ANY = default_capabilities()
NAMES = tuple(f"member{number:02}" for number in range(64))


class Psks:
    """Pre-shared keys in two tables."""

    def __init__(
        self,
        external: Mapping[bytes, bytes] | None = None,
        resumption: Mapping[tuple[bytes, int], ResumptionPsk] | None = None,
    ) -> None:
        self.table = dict(external or {})
        self.history = dict(resumption or {})

    def external(self, psk_id: bytes) -> ExternalPsk | None:
        found = self.table.get(psk_id)
        return None if found is None else ExternalPsk(found)

    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None:
        return self.history.get((group_id, epoch))

    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None:
        return self.external(u16(component_id) + psk_id)


def environment(
    seed: object = "test",
    *,
    now: int = NOW,
    psks: PskStore | None = None,
    authentication: Authentication | None = None,
    libsodium: bool = True,
) -> Environment:
    provider = SeededProvider(f"environment {seed}", libsodium=libsodium)
    return Environment(provider=provider, authentication=authentication or TrustBasic(), now=now, psks=psks or Psks())


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Somebody who can join groups of one cipher suite."""

    name: str
    cipher_suite: int
    signer: SignaturePrivateKey
    capabilities: Capabilities = ANY
    parameters: Parameters = DEFAULT

    @property
    def credential(self) -> BasicCredential:
        return BasicCredential(self.name.encode())

    def package(
        self,
        env: Environment,
        *,
        extensions: Extensions = (),
        leaf_extensions: Extensions = (),
        lifetime: Lifetime = LIFETIME,
        init_key: tuple[HpkePrivateKey, bytes] | None = None,
        leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
    ) -> KeyPackageSecrets:
        return create_key_package(
            env,
            self.cipher_suite,
            credential=self.credential,
            signature_private=self.signer,
            capabilities=self.capabilities,
            lifetime=lifetime,
            leaf_extensions=leaf_extensions,
            extensions=extensions,
            init_key=init_key,
            leaf_key=leaf_key,
        )

    def create(
        self, env: Environment, group_id: bytes = b"group", *, extensions: Extensions = (), **options: Any
    ) -> Group:
        return front.create(
            env,
            self.parameters,
            self.cipher_suite,
            GroupId(group_id),
            credential=self.credential,
            signature_private=self.signer,
            capabilities=self.capabilities,
            lifetime=LIFETIME,
            extensions=extensions,
            **options,
        )

    def join(
        self, env: Environment, welcome: bytes | None, packages: Sequence[KeyPackageSecrets], **options: Any
    ) -> Group:
        assert welcome is not None
        return front.join(env, self.parameters, welcome, packages, **options)[0]

    def join_externally(self, env: Environment, group_info: bytes, **options: Any) -> ExternallyJoined:
        return front.join_externally(
            env,
            self.parameters,
            group_info,
            credential=self.credential,
            signature_private=self.signer,
            capabilities=self.capabilities,
            **options,
        )


def client(
    name: str, cipher_suite: int = 1, *, capabilities: Capabilities | None = None, parameters: Parameters = DEFAULT
) -> Client:
    """The client of that name: asked for twice, it has the same signature key."""
    return Client(
        name=name,
        cipher_suite=cipher_suite,
        signer=_signer(name, cipher_suite),
        capabilities=capabilities or default_in(cipher_suite),
        parameters=parameters,
    )


def default_in(cipher_suite: int) -> Capabilities:
    """What members of a group of that suite advertise if nobody says otherwise."""
    return ANY if cipher_suite in ANY.cipher_suites else default_capabilities((*ANY.cipher_suites, cipher_suite))


@lru_cache(maxsize=4096)
def _signer(name: str, cipher_suite: int) -> SignaturePrivateKey:
    provider = SeededProvider(f"signer {name} {cipher_suite}")
    return provider.suite(cipher_suite).scheme.generate(provider.random)[0]


class Party:
    """Members of one group, by name, and a wire between them."""

    def __init__(self, env: Environment, clients: Mapping[str, Client], groups: Mapping[str, Group]) -> None:
        self.env = env
        self.clients = dict(clients)
        self.groups = dict(groups)

    def __getitem__(self, name: str) -> Group:
        return self.groups[name]

    def copy(self, env: Environment) -> Party:
        return Party(env, self.clients, self.groups)

    @property
    def names(self) -> list[str]:
        """Everybody who is still in."""
        return [name for name, group in self.groups.items() if group.ended is None]

    @property
    def any(self) -> Group:
        return self.groups[self.names[0]]

    @property
    def suite(self) -> Suite:
        return self.any.suite

    def leaf(self, name: str) -> LeafIndex:
        return self.groups[name].own_leaf

    def agree(self) -> None:
        """Everybody who is still in knows the same epoch and fitting private keys."""
        first, *others = [self.groups[name] for name in self.names]
        for group in others:
            assert group.authenticator == first.authenticator
            assert group.public.context.encoded == first.public.context.encoded
            assert group.public.tree.hash == first.public.tree.hash
        for group in (first, *others):
            check_private_keys(group)

    def deliver(self, message: bytes, *, by: str | None = None) -> dict[str, Event]:
        """To everybody but the sender, whose value the caller sets."""
        events = {}
        for name in self.names:
            if name != by:
                event = front.receive(self.groups[name], self.env, message)
                self.groups[name] = event.group
                events[name] = event
        return events

    def commit(self, by: str, *, joining: Sequence[tuple[Client, KeyPackageSecrets]] = (), **options: Any) -> Committed:
        """A commit by `by`, taken up by everyone; `joining` are added by value, and join."""
        proposals = [*options.pop("proposals", ()), *(Add(package.key_package) for _, package in joining)]
        sent = front.commit(self.groups[by], self.env, proposals=proposals, **options)
        for event in self.deliver(sent.message, by=by).values():
            assert isinstance(event, CommitMessage)
        self.groups[by] = sent.group
        for newcomer, package in joining:
            self.welcome(newcomer, package, sent)
        self.agree()
        return sent

    def welcome(self, newcomer: Client, package: KeyPackageSecrets, sent: Committed) -> None:
        tree = None
        if not self.any.parameters.ratchet_tree:
            tree = sent.group.public.tree.encode()
        self.clients[newcomer.name] = newcomer
        self.groups[newcomer.name] = newcomer.join(self.env, sent.welcome, [package], tree=tree)

    def add(self, by: str, *names: str, **options: Any) -> Committed:
        newcomers = [client(name, self.suite.cipher_suite, parameters=self.any.parameters) for name in names]
        return self.commit(by, joining=[(each, each.package(self.env)) for each in newcomers], **options)

    def join_externally(self, name: str, *, through: str | None = None, **options: Any) -> ExternallyJoined:
        newcomer = self.clients.get(name) or client(name, self.suite.cipher_suite, parameters=self.any.parameters)
        info = front.group_info(self.groups[through or self.names[0]], with_tree=True)
        joined = newcomer.join_externally(self.env, info, **options)
        self.deliver(joined.message, by=name)
        self.clients[name] = newcomer
        self.groups[name] = joined.group
        self.agree()
        return joined

    def propose(self, by: str, proposal: Any, **options: Any) -> bytes:
        self.groups[by], message, reference = front.propose(self.groups[by], self.env, proposal, **options)
        return self._proposed(by, message, reference)

    def propose_update(self, by: str, **options: Any) -> bytes:
        self.groups[by], message, reference = front.propose_update(self.groups[by], self.env, **options)
        return self._proposed(by, message, reference)

    def _proposed(self, by: str, message: bytes, reference: bytes) -> bytes:
        for event in self.deliver(message, by=by).values():
            assert isinstance(event, ProposalMessage)
            assert event.reference == reference
        return message

    def say(self, by: str, data: bytes, **options: Any) -> bytes:
        self.groups[by], message = front.seal(self.groups[by], self.env, data, **options)
        for event in self.deliver(message, by=by).values():
            assert isinstance(event, ApplicationMessage)
            assert (event.sender, event.data) == (self.leaf(by), data)
        return message


Shape = Literal["flat", "full"]


def party(
    count: int,
    cipher_suite: int = 1,
    *,
    shape: Shape = "flat",
    seed: object = "party",
    parameters: Parameters = DEFAULT,
    extensions: Extensions = (),
    capabilities: Capabilities | None = None,
    psks: PskStore | None = None,
) -> Party:
    """`count` members, added by the first in one commit; in a full tree everybody has committed since."""
    made = _made(count, cipher_suite, shape, parameters, extensions, capabilities or default_in(cipher_suite))
    return made.copy(environment(seed, psks=psks))


@lru_cache(maxsize=256)
def _made(
    count: int,
    cipher_suite: int,
    shape: Shape,
    parameters: Parameters,
    extensions: Extensions,
    capabilities: Capabilities,
) -> Party:
    env = environment(f"making {count} {cipher_suite} {shape}")
    people = [client(name, cipher_suite, parameters=parameters, capabilities=capabilities) for name in NAMES[:count]]
    first = people[0]
    made = Party(env, {first.name: first}, {first.name: first.create(env, extensions=extensions)})
    if count > 1:
        made.commit(first.name, joining=[(each, each.package(env)) for each in people[1:]])
    if shape == "full":
        for name in made.names:
            made.commit(name)
    return made


def check_private_keys(group: Group) -> None:
    """A member has the private key of its leaf and of each node above it into which it was merged, and no other."""
    suite = group.suite
    leaf = group.own_leaf
    tree = group.public.tree
    wanted = {2 * leaf: group.own_leaf_node.encryption_key}
    for step in tree.path(leaf):
        value = step.cell.value
        if isinstance(value, ParentNode) and leaf not in value.unmerged_leaves:
            wanted[step.cell.index] = value.encryption_key
    held = {index: suite.hpke.public_key(private) for index, private in group.private.items()}
    assert held == wanted
    assert suite.scheme.public_key(group.signature_key) == group.own_leaf_node.signature_key


def snapshot(group: Group) -> dict[str, object]:
    """Everything that a group value says, copied out, so that a later change in place would show."""
    public = group.public
    tree = public.tree
    return {
        "parameters": group.parameters,
        "context": public.context.encoded,
        "interim": public.interim_hash,
        "tag": public.confirmation_tag,
        "tree": tree.encode(),
        "tree hash": tree.hash,
        "encryption keys": sorted(tree.encryption_keys.items()),
        "signature keys": sorted(tree.signature_keys.items()),
        "profiles": sorted((profile, entry.count) for profile, entry in tree.profiles.items()),
        "own leaf": group.own_leaf,
        "signer": group.signature_key.raw,
        "private": sorted((index, key.raw) for index, key in group.private.items()),
        "secrets": _raw_secrets(group),
        "nodes": sorted(group.keys.nodes.items()),
        "trees": sorted((label, tree.points, tree.secrets) for label, tree in group.trees.items()),
        "ratchets": sorted(
            (at, ratchet.generation, ratchet.secret, sorted(ratchet.skipped.items()))
            for at, ratchet in group.keys.ratchets.items()
        ),
        "proposals": [(reference, repr(item)) for reference, item in group.proposals.items()],
        "updates": [
            (leaf, pending.leaf_private.raw, pending.signature_private.raw) for leaf, pending in group.updates.items()
        ],
        "resumption": [(epoch, psk.raw) for epoch, psk in group.resumption],
        "ended": group.ended,
    }


def _raw_secrets(group: Group) -> list[tuple[str, bytes]]:
    found = []
    secrets = group.secrets
    for name in type(secrets).__dataclass_fields__:
        value = getattr(secrets, name)
        if isinstance(value, Secret):
            found.append((name, value.raw))
        elif isinstance(value, bytes):
            found.append((name, value))
        else:
            found.extend((label.decode(), secret.raw) for label, secret in value)
    return found


def secret_bytes(group: Group) -> list[bytes]:
    """Every secret that a group value holds."""
    found = [raw for _, raw in _raw_secrets(group)]
    found.append(group.signature_key.raw)
    found.extend(key.raw for key in group.private.values())
    found.extend(secret for _, secret in group.keys.nodes.items())
    size = group.suite.hash_size
    for tree in group.trees.values():
        found.extend(tree.secrets[at : at + size] for at in range(0, len(tree.secrets), size))
    for _, ratchet in group.keys.ratchets.items():  # noqa: PERF102 - a PMap has no values()
        found.append(ratchet.secret)
        for key, nonce in ratchet.skipped.values():
            found.extend((key, nonce))
    for pending in group.updates.values():
        found.extend((pending.leaf_private.raw, pending.signature_private.raw))
    found.extend(psk.raw for _, psk in group.resumption)
    return found


def removed(group: Group) -> bool:
    return group.ended is Ended.REMOVED


def with_parameters(group: Group, **changes: Any) -> Group:
    """The same group under other limits."""
    return replace(group, parameters=replace(group.parameters, **changes))


def refusal(call: Callable[[], object]) -> str:
    """The rule that a call breaks."""
    with pytest.raises(PeerError) as refused:
        call()
    return refused.value.check


# ---------------------------------------------------------------- insiders: bytes of one's choice, properly sealed


def framed(
    group: Group, content_type: int, body: bytes, *, authenticated_data: bytes = b"", sender: Sender | None = None
) -> bytes:
    """FramedContent with any bytes for a body."""
    by = sender or Sender(SenderType.MEMBER, group.own_leaf)
    head = opaque(group.group_id) + u64(group.epoch) + by.encode()
    return head + opaque(authenticated_data) + bytes([content_type]) + body


def sign_framed(group: Group, wire_format: int, content: bytes, signer: SignaturePrivateKey | None = None) -> bytes:
    signed = u16(MLS10) + u16(wire_format) + content + group.public.context.encoded
    return group.suite.sign_with_label(signer or group.signature_key, b"FramedContentTBS", signed)


def insider_public(
    group: Group,
    content: bytes,
    *,
    tag: bytes | None = None,
    signer: SignaturePrivateKey | None = None,
    member: bool = True,
) -> bytes:
    """A PublicMessage of any FramedContent, with a signature and a membership tag that hold."""
    auth = opaque(sign_framed(group, WireFormat.PUBLIC_MESSAGE, content, signer))
    if tag is not None:
        auth += opaque(tag)
    message = content + auth
    if member:
        signed = u16(MLS10) + u16(WireFormat.PUBLIC_MESSAGE) + content + group.public.context.encoded
        message += opaque(group.suite.mac(group.secrets.membership.raw, signed + auth))
    return encode_message(WireFormat.PUBLIC_MESSAGE, message)


def insider_private(
    group: Group,
    content_type: int,
    plaintext: bytes,
    *,
    leaf: int | None = None,
    generation: int = 0,
    authenticated_data: bytes = b"",
    sender_data: bytes | None = None,
) -> bytes:
    """A PrivateMessage of any plaintext; whoever knows the epoch can make one for any leaf and generation."""
    suite = group.suite
    at = group.own_leaf if leaf is None else LeafIndex(leaf)
    kind = APPLICATION if content_type == ContentType.APPLICATION else HANDSHAKE
    key = bytes(suite.key_size)
    nonce = bytes(12)
    if at < group.keys.leaf_count and generation < 100:
        with suppress(StaleError):  # a key that was used is gone; any other will do
            _, found = group.keys.key_at(suite, at, kind, generation, max_forward=100, out_of_order=0)
            key, nonce = found.key, found.nonce
    head = opaque(group.group_id) + u64(group.epoch) + bytes([content_type])
    ciphertext = suite.aead_seal(key, nonce, head + opaque(authenticated_data), plaintext)
    sample = ciphertext[: suite.hash_size]
    secret = group.secrets.sender_data.raw
    sender_key = suite.expand_with_label(secret, b"key", sample, suite.key_size)
    sender_nonce = suite.expand_with_label(secret, b"nonce", sample, 12)
    data = u32(at) + u32(generation) + bytes(4) if sender_data is None else sender_data
    sealed = suite.aead_seal(sender_key, sender_nonce, head, data)
    body = head + opaque(authenticated_data) + opaque(sealed) + opaque(ciphertext)
    return encode_message(WireFormat.PRIVATE_MESSAGE, body)


def insider_welcome(
    env: Environment,
    package: KeyPackage,
    group_secrets: bytes,
    group_info: bytes,
    *,
    joiner: bytes = bytes(32),
    psk: PskSecret | None = None,
) -> bytes:
    """A Welcome of any GroupSecrets and GroupInfo to the owner of `package`, sealed as it should be."""
    suite = env.provider.suite(package.cipher_suite)
    zero = PskSecret(bytes(suite.hash_size))
    key, nonce = welcome_key_and_nonce(suite, welcome_secret(suite, JoinerSecret(joiner), psk or zero))
    encrypted = suite.aead_seal(key, nonce, b"", group_info)
    context = suite.encryption_context(b"Welcome", encrypted)
    kem_output, ciphertext = suite.seal(package.init_key, context, group_secrets, env.provider.random)
    sealed = EncryptedGroupSecrets(package.reference(suite), kem_output, ciphertext)
    welcome = Welcome(suite.cipher_suite, (sealed,), encrypted)
    return encode_message(WireFormat.WELCOME, welcome.encode())
