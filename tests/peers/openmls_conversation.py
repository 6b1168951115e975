"""Conversations of a virtual client of both makes (`Account`) with ordinary members of both makes.

Whoever is in a `Conversation` hears what anybody sends, and everything that can be compared is: epochs, trees, the one
leaf of all devices, and which device each of them takes for the author. Names that begin with an o are OpenMLS's.
"""

from __future__ import annotations

from mls import group as front
from mls.commit import KEEP, NewLeaf
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.proposals import Add, Proposal, encode_proposal
from mls.registries import GroupId, LeafIndex
from mls.state import Group
from mls.virtual import client as virtual
from mls.virtual.announcements import (
    Created,
    JoinedExternally,
)
from tests.peers.openmls_account import NAME, Account, theirs
from tests.peers.openmls_company import (
    PARAMETERS,
    PUBLIC,
    capabilities,
    key_package_of,
    lifetime,
    our_client,
    told,
)
from tests.peers.openmls_emulation import LISTED_EXTENSIONS, Acting
from tests.peers.openmls_peer import Member, Received

Heard = Received | virtual.Received | front.Event
"""What OpenMLS, a device of ours, or an ordinary member of ours makes of a message."""


def event_of(heard: Heard) -> Received | front.Event:
    return heard.event if isinstance(heard, virtual.Received) else heard


