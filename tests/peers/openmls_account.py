"""A virtual client some of whose devices are ours and some OpenMLS's, and the emulation group between them.

Our devices are as `mls.virtual` has them, OpenMLS's are `Acting`. Whatever one says the others hear at once, from the
wire, and all must be in the same emulation epoch afterwards. OpenMLS leaves to its application what commits of the
emulation group announce and what devices tell each other otherwise; here `Account` is that application. Names that
begin with an o are OpenMLS's.
"""

from __future__ import annotations

from collections.abc import Sequence

from mls import group as front
from mls.codec import decode_exactly
from mls.components.lists import ComponentsList
from mls.framing import encode_message
from mls.proposals import Add, Proposal, Remove
from mls.registries import LeafIndex, WireFormat
from mls.secrets import SignaturePrivateKey
from mls.virtual import devices, stock
from mls.virtual.actions import CommitData, Form, KeyPackageUpload, NewDerivationEpoch
from mls.virtual.announcements import (
    UNKNOWN,
    Announcement,
    Keys,
    SignatureKey,
    Uploaded,
    encode_announcement,
)
from mls.virtual.emulation import Emulation
from mls.virtual.settings import OPENMLS, Settings
from mls.virtual.stock import Offer
from tests.peers.openmls_company import (
    OURS,
    THEIRS,
    Company,
    capabilities,
    key_package_of,
    lifetime,
    our_client,
    told,
)
from tests.peers.openmls_emulation import LISTED_EXTENSIONS, NUMBERS, Acting, acting, register
from tests.peers.openmls_peer import OpenMls

SETTINGS = Settings(profile=OPENMLS)
NAME = "virtual"
FORM = Form.WITHOUT_EXTENSIONS


def theirs(name: str) -> bool:
    return name.startswith("o")


