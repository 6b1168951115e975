"""The mesh as the settings have it: sockets, who may connect, and the ways by which others are found.

    async with opened(settings, relay, seed=..., store=frames, secret=..., now_ms=..., random_bytes=...) as mesh

Besides what is listened on, there are extensions of the host, each only if it is set: multicast DNS under a name that
follows from a secret of the account, relays with hole punching, and, for others, a point that keeps addresses, and a
relay. `sockets` is the part of it that a mailbox stands on as well.
"""

from __future__ import annotations

import hmac
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from transport.base import Address, AskFailed, Frame, FrameStore, Milliseconds, PeerId, TransportError
from transport.discovery.addresses import Policy
from transport.discovery.mdns import MdnsDiscovery
from transport.discovery.points import RecordKeeper
from transport.host.extension import Extension
from transport.host.settings import HostSettings
from transport.live.chance import Chance
from transport.live.open import SocketMesh, open_mesh
from transport.relay.client import RelayClient
from transport.relay.punching import HolePunching
from transport.relay.server import RelayLimits, RelayServer
from transport.signing import SigningKey
from vcd.config import Network, Relay
from vcd.core.stored import Row
from vcd.daemon.mesh import Gate, Known, Mesh
from vcd.daemon.nearby import Nearby
from vcd.daemon.patient import PatientFrames
from vcd.store.frames import Frames

__all__ = [
    "AskFailed",
    "Frame",
    "Milliseconds",
    "NotListening",
    "denied",
    "gate_of",
    "mailboxes",
    "named",
    "nearby",
    "on_ports",
    "opened",
    "policy_of",
    "ports",
    "sockets",
    "split",
    "static",
]

SEED = 32
"""Bytes of the key by which a device is known in the mesh."""


class NotListening(Exception):
    """The mesh cannot be opened as the settings have it; a port is somebody else's, say. The text says why."""


def split(addresses: Iterable[str]) -> dict[PeerId, tuple[Address, ...]]:
    """Addresses of the settings, each of which ends with a peer's id, by peer."""
    found: defaultdict[PeerId, list[Address]] = defaultdict(list)
    for each in addresses:
        address, _, peer = each.rpartition("/p2p/")
        found[PeerId(peer)].append(Address(address))
    return {peer: tuple(several) for peer, several in found.items()}


def named(settings: Network) -> frozenset[PeerId]:
    """Whoever the settings name."""
    several = (*settings.peers, *settings.mailboxes, *settings.points, *settings.relays)
    return frozenset({*split(several), *(PeerId(each) for each in settings.allow_peers)})


def on_ports(listen: Sequence[str], last: Mapping[str, bytes]) -> tuple[str, ...]:
    """Where any free port will do, the one of the last run if it is free: others may still look for us there."""
    found = []
    for each in listen:
        family = each.split("/")[1]
        port = last.get(family, b"").decode()
        if each.endswith("/tcp/0") and port and _free(each.split("/")[2], family, int(port)):
            each = f"{each[:-1]}{port}"
        found.append(each)
    return tuple(found)


def _free(host: str, family: str, port: int) -> bool:
    kind = socket.AF_INET6 if family == "ip6" else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return False
    return True


def ports(addresses: Iterable[Address]) -> dict[Row, bytes | None]:
    """What to remember of where we listen."""
    found: dict[Row, bytes | None] = {}
    for each in addresses:
        parts = each.split("/")
        if len(parts) >= 5 and parts[1] in {"ip4", "ip6"} and parts[3] == "tcp" and "p2p-circuit" not in parts:
            found["daemon.port", parts[1].encode()] = parts[4].encode()
    return found


def denied(settings: Network) -> frozenset[PeerId]:
    return frozenset(PeerId(each) for each in settings.deny_peers)


def fingerprint(secret: bytes) -> str:
    """Under which an account's devices look for each other in a local network."""
    return hmac.digest(secret, b"vcd local network", "sha256")[:8].hex()


def interfaces(settings: Network) -> tuple[str, ...]:
    """Those that are named, or all but loopback."""
    import ifaddr

    if settings.mdns_interfaces:
        return settings.mdns_interfaces
    return tuple(sorted(each.name for each in ifaddr.get_adapters() if each.name != "lo"))


def nearby(settings: Network, random_bytes: Callable[[int], bytes]) -> Nearby:
    """Where devices that pair find each other; with multicast DNS off, nowhere."""
    several = interfaces(settings) if settings.mdns else ()
    return Nearby(several, random_bytes=random_bytes, loopback=settings.loopback_addresses)


