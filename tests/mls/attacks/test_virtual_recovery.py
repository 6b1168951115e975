"""Attacks on the procedures of a virtual client, driven with devices, conversations and messages as they are.

Whoever was removed kept everything it had, and hears whatever is not encrypted to others. Whoever comes back from
outside knows what mailboxes let it know. Steps are done in the order that `todo` gives, as docs/virtual.md has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import external, group as front
from mls.commit import NewLeaf
from mls.components.aad import encode_items
from mls.components.dictionary import dictionary_extension
from mls.components.numbers import ComponentId
from mls.credential import BasicCredential
from mls.errors import CallerError, MlsError, PeerError
from mls.framing import encode_message
from mls.group import ExternallyJoined
from mls.proposals import Add
from mls.registries import GroupId, LeafIndex, WireFormat
from mls.secrets import SignaturePrivateKey
from mls.virtual import client as vc, devices, onboarding, recovery, rejoin, removal
from mls.virtual.announcements import Keys, Progress, SignatureKey, Withdrawn
from mls.virtual.membership import device_capabilities, device_extensions
from mls.virtual.noticing import noticed
from mls.virtual.recovery import Claim, Entry, RecoveryAuthority, Roll, Writer, admission, encode_grant, sign_grant
from mls.virtual.removal import Fingerprint, Removal, Step, Withdrawal
from mls.virtual.settings import Settings
from tests.mls.virtual.household import DERIVED, SETTINGS, SUITES, Device, Household, offer

FIRST, SECOND, GONE, BACK = "device0", "device1", "device2", "back"
A, B = b"group", b"other"
COMPONENT = ComponentId(0x8123)


def talking(count: int = 3, **options: Any) -> Household:
    home = Household(count, **options)
    for name in home.names:
        for _ in range(16):
            home[name].env.provider.random(1)  # past the draws that its KeyPackage was made of
    for group_id in (A, B):
        home.create(FIRST, group_id)
        home.invite(FIRST, group_id, "anna")
    return home


# Removing


@dataclass
class Removing:
    """A removal as the first device carries it out."""

    home: Household
    progress: Removal
    gone: Device | None = None

    @classmethod
    def of(cls, home: Household) -> Removing:
        leaf = home[GONE].emulation.group.own_leaf_node
        begun = removal.begin(
            [Fingerprint(leaf.signature_key)],
            references=(),
            group_ids=(),
            old_keys=(),
        )
        work = cls(home, begun)
        work.notice()
        return work

    def notice(self) -> None:
        first = self.home[FIRST]
        self.progress = noticed(self.progress, first.emulation, first.groups.values())

    def run(self, *, key: bytes | None = None, most: int = 30) -> None:
        """All that is due until nothing is. `key` is what leaves are given, else a key of this removal's."""
        for _ in range(most):
            self.notice()
            if not self.progress.todo:
                break
            task = self.progress.todo[0]
            getattr(self, f"_{task.step.name.lower()}")(task, key)

    def final(self) -> None:
        self.progress = self.progress.final(self.home[FIRST].emulation.head.newest)

    def _withdraw(self, task: removal.Task, _: bytes | None) -> None:
        reference: Any = task.name
        self.home.announce(FIRST, [Withdrawn((reference,))])
        self.progress = self.progress.withdrawn(reference, Withdrawal.BOTH, epoch_id=self._newest)

    def _remove(self, *_: object) -> None:
        fingerprint = Fingerprint(self.home[GONE].emulation.group.own_leaf_node.signature_key)
        self.gone = self.home.remove_device(GONE, by=FIRST)
        self.progress = self.progress.adopted(self._newest, removes=[fingerprint])

    def _renew(self, *_: object) -> None:
        self.renewed = b"hash of a credential"
        if self.home.settings.signatures is SETTINGS.signatures:
            self.renewed = new_key(self.home, FIRST)
        self.progress = self.progress.renewed(self._newest, self.renewed)

    def _rotate(self, task: removal.Task, key: bytes | None) -> None:
        first, group_id = self.home[FIRST], GroupId(task.name)
        options: dict[str, Any] = {"force_path": True}
        if self.home.settings.signatures is SETTINGS.signatures:
            options["new"] = NewLeaf(signature_private=first.emulation.keys[key or self.renewed].private)
        self.home.commit(FIRST, group_id, **options)

    def _upload(self, *_: object) -> None:
        self.home.upload(FIRST)
        self.progress = self.progress.uploaded(self._newest)

    @property
    def _newest(self) -> bytes:
        return self.home[FIRST].emulation.head.newest


