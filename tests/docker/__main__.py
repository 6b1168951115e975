"""`python -m tests.docker --scenario NAME|short|all --report report.html`.

--scenario short      what is played for every change: some scenarios in namespaces, one in three containers
--scenario all        every scenario, in its long form, in both rings or in the one that `--ring` names
--scenario NAME       one of them; `--ring` says where, `--full` takes the long form
--prepare             make and keep what containers take, and play nothing
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.docker import engine, wires
from tests.docker.check import check
from tests.docker.containers import Containers
from tests.docker.namespaces import Namespaces
from tests.docker.report import page
from tests.docker.ring import Ring, Wrong
from tests.docker.scenarios import FULL, SCENARIOS, SHORT, Scale, play
from tests.docker.story import Story

RINGS: dict[str, type[Ring]] = {each.kind: each for each in (Namespaces, Containers)}
IN_CONTAINERS = ("three",)
"""Of the short ones."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be played, and where."""

    scenario: str
    ring: str
    scale: Scale


def short() -> list[Part]:
    names = [name for name, each in SCENARIOS.items() if each.short]
    return [
        *(Part(name, Namespaces.kind, SHORT) for name in names if name not in IN_CONTAINERS),
        *(Part(name, Containers.kind, SHORT) for name in IN_CONTAINERS),
    ]


def everything(rings: Iterable[str] = RINGS) -> list[Part]:
    return [Part(name, ring, FULL) for ring in rings for name in SCENARIOS]


def run(part: Part, keep: Path | None = None) -> Story:
    """One scenario in one ring, checked. What went wrong is in the story's outcome."""
    story = Story(part.scenario, part.ring)
    story.tell("step", f"{part.scenario}, in {part.ring}")
    try:
        with RINGS[part.ring](story) as ring:
            try:
                town = play(part.scenario, ring, part.scale)
                check(town, expected=SCENARIOS[part.scenario].expected)
            finally:
                ring.look_back()
                if keep is not None:
                    _keep(keep, ring)
    except Wrong as wrong:
        story.outcome = str(wrong)
    except Exception:  # noqa: BLE001 - the report tells of it, and the others are played
        story.outcome = traceback.format_exc()
    story.ended = story.now()
    story.tell("step", f"wrong: {story.outcome}" if story.outcome else f"fine, after {story.ended:.0f} s")
    return story


def _keep(folder: Path, ring: Ring) -> None:
    """What each node logged, and how it stood."""
    for node in ring.nodes.values():
        path = folder / f"{ring.story.scenario}-{ring.kind}-{node.name}.log"
        path.write_text(node.log, encoding="utf-8")
        stands = json.dumps(ring.story.stands.get(node.name), indent=1, default=lambda data: data.hex())
        path.with_suffix(".json").write_text(stands, encoding="utf-8")


def prepare() -> None:
    """Whatever takes long is in the cache afterwards, or `NoEngine` says why it cannot be."""
    with Containers(Story("prepare", Containers.kind)):
        sys.stdout.write(f"ready: {engine.CACHE}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.docker", description="Real daemons under faults.")
    parser.add_argument("--scenario", default="short", choices=["short", "all", *SCENARIOS])
    parser.add_argument("--ring", choices=RINGS, help="for one scenario, or all: where")
    parser.add_argument("--full", action="store_true", help="for one scenario: the long form, with all devices")
    parser.add_argument("--report", type=Path, help="a page with what happened")
    parser.add_argument("--logs", type=Path, help="a folder for the logs of all nodes")
    parser.add_argument("--prepare", action="store_true", help="make what containers take, and play nothing")
    given = parser.parse_args(arguments)
    if reason := wires.missing():
        sys.stderr.write(f"this machine cannot do it: {reason}\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    if given.prepare:
        prepare()
        return 0
    if given.logs is not None:
        given.logs.mkdir(parents=True, exist_ok=True)
    match given.scenario:
        case "short":
            parts = short()
        case "all":
            parts = everything([given.ring] if given.ring else RINGS)
        case name:
            parts = [Part(name, given.ring or Namespaces.kind, FULL if given.full else SHORT)]
    began = time.monotonic()
    stories: list[Story] = []
    for part in parts:
        stories.append(run(part, given.logs))
        if given.report is not None:  # after each, as all of them take hours
            given.report.write_text(page(stories), encoding="utf-8")
    wrong = [f"{story.scenario} in {story.ring}" for story in stories if story.outcome]
    sys.stdout.write(
        f"{len(stories) - len(wrong)} of {len(stories)} are as they should be, in {time.monotonic() - began:.0f} s"
        f"{'; not: ' + ', '.join(wrong) if wrong else ''}\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
