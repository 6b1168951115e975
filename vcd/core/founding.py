"""How a device begins: as the first one of a new account, as one that is to be linked, or with an old disk.

state = new_account(provider, seed, name, now)      the first device; the seed is for the recovery phrase
state = recovered(provider, seed, name, now, ...)   the first device again, of an account that has lost all others
state = blank(provider, name)                       one that belongs to nobody yet
package = package_for(provider, state, credential, now)     for `inputs.LinkDevice` at a delegate, which made the
                                                    credential (`linking.credential_for`); what comes back is
                                                    `inputs.Linked`
state = restored(state)                             what was stored once, if the device went on after that
"""

from __future__ import annotations

from dataclasses import replace

from mls import group as mls
from mls.credential import Credential, TrustBasic
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.leaf_node import Lifetime
from mls.persistent import PMap
from mls.provider import Environment, Provider
from mls.registries import GroupId
from mls.virtual import devices as emulator
from mls.virtual.stored import listening
from vcd.core import kinds, sessions, steps, topics
from vcd.core.accounts.book import Book
from vcd.core.accounts.card import InboxSecret
from vcd.core.accounts.credential import device_credential
from vcd.core.accounts.device_list import Edition, check_edition
from vcd.core.accounts.editions import Made, NewDevice, found, new_term, uncertain
from vcd.core.accounts.identity import DeviceKey, RecoverySeed, new_device_id, new_key, root_key
from vcd.core.config import Config
from vcd.core.errors import Misuse
from vcd.core.household import Household, Roster
from vcd.core.names import EpochId
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
    return _moved_in(provider, made, Me(device=device, name=name, signature_private=private), now, config, Book())


AHEAD = 60
"""By how many terms recovery is above the clock: others may have begun theirs by clocks that were ahead of this one."""
LEAST_TIME = 1_700_000_000_000
"""Whoever thinks that it is earlier has a clock that was never set."""


def recovered(
    provider: Provider,
    seed: RecoverySeed,
    name: str,
    now: int,
    config: Config | None = None,
    *,
    known: Edition | None = None,
    book: Book | None = None,
) -> State:
    """An account whose devices are all lost, with this one as its only device and its only delegate.

    The root begins another term, in which every device of the last list that is `known` is shut out. Which terms were
    used after that list, or at all if there is none, nobody knows: so the term is above the clock (docs/adr/0023). The
    home is a new group, with keys that no device of before has; so is the inbox.
    """
    config, book = config or Config(), book or Book()
    if now < LEAST_TIME:
        raise Misuse("clock", "The clock of this device is wrong, and what is signed now has to be newer than before.")
    suite = provider.suite(config.cipher_suite)
    root, public_root = root_key(suite, seed)
    device = new_device_id(provider)
    private, public = new_key(DeviceKey, suite, provider)
    new = NewDevice(device=device, key=public, name=name)
    above = uncertain(now) + AHEAD
    if known is None:
        made = found(provider, root, new, cipher_suite=config.cipher_suite, term=above + 1)
    else:
        mandate = known.head.authority.mandate
        if mandate.cipher_suite != config.cipher_suite or mandate.root != public_root:
            raise Misuse("another-account", "This recovery phrase belongs to another account.")
        check_edition(known, provider)
        made = new_term(
            provider,
            root,
            known,
            delegates=(device,),
            revoke=[each.device for each in known.devices.devices],
            add=(new,),
            policy=replace(known.devices.policy, overrulers=0),  # it takes two devices or more
            above=above,
        )
    return _moved_in(provider, made, Me(device=device, name=name, signature_private=private), now, config, book)


def _moved_in(provider: Provider, made: Made, me: Me, now: int, config: Config, book: Book) -> State:
    """The first device of a home."""
    device, private = me.device, me.signature_private
    public = provider.suite(config.cipher_suite).scheme.public_key(private)
    edition, delegate, signing = made.edition, made.delegate, made.signing
    assert delegate is not None and signing is not None  # noqa: S101, PT018 - of a new account both are new
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
        lifetime=_lifetime(now),
        leaf_extensions=extensions,
        extensions=kinds.home_extensions(HOME, edition),
    )
    topic = topics.topic_of(group)
    emulation = emulator.start(kinds.SETTINGS, group)
    home = emulation.group
    strand = begun(home, steps.founding(home), topic, Mode.DEMLS, home=True, newest=emulation.head.newest)
    roster = Roster(epoch=EpochId(home.epoch_id), devices=((int(home.own_leaf), device),))
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
        me=me,
        book=book.adopt(edition, provider),
        emulation=emulation,
        home=home.group_id,
        household=Household(
            signing=signing,
            delegate=delegate,
            inbox=inbox,
            account_keys=PMap({edition.head.signing_key: signing}),
            made=edition,
            key_told=edition.head.signing_key,
            rosters=PMap({strand.kept[strand.head].newest: roster}),
        ),
        strands=PMap({home.group_id: strand}),
        joined=PMap({each.keys.name: each for each in joined}),
    )


def _lifetime(now: int) -> Lifetime:
    return Lifetime(now // 1000 - 24 * 3600, now // 1000 + LEAF_LIFE)


def blank(provider: Provider, name: str, config: Config | None = None) -> State:
    """A device that belongs to nobody. People tell a delegate its id and its public key (`device_key`)."""
    config = config or Config()
    private, _ = new_key(DeviceKey, provider.suite(config.cipher_suite), provider)
    me = Me(device=new_device_id(provider), name=name, signature_private=private)
    return State(config=config, me=me, book=Book())


def forgotten(provider: Provider, state: State) -> State:
    """A device that belonged to an account, as one that belongs to nobody: it is another one from now on."""
    clock = replace(state.clock, wake_at=0)
    return replace(blank(provider, state.me.name, state.config), clock=clock)


def device_key(provider: Provider, state: State) -> bytes:
    """The public half of the key by which a device signs in the home."""
    return provider.suite(state.config.cipher_suite).scheme.public_key(state.me.signature_private)


def package_for(provider: Provider, state: State, credential: Credential, now: int) -> KeyPackageSecrets:
    """The KeyPackage by which a device comes into the account. Its secrets are given back with `inputs.Linked`."""
    capabilities, extensions = kinds.device_leaf()
    env = Environment(provider=provider, authentication=TrustBasic(), now=now)
    return create_key_package(
        env,
        state.config.cipher_suite,
        credential=credential,
        signature_private=state.me.signature_private,
        capabilities=capabilities,
        lifetime=_lifetime(now),
        leaf_extensions=extensions,
    )


def restored(state: State) -> State:
    """With an old disk: it listens until it has begun an epoch of its own (`leaves.wake_up`), and hands over nothing.

    What it was about to send is sent again as it was; nothing new is made from what may have been used since.
    """
    emulation = state.emulation
    if emulation is None:
        return state
    household = replace(state.household, listening=True, awake=EpochId(b""), links=PMap())
    return replace(sessions.restored(state), emulation=listening(emulation), household=household)
