"""Which frames of a gossip message are new and good, and what the message deserves.

A message is forwarded whole or not at all, so it gets one verdict:

- something in it is malformed or forged: REJECT, nothing of it is taken, and the neighbor is charged. No honest
  neighbor passes such a message on, because it looks at all of it first.
- something is not for us (another topic, expired, too far in the future): what is good is taken, the message is
  not forwarded, and the neighbor is charged a little, once. Were it forwarded, others would charge us.
- something is near one of the ends of a frame's life: the same, without a charge. Clocks differ: what expires soon is
  taken, but not passed on to others for whom it is over; what just expired here may be alive where it came from.
- nothing in it is new: IGNORE. A few of these are normal, when sync was faster; more are a replay, and charged.
- otherwise ACCEPT.

What is new and good in a message that is not forwarded is `Findings.rest`, to be passed on in a message of ours.
Otherwise one bad item would keep good ones, put beside it by whoever was first with them, from all behind us.

Signatures cost most, so that of a head which is known or wanted is not checked again: its id is the hash of the same
bytes. A payload is always compared, because others will. The loop lets others run now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import MAX_LIFE, Frame, FrameId, Milliseconds, Reason, Refused, TopicId
from transport.conduct import Offence
from transport.frames import Head, check, check_life, join_payload, parse, split
from transport.gossip import batch
from transport.gossip.intake import Intake
from transport.gossip.router import Verdict

_AT_A_TIME: Final = 16  # signatures checked before others may run: about a millisecond
_MARGIN: Final = 10_000  # milliseconds from either end of a frame's life in which it is not passed on
_GRACE: Final = 5 * 60_000  # milliseconds by which clocks of honest peers may differ

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
    rest: tuple[batch.Item, ...] = ()
    offence: Offence | None = None
    known: int = 0  # items that are not news: kept here, or wanted, or just over
    news: int = 0


async def examine(topic: TopicId, data: bytes, intake: Intake, now_ms: Callable[[], Milliseconds]) -> Findings:
    """Look at a message's data. Raises what the intake raises, and nothing else."""
    if not intake.keeps(topic):
        return Findings(verdict=Verdict.IGNORE)
    frames: list[Frame] = []
    heads: list[Head] = []
    rest: list[batch.Item] = []
    whole = True
    offence: Offence | None = None
    known = news = 0
    met: set[FrameId] = set()
    try:
        for item in batch.decode(data):
            head, payload = split(item.content) if item.tag is batch.Tag.FRAME else (parse(item.content), None)
            now = now_ms()
            try:
                _check_place(head, topic, now)
            except Refused as refused:
                whole = False
                if _just_outside(refused.reason, head, now):
                    known += 1
                else:
                    offence = _SLIGHT[refused.reason]
                continue
            if head.id in met or intake.known(topic, head.id):
                known += 1
                if payload is not None:
                    join_payload(head, payload)
                continue
            if payload is None and intake.wants(topic, head.id):
                known += 1
                heads.append(head)
                continue
            check(head)
            met.add(head.id)
            if payload is None:
                heads.append(head)
            else:
                frames.append(join_payload(head, payload))
            if _MARGIN < head.expires - now < MAX_LIFE - _MARGIN:
                rest.append(item)
            else:
                whole = False
            news += 1
            if news % _AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
    except Refused as refused:
        return Findings(verdict=Verdict.REJECT, offence=_SERIOUS[refused.reason])
    forwarded = whole and news > 0
    return Findings(
        verdict=Verdict.ACCEPT if forwarded else Verdict.IGNORE,
        frames=tuple(frames),
        heads=tuple(heads),
        rest=() if forwarded else tuple(rest),
        offence=offence,
        known=known,
        news=news,
    )


def _check_place(head: Head, topic: TopicId, now: Milliseconds) -> None:
    if head.topic != topic:
        raise Refused(Reason.STRANGER)
    check_life(head.expires, now)


def _just_outside(reason: Reason, head: Head, now: Milliseconds) -> bool:
    """Whether an honest peer's clock may say that the frame is alive."""
    if reason is Reason.EXPIRED:
        return head.expires > now - _GRACE
    return reason is Reason.TOO_LONG and head.expires < now + MAX_LIFE + _GRACE