def new_key(home: Household, by: str) -> bytes:
    device = home[by]
    device.emulation, public = device.emulation.drawn_key(device.env, 1)
    private = device.emulation.keys[public].private
    home.announce(by, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    return public


def reads(device: Device, group_id: bytes, messages: Iterable[bytes]) -> int:
    """How many it can read of what came since, with all that it kept."""
    group, emulation, count = device.groups[group_id], device.emulation, 0
    for message in messages:
        try:
            got = vc.receive(emulation, group, device.env, message)
        except MlsError:
            continue
        emulation, group, count = got.emulation, got.event.group, count + 1
    return count


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED, Settings(retain=False)])
def test_who_was_removed_reads_nothing_when_the_removal_is_complete(settings: Settings) -> None:
    home = talking(settings=settings)
    home.upload(SECOND)
    start = len(home.wire)
    before = dict(home[GONE].groups)
    for group_id in (A, B):
        home.other_say("anna", group_id)
    kept = replace(home[GONE], groups=before)
    assert [reads(kept, group_id, home.wire[start:]) for group_id in (A, B)] == [1, 1]
    start = len(home.wire)
    work = Removing.of(home)
    work.run()
    complete = [work.progress.complete]
    work.final()
    complete.append(work.progress.complete)
    assert complete == [False, True]
    assert work.gone is not None
    for group_id in (A, B):
        assert work.progress.may_send(GroupId(group_id))
        home.say(FIRST, group_id)
        home.other_say("anna", group_id)
        home.other_commit("anna", group_id)
        assert reads(work.gone, group_id, home.wire[start:]) == 0


def test_the_device_that_is_removed_cannot_make_it_complete_early() -> None:
    """Its announcements are of the emulation group's old epoch, and after the Remove nobody hears it."""
    home = talking()
    work = Removing.of(home)
    lie = work.progress.adopted(b"e", removes=work.progress.devices).renewed(b"e", b"i").final(b"e").encode()
    work.run()
    assert work.gone is not None
    told = devices.announce(work.gone.emulation, work.gone.env, Progress(lie))
    for name in home.names:
        with pytest.raises(MlsError):
            devices.receive(home[name].emulation, home[name].env, told.message)


def test_a_key_that_the_removed_device_heard_of_is_no_new_key() -> None:
    """A sibling draws a key in good time and uses it after. `complete` says that no leaf has a key they know."""
    home = talking()
    work = Removing.of(home)
    known = new_key(home, SECOND)
    work.run(key=known, most=6)
    work.final()
    assert work.gone is not None
    gone = set(work.gone.emulation.keys)

    def in_use() -> set[bytes]:
        return {group.own_leaf_node.signature_key for group in home[FIRST].groups.values()}

    assert known in in_use() & gone
    assert [work.progress.complete, work.progress.may_send(GroupId(A))] == [False, False]
    work.run()
    assert [work.progress.complete, work.progress.may_send(GroupId(A))] == [True, True]
    assert not in_use() & gone


def test_a_key_package_of_the_removed_device_is_not_answered_when_the_removal_is_complete() -> None:
    """It uploads one more while others are still withdrawing. Siblings take the Welcome to it, and so does it."""
    home = talking()
    work = Removing.of(home)
    batch = home.upload(GONE)
    kept = home[GONE].emulation
    work.run()
    work.final()
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env, b"x"), home.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    assert work.gone is not None
    first = home[FIRST]
    assert vc.join(kept, work.gone.env, home.parameters, sent.welcome).group.epoch == 1
    answered = True
    try:
        vc.join(first.emulation, first.env, home.parameters, sent.welcome)
    except MlsError:
        answered = False
    assert work.progress.complete
    assert not answered


def test_a_withdrawal_that_was_announced_on_a_branch_that_lost_is_announced_again() -> None:
    """By who comes back, and so it is in a removal."""
    roll = Roll(sequence=1, emulation=entry(talking(1), None), conversations=(), references=(b"r",))  # type: ignore[arg-type]
    work = rejoin.begin(roll, approval=rejoin.Approval.NONE).granted().entered()
    reference = roll.references[0]
    work = work.withdrawn(reference, Withdrawal.BOTH)
    work = work.lost().granted().entered()
    assert rejoin.Task(rejoin.Step.WITHDRAW, reference) in work.todo
    progress = removal.begin([Fingerprint(b"gone")], references=[reference], group_ids=(), old_keys=())
    progress = progress.withdrawn(reference, Withdrawal.BOTH, epoch_id=b"epoch")
    assert progress.todo == (removal.Task(Step.REMOVE),)
    assert progress.lost(b"epoch").todo == (removal.Task(Step.WITHDRAW, reference),)


