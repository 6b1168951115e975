"""Who was invited and cannot come, where whoever invited them has gone meanwhile.

To an invitation that nobody of an account can take up there comes a `Retry`, and whoever invited them takes them out
again. If the inviter has left by then, or was removed, it is no member who could: those who never come would stay, and
nothing could become final without their vote. So it passes the answer on, with the KeyPackage that the answer is about.
The answer is the account's own word, signed with its key, so nothing rests on who passes it on: it says that nobody is
behind the member that came in by this KeyPackage. Members who may remove others owe that removal then (`reissue`).

Who has acted there under a list that is as new as the answer's stays: another device of theirs took up the Welcome.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.codec import decode_exactly
from mls.errors import MlsError
from mls.key_package import KeyPackage
from mls.registries import LeafIndex
from vcd.core import acting, reissue, steps, waiting
from vcd.core.accounts.admission import version_under
from vcd.core.accounts.head import CheckedHead, check as check_head
from vcd.core.accounts.identity import suite_of, verify
from vcd.core.errors import NodeError, Refused
from vcd.core.payloads import Nobody, Retry
from vcd.core.strand import Membership
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core.names import FrameId, GroupId
    from vcd.core.ordering.graph import Member
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn
    from vcd.core.wanting import Intent

RETRY = "vcd retry"
"""What the account key signs it as."""


def checked(turn: Turn, said: Retry) -> CheckedHead:
    """Whose answer it is, if it is theirs and they mean it still."""
    head = check_head(said.head, turn.provider)
    suite = suite_of(turn.provider, said.head.authority.mandate.cipher_suite)
    if not verify(suite, said.head.signing_key, RETRY, said.head.digest + said.reference, said.signature):
        raise Refused("retry-signature")
    if turn.state.book.superseded(said.head):
        raise Refused("retry-superseded")
    return head


def pass_on(turn: Turn, intent: Intent, said: Retry) -> None:
    """Tell the members of what was answered to us, if we cannot act on it ourselves any more."""
    strand = turn.state.strands.find(intent.group_id)
    if strand is None or strand.membership is not Membership.OUT or intent.device != turn.state.me.device:
        return
    for epoch in intent.made:
        if strand.entered(epoch):
            acting.publish_wide(turn, strand, epoch, Nobody(epoch=epoch, package=intent.package, said=said))


def on_nobody(turn: Turn, group_id: GroupId, payload: Nobody, frame: FrameId) -> None:
    """Somebody who has gone passes an answer on."""
    strand, talk = turn.strand(group_id), turn.state.talks.find(group_id)
    if talk is None:
        raise Refused("nobody-home")
    if not strand.graph.has(payload.epoch) and not strand.entered(payload.epoch):
        waiting.hold(turn, frame, group_id, (Need.EPOCH, payload.epoch), payload)
        return
    waiting.done(turn, frame)
    head = checked(turn, payload.said)
    came = _who_came(turn, strand, payload)
    if came is None or came.incarnation in talk.owed:
        return
    here = strand.here
    node = None if here is None else here.group.public.tree.leaf(LeafIndex(came.leaf))
    if node is None or (came.acted and version_under(node.credential) >= head.revoked):
        turn.drop("nobody-acts")
        return
    turn.put_talk(replace(talk, owed=(*talk.owed, came.incarnation)[: reissue.MAX_OWED]))
    reissue.touched(turn, group_id)


def _who_came(turn: Turn, strand: Strand, payload: Nobody) -> Member | None:
    """The member of the head that came in by that KeyPackage in that epoch."""
    try:
        package = decode_exactly(payload.package, KeyPackage.decode)
        reference = package.reference(suite_of(turn.provider, package.cipher_suite))
    except (MlsError, NodeError) as error:
        raise Refused("nobody-package") from error
    if reference != payload.said.reference or not strand.graph.has(strand.head):
        raise Refused("nobody-package")
    account, key = payload.said.head.account, package.leaf_node.signature_key
    step = strand.graph.steps.find(payload.epoch)
    for each in strand.graph.members(strand.head):
        if each.account == account and each.incarnation == steps.incarnation(payload.epoch, each.leaf):
            keys = [each.key] if step is None else [one.key for one in step.adds if one.incarnation == each.incarnation]
            if key not in keys:  # another one of theirs, which may well be behind it
                raise Refused("nobody-package")
            return each
    return None
