"""Tries TCP hole punching between two NATs and tells what happened: `python -m tests.netns.hole_punching`.

python -m tests.netns.hole_punching                 all pairs of NATs
python -m tests.netns.hole_punching random keeping  this pair
"""

from __future__ import annotations

import json
import sys

import trio

from tests.netns.scenes import two_nats
from tests.netns.topology import Nat, missing
from transport.base import Link

KINDS = {kind.name.lower(): kind for kind in Nat}
PATIENCE = 35.0


async def attempt(left: Nat, right: Nat) -> dict[str, object]:
    """Connect through the relay, wait for the upgrade; what both ends say."""
    async with two_nats(left, right, punch=True) as scene:
        await scene.left.tell(keep=scene.right.peer, addresses=[scene.relayed])
        await scene.left.until_link(scene.right.peer, Link.RELAYED.value, Link.CONNECTED.value)
        start = trio.current_time()
        direct = True
        try:
            await scene.left.until_link(scene.right.peer, Link.CONNECTED.value, within=PATIENCE)
        except AssertionError:
            direct = False
        seconds = trio.current_time() - start
        echo = await scene.left.echo(scene.right.peer, 1 << 20)
        counters = await scene.right.counters()
    return {
        "left": left.name.lower(),
        "right": right.name.lower(),
        "direct": direct,
        "seconds": round(seconds, 1),
        "echo_mib_seconds": round(echo, 2),
        "counters": {name: count for name, count in sorted(counters.items()) if name.startswith("relay.")},
    }


def main() -> None:
    if reason := missing():
        sys.exit(f"cannot be tried here: {reason}")
    names = sys.argv[1:] or list(KINDS)
    pairs = [tuple(names)] if len(sys.argv) == 3 else [(one, two) for one in names for two in names]
    for one, two in pairs:
        print(json.dumps(trio.run(attempt, KINDS[one], KINDS[two])), flush=True)


if __name__ == "__main__":
    main()
