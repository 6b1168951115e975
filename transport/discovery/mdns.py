"""The local network: multicast DNS, under a service name that is private to an account.

    MdnsDiscovery("8c1f3a…", ["eth0"], ...).extension

Devices of one account ask for `_p2p-FINGERPRINT._udp.local`, where the fingerprint comes from a secret that they
share, so others on the network do not find them by asking for libp2p peers. Whoever listens to the multicast
sees them all the same: the name, the peer id, the addresses (docs/network.md says what that gives away).

python-zeroconf does the protocol, in a thread of its own, because it waits with blocking calls; the library's
own mDNS runs it in the event loop, which then stands still for one and a half seconds. What crosses the border
to trio is the name of a service that appeared, through a queue of `QUEUE` names. When that is full, further
names are counted and dropped: a private service name has a handful of holders, more is somebody playing. One
task asks for the details of a name, in a thread, two seconds at most.

What comes back is untrusted: a peer id and addresses in TXT records, `dnsaddr=/ip4/…/tcp/…/p2p/ID`. Only
addresses within the networks of the given interfaces are believed, so an answer cannot send us elsewhere. They
become addresses to try if that peer is kept.

Interfaces are named by the caller; nothing is sent or opened before and elsewhere. Their addresses are looked at
every few seconds, and when they change (the laptop moved) the whole is ended and begun anew.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import ifaddr
import trio
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from transport.base import Address, PeerId
from transport.discovery.addresses import IPAddress, IPNetwork, Policy, Source, believed, listening, parse
from transport.host.extension import Site

QUEUE: Final = 64
LOOK_EVERY: Final = 5.0
RETRY_AFTER: Final = 60.0
DETAILS_SECONDS: Final = 2.0
MOST_ASKED: Final = 3  # times in all for the details of one that appeared: it appears but once, and answers get lost
MOST_TOLD: Final = 8
MOST_READ: Final = 16  # TXT entries of one answer
MOST_EACH: Final = 4  # addresses of one peer in it, so that an answer does not push out what we know
_FINGERPRINT = re.compile(r"[0-9a-f]{16}\Z")


def service_type(fingerprint: str) -> str:
    """The DNS name that devices with this fingerprint share. RFC 6763 leaves room for its first ten digits."""
    if not _FINGERPRINT.match(fingerprint):
        raise ValueError("a fingerprint is 16 hexadecimal digits")
    return f"_p2p-{fingerprint[:10]}._udp.local."


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One address of this machine and the network around it."""

    ip: IPAddress
    network: IPNetwork


def interface_addresses(wanted: Iterable[str]) -> tuple[Interface, ...]:
    """The addresses now of interfaces given by name or by one of their addresses. Link-local ones are left out."""
    names = frozenset(wanted)
    found: list[Interface] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            ip = ipaddress.ip_address(entry.ip if isinstance(entry.ip, str) else entry.ip[0])
            if not ip.is_link_local and (adapter.name in names or str(ip) in names):
                network = ipaddress.ip_network(f"{ip}/{entry.network_prefix}", strict=False)
                found.append(Interface(ip=ip, network=network))
    return tuple(sorted(found, key=lambda interface: (interface.ip.version, interface.ip.packed)))