class Account:
    """A virtual client. Whatever its devices tell each other arrives at once."""

    def __init__(
        self,
        openmls: OpenMls,
        *others: str,
        founder: str = OURS,
        suites: tuple[int, int] = (1, 1),
        public: bool = False,
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
        self.marked = False
        """Whether the last commit of the emulation group asked for an epoch to derive in."""
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

    def offer(self, suite: int | None = None) -> Offer:
        suite = suite or self.suite.cipher_suite
        return Offer(
            cipher_suite=suite,
            credential=our_client(NAME, suite).credential,
            capabilities=capabilities(suite),
            lifetime=lifetime(self.env),
            leaf_extensions=LISTED_EXTENSIONS,
            signature_private=self.signer,
        )

    # ---------------------------------------------------------------- the emulation group

    def commit(
        self, by: str, *proposals: Proposal, derive: bool = True, uploads: Sequence[KeyPackageUpload] = ()
    ) -> bytes | None:
        """A commit that asks for an epoch to derive in, or not, and announces KeyPackages. The Welcome, if any."""
        if theirs(by):
            data = CommitData((*uploads, *([NewDerivationEpoch()] if derive else ())))
            items = [(NUMBERS.virtual_clients, data.encode(FORM))] if data.actions else []
            sent = self.group.theirs[by].commit(*[told(each) for each in proposals], path=True, safe_aad=items)
            message, welcome = sent.message, sent.welcome
        else:
            made = devices.commit(
                self.ours[by], self.env, proposals=proposals, derive=derive, uploads=uploads, force_path=True
            )
            message, welcome = made.commit.message, made.commit.welcome
            self.ours[by] = devices.adopt(made.emulation, made)
        derives = derive or bool(proposals)
        self.marked = derive
        for name in [name for name in self.ours if name != by]:
            heard = devices.receive(self.ours[name], self.env, message)
            assert heard.derives == derives
            self.ours[name] = heard.emulation
        gone = [name for name in self.theirs if name != by and self._hears(name, message)]
        for name in gone:
            del self.theirs[name], self.group.theirs[name]
        for name in [name for name, emulation in self.ours.items() if emulation.group.ended is not None]:
            del self.ours[name], self.group.ours[name]
        if derives:
            for name, device in self.theirs.items():
                device.epoch = register(self.group.theirs[name])
        if welcome is None:
            self.agree()
        return welcome

    def _hears(self, name: str, message: bytes) -> bool:
        """A device of OpenMLS's; whether it was removed. What a commit announces, it has to be told."""
        got = self.group.theirs[name].process(message)
        data = dict(got.safe_aad or ()).get(NUMBERS.virtual_clients)
        announced = CommitData() if data is None else decode_exactly(data, lambda r: CommitData.decode(r, FORM))
        assert announced.new_derivation_epoch == self.marked
        for upload in announced.uploads:
            self.theirs[name].take_upload(upload.encode(FORM))
        return got.removed

    def add(self, by: str, name: str) -> None:
        """A new device, which is in no conversation."""
        if theirs(name):
            member = self.group.their_client(name)
            welcome = self.commit(by, Add(key_package_of(member.key_package())))
            member.join(welcome)
            self.group.theirs[name] = member
        else:
            package = self.group.our_package(name)
            welcome = self.commit(by, Add(package.key_package))
            assert welcome is not None
            parameters = self.group.made.parameters
            self.group.ours[name], _ = front.join(self.env, parameters, welcome, [package])
        self._begin(name)
        self.agree()

    def remove(self, by: str, name: str) -> None:
        """A device. It still has the keys of every conversation that it is in, until the leaf there is replaced."""
        self.commit(by, Remove(self.leaf(name)))

    def new_key(self, by: str) -> SignaturePrivateKey:
        """A new signature key, which the devices of now are told of."""
        if theirs(by):
            private, public = self.suite.scheme.generate(self.env.provider.random)
        else:
            self.ours[by], public = self.ours[by].drawn_key(self.env, self.suite.cipher_suite)
            private = self.ours[by].keys[public].private
        self.tell(by, Keys((SignatureKey(cipher_suite=self.suite.cipher_suite, public=public, private=private),)))
        for device in self.theirs.values():
            device.use_key(self.suite, private)
        self.signer = private
        return private

    def tell(self, by: str, announcement: Announcement) -> None:
        """To all devices. OpenMLS's carry it like any message; what is in it their application has to read."""
        data = encode_announcement(announcement, FORM)
        if theirs(by):
            message = self.group.theirs[by].send(data)
        else:
            said = devices.announce(self.ours[by], self.env, announcement)
            self.ours[by], message = said.emulation, said.message
        for name in [name for name in self.ours if name != by]:
            heard = devices.receive(self.ours[name], self.env, message)
            assert heard.announcement == announcement
            self.ours[name] = heard.emulation
        for name in [name for name in self.theirs if name != by]:
            assert self.group.theirs[name].process(message).data == data
            if isinstance(announcement, Uploaded):
                self.theirs[name].take_upload(announcement.upload.encode(FORM))

    # ---------------------------------------------------------------- KeyPackages

    def packages(self, by: str, count: int = 1, *, in_commit: bool = False, suites: Sequence[int] = ()) -> list[bytes]:
        """A batch, announced by a message or in a commit, and then published."""
        wanted = suites or [self.suite.cipher_suite] * count
        if theirs(by):
            batch = self.theirs[by].batch(suites=wanted)
            upload = decode_exactly(batch.upload, lambda reader: KeyPackageUpload.decode(reader, FORM))
            messages = list(batch.messages)
            announcement = Uploaded(upload=upload, not_after=(UNKNOWN,) * len(wanted))
        else:
            made = stock.make_batch(self.ours[by], self.env, [self.offer(suite) for suite in wanted])
            self.ours[by] = made.emulation
            announcement = made.announcement
            messages = [encode_message(WireFormat.KEY_PACKAGE, each.encoded) for each in made.released(announced=True)]
        if in_commit:
            self.commit(by, derive=False, uploads=[announcement.upload])
        else:
            self.tell(by, announcement)
        return messages
