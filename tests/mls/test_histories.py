"""Random histories of a few members: whoever is in agrees on everything, whoever is out is told, nothing is kept.

Every step of `Histories` is something people do. After each one all members have the same epoch, the same tree and
exactly the private keys that are theirs; what they sent is read once; values that were kept from earlier epochs are as
they were. Suite 1 mostly, because it is the fastest; `test_every_suite` goes through the same steps with the others.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mls import group as front
from mls.errors import GroupEndedError, PastEpochError, PeerError, ReplayError, StaleError
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extension, RequiredCapabilities
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    Remove,
    Update,
    external_senders_extension,
)
from mls.psk import ExternalPskId
from mls.registries import Epoch, ExtensionType, LeafIndex
from mls.state import Group
from tests.mls.clients import (
    Client,
    Party,
    Psks,
    check_private_keys,
    client,
    environment,
    removed,
    secret_bytes,
    snapshot,
)

MOST = 6  # members
WINDOW = 4
PARAMETERS = Parameters(out_of_order=WINDOW, max_forward=20, resumption_psks=3, take_new_members=True)
PSKS = {b"psk%d" % number: hashlib.sha256(b"psk%d" % number).digest() for number in range(4)}
BOT = "bot"

who = st.integers(0, MOST - 1)
wire = st.none() | st.booleans()
proposing = st.lists(
    st.tuples(
        who,
        st.sampled_from(["update", "add", "remove", "psk", "extensions"]),
        who,
        st.sampled_from(["member", "member", "external sender", "new member"]),
    ),
    min_size=1,
    max_size=4,
)


class Histories(RuleBasedStateMachine):
    suite = 1

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.waiting: dict[bytes, tuple[Client, KeyPackageSecrets]] = {}
        self.kept: list[tuple[Group, dict[str, object]]] = []
        self.epochs: dict[int, bytes] = {}

    @initialize(count=st.integers(0, 3), watched=st.booleans())
    def begin(self, count: int, watched: bool) -> None:
        env = environment("history", psks=Psks(PSKS))
        self.bot = client(BOT, self.suite)
        extensions = self.extensions(b"first") if watched else ()
        founder = self.newcomer()
        self.party = Party(env, {founder.name: founder}, {founder.name: founder.create(env, extensions=extensions)})
        self.note_epoch()
        if count:
            self.commit_with(0, [self.arrival() for _ in range(count)], [])

    # What the steps are made of

    def extensions(self, text: bytes) -> tuple[Extension, ...]:
        suite = environment().provider.suite(self.suite)
        sender = ExternalSender(suite.scheme.public_key(self.bot.signer), self.bot.credential)
        return (
            external_senders_extension((sender,)),
            RequiredCapabilities((), (), (1,)).extension(),
            Extension(ExtensionType.APPLICATION_ID, text),
        )

    def newcomer(self) -> Client:
        self.made += 1
        return client(f"client{self.made}", self.suite, parameters=PARAMETERS)

    def arrival(self) -> tuple[Client, KeyPackageSecrets]:
        newcomer = self.newcomer()
        package = newcomer.package(self.party.env)
        self.waiting[package.key_package.leaf_node.encoded] = newcomer, package
        return newcomer, package

    def name(self, choice: int) -> str:
        names = self.party.names
        return names[choice % len(names)]

    @property
    def group(self) -> Group:
        return self.party.any

    def room(self) -> int:
        """How many more may be added, if everything that waits is committed."""
        return MOST - len(self.party.names) - sum(isinstance(p, Add) for p in self.pending())

    def pending(self) -> list[Proposal]:
        return [item.proposal for item in self.group.proposals.values()]

    def note_epoch(self) -> None:
        group = self.group
        assert self.epochs.get(group.epoch) is None
        self.epochs[group.epoch] = group.authenticator

    def commit_with(
        self,
        by: int,
        joining: list[tuple[Client, KeyPackageSecrets]],
        proposals: list[Proposal],
        **options: Any,
    ) -> None:
        """A commit, and everything that must be so after one."""
        party = self.party
        committer = self.name(by)
        before = dict(party.groups)
        active = party.names
        given = [*proposals, *(Add(package.key_package) for _, package in joining)]
        sent = front.commit(party[committer], party.env, proposals=given, **options)
        old_secrets = {name: set(secret_bytes(party[name])) for name in active}
        plans = []
        for name, event in party.deliver(sent.message, by=committer).items():
            assert isinstance(event, CommitMessage)
            assert event.committer == before[committer].own_leaf
            plans.append(event.plan)
            gone = before[name].own_leaf in event.plan.removed
            assert removed(event.group) == gone
            if gone:
                for attempt in (
                    lambda name=name: front.seal(party[name], party.env, b""),
                    lambda name=name: front.commit(party[name], party.env),
                    lambda name=name: front.receive(party[name], party.env, sent.message),
                ):
                    with pytest.raises(GroupEndedError):
                        attempt()
            else:
                with pytest.raises(PastEpochError):
                    front.receive(event.group, party.env, sent.message)
        party.groups[committer] = sent.group
        self.settle(before, old_secrets)
        assert all(other.added == sent.added for other in plans)
        for place in sent.added:
            leaf = sent.group.public.tree.leaf(place)
            assert leaf is not None
            newcomer, package = self.waiting.pop(leaf.encoded)
            party.welcome(newcomer, package, sent)
        party.agree()

    def settle(self, before: dict[str, Group], old_secrets: dict[str, set[bytes]]) -> None:
        """The epoch is new, and of the old one nothing is left but what may be."""
        self.note_epoch()
        for name in self.party.names:
            group = self.party[name]
            if name not in old_secrets:
                continue
            old = before[name]
            assert group.epoch == old.epoch + 1
            assert not group.proposals
            assert not group.updates
            allowed = {key.raw for key in group.private.values()} | {group.signature_key.raw}
            allowed |= {psk.raw for _, psk in group.resumption}
            assert not (set(secret_bytes(group)) - allowed) & old_secrets[name]
            assert len(group.resumption) <= PARAMETERS.resumption_psks

    # Commits

    @precondition(lambda self: self.room() > 0)
    @rule(by=who, count=st.integers(1, 2), path=st.booleans(), encrypt=wire)
    def add(self, by: int, count: int, path: bool, encrypt: bool | None) -> None:
        joining = [self.arrival() for _ in range(min(count, self.room()))]
        self.commit_with(by, joining, [], force_path=path, encrypt=encrypt)

    @rule(by=who, what=st.sampled_from(["nothing", "psks", "extensions"]), choice=st.integers(0, 3), encrypt=wire)
    def commit(self, by: int, what: str, choice: int, encrypt: bool | None) -> None:
        """What waits, and of one's own: nothing, PSKs, or new extensions."""
        party = self.party
        group = self.group
        proposals: list[Proposal] = []
        if what == "psks":
            proposals.append(front.external_psk(group, party.env, b"psk%d" % choice))
            if not any(isinstance(proposal, Add) for proposal in self.pending()):
                # A resumption PSK of an epoch that every member still has; who only joins now has none.
                first = max(party[name].resumption[0][0] for name in party.names)
                epoch = Epoch(max(first, group.epoch - choice))
                proposals.append(front.resumption_psk(group, party.env, epoch))
        elif what == "extensions":
            proposals.append(GroupContextExtensions(self.extensions(b"%d" % choice) if choice else ()))
        self.commit_with(by, [], proposals, encrypt=encrypt)

    @precondition(lambda self: len(self.party.names) > 1)
    @rule(by=who, whom=who, adds=st.booleans(), encrypt=wire)
    def remove(self, by: int, whom: int, adds: bool, encrypt: bool | None) -> None:
        """With what waits forgotten: whether it may stand beside the Remove is for `commit` to find out."""
        committer, target_name = self.name(by), self.name(whom)
        if committer == target_name:
            return
        party = self.party
        for name in party.names:
            party.groups[name] = front.shelve_proposals(party[name])
        joining = [self.arrival()] if adds else []
        self.commit_with(by, joining, [Remove(party.leaf(target_name))], encrypt=encrypt)

    @precondition(lambda self: len(self.party.names) > 1)
    @rule(one=who, two=who)
    def race(self, one: int, two: int) -> None:
        """Two commits on one epoch: everybody could follow either; they follow the first, and it is as good."""
        first, second = self.name(one), self.name(two)
        if first == second:
            return
        party = self.party
        losing = front.commit(party[second], party.env, encrypt=one % 2 == 0)
        other = party.copy(party.env)
        for name in party.names:
            if name != second:
                other.groups[name] = front.receive(party[name], party.env, losing.message).group
        other.groups[second] = losing.group
        self.commit_with(one, [], [])
        if second in party.names:
            for name in party.names:
                with pytest.raises(PastEpochError):
                    front.receive(party[name], party.env, losing.message)
        if other.names == party.names:
            other.agree()
            assert other.any.authenticator != party.any.authenticator

    # From outside

    @rule(through=who, whom=st.none() | who, psk=st.booleans())
    def join_externally(self, through: int, whom: int | None, psk: bool) -> None:
        """Somebody new, or somebody who lost its state."""
        if whom is not None:
            name = self.name(whom)
            if len(self.party.names) > 1:
                self.outside(self.party.clients[name], through, self.party.leaf(name), psk)
        elif len(self.party.names) < MOST:
            self.outside(self.newcomer(), through, None, psk)

    def outside(self, newcomer: Client, through: int, remove: LeafIndex | None, psk: bool) -> None:
        party = self.party
        before = dict(party.groups)
        info = front.group_info(party[self.name(through)])
        psks = [ExternalPskId(b"psk0", bytes(self.group.suite.hash_size))] if psk else []
        joined = newcomer.join_externally(party.env, info, remove=remove, psks=psks)
        old_secrets = {name: set(secret_bytes(party[name])) for name in party.names if name != newcomer.name}
        for name, event in party.deliver(joined.message).items():
            assert isinstance(event, CommitMessage)
            assert event.external
            assert event.committer == joined.group.own_leaf
            assert removed(event.group) == (name == newcomer.name)
        party.clients[newcomer.name] = newcomer
        party.groups[newcomer.name] = joined.group
        self.settle(before, old_secrets)
        party.agree()

    # Proposals

    def proposed(self, by: str | None, message: bytes, kind: type) -> None:
        for event in self.party.deliver(message, by=by).values():
            assert isinstance(event, ProposalMessage)
            assert isinstance(event.proposal, kind)
        first, *others = [list(self.party[name].proposals) for name in self.party.names]
        assert all(other == first for other in others)

    @rule(several=proposing, encrypt=wire)
    def propose(self, several: list[tuple[int, str, int, str]], encrypt: bool | None) -> None:
        for proposer, kind, choice, how in several:
            self.propose_one(proposer, kind, choice, how, encrypt)

    @rule(several=proposing, encrypt=wire, by=who)
    def propose_and_commit(self, several: list[tuple[int, str, int, str]], encrypt: bool | None, by: int) -> None:
        """Whatever people propose, in any order and by any way, the next member to commit is not kept from it."""
        self.propose(several, encrypt)
        self.commit_with(by, [], [])

    def propose_one(self, by: int, kind: str, choice: int, how: str, encrypt: bool | None) -> None:
        party = self.party
        group = self.group
        watched = any(e.type == ExtensionType.EXTERNAL_SENDERS for e in group.public.context.extensions)
        if how == "new member":
            kind = "add"
        if (kind == "add" and self.room() <= 0) or (how == "external sender" and not watched):
            return
        name = self.name(by)
        if kind == "update":
            party.groups[name], message, _ = front.propose_update(party[name], party.env, encrypt=encrypt)
            self.proposed(name, message, Update)
            return
        proposal: Proposal
        package = None
        match kind:
            case "add":
                _, package = self.arrival()
                proposal = Add(package.key_package)
            case "remove":
                proposal = Remove(party.leaf(self.name(choice)))
            case "psk":
                nonce = bytes([choice]) * group.suite.hash_size
                proposal = PreSharedKey(ExternalPskId(b"psk%d" % (choice % 4), nonce))
            case _:
                proposal = GroupContextExtensions(self.extensions(b"%d" % choice) if choice else ())
        if how == "new member" and package is not None:
            message = front.propose_self(party.env, group.group_id, group.epoch, package)
            self.proposed(None, message, Add)
        elif how == "external sender":
            message = front.propose_as_sender(
                party.env,
                self.suite,
                group.group_id,
                group.epoch,
                proposal,
                sender_index=0,
                signature_private=self.bot.signer,
            )
            self.proposed(None, message, type(proposal))
        else:
            party.groups[name], message, _ = front.propose(party[name], party.env, proposal, encrypt=encrypt)
            self.proposed(name, message, type(proposal))

    # Application messages

    @precondition(lambda self: not self.pending())
    @rule(by=who, order=st.lists(st.integers(0, WINDOW), min_size=1, max_size=WINDOW + 1), size=st.integers(0, 300))
    def talk(self, by: int, order: list[int], size: int) -> None:
        """Several messages; they arrive in another order, some never, and none is read twice."""
        party = self.party
        name = self.name(by)
        messages = []
        for number in range(max(order) + 1):
            party.groups[name], message = front.seal(
                party[name], party.env, bytes([number]) * size, authenticated_data=b"aad"
            )
            messages.append(message)
        for reader in party.names:
            if reader == name:
                continue
            read = set()
            for number in order:
                if number in read:
                    with pytest.raises(ReplayError):
                        front.receive(party[reader], party.env, messages[number])
                    continue
                event = front.receive(party[reader], party.env, messages[number])
                assert isinstance(event, ApplicationMessage)
                assert event.data == bytes([number]) * size
                assert event.sender == party.leaf(name)
                party.groups[reader] = event.group
                read.add(number)

    @rule(by=who, at=st.integers(0, 2**16), bit=st.integers(0, 7), encrypt=st.booleans())
    def disturb(self, by: int, at: int, bit: int, encrypt: bool) -> None:
        """Somebody on the way changes a bit: nobody is moved, and what was meant still arrives."""
        party = self.party
        name = self.name(by)
        sent = front.commit(party[name], party.env, encrypt=encrypt).message
        place = at * len(sent) // (2**16 + 1)
        spoiled = sent[:place] + bytes([sent[place] ^ 1 << bit]) + sent[place + 1 :]
        for other in party.names:
            if other != name:
                with pytest.raises((PeerError, StaleError)):
                    front.receive(party[other], party.env, spoiled)
                front.receive(party[other], party.env, sent)
                break

    # Values

    @rule(which=who)
    def keep(self, which: int) -> None:
        group = self.party[self.name(which)]
        self.kept.append((group, snapshot(group)))
        del self.kept[:-3]

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "party"):
            return
        first, *others = [self.party[name] for name in self.party.names]
        assert first.authenticator == self.epochs[first.epoch]
        for group in others:
            assert group.authenticator == first.authenticator
            assert group.public.context == first.public.context
            assert group.secrets == first.secrets

    def teardown(self) -> None:
        for group, text in self.kept:
            assert snapshot(group) == text
        if hasattr(self, "party"):
            party = self.party
            exported = {front.export_secret(party[name], b"label", b"", 32) for name in party.names}
            assert len(exported) == 1
            self.commit_with(0, [], [])
            for name in party.names:
                party.say(name, b"the end")
                check_private_keys(party[name])


TestHistories = Histories.TestCase


@pytest.mark.parametrize("suite", range(2, 8))
def test_every_suite(suite: int) -> None:
    machine = type("InThisSuite", (Histories,), {"suite": suite})
    run_state_machine_as_test(machine, settings=settings(max_examples=3, stateful_step_count=12))
