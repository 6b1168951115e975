"""Two devices that were told the same number find each other in the local network, for as long as they look.

    nearby = Nearby(interfaces, random_bytes=...)
    open_mesh(..., extensions=[nearby.extension])
    nearby.meet(7)          be seen, and look, under the number 7
    nearby.found()          who else is there under it
    nearby.meet(None)       no more

It is multicast DNS (`transport.discovery.mdns`) under a service name that follows from the number. The number is no
secret and hides nothing: whoever listens sees that two devices pair. What keeps others out is the rest of the code.

Interfaces are named by whoever puts the daemon together; with none, nothing is sent, and words find nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final, cast

import trio

from transport.base import Address, PeerId
from transport.discovery.addresses import Policy
from transport.discovery.mdns import MdnsDiscovery
from transport.host.extension import Site

MOST: Final = 8
"""Peers that are remembered under one number. More is somebody playing."""


def service(plate: int) -> str:
    """What `MdnsDiscovery` takes for a name."""
    return sha256(b"vcd pair plate %d" % plate).digest()[:8].hex()


class Nearby:
    """See above."""

    def __init__(
        self, interfaces: Sequence[str], *, random_bytes: Callable[[int], bytes], loopback: bool = False
    ) -> None:
        self._interfaces = tuple(interfaces)
        self._random_bytes = random_bytes
        self._policy = Policy(loopback=loopback)
        self._plate: int | None = None
        self._changed = trio.Event()
        self._found: dict[str, tuple[str, ...]] = {}

    @property
    def there(self) -> bool:
        return bool(self._interfaces)

    def meet(self, plate: int | None) -> None:
        if plate == self._plate:
            return
        self._plate = plate
        self._found = {}
        self._changed.set()
        self._changed = trio.Event()

    def found(self) -> Mapping[str, Sequence[str]]:
        return dict(self._found)

    @asynccontextmanager
    async def extension(self, site: Site) -> AsyncIterator[None]:
        site.nursery.start_soon(self._run, site)
        yield

    async def _run(self, site: Site) -> None:
        while True:
            changed = self._changed
            if self._plate is None or not self._interfaces:
                await changed.wait()
                continue
            async with trio.open_nursery() as nursery:
                discovery = MdnsDiscovery(
                    service(self._plate),
                    self._interfaces,
                    random_bytes=self._random_bytes,
                    found=self._take,
                    policy=self._policy,
                )
                async with discovery.extension(cast("Site", _Ours(site, nursery))):
                    await changed.wait()
                nursery.cancel_scope.cancel()

    def _take(self, site: Site, peer: PeerId, addresses: Sequence[Address]) -> None:
        del site
        if peer in self._found or len(self._found) < MOST:
            self._found[peer] = tuple(addresses)


class _Ours:
    """A site whose tasks end when we say so."""

    def __init__(self, site: Site, nursery: trio.Nursery) -> None:
        self._site = site
        self.nursery = nursery

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)
