"""Who plays whom: assignments of peers to a scenario's roles.

An assignment is a tuple, one peer's index per role, in the order of the scenario's actors.
"""

from __future__ import annotations

from itertools import islice, permutations, product
from math import gcd


def every(roles: int, peers: int, limit: int = 0) -> list[tuple[int, ...]]:
    """All assignments, as the official runner has them; with a limit, at most so many, spread over the list.

    The spread walks the whole list in steps of a size coprime to its length, near its golden section, so that
    no role keeps its peer for long and the same call always picks the same ones.
    """
    whole = list(product(range(peers), repeat=roles))
    if not limit or len(whole) <= limit:
        return whole
    stride = round(len(whole) * 0.618)
    while gcd(stride, len(whole)) != 1:
        stride += 1
    return [whole[number * stride % len(whole)] for number in range(limit)]


def orders(peers: int) -> list[tuple[int, ...]]:
    """The orders in which peers take turns at the roles; at most 24 of them.

    Rotations of one order come together, so any `peers` consecutive ones put every peer in every place once.
    """
    found: list[tuple[int, ...]] = []
    for rest in islice(permutations(range(1, peers)), 24):
        cycle = (0, *rest)
        found += [cycle[turn:] + cycle[:turn] for turn in range(peers)]
    return found[:24]


def mixed(roles: int, peers: int, turn: int) -> tuple[int, ...]:
    """One assignment for the scenario at place `turn` of a list.

    Every peer appears if there are roles enough. As the list goes on each peer comes to every role, and each
    ordered pair of peers to each pair of neighboring roles: who commits and who joins are both turned.
    """
    cycle = orders(peers)
    order = cycle[turn % len(cycle)]
    return tuple(order[role % peers] for role in range(roles))


def handshakes_encrypted(peers: int, turn: int) -> bool:
    """Whether that scenario's handshakes are PrivateMessages: every other time.

    Where the number of orders is even, each round begins with the other framing, or an order would always
    meet the same one.
    """
    cycle = len(orders(peers))
    return bool((turn + (turn // cycle if cycle % 2 == 0 else 0)) % 2)
