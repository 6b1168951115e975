"""A person with an account, for tests: every secret at hand, every edition kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mls.credential import BasicCredential
from tests.providers import SeededProvider
from vcd.core.accounts import editions, identity
from vcd.core.accounts.credential import virtual_credential
from vcd.core.accounts.device_list import Edition, Policy
from vcd.core.accounts.editions import Made, NewDevice
from vcd.core.accounts.head import Head
from vcd.core.accounts.identity import AccountKey, DelegateKey, DeviceKey, RootKey
from vcd.core.accounts.shares import Share
from vcd.core.errors import Refused
from vcd.core.names import DeviceId


class Person:
    """Founds an account with one device, `first`."""

    def __init__(self, name: str = "alice", *, cipher_suite: int = 1) -> None:
        self.provider = SeededProvider(name)
        self.suite = self.provider.suite(cipher_suite)
        self.seed = identity.new_seed(self.provider)
        self.root: RootKey = identity.root_key(self.suite, self.seed)[0]
        self.keys: dict[DeviceId, DeviceKey] = {}
        self.shares: dict[DeviceId, Share] = {}
        first = self.device("laptop")
        self.first = first.device
        made = editions.found(self.provider, self.root, first, cipher_suite=cipher_suite)
        assert made.signing is not None
        assert made.delegate is not None
        self.signing: AccountKey = made.signing
        self.delegate: DelegateKey = made.delegate
        self.edition: Edition = made.edition

    def device(self, name: str) -> NewDevice:
        private, public = identity.new_key(DeviceKey, self.suite, self.provider)
        new = NewDevice(device=identity.new_device_id(self.provider), key=public, name=name)
        self.keys[new.device] = private
        return new

    @property
    def head(self) -> Head:
        return self.edition.head

    def took(self, made: Made) -> Edition:
        """Go on from what was made."""
        self.edition = made.edition
        self.signing = made.signing or self.signing
        self.delegate = made.delegate or self.delegate
        self.shares.update(dict(made.shares))
        return made.edition

    def add(self, name: str = "phone") -> DeviceId:
        new = self.device(name)
        self.took(editions.add_device(self.provider, self.edition, self.delegate, new))
        return new.device

    def revoke(self, device: DeviceId) -> Edition:
        return self.took(editions.revoke_device(self.provider, self.edition, self.delegate, device))

    def refresh(self) -> Edition:
        return self.took(editions.refresh(self.provider, self.edition, self.delegate))

    def term(self, policy: Policy | None = None, *, revoke: tuple[DeviceId, ...] = ()) -> Edition:
        """A new term with the first device for its delegate."""
        return self.took(
            editions.new_term(
                self.provider, self.root, self.edition, delegates=(self.first,), revoke=revoke, policy=policy
            )
        )

    def credential(self, leaf_key: bytes = b"leaf key") -> BasicCredential:
        return virtual_credential(self.provider, self.head, self.signing, leaf_key)


def refused(rule: str, act: Callable[[], object]) -> Refused:
    """That it is refused, by that rule."""
    with pytest.raises(Refused) as caught:
        act()
    assert caught.value.rule == rule
    return caught.value