def test_an_operation_of_the_removed_device_made_before_is_followed_and_is_due_again() -> None:
    """Its commit wins the race to the conversation: that leaf is of an old epoch, so the rotation is still to do."""
    home = talking(settings=DERIVED)
    work = Removing.of(home)
    gone = home[GONE]
    late = vc.commit(gone.emulation, gone.groups[A], gone.env, force_path=True)
    while work.progress.todo[0].step is not Step.ROTATE:
        getattr(work, f"_{work.progress.todo[0].step.name.lower()}")(work.progress.todo[0], None)
    home.spread(A, late.commit.message)
    work.notice()
    assert removal.Task(Step.ROTATE, A) in work.progress.todo
    work.run()
    home.say(FIRST, A)
    assert reads(replace(gone, groups={A: late.commit.group}), A, home.wire[-2:]) == 0


# Coming back


def writer_of(home: Household, name: str) -> Writer:
    group = home[name].emulation.group
    return Writer(
        credential=group.own_leaf_node.credential,
        signature_key=group.own_leaf_node.signature_key,
        signature_private=group.signature_key,
    )


def entry(home: Household, group_id: bytes | None) -> Entry:
    """As the first device writes it into a roll."""
    first = home[FIRST]
    group = first.emulation.group if group_id is None else first.groups[group_id]
    return Entry(group_info=front.group_info(group), own_leaf=group.own_leaf)


def recovery_key(home: Household) -> tuple[SignaturePrivateKey, RecoveryAuthority]:
    suite = home[FIRST].emulation.group.suite
    private, public = suite.scheme.generate(home.env.provider.random)
    return private, RecoveryAuthority(suite=suite, public_key=public, component=COMPONENT)


def entering(home: Household, data: bytes, name: str = BACK, **options: Any) -> ExternallyJoined:
    return front.join_externally(
        home._env(name),
        home._device_parameters(),
        options.pop("info", front.group_info(home[FIRST].emulation.group)),
        credential=BasicCredential(name.encode()),
        signature_private=home._signer(name),
        capabilities=device_capabilities(SUITES),
        leaf_extensions=device_extensions(home.settings, home.parameters),
        authenticated_data=data,
        **options,
    )


def granted(home: Household, private: SignaturePrivateKey, name: str = BACK, *, item: int = COMPONENT) -> bytes:
    info = front.group_info(home[FIRST].emulation.group)
    suite = home[FIRST].emulation.group.suite
    claim = Claim.from_group_info(info, suite.scheme.public_key(home._signer(name)), BasicCredential(name.encode()))
    return encode_items({item: encode_grant(sign_grant(suite, private, claim, COMPONENT))})


def hear(home: Household, name: str, message: bytes, authority: RecoveryAuthority) -> devices.Heard:
    device = home[name]
    admits = admission(authority, home.settings.numbers, COMPONENT)
    return devices.receive(device.emulation, device.env, message, admits=admits)


def test_coming_back_from_a_roll_into_everything() -> None:
    """Step by step with a real roll. The others wake up, let the newcomer in, and follow into each conversation."""
    home = talking(2, settings=DERIVED)
    home.upload(SECOND)
    private, authority = recovery_key(home)
    suite = home[FIRST].emulation.group.suite
    secret, public = suite.generate_key_pair(home.env.provider.random)
    writer = writer_of(home, FIRST)
    roll = Roll(
        sequence=1,
        emulation=entry(home, None),
        conversations=(entry(home, A), entry(home, B)),
        references=tuple(home[FIRST].emulation.stock),
        settings=home.settings.encode(),
    )
    numbers = home.settings.numbers
    sealed = recovery.seal_roll(roll, home.env, suite, public, writer, numbers, COMPONENT)
    found = recovery.newest([recovery.open_roll(sealed, home.env, suite, secret, public, COMPONENT)])
    work = rejoin.begin(found, approval=rejoin.Approval.NONE)

    work = work.granted()
    joined = entering(home, granted(home, private), info=found.emulation.group_info)
    env = home._env(BACK)
    for name in home.names:
        home[name].emulation = hear(home, name, joined.message, authority).emulation
    home.devices[BACK] = Device(BACK, env, devices.start(home.settings, joined.group))
    work = work.entered()
    for reference in found.references:
        home.announce(BACK, [Withdrawn((reference,))])
        work = work.withdrawn(reference, Withdrawal.BOTH)
    assert not home[FIRST].emulation.stock
    home.upload(BACK)
    work = work.uploaded_new()
    plain = offer()
    for each in found.conversations:
        back = home[BACK]
        entered = vc.join_externally(
            back.emulation,
            env,
            home.parameters,
            each.group_info,
            credential=plain.credential,
            capabilities=plain.capabilities,
            remove=each.own_leaf,
        )
        back.emulation = entered.emulation
        home.spread(each.group_id, entered.joined.message, by=BACK)
        back.groups[each.group_id] = entered.joined.group
        work = work.joined(each.group_id)
    assert work.complete
    for name in home.names:
        home.say(name, A)
        home.commit(name, B, force_path=True)


