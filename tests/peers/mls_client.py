"""Our own peer: `python -m tests.peers.mls_client --port N` serves the interop interface and prints `listening N`.

Port 0 takes a free port. With --grease, capabilities also list random values that nobody knows (RFC 9420 §13.5).
What concerns one group is in `mls_client_calls`; here are the calls that lead from one group to another, those from
outside a group, and the program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from mls import group as mls
from mls.codec import decode_exactly
from mls.credential import BasicCredential
from mls.errors import BugError, CallerError, MlsError, PeerError, StaleError
from mls.external import public_state
from mls.framing import encode_message
from mls.key_package import KeyPackageSecrets
from mls.proposals import Add, ExternalSender, external_senders_extension
from mls.registries import GroupId, WireFormat
from mls.state import Group
from mls.welcome import decode_group_info
from tests.peers.mls_client_calls import Fields, GroupCalls, with_tree_inside
from tests.peers.mls_client_state import (
    Joiner,
    Member,
    MisuseError,
    Signer,
    Successor,
    UnknownIdError,
    identity_of,
    read_extensions,
    read_key_package,
    replaced_extension,
)
from tests.peers.stubs import Message, serve_until_told

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


class MlsClient(GroupCalls):
    """All 34 calls."""

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
            with_tree_inside(old, inside=not outside),
            self._env(prior.psks),
            [Add(read_key_package(message)) for message in key_packages],
            signature_private=old.signature_key if package is None else package.signature_private,
            branch=branch,
            lifetime=self._lifetime(),
            extensions=None if branch is None else read_extensions(request.extensions),
            force_path=request.force_path,
        )
        group = with_tree_inside(founded.group, inside=True)
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
