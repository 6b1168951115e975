"""A mesh on sockets, in one call. The only room of `live` that loads libp2p, which takes most of a second.

    async with open_mesh(
        identity=key,
        store=store,
        listen=[Address("/ip4/127.0.0.1/tcp/0")],
        now_ms=wall_clock,
        random_bytes=os.urandom,
    ) as mesh:
        mesh.keep(peer, addresses)
        await mesh.join(topic)
        await mesh.publish(frame)

Nothing listens unless `listen` says where. Leaving the block closes everything, in bounded time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from transport.base import Address, FrameStore, Milliseconds, PeerId
from transport.host.extension import Extension
from transport.host.network import LibP2PNetwork, open_network
from transport.host.settings import DEFAULTS, HostSettings
from transport.live.chance import Chance
from transport.live.mesh import LiveMesh, MeshSettings
from transport.signing import SigningKey

_MESH = MeshSettings()


class SocketMesh(LiveMesh):
    """A `LiveMesh` that can be dialed."""

    _network: LibP2PNetwork

    def addresses(self) -> tuple[Address, ...]:
        """Where others reach us, from the machine's real interfaces; empty if we do not listen."""
        return self._network.addresses()

    @property
    def network(self) -> LibP2PNetwork:
        """What it stands on, for discovery and for tests."""
        return self._network


@asynccontextmanager
async def open_mesh(
    *,
    identity: SigningKey,
    store: FrameStore,
    listen: Sequence[Address] = (),
    now_ms: Callable[[], Milliseconds],
    random_bytes: Callable[[int], bytes],
    settings: MeshSettings = _MESH,
    host: HostSettings = DEFAULTS,
    allow: Callable[[PeerId], bool] | None = None,
    lock: Path | None = None,
    extensions: Sequence[Extension] = (),
) -> AsyncIterator[SocketMesh]:
    """`allow`: who may connect, by peer id, everybody if None. `lock`: a file only one process at a time holds.

    `AlreadyRunning` if the lock is taken. What the caller's store raises ends the mesh and comes out here.
    """
    async with open_network(
        identity=identity,
        listen=listen,
        settings=host,
        allow=allow,
        lock=lock,
        rng=Chance(random_bytes),
        extensions=extensions,
    ) as network:
        mesh = SocketMesh(network, store, now_ms=now_ms, random_bytes=random_bytes, settings=settings)
        async with mesh.running():
            yield mesh
