"""How a device begins: as the first one of a new account."""

from __future__ import annotations

from mls import group as mls
from mls.leaf_node import Lifetime
from mls.persistent import PMap
from mls.provider import Environment, Provider
from mls.registries import GroupId
from mls.virtual import devices as emulator
from vcd.core import kinds, steps, topics
from vcd.core.accounts.book import Book
from vcd.core.accounts.card import InboxSecret
from vcd.core.accounts.credential import device_credential
from vcd.core.accounts.editions import NewDevice, found
from vcd.core.accounts.identity import DeviceKey, RecoverySeed, new_device_id, new_key, root_key
from vcd.core.config import Config
from vcd.core.household import Household
from vcd.core.policy import HOME, Mode
from vcd.core.state import Joined, Me, State
from vcd.core.strand import begun
from vcd.core.topics import TopicSecret
from vcd.core.turn import home_judge

LEAF_LIFE = 300 * 24 * 3600
"""Seconds that a device's first leaf is good for; it is renewed long before."""


def new_account(provider: Provider, seed: RecoverySeed, name: str, now: int, config: Config | None = None) -> State:
    """An account whose one device this is. The seed is for the recovery phrase, and kept nowhere."""
    config = config or Config()
    suite = provider.suite(config.cipher_suite)
    root, _ = root_key(suite, seed)
    device = new_device_id(provider)
    private, public = new_key(DeviceKey, suite, provider)
    made = found(provider, root, NewDevice(device=device, key=public, name=name), cipher_suite=config.cipher_suite)
    edition, delegate = made.edition, made.delegate
    assert delegate is not None  # noqa: S101 - the first device is a delegate
    capabilities, extensions = kinds.device_leaf()
    env = Environment(provider=provider, authentication=home_judge(provider, edition.account), now=now)
    group = mls.create(
        env,
        kinds.home_parameters(),
        config.cipher_suite,
        GroupId(provider.random(32)),
        credential=device_credential(provider, edition.head.authority, delegate, device, public),
        signature_private=private,
        capabilities=capabilities,
        lifetime=Lifetime(now // 1000 - 24 * 3600, now // 1000 + LEAF_LIFE),
        leaf_extensions=extensions,
        extensions=kinds.home_extensions(HOME, edition),
    )
    topic = topics.topic_of(group)
    emulation = emulator.start(kinds.SETTINGS, group)
    home = emulation.group
    strand = begun(home, steps.founding(home), topic, Mode.DEMLS, home=True, newest=emulation.head.newest)
    inbox = InboxSecret(provider.random(32))
    joined = [
        Joined(secret=topic, keys=topics.keys_of(provider.suite(1), topic), group_id=home.group_id),
        Joined(
            secret=TopicSecret(inbox.raw),
            keys=topics.keys_of(provider.suite(1), TopicSecret(inbox.raw)),
            group_id=None,
            inbox=True,
        ),
    ]
    return State(
        config=config,
        me=Me(device=device, name=name, signature_private=private),
        book=Book().adopt(edition, provider),
        emulation=emulation,
        home=home.group_id,
        household=Household(signing=made.signing, delegate=delegate, inbox=inbox),
        strands=PMap({home.group_id: strand}),
        joined=PMap({each.keys.name: each for each in joined}),
    )
