"""Keys and addresses that the tests of discovery and relay share."""

from __future__ import annotations

from transport.base import Address, Milliseconds
from transport.signing import SigningKey, peer_id

KEY_A, KEY_B, KEY_C = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
A, B, C = (peer_id(key.public) for key in (KEY_A, KEY_B, KEY_C))
NOW = Milliseconds(1_700_000_000_000)
PLACES = tuple(Address(f"/ip4/198.51.100.{number}/tcp/4001") for number in range(1, 100))
