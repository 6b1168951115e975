"""Our clients and OpenMLS's in one group, and a wire between them that everybody hears.

Tests name a member and say what it does; whose implementation that is, `Company` knows. It asserts as it goes that
everybody makes the same of every message and that all states of an epoch are equal. The clock is the real one, since
OpenMLS knows no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mls import group as front
from mls.codec import Reader, opaque
from mls.commit import Committed
from mls.components.dictionary import dictionary_extension
from mls.components.logic import Components, LastWins
from mls.components.numbers import VIRTUAL_CLIENTS, ComponentId
from mls.framing import encode_message, read_wire_format
from mls.group import ApplicationMessage, CommitMessage, Event, ProposalMessage
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import Capabilities, Extensions, Lifetime, default_capabilities
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    AppDataUpdate,
    AppEphemeral,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    Remove,
    SelfRemove,
    encode_proposal,
)
from mls.provider import Environment
from mls.psk import ApplicationPskId, ExternalPskId, ResumptionPskId
from mls.registries import (
    ExtensionType,
    GroupId,
    LeafIndex,
    ProposalType,
    WireFormat,
)
from mls.state import Group
from tests.mls.clients import (
    Client,
    Psks,
    client,
    environment,
    framed,
    insider_private,
    insider_public,
    sign_framed,
)
from tests.peers import openmls_peer as peer
from tests.peers.openmls_peer import Member, OpenMls, Received

DRAFT_EXTENSIONS = (
    ExtensionType.APP_DATA_DICTIONARY,
    ExtensionType.SUPPORTED_WIRE_FORMATS,
    ExtensionType.REQUIRED_WIRE_FORMATS,
)
DRAFT_PROPOSALS = (ProposalType.APP_DATA_UPDATE, ProposalType.APP_EPHEMERAL, ProposalType.SELF_REMOVE)

COMPONENT = ComponentId(0x8001)
OTHER = ComponentId(0x8002)
PARAMETERS = Parameters(
    components=Components(
        logic=dict.fromkeys((COMPONENT, OTHER), LastWins(outside=True)), known=frozenset({VIRTUAL_CLIENTS})
    )
)
PUBLIC = replace(PARAMETERS, encrypt_handshakes=False)

OURS = "anna"
THEIRS = "olaf"
BOTH = (OURS, THEIRS)
"""Tests run with either of the two in a part."""


def real_time(psks: Psks | None = None) -> Environment:
    return environment("openmls", now=int(time.time() * 1000), psks=psks)


def lifetime(env: Environment) -> Lifetime:
    """Shorter than the longest that OpenMLS takes."""
    return Lifetime(env.now // 1000 - 3600, env.now // 1000 + 28 * 24 * 3600)


def our_client(name: str, suite: int = 1, *, parameters: Parameters = PARAMETERS) -> Client:
    return client(name, suite, capabilities=capabilities(suite), parameters=parameters)


def capabilities(suite: int) -> Capabilities:
    suites = tuple(sorted({1, 2, 3, suite}))
    return default_capabilities(suites, extensions=DRAFT_EXTENSIONS, proposals=DRAFT_PROPOSALS)


def key_package_of(message: bytes) -> KeyPackage:
    reader = Reader(message)
    assert read_wire_format(reader) == WireFormat.KEY_PACKAGE
    return KeyPackage.decode(reader)


def told(proposal: Proposal) -> peer.Proposal:
    """The proposal, as OpenMLS is told to commit it by value."""
    match proposal:
        case Add(key_package=package):
            return peer.add(encode_message(WireFormat.KEY_PACKAGE, package.encoded))
        case Remove(removed=leaf):
            return peer.remove(leaf)
        case AppDataUpdate(component_id=component, update=None):
            return peer.drop(component)
        case AppDataUpdate(component_id=component, update=bytes() as update):
            return peer.update(component, update)
        case AppEphemeral(component_id=component, data=data):
            return peer.ephemeral(component, data)
        case PreSharedKey(psk=ExternalPskId(psk_id=name, nonce=nonce)):
            return peer.psk("external", id=name, nonce=nonce)
        case PreSharedKey(psk=ApplicationPskId(component_id=component, psk_id=name, nonce=nonce)):
            return peer.psk("application", component=component, id=name, nonce=nonce)
        case PreSharedKey(psk=ResumptionPskId(group_id=group_id, epoch=epoch, nonce=nonce)):
            return peer.psk("resumption", of=group_id, epoch=epoch, nonce=nonce)
        case GroupContextExtensions(extensions=extensions):
            return {"type": "context", "extensions": _told(extensions)}
        case SelfRemove():
            return {"type": "self_remove"}
        case _:
            raise AssertionError(proposal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """How a group is made."""

    founder: str
    suite: int = 1
    public: bool = False
    padding: int = 0
    """To a multiple of how many bytes OpenMLS pads; ours pads by its own measure."""
    components: Mapping[int, bytes] | None = None
    """The group's dictionary."""
    leaf_components: Mapping[int, bytes] | None = None
    """That of every leaf."""
    more_in_leaves: Extensions = ()
    extensions: Extensions = ()

    @property
    def parameters(self) -> Parameters:
        return PUBLIC if self.public else PARAMETERS

    @property
    def leaf_extensions(self) -> Extensions:
        own = () if self.leaf_components is None else (dictionary_extension(self.leaf_components),)
        return (*own, *self.more_in_leaves)


