"""Two lists at once: two delegates that did not hear each other each made the next version.

The home chooses one, with the branch that it was made on. The other one may have been shown meanwhile: conversations
choose for themselves, and contacts take no second list of one version. Where they saw the one and the home has the
other, the account could replace its leaf no more. So a delegate makes one list of both (`editions.join`), which may
follow either, and commits that in the home once that stands for good; then the conversations get it like any other.

Whoever changes the list starts from both anyhow (`linking.next_edition`). This room is for when nothing else is to be
changed, as both wanted the same. It is done by whoever signed the other list, as nobody else knows whom that was shown
to; and where a conversation shows it, by any other delegate a little later. Not, however, if that list shuts out a
device that is still here: then one of the two delegates is not to be trusted, and that is for the recovery phrase.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from mls.errors import MlsError
from vcd.core import acting, devices, leaves, linking, listing, ranks
from vcd.core.accounts import editions
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.head import contradiction
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused

if TYPE_CHECKING:
    from vcd.core.accounts.device_list import Edition
    from vcd.core.accounts.head import Head
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The home stands elsewhere, or a conversation does."""
    del before
    household, config = turn.state.household, turn.state.config
    if turn.state.home is None or household.gone or (household.delegate is None and household.term_key is None):
        return
    here = turn.home.here
    if here is None:
        return
    now = listing.of_group(here.group)
    if after.home and _made_beside(turn, now):
        turn.due(Duty.HOME, devices.JOIN, turn.now + config.retry)
    elif _shown_beside(leaves.conversations(turn) if after.home else [after], now):
        turn.due(Duty.HOME, devices.JOIN, turn.now + config.retry + ranks.device_place(turn) * config.turn_taking)


def push(turn: Turn) -> None:
    """Duty HOME: commit a list that follows both."""
    here = turn.home.here
    if here is None:
        return
    now = listing.of_group(here.group)
    shown = _shown_beside(leaves.conversations(turn), now)
    if not shown and not _made_beside(turn, now):
        return
    turn.later(Duty.HOME, devices.JOIN, turn.now + turn.state.config.retry)
    if not devices.may_speak(turn) or turn.home.head != turn.home.final:
        return
    joined = _joined(turn, now, {head.digest for head in shown})
    if joined is None or any(joined.devices.find(each) is None for each in devices.present(turn.home)):
        return  # a removal is under way, which brings the list
    try:
        acting.commit(turn, turn.home, proposals=[listing.update(joined)], force_path=True)
    except (MlsError, Misuse, Refused) as error:
        turn.drop("join-later", str(error))


def _made_beside(turn: Turn, now: Edition) -> bool:
    """Whether this device signed a list that the home's does not follow and is no part of."""
    made = turn.state.household.made
    return made is not None and _innocent(turn, made) and _beside(made.head, now)


def _shown_beside(conversations: Iterable[Strand], now: Edition) -> list[Head]:
    """Heads that our leaves show and that the home's may not follow."""
    found = []
    for strand in conversations:
        kept = leaves.live(strand)
        leaf = None if kept is None else kept.group.public.tree.leaf(kept.group.own_leaf)
        head = None if leaf is None else head_of(leaf.credential)
        if head is not None and _beside(head, now):
            found.append(head)
    return found


def _beside(head: Head, now: Edition) -> bool:
    """Of one term. Of two that the root began at once none can be joined to the other: it has to begin a third."""
    return head.authority.digest == now.head.authority.digest and contradiction(head, now.head) is not None


def _innocent(turn: Turn, other: Edition) -> bool:
    """Whether it shuts out nobody who is here."""
    return all(other.devices.revoked(each) is None for each in devices.present(turn.home))


def _joined(turn: Turn, now: Edition, shown: Collection[bytes]) -> Edition | None:
    """A list that follows the home's and whatever was shown beside it, as far as that is known here."""
    known = [listing.of_group(kept.group) for kept in turn.home.kept.values()]
    edition = linking.next_edition(turn)
    others = {each.head.digest: each for each in known if each.head.digest in shown and _innocent(turn, each)}
    for _, other in sorted(others.items()):
        key = linking.signer(turn, edition)
        if key is not None and _beside(other.head, edition):
            linking.sign(turn, editions.join(turn.provider, edition, other, key))
            edition = turn.state.household.made or edition
    return edition if edition.head.digest != now.head.digest else None
