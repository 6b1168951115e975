"""Who decides about the account's devices: the rules that the root sets, and devices that overrule their delegates.

What is signed for that, and why so, is in `accounts.overrule`; this room carries it from device to device.

    rules set      with the recovery phrase (`SetRules`): a new term. Once the home stands there, each device is dealt
                   its part of the overrule key, sealed to its leaf
    asked          by a device that wants other delegates (`Overrule`); it signs, and puts the parts together later
    signed         by others, whose people were asked (`OverruleAsked`, answered by `Countersign`)
    given          each that signed waits, then seals its part to the leaf of the device that asked
    carried out    that device signs the first list of the rest of the term. Whom it shuts out is removed (`rotation`)

All of it is said in the home, so the delegates hear it, and whoever was shut out for good can take no part any more.
Against a delegate that uses the delay to shut out the others there is the recovery phrase only.

A list of a new term or of the rest of one is committed in the home again until it stands there (`push`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.hpke import CryptoError
from mls.persistent import PMap
from mls.registries import LeafIndex
from vcd.core import acting, devices, linking, listing, rotation
from vcd.core.accounts import editions, overrule as rules
from vcd.core.accounts.identity import DeviceKey
from vcd.core.accounts.shares import Share, seal_of
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.events import IntentFate, OverruleAsked, Warned
from vcd.core.household import Asked, Order

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.accounts.device_list import Edition
    from vcd.core.accounts.head import Authority
    from vcd.core.names import DeviceId, IntentId
    from vcd.core.siblings import OverrulePart, OverruleTold, Part, Told
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_DEALT = b"vcd overrule part"
_GIVEN = b"vcd overrule part given"


# ---------------------------------------------------------------- commands


def set_rules(turn: Turn, command: inputs.SetRules) -> None:
    """The root says who are delegates, and how many devices may overrule them."""
    if command.intent in devices.require(turn).orders:
        return
    edition = linking.next_edition(turn)
    delegates = command.delegates or tuple(each.device for each in edition.devices.delegates)
    made = editions.new_term(
        turn.provider,
        command.root,
        edition,
        delegates=delegates,
        policy=command.rules,
        above=editions.uncertain(turn.now),
    )
    linking.sign(turn, made)
    _order(turn, command.intent, made.edition)
    push(turn)


def ask(turn: Turn, command: inputs.Overrule) -> None:
    """This device wants other delegates. What it asked for before, it wants no more."""
    from vcd.core.siblings import OverruleTold

    household, me = devices.require(turn), turn.state.me.device
    earlier = household.asked.find(me)
    if command.intent in household.orders or (earlier is not None and earlier.intent == command.intent):
        return
    edition = linking.next_edition(turn)
    wanted = rules.propose(edition, me, stay=command.stay, delegates=command.delegates)
    signed = rules.countersign(turn.provider, wanted, edition, me, _device_key(turn))
    if earlier is not None:
        turn.tell(IntentFate(intent=earlier.intent, stands=False, reason="other-rules"))
    _put(turn, Asked(overrule=signed, intent=command.intent))
    devices.tell(turn, OverruleTold(overrule=signed))
    _look(turn, me)


def countersign(turn: Turn, command: inputs.Countersign) -> None:
    """This device wants what another one asked for."""
    from vcd.core.siblings import OverruleTold

    known = devices.require(turn).asked.find(command.device)
    if known is None or known.overrule.digest != command.digest:
        raise Misuse("no-overruling", "That device does not ask for this, or not any more.")
    if _signed(turn, known):
        return
    me = turn.state.me.device
    signed = rules.countersign(turn.provider, known.overrule, _edition(turn), me, _device_key(turn))
    _put(turn, replace(known, overrule=signed))
    devices.tell(turn, OverruleTold(overrule=signed))
    _look(turn, command.device)


def _device_key(turn: Turn) -> DeviceKey:
    private = turn.state.me.signature_private
    return DeviceKey(private.raw, private.handle)


def _edition(turn: Turn) -> Edition:
    here = turn.home.here
    if here is None:
        raise Misuse("out-of-sync", "this device cannot speak to the others now")
    return listing.of_group(here.group)


def _signed(turn: Turn, known: Asked) -> bool:
    return any(each.device == turn.state.me.device for each in known.overrule.signatures)


def _put(turn: Turn, asked: Asked) -> None:
    devices.keep(turn, asked=turn.state.household.asked.set(asked.overrule.keeper, asked))


def _drop(turn: Turn, keeper: DeviceId) -> None:
    devices.keep(turn, asked=turn.state.household.asked.discard(keeper))
    turn.not_due(Duty.HOME, devices.OVERRULE + keeper)


# ---------------------------------------------------------------- signatures, and then parts


def on_told(turn: Turn, told: Told, record: OverruleTold) -> None:
    """What a device asks for, or that another one wants it too.

    Of each there is the last thing that it asked for, and only its own signature makes that known: so there are no more
    of these than there are devices with a part.
    """
    wanted = record.overrule
    if turn.home.here is None:
        return
    rules.check_overrule(wanted, _edition(turn), turn.provider)
    if all(each.device != wanted.keeper for each in wanted.signatures):
        raise Refused("no-overruler")
    known = turn.state.household.asked.find(wanted.keeper)
    if known is not None and known.overrule.digest == wanted.digest:
        after = replace(known, overrule=rules.merged(known.overrule, wanted))
        if after == known:
            return
    elif wanted.keeper == turn.state.me.device:
        return  # what this device does not want any more
    elif known is None or told.device == wanted.keeper:
        after = Asked(overrule=wanted)
    else:
        return
    _put(turn, after)
    _look(turn, wanted.keeper)


def _look(turn: Turn, keeper: DeviceId) -> None:
    """Something was signed: people are told, and from the last signature that it takes each device waits."""
    known, edition = turn.state.household.asked[keeper], _edition(turn)
    wanted = known.overrule
    lacks = rules.check_overrule(wanted, edition, turn.provider)
    turn.tell(
        OverruleAsked(
            device=keeper,
            digest=wanted.digest,
            stay=tuple(each.device for each in wanted.stay),
            delegates=tuple(each.device for each in wanted.stay if each.delegate),
            signed=tuple(each.device for each in wanted.signatures),
            lacks=lacks,
        )
    )
    if lacks == 0 and not known.complete_since:
        known = replace(known, complete_since=turn.now)
        _put(turn, known)
    if known.complete_since and _signed(turn, known) and not known.given:
        delay = edition.devices.policy.overrule_delay
        turn.due(Duty.HOME, devices.OVERRULE + keeper, known.complete_since + delay)


def give(turn: Turn, keeper: DeviceId) -> None:
    """Duty HOME: this device signed and waited, and gives its part away."""
    from vcd.core.siblings import OverrulePart

    household, here = turn.state.household, turn.home.here
    known = household.asked.find(keeper)
    if known is None or known.given or household.part is None or not _signed(turn, known):
        return
    edition = None if here is None else listing.of_group(here.group)
    leaf = None if here is None else next((at for at, _ in here.group.members if _at(here.group, at) == keeper), None)
    if here is None or edition is None or leaf is None or not devices.may_speak(turn):
        turn.due(Duty.HOME, devices.OVERRULE + keeper, turn.now + turn.state.config.retry_most)
        return
    since = known.complete_since
    if not rules.due(known.overrule, edition, turn.provider, complete_since=since, now=turn.now):
        return
    _put(turn, replace(known, given=True))
    if keeper == turn.state.me.device:
        _take(turn, household.part)
        return
    kem, sealed = _seal(turn, leaf, _GIVEN + known.overrule.digest, household.part)
    devices.tell(turn, OverrulePart(device=keeper, digest=known.overrule.digest, kem=kem, sealed=sealed))


_at = devices.device_at


def on_part(turn: Turn, told: Told, record: OverrulePart) -> None:
    """Another device gives its part, for what this one asked for."""
    known = turn.state.household.asked.find(record.device)
    if record.device != turn.state.me.device or known is None or known.overrule.digest != record.digest:
        return
    seals = {each.seal for each in _edition(turn).devices.overrulers if each.device == told.device}
    for found in _opened(turn, _GIVEN + record.digest, record.kem, record.sealed):
        if seal_of(found) in seals:
            _take(turn, found)
            return
    raise Refused("overrule-parts")


def _take(turn: Turn, part: Share) -> None:
    """One part more; with enough of them it is done, and they are forgotten."""
    me = turn.state.me.device
    known = turn.state.household.asked[me]
    if any(seal_of(each) == seal_of(part) for each in known.parts):
        return
    known = replace(known, parts=(*known.parts, part))
    _put(turn, known)
    edition = linking.next_edition(turn)
    if len(known.parts) < edition.devices.policy.overrulers:
        return
    try:
        made = rules.carry_out(turn.provider, known.overrule, edition, known.parts)
    except (Misuse, Refused) as error:  # the root has begun another term meanwhile
        turn.drop("overrule-later", str(error))
        return
    _drop(turn, me)
    there = {*devices.present(turn.home), *(each.device for each in edition.devices.devices)}
    gone = sorted(each for each in there if made.edition.devices.find(each) is None)
    linking.sign(turn, made)
    if gone:
        rotation.shut_out(turn, gone, known.intent)
    else:
        _order(turn, known.intent, made.edition)
        push(turn)


# ---------------------------------------------------------------- until the list stands


def _order(turn: Turn, intent: IntentId, edition: Edition) -> None:
    authority = edition.head.authority
    order = Order(authority=authority.digest, start=authority.start)
    devices.keep(turn, orders=turn.state.household.orders.set(intent, order))


def push(turn: Turn) -> None:
    """Commit our list of a newer term in the home, if nobody has to go for it: else `rotation` does."""
    if not _ahead(turn) or not devices.may_speak(turn):
        return
    made = turn.state.household.made
    assert made is not None  # noqa: S101 - nothing is ahead otherwise
    turn.later(Duty.HOME, devices.RULES, turn.now + turn.state.config.retry)
    try:
        made = linking.named(turn, _edition(turn), made)  # some may stand that were not heard of when it was signed
        acting.commit(turn, turn.home, proposals=[listing.update(made)], force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("rules-later", str(error))


def _ahead(turn: Turn) -> bool:
    made, here = turn.state.household.made, turn.home.here
    if made is None or here is None or any(made.devices.find(each) is None for each in devices.present(turn.home)):
        return False
    now = listing.of_group(here.group)
    return made.head.authority.start > now.head.authority.start and linking.follows(turn, now, made)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The home stands elsewhere: parts may be dealt, a list may have come to stand, or be to be shown again."""
    _deal(turn)
    _compare(turn, before, after)
    if _ahead(turn):
        turn.due(Duty.HOME, devices.RULES, turn.now + turn.state.config.quiet)
    final = after.kept.find(after.final)
    if final is None:
        return
    authority = listing.of_group(final.group).head.authority
    household = turn.state.household
    for intent, order in sorted(household.orders.items()):
        if order.authority == authority.digest or order.start <= authority.start:
            _end(turn, intent, stands=order.authority == authority.digest)
            devices.keep(turn, orders=turn.state.household.orders.discard(intent))
    for keeper in sorted(household.asked):
        known = household.asked[keeper]
        if known.overrule.authority != authority.digest:
            if keeper == turn.state.me.device:
                _end(turn, known.intent, stands=False)
            _drop(turn, keeper)
    if authority.overruled:  # it works once in a term
        devices.keep(turn, part=None)
    _forget_delegate(turn, authority)


