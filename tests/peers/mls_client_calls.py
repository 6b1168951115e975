"""The calls of our own peer that concern one group: becoming a member, messages, proposals, commits.

A state id stands for one member of one group for as long as that lasts: commits advance the state in place, and only
a new group (a join, a successor, a branch) gets a new id. A commit waits as the state's pending one until
HandlePendingCommit, or until somebody else's commit is handled.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from mls import group as mls
from mls.credential import BasicCredential
from mls.external import public_state
from mls.framing import encode_message
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, Lifetime, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add, GroupContextExtensions, PreSharedKey, Proposal, ReInit, Remove
from mls.provider import Environment
from mls.psk import ExternalPskId, ResumptionPskId
from mls.public_state import PublicState
from mls.registries import MLS10, CipherSuite, CredentialType, Epoch, GroupId, ResumptionUsage, WireFormat
from mls.secrets import ExternalPsk
from mls.state import Ended, Group
from mls.suite import Suite
from mls.welcome import decode_group_info
from tests.peers.mls_client_state import (
    NO_PSKS,
    Joiner,
    Kept,
    Member,
    MisuseError,
    Psks,
    UnknownIdError,
    environment,
    leaf_of,
    read_extensions,
    read_key_package,
)
from tests.peers.stubs import Message
from vcd.crypto import SystemProvider

SUITES = tuple(int(suite) for suite in CipherSuite)
DAY = 24 * 3600
Fields = Mapping[str, object]


def parameters_of(*, encrypt: bool) -> Parameters:
    """Generous, because scenarios go further back than a deployment would, and peers let leaves live forever."""
    return Parameters(encrypt_handshakes=encrypt, resumption_psks=256, max_lifetime=2**64)


def with_tree_inside(group: Group, *, inside: bool) -> Group:
    """Whether a Welcome carries the tree is a parameter of the group; the interface decides it anew each time."""
    return replace(group, parameters=replace(group.parameters, ratchet_tree=inside))


class GroupCalls:
    """They come one at a time, so nothing is locked."""

    def __init__(self, *, grease: bool = False) -> None:
        self._provider = SystemProvider()
        self._kept = Kept()
        self._grease = grease

    # ---------------------------------------------------------------- the parts calls are made of

    def _env(self, psks: Psks = NO_PSKS) -> Environment:
        return environment(self._provider, psks)

    def _member(self, request: Message) -> tuple[Member, Environment]:
        member = self._kept.find(Member, request.state_id)
        return member, self._env(member.psks)

    def _suite(self, number: int) -> Suite:
        if number not in SUITES:
            raise MisuseError(f"no cipher suite {number}")
        return self._provider.suite(number)

    def _capabilities(self) -> Capabilities:
        grease = self._provider.random(4) if self._grease else b""
        return default_capabilities(SUITES, credentials=(CredentialType.BASIC,), grease=grease)

    def _lifetime(self) -> Lifetime:
        now = int(time.time())
        return Lifetime(now - DAY, now + 90 * DAY)

    def _package(self, cipher_suite: int, identity: bytes) -> KeyPackageSecrets:
        signature_private, _ = self._suite(cipher_suite).scheme.generate(self._provider.random)
        return create_key_package(
            self._env(),
            cipher_suite,
            credential=BasicCredential(identity),
            signature_private=signature_private,
            capabilities=self._capabilities(),
            lifetime=self._lifetime(),
        )

    def _described(self, public: PublicState, wanted: Message) -> Proposal:
        """The proposal that a ProposalDescription asks for, in the epoch of `public`."""
        match wanted.proposal_type:
            case b"add":
                return Add(read_key_package(wanted.key_package))
            case b"remove":
                return Remove(leaf_of(public.tree, wanted.removed_id))
            case b"externalPSK":
                return self._external_psk(public, wanted.psk_id)
            case b"resumptionPSK":
                return self._resumption_psk(public, wanted.epoch_id)
            case b"groupContextExtensions":
                return GroupContextExtensions(read_extensions(wanted.extensions))
            case b"reinit":
                return self._reinit(wanted)
            case other:
                raise MisuseError(f"unknown proposal type {other!r}")

    def _external_psk(self, public: PublicState, psk_id: bytes) -> Proposal:
        return PreSharedKey(ExternalPskId(psk_id, self._provider.random(public.suite.hash_size)))

    def _resumption_psk(self, public: PublicState, epoch: int) -> Proposal:
        nonce = self._provider.random(public.suite.hash_size)
        usage = ResumptionUsage.APPLICATION
        return PreSharedKey(ResumptionPskId(usage, public.group_id, Epoch(epoch), nonce))

    def _reinit(self, wanted: Message) -> Proposal:
        self._suite(wanted.cipher_suite)
        extensions = read_extensions(wanted.extensions)
        return ReInit(GroupId(wanted.group_id), MLS10, wanted.cipher_suite, extensions)

    def _propose(self, request: Message, proposal: Proposal) -> Fields:
        member, env = self._member(request)
        return {"proposal": member.propose(mls.propose(member.group, env, proposal))}

    def _entered(self, group: Group, psks: Psks) -> Fields:
        """A group that was just joined or founded."""
        number = self._kept.add(Member(group=group, psks=psks))
        return {"state_id": number, "epoch_authenticator": group.authenticator}

    # ---------------------------------------------------------------- about the client

    def name(self, _request: Message) -> Fields:
        return {"name": "vcd"}

    def supported_ciphersuites(self, _request: Message) -> Fields:
        return {"ciphersuites": SUITES}

    # ---------------------------------------------------------------- becoming a member

    def create_group(self, request: Message) -> Fields:
        signature_private, _ = self._suite(request.cipher_suite).scheme.generate(self._provider.random)
        group = mls.create(
            self._env(),
            parameters_of(encrypt=request.encrypt_handshake),
            request.cipher_suite,
            GroupId(request.group_id),
            credential=BasicCredential(request.identity),
            signature_private=signature_private,
            capabilities=self._capabilities(),
            lifetime=self._lifetime(),
        )
        return {"state_id": self._kept.add(Member(group=group))}

    def create_key_package(self, request: Message) -> Fields:
        package = self._package(request.cipher_suite, request.identity)
        message = encode_message(WireFormat.KEY_PACKAGE, package.key_package.encoded)
        return {"key_package": message, **self._joiner(package)}

    def _joiner(self, package: KeyPackageSecrets) -> Fields:
        return {
            "transaction_id": self._kept.add(Joiner(package=package)),
            "init_priv": package.init_private.raw,
            "encryption_priv": package.leaf_private.raw,
            "signature_priv": package.signature_private.raw,
        }

    def join_group(self, request: Message) -> Fields:
        joiner = self._kept.find(Joiner, request.transaction_id)
        group, _ = mls.join(
            self._env(joiner.psks),
            parameters_of(encrypt=request.encrypt_handshake),
            request.welcome,
            [joiner.package],
            tree=request.ratchet_tree or None,
        )
        self._kept.forget(Joiner, request.transaction_id)
        return self._entered(group, joiner.psks)

    def external_join(self, request: Message) -> Fields:
        psks = Psks({psk.psk_id: ExternalPsk(psk.psk_secret) for psk in request.psks})
        env = self._env(psks)
        info = decode_group_info(request.group_info)
        suite = self._suite(info.context.cipher_suite)
        tree = request.ratchet_tree or None
        prior = None
        if request.remove_prior:
            prior = leaf_of(public_state(env, info, tree).tree, request.identity)
        signature_private, _ = suite.scheme.generate(self._provider.random)
        joined = mls.join_externally(
            env,
            parameters_of(encrypt=request.encrypt_handshake),
            request.group_info,
            credential=BasicCredential(request.identity),
            signature_private=signature_private,
            capabilities=self._capabilities(),
            tree=tree,
            remove=prior,
            psks=[ExternalPskId(psk_id, self._provider.random(suite.hash_size)) for psk_id in psks.keys],
        )
        return {"commit": joined.message, **self._entered(joined.group, psks)}

    # ---------------------------------------------------------------- using a group

    def group_info(self, request: Message) -> Fields:
        group = self._member(request)[0].group
        outside = request.external_tree
        return {
            "group_info": mls.group_info(group, with_tree=not outside),
            "ratchet_tree": group.public.tree.encode() if outside else b"",
        }

    def state_auth(self, request: Message) -> Fields:
        return {"state_auth_secret": self._member(request)[0].group.authenticator}

    def export(self, request: Message) -> Fields:
        group = self._member(request)[0].group
        label = request.label.encode()
        return {"exported_secret": mls.export_secret(group, label, request.context, request.key_length)}

    def protect(self, request: Message) -> Fields:
        member, env = self._member(request)
        group, message = mls.seal(member.group, env, request.plaintext, authenticated_data=request.authenticated_data)
        member.group = group
        return {"ciphertext": message}

    def unprotect(self, request: Message) -> Fields:
        member, env = self._member(request)
        opened = member.open(env, request.ciphertext)
        return {"authenticated_data": opened.authenticated_data, "plaintext": opened.data}

    def store_psk(self, request: Message) -> Fields:
        psks = self._kept.psks_of(request.state_or_transaction_id)
        psks.keys[request.psk_id] = ExternalPsk(request.psk_secret)
        return {}

    # ---------------------------------------------------------------- proposals

    def add_proposal(self, request: Message) -> Fields:
        return self._propose(request, Add(read_key_package(request.key_package)))

    def update_proposal(self, request: Message) -> Fields:
        member, env = self._member(request)
        return {"proposal": member.propose(mls.propose_update(member.group, env))}

    def remove_proposal(self, request: Message) -> Fields:
        member, _ = self._member(request)
        return self._propose(request, Remove(leaf_of(member.group.public.tree, request.removed_id)))

    def external_psk_proposal(self, request: Message) -> Fields:
        member, _ = self._member(request)
        return self._propose(request, self._external_psk(member.group.public, request.psk_id))

    def resumption_psk_proposal(self, request: Message) -> Fields:
        member, _ = self._member(request)
        return self._propose(request, self._resumption_psk(member.group.public, request.epoch_id))

    def group_context_extensions_proposal(self, request: Message) -> Fields:
        return self._propose(request, GroupContextExtensions(read_extensions(request.extensions)))

    # ---------------------------------------------------------------- commits

    def commit(self, request: Message) -> Fields:
        member, env = self._member(request)
        references = member.hear(env, request.by_reference)
        proposals = [self._described(member.group.public, wanted) for wanted in request.by_value]
        outside = request.external_tree
        sent = mls.commit(
            with_tree_inside(member.group, inside=not outside),
            env,
            proposals=proposals,
            references=references,
            force_path=request.force_path,
        )
        member.group = with_tree_inside(sent.before, inside=True)
        member.pending = with_tree_inside(sent.group, inside=True)
        return {
            "commit": sent.message,
            "welcome": sent.welcome or b"",
            "ratchet_tree": sent.group.public.tree.encode() if outside else b"",
        }

    def handle_commit(self, request: Message) -> Fields:
        member, env = self._member(request)
        done = member.follow(env, request.proposal, request.commit)
        member.enter(done.before, done.group)
        # Whoever was removed keeps its last epoch, and must not be taken for a member of the next one.
        removed = done.group.ended is Ended.REMOVED
        return {
            "state_id": request.state_id,
            "epoch_authenticator": b"" if removed else done.group.authenticator,
        }

    def handle_pending_commit(self, request: Message) -> Fields:
        member, _ = self._member(request)
        member.enter(member.group, self._pending(request, member))
        return {"state_id": request.state_id, "epoch_authenticator": member.group.authenticator}

    def _pending(self, request: Message, member: Member) -> Group:
        if member.pending is None:
            raise UnknownIdError(f"state {request.state_id} has no pending commit")
        return member.pending
