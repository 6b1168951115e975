"""Groups of apps that have a delivery service of their own: the app moves bytes, we are the one MLS client.

These are plain MLS groups. They have no topic, no graph and no votes; nobody of the node's other rooms knows of them,
and no chat is among them. The app's service says in which order commits come, and all that a device has to do is to
follow it: one epoch at a time (`Raw.here`), with at most one commit of its own (`Raw.pending`), whose epoch is ready
and not adopted. If that commit comes back it counts, and if another one comes first it is dropped, with whatever of it
the app has not taken yet (`raw_heard`).

Several devices of the account act in one group as the one virtual client, with what `mls.virtual` has for that: leaves
come from operations of the home, nonces are kept apart by the reuse guard, and what one device does the others derive
again from the message, whenever their app gives it to them. What no message says goes through the home (`raw_care`):
how we came in, signature keys, KeyPackages. So each device has a value of the group of its own, at the epoch up to
which its own app has fed it, and none waits for another one. Two devices that commit at once are like any two members:
the service takes one of the two.

    RawCreate, RawJoin      a group; by a Welcome we are in at once, from outside when our commit came back
    RawOffer                KeyPackages that the app gives out. All devices can open a Welcome to them
    RawPropose, RawCommit, RawProtect       frames to be sent, kept until `RawTaken`
    RawPut                  what the service delivered (`raw_heard.put`)
    RawForget               nothing of it stays, on any device

Each command is one step, so whatever a frame was made of is stored before anybody can have the frame. A command that
fails has made nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mls import group as front
from mls.commit import KEEP, NewLeaf, unasked
from mls.errors import (
    CallerError,
    FutureEpochError,
    LimitError,
    MissingProposalsError,
    PeerError,
    StaleError,
    UnderivedError,
)
from mls.external import suite_of
from mls.framing import encode_message
from mls.key_package import KeyPackage
from mls.leaf_node import find_extension
from mls.mode import PLAIN
from mls.persistent import PMap
from mls.proposals import Add, Proposal, Remove, SelfRemove
from mls.registries import ExtensionType, LeafIndex, ProposalRef, ProposalType, WireFormat
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import supported_by_all
from mls.virtual import client, stock as batches
from mls.virtual.announcements import JoinedExternally, Welcomed, encode_announcement
from mls.virtual.errors import (
    MissingKeyError,
    OtherBranchError,
    UnknownEpochError,
    UnknownPackageError,
    WithdrawnPackageError,
)
from mls.welcome import decode_group_info, read_message
from vcd.core import contacts, devices, kinds, leaves, ourselves, policy, raw_care, stock, tellers
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.credential import VirtualCredential, read
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.events import RawEntered, RawMade, RawOffered
from vcd.core.names import EpochId, GroupId
from vcd.core.raw_state import (
    MAX_FRAME,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_SPARE,
    PAST,
    Epoch,
    FrameKind,
    Pending,
    Raw,
    RawFrame,
)

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core import inputs
    from vcd.core.turn import Turn

MAX_OFFERED = 100
"""KeyPackages made at once."""
MAX_AUTHENTICATED = 1 << 16
DIGEST = 16
"""Bytes by which a message of our own making is known again."""
_LATER = (
    FutureEpochError,
    MissingProposalsError,
    MissingKeyError,
    OtherBranchError,
    UnderivedError,
    UnknownEpochError,
)


# ---------------------------------------------------------------- what is at hand


def found(turn: Turn, group_id: GroupId) -> Raw:
    raw = turn.state.raws.find(group_id)
    if raw is None:
        raise Misuse("no-group", "there is no such group of an app here")
    return raw


def keep(turn: Turn, raw: Raw) -> None:
    turn.change(raws=turn.state.raws.set(raw.group_id, raw))


def _may_act(turn: Turn) -> None:
    """Whether this device may make anything at all."""
    if turn.state.home is None or turn.state.emulation is None:
        raise Misuse("no-account", "this device has no account yet")
    if turn.state.household.listening:  # it would take keys a second time
        raise Misuse("restored", "this device has an old disk, and only listens")
    if turn.state.household.gone or turn.home.here is None:
        raise Misuse("out-of-sync", "this device cannot speak to the others now")


def _acting_in(turn: Turn, group_id: GroupId) -> tuple[Raw, Group]:
    _may_act(turn)
    raw = found(turn, group_id)
    group = raw.live
    if group is None:
        raise Misuse("not-a-member", "we are no member of this group now")
    return raw, group


@contextmanager
def refusing() -> Iterator[None]:
    """What `mls` says of an app's bytes and wishes, as a refusal of the command."""
    try:
        yield
    except PeerError as error:
        raise Misuse("broken", str(error), rule=error.check) from None
    except LimitError as error:
        raise Misuse("too-many", str(error)) from None
    except WithdrawnPackageError as error:
        raise Misuse("spent-package", str(error)) from None
    except (*_LATER, UnknownPackageError) as error:
        raise Misuse("not-yet", str(error)) from None
    except (StaleError, CallerError) as error:
        raise Misuse("not-mls", str(error)) from None
    except Refused as error:
        raise Misuse("broken", str(error), rule=error.rule) from None
    except Malformed as error:
        raise Misuse("not-mls", str(error)) from None