def _forget_delegate(turn: Turn, certain: Authority) -> None:
    """A delegates' key of a term that is over signs nothing any more."""
    household, here = turn.state.household, turn.home.here
    if household.delegate is None or here is None:
        return
    newer = [listing.of_group(here.group).head.authority]
    if household.made is not None:
        newer.append(household.made.head.authority)
    good = {certain.delegate, *(each.delegate for each in newer if each.start > certain.start)}
    if here.group.suite.scheme.public_key(household.delegate) not in good:
        devices.keep(turn, delegate=None)


def _end(turn: Turn, intent: IntentId, *, stands: bool) -> None:
    turn.tell(IntentFate(intent=intent, stands=stands, reason="" if stands else "other-rules"))


def _compare(turn: Turn, before: Strand, after: Strand) -> None:
    """A delegate was overruled: whether that is what somebody asked for here."""
    old, new = before.here, after.here
    if old is None or new is None:
        return
    was, now = listing.of_group(old.group), listing.of_group(new.group)
    if not now.head.authority.overruled or was.head.authority.start >= now.head.authority.start or now.head.number:
        return
    asked = turn.state.household.asked
    if not any(_as_asked(turn, asked[keeper], was, now) for keeper in sorted(asked)) and asked.size:
        turn.tell(Warned(code="overruled-otherwise"))


