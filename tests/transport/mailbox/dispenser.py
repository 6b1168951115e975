"""A mailbox in a process of its own, to be killed: hands out key packages and stores frames as fast as it can.

`python -m tests.transport.mailbox.dispenser FILE` writes a line before each question and after each answer:

    ask REQUEST          took REQUEST PACKAGE          kept FRAME
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import trio

from tests.transport.mailbox.rig import BOB, DAY, TENANT, TOPIC, Rig, running
from transport.base import Milliseconds
from transport.mailbox.bodies import Take
from transport.mailbox.wire import Failure, Request, RequestId, decode_answer, encode_request

TASKS = 4


async def hand_out(rig: Rig, credential: bytes) -> None:
    while True:
        request_id = RequestId(os.urandom(16))
        print("ask", request_id.hex(), flush=True)
        package = await take(rig, request_id, credential)
        if package is None:
            return
        print("took", request_id.hex(), hashlib.sha256(package).hexdigest(), flush=True)


async def take(rig: Rig, request_id: RequestId, credential: bytes) -> bytes | None:
    """A package; None when there are no more."""
    request = Request(
        id=request_id, body=Take(tenant=TENANT.public, grant=credential), sent=Milliseconds(rig.clock.now)
    )
    answer = decode_answer(await rig.mailbox.handle(BOB, encode_request(request, BOB, rig.mesh.me)), request_id)
    assert answer.failure in (Failure.NONE, Failure.EMPTY)
    return None if answer.failure else answer.body[1:]


async def store_frames(rig: Rig) -> None:
    while True:
        frames = [rig.frame(os.urandom(200)) for _ in range(5)]
        for frame in await rig.store.add(frames):
            print("kept", frame.hex(), flush=True)


async def main(path: Path) -> None:
    async with running(path) as rig, trio.open_nursery() as nursery:
        await rig.tenant.keep(TOPIC, rig.token(life=DAY))
        for _ in range(TASKS):
            nursery.start_soon(hand_out, rig, rig.grant(count=1 << 30))
        nursery.start_soon(store_frames, rig)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