def check_plain(group: Group) -> None:
    """Whether it is a group for apps: neither a chat nor one of a mode of its own."""
    if group.mode is not PLAIN or policy.COMPONENT in dict(group.public.context.dictionary.entries):
        raise Misuse("not-plain", "this is no plain MLS group: chats are not for apps to move")


def _check_room(turn: Turn) -> None:
    if len(turn.state.raws) >= turn.state.config.max_conversations:
        raise Misuse("too-many", "there are too many groups of apps here")


class Taken:
    """Names that no group that we come into may have."""

    def __init__(self, turn: Turn, *, but: GroupId | None = None) -> None:
        self._state = turn.state
        self._but = but

    def __contains__(self, group_id: Any) -> bool:
        state = self._state
        if group_id in state.strands or group_id in state.talks or group_id == state.home:
            return True
        raw = state.raws.find(group_id)
        return raw is not None and raw.live is not None and group_id != self._but


# ---------------------------------------------------------------- frames


def frames(turn: Turn, group_id: GroupId, made: Sequence[RawFrame]) -> None:
    """Keep what the app is to send."""
    waiting = turn.state.raw_frames
    size = sum(len(each.data) for each in made) + sum(len(each.data) for each in waiting.values())
    if len(waiting) + len(made) > MAX_FRAMES or size > MAX_FRAME_BYTES:
        raise Misuse("too-many", "too many frames wait to be taken")
    if any(len(each.data) > MAX_FRAME for each in made):
        raise Misuse("too-long", "a frame would be longer than may be: the group is too large for this")
    first = all(each.group_id != group_id for each in waiting.values())
    number = turn.state.clock.number
    numbers = tuple(range(number + 1, number + 1 + len(made)))
    turn.change(
        clock=replace(turn.state.clock, number=number + len(made)),
        raw_frames=waiting.update(dict(zip(numbers, made, strict=True))),
    )
    turn.tell(RawMade(group=group_id, numbers=numbers, first=first))


def taken(turn: Turn, command: inputs.RawTaken) -> None:
    """The app has these."""
    gone = [
        number
        for number, frame in turn.state.raw_frames.items()
        if number <= command.number and command.group in (None, frame.group_id)
    ]
    turn.change(raw_frames=turn.state.raw_frames.changed(gone, {}))


# ---------------------------------------------------------------- coming in


def create(turn: Turn, command: inputs.RawCreate) -> None:
    """A group with us as its only member."""
    _may_act(turn)
    if command.group in Taken(turn) or command.group in turn.state.raws:
        raise Misuse("group-exists", "there is a group of that name")
    if not 1 <= len(command.group) <= 255:
        raise Misuse("not-mls", "a group's name has 1 to 255 bytes")
    _check_room(turn)
    offered = ourselves.offer(turn, suite=_suite(turn, command.suite))
    with refusing():
        made = client.create(turn.emulation, turn.env, kinds.raw_parameters(), command.group, offered)
    turn.change(emulation=made.emulation)
    enter(turn, made.group)
    for announcement in made.announcements:  # of the group itself: the key was announced with the offer
        raw_care.tell(turn, command.group, encode_announcement(announcement, turn.emulation.settings.profile.form))


def _suite(turn: Turn, wanted: int | None) -> int:
    suite = turn.state.config.cipher_suite if wanted is None else wanted
    try:
        turn.provider.suite(suite)
    except KeyError:
        raise Misuse("no-suite", f"there is no cipher suite {suite} here") from None
    if suite not in kinds.SUITES:
        raise Misuse("no-suite", f"there is no cipher suite {suite} here")
    return suite


