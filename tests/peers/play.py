"""One scenario being played: each step's calls, what they leave behind, and what must agree.

The calls and their order are the working group's runner's. Where that runner checks nothing, nothing is added
to the protocol either, only to what is compared.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod

from tests.peers import scenario as s
from tests.peers.stubs import Client, Message, RpcError, interface


class PeerError(Exception):
    """A peer answered a call with an error, or not at all."""

    def __init__(self, role: str, cause: RpcError) -> None:
        super().__init__(f"{role}: {cause}")
        self.role = role
        self.cause = cause


class DisagreementError(Exception):
    """Every call succeeded, and what the peers said does not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a run's transcript."""

    role: str
    rpc: str
    request: Message
    response: Message


class Performance:
    """The state of one run. Step outputs are kept by step number, as scenarios refer to them."""

    def __init__(
        self,
        *,
        clients: Mapping[str, Client],
        suites: Mapping[str, Sequence[int]],
        suite: int,
        encrypt: bool,
    ) -> None:
        self._clients = clients
        self._suites = suites
        self._suite = suite
        self._encrypt = encrypt
        self._states: dict[str, int] = {}
        self._transactions: dict[str, int] = {}
        self._signers: dict[str, int] = {}
        self._outputs: dict[int, dict[str, bytes]] = {}
        self._number = 0
        # Who stands in the newest epoch, as far as the steps tell.
        self._live: tuple[str, ...] = ()
        self.transcript: list[Call] = []

    # ---------------------------------------------------------------- the parts steps are made of

    def _call(self, role: str, rpc: str, **fields: object) -> Message:
        request = interface().rpcs[rpc].request(**fields)
        try:
            response = self._clients[role].send(rpc, request)
        except RpcError as error:
            raise PeerError(role, error) from None
        self.transcript.append(Call(role=role, rpc=rpc, request=request, response=response))
        return response

    def _keep(self, **outputs: bytes) -> None:
        self._outputs.setdefault(self._number, {}).update(outputs)

    def _output(self, number: int, name: str) -> bytes:
        try:
            return self._outputs[number][name]
        except KeyError:
            raise s.ScenarioError(f"step {self._number}: step {number} left no {name}") from None

    def _proposals(self, numbers: Iterable[int]) -> list[bytes]:
        return [self._output(number, "proposal") for number in numbers]

    def _state(self, role: str) -> int:
        try:
            return self._states[role]
        except KeyError:
            raise s.ScenarioError(f"step {self._number}: {role} is in no group") from None

    def _transaction(self, role: str) -> int:
        try:
            return self._transactions[role]
        except KeyError:
            raise s.ScenarioError(f"step {self._number}: {role} has no key package") from None

    def _successor_group_id(self, change: bool) -> bytes:
        return self._output(0, "group_id") + (b"++" if change else b"")

    def _change_suite(self) -> None:
        """Move on to the next suite that every peer of this run has."""
        common = set.intersection(*(set(suites) for suites in self._suites.values())) - {self._suite}
        if not common:
            raise DisagreementError("no other cipher suite is common to all")
        self._suite = min((suite for suite in common if suite > self._suite), default=min(common))

    def _describe(self, wanted: s.ProposalDescription) -> dict[str, object]:
        description: dict[str, object] = {"proposal_type": wanted.proposal_type.encode()}
        match wanted.proposal_type:
            case "add":
                description["key_package"] = self._output(wanted.key_package, "key_package")
            case "remove":
                description["removed_id"] = wanted.removed.encode()
            case "externalPSK":
                description["psk_id"] = self._output(wanted.psk_id, "psk_id")
            case "resumptionPSK":
                description["epoch_id"] = wanted.epoch_id
            case "groupContextExtensions":
                description["extensions"] = _extensions(wanted.extensions)
            case "reinit":
                if wanted.change_cipher_suite:
                    self._change_suite()
                description["extensions"] = _extensions(wanted.extensions)
                description["cipher_suite"] = self._suite
                description["group_id"] = self._successor_group_id(wanted.change_group_id)
            case other:
                raise s.ScenarioError(f"step {self._number}: unknown proposal type {other!r}")
        return description

    def _same(self, role: str, what: str, said: bytes, expected: bytes) -> None:
        if not said or said != expected:
            raise DisagreementError(f"{role} has {what} {said.hex() or 'empty'}, expected {expected.hex() or 'empty'}")

    def _epoch_begun(self, live: Iterable[str], epoch_authenticator: bytes) -> None:
        """Everyone in the new epoch must say so, and export the same secret."""
        self._live = tuple(dict.fromkeys(live))
        label, context = f"bench {self._number}", os.urandom(8)
        exported = b""
        for role in self._live:
            authenticator = self._call(role, "StateAuth", state_id=self._state(role)).state_auth_secret
            self._same(role, "epoch authenticator", authenticator, epoch_authenticator)
            answer = self._call(role, "Export", state_id=self._state(role), label=label, context=context, key_length=40)
            exported = exported or answer.exported_secret
            self._same(role, "exported secret", answer.exported_secret, exported)

    def _key_package(self, role: str) -> Message:
        return self._call(role, "CreateKeyPackage", cipher_suite=self._suite, identity=role.encode())

    def _join(self, role: str, transaction: int, welcome: bytes, tree: bytes = b"") -> bytes:
        joined = self._call(
            role,
            "JoinGroup",
            transaction_id=transaction,
            welcome=welcome,
            encrypt_handshake=self._encrypt,
            identity=role.encode(),
            ratchet_tree=tree,
        )
        self._states[role] = joined.state_id
        return bytes(joined.epoch_authenticator)

    def _apply_own(self, role: str) -> bytes:
        applied = self._call(role, "HandlePendingCommit", state_id=self._state(role))
        self._states[role] = applied.state_id
        return bytes(applied.epoch_authenticator)

    def _handle(self, role: str, commit: bytes, proposals: Sequence[bytes] = ()) -> bytes:
        handled = self._call(role, "HandleCommit", state_id=self._state(role), proposal=proposals, commit=commit)
        self._states[role] = handled.state_id
        return bytes(handled.epoch_authenticator)

    def _commit(self, step: s.Commit) -> Message:
        committed = self._call(
            step.actor,
            "Commit",
            state_id=self._state(step.actor),
            by_reference=self._proposals(step.by_reference),
            by_value=[self._describe(wanted) for wanted in step.by_value],
            force_path=step.force_path,
            external_tree=step.external_tree,
        )
        self._keep(commit=committed.commit, welcome=committed.welcome)
        if step.external_tree:
            self._keep(ratchet_tree=committed.ratchet_tree)
        return committed

    def _propose(self, step: s.Step, rpc: str, **fields: object) -> None:
        proposed = self._call(step.actor, rpc, state_id=self._state(step.actor), **fields)
        self._keep(proposal=proposed.proposal)

    # ---------------------------------------------------------------- the steps

    def play(self, number: int, step: s.Step) -> None:
        """Play one step: PeerError or DisagreementError if it goes wrong."""
        self._number = number
        self._play(step)

    @singledispatchmethod
    def _play(self, step: s.Step) -> None:
        raise s.ScenarioError(f"no way to play {type(step).__name__}")

    @_play.register
    def _(self, step: s.CreateGroup) -> None:
        group_id = str(uuid.uuid4()).encode()
        self._keep(group_id=group_id)
        created = self._call(
            step.actor,
            "CreateGroup",
            group_id=group_id,
            cipher_suite=self._suite,
            encrypt_handshake=self._encrypt,
            identity=step.actor.encode(),
        )
        self._states[step.actor] = created.state_id
        if not step.members:
            self._live = (step.actor,)
            return
        packages = {member: self._key_package(member) for member in step.members}
        adds = [{"proposal_type": b"add", "key_package": package.key_package} for package in packages.values()]
        committed = self._call(step.actor, "Commit", state_id=self._state(step.actor), by_value=adds)
        authenticator = self._apply_own(step.actor)
        for member, package in packages.items():
            said = self._join(member, package.transaction_id, committed.welcome)
            self._same(member, "epoch authenticator", said, authenticator)
        self._epoch_begun((step.actor, *step.members), authenticator)

    @_play.register
    def _(self, step: s.CreateKeyPackage) -> None:
        package = self._key_package(step.actor)
        self._transactions[step.actor] = package.transaction_id
        self._keep(key_package=package.key_package)

    @_play.register
    def _(self, step: s.JoinGroup) -> None:
        self._live = ()
        self._join(step.actor, self._transaction(step.actor), self._output(step.welcome, "welcome"))

    @_play.register
    def _(self, step: s.ExternalJoin) -> None:
        info = self._call(step.actor, "GroupInfo", state_id=self._state(step.actor), external_tree=step.external_tree)
        self._keep(group_info=info.group_info, ratchet_tree=info.ratchet_tree)
        psks = [
            {"psk_id": self._output(number, "psk_id"), "psk_secret": self._output(number, "psk_secret")}
            for number in step.psks
        ]
        joined = self._call(
            step.joiner,
            "ExternalJoin",
            group_info=info.group_info,
            ratchet_tree=info.ratchet_tree,
            encrypt_handshake=self._encrypt,
            identity=step.joiner.encode(),
            remove_prior=step.remove_prior,
            psks=psks,
        )
        self._states[step.joiner] = joined.state_id
        self._keep(commit=joined.commit, epoch_authenticator=joined.epoch_authenticator)
        for member in (*step.members, step.actor):
            said = self._handle(member, joined.commit)
            self._same(member, "epoch authenticator", said, joined.epoch_authenticator)
        self._epoch_begun((step.actor, *step.members, step.joiner), joined.epoch_authenticator)

    @_play.register
    def _(self, step: s.InstallExternalPsk) -> None:
        psk_id, psk_secret = os.urandom(32), os.urandom(32)
        self._keep(psk_id=psk_id, psk_secret=psk_secret)
        for client in step.clients:
            # States and transactions share one space of ids: a joiner is asked by its key package.
            if client in self._states:
                where = self._states[client]
            else:
                where = self._transaction(client)
            self._call(client, "StorePSK", state_or_transaction_id=where, psk_id=psk_id, psk_secret=psk_secret)

    @_play.register
    def _(self, step: s.GroupInfo) -> None:
        info = self._call(step.actor, "GroupInfo", state_id=self._state(step.actor), external_tree=step.external_tree)
        self._keep(group_info=info.group_info, ratchet_tree=info.ratchet_tree)

    @_play.register
    def _(self, step: s.AddProposal) -> None:
        self._propose(step, "AddProposal", key_package=self._output(step.key_package, "key_package"))

    @_play.register
    def _(self, step: s.UpdateProposal) -> None:
        self._propose(step, "UpdateProposal")

    @_play.register
    def _(self, step: s.RemoveProposal) -> None:
        self._propose(step, "RemoveProposal", removed_id=step.removed.encode())

    @_play.register
    def _(self, step: s.ExternalPskProposal) -> None:
        self._propose(step, "ExternalPSKProposal", psk_id=self._output(step.psk_id, "psk_id"))

    @_play.register
    def _(self, step: s.ResumptionPskProposal) -> None:
        self._propose(step, "ResumptionPSKProposal", epoch_id=step.epoch_id)

    @_play.register
    def _(self, step: s.GroupContextExtensionsProposal) -> None:
        self._propose(step, "GroupContextExtensionsProposal", extensions=_extensions(step.extensions))

    @_play.register
    def _(self, step: s.Commit) -> None:
        self._live = ()
        self._commit(step)

    @_play.register
    def _(self, step: s.FullCommit) -> None:
        committed = self._commit(step)
        authenticator = self._apply_own(step.actor)
        self._keep(epoch_authenticator=authenticator)
        proposals = self._proposals(step.by_reference)
        for member in step.members:
            said = self._handle(member, committed.commit, proposals)
            self._same(member, "epoch authenticator", said, authenticator)
        tree = committed.ratchet_tree if step.external_tree else b""
        for joiner in step.joiners:
            said = self._join(joiner, self._transaction(joiner), committed.welcome, tree)
            self._same(joiner, "epoch authenticator", said, authenticator)
        self._epoch_begun((step.actor, *step.members, *step.joiners), authenticator)

    @_play.register
    def _(self, step: s.HandleCommit) -> None:
        self._live = ()
        self._handle(step.actor, self._output(step.commit, "commit"), self._proposals(step.by_reference))

    @_play.register
    def _(self, step: s.HandlePendingCommit) -> None:
        self._live = ()
        self._apply_own(step.actor)

    @_play.register
    def _(self, step: s.Protect) -> None:
        aad, plaintext = step.authenticated_data.encode(), step.plaintext.encode()
        sealed = self._call(
            step.actor,
            "Protect",
            state_id=self._state(step.actor),
            authenticated_data=aad,
            plaintext=plaintext,
        )
        self._keep(authenticated_data=aad, plaintext=plaintext, ciphertext=sealed.ciphertext)

    @_play.register
    def _(self, step: s.Unprotect) -> None:
        opened = self._call(
            step.actor,
            "Unprotect",
            state_id=self._state(step.actor),
            ciphertext=self._output(step.ciphertext, "ciphertext"),
        )
        aad = self._output(step.ciphertext, "authenticated_data")
        plaintext = self._output(step.ciphertext, "plaintext")
        if opened.authenticated_data != aad or opened.plaintext != plaintext:
            raise DisagreementError(f"{step.actor} opened another message than was sealed")
        self._keep(authenticated_data=aad, plaintext=plaintext)

    @_play.register
    def _(self, step: s.ReInit) -> None:
        everyone = dict.fromkeys(role for role in (step.proposer, step.committer, step.welcomer, *step.members) if role)
        if step.change_cipher_suite:
            self._change_suite()
        if step.proposer:
            proposal = self._call(
                step.proposer,
                "ReInitProposal",
                state_id=self._state(step.proposer),
                cipher_suite=self._suite,
                group_id=self._successor_group_id(step.change_group_id),
                extensions=_extensions(step.extensions),
            ).proposal
        else:
            proposal = self._output(step.external_reinit_proposal, "proposal")
        committed = self._call(
            step.committer, "ReInitCommit", state_id=self._state(step.committer), by_reference=[proposal]
        )
        last = {
            step.committer: self._call(
                step.committer, "HandlePendingReInitCommit", state_id=self._state(step.committer)
            )
        }
        for member in everyone:
            if member != step.committer:
                last[member] = self._call(
                    member,
                    "HandleReInitCommit",
                    state_id=self._state(member),
                    proposal=[proposal],
                    commit=committed.commit,
                )
                expected = last[step.committer].epoch_authenticator
                self._same(member, "epoch authenticator", last[member].epoch_authenticator, expected)
        invited = [member for member in everyone if member != step.welcomer]
        welcomed = self._call(
            step.welcomer,
            "ReInitWelcome",
            reinit_id=last[step.welcomer].reinit_id,
            key_package=[last[member].key_package for member in invited],
            force_path=step.force_path,
            external_tree=step.external_tree,
        )
        self._states[step.welcomer] = welcomed.state_id
        for member in invited:
            joined = self._call(
                member,
                "HandleReInitWelcome",
                reinit_id=last[member].reinit_id,
                welcome=welcomed.welcome,
                ratchet_tree=welcomed.ratchet_tree if step.external_tree else b"",
            )
            self._same(member, "epoch authenticator", joined.epoch_authenticator, welcomed.epoch_authenticator)
            self._states[member] = joined.state_id
        self._epoch_begun((step.welcomer, *invited), welcomed.epoch_authenticator)

    @_play.register
    def _(self, step: s.Branch) -> None:
        packages = {member: self._key_package(member) for member in step.members}
        old = {role: self._state(role) for role in (step.actor, *step.members)}
        branched = self._call(
            step.actor,
            "CreateBranch",
            state_id=old[step.actor],
            group_id=str(uuid.uuid4()).encode(),
            extensions=_extensions(step.extensions),
            key_packages=[package.key_package for package in packages.values()],
            force_path=step.force_path,
            external_tree=step.external_tree,
        )
        self._states[step.actor] = branched.state_id
        for member, package in packages.items():
            joined = self._call(
                member,
                "HandleBranch",
                state_id=old[member],
                transaction_id=package.transaction_id,
                welcome=branched.welcome,
                ratchet_tree=branched.ratchet_tree if step.external_tree else b"",
            )
            self._same(member, "epoch authenticator", joined.epoch_authenticator, branched.epoch_authenticator)
            self._states[member] = joined.state_id
        self._epoch_begun((step.actor, *step.members), branched.epoch_authenticator)
        # The old group goes on beside the branch, but scenarios have no way to speak of two groups.
        for role, state in old.items():
            self._call(role, "Free", state_id=state)

    @_play.register
    def _(self, step: s.NewMemberAddProposal) -> None:
        info = self._call(step.actor, "GroupInfo", state_id=self._state(step.actor))
        proposed = self._call(
            step.joiner, "NewMemberAddProposal", group_info=info.group_info, identity=step.joiner.encode()
        )
        self._transactions[step.joiner] = proposed.transaction_id
        self._keep(proposal=proposed.proposal)

    @_play.register
    def _(self, step: s.AddExternalSigner) -> None:
        signer = self._call(
            step.signer, "CreateExternalSigner", cipher_suite=self._suite, identity=step.signer.encode()
        )
        self._signers[step.signer] = signer.signer_id
        self._propose(step, "AddExternalSigner", external_sender=signer.external_sender)

    @_play.register
    def _(self, step: s.ExternalSignerProposal) -> None:
        info = self._call(step.member, "GroupInfo", state_id=self._state(step.member), external_tree=True)
        try:
            signer = self._signers[step.actor]
        except KeyError:
            raise s.ScenarioError(f"step {self._number}: {step.actor} is no external signer") from None
        proposed = self._call(
            step.actor,
            "ExternalSignerProposal",
            signer_id=signer,
            group_info=info.group_info,
            ratchet_tree=info.ratchet_tree,
            description=self._describe(step.description),
        )
        self._keep(proposal=proposed.proposal)

    # ---------------------------------------------------------------- after the last step

    def follow_up(self) -> None:
        """The group must still work: who came last commits with a path, the first one writes, all read.

        Not done where the steps leave open who is in which epoch.
        """
        if not self._live:
            return
        self._number += 1
        committer, writer = self._live[-1], self._live[0]
        committed = self._call(committer, "Commit", state_id=self._state(committer), force_path=True)
        authenticator = self._apply_own(committer)
        for member in self._live:
            if member != committer:
                said = self._handle(member, committed.commit)
                self._same(member, "epoch authenticator", said, authenticator)
        self._epoch_begun(self._live, authenticator)
        aad, plaintext = os.urandom(5), os.urandom(100)
        sealed = self._call(
            writer,
            "Protect",
            state_id=self._state(writer),
            authenticated_data=aad,
            plaintext=plaintext,
        )
        for member in self._live:
            if member != writer:
                opened = self._call(member, "Unprotect", state_id=self._state(member), ciphertext=sealed.ciphertext)
                if opened.authenticated_data != aad or opened.plaintext != plaintext:
                    raise DisagreementError(f"{member} opened another message than was sealed")

    def free(self) -> None:
        """Let every peer forget this run; the first failure is raised when all have been told."""
        failures: list[PeerError] = []
        for role, state in self._states.items():
            try:
                self._call(role, "Free", state_id=state)
            except PeerError as error:
                failures.append(error)
        self._states.clear()
        if failures:
            raise failures[0]


def _extensions(extensions: Sequence[s.Extension]) -> list[dict[str, object]]:
    return [
        {"extension_type": extension.extension_type, "extension_data": extension.extension_data}
        for extension in extensions
    ]
