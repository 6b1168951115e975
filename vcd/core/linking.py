"""How a device comes into the account: how others let it in, and how it takes the account up.

People have identified it, and it has a credential by a delegate (`credential_for`) and a KeyPackage with that. A
delegate then makes one commit: the device is added to the home and put on the list. With it a Welcome is made that
holds the virtual client's secrets, and a briefing (`briefing`). Neither is given out before it is certain that the
commit stands: the state of the account is not for somebody whose Add lost. Then they are handed over, by the channel
that the device was linked by, as often as it takes until the device is heard. If the home stands on another branch the
commit is made again there; the bundle that was made with the first one is thrown away when that has lost for good.
Until then it may win, and the device cannot vote for it before it is told anything.

Certain is what is final. It is certain too when it was decided (`vcd.core.ordering.votes`), and all who were members
before, and stay where the home stands, have voted for the way there: the ones whose votes lack are the new device
itself, and whoever is removed by then.

The new device takes up what it is handed, and has what every device has: but in conversations it may not speak before
somebody replaced the leaf (`leaves`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import decode_exactly
from mls.credential import Credential
from mls.errors import MlsError
from mls.key_package import KeyPackage
from mls.persistent import PMap
from mls.proposals import Proposal
from mls.provider import Environment, Provider
from mls.virtual import devices as emulator
from mls.virtual.companion import MAX_PAST
from mls.virtual.emulation import Head
from mls.virtual.onboarding import Handed, admit, onboard
from vcd.core import (
    acting,
    certificates,
    devices,
    intents,
    invitations,
    keys,
    kinds,
    leaves,
    listing,
    ranks,
    raw_care,
    rotation,
    siblings,
    stock,
    tellers,
)
from vcd.core.accounts import editions
from vcd.core.accounts.credential import DeviceCredential, check_device, device_credential, read
from vcd.core.accounts.device_list import Edition, check_successor
from vcd.core.accounts.editions import Made, NewDevice
from vcd.core.accounts.identity import DelegateKey
from vcd.core.duties import Duty
from vcd.core.effects import HandOver
from vcd.core.errors import Malformed, Misuse, NodeError, Refused
from vcd.core.events import DevicesChanged, IntentFate
from vcd.core.household import NOWHERE, Household, Link
from vcd.core.names import DeviceId, EpochId, Incarnation
from vcd.core.ordering.votes import decided
from vcd.core.policy import Mode
from vcd.core.record import decode
from vcd.core.strand import Membership, counting
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn, home_judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mls.virtual.onboarding import Onboarded
    from vcd.core import inputs
    from vcd.core.briefing import Briefing
    from vcd.core.state import State
    from vcd.core.strand import Strand

MAX_LINKS = 8
MAX_EARLIER = 4
"""Commits beside the present one that may win yet."""


# ---------------------------------------------------------------- the list, as it will be next


def next_edition(turn: Turn) -> Edition:
    """What this device's next change of the list starts from.

    That is the list of the home's head. But what this device signed on a branch that lost may have been shown to
    contacts, and so may a list of others there that shuts somebody out; and there is no second list of one version.
    Then it is that list, or what follows both, with the names that devices have in the home: those of a device that
    wants others are given again (`renaming`), and nobody gives again what stands.
    """
    household, here = turn.state.household, turn.home.here
    if here is None:
        raise Misuse("out-of-sync", "this device cannot speak to the others now")
    base = head = listing.of_group(here.group)
    known = [listing.of_group(kept.group) for kept in turn.home.kept.values()]
    ahead = {each.head.digest: each for each in known if each.head.revoked > head.version}
    if household.made is not None:
        ahead[household.made.head.digest] = household.made
    for each in sorted(ahead.values(), key=lambda edition: (edition.version, edition.head.digest)):
        if follows(turn, base, each):
            base = each
        elif not follows(turn, each, base) and each.head.authority.digest == base.head.authority.digest:
            delegate = signer(turn, base)
            if delegate is not None:
                joined = editions.join(turn.provider, base, each, delegate)
                sign(turn, joined)
                base = joined.edition
    return named(turn, head, base)


def named(turn: Turn, head: Edition, ahead: Edition) -> Edition:
    """With the home's names, but for those that are wanted otherwise here.

    A list that was signed on a branch that lost may be several versions ahead of the home's: then it may follow that,
    and still has the names of before. The first list of those who overrule stays as it is, as they all compare it with
    what they asked for.
    """
    delegate, authority = signer(turn, ahead), ahead.head.authority
    if ahead is head or delegate is None or (authority.overruled and not ahead.head.number):
        return ahead
    wanted = turn.state.household.names
    names = {each.device: each.name for each in head.devices.devices if each.device not in wanted}
    made = editions.with_names(turn.provider, ahead, delegate, names)
    if made is None:
        return ahead
    sign(turn, made)
    return made.edition


def signer(turn: Turn, edition: Edition) -> DelegateKey | None:
    """The key that signs what follows that list, if this device has it."""
    suite = turn.provider.suite(turn.state.config.cipher_suite)
    for key in (turn.state.household.delegate, turn.state.household.term_key):
        if key is not None and suite.scheme.public_key(key) == edition.head.authority.delegate:
            return key
    return None


def delegate_key(turn: Turn, edition: Edition) -> DelegateKey | None:
    """The same, of a device that is a delegate there. Who began a term may have its key and be none in it."""
    own = edition.devices.find(turn.state.me.device)
    return signer(turn, edition) if own is not None and own.delegate else None


def follows(turn: Turn, old: Edition, new: Edition) -> bool:
    try:
        check_successor(old, new, turn.provider)
    except NodeError:
        return False
    return True


def sign(turn: Turn, made: Made) -> None:
    """Remember a list that this device signed, and the keys that are new with it.

    The delegates' key of before stays until the home stands in the new term (`list_keys.term`): it signs until then.
    """
    household = turn.state.household
    known = household.account_keys
    if made.signing is not None:
        known = known.set(made.edition.head.signing_key, made.signing)
    term_key = household.term_key if made.delegate is None else made.delegate
    dealt = PMap(dict(made.shares)) if made.shares else household.dealt
    devices.keep(turn, made=made.edition, account_keys=known, term_key=term_key, dealt=dealt)


# ---------------------------------------------------------------- letting in


def credential_for(state: State, provider: Provider, device: DeviceId, key: bytes) -> Credential:
    """By a delegate, for a device that people have identified: what its leaf in the home says."""
    edition, delegate = state.book.edition, state.household.delegate
    if edition is None or delegate is None:
        raise Misuse("not-delegate", "this device may not let in others")
    return device_credential(provider, edition.head.authority, delegate, device, key)


def link(turn: Turn, command: inputs.LinkDevice) -> None:
    """Add a device."""
    household = devices.require(turn)
    if command.device in household.links:
        return
    if household.delegate is None:
        raise Misuse("not-delegate", "this device may not let in others")
    if len(household.links) >= MAX_LINKS:
        raise Misuse("too-many", "too many devices are being added already")
    edition = next_edition(turn)
    node = command.package.leaf_node
    _check_new(turn, edition, command.device, node.credential, node.signature_key)
    if command.device in devices.present(turn.home):
        raise Misuse("device-known", "this device belongs to the account already")
    made = Link(device=command.device, name=command.name, intent=command.intent, package=command.package.encode())
    _keep(turn, made)
    _add(turn, command.device)


def _check_new(turn: Turn, edition: Edition, device: DeviceId, credential: Credential, key: bytes) -> None:
    try:
        identity = read(credential)
        if not isinstance(identity, DeviceCredential) or identity.device != device:
            raise Refused("another-device")
        if identity.account != edition.account:
            raise Refused("another-account")
        check_device(identity, key, turn.provider)
    except NodeError as error:
        raise Misuse("bad-device", f"this device's credential is not right: {error}") from None
    if edition.devices.revoked(device) is not None:
        raise Misuse("device-revoked", "this device was shut out, and cannot come back as the same one")


def _keep(turn: Turn, link: Link) -> None:
    devices.keep(turn, links=turn.state.household.links.set(link.device, link))


def _drop(turn: Turn, device: DeviceId) -> None:
    devices.keep(turn, links=turn.state.household.links.discard(device))
    turn.not_due(Duty.HOME, devices.LINK + device)


def _again(turn: Turn, link: Link) -> None:
    tries = link.tries + 1
    earlier = (*link.earlier, (link.epoch, link.bundle)) if link.epoch else link.earlier
    _keep(turn, replace(link, epoch=NOWHERE, bundle=b"", tries=tries, earlier=earlier[-MAX_EARLIER:]))
    turn.due(Duty.HOME, devices.LINK + link.device, turn.now + ranks.backoff(turn, link.device, tries))


def _add(turn: Turn, device: DeviceId) -> None:
    """The commit, and what is to be handed over when it stands."""
    from vcd.core import briefing

    link = turn.state.household.links[device]
    if not devices.may_speak(turn):
        _again(turn, link)
        return
    package = decode_exactly(link.package, KeyPackage.decode)
    try:
        edition = next_edition(turn)
        if edition.devices.revoked(device) is not None:
            _refuse(turn, link, "device-revoked")
            return
        if edition.devices.find(device) is None:
            own, delegate = edition.devices.find(turn.state.me.device), delegate_key(turn, edition)
            if own is None or not own.delegate:
                _refuse(turn, link, "not-delegate")
                return
            if delegate is None:
                raise Misuse("not-delegate", "the key of this term is still on its way")
            new = NewDevice(device=device, key=package.leaf_node.signature_key, name=link.name)
            made = editions.add_device(turn.provider, edition, delegate, new)
            sign(turn, made)
            edition = made.edition
        strand = turn.home
        here = strand.kept[strand.head]
        proposals: list[Proposal] = []
        if listing.of_group(here.group).head.digest != edition.head.digest:
            proposals.append(listing.update(edition))
        admission = admit(
            turn.emulation.on(Head(here.group, here.newest)),
            turn.home_env,
            package,
            conversations=[
                *[_handed(each, here) for each, here in _conversations(turn)],
                *[Handed(here, tuple(past[:MAX_PAST])) for _, here, past in raw_care.handed(turn)],
            ],
            proposals=proposals,
        )
        turn.change(emulation=emulator.adopt(admission.made.emulation, admission.made))
        newest = turn.emulation.head.newest
        committed = admission.made.commit
        key = briefing.briefing_key(turn, committed.group, device)
        said = acting.adopt(turn, strand, keys.Made(commit=committed, newest=newest, claim=None))
    except (MlsError, Misuse, Refused) as error:
        turn.drop("link-later", str(error))
        _again(turn, turn.state.household.links[device])
        return
    told = _briefing(turn)
    bundle = briefing.seal(turn, key, admission.welcome(final=True), dict(admission.trees), told)
    _keep(turn, replace(link, epoch=said.step.epoch, bundle=bundle))
    turn.due(Duty.HOME, devices.LINK + device, turn.now + 2 * turn.state.config.quiet)


def _conversations(turn: Turn) -> Iterator[tuple[Strand, EpochId]]:
    """Those that are handed over, each with the epoch on which the new device begins.

    That is where it stands, or, where that is without us, the newest that we are in: what took us out may still lose,
    and nobody would hand the conversation over then.
    """
    for _, strand in sorted(turn.state.strands.items()):
        if strand.home or strand.over:
            continue
        alive = [
            (strand.graph.is_ancestor(epoch, strand.head), kept.group.epoch, epoch)
            for epoch, kept in strand.kept.items()
            if not kept.settled and kept.group.ended is None and strand.graph.has(epoch)
        ]
        if leaves.live(strand) is not None:
            yield strand, strand.head
        elif strand.membership is Membership.OUT and alive:
            yield strand, max(alive)[2]


def _handed(strand: Strand, here: EpochId) -> Handed:
    late = [
        kept.group
        for epoch, kept in sorted(strand.kept.items(), key=lambda item: (-item[1].group.epoch, item[0]))
        if epoch != here and kept.group.public.tree.leaf(kept.group.own_leaf) is not None
    ]
    return Handed(strand.kept[here].group, tuple(late[:MAX_PAST]))


def _briefing(turn: Turn) -> Briefing:
    from vcd.core import briefing

    state, household = turn.state, turn.state.household
    signing = household.signing
    if signing is None:
        raise Misuse("no-account", "this device has no account yet")
    talks = state.talks
    for group_id, talk in state.talks.items():
        talks = talks.set(group_id, briefing.for_another(talk))
    return briefing.Briefing(
        signing=signing,
        inbox=household.inbox,
        book=state.book,
        home=briefing.of_strand(turn.home),
        conversations=tuple(briefing.of_strand(each) for each, _ in _conversations(turn)),
        talks=talks,
        rosters=household.rosters,
        rotation=b"" if state.rotation is None else state.rotation.removal,
        done=household.done,
        intents=state.intents,
        invitations=state.invitations,
        uses=state.stock.uses,
        raws=tuple((known.group_id, known.entry) for known, _, _ in raw_care.handed(turn)),
        raw_gone=state.raw_gone,
        labels=household.labels,
        tellers=tellers.handed(turn.emulation, household.tellers),
    )


def _refuse(turn: Turn, link: Link, reason: str) -> None:
    _drop(turn, link.device)
    turn.tell(IntentFate(intent=link.intent, stands=False, reason=reason))


def cancel(turn: Turn, device: DeviceId) -> bool:
    """The device is to be removed, maybe before it was in: whether it was being linked."""
    link = turn.state.household.links.find(device)
    if link is not None:
        _refuse(turn, link, "removed")
    return link is not None


# ---------------------------------------------------------------- until it is there


def moved(turn: Turn) -> None:
    """The home stands elsewhere."""
    for device in sorted(turn.state.household.links.keys()):
        _look(turn, turn.state.household.links[device])


def go_on(turn: Turn, device: DeviceId) -> None:
    """In due time."""
    link = turn.state.household.links.find(device)
    if link is None or link.handed:
        return
    if not link.epoch:
        _add(turn, device)
        return
    _look(turn, link)
    now = turn.state.household.links.find(device)
    if now is not None and now.epoch and not now.handed:
        turn.due(Duty.HOME, devices.LINK + device, turn.now + 2 * turn.state.config.quiet)


def _look(turn: Turn, link: Link) -> None:
    strand = turn.home
    if link.handed:
        return
    graph = strand.graph
    made = [each for each in (*link.earlier, (link.epoch, link.bundle)) if graph.has(each[0])]
    here = next((each for each in made if graph.is_ancestor(each[0], strand.head)), None)
    if here is None:
        rest = tuple(each for each in made if each[0] != link.epoch)
        if rest != link.earlier:
            link = replace(link, earlier=rest)
            _keep(turn, link)
        if link.epoch:
            _again(turn, link)
        return
    epoch, bundle = here
    if certain(strand, epoch):
        _keep(turn, replace(link, epoch=epoch, bundle=bundle, earlier=(), handed=True))
        turn.effects.append(HandOver(device=link.device, welcome=bundle))
        turn.tell(IntentFate(intent=link.intent, stands=True))
        leaves.let_in(turn)
        return
    rest = tuple(each for each in made if each != here)
    if (epoch, rest) != (link.epoch, link.earlier):
        _keep(turn, replace(link, epoch=epoch, bundle=bundle, earlier=rest))
        turn.due(Duty.HOME, devices.LINK + link.device, turn.now + 2 * turn.state.config.quiet)


def certain(strand: Strand, epoch: EpochId) -> bool:
    """Whether the home can stand nowhere but on this epoch: see above."""
    graph = counting(strand)
    if graph.is_ancestor(epoch, strand.final):
        return True
    if not graph.has(epoch) or not graph.is_ancestor(strand.final, epoch) or not graph.is_ancestor(epoch, strand.head):
        return False
    before = {each.incarnation for each in graph.members(strand.final)}
    to, after = graph.path(epoch, strand.final), graph.path(strand.head, epoch)
    for end in (epoch, *after):
        stay = frozenset(before & {each.incarnation for each in graph.members(end)})
        if all(decided(graph, strand.ballots, step, stay) is not None for step in to) and all(
            stay <= _voters(strand, step) for step in after[: after.index(end) + 1 if end in after else 0]
        ):
            return True
    return False


def _voters(strand: Strand, step: EpochId) -> frozenset[Incarnation]:
    """Who voted for a step at all."""
    return frozenset([each.voter for each in strand.ballots.at(strand.graph.steps[step].parent) if each.child == step])


def started(turn: Turn) -> None:
    """Hand over again what may not have arrived."""
    for _, link in sorted(turn.state.household.links.items()):
        if link.handed:
            turn.effects.append(HandOver(device=link.device, welcome=link.bundle))


def arrived(turn: Turn, device: DeviceId) -> None:
    """The new device was heard."""
    link = turn.state.household.links.find(device)
    if link is not None and link.handed:
        _drop(turn, device)
        leaves.let_in(turn)
        certificates.tell(turn)


# ---------------------------------------------------------------- on the new device


def linked(turn: Turn, command: inputs.Linked) -> None:
    """Take up the account."""
    from vcd.core import briefing

    if turn.state.home is not None:
        return  # it was handed over before
    if not command.packages:
        raise Misuse("bad-handover", "the KeyPackage that this was made for is needed")
    try:
        bundle = decode(briefing.Bundle, command.welcome)
        identity = read(command.packages[0].key_package.leaf_node.credential)
        if not isinstance(identity, DeviceCredential) or identity.device != turn.state.me.device:
            raise Refused("another-device")
        judge = home_judge(turn.provider, identity.account)
        env = Environment(provider=turn.provider, authentication=judge, now=turn.now)
        new = onboard(
            env,
            kinds.home_parameters(),
            kinds.parameters_of(Mode.DEMLS),
            bundle.welcome,
            command.packages,
            trees=dict(bundle.trees),
        )
        edition = listing.check_first(new.emulation.group, turn.provider)
        told = briefing.open_sealed(
            turn, briefing.briefing_key(turn, new.emulation.group, turn.state.me.device), bundle
        )
        if edition.account != identity.account or told.book.own != edition.account:
            raise Refused("another-account")
        if new.waiting or {each.group.group_id for each in new.conversations} != {
            *[each.group_id for each in told.conversations],
            *[group_id for group_id, _ in told.raws],
        }:
            raise Malformed("conversations are missing")
        _take_up(turn, new, told)
    except (MlsError, NodeError) as error:
        if isinstance(error, Misuse):
            raise
        raise Misuse("bad-handover", f"this is not what a device of the account hands over: {error}") from None


def _take_up(turn: Turn, new: Onboarded, told: Briefing) -> None:
    from vcd.core import briefing, sending

    emulation = new.emulation
    home = emulation.group
    strand = briefing.to_strand(told.home, [home], home=True, newest=emulation.head.newest)
    suite = turn.provider.suite(turn.state.config.cipher_suite)
    public = suite.scheme.public_key(told.signing)
    household = Household(
        signing=told.signing,
        inbox=told.inbox,
        account_keys=turn.state.household.account_keys.set(public, told.signing),
        key_told=public,
        rosters=told.rosters,
        done=told.done,
        labels=told.labels,
        tellers=tellers.handed(emulation, told.tellers),
    )
    turn.change(book=told.book, home=home.group_id, household=household, talks=told.talks)
    turn.change(
        emulation=replace(emulation, head=Head(strand.kept[EpochId(home.epoch_id)].group, emulation.head.newest))
    )
    turn.put(strand, graph=True)
    briefs = {each.group_id: each for each in told.conversations}
    raws = dict(told.raws)
    turn.change(raw_gone=told.raw_gone)
    for handed in new.conversations:
        if handed.group.group_id in raws:
            continue
        brief = briefs[handed.group.group_id]
        turn.put(briefing.to_strand(brief, [handed.group, *handed.past], home=False, awake=turn.awake), graph=True)
    for each in turn.state.strands.values():
        for secret in each.topic_secrets():
            turn.join(secret, each.group_id)
    if told.inbox is not None:
        turn.join(TopicSecret(told.inbox.raw), None, inbox=True)
    devices.note_rosters(turn)
    for handed in new.conversations:
        if handed.group.group_id in raws:
            raw_care.took_up(turn, raws[handed.group.group_id], handed.group, handed.past)
    intents.briefed(turn, told.intents)
    invitations.briefed(turn, told.invitations)
    stock.briefed(turn, told.uses)
    sending.started(turn)
    turn.tell(DevicesChanged(devices=devices.present(turn.home)))
    devices.tell(turn, siblings.Here(device=turn.state.me.device))
    turn.due(Duty.HOME, devices.ASK, turn.now + turn.state.config.desync_after)
    if told.rotation:
        rotation.begin_with(turn, told.rotation)
