"""Our own peer: `python -m tests.peers.mls_client --port N` serves the interop interface and prints `listening N`.

Port 0 takes a free port. A state id stands for one member of one group for as long as that lasts: commits advance
the state in place, and only a new group (a join, a successor, a branch) gets a new id. A commit waits as the state's
pending one until HandlePendingCommit, or until somebody else's commit is handled. With --grease, capabilities also
list random values that nobody knows (RFC 9420 §13.5).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mls import group as mls
from mls.codec import Reader, decode_exactly
from mls.credential import BasicCredential
from mls.errors import BugError, CallerError, MlsError, PeerError, StaleError
from mls.framing import encode_message
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Capabilities, Lifetime, default_capabilities
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    external_senders_extension,
)
from mls.provider import Environment
from mls.psk import ExternalPskId, ResumptionPskId
from mls.public_state import PublicState
from mls.registries import MLS10, CipherSuite, CredentialType, Epoch, GroupId, ResumptionUsage, WireFormat
from mls.secrets import ExternalPsk
from mls.state import Group
from mls.suite import Suite
from mls.external import public_state
from mls.welcome import decode_group_info
from tests.peers.mls_client_state import (
    NO_PSKS,
    Joiner,
    Kept,
    Member,
    MisuseError,
    Psks,
    Signer,
    Successor,
    UnknownIdError,
    environment,
    identity_of,
    leaf_of,
    read_extensions,
    read_key_package,
    replaced_extension,
)
from tests.peers.stubs import Message, serve_until_told
from vcd.crypto import SystemProvider

SUITES = tuple(int(suite) for suite in CipherSuite)
DAY = 24 * 3600
Fields = Mapping[str, object]

CODES: Mapping[type[Exception], str] = {
    UnknownIdError: "NOT_FOUND",
    MisuseError: "INVALID_ARGUMENT",
    PeerError: "INVALID_ARGUMENT",
    StaleError: "INVALID_ARGUMENT",
    CallerError: "INVALID_ARGUMENT",
    BugError: "INTERNAL",
    MlsError: "INTERNAL",
    # What would be a defect of ours must not look like a mistake of the caller's.
    LookupError: "INTERNAL",
    ValueError: "INTERNAL",
}


def _parameters(*, encrypt: bool) -> Parameters:
    """Generous, because scenarios go further back than a deployment would, and peers let leaves live forever."""
    return Parameters(encrypt_handshakes=encrypt, resumption_psks=256, max_lifetime=2**64)


class MlsClient:
    """The 34 calls. They come one at a time."""

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
        raise MisuseError(f"unknown proposal type {wanted.proposal_type!r}")

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
            _parameters(encrypt=request.encrypt_handshake),
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
            _parameters(encrypt=request.encrypt_handshake),
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
            _parameters(encrypt=request.encrypt_handshake),
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
        group, message = mls.seal(
            member.group, env, request.plaintext, authenticated_data=request.authenticated_data
        )
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
            _with_tree_inside(member.group, inside=not outside),
            env,
            proposals=proposals,
            references=references,
            force_path=request.force_path,
        )
        member.group = _with_tree_inside(sent.before, inside=True)
        member.pending = _with_tree_inside(sent.group, inside=True)
        return {
            "commit": sent.message,
            "welcome": sent.welcome or b"",
            "ratchet_tree": sent.group.public.tree.encode() if outside else b"",
        }

    def handle_commit(self, request: Message) -> Fields:
        member, env = self._member(request)
        done = member.follow(env, request.proposal, request.commit)
        member.enter(done.before, done.group)
        return {"state_id": request.state_id, "epoch_authenticator": member.group.authenticator}

    def handle_pending_commit(self, request: Message) -> Fields:
        member, _ = self._member(request)
        member.enter(member.group, self._pending(request, member))
        return {"state_id": request.state_id, "epoch_authenticator": member.group.authenticator}

    def _pending(self, request: Message, member: Member) -> Group:
        if member.pending is None:
            raise UnknownIdError(f"state {request.state_id} has no pending commit")
        return member.pending

    # ---------------------------------------------------------------- re-initialization

    def reinit_proposal(self, request: Message) -> Fields:
        return self._propose(request, self._reinit(request))

    def reinit_commit(self, request: Message) -> Fields:
        member, _ = self._member(request)
        answer = self.commit(request)
        if member.pending is None or member.pending.reinit is None:
            member.pending = None
            raise MisuseError("this commit does not re-initialize the group")
        return answer

    def handle_pending_reinit_commit(self, request: Message) -> Fields:
        member, _ = self._member(request)
        return self._reinitialized(member, member.group, self._pending(request, member))

    def handle_reinit_commit(self, request: Message) -> Fields:
        member, env = self._member(request)
        done = member.follow(env, request.proposal, request.commit)
        return self._reinitialized(member, done.before, done.group)

    def _reinitialized(self, member: Member, before: Group, last: Group) -> Fields:
        reinit = last.reinit
        if reinit is None:
            raise MisuseError("this commit does not re-initialize the group")
        package = self._package(reinit.cipher_suite, identity_of(last))
        member.enter(before, last)
        return {
            "reinit_id": self._kept.add(Successor(last=member, package=package)),
            "key_package": encode_message(WireFormat.KEY_PACKAGE, package.key_package.encoded),
            "epoch_authenticator": last.authenticator,
        }

    def reinit_welcome(self, request: Message) -> Fields:
        successor = self._kept.find(Successor, request.reinit_id)
        answer = self._founded(successor.last, request, request.key_package, successor.package, None)
        self._kept.forget(Successor, request.reinit_id)
        return answer

    def handle_reinit_welcome(self, request: Message) -> Fields:
        successor = self._kept.find(Successor, request.reinit_id)
        answer = self._continued(successor.last, request, successor.package)
        self._kept.forget(Successor, request.reinit_id)
        return answer

    # ---------------------------------------------------------------- branches

    def create_branch(self, request: Message) -> Fields:
        member, _ = self._member(request)
        return self._founded(member, request, request.key_packages, None, GroupId(request.group_id))

    def handle_branch(self, request: Message) -> Fields:
        member, _ = self._member(request)
        joiner = self._kept.find(Joiner, request.transaction_id)
        answer = self._continued(member, request, joiner.package)
        self._kept.forget(Joiner, request.transaction_id)
        return answer

    def _founded(
        self,
        prior: Member,
        request: Message,
        key_packages: Sequence[bytes],
        package: KeyPackageSecrets | None,
        branch: GroupId | None,
    ) -> Fields:
        """Found the group that continues `prior`; `package` lends its signature key to the first member."""
        old, outside = prior.group, request.external_tree
        founded = mls.continue_group(
            _with_tree_inside(old, inside=not outside),
            self._env(prior.psks),
            [Add(read_key_package(message)) for message in key_packages],
            signature_private=old.signature_key if package is None else package.signature_private,
            branch=branch,
            lifetime=self._lifetime(),
            extensions=None if branch is None else read_extensions(request.extensions),
            force_path=request.force_path,
        )
        group = _with_tree_inside(founded.group, inside=True)
        return {
            **self._entered(group, prior.psks.copy()),
            "welcome": founded.welcome or b"",
            "ratchet_tree": group.public.tree.encode() if outside else b"",
        }

    def _continued(self, prior: Member, request: Message, package: KeyPackageSecrets) -> Fields:
        """Join the group that continues `prior`."""
        group, _ = mls.join(
            self._env(prior.psks),
            prior.group.parameters,
            request.welcome,
            [package],
            tree=request.ratchet_tree or None,
            prior=prior.group,
        )
        return self._entered(group, prior.psks.copy())

    # ---------------------------------------------------------------- proposals from outside

    def new_member_add_proposal(self, request: Message) -> Fields:
        context = decode_group_info(request.group_info).context
        package = self._package(context.cipher_suite, request.identity)
        message = mls.propose_self(self._env(), context.group_id, context.epoch, package)
        return {"proposal": message, **self._joiner(package)}

    def create_external_signer(self, request: Message) -> Fields:
        private, public = self._suite(request.cipher_suite).scheme.generate(self._provider.random)
        signer = Signer(cipher_suite=request.cipher_suite, signature_private=private, signature_key=public)
        sender = ExternalSender(public, BasicCredential(request.identity))
        return {"signer_id": self._kept.add(signer), "external_sender": sender.encode()}

    def add_external_signer(self, request: Message) -> Fields:
        public = self._member(request)[0].group.public
        fresh = decode_exactly(request.external_sender, ExternalSender.decode)
        extension = external_senders_extension((*public.external_senders(), fresh))
        return self._propose(request, replaced_extension(public.context.extensions, extension))

    def external_signer_proposal(self, request: Message) -> Fields:
        """The signer knows its place by its key: the runner leaves signer_index empty."""
        signer = self._kept.find(Signer, request.signer_id)
        env = self._env()
        info = decode_group_info(request.group_info)
        public = public_state(env, info, request.ratchet_tree or None)
        keys = [sender.signature_key for sender in public.external_senders()]
        if signer.signature_key not in keys:
            raise MisuseError("the group does not know this signer")
        message = mls.propose_as_sender(
            env,
            info.context.cipher_suite,
            public.group_id,
            public.epoch,
            self._described(public, request.description),
            sender_index=keys.index(signer.signature_key),
            signature_private=signer.signature_private,
        )
        return {"proposal": message}

    # ---------------------------------------------------------------- the end

    def free(self, request: Message) -> Fields:
        self._kept.forget(Member, request.state_id)
        return {}


def _with_tree_inside(group: Group, *, inside: bool) -> Group:
    """Whether a Welcome carries the tree is a parameter of the group; the interface decides it anew each time."""
    return replace(group, parameters=replace(group.parameters, ratchet_tree=inside))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers.mls_client", description="Serve the MLS interop interface."
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0, the default, takes a free port")
    parser.add_argument("--grease", action="store_true", help="list random unknown capabilities as well")
    given = parser.parse_args(arguments)
    serve_until_told(MlsClient(grease=given.grease), given.port, codes=CODES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
