"""A mailbox that is killed at any instant hands nothing out twice and loses nothing it said it has."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.transport.mailbox.dispenser import TASKS, take
from tests.transport.mailbox.rig import TOPIC, running
from transport.base import FrameId
from transport.mailbox.wire import RequestId

ROOT = Path(__file__).resolve().parents[3]


def one_life(path: Path, seconds: float, *kinds: str) -> list[list[str]]:
    """What it wrote before it was killed, this long after its first words of these kinds, or its first of any.

    The last line may be cut off.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.transport.mailbox.dispenser", str(path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        first = child.stdout.readline()
        while not all(kind.encode() in first for kind in kinds):
            more = child.stdout.readline()
            assert more, "it ended by itself"
            first += more
        time.sleep(seconds)
    finally:
        child.kill()
        rest = child.stdout.read()
        child.stdout.close()
        child.wait()
    lines = (first + rest).decode().split("\n")[:-1]
    return [line.split() for line in lines]


async def survive(path: Path, lives: int, seed: int) -> None:
    rng = random.Random(seed)
    async with running(path) as rig:
        for batch in range(2 * lives):
            await rig.tenant.deposit([rig.package(f"{batch}:{n}") for n in range(200)])
        before = (await rig.tenant.status()).for_contacts
    asked: set[str] = set()
    took: dict[str, str] = {}  # package -> request
    kept: set[str] = set()
    for life in range(lives):
        for kind, *words in one_life(path, rng.uniform(0, 0.1), *(() if life else ("took", "kept"))):
            if kind == "ask":
                asked.add(words[0])
            elif kind == "took":
                assert words[1] not in took, "handed out twice"
                took[words[1]] = words[0]
            else:
                kept.add(words[0])
    assert took
    assert kept
    async with running(path) as rig:
        status = await rig.tenant.status()
        burned = before - status.for_contacts - len(took)
        assert 0 <= burned <= lives * TASKS
        for frame in kept:
            assert await rig.store.fetch(TOPIC, [FrameId(bytes.fromhex(frame))]), "a frame that was stored is gone"
        unanswered = asked - set(took.values())
        for request in sorted(unanswered):  # asked again: what was burned for it, or one that nobody has
            package = await take(rig, RequestId(bytes.fromhex(request)), rig.grant(count=1))
            if package is not None:
                name = hashlib.sha256(package).hexdigest()
                assert name not in took, "handed out twice"
                took[name] = request
        after = await rig.tenant.status()
        assert before - after.for_contacts == len(took), "every package that left the stock was given to one question"


@pytest.mark.slow
async def test_a_killed_mailbox_hands_nothing_out_twice(tmp_path: Path) -> None:
    await survive(tmp_path / "box", lives=5, seed=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
async def test_a_mailbox_that_is_killed_often(tmp_path: Path, seed: int) -> None:
    await survive(tmp_path / "box", lives=25, seed=seed)
