"""What is changed in the library, as a table; docs/libp2p.md tells the same at length, for upstream.

Nothing is patched in place. Each mend is a class of ours that derives from one of the library's, or stands in
for it, and only the host that `transport.host.swarm.build` makes uses them. They lean on names of the library
that are nobody's promise, so libp2p is pinned to one release, and `check` looks for every name before a host is
built: a release that moved one is refused with a sentence, not found out by a peer.

`hazards` are the numbers in docs/libp2p.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final

from transport.base import TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """One change: what is wrong without it, what does better, and what it leans on, as `module:name.name`."""

    name: str
    hazards: tuple[int, ...]
    wrong: str
    by: str
    leans_on: tuple[str, ...]


MENDS: Final = (
    Mend(
        name="handlers",
        hazards=(1, 19),
        wrong="an exception in a stream handler, or a protocol name that is not UTF-8, ends the process",
        by="transport.host.swarm:GuardedHost._swarm_stream_handler",
        leans_on=(
            "libp2p.host.basic_host:BasicHost._swarm_stream_handler",
            "libp2p.network.connection.swarm_connection:SwarmConn._handle_muxed_stream",
        ),
    ),
    Mend(
        name="inbound",
        hazards=(5,),
        wrong="a token and a task are kept for every inbound connection; after 250 the listener is deaf",
        by="transport.host.swarm:GuardedSwarm._handle_inbound_connection",
        leans_on=(
            "libp2p.network.swarm:Swarm._handle_inbound_connection",
            "libp2p.network.swarm:Swarm.upgrade_inbound_raw_conn",
        ),
    ),
    Mend(
        name="listener",
        hazards=(23,),
        wrong="accepts in a system task, and shares its port with any other program through SO_REUSEPORT",
        by="transport.host.door:DoorListener",
        leans_on=("libp2p.transport.tcp.tcp:TCP.create_listener", "libp2p.transport.tcp.tcp:TCPListener.listen"),
    ),
    Mend(
        name="dialing",
        hazards=(9, 10, 11),
        wrong="one address per transport, no limit of time, and a peer that failed once is refused for a minute",
        by="transport.host.swarm:GuardedSwarm.dial_peer",
        leans_on=("libp2p.network.swarm:Swarm.dial_peer", "libp2p.network.swarm:Swarm.dial_addr"),
    ),
    Mend(
        name="auto-connector",
        hazards=(21,),
        wrong="dials every address it ever heard of, watermarks of zero or not, and remembers all who left",
        by="transport.host.swarm:NoAutoConnector",
        leans_on=(
            "libp2p.network.auto_connector:AutoConnector.run_background_task",
            "libp2p.network.auto_connector:AutoConnector.maybe_connect",
            "libp2p.network.swarm:Swarm._notify",
        ),
    ),
    Mend(
        name="gate",
        hazards=(20,),
        wrong="everybody may connect; plaintext and secio are accepted by default, and with plaintext any identity",
        by="transport.host.noise:GatedNoise",
        leans_on=(
            "libp2p.security.noise.transport:Transport.secure_inbound",
            "libp2p.security.noise.transport:Transport.secure_outbound",
        ),
    ),
    Mend(
        name="whole writes",
        hazards=(22,),
        wrong="a task cancelled while it writes leaves half a Noise message behind, and the connection is garbage",
        by="transport.host.noise:BulkSession",
        leans_on=(
            "libp2p.security.secure_session:SecureSession",
            "libp2p.security.noise.io:NoiseTransportReadWriter",
            "libp2p.io.trio:TrioTCPStream.write",
        ),
    ),
    Mend(
        name="yamux",
        hazards=(13, 24, 25),
        wrong="windows are not enforced, a reader that pauses five seconds is reset, the 257th stream hangs for ever",
        by="transport.host.yamux:Session",
        leans_on=(
            "libp2p.stream_muxer.muxer_multistream:MuxerMultistream.new_conn",
            "libp2p.stream_muxer.muxer_multistream:MuxerMultistream._annotate_connection",
            "libp2p.network.swarm:Swarm.add_conn",
        ),
    ),
    Mend(
        name="identify",
        hazards=(26,),
        wrong="runs in system tasks, beyond any supervision, and believes any number of addresses",
        by="transport.host.swarm:GuardedHost._schedule_identify",
        leans_on=(
            "libp2p.host.basic_host:BasicHost._schedule_identify",
            "libp2p.host.basic_host:BasicHost._identify_task_entry",
            "libp2p.host.basic_host:BasicHost._has_cached_protocols",
        ),
    ),
    Mend(
        name="naming protocols",
        hazards=(29,),
        wrong="identify names what is in the library's table of handlers and is pushed by nobody when that changes",
        by="transport.host.swarm:NamingMultiselect",
        leans_on=(
            "libp2p.protocol_muxer.multiselect:Multiselect.get_protocols",
            "libp2p.host.basic_host:BasicHost.get_mux",
            "libp2p.identity.identify_push.identify_push:push_identify_to_peers",
        ),
    ),
    Mend(
        name="remote address",
        hazards=(27,),
        wrong="the other end of an IPv6 connection has no address",
        by="transport.host.door:PeerTCPStream",
        leans_on=("libp2p.io.trio:TrioTCPStream.get_remote_address",),
    ),
    Mend(
        name="announced addresses",
        hazards=(28,),
        wrong="listening on all interfaces tells peers to dial 0.0.0.0",
        by="transport.host.network:LibP2PNetwork.announced",
        leans_on=("libp2p.host.basic_host:BasicHost.get_addrs",),
    ),
    Mend(
        name="closing",
        hazards=(17,),
        wrong="leaving the host's context leaves sockets open",
        by="transport.host.domain:Domain._close",
        leans_on=("libp2p.host.basic_host:BasicHost.close",),
    ),
    Mend(
        name="logs",
        hazards=(16,),
        wrong="warnings go nowhere, or set up a handler on standard error",
        by="transport.host.logs:LibraryLog",
        leans_on=(),
    ),
)


class Unmended(TransportError):
    """This release of libp2p is not the one that our changes were made for. Install the pinned one."""


def check() -> None:
    """`Unmended` if a name that a mend leans on is not there."""
    for mend in MENDS:
        for name in mend.leans_on:
            try:
                resolve(name)
            except (ImportError, AttributeError):
                raise Unmended(f"libp2p has no {name}, on which the mend {mend.name!r} leans") from None


def resolve(name: str) -> object:
    """What `module:name.name` names."""
    module, _, path = name.partition(":")
    found: object = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
