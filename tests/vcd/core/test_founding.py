"""How a device begins, and an old disk (`vcd.core.founding`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.virtual.announcements import Keys
from tests.vcd.core import people
from tests.vcd.core.homes import TEA, ask, blank, couple, device, devices_of, here, home, link, listed, restore, say
from tests.vcd.core.people import friends, open_talk
from tests.vcd.core.village import Village
from vcd.core import events, founding, inputs, keys, listing, stored
from vcd.core.accounts.identity import RecoverySeed, new_seed, root_key
from vcd.core.config import Config
from vcd.core.errors import Misuse
from vcd.core.names import GroupId, IntentId
from vcd.core.policy import MINUTE
from vcd.core.turn import Turn


def test_a_new_account_has_one_device_that_is_a_delegate() -> None:
    village = Village()
    name = village.account("laptop")
    assert devices_of(village, name) == listed(village, name) == {device(village, name)}
    edition = listing.of_group(here(village, name).group)
    assert edition == village.state(name).book.edition
    assert edition.devices.delegates[0].device == device(village, name)


def test_the_root_key_is_on_no_device() -> None:
    village = Village()
    provider = village.world("laptop")
    seed = new_seed(provider)
    state = founding.new_account(provider, seed, "laptop", village.now)
    root, public = root_key(provider.suite(1), seed)
    everything = b"".join(stored.rows(state).values())
    assert public in everything
    assert root.raw not in everything
    assert seed.raw not in everything


def test_equal_seeds_found_the_same_account() -> None:
    village = Village()
    provider = village.world("laptop")
    seed = RecoverySeed(b"s" * 32)
    one = founding.new_account(provider, seed, "laptop", village.now)
    other = founding.new_account(provider, seed, "laptop", village.now)
    assert one.book.own == other.book.own
    assert one.me.device != other.me.device


def test_a_blank_device_has_no_account() -> None:
    village = Village()
    provider = village.world("phone")
    state = founding.blank(provider, "phone")
    assert state.home is None
    assert state.emulation is None
    assert state.book.own is None
    assert founding.restored(state) is state


def test_a_restored_disk_says_nothing_at_first() -> None:
    village = Village()
    laptop, phone = couple(village)
    backup = village.state(phone)
    say(village, phone, b"one")
    restore(village, phone, backup)
    assert village.state(phone).household.listening
    frames = len(village.log)
    village.do(phone, inputs.Refresh(intent=IntentId(b"fresh"), conversation=home(village, phone).group_id))
    say(village, phone, b"not now")
    with pytest.raises(Misuse) as refused:
        keys.announce(Turn(village.state(phone), village.now, village.devices[phone].provider), Keys(()))
    assert refused.value.code == "restored"
    village.wait(seconds=30)
    assert len(village.log) == frames  # no vote either
    say(village, laptop, b"two")
    assert village.said(phone)[-1] == b"two"


def test_a_restored_disk_begins_an_epoch_of_its_own_and_speaks_then() -> None:
    village = Village(config=replace(Config(), desync_after=20 * MINUTE))
    laptop, phone = couple(village)
    backup = village.state(phone)
    for number in range(3):
        say(village, phone, b"before %d" % number)
    restore(village, phone, backup)
    old = home(village, phone).head
    ask(village, laptop, "box", blank(village, laptop, "box"))  # an epoch begins that it may have acted in before
    village.wait(seconds=5)
    assert home(village, phone).head == home(village, laptop).head != old
    assert village.state(phone).household.listening
    village.wait(minutes=30)
    emulation = village.state(phone).emulation
    assert emulation is not None
    own = [each for each in emulation.epochs.values() if each.epoch.own_leaf is not None]
    assert [each.epoch.epoch_id for each in own] == [here(village, phone).newest]
    begun = home(village, phone)
    assert begun.bodies[village.state(phone).household.awake][2:4] == b"\x00\x01"  # not encrypted
    assert not village.state(phone).household.listening
    assert home(village, phone).head == home(village, laptop).head != old
    village.wait(minutes=5)
    say(village, phone, b"after")
    assert village.said(laptop)[-1] == b"after"


def test_a_restored_disk_uses_no_key_twice() -> None:
    """The hash suites notice when two contents are sealed under one key and nonce."""
    village = Village()
    laptop, phone = couple(village)
    backup = village.state(phone)
    for number in range(5):
        say(village, phone, b"before %d" % number)
        village.do(phone, inputs.Open(conversation=GroupId(b"open" + bytes([number]) + bytes(11))))
    restore(village, phone, backup)
    for number in range(5):
        say(village, phone, b"again %d" % number)
        village.do(laptop, inputs.Open(conversation=GroupId(b"else" + bytes([number]) + bytes(11))))
    village.wait(minutes=20)
    say(village, phone, b"last")
    assert village.said(laptop)[-1] == b"last"
    village.world.ledger.require_unique_nonces()


def test_a_restored_disk_speaks_where_a_key_package_of_before_led() -> None:
    """It may have used that package's epoch, so it takes no key there. Only it knows that, so it has to say so."""
    village = people.friends("bob", "laptop")
    village.packages[village.own("laptop")].clear()
    phone = link(village, "laptop", "phone")
    assert village.packages[village.own("laptop")]
    restore(village, phone, village.state(phone))
    village.wait(hours=1)
    assert not village.state(phone).household.listening
    people.open_talk(village, "bob", "laptop")
    say(village, phone, b"here I am", people.TEA)
    village.wait(minutes=5)
    assert village.said("laptop") == village.said("bob") == [b"here I am"]


