"""Streams that come in: who serves them, how many, for how long, and what happens when that goes wrong.

A handler cannot hurt anybody: what it raises is caught here, counted and logged by type (messages may quote
what a peer sent), and its stream is reset. When it returns, the stream is closed and what still comes is
dropped. A peer that opens streams and says nothing is charged for each; one that opens more of a protocol than
it may have gets resets. A throttled peer is served late.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import trio

from transport.base import PeerId, TransportError
from transport.conduct import Offence
from transport.host import negotiation
from transport.host.logs import kind
from transport.host.settings import HostSettings
from transport.network import StreamHandler

if TYPE_CHECKING:
    from libp2p.custom_types import TProtocol
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.stream.net_stream import NetStream

    from transport.host.flow import Flow

log = logging.getLogger("vcd.transport")


class Serving:
    """The handlers, and what is being served now. The handlers stay when the host is built again."""

    def __init__(
        self,
        settings: HostSettings,
        *,
        charge: Callable[[PeerId, Offence], None],
        penalty: Callable[[PeerId], float],
        count: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._charge, self._penalty, self._count = charge, penalty, count
        self._handlers: dict[str, tuple[StreamHandler, float]] = {}
        self._running: Counter[tuple[PeerId, str]] = Counter()

    def handle(self, protocol: str, handler: StreamHandler, limit: float | None) -> bool:
        """Whether the protocol is one that was not served before."""
        new = protocol not in self._handlers
        self._handlers[protocol] = (handler, math.inf if limit is None else limit)
        return new

    def protocols(self) -> Sequence[str]:
        return tuple(self._handlers)

    async def serve(self, flow: Flow, library: BasicHost, stream: NetStream) -> None:
        """One inbound stream from its first byte to its end. Raises nothing but cancellation."""
        await trio.sleep(self._penalty(flow.peer))
        protocol = await self._negotiate(flow, library)
        if protocol is None:
            await stream.reset()
            return
        key = flow.peer, protocol
        if self._running[key] >= self._settings.most_per_protocol:
            self._count("host.streams_refused")
            self._charge(flow.peer, Offence.FLOOD)
            await stream.reset()
            return
        self._running[key] += 1
        done = False
        try:
            done = await self._run(protocol, flow, library, stream)
        finally:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
            if not done:
                flow.tear()
            elif protocol in self._handlers:
                flow.leave()  # the library's handlers may go on with the stream in a task of their own

    async def _negotiate(self, flow: Flow, library: BasicHost) -> str | None:
        theirs: dict[Any, Any] = library.multiselect.handlers
        protocol = None
        try:
            with trio.move_on_after(self._settings.negotiation_limit) as scope:
                protocol = await negotiation.answer(
                    flow,
                    lambda name: name in self._handlers or name in theirs,
                    lambda: [*self._handlers, *(str(name) for name in theirs if name)],
                )
        except TransportError:
            return None
        finally:
            flow.session.accepted(flow)
        if scope.cancelled_caught:
            self._count("host.streams_silent")
            self._charge(flow.peer, Offence.STALLED)
        elif protocol is None and not flow.broken:
            self._count("host.streams_unknown")
        return protocol

    async def _run(self, protocol: str, flow: Flow, library: BasicHost, stream: NetStream) -> bool:
        try:
            if protocol in self._handlers:
                handler, limit = self._handlers[protocol]
                with trio.move_on_after(limit) as scope:
                    await handler(flow)
            else:
                stream.set_protocol(cast("TProtocol", protocol))
                their_handler: Any = library.multiselect.handlers[cast("TProtocol", protocol)]
                await their_handler(stream)
                return True
        except TransportError as error:
            self._count(f"handler.{type(error).__name__.lower()}")
            return False
        except Exception as error:  # noqa: BLE001 - the point of this module
            if protocol in self._handlers:
                self._count("handler.error")
                log.warning("the handler of %s failed: %s", protocol, kind(error))
            else:
                self._count("handler.library_error")
                log.info("the library's handler of %s failed: %s", protocol, kind(error))
            return False
        if scope.cancelled_caught:
            self._count("handler.too_long")
            return False
        return True
