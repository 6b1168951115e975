"""The library's Noise, with a gate, in bulk, and with writes that cannot be cut in half.

The handshake is the library's. What follows it is ours: the library reads every message in two steps of two
system calls each, and a task that is cancelled inside its `write` leaves half a Noise message on the wire,
after which the whole connection is garbage. Here bytes are read as they come, many messages at once, and only
one task per connection, which nobody cancels but the connection itself, ever writes (see `transport.host.yamux`).

The gate runs when the handshake has proven the peer's id and before anything else is done for it. It is asked
for both directions: a peer that may not come in is not dialed successfully either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.transport import Transport
from libp2p.security.secure_session import SecureSession

from transport.base import PeerId
from transport.signing import SigningKey

if TYPE_CHECKING:
    from libp2p.abc import IRawConnection, ISecureConn
    from libp2p.crypto.keys import KeyPair
    from libp2p.peer.id import ID
    from libp2p.security.noise.io import NoiseTransportReadWriter
    from noise.connection import NoiseConnection

Gate = Callable[[PeerId], bool]

READ_SIZE: Final = 128 << 10
_LENGTH: Final = 2
_MOST_PLAIN: Final = 65535 - 16  # of one Noise message, beside its tag


def key_pair(identity: SigningKey) -> KeyPair:
    """The library's form of our identity."""
    return create_new_key_pair(identity.seed())


class GatedNoise(Transport):
    """Lets through whom the gate lets through; whatever goes wrong in a handshake is a `HandshakeFailure`."""

    def __init__(self, keys: KeyPair, gate: Gate, count: Callable[[str], None]) -> None:
        super().__init__(keys, noise_privkey=create_noise_key().private_key)
        self._gate = gate
        self._count = count

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        try:
            session = await super().secure_inbound(conn)
        except Exception as error:
            raise HandshakeFailure(f"inbound: {type(error).__name__}") from error
        return await self._let_through(session, conn)

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        try:
            session = await super().secure_outbound(conn, peer_id)
        except Exception as error:
            raise HandshakeFailure(f"outbound: {type(error).__name__}") from error
        return await self._let_through(session, conn)

    async def _let_through(self, session: ISecureConn, conn: IRawConnection) -> ISecureConn:
        peer = PeerId(str(session.get_remote_peer()))
        if not self._gate(peer):
            self._count("host.refused")
            await session.close()
            raise HandshakeFailure(f"{peer} is not let in")
        return BulkSession(cast("SecureSession", session), conn)


class BulkSession(SecureSession):
    """What a handshake gives, read and written in bulk. One reader, one writer at a time."""

    def __init__(self, session: SecureSession, raw: IRawConnection) -> None:
        super().__init__(
            local_peer=session.local_peer,
            local_private_key=session.local_private_key,
            remote_peer=session.remote_peer,
            remote_permanent_pubkey=session.remote_permanent_pubkey,
            is_initiator=session.is_initiator,
            conn=session.conn,
        )
        self._state: NoiseConnection = cast("NoiseTransportReadWriter", session.conn).noise_state
        self._raw = raw
        self._cipher = bytearray()
        self._plain = bytearray()
        inner: Any = getattr(raw, "stream", None)
        # Below the library's TCP stream is trio's; going there saves two locks per read and write.
        self._socket = inner.stream if isinstance(inner, TrioTCPStream) else None

    async def receive(self) -> bytes:
        """All that is there now, at least a byte; empty at the end of the connection."""
        if self._plain:
            data = bytes(self._plain)
            self._plain.clear()
            return data
        return await self._next()

    async def _next(self) -> bytes:
        while not (data := self._decrypt()):
            got = await (self._socket.receive_some(READ_SIZE) if self._socket else self._raw.read(READ_SIZE))
            if not got:
                return b""
            self._cipher += got
        return data

    def _decrypt(self) -> bytes:
        """Whole messages that have come. An invalid one raises, and the connection ends."""
        cipher, start, plain = self._cipher, 0, []
        while len(cipher) - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(cipher[start : start + _LENGTH])
            if len(cipher) < end:
                break
            plain.append(self._state.decrypt(bytes(cipher[start + _LENGTH : end])))
            start = end
        if not plain:
            return b""
        del cipher[:start]
        return plain[0] if len(plain) == 1 else b"".join(plain)

    async def read(self, n: int | None = None) -> bytes:
        """As the library's: exactly `n` bytes, fewer only at the end; whatever is there for None."""
        if n == 0:
            return b""
        while len(self._plain) < (n or 1):
            data = await self._next()
            if not data:
                break
            self._plain += data
        if not self._plain:
            raise ConnectionClosedError("the connection ended")
        size = len(self._plain) if n is None else n
        data = bytes(self._plain[:size])
        del self._plain[:size]
        return data

    async def write(self, data: bytes) -> None:
        """In as few Noise messages as possible and one call. Cancelled in the middle, the connection is lost."""
        sealed = bytearray()
        for start in range(0, len(data), _MOST_PLAIN):
            message = self._state.encrypt(data[start : start + _MOST_PLAIN])
            sealed += len(message).to_bytes(_LENGTH)
            sealed += message
        await (self._socket.send_all(memoryview(sealed)) if self._socket else self._raw.write(bytes(sealed)))
