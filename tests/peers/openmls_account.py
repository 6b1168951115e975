"""Virtual clients whose devices are ours and OpenMLS's, and their conversations with ordinary members of both makes.

`Account` is the virtual client: our devices as `mls.virtual` has them, OpenMLS's as `Acting`, and the emulation group
between them. `Conversation` is one group that it is in; whoever is in it hears what anybody sends, and everything that
can be compared is: epochs, trees, and who is told to have spoken. Names that begin with an o are OpenMLS's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mls import group as front
from mls.codec import decode_exactly
from mls.commit import KEEP, NewLeaf
from mls.components.lists import ComponentsList
from mls.framing import encode_message
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage
from mls.proposals import Add, Proposal, encode_proposal
from mls.registries import GroupId, LeafIndex, WireFormat
from mls.secrets import SignaturePrivateKey
from mls.state import Group
from mls.virtual import client as virtual, devices, stock
from mls.virtual.actions import CommitData, Form, KeyPackageUpload, NewDerivationEpoch
from mls.virtual.announcements import Created, JoinedExternally
from mls.virtual.emulation import Emulation
from mls.virtual.settings import OPENMLS, Settings
from mls.virtual.stock import Offer
from tests.peers.openmls_company import (
    OURS,
    PARAMETERS,
    PUBLIC,
    THEIRS,
    Company,
    capabilities,
    key_package_of,
    lifetime,
    our_client,
    told,
)
from tests.peers.openmls_emulation import LISTED, LISTED_EXTENSIONS, NUMBERS, Acting, acting, register
from tests.peers.openmls_peer import Member, OpenMls, Received

SETTINGS = Settings(profile=OPENMLS)
NAME = "virtual"
FORM = Form.WITHOUT_EXTENSIONS


def theirs(name: str) -> bool:
    return name.startswith("o")


class Account:
    """A virtual client. Whatever its devices tell each other arrives at once."""

    def __init__(
        self, openmls: OpenMls, *others: str, founder: str = OURS, suites: tuple[int, int] = (1, 1), public: bool = False
    ) -> None:
        """Its first devices are `anna`, ours, and `olaf`, OpenMLS's."""
        self.openmls = openmls
        self.public = public
        context = {NUMBERS.safe_aad: ComponentsList.of([NUMBERS.virtual_clients]).encode()}
        listed = {NUMBERS.app_components: ComponentsList.of([NUMBERS.safe_aad, NUMBERS.virtual_clients]).encode()}
        leaves = {**listed, NUMBERS.safe_aad: context[NUMBERS.safe_aad]}
        self.group = Company.of_both(
            openmls, founder, suite=suites[0], components=context, leaf_components=leaves, public=public
        )
        if others:
            self.group.add(founder, *others)
        self.env = self.group.env
        self.suite = self.env.provider.suite(suites[1])
        self.signer: SignaturePrivateKey = our_client(NAME, suites[1]).signer
        self.ours: dict[str, Emulation] = {}
        self.theirs: dict[str, Acting] = {}
        self.conversations: list[Conversation] = []
        for name in (OURS, THEIRS, *others):
            self._begin(name)
        self.agree()

    def _begin(self, name: str) -> None:
        """A device that is in the emulation group since this epoch."""
        if theirs(name):
            member = self.group.theirs[name]
            self.theirs[name] = acting(member, NAME, self.suite, self.signer, public=self.public)
            self.theirs[name].epoch = register(member)
        else:
            emulation = devices.start(SETTINGS, self.group.ours[name])
            public = self.suite.scheme.public_key(self.signer)
            self.ours[name] = emulation.with_key(self.suite.cipher_suite, public, self.signer)

    @property
    def names(self) -> list[str]:
        return [*self.ours, *self.theirs]

    def leaf(self, name: str) -> LeafIndex:
        """In the emulation group."""
        if theirs(name):
            return self.group.leaf(name)
        return self.ours[name].group.own_leaf

    def agree(self) -> None:
        for name, emulation in self.ours.items():
            self.group.ours[name] = emulation.group
        self.group.agree()
        epochs = {emulation.head.newest for emulation in self.ours.values()}
        assert epochs | {device.epoch for device in self.theirs.values()} == epochs
        assert len(epochs) == 1

    def offer(self, **options: Any) -> Offer:
        return Offer(
            cipher_suite=self.suite.cipher_suite,
            credential=our_client(NAME, self.suite.cipher_suite).credential,
            capabilities=capabilities(self.suite.cipher_suite),
            lifetime=lifetime(self.env),
            leaf_extensions=LISTED_EXTENSIONS,
            signature_private=self.signer,
            **options,
        )

    # ---------------------------------------------------------------- the emulation group

    def commit(self, by: str, *proposals: Proposal, derive: bool = True) -> None:
        """A commit of the emulation group; `derive` asks that it begins an epoch to derive in."""
        if theirs(by):
            data = CommitData((NewDerivationEpoch(),) if derive else ()).encode(FORM)
            items = [(NUMBERS.virtual_clients, data)] if derive else []
            sent = self.group.theirs[by].commit(*[told(each) for each in proposals], path=True, safe_aad=items)
            message, welcome, derives = sent.message, sent.welcome, derive or bool(proposals)
        else:
            made = devices.commit(self.ours[by], self.env, proposals=proposals, derive=derive, force_path=True)
            message, welcome, derives = made.commit.message, made.commit.welcome, made.derives
            self.ours[by] = devices.adopt(made.emulation, made)
        for name in self.ours:
            if name != by:
                heard = devices.receive(self.ours[name], self.env, message)
                assert heard.derives == derives
                self.ours[name] = heard.emulation
        gone = []
        for name in self.theirs:
            member = self.group.theirs[name]
            if name != by and member.process(message).removed:
                gone.append(name)
            elif derives:
                self.theirs[name].epoch = register(member)
        self._forget(gone)
        self.welcome = welcome

    def _forget(self, gone: Sequence[str]) -> None:
        for name in gone:
            del self.theirs[name], self.group.theirs[name]
        for name in [name for name, emulation in self.ours.items() if emulation.group.ended is not None]:
            del self.ours[name], self.group.ours[name]
