"""Who chooses for our account where the device that would is not in.

In a group with a lead one device of an account chooses, or votes for who does (`lead`). It may fall out of the group
while its siblings stay in: it was cut off too long to follow what was decided elsewhere. Then it comes back from
outside, by a commit that the lead has to decide on. If our account is the lead, that is for the same device, which is
not in the epoch where it would have to say so.

So whoever comes back says that it chooses nothing on that epoch (`siblings.Passed`), before it sends the commit, and
keeps to it. The next one of the account does, in the order of the home's last final tree; if that one has passed too,
the one after it. No two choose on one epoch: each chooses only when all before it have said that they never will there,
and who may have chosen there does not pass. A device that was set back may not know that it has. Then the group hears
two things of one lead, and takes the lower name, as always.

A deputy decides, and does nothing else. Who votes for another lead has to be who votes for what is final (`voting`): of
two devices each could do one of these, where they do not hear each other, and both would count for one account.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vcd.core.errors import Refused
from vcd.core.names import DeviceId, EpochId
from vcd.core.policy import Mode
from vcd.core.siblings import Passed

if TYPE_CHECKING:
    from vcd.core.siblings import Told
    from vcd.core.state import State
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_PASSED = 8
"""Such words of a device that are kept of a conversation. Who comes back is soon at an epoch that it is in."""


def chooser(state: State, strand: Strand) -> DeviceId | None:
    """The device of our account that chooses where the conversation stands."""
    home = None if state.home is None else state.strands.find(state.home)
    talk = state.talks.find(strand.group_id)
    if home is None or talk is None:
        return None
    passed = {device for epoch, device in talk.lead.passed if epoch == strand.head}
    several = (DeviceId(bytes(each.account)) for each in home.graph.members(home.final))
    return next((each for each in several if each not in passed), None)


def pass_on(turn: Turn, strand: Strand, epoch: EpochId) -> None:
    """This device comes back from outside, on an epoch that it is not in."""
    from vcd.core import devices, voting

    if strand.mode is not Mode.LEAD or epoch in strand.kept or strand.group_id not in turn.state.talks:
        return
    me, reign = voting.own(turn.state, strand), turn.talk(strand.group_id).lead
    if any((each.author, each.parent) == (me, epoch) for each in (*(reign.decisions.find(epoch) or ()), *reign.past)):
        return  # this device has chosen there, or heard that another one of ours did
    if _noted(turn, strand, epoch, turn.state.me.device):
        devices.tell(turn, Passed(group_id=strand.group_id, epoch=epoch))


def on_passed(turn: Turn, told: Told, record: Passed) -> None:
    """Another device of ours is not in, and leaves it to the next one."""
    from vcd.core import lead

    strand = turn.state.strands.find(record.group_id)
    if strand is None or strand.mode is not Mode.LEAD or record.group_id not in turn.state.talks:
        raise Refused("passed-group")
    if _noted(turn, strand, record.epoch, told.device):
        lead.touched(turn, record.group_id)


def _noted(turn: Turn, strand: Strand, epoch: EpochId, device: DeviceId) -> bool:
    """Whether that is new. The oldest word of that device gives way, and none of another one."""
    talk = turn.talk(strand.group_id)
    passed, word = talk.lead.passed, (epoch, device)
    if word in passed:
        return False
    stay = [each for each in passed if each[1] == device][1 - MAX_PASSED :]
    after = (*(each for each in passed if each[1] != device or each in stay), word)
    turn.put_talk(replace(talk, lead=replace(talk.lead, passed=after)))
    return True