def _entries(components: Mapping[int, bytes] | None) -> peer.Entries | None:
    return None if components is None else sorted(components.items())


def _told(extensions: Extensions) -> peer.Entries:
    return [(each.type, each.data) for each in extensions]


class Company:
    """Members of one group, by name: our values, and OpenMLS's clients."""

    def __init__(self, openmls: OpenMls, made: Founding, *, psks: Psks | None = None) -> None:
        self.openmls = openmls
        self.made = made
        self.env = real_time(psks)
        self.ours: dict[str, Group] = {}
        self.theirs: dict[str, Member] = {}

    # ---------------------------------------------------------------- making

    @classmethod
    def founded(cls, openmls: OpenMls, made: Founding, *, psks: Psks | None = None) -> Company:
        """A group of one."""
        company = cls(openmls, made, psks=psks)
        if made.founder == THEIRS:
            member = company.their_client(made.founder)
            member.create(components=_entries(made.components), extensions=_told(made.extensions))
            company.theirs[made.founder] = member
        else:
            own = () if made.components is None else (dictionary_extension(made.components),)
            who = our_client(made.founder, made.suite, parameters=made.parameters)
            company.ours[made.founder] = front.create(
                company.env,
                made.parameters,
                made.suite,
                GroupId(b"group"),
                credential=who.credential,
                signature_private=who.signer,
                capabilities=who.capabilities,
                lifetime=lifetime(company.env),
                leaf_extensions=made.leaf_extensions,
                extensions=(*own, *made.extensions),
            )
        return company

    @classmethod
    def of_both(cls, openmls: OpenMls, founder: str, *, psks: Psks | None = None, **made: Any) -> Company:
        """A group of `anna`, who is ours, and `olaf`, who is OpenMLS; the founder adds the other."""
        company = cls.founded(openmls, Founding(founder=founder, **made), psks=psks)
        company.add(founder, THEIRS if founder == OURS else OURS)
        return company

    def their_client(self, name: str) -> Member:
        return self.openmls.member(
            name,
            self.made.suite,
            public=self.made.public,
            padding=self.made.padding,
            extension_types=DRAFT_EXTENSIONS,
            proposal_types=DRAFT_PROPOSALS,
            leaf_components=_entries(self.made.leaf_components),
            leaf_extensions=_told(self.made.more_in_leaves),
        )

    def our_package(self, name: str) -> KeyPackageSecrets:
        who = our_client(name, self.made.suite, parameters=self.made.parameters)
        return who.package(self.env, leaf_extensions=self.made.leaf_extensions, lifetime=lifetime(self.env))

    def add(self, by: str, *names: str, **options: Any) -> None:
        """Names that begin with an o are OpenMLS's."""
        adds: list[Proposal] = []
        packages: dict[str, KeyPackageSecrets] = {}
        members: dict[str, Member] = {}
        for name in names:
            if name.startswith("o"):
                members[name] = self.their_client(name)
                adds.append(Add(key_package_of(members[name].key_package())))
            else:
                packages[name] = self.our_package(name)
                adds.append(Add(packages[name].key_package))
        welcome = self.commit(by, *adds, agree=False, **options)
        for name, package in packages.items():
            who = our_client(name, self.made.suite, parameters=self.made.parameters)
            self.ours[name] = who.join(self.env, welcome, [package])
        for name, member in members.items():
            member.join(welcome)
            self.theirs[name] = member
        self.agree()

    # ---------------------------------------------------------------- talking

    def deliver(self, message: bytes, *, by: str | None) -> dict[str, Event | Received]:
        """To everybody but the sender."""
        heard: dict[str, Event | Received] = {}
        for name in [*self.ours]:
            if name != by:
                event = front.receive(self.ours[name], self.env, message)
                self.ours[name] = event.group
                heard[name] = event
        for name, member in self.theirs.items():
            if name != by:
                heard[name] = member.process(message)
        self._forget_removed(heard)
        return heard

    def _forget_removed(self, heard: Mapping[str, Event | Received]) -> None:
        for name, what in heard.items():
            if isinstance(what, Received) and what.removed:
                del self.theirs[name]
            elif name in self.ours and self.ours[name].ended is not None:
                del self.ours[name]

    def agree(self) -> None:
        """Everybody who is in the group has the same epoch, bytes and all."""
        states = [(group.authenticator, group.public.context.encoded) for group in self.ours.values()]
        trees = [group.public.tree.encode() for group in self.ours.values()]
        for member in self.theirs.values():
            state = member.state
            states.append((state.authenticator, state.context))
            trees.append(state.tree)
        assert len(set(states)) == 1
        assert len(set(trees)) == 1

    def commit(self, by: str, *proposals: Proposal, agree: bool = True, **options: Any) -> bytes | None:
        """A commit of these by value and of all that waits, carried out by everybody. The Welcome, if there is one."""
        if by in self.theirs:
            path = options.pop("force_path", None)
            theirs = self.theirs[by].commit(*[told(each) for each in proposals], path=path, **options)
            message, welcome = theirs.message, theirs.welcome
        else:
            ours: Committed = front.commit(self.ours[by], self.env, proposals=proposals, **options)
            message, welcome = ours.message, ours.welcome
            self.ours[by] = ours.group
        for what in self.deliver(message, by=by).values():
            check_committed(what, proposals)
        if agree:
            self.agree()
        return welcome

    def propose(self, by: str, proposal: Proposal, **options: Any) -> bytes:
        """By reference."""
        if by in self.theirs:
            fields = dict(told(proposal))
            kind = fields.pop("type")
            assert isinstance(kind, str)
            message = self.theirs[by].propose(kind, **fields, **options)
        else:
            self.ours[by], message, _ = front.propose(self.ours[by], self.env, proposal, **options)
        for what in self.deliver(message, by=by).values():
            assert proposed(what) == encode_proposal(proposal)
        return message

    def propose_update(self, by: str) -> None:
        """A new leaf that says what the old one said."""
        if by in self.theirs:
            message = self.theirs[by].propose("update", **self.theirs[by].leaf.fields())
        else:
            self.ours[by], message, _ = front.propose_update(self.ours[by], self.env)
        heard = {proposed(what) for what in self.deliver(message, by=by).values()}
        assert len(heard) == 1

    def seal(self, by: str, data: bytes, **options: Any) -> bytes:
        """An application message that nobody has heard yet."""
        if by in self.theirs:
            return self.theirs[by].send(data, **options)
        self.ours[by], message = front.seal(self.ours[by], self.env, data, **options)
        return message

    def say(self, by: str, data: bytes, **options: Any) -> None:
        for what in self.deliver(self.seal(by, data, **options), by=by).values():
            assert isinstance(what, ApplicationMessage | Received)
            assert (what.sender, what.data) == (self.leaf(by), data)

    def leaf(self, name: str) -> LeafIndex:
        if name in self.ours:
            return self.ours[name].own_leaf
        return LeafIndex(self.theirs[name].state.leaf)

    def safe_export(self, name: str, component: int) -> bytes:
        if name in self.theirs:
            return self.theirs[name].safe_export(component)
        self.ours[name], secret = front.safe_export(self.ours[name], component)
        return secret.raw

    def group_info(self, name: str) -> bytes:
        if name in self.theirs:
            return self.theirs[name].group_info()
        return front.group_info(self.ours[name], with_tree=True)

    def join_externally(self, name: str, through: str, *, info: bytes | None = None, **options: Any) -> None:
        info = info or self.group_info(through)
        if name.startswith("o"):
            member = self.their_client(name)
            _, message = member.join_externally(info, **options)
            self.deliver(message, by=None)
            self.theirs[name] = member
        else:
            who = our_client(name, self.made.suite, parameters=self.made.parameters)
            joined = who.join_externally(self.env, info, leaf_extensions=self.made.leaf_extensions, **options)
            self.deliver(joined.message, by=None)
            self.ours[name] = joined.group
        self.agree()


