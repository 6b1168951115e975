"""What our leaves say of us: the keys, the credential and the lifetime that a new one gets."""

from __future__ import annotations

from dataclasses import replace

from mls.credential import Credential
from mls.errors import LimitError
from mls.leaf_node import Lifetime
from mls.secrets import SignaturePrivateKey
from mls.virtual.announcements import Keys, SignatureKey, Uploaded
from mls.virtual.stock import Offer
from vcd.core import devices, kinds
from vcd.core.accounts.credential import virtual_credential
from vcd.core.errors import Misuse
from vcd.core.turn import Turn

EARLY = 24 * 3600
"""By how much, in seconds, others' clocks may be behind ours."""


def lifetime(turn: Turn) -> Lifetime:
    now = turn.now // 1000
    return Lifetime(now - EARLY, now + turn.state.config.package_life // 1000)


def new_leaf(turn: Turn, *, announced: bool = True, suite: int | None = None) -> tuple[Credential, SignaturePrivateKey]:
    """A credential with the newest head, and a signature key of its own; other devices are told of the key first."""
    state = turn.state
    edition, signing = state.book.edition, state.household.signing
    if edition is None or signing is None:
        raise Misuse("no-account", "this device has no account yet")
    try:
        emulation, public = turn.emulation.drawn_key(turn.env, state.config.cipher_suite if suite is None else suite)
    except LimitError:
        raise Misuse("too-many", "there are too many signature keys here") from None
    turn.change(emulation=emulation)
    private = emulation.keys[public].private
    if announced:
        tell_keys(turn, [public])
    return virtual_credential(turn.provider, edition.head, signing, public), private


def tell_keys(turn: Turn, public: list[bytes]) -> None:
    """Tell our other devices of signature keys."""
    devices.announce(turn, Keys(_of_ring(turn, public)))


def with_keys(turn: Turn, uploaded: Uploaded, public: list[bytes]) -> Uploaded:
    """An upload that says which key each KeyPackage has, though they were told before.

    Who does not know that can never drop the keys of those that are gone, nor any other.
    """
    return replace(uploaded, keys=_of_ring(turn, public))


def _of_ring(turn: Turn, public: list[bytes]) -> tuple[SignatureKey, ...]:
    ring = turn.emulation.keys
    return tuple(
        [SignatureKey(cipher_suite=ring[each].cipher_suite, public=each, private=ring[each].private) for each in public]
    )


def offer(turn: Turn, *, announced: bool = True, suite: int | None = None) -> Offer:
    """What a KeyPackage, or the first leaf of a conversation, is to say."""
    wanted = turn.state.config.cipher_suite if suite is None else suite
    credential, private = new_leaf(turn, announced=announced, suite=wanted)
    capabilities, extensions = kinds.leaf()
    return Offer(
        cipher_suite=wanted,
        credential=credential,
        capabilities=capabilities,
        lifetime=lifetime(turn),
        leaf_extensions=extensions,
        signature_private=private,
    )