def _as_asked(turn: Turn, known: Asked, was: Edition, now: Edition) -> bool:
    try:
        rules.check_carried_out(known.overrule, was, now, turn.provider)
    except Refused:
        return False
    return True


# ---------------------------------------------------------------- parts of the overrule key


def _deal(turn: Turn) -> None:
    """Each device of a term gets its part, by who drew them: once the home stands in that term."""
    from vcd.core.siblings import Part

    household, here = turn.state.household, turn.home.here
    made = household.made
    if not household.dealt or made is None or here is None or not devices.may_speak(turn):
        return
    authority = listing.of_group(here.group).head.authority
    if authority.digest != made.head.authority.digest:
        return
    devices.keep(turn, dealt=PMap())
    for leaf, _ in here.group.members:
        device = _at(here.group, leaf)
        part = None if device is None else household.dealt.find(device)
        if device is None or part is None:
            continue
        if device == turn.state.me.device:
            devices.keep(turn, part=part)
            continue
        kem, sealed = _seal(turn, leaf, _DEALT + device, part)
        devices.tell(turn, Part(device=device, kem=kem, sealed=sealed))


def on_dealt(turn: Turn, told: Told, record: Part) -> None:
    """This device's part of the overrule key. It is genuine if some list here says so."""
    del told
    me = turn.state.me.device
    if record.device != me:
        return
    seals = {
        each.seal
        for _, kept in sorted(turn.home.kept.items())
        for each in listing.of_group(kept.group).devices.overrulers
        if each.device == me
    }
    for found in _opened(turn, _DEALT + me, record.kem, record.sealed):
        if seal_of(found) in seals:
            devices.keep(turn, part=found)
            return
    raise Refused("overrule-parts")


def _seal(turn: Turn, leaf: LeafIndex, label: bytes, part: Share) -> tuple[bytes, bytes]:
    here = turn.home.here
    assert here is not None  # noqa: S101 - whoever calls this has looked
    group = here.group
    node = group.public.tree.leaf(leaf)
    assert node is not None  # noqa: S101 - the same
    context = group.suite.encryption_context(label, b"")
    return group.suite.seal(node.encryption_key, context, part.raw, turn.provider.random)


def _opened(turn: Turn, label: bytes, kem: bytes, sealed: bytes) -> Iterator[Share]:
    """What was sealed to a leaf that we have, or had when it was said first."""
    for _, kept in sorted(turn.home.kept.items()):
        private = kept.group.private.get(2 * kept.group.own_leaf)
        if private is None:
            continue
        try:
            yield Share(kept.group.suite.open(private, kept.group.suite.encryption_context(label, b""), kem, sealed))
        except (CryptoError, MlsError):
            continue