def test_a_grant_lets_in_once_and_nobody_else() -> None:
    home = talking(2)
    private, authority = recovery_key(home)
    data = granted(home, private)
    # Somebody else with the same grant, a grant that stands elsewhere in the authenticated data, none, and not asked.
    wrong = [
        entering(home, data, "thief"),
        entering(home, granted(home, private, item=home.settings.numbers.app_ack)),
        entering(home, encode_items({})),
        entering(home, granted(home, recovery_key(home)[0])),
    ]
    for joined in wrong:
        with pytest.raises(PeerError, match=r"VC-5\.2-[79]"):
            hear(home, SECOND, joined.message, authority)
    right = entering(home, data)
    with pytest.raises(PeerError, match=r"VC-5-1"):
        devices.receive(home[SECOND].emulation, home[SECOND].env, right.message)
    # A rival epoch of the same number, and the next one.
    rival = talking(2, seed="rival")
    with pytest.raises(PeerError):
        hear(rival, SECOND, entering(rival, data).message, authority)
    assert hear(home, SECOND, right.message, authority).derives
    home.commit_devices(FIRST, force_path=True)
    with pytest.raises(PeerError, match=r"VC-5\.2-9"):
        hear(home, SECOND, entering(home, data).message, authority)


def test_who_asks_to_be_added_is_not_added_for_the_asking() -> None:
    """A proposal from outside waits; an honest commit does not take it up unless it names it."""
    home = talking(2)
    group = home[FIRST].emulation.group
    asked = external.propose_self(
        home._env(BACK), group.group_id, group.epoch, home.package(BACK), authenticated_data=encode_items({})
    )
    first = home[FIRST]
    heard = devices.receive(first.emulation, first.env, asked)
    made = devices.commit(heard.emulation, first.env, force_path=True)
    assert not made.commit.added
    assert made.commit.welcome is None


# Rolls


def test_the_companion_does_not_go_into_a_roll() -> None:
    home = talking(2)
    first = home[FIRST]
    numbers = home.settings.numbers
    handed = [onboarding.Handed(group) for group in first.groups.values()]
    _, companion = onboarding._told(first.emulation, [onboarding._hand_over(first.emulation, h) for h in handed], [])
    dictionary = dictionary_extension({numbers.virtual_companion: companion.encode()})
    made = devices.commit(
        first.emulation,
        first.env,
        proposals=[Add(home.package(BACK).key_package)],
        group_info_extensions=(dictionary,),
    )
    info = made.commit.group_info
    assert info is not None
    bad = Entry(group_info=encode_message(WireFormat.GROUP_INFO, info.encoded), own_leaf=LeafIndex(0))
    roll = Roll(sequence=1, emulation=bad, conversations=(), references=())
    suite = first.emulation.group.suite
    _, public = suite.generate_key_pair(home.env.provider.random)
    writer = writer_of(home, FIRST)
    with pytest.raises(CallerError, match="secrets"):
        recovery.seal_roll(roll, home.env, suite, public, writer, numbers, COMPONENT)


def test_a_device_that_writes_the_last_roll_is_left_out_by_who_does_not_believe_it() -> None:
    """It is taken for the newest by all that come back, long after its writer was removed. They see who wrote it."""
    home = talking(2)
    suite = home[FIRST].emulation.group.suite
    secret, public = suite.generate_key_pair(home.env.provider.random)
    honest = Roll(sequence=7, emulation=entry(home, None), conversations=(entry(home, A),), references=())
    last = replace(honest, sequence=(1 << 64) - 1, conversations=())
    opened = []
    for name, roll in ((SECOND, last), (FIRST, honest)):
        sealed = recovery.seal_roll(
            roll, home.env, suite, public, writer_of(home, name), home.settings.numbers, COMPONENT
        )
        opened.append(recovery.open_roll(sealed, home.env, suite, secret, public, COMPONENT))
    liar, _ = opened
    assert liar.credential == BasicCredential(SECOND.encode())
    assert recovery.newest(opened) == last
    assert recovery.newest(opened, discarding=[liar.signature_key]) == honest
