"""Keys to be certified, of which tests have the public half only."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Public:
    """The public half of somebody's key, for a certificate that they do not sign themselves."""

    def __init__(self, raw: bytes) -> None:
        self.key = Ed25519PublicKey.from_public_bytes(raw)

    def public_key(self) -> Ed25519PublicKey:
        return self.key