@asynccontextmanager
async def sockets(
    settings: Network,
    relay: Relay,
    *,
    key: SigningKey,
    store: FrameStore,
    gate: Gate,
    extensions: Sequence[Extension] = (),
    now_ms: Callable[[], Milliseconds],
    random_bytes: Callable[[int], bytes],
) -> AsyncIterator[SocketMesh]:
    """A mesh that listens where the settings say, comes through their relays, and is to others what they say."""
    chance = Chance(random_bytes)
    relays = split(settings.relays)
    several = list(extensions)
    if relays:
        punching = HolePunching(tuple(relays), policy_of(settings), jitter=chance) if settings.hole_punching else None
        client = RelayClient(
            relays,
            now_ms=now_ms,
            jitter=chance,
            relayed=None if punching is None else punching.punch,
        )
        several.append(client.extension)
        if punching is not None:
            several.append(punching.extension)
    host = HostSettings(
        ping_every=settings.ping_every / 1000,
        most_connections=settings.max_connections,
        most_per_ip=settings.max_connections_per_ip,
    )
    async with AsyncExitStack() as stack:
        opening = open_mesh(
            identity=key,
            store=store,
            listen=[Address(each) for each in settings.listen],
            now_ms=now_ms,
            random_bytes=random_bytes,
            host=host,
            allow=gate,
            extensions=several,
        )
        try:
            mesh = await stack.enter_async_context(opening)
        except TransportError as error:
            raise NotListening(str(error)) from error
        async with trio.open_nursery() as nursery:
            if settings.be_point:
                RecordKeeper(mesh.network, now_ms=now_ms, clock=trio.current_time)
            if relay.serve:
                server = RelayServer(mesh.network, now_ms=now_ms, limits=_limits(relay))
                nursery.start_soon(server.run)
            yield mesh
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def opened(
    settings: Network,
    relay: Relay,
    *,
    seed: bytes,
    store: Frames[Frame],
    secret: bytes | None,
    met: Iterable[tuple[bytes, bytes]],
    nearby: Nearby,
    now_ms: Callable[[], Milliseconds],
    random_bytes: Callable[[int], bytes],
) -> AsyncIterator[Mesh]:
    """`secret`: what the account's devices share; without one, they are not looked for in the local network."""
    key = SigningKey(seed)
    gate = gate_of(settings)
    policy = policy_of(settings)
    extensions: list[Extension] = [nearby.extension]
    if settings.mdns and secret is not None:
        found = MdnsDiscovery(fingerprint(secret), interfaces(settings), random_bytes=random_bytes, policy=policy)
        extensions.append(found.extension)
    async with sockets(
        settings,
        relay,
        key=key,
        store=PatientFrames(store),
        gate=gate,
        extensions=extensions,
        now_ms=now_ms,
        random_bytes=random_bytes,
    ) as carrier:
        known = Known(
            static=static(settings),
            mailboxes=mailboxes(settings),
            points=tuple(split(settings.points)),
        )
        yield Mesh(
            carrier,
            key,
            store=store,
            known=known,
            policy=policy,
            now_ms=now_ms,
            random_bytes=random_bytes,
            gate=gate,
            met=met,
        )


def gate_of(settings: Network) -> Gate:
    gate = Gate(settings.allow, named(settings))
    gate.denied = denied(settings)
    return gate


def policy_of(settings: Network) -> Policy:
    """Which addresses are told to others, and believed of them."""
    return Policy(private=settings.private_addresses, loopback=settings.loopback_addresses, names=settings.host_names)


def mailboxes(settings: Network) -> frozenset[PeerId]:
    return frozenset(split(settings.mailboxes))


def static(settings: Network) -> dict[PeerId, Sequence[Address]]:
    """Whom the settings have us stay connected to, and where."""
    return _joined(*(split(each) for each in (settings.peers, settings.mailboxes, settings.points, settings.relays)))


def _joined(*several: dict[PeerId, tuple[Address, ...]]) -> dict[PeerId, Sequence[Address]]:
    joined: dict[PeerId, Sequence[Address]] = {}
    for each in several:
        for peer, addresses in each.items():
            joined[peer] = (*joined.get(peer, ()), *addresses)
    return joined


def _limits(relay: Relay) -> RelayLimits:
    return RelayLimits(
        reservations=relay.reservations,
        circuits=relay.circuits,
        circuits_per_peer=relay.circuits_per_peer,
        circuit_seconds=relay.circuit_time // 1000,
        circuit_bytes=relay.circuit_size,
    )
