"""Our KeyPackages: made, announced, given out, used up, taken back.

Each device has a *share*: those that it made and gives out itself, or by a mailbox of its own. Nobody else gives out
the same ones, so each is handed to one caller. All devices know the seeds of all shares (`mls.virtual.stock`), so any
of them can take up the Welcome. A few of a share are for strangers, and one is of last resort, for when there are no
others; it goes as soon as it was used.

    made        announced in the home in the same step, and only then offered: nobody can be invited by what a sibling
                will not hear of. It is kept, and offered again after each start, until it is with whoever gives it out
    given       handed out: the share gets smaller, and is filled up when half of it is left
    used        a Welcome to it was taken up. It stays usable, as that Welcome may have lost: another one then comes to
                the same KeyPackage on another branch
    renewed     our list of devices changed, and who knows that takes no KeyPackage that shows the older one. What is
                not given away is taken back, then withdrawn, and others are made. What somebody may have stays usable
    withdrawn   its group has a final epoch with us in it that is no older than the Welcome's, or without; or it
                expired, or was revoked. Its keys are deleted; whoever still uses it is told to take another one

Each device withdraws what was used by itself, when it stands there: so none loses a KeyPackage by which it still has to
come in. Revoking is announced, and every device takes its share back from where it is given out (`going`, until that
was confirmed).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import decode_exactly
from mls.components.last_resort import mark
from mls.errors import MlsError
from mls.key_package import KeyPackage
from mls.registries import KeyPackageRef
from mls.virtual import stock as batches
from mls.virtual.announcements import MAX_ENTRIES, Uploaded, Withdrawn, decode_announcement
from mls.virtual.emulation import Emulation
from mls.virtual.stock import Offer
from vcd.core import kinds, ourselves, ranks, siblings, tellers
from vcd.core.duties import Duty
from vcd.core.effects import OfferPackages, TakeBackPackages
from vcd.core.errors import Misuse
from vcd.core.names import EpochId, GroupId
from vcd.core.policy import DAY, HOUR
from vcd.core.wanting import Share, Use

if TYPE_CHECKING:
    from mls.persistent import PMap
    from vcd.core import inputs
    from vcd.core.household import Saying
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_LOOK = DAY
"""How often the share is looked at if nothing happens to it."""
_AT_LAST = 7 * DAY
"""What expires sooner does not count as left: whoever is given it needs time to use it."""
MOST_USES = 16
"""Of one KeyPackage that are remembered; by then its dispenser has long been found out."""


# ---------------------------------------------------------------- the share


def replenish(turn: Turn, subject: bytes) -> None:
    """Duty STOCK: make what is missing, let go of what expired."""
    del subject
    state = turn.state
    turn.later(Duty.STOCK, b"", turn.now + _LOOK + ranks.spread(turn, b"stock", HOUR))
    if state.emulation is None or state.household.signing is None or state.book.edition is None:
        return
    _expire(turn)
    reconcile(turn)
    _renew(turn)
    here = turn.home.here
    if here is None or here.group.ended is not None:
        return
    left, public, last = _left(turn)
    config = turn.state.config
    wanted = config.packages - left if left <= config.packages // 2 else 0
    strangers = config.package_public - public if public <= config.package_public // 2 else 0
    if wanted or strangers or not last:
        _make(turn, wanted, strangers, last=not last)


def _left(turn: Turn) -> tuple[int, int, bool]:
    """How many are left for contacts, for strangers, and whether one of last resort is."""
    soon = (turn.now + min(_AT_LAST, turn.state.config.package_life // 4)) // 1000
    held = turn.state.stock
    good = [
        each
        for reference, each in held.mine.items()
        if not each.given and each.not_after > soon and reference not in held.going
    ]
    once = [each for each in good if not each.last]
    public = sum(each.public for each in once)
    return len(once) - public, public, len(once) < len(good)


def _make(turn: Turn, wanted: int, strangers: int, *, last: bool) -> None:
    from vcd.core import devices

    edition = turn.state.book.edition
    head = b"" if edition is None else edition.head.digest
    kinds_of = [*[(False, False)] * wanted, *[(True, False)] * strangers, *[(False, True)] * last]
    before = turn.emulation
    try:
        if tellers.made(turn, turn.state.me.device) + len(kinds_of) > tellers.share(turn):
            raise Misuse("too-many", "the others keep no more KeyPackages of this device")
        leaves = [ourselves.new_leaf(turn, announced=False) for _ in kinds_of]
    except Misuse as error:  # another day
        turn.change(emulation=before)
        turn.drop("stock-full", error.code)
        return
    scheme = turn.provider.suite(turn.state.config.cipher_suite).scheme
    public_keys = [scheme.public_key(private) for _, private in leaves]
    ourselves.tell_keys(turn, public_keys)
    capabilities, extensions = kinds.leaf()
    offers = [
        Offer(
            cipher_suite=turn.state.config.cipher_suite,
            credential=credential,
            capabilities=capabilities,
            lifetime=ourselves.lifetime(turn),
            extensions=mark(()) if is_last else (),
            leaf_extensions=extensions,
            signature_private=private,
        )
        for (credential, private), (_, is_last) in zip(leaves, kinds_of, strict=True)
    ]
    try:
        batch = batches.make_batch(turn.emulation, turn.env, offers)
    except MlsError as error:  # too many wait for a Welcome, or the home is behind: another day
        if isinstance(error.consumed, Emulation):
            turn.change(emulation=error.consumed)
        turn.drop("stock-full", type(error).__name__)
        return
    turn.change(emulation=batch.emulation)
    devices.announce(turn, ourselves.with_keys(turn, batch.announcement, public_keys))
    packages = batch.released(announced=True)
    mine = turn.state.stock.mine
    infos = batch.announcement.upload.key_packages
    for info, not_after, package, (public, is_last) in zip(
        infos, batch.announcement.not_after, packages, kinds_of, strict=True
    ):
        share = Share(not_after=not_after, public=public, last=is_last, package=package.encode(), head=head)
        mine = mine.set(bytes(info.reference), share)
    turn.change(stock=replace(turn.state.stock, mine=mine))
    _offer(turn, [bytes(each.reference) for each in infos])


def _offer(turn: Turn, references: list[bytes]) -> None:
    """Have these given out."""
    shares = [turn.state.stock.mine[each] for each in references]
    if not shares:
        return
    turn.effects.append(
        OfferPackages(
            packages=tuple(decode_exactly(each.package, KeyPackage.decode) for each in shares),
            references=tuple(references),
            strangers=tuple(each.public for each in shares),
            last_resort=tuple(each.last for each in shares),
        )
    )


def offered(turn: Turn, got: inputs.Offered) -> None:
    """These are where they are given out, and are not offered again."""
    mine = turn.state.stock.mine
    for reference in got.references:
        share = mine.find(reference)
        if share is not None and share.package:
            mine = mine.set(reference, replace(share, package=b""))
    turn.change(stock=replace(turn.state.stock, mine=mine))


def given_out(turn: Turn, got: inputs.GivenOut) -> None:
    """One of ours was handed out."""
    gone(turn, got.reference)


def gone(turn: Turn, reference: bytes) -> None:
    """Somebody has it: it was handed out, or a Welcome to it came, whether or not we were told before."""
    share = turn.state.stock.mine.find(reference)
    if share is None or share.given:
        return
    if not share.last:  # that one is given out again, also after a restart
        mine = turn.state.stock.mine.set(reference, replace(share, given=True, package=b""))
        turn.change(stock=replace(turn.state.stock, mine=mine))
    left, public, _ = _left(turn)
    config = turn.state.config
    if left <= config.packages // 2 or public <= config.package_public // 2:
        turn.due(Duty.STOCK, b"", turn.now)


def taken_back(turn: Turn, got: inputs.TakenBack) -> None:
    """Nobody is given these any more."""
    going, mine = turn.state.stock.going, turn.state.stock.mine
    unused = []
    for reference in got.references:
        share = mine.find(reference)
        if share is not None and not share.given and not share.last:
            unused.append(KeyPackageRef(reference))
        going, mine = going.discard(reference), mine.discard(reference)
    turn.change(stock=replace(turn.state.stock, going=going, mine=mine))
    if unused:
        revoke(turn, unused)


def reconcile(turn: Turn) -> None:
    """Take back what a sibling withdrew, or what expired: it is in our share and not in the stock any more."""
    emulation, held = turn.emulation, turn.state.stock
    gone = [each for each in sorted(held.mine) if KeyPackageRef(each) not in emulation.stock and each not in held.going]
    quiet = [each for each in gone if held.mine[each].given]  # nobody has it to give out
    mine = held.mine.changed(quiet, {})
    turn.change(stock=replace(held, mine=mine))
    _take_back(turn, [each for each in gone if each in mine])
    if gone:
        turn.due(Duty.STOCK, b"", turn.now)


def _renew(turn: Turn) -> None:
    """Take back what shows another list than our newest."""
    edition, held = turn.state.book.edition, turn.state.stock
    if edition is not None:
        old = [each for each in sorted(held.mine) if held.mine[each].head != edition.head.digest]
        _take_back(turn, [each for each in old if not held.mine[each].given and each not in held.going])


def _take_back(turn: Turn, references: list[bytes]) -> None:
    if references:
        held = turn.state.stock
        going = held.going.update(dict.fromkeys(references, turn.now))
        turn.change(stock=replace(held, going=going))
        turn.effects.append(TakeBackPackages(references=tuple(references)))


def started(turn: Turn) -> None:
    """The node was loaded: see to the share, and take back and offer again what may not have been.

    What is to be taken back is not offered. An old disk offers as well: it announces again what it was about to.
    """
    if turn.state.emulation is None:
        return
    held, stocked = turn.state.stock, turn.emulation.stock
    going = sorted(held.going)
    if going:
        turn.effects.append(TakeBackPackages(references=tuple(going)))
    waiting = [each for each in sorted(held.mine) if held.mine[each].package and each not in held.going]
    _offer(turn, [each for each in waiting if KeyPackageRef(each) in stocked])
    turn.due(Duty.STOCK, b"", turn.now)


# ---------------------------------------------------------------- what is used up, expired, revoked


def used(turn: Turn, reference: bytes, group_id: GroupId, epoch: EpochId) -> None:
    """A Welcome to it was taken up."""
    held = turn.state.stock
    several = held.uses.find(reference) or ()
    use = Use(group_id=group_id, epoch=epoch)
    if use not in several:
        turn.change(stock=replace(held, uses=held.uses.set(reference, (*several, use)[-MOST_USES:])))
    share = held.mine.find(reference)
    if share is not None and share.last:
        turn.change(stock=replace(turn.state.stock, mine=turn.state.stock.mine.discard(reference)))
        _take_back(turn, [reference])
        turn.due(Duty.STOCK, b"", turn.now)


def spent(turn: Turn, reference: bytes) -> None:
    """A Welcome to it was taken up that leads to no branch, so it is needed no more."""
    gone(turn, reference)
    _withdraw(turn, [reference])
    if reference in turn.state.stock.mine:
        turn.due(Duty.STOCK, b"", turn.now)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """What was used for a group that is final now is needed no more."""
    if after.home or before.final == after.final or turn.state.emulation is None:
        return
    done = []
    for reference in sorted(turn.state.stock.uses):
        uses = turn.state.stock.uses[reference]
        mine = [each for each in uses if each.group_id == after.group_id]
        if not mine:
            continue
        there = before.graph if before.graph.has(after.final) else after.graph
        still = [each for each in mine if there.is_ancestor(after.final, each.epoch) and each.epoch != after.final]
        if still or not _member(turn, after):
            continue  # it may lose, or we wait to be added on the branch that won
        rest = tuple(each for each in uses if each.group_id != after.group_id)
        held = turn.state.stock
        if rest:
            turn.change(stock=replace(held, uses=held.uses.set(reference, rest)))
        else:
            done.append(reference)
    _withdraw(turn, done)


def _member(turn: Turn, strand: Strand) -> bool:
    own = turn.state.book.own
    return any(each.account == own for each in strand.graph.members(strand.final))


def _withdraw(turn: Turn, references: Iterable[bytes]) -> None:
    """Let go of the keys: no Welcome to these is taken any more."""
    gone = list(references)
    if not gone:
        return
    held = turn.state.stock
    turn.change(
        emulation=turn.emulation.without([KeyPackageRef(each) for each in gone]),
        stock=replace(held, uses=held.uses.changed([each for each in gone if each in held.uses], {})),
    )
    spent = [each for each in gone if each in held.mine and held.mine[each].given]
    turn.change(stock=replace(turn.state.stock, mine=turn.state.stock.mine.changed(spent, {})))


def _expire(turn: Turn) -> None:
    """All devices know when each expires, and none is told. A day is left for Welcomes that are on their way."""
    _withdraw(turn, [bytes(each) for each in turn.emulation.expired(turn.now - DAY)])
    mine = turn.state.stock.mine
    old = [each for each in mine if mine[each].not_after < turn.now // 1000]
    turn.change(stock=replace(turn.state.stock, mine=mine.changed(old, {})))


def revoke_all(turn: Turn) -> tuple[KeyPackageRef, ...]:
    """Nobody is to invite us by a KeyPackage that was made until now: they are withdrawn, here and at our siblings'.

    Those that a Welcome was taken up with stay until that is final. New ones are made by duty STOCK, or `replenish`.
    """
    return revoke(turn, turn.emulation.stock)


def revoke(turn: Turn, named: Iterable[KeyPackageRef]) -> tuple[KeyPackageRef, ...]:
    """The same for some of them."""
    from vcd.core import devices

    stock = turn.emulation.stock
    references = tuple(sorted(each for each in named if each in stock and not stock[each].used))
    for at in range(0, len(references), MAX_ENTRIES):
        devices.announce(turn, Withdrawn(references=references[at : at + MAX_ENTRIES]))
    _withdraw(turn, [bytes(each) for each in references])
    reconcile(turn)
    return references


# ---------------------------------------------------------------- what was told, and who cannot follow it


def to_be_told_again(turn: Turn, number: int, saying: Saying) -> bool:
    """Whether what a device told is to be told again, now that the home moved.

    A batch is not, if a device is here that had no part in the epoch that it comes from, or may have missed it as it
    came back from outside: it cannot follow that. Who was let in by us was handed it. Any other one may lack it, and
    could not take up a Welcome to these KeyPackages. So they are withdrawn, and others made.
    """
    from vcd.core import devices

    if saying.data[0] >= siblings.MARK:
        return True
    told = decode_announcement(saying.data, turn.emulation.settings.profile.form)
    if not isinstance(told, Uploaded):
        return True
    household = turn.state.household
    roster = household.rosters.find(told.upload.epoch_id)
    everybody = roster is not None and frozenset(devices.present(turn.home)) <= roster.names
    if everybody and not _came_back(turn.home, saying.epoch):
        return True
    if _let_in_by_us(turn.home, saying.epoch):
        devices.keep(turn, said=household.said.set(number, replace(saying, epoch=turn.home.head)))
    else:
        devices.keep(turn, said=household.said.discard(number))
        revoke(turn, [each.reference for each in told.upload.key_packages])
    return False


def _came_back(home: Strand, since: EpochId) -> bool:
    """Whether a device came back into the home from outside since."""
    graph = home.graph
    return graph.is_ancestor(since, home.head) and any(graph.steps[each].moved for each in graph.path(home.head, since))


def _let_in_by_us(home: Strand, since: EpochId) -> bool:
    """Whether everybody who came into the home since was added by this device, or is this device."""
    graph, mine = home.graph, ranks.own(home)
    if mine is None or not graph.is_ancestor(since, home.head):
        return False
    return all(
        graph.steps[each].author == mine.incarnation
        for each in graph.path(home.head, since)
        if graph.steps[each].adds or graph.steps[each].moved
    )


def briefed(turn: Turn, uses: PMap[bytes, tuple[Use, ...]]) -> None:
    """On a new device: what was used and is not final yet. It makes a share of its own."""
    turn.change(stock=replace(turn.state.stock, uses=uses))
    turn.due(Duty.STOCK, b"", turn.now)
