"""Bad weather on one cable, for kernels without netem: `python weather.py PORT OTHER LOSS DELAY_MS`.

It stands between two interfaces and passes what comes in at one out at the other; what comes in at PORT, where a node
is, later, and not all of it. So between two nodes with the same weather a packet goes through it once. It runs by its
path and needs nothing but Python. Packets keep the kernel's note of what is still to be done to them (checksums,
cutting large ones up), or the receiver would drop them.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import select
import socket
import sys
import time

PACKET, NOTES, EVERY = 263, 15, 0x0003  # SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL
LARGEST = 70_000
WAITING = 20_000
"""Frames under way at most: further ones are lost."""


def opened(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(PACKET, NOTES, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    made.bind((interface, EVERY))
    made.setblocking(False)
    return made


def main(port: str, other: str, loss: float, delay: float) -> None:
    ends = (opened(port), opened(other))
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    late: list[tuple[float, int, socket.socket, bytes]] = []
    number, chance = 0, random.Random(7)
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        for end in select.select(ends, (), (), wait)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, where = end.recvfrom(LARGEST)
                    if where[2] == socket.PACKET_OUTGOING:  # what we sent ourselves
                        continue
                    out = end is ends[0]
                    if (out and chance.random() < loss) or len(late) >= WAITING:
                        continue
                    number += 1
                    heapq.heappush(late, (time.monotonic() + (delay if out else 0), number, across[end], data))
        while late and late[0][0] <= time.monotonic():
            _, _, end, data = heapq.heappop(late)
            with contextlib.suppress(OSError):  # the other end is away, or its queue is full
                end.send(data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]) / 1000)