def enter(turn: Turn, group: Group) -> None:
    """A group that we are in from now on, whichever way."""
    epoch = EpochId(group.epoch_id)
    raw = Raw(group_id=group.group_id, here=epoch, entry=epoch, epochs=PMap({epoch: Epoch(group=group)}))
    old = turn.state.raws.find(group.group_id)
    if old is not None and old.pending is not None:
        dropped(turn, old)
    keep(turn, raw)
    contacts.tree(turn, group)
    turn.tell(RawEntered(group=group.group_id))
    raw_care.look(turn, group.group_id)


def offer(turn: Turn, command: inputs.RawOffer) -> None:
    """KeyPackages that the app gives out. Others are told of them in this step, before anybody can have one."""
    _may_act(turn)
    count, suite = command.count, _suite(turn, command.suite)
    if not 1 <= count <= MAX_OFFERED:
        raise Misuse("too-many", f"at most {MAX_OFFERED} KeyPackages are made at once")
    ours, whole = tellers.made(turn, turn.state.me.device) + count, len(turn.emulation.stock) + count
    if whole > turn.emulation.settings.max_packages // 2 or ours > tellers.share(turn) // 2:  # the rest is for chats
        raise Misuse("too-many", "too many KeyPackages wait to be used")
    offers = [ourselves.offer(turn, announced=False, suite=suite) for _ in range(count)]
    scheme = turn.provider.suite(suite).scheme
    public = [scheme.public_key(each.signature_private) for each in offers if each.signature_private is not None]
    ourselves.tell_keys(turn, public)
    with refusing():
        batch = batches.make_batch(turn.emulation, turn.env, offers)
    turn.change(emulation=batch.emulation)
    devices.announce(turn, ourselves.with_keys(turn, batch.announcement, public))
    packages = tuple(encode_message(WireFormat.KEY_PACKAGE, each.encode()) for each in batch.released(announced=True))
    turn.tell(RawOffered(packages=packages, expires=min(batch.announcement.not_after) * 1000))


def join(turn: Turn, command: inputs.RawJoin) -> None:
    """Into a group of others."""
    _may_act(turn)
    if command.welcome:
        _by_welcome(turn, command.welcome, command.tree)
    else:
        _from_outside(turn, command.group_info, command.tree)


def _by_welcome(turn: Turn, welcome: bytes, tree: bytes | None) -> None:
    _check_room(turn)
    group = welcomed(turn, welcome, tree)
    form = turn.emulation.settings.profile.form
    raw_care.tell(turn, group.group_id, encode_announcement(Welcomed(welcome, tree), form))


def welcomed(turn: Turn, welcome: bytes, tree: bytes | None) -> Group:
    """Take a Welcome up. Its KeyPackage is needed no more: there is no branch on which another one could come."""
    with refusing():
        got = client.join(
            turn.emulation, turn.env, kinds.raw_parameters(), welcome, tree=tree, known_groups=Taken(turn)
        )
    check_plain(got.group)
    turn.change(emulation=got.emulation)
    enter(turn, got.group)
    stock.spent(turn, bytes(got.reference))
    return got.group


def _from_outside(turn: Turn, group_info: bytes, tree: bytes | None) -> None:
    """By a commit of ours; in the place of our leaf that is there, if there is one."""
    with refusing():
        info = decode_group_info(group_info)
        suite = suite_of(turn.env, info)
    group_id = GroupId(info.context.group_id)
    old = turn.state.raws.find(group_id)
    if old is None:
        _check_room(turn)
    elif old.live is not None and old.live.epoch >= info.context.epoch:
        raise Misuse("group-exists", "we are in this group, and this leads to no later epoch")
    credential, private = ourselves.new_leaf(turn, suite=_suite(turn, suite.cipher_suite))
    capabilities, extensions = kinds.leaf()
    prior = None if old is None else old.live
    with refusing():
        encoded = find_extension(info.extensions, ExtensionType.RATCHET_TREE) or tree
        place = None if encoded is None else _own_place(turn, RatchetTree.decode(suite, encoded))
        entered = client.join_externally(
            turn.emulation,
            turn.env,
            kinds.raw_parameters(),
            group_info,
            credential=credential,
            capabilities=capabilities,
            signature_private=private,
            leaf_extensions=extensions,
            tree=tree,
            remove=place,
            known_groups=Taken(turn, but=group_id),
            prior=prior,
        )
    made = entered.joined
    check_plain(made.group)
    turn.change(emulation=entered.emulation)
    told = encode_announcement(
        JoinedExternally(group_info=group_info, tree=tree, commit=made.message), turn.emulation.settings.profile.form
    )
    raw = Raw(group_id=group_id) if old is None else old
    if raw.pending is not None:
        raw = dropped(turn, raw)
    begins = EpochId(made.group.epoch_id)
    pending = Pending(
        digest=digest_of(made.message), number=int(info.context.epoch), begins=begins, external=True, told=told
    )
    keep(turn, replace(raw, pending=pending, epochs=raw.epochs.set(begins, Epoch(group=made.group))))
    frames(turn, group_id, [RawFrame(group_id=group_id, kind=FrameKind.COMMIT, data=made.message, begins=begins)])
    turn.tell(RawEntered(group=group_id))


