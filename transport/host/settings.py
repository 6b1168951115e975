"""Every number of the host that may be turned, with the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Seconds, bytes and counts. The defaults are for a device with a handful of peers."""

    # dialing
    dial_limit: float = 8.0  # one address, until somebody listens there
    upgrade_limit: float = 22.0  # and until there is a usable connection: five round trips, of which any may get lost
    dial_stagger: float = 1.0  # the next address of a peer is tried beside one that is silent this long
    most_dials: int = 8  # at once, of addresses that failed before or are not a peer's first; see `turns`
    most_first_dials: int = 16  # the first address of peers that did not fail: a start with dozens of silent ones
    most_asked_dials: int = 16  # that somebody waits for: never behind the other two kinds
    first_backoff: float = 0.5
    longest_backoff: float = 60.0
    backoff_jitter: float = 0.3  # of the pause, either way: peers that woke together do not collide for ever
    yield_to_smaller: float = 0.75  # the larger id lets the smaller dial first for about this long
    most_addresses: int = 8  # remembered per peer
    most_peers: int = 1024  # kept or known; when full, the peer neither kept nor connected that was told first goes

    # what is told
    most_unread_states: int = 2048  # per reader, twice `most_peers`: what is dropped is of strangers who left

    # connections
    most_connections: int = 256  # of all peers; a kept peer takes the place of one that is not
    most_per_ip: int = 64  # of peers that are not kept; when full, of these the one heard from longest ago goes
    most_per_peer: int = 4  # when full, the one heard from longest ago goes
    handshake_limit: float = 25.0  # inbound, from accept to a usable connection
    most_handshakes: int = 64  # inbound at once; when full the oldest goes, so that a flood cannot shut honest ones out
    most_handshakes_per_ip: int = 16
    redundant_after: float = 5.0  # a second connection that nothing uses is closed after this
    close_limit: float = 1.0  # what is queued may still be sent for this long when a connection closes

    # liveness
    ping_every: float = 5.0  # when nothing was heard; a connection that is in use is not pinged
    pong_limit: float = 5.0
    most_missed: int = 2  # pings in a row; one is enough when another connection to the peer is alive
    rival_limit: float = 2.0  # how fast an old connection must answer when the peer comes back by a new one

    # streams
    open_limit: float = 10.0
    negotiation_limit: float = 5.0  # an inbound stream that has not said what it wants by then is reset
    most_negotiating: int = 32  # inbound streams of one connection that have not said what they want
    most_inbound: int = 128  # inbound streams of one connection
    most_outbound: int = 64  # outbound ones, half of `most_negotiating` at a time: so nobody of us exceeds these limits
    most_per_protocol: int = 64  # inbound streams of one peer served for one protocol
    most_streams_a_second: float = 1000.0  # inbound on one connection; four times as many at once
    most_pings_a_second: float = 20.0
    most_stray_a_second: float = float(8 << 20)  # bytes for streams that are gone: some are always on their way
    stream_window: int = 256 << 10  # what Yamux grants every stream at birth
    most_window: int = 1 << 20  # what a stream that is read fast may grow to
    most_unread: int = 8 << 20  # received and not read, over all streams of a connection
    most_unsent: int = 1 << 20  # queued on a connection whose peer does not take it; then the connection is closed
    stall_limit: float = 60.0  # a reader that takes nothing for this long loses the stream

    # the crash domain
    first_pause: float = 0.1  # before the host is built again
    longest_pause: float = 30.0
    calm_after: float = 60.0  # a host that lived this long makes the next pause short again
    stop_limit: float = 3.0  # all of the closing

    @property
    def whole_dial(self) -> float:
        """One address, from the first packet to a usable connection."""
        return self.dial_limit + self.upgrade_limit


DEFAULTS = HostSettings()