def check_committed(what: Event | Received, proposals: Sequence[Proposal]) -> None:
    """It was a commit of at least these. Ours keeps only what is said to components."""
    if isinstance(what, Received):
        assert what.kind == "commit"
        assert {encode_proposal(each) for each in proposals} <= {found for _, found in what.proposals}
    else:
        assert isinstance(what, CommitMessage)
        said = [item.proposal for item in what.plan.app_data]
        assert [each for each in proposals if isinstance(each, AppDataUpdate | AppEphemeral) and each not in said] == []


def proposed(what: Event | Received) -> bytes:
    if isinstance(what, Received):
        assert what.kind == "proposal"
        (found,) = what.proposals
        return found[1]
    assert isinstance(what, ProposalMessage)
    return encode_proposal(what.proposal)


def insider_message(
    group: Group, content_type: int, body: bytes, *, authenticated_data: bytes = b"", public: bool = False
) -> bytes:
    """Properly signed and sealed by a member of ours who does not keep to the rules for what is inside."""
    content = framed(group, content_type, body, authenticated_data=authenticated_data)
    if public:
        return insider_public(group, content)
    signature = sign_framed(group, WireFormat.PRIVATE_MESSAGE, content)
    return insider_private(group, content_type, body + opaque(signature), authenticated_data=authenticated_data)