def _own_place(turn: Turn, tree: RatchetTree) -> LeafIndex | None:
    """Our leaf in a tree, of when we were there before."""
    own = turn.state.book.own
    for index, leaf in tree.leaves():
        identity = read(leaf.credential)
        if isinstance(identity, VirtualCredential) and identity.account == own:
            return index
    return None


# ---------------------------------------------------------------- acting


def propose(turn: Turn, command: inputs.RawPropose) -> None:
    """Propose one thing."""
    raw, group = _acting_in(turn, command.group)
    wanted = [command.add != b"", command.remove is not None, command.update, command.leave]
    if wanted.count(True) != 1:
        raise Misuse("bad-proposal", "one thing is proposed at a time")
    _check_able(turn, group)
    if command.update:
        new = leaves.shown(turn, group)
        with refusing():
            made = client.propose_update(turn.emulation, group, turn.env, new=new)
    else:
        proposal = _proposal(turn, group, command)
        with refusing():
            made = client.propose(turn.emulation, group, turn.env, proposal)
    turn.change(emulation=made.emulation)
    keep(turn, replace(raw, epochs=raw.epochs.set(raw.here, Epoch(group=made.group))))
    frames(turn, raw.group_id, [RawFrame(group_id=raw.group_id, kind=FrameKind.PROPOSAL, data=made.message)])


def _proposal(turn: Turn, group: Group, command: inputs.RawPropose) -> Proposal:
    if command.add:
        return Add(_package(turn, command.add))
    if command.remove is not None:
        return Remove(_leaf(group, command.remove))
    if supported_by_all(group.public.tree, frozenset({ProposalType.SELF_REMOVE})):
        return SelfRemove()
    return Remove(group.own_leaf)


def _leaf(group: Group, index: int) -> LeafIndex:
    tree = group.public.tree
    if index >= tree.leaf_count or tree.leaf(index) is None:
        raise Misuse("no-leaf", f"there is no member at leaf {index}")
    return LeafIndex(index)


def _package(turn: Turn, data: bytes) -> KeyPackage:
    """A KeyPackage that the app had from its service. One that shows a list that we know to be old is not taken."""
    with refusing():
        reader = read_message(data, WireFormat.KEY_PACKAGE)
        package = KeyPackage.decode(reader)
        reader.finish()
        head = head_of(package.leaf_node.credential)
    if head is not None and turn.state.book.superseded(head):
        raise Misuse("old-package", "this KeyPackage shows an older list of devices than we know: fetch another one")
    return package


def _check_able(turn: Turn, group: Group) -> None:
    if not leaves.able(turn, group):
        raise Misuse(
            "out-of-sync", "this device speaks there once our leaf has been replaced: commit, or wait for that"
        )


def commit(turn: Turn, command: inputs.RawCommit) -> None:
    """Change a group."""
    raw, group = _acting_in(turn, command.group)
    if raw.pending is not None:
        if not command.replace:
            raise Misuse("pending", "a commit of ours has not come back yet")
        raw = _replaced(turn, raw)
    proposals: list[Proposal] = [Add(_package(turn, each)) for each in command.add]
    proposals += [Remove(_leaf(group, each)) for each in command.remove]
    make(
        turn,
        raw,
        group,
        proposals=proposals,
        references=None if command.proposals else (),
        fresh=command.fresh,
        info=command.group_info,
    )