class MdnsDiscovery:
    """See the module's docstring."""

    def __init__(
        self,
        fingerprint: str,
        interfaces: Sequence[str],
        *,
        random_bytes: Callable[[int], bytes],
        found: Callable[[Site, PeerId, Sequence[Address]], None] | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`interfaces`: names, or addresses of them. `found` replaces `site.learn`."""
        self._type = service_type(fingerprint)
        self._interfaces = tuple(interfaces)
        self._random_bytes = random_bytes
        self._found = found
        self._policy = policy or Policy()

    @asynccontextmanager
    async def extension(self, site: Site) -> AsyncIterator[None]:
        site.nursery.start_soon(self._run, site)
        yield

    async def _run(self, site: Site) -> None:
        """One spell after another, each for as long as the interfaces stay the same."""
        while True:
            interfaces = interface_addresses(self._interfaces)
            told = self._told(site, interfaces)
            if not interfaces:
                await trio.sleep(LOOK_EVERY)
                continue
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._spell, site, interfaces, told)
                await self._moved(site, interfaces, told)
                nursery.cancel_scope.cancel()
            site.network.count("mdns.moved")

    async def _moved(self, site: Site, interfaces: Sequence[Interface], told: Sequence[Address]) -> None:
        """Returns when our addresses are no longer these. The system does not say; so it is asked."""
        while True:
            await trio.sleep(LOOK_EVERY)
            if interface_addresses(self._interfaces) != interfaces or self._told(site, interfaces) != told:
                return

    @staticmethod
    def _told(site: Site, interfaces: Sequence[Interface]) -> tuple[Address, ...]:
        """Our listening addresses in these networks."""
        bound = [str(address) for address in site.host.get_transport_addrs()]
        return tuple(place.text for place in listening(bound, [interface.ip for interface in interfaces])[:MOST_TOLD])

    async def _spell(self, site: Site, interfaces: Sequence[Interface], told: Sequence[Address]) -> None:
        """Tell and listen until cancelled. What zeroconf raises at its start is tried again a minute later."""
        send, receive = trio.open_memory_channel[tuple[str, int]](QUEUE)
        token = trio.lowlevel.current_trio_token()

        def take(name: str, asked: int = 0) -> None:
            try:
                send.send_nowait((name, asked))
            except trio.WouldBlock:
                site.network.count("mdns.crowded")
            except trio.BrokenResourceError:
                pass  # the spell is over

        def appeared(name: str) -> None:  # called in zeroconf's thread
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(take, name)

        started = await self._begin(site, interfaces, told, appeared)
        try:
            site.network.count("mdns.started")
            networks = tuple(interface.network for interface in interfaces)
            policy = Policy(loopback=self._policy.loopback, networks=networks)
            async with receive:
                async for name, asked in receive:
                    info = await trio.to_thread.run_sync(
                        _details,
                        started.zeroconf,
                        self._type,
                        name,
                        abandon_on_cancel=True,  # type: ignore[call-arg]  # the stubs are older than trio
                    )
                    if info is not None:
                        self._take(site, info, policy)
                    elif asked + 1 < MOST_ASKED:
                        take(name, asked + 1)  # after all others
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(started.stop)

    async def _begin(
        self, site: Site, interfaces: Sequence[Interface], told: Sequence[Address], appeared: Callable[[str], None]
    ) -> _Started:
        while True:
            try:
                return await trio.to_thread.run_sync(self._start, interfaces, told, site.network.me, appeared)
            except Exception:  # noqa: BLE001 - zeroconf raises many kinds; the network may be going away under it
                site.network.count("mdns.failed")
            await trio.sleep(RETRY_AFTER)

    def _start(
        self, interfaces: Sequence[Interface], told: Sequence[Address], me: PeerId, appeared: Callable[[str], None]
    ) -> _Started:
        """In a thread: all of zeroconf's constructors and calls wait."""
        zeroconf = Zeroconf(interfaces=[str(interface.ip) for interface in interfaces])
        try:
            info: ServiceInfo | None = None
            if told:
                label = self._random_bytes(16).hex()
                info = ServiceInfo(
                    self._type,
                    f"{label}.{self._type}",
                    port=parse(told[0]).port,
                    addresses=[interface.ip.packed for interface in interfaces],
                    properties={
                        "dnsaddr" if not number else f"dnsaddr{number}": f"{text}/p2p/{me}"
                        for number, text in enumerate(told)
                    },
                    server=f"{label}.local.",
                )
                zeroconf.register_service(info)
            own = info.name if info is not None else ""

            def changed(*, name: str, state_change: ServiceStateChange, **_: object) -> None:
                if state_change is not ServiceStateChange.Removed and name != own:
                    appeared(name)

            browser = ServiceBrowser(zeroconf, self._type, handlers=[changed])
        except BaseException:
            zeroconf.close()
            raise
        return _Started(zeroconf, browser, info)

    def _take(self, site: Site, info: ServiceInfo, policy: Policy) -> None:
        for peer, addresses in read(info.properties, policy).items():
            if peer == site.network.me:
                continue
            site.network.count("mdns.found")
            if self._found is not None:
                self._found(site, peer, addresses)
            else:
                site.learn(peer, addresses)


@dataclass(frozen=True, slots=True)
class _Started:
    zeroconf: Zeroconf
    browser: ServiceBrowser
    info: ServiceInfo | None

    def stop(self) -> None:
        """Say goodbye, end the threads, close the sockets. Saying goodbye fails when the interface is gone."""
        with contextlib.suppress(Exception):
            self.browser.cancel()
            if self.info is not None:
                self.zeroconf.unregister_service(self.info)
        self.zeroconf.close()


def read(properties: dict[Any, Any], policy: Policy) -> dict[PeerId, list[Address]]:
    """The peers and addresses in a TXT record, as far as the policy believes them."""
    found: dict[PeerId, list[Address]] = {}
    for key, value in list(properties.items())[:MOST_READ]:
        if not isinstance(key, bytes) or not key.startswith(b"dnsaddr") or not isinstance(value, bytes):
            continue
        try:
            place = parse(value.decode("ascii"))
        except ValueError:
            continue
        if place.peer is not None and believed([place.text], Source.MDNS, policy):
            addresses = found.setdefault(place.peer, [])
            if place.text not in addresses and len(addresses) < MOST_EACH:
                addresses.append(place.text)
    return found


def _details(zeroconf: Zeroconf, service_type: str, name: str) -> ServiceInfo | None:
    """In a thread. None if nobody answers in time, or with what zeroconf cannot read."""
    try:
        return zeroconf.get_service_info(service_type, name, timeout=int(DETAILS_SECONDS * 1000))
    except Exception:  # noqa: BLE001 - whatever its parser makes of a stranger's packet
        return None
