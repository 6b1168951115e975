"""Which frames of a gossip message are new and good, and what the message deserves.

A message is forwarded whole or not at all, so it gets one verdict:

- something in it is malformed or forged: REJECT, nothing of it is taken, and the neighbor is charged. No honest
  neighbor passes such a message on, because it looks at all of it first.
- something is not for us (another topic, expired, too far in the future): what is good is taken, the message is
  not forwarded, and the neighbor is charged a little, once. Were it forwarded, others would charge us.
- nothing in it is new: IGNORE. A few of these are normal, when sync was faster; more are a replay, and charged.
- otherwise ACCEPT.

Signatures cost most, so what is known already is not checked again, and the loop lets others run now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import Frame, Milliseconds, Reason, Refused, TopicId
from transport.conduct import Offence
from transport.frames import Head, check, check_life, join_payload, parse, split
from transport.gossip import batch
from transport.gossip.intake import Intake
from transport.gossip.router import Verdict

_AT_A_TIME: Final = 16  # signatures checked before others may run: about a millisecond

_SERIOUS: Final = {
    Reason.MALFORMED: Offence.MALFORMED,
    Reason.SIZE: Offence.OVERSIZE,
    Reason.VERSION: Offence.VERSION,
    Reason.FORGED: Offence.FORGED,
}
_SLIGHT: Final = {Reason.EXPIRED: Offence.EXPIRED, Reason.TOO_LONG: Offence.EXPIRED, Reason.STRANGER: Offence.STRANGER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    verdict: Verdict
    frames: tuple[Frame, ...] = ()
    heads: tuple[Head, ...] = ()
    offence: Offence | None = None
    known: int = 0


async def examine(topic: TopicId, data: bytes, intake: Intake, now_ms: Callable[[], Milliseconds]) -> Findings:
    """Look at a message's data. Raises what the intake raises, and nothing else."""
    if not intake.keeps(topic):
        return Findings(verdict=Verdict.IGNORE)
    frames: list[Frame] = []
    heads: list[Head] = []
    slight: Offence | None = None
    known = checked = 0
    try:
        for item in batch.decode(data):
            head, payload = split(item.content) if item.tag is batch.Tag.FRAME else (parse(item.content), None)
            try:
                _check_place(head, topic, now_ms())
            except Refused as refused:
                slight = _SLIGHT[refused.reason]
                continue
            if intake.known(topic, head.id):
                known += 1
                continue
            check(head)
            if payload is None:
                heads.append(head)
            else:
                frames.append(join_payload(head, payload))
            checked += 1
            if checked % _AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
    except Refused as refused:
        return Findings(verdict=Verdict.REJECT, offence=_SERIOUS[refused.reason])
    if slight is not None:
        return Findings(verdict=Verdict.IGNORE, frames=tuple(frames), heads=tuple(heads), offence=slight, known=known)
    if not frames and not heads:
        return Findings(verdict=Verdict.IGNORE, known=known)
    return Findings(verdict=Verdict.ACCEPT, frames=tuple(frames), heads=tuple(heads), known=known)


def _check_place(head: Head, topic: TopicId, now: Milliseconds) -> None:
    if head.topic != topic:
        raise Refused(Reason.STRANGER)
    check_life(head.expires, now)
