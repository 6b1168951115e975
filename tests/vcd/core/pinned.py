"""A village as it lay on disks, kept in a file: what a later version of the program has to be able to read.

    python -m tests.vcd.core.pinned tests/vcd/core/data/stored-1.json.gz

writes one, with the program that is there. It is to be run by the last commit that stores in some version of the
format (`vcd.core.stored.VERSION`), and its file is never made anew: a newer program would write something else.

In it are an account of two devices, laptop and phone, and their friend Ben, who talk in three conversations, one of
each kind; Cleo is invited and cannot be reached. Ben is cut off then, and both sides talk on: keys are changed on two
branches, and messages are on their way, said and not confirmed. All keys are of a simulated world (`tests.sim.hashes`)
and protect nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from mls.registries import GroupId
from tests.vcd.core import homes
from tests.vcd.core.people import SMALL, befriend, invite, open_talk
from tests.vcd.core.talking import refresh, say
from tests.vcd.core.village import Device, Frame, Village
from vcd.core import inputs, stored
from vcd.core.names import FrameId, TopicId
from vcd.core.policy import Mode
from vcd.core.stored import Rows

SEED = 1
TEA, CAKE, SOUP = GroupId(b"tea"), GroupId(b"cake"), GroupId(b"soup")
APP = GroupId(b"app")
MODES = {TEA: Mode.DEMLS, CAKE: Mode.LEAD, SOUP: Mode.DIMLS}
NAMES = ("laptop", "phone", "ben")
SIDES = (["laptop", "phone"], ["ben"])


def scene() -> Village:
    village = Village(SEED, config=SMALL)
    for name in ("laptop", "ben", "cleo"):
        village.account(name)
    befriend(village, "laptop", "ben", "cleo")
    village.wait(minutes=1)
    homes.link(village, "laptop", "phone")
    for group, mode in MODES.items():
        open_talk(village, "laptop", "ben", group=group, mode=mode)
        village.wait(minutes=5)
        for name in NAMES:
            say(village, name, f"{name} in {group.decode()}", group)
            village.wait(minutes=1)
    village.do("laptop", inputs.RawCreate(group=APP))
    village.packages.clear()
    invite(village, "laptop", "cleo")
    village.part(*SIDES)
    village.wait(minutes=10)
    for name in ("laptop", "ben"):
        refresh(village, name, TEA)
        for group in MODES:
            say(village, name, f"{name} apart in {group.decode()}", group)
    say(village, "phone", "phone apart in tea", TEA)
    village.wait(seconds=5)
    return village


def write(village: Village, path: Path) -> None:
    rows = {name: stored.rows(village.state(name)) for name in NAMES}
    heard = {frame.id: [name for name in NAMES if frame.id in village.devices[name].has] for frame in village.log}
    data = {
        "now": village.now,
        "rows": {
            name: [[table, key.hex(), value.hex()] for (table, key), value in sorted(rows[name].items())]
            for name in NAMES
        },
        "frames": [
            [frame.id.hex(), frame.topic.hex(), frame.payload.hex(), frame.expires, heard[frame.id]]
            for frame in village.log
            if frame.expires > village.now and len(heard[frame.id]) < len(NAMES)
        ],
    }
    path.write_bytes(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), mtime=0))


@dataclass(frozen=True)
class Pinned:
    """What such a file has."""

    now: int
    rows: dict[str, Rows]
    """By device."""
    frames: list[tuple[Frame, list[str]]]
    """Those that somebody has not heard yet, and who has."""


def read(path: Path) -> Pinned:
    data = json.loads(gzip.decompress(path.read_bytes()))
    return Pinned(
        now=data["now"],
        rows={
            name: {(table, bytes.fromhex(key)): bytes.fromhex(value) for table, key, value in rows}
            for name, rows in data["rows"].items()
        },
        frames=[
            (Frame(FrameId(bytes.fromhex(name)), TopicId(bytes.fromhex(topic)), bytes.fromhex(what), until, ""), having)
            for name, topic, what, until, having in data["frames"]
        ],
    )


def revived(pinned: Pinned) -> Village:
    """The same village, still cut in two. Its devices' random bytes are others than those that they had before."""
    village = Village(SEED, config=SMALL)
    village.now = pinned.now
    village.log = [frame for frame, _ in pinned.frames]
    for name, rows in pinned.rows.items():
        provider = village.world(f"{name}, later")
        village.devices[name] = Device(name, provider, stored.load(rows, provider))
        village.devices[name].has = {frame.id for frame, having in pinned.frames if name in having}
    village.part(*SIDES)
    for name in pinned.rows:
        village.restart(name)
    return village


if __name__ == "__main__":
    write(scene(), Path(sys.argv[1]))