def test_an_only_device_with_an_old_disk_comes_back_alone() -> None:
    village = Village()
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=TEA))
    village.wait(minutes=1)
    backup = village.state("laptop")
    say(village, "laptop", b"lost")
    restore(village, "laptop", backup)
    village.wait(minutes=30)
    assert not village.state("laptop").household.listening
    say(village, "laptop", b"found")
    assert village.said("laptop")[-1] == b"found"


def test_who_was_alone_on_an_old_disk_hears_of_a_device_that_came_since() -> None:
    village = friends("laptop", "ben")
    backup = village.state("laptop")
    phone = link(village, "laptop", "phone")
    village.wait(minutes=10)
    restore(village, "laptop", backup)
    village.wait(hours=1)
    assert home(village, "laptop").final == home(village, "laptop").head == home(village, phone).head
    assert devices_of(village, "laptop") == devices_of(village, phone)
    assert not village.state("laptop").household.listening


def test_a_restored_disk_speaks_where_the_account_is_brought_in_by_a_keypackage_of_before() -> None:
    """What the leaf comes from then is an epoch that it must not act in any more."""
    village = friends("laptop", "ben")
    phone = link(village, "laptop", "phone")
    restore(village, phone, village.state(phone))
    village.wait(hours=2)
    open_talk(village, "ben", "laptop", group=TEA)
    village.wait(minutes=5)
    say(village, phone, b"from the phone")
    assert village.said("ben") == [b"from the phone"]
    village.wait(hours=2)
    assert not village.state(phone).household.silent


def test_where_whoever_could_replace_a_leaf_sleeps_a_restored_disk_does_it_itself() -> None:
    village = friends("laptop", "ben")
    phone = link(village, "laptop", "phone")
    open_talk(village, "ben", "laptop", group=TEA)
    village.down("laptop")
    restore(village, phone, village.state(phone))
    village.wait(minutes=50)
    say(village, phone, b"from the phone")
    assert not village.said("ben")
    village.wait(minutes=30)
    assert village.said("ben") == [b"from the phone"]
    village.world.ledger.require_unique_nonces()


def test_events_of_a_founding_are_none() -> None:
    village = Village()
    village.account("laptop")
    assert village.told("laptop", events.Warned) == []
    made = village.state("laptop").household.made
    assert made is not None
    assert made == village.state("laptop").book.edition