class Conversation:
    """A group that a virtual client is in, with ordinary members of both makes."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.env = account.env
        self.parameters = PUBLIC if account.public else PARAMETERS
        self.ours: dict[str, Group] = {}
        """Values of our devices, and of ordinary members of ours."""
        self.theirs: dict[str, Member] = {}
        self.last = b""
        """What was sent last."""
        self.bound = False
        """Whether OpenMLS knows where the virtual client's leaf comes from; not of one that came by a Welcome."""

    # ---------------------------------------------------------------- beginning

    @classmethod
    def founded(cls, account: Account, by: str, group_id: bytes = b"conversation") -> Conversation:
        """By a device, followed by the others."""
        made = cls(account)
        made.bound = True
        if theirs(by):
            device = account.theirs[by].another()
            device.found(group_id)
            made.theirs[by] = device
            announcement = Created(device.group_info())
            account.tell(by, announcement)
        else:
            created = virtual.create(account.ours[by], account.env, made.parameters, GroupId(group_id), account.offer())
            account.ours[by], made.ours[by] = created.emulation, created.group
            (announcement,) = [each for each in created.announcements if isinstance(each, Created)]
            for each in created.announcements:
                account.tell(by, each)
        for name in account.names:
            if name == by:
                continue
            if theirs(name):
                device = account.theirs[name].another()
                device.join_at_creation(announcement.group_info)
                made.theirs[name] = device
            else:
                followed = virtual.follow_creation(account.ours[name], account.env, made.parameters, announcement)
                assert followed.author == virtual.Author(account.ours[name].head.newest, account.leaf(by))
                account.ours[name], made.ours[name] = followed.emulation, followed.group
        made.agree()
        return made

    @classmethod
    def of_other(cls, account: Account, name: str, group_id: bytes = b"conversation") -> Conversation:
        """By an ordinary member, and without the virtual client as yet."""
        made = cls(account)
        suite = account.suite.cipher_suite
        if theirs(name):
            member = account.openmls.member(name, suite, public=account.public)
            member.create(group_id)
            made.theirs[name] = member
        else:
            who = our_client(name, suite, parameters=made.parameters)
            made.ours[name] = front.create(
                account.env,
                made.parameters,
                suite,
                GroupId(group_id),
                credential=who.credential,
                signature_private=who.signer,
                capabilities=who.capabilities,
                lifetime=lifetime(account.env),
            )
        return made

    def invite(self, by: str, package: bytes) -> None:
        """The virtual client, by one of its KeyPackages; every device takes up the Welcome."""
        welcome = self.commit(by, Add(key_package_of(package)), agree=False)
        assert welcome is not None
        for name in self.account.names:
            if theirs(name):
                device = self.account.theirs[name].another()
                device.join(welcome)
                self.theirs[name] = device
            else:
                joined = virtual.join(self.account.ours[name], self.env, self.parameters, welcome)
                self.account.ours[name], self.ours[name] = joined.emulation, joined.group
        self.bound = False
        self.agree()

    def add(self, by: str, name: str) -> None:
        """An ordinary member."""
        suite = self.account.suite.cipher_suite
        if theirs(name):
            member = self.account.openmls.member(name, suite, public=self.account.public)
            welcome = self.commit(by, Add(key_package_of(member.key_package())), agree=False)
            member.join(welcome)
            self.theirs[name] = member
        else:
            who = our_client(name, suite, parameters=self.parameters)
            package = who.package(self.env, lifetime=lifetime(self.env))
            welcome = self.commit(by, Add(package.key_package), agree=False)
            self.ours[name] = who.join(self.env, welcome, [package])
        self.agree()

    # ---------------------------------------------------------------- comparing

    @property
    def names(self) -> list[str]:
        return [*self.ours, *self.theirs]

    def is_device(self, name: str) -> bool:
        return name in self.account.names

    def leaf(self, name: str) -> int:
        return self.theirs[name].state.leaf if theirs(name) else self.ours[name].own_leaf

    def agree(self) -> None:
        """Everybody has the same epoch, bytes and all, and all devices have one leaf."""
        states = {
            (group.authenticator, group.public.context.encoded, group.public.tree.encode())
            for group in self.ours.values()
        }
        leaves = {self.ours[name].own_leaf for name in self.ours if self.is_device(name)}
        for name, member in self.theirs.items():
            state = member.state
            states.add((state.authenticator, state.context, state.tree))
            if self.is_device(name):
                leaves.add(LeafIndex(state.leaf))
        assert len(states) == 1
        assert len(leaves) <= 1

    # ---------------------------------------------------------------- acting

    def _deliver(self, message: bytes, by: str) -> dict[str, Heard]:
        """To everybody but the sender."""
        self.last = message
        heard: dict[str, Heard] = {}
        for name in [name for name in self.ours if name != by]:
            if self.is_device(name):
                got = virtual.receive(self.account.ours[name], self.ours[name], self.env, message)
                self._check_author(name, by, got)
                self.account.ours[name], self.ours[name], heard[name] = got.emulation, got.event.group, got
            else:
                event = front.receive(self.ours[name], self.env, message)
                self.ours[name], heard[name] = event.group, event
        for name in [name for name in self.theirs if name != by]:
            heard[name] = self.theirs[name].process(message)
        return heard

    def _check_author(self, name: str, by: str, got: virtual.Received) -> None:
        """One of our devices was told something."""
        assert got.ours == self.is_device(by)
        if not got.ours:
            assert got.author is None
        elif got.author is None:
            assert self.account.public  # what is not encrypted and has no path shows nobody
        elif self.bound or not theirs(by):
            assert got.author.leaf == self.account.leaf(by)
            assert not got.echo

    def commit(
        self, by: str, *proposals: Proposal, agree: bool = True, path: bool = True, new: NewLeaf = KEEP
    ) -> bytes | None:
        """By a device or an ordinary member. With `path`, a device gives its leaf a new epoch."""
        if theirs(by):
            member = self.theirs[by]
            derives = path and isinstance(member, Acting)
            options = {"emulation_epoch": self.account.theirs[by].epoch} if derives else {"path": path}
            sent = member.prepare(*[told(each) for each in proposals], **options)
            member.merge()
            message, welcome = sent.message, sent.welcome
        elif self.is_device(by):
            acted = virtual.commit(
                self.account.ours[by], self.ours[by], self.env, proposals=proposals, force_path=path, new=new
            )
            self.account.ours[by], self.ours[by] = acted.emulation, acted.commit.group
            message, welcome = acted.commit.message, acted.commit.welcome
        else:
            made = front.commit(self.ours[by], self.env, proposals=proposals, force_path=path)
            self.ours[by], message, welcome = made.group, made.message, made.welcome
        for name, what in self._deliver(message, by).items():
            event = event_of(what)
            assert isinstance(event, CommitMessage) or (isinstance(event, Received) and event.kind == "commit"), name
            if isinstance(event, Received) and event.removed:
                self.theirs.pop(name).forget()
            elif name in self.ours and self.ours[name].ended is not None:
                del self.ours[name]
        self.bound = self.bound or (path and self.is_device(by))
        if agree:
            self.agree()
        return welcome

    def propose(self, by: str, proposal: Proposal) -> None:
        if theirs(by):
            fields = dict(told(proposal))
            kind = fields.pop("type")
            assert isinstance(kind, str)
            message = self.theirs[by].propose(kind, **fields)
        elif self.is_device(by):
            made = virtual.propose(self.account.ours[by], self.ours[by], self.env, proposal)
            self.account.ours[by], self.ours[by], message = made.emulation, made.group, made.message
        else:
            self.ours[by], message, _ = front.propose(self.ours[by], self.env, proposal)
        for what in self._deliver(message, by).values():
            event = event_of(what)
            if isinstance(event, Received):
                assert [found for _, found in event.proposals] == [encode_proposal(proposal)]
            else:
                assert isinstance(event, ProposalMessage)
                assert event.proposal == proposal

    def say(self, by: str, data: bytes) -> None:
        if theirs(by):
            message = self.theirs[by].send(data)
        elif self.is_device(by):
            sealed = virtual.seal(self.account.ours[by], self.ours[by], self.env, data)
            self.ours[by], message = sealed.group, sealed.message
        else:
            self.ours[by], message = front.seal(self.ours[by], self.env, data)
        leaf = self.leaf(by)
        for name, what in self._deliver(message, by).items():
            event = event_of(what)
            assert isinstance(event, ApplicationMessage | Received)
            assert (event.sender, event.data) == (leaf, data)
            if isinstance(event, Received):
                attributed = self.bound and self.is_device(name) and self.is_device(by)
                assert event.emulator == (self.account.leaf(by) if attributed else None)

    def group_info(self, name: str) -> bytes:
        return self.theirs[name].group_info() if theirs(name) else front.group_info(self.ours[name], with_tree=True)

    def enter(self, by: str, through: str) -> None:
        """A device brings the virtual client in, or back in in the place of its leaf; the others follow."""
        inside = [name for name in self.names if self.is_device(name)]
        old = self.leaf(inside[0]) if inside else None
        info = self.group_info(through)
        if theirs(by):
            device = self.account.theirs[by].another()
            _, message = device.enter(info)
            self.theirs[by] = device
        else:
            entered = virtual.join_externally(
                self.account.ours[by],
                self.env,
                self.parameters,
                info,
                credential=our_client(NAME, self.account.suite.cipher_suite).credential,
                capabilities=capabilities(self.account.suite.cipher_suite),
                signature_private=self.account.signer,
                leaf_extensions=LISTED_EXTENSIONS,
                remove=None if old is None else LeafIndex(old),
            )
            self.account.ours[by], self.ours[by] = entered.emulation, entered.joined.group
            message = entered.joined.message
        announcement = JoinedExternally(group_info=info, tree=None, commit=message)
        self.account.tell(by, announcement)
        self._deliver(message, by)
        for name in [name for name in self.account.names if name not in self.names]:
            if theirs(name):
                device = self.account.theirs[name].another()
                device.join_after_sibling(info, message)
                self.theirs[name] = device
            else:
                followed = virtual.follow_external(self.account.ours[name], self.env, self.parameters, announcement)
                self.account.ours[name], self.ours[name] = followed.emulation, followed.group
        self.bound = True
        self.agree()