def make(
    turn: Turn,
    raw: Raw,
    group: Group,
    *,
    proposals: Sequence[Proposal] = (),
    references: Sequence[ProposalRef] | None = None,
    fresh: bool = True,
    info: bool = False,
) -> None:
    """A commit that waits to come back. A device that may not use our leaf's keys makes one that uses none."""
    able = leaves.able(turn, group)
    fresh = fresh or not able
    new: NewLeaf = leaves.shown(turn, group) if fresh else KEEP  # announces a key, so it comes before the emulation
    with refusing():
        acted = client.commit(
            turn.emulation,
            group,
            turn.env,
            proposals=proposals,
            references=references,
            force_path=fresh,
            encrypt=None if able else False,
            new=new,
        )
        made = acted.commit
        extra = front.group_info(made.group) if info and made.group.ended is None else None
    turn.change(emulation=acted.emulation)
    begins = EpochId(made.group.epoch_id)
    epochs = raw.epochs.set(raw.here, Epoch(group=made.before)).set(begins, Epoch(group=made.group))
    pending = Pending(digest=digest_of(made.message), number=int(group.epoch), begins=begins)
    parts = [
        (FrameKind.COMMIT, made.message),
        (FrameKind.WELCOME, made.welcome),
        (FrameKind.GROUP_INFO, extra),
    ]
    frames(
        turn,
        raw.group_id,
        [
            RawFrame(group_id=raw.group_id, kind=kind, data=data, after=group.epoch_id, begins=begins)
            for kind, data in parts
            if data is not None
        ],
    )
    keep(turn, replace(raw, epochs=epochs, pending=pending))


def protect(turn: Turn, command: inputs.RawProtect) -> None:
    """Seal a message."""
    raw, group = _acting_in(turn, command.group)
    _check_able(turn, group)
    if len(command.data) > turn.state.config.max_said or len(command.authenticated) > MAX_AUTHENTICATED:
        raise Misuse("too-long", "this is too long for one message")
    if any(not item.shelved and not unasked(item) for item in group.proposals.values()):
        raise Misuse("proposals", "proposals wait for a commit, and nothing is said before (RFC 9420 §12.4)")
    with refusing():
        sealed = client.seal(turn.emulation, group, turn.env, command.data, authenticated_data=command.authenticated)
    keep(turn, replace(raw, epochs=raw.epochs.set(raw.here, Epoch(group=sealed.group))))
    frames(turn, raw.group_id, [RawFrame(group_id=raw.group_id, kind=FrameKind.MESSAGE, data=sealed.message)])


# ---------------------------------------------------------------- where a group stands


def digest_of(message: bytes) -> bytes:
    return sha256(message).digest()[:DIGEST]


def dropped(turn: Turn, raw: Raw) -> Raw:
    """Without our commit that waits, its epoch, and what of it was not taken yet."""
    pending = raw.pending
    if pending is None:
        return raw
    gone = [number for number, frame in turn.state.raw_frames.items() if frame.begins == pending.begins]
    turn.change(raw_frames=turn.state.raw_frames.changed(gone, {}))
    after = replace(raw, pending=None, epochs=raw.epochs.discard(pending.begins))
    keep(turn, after)
    return after


def _replaced(turn: Turn, raw: Raw) -> Raw:
    """The same, but it may come after all, and what made it stays at hand for that."""
    pending = raw.pending
    if pending is None:
        return raw
    kept = raw.epochs[pending.begins]
    after = dropped(turn, raw)
    spare = (*after.spare, pending.begins)
    epochs = after.epochs.changed(spare[:-MAX_SPARE], {pending.begins: kept})
    after = replace(after, spare=spare[-MAX_SPARE:], epochs=epochs)
    keep(turn, after)
    return after


def advance(turn: Turn, raw: Raw, before: Group | None, child: Group) -> Raw:
    """A commit was accepted: the epoch before reads late messages only, for a while, and those before it go."""
    begins = EpochId(child.epoch_id)
    gone = {*raw.spare, *((raw.pending.begins,) if raw.pending is not None else ())} - {begins, raw.here}
    epochs, here, out = raw.epochs.changed(sorted(gone), {}), raw.here, child.ended is not None
    if before is not None:
        retired = before if before.ended is not None else front.retired(before)
        epochs = epochs.set(raw.here, Epoch(group=retired, left_at=turn.now))
    if out:
        epochs = epochs.discard(begins) if begins != raw.here else epochs
    else:
        epochs, here = epochs.set(begins, Epoch(group=child)), begins
    past = sorted(
        (each for each in epochs if epochs[each].left_at is not None), key=lambda each: epochs[each].group.epoch
    )
    epochs = epochs.changed([each for each in past[:-PAST] if each != here], {})
    after = replace(raw, epochs=epochs, here=here, out=out, entry=raw.entry or here, pending=None, spare=())
    keep(turn, after)
    raw_care.expire_later(turn, raw.group_id)
    raw_care.look(turn, raw.group_id)
    return after
