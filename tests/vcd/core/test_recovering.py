"""An account whose devices are all lost, taken up again by its recovery phrase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core import homes
from tests.vcd.core.people import befriend, card, invite, open_talk
from tests.vcd.core.village import START, Village
from vcd.core import events, founding, inputs, listing, stored
from vcd.core.accounts.book import Book, Relation
from vcd.core.accounts.card import from_bytes
from vcd.core.accounts.device_list import Edition, Policy, check_successor
from vcd.core.accounts.head import check_next, contradiction, version_of
from vcd.core.accounts.identity import RecoverySeed, new_seed, root_key
from vcd.core.errors import Misuse, Refused
from vcd.core.names import GroupId, IntentId
from vcd.core.policy import MINUTE

SEED = RecoverySeed(b"s" * 32)
TEA, MILK = GroupId(b"tea"), GroupId(b"milk")


def edition(v: Village, name: str) -> Edition:
    found = v.state(name).book.edition
    assert found is not None
    return found


def account(v: Village, name: str) -> str:
    provider = v.world(name)
    return v.move_in(name, provider, founding.new_account(provider, SEED, name, v.now, v.config))


def recover(v: Village, name: str, *, known: Edition | None = None, book: Book | None = None) -> str:
    provider = v.world(name)
    people = book and replace(book, edition=None)
    return v.move_in(
        name, provider, founding.recovered(provider, SEED, name, v.now, v.config, known=known, book=people)
    )


def lose(v: Village, *names: str) -> None:
    for name in names:
        v.devices[name].up = False


def test_it_is_the_same_account_and_all_devices_of_before_are_shut_out() -> None:
    v = Village()
    laptop = account(v, "laptop")
    phone = homes.link(v, laptop, "phone")
    known = edition(v, laptop)
    lose(v, laptop, phone)
    desk = recover(v, "desk", known=known)
    assert v.own(desk) == known.account
    found = edition(v, desk)
    check_successor(known, found, v.devices[desk].provider)
    assert [(each.device, each.delegate) for each in found.devices.devices] == [(homes.device(v, desk), True)]
    gone = {homes.device(v, laptop), homes.device(v, phone)}
    assert {each.device for each in found.devices.tombstones} == gone
    assert found.head.revoked == found.version > version_of(START // MINUTE, 0)
    assert found.head.signing_key != known.head.signing_key
    assert found.head.authority.delegate != known.head.authority.delegate
    old, new = v.state(laptop), v.state(desk)
    assert (old.home, old.household.inbox) != (new.home, new.household.inbox)
    v.wait(minutes=5)
    assert listing.of_group(homes.here(v, desk).group) == found
    tablet = homes.link(v, desk, "tablet")
    assert homes.listed(v, tablet) == {homes.device(v, desk), homes.device(v, tablet)}


def test_with_the_phrase_alone_the_list_is_above_any_that_was() -> None:
    v = Village()
    laptop = account(v, "laptop")
    for number in range(3):
        root = root_key(v.devices[laptop].provider.suite(1), SEED)[0]
        v.do(laptop, inputs.SetRules(intent=IntentId(bytes([number]) * 16), root=root, rules=Policy()))
        v.wait(minutes=5)
    known = edition(v, laptop)
    assert known.head.version > version_of(START // MINUTE, 0)
    lose(v, laptop)
    desk = recover(v, "desk")
    head = edition(v, desk).head
    check_next(known.head, head)
    assert contradiction(known.head, head) is None
    v.wait(minutes=2)
    lose(v, desk)
    again = edition(v, recover(v, "again")).head
    check_next(head, again)
    assert contradiction(head, again) is None


def test_a_contact_sees_a_newer_list_that_shuts_somebody_out_and_nothing_else() -> None:
    v = Village()
    laptop, ben = account(v, "laptop"), v.account("ben")
    befriend(v, laptop, ben)
    before, known = v.state(laptop).book, edition(v, laptop)
    lose(v, laptop)
    desk = recover(v, "desk", known=known, book=before)
    assert v.state(desk).book.relation(v.own(ben)) is Relation.CONTACT
    open_talk(v, desk, ben, group=MILK)
    v.wait(minutes=2)
    told = v.told(ben, events.ContactChanged)
    assert [(each.account, each.shut_out) for each in told] == [(v.own(desk), True)]
    assert not v.told(ben, events.Warned)
    contact = v.state(ben).book.find(v.own(desk))
    assert contact is not None
    assert contact.accepted
    homes.say(v, desk, b"it is me", MILK)
    homes.say(v, ben, b"hello again", MILK)
    v.wait(minutes=1)
    assert b"it is me" in [each.data for each in v.told(ben, events.Message)]
    assert b"hello again" in [each.data for each in v.told(desk, events.Message)]


def test_keypackages_of_lost_devices_are_not_used_any_more() -> None:
    v = Village()
    laptop, ben = account(v, "laptop"), v.account("ben")
    befriend(v, laptop, ben)
    v.wait(seconds=1)
    old = list(v.packages[v.own(laptop)])
    assert old
    known, before = edition(v, laptop), v.state(laptop).book
    lose(v, laptop)
    desk = recover(v, "desk", known=known, book=before)
    v.do(ben, inputs.AddContact(card=card(v, desk), petname="anna"))
    v.wait(seconds=1)
    v.packages[v.own(desk)] = old[:2] + [each for each in v.packages[v.own(desk)] if each not in old]
    v.do(ben, inputs.Open(conversation=TEA))
    invite(v, ben, desk)
    v.wait(hours=1)
    assert TEA in v.state(desk).strands
    assert TEA not in v.state(laptop).strands


def test_a_card_of_before_is_no_card_any_more() -> None:
    v = Village()
    laptop, ben = account(v, "laptop"), v.account("ben")
    befriend(v, laptop, ben)
    old = card(v, laptop)
    lose(v, laptop)
    desk = recover(v, "desk", known=edition(v, laptop))
    v.do(ben, inputs.AddContact(card=card(v, desk)))
    with pytest.raises(Misuse, match="card"):
        v.do(ben, inputs.AddContact(card=old))
    assert v.state(ben).book.superseded(from_bytes(old).head)


def test_whoever_has_a_lost_device_cannot_undo_it() -> None:
    """Its lists are below ours, and whoever knows of ours is asked before it brings them in anywhere."""
    v = Village()
    laptop, ben = account(v, "laptop"), v.account("ben")
    befriend(v, laptop, ben)
    known = edition(v, laptop)
    desk = recover(v, "desk", known=known, book=v.state(laptop).book)
    open_talk(v, desk, ben, group=MILK)
    v.wait(minutes=2)
    v.do(laptop, inputs.RenameDevice(device=homes.device(v, laptop), name="mine"))
    v.wait(minutes=2)
    with pytest.raises(Refused):
        check_next(edition(v, desk).head, edition(v, laptop).head)
    v.do(laptop, inputs.Open(conversation=TEA))
    v.do(laptop, inputs.Invite(intent=IntentId(b"i" * 16), conversation=TEA, account=v.own(ben)))
    v.wait(minutes=5)
    assert TEA not in v.state(ben).talks
    assert [each.asks for each in v.told(ben, events.Invited) if each.conversation == TEA] == [True]
    contact = v.state(ben).book.find(v.own(desk))
    assert contact is not None
    assert contact.head == edition(v, desk).head


def test_into_chats_of_before_it_is_brought_by_who_may_take_out_the_old_leaf() -> None:
    v = Village()
    laptop, ben = account(v, "laptop"), v.account("ben")
    befriend(v, laptop, ben)
    v.wait(seconds=1)
    open_talk(v, ben, laptop)
    homes.say(v, ben, b"before", TEA)
    v.wait(minutes=1)
    known, people = edition(v, laptop), v.state(laptop).book
    lose(v, laptop)
    v.packages.clear()
    desk = recover(v, "desk", known=known, book=people)
    v.do(ben, inputs.AddContact(card=card(v, desk), petname="anna"))
    v.wait(seconds=1)
    v.do(ben, inputs.Remove(intent=IntentId(b"r" * 16), conversation=TEA, account=v.own(desk)))
    v.wait(minutes=2)
    invite(v, ben, desk, name="anna again")
    v.wait(minutes=5)
    assert TEA in v.state(desk).talks
    homes.say(v, desk, b"back", TEA)
    homes.say(v, ben, b"welcome", TEA)
    v.wait(minutes=2)
    assert b"back" in [each.data for each in v.told(ben, events.Message)]
    heard = [each.data for each in v.told(desk, events.Message)]
    assert b"welcome" in heard
    assert b"before" not in heard
    assert {
        bytes(each.account) for each in v.state(ben).strands[TEA].graph.members(v.state(ben).strands[TEA].final)
    } == {
        v.own(ben),
        v.own(desk),
    }


def test_who_was_invited_by_the_card_of_before_is_invited_again_by_the_new_one() -> None:
    """Its KeyPackages can be had before its card is known: the Welcome goes to an inbox that nobody reads."""
    v = Village()
    laptop, ben, cleo = account(v, "laptop"), v.account("ben"), v.account("cleo")
    befriend(v, laptop, ben)
    befriend(v, cleo, ben)
    v.wait(seconds=1)
    known, people = edition(v, laptop), v.state(laptop).book
    lose(v, laptop)
    v.packages[v.own(laptop)].clear()
    desk = recover(v, "desk", known=known, book=people)
    v.wait(seconds=1)
    v.do(ben, inputs.Open(conversation=TEA))
    invite(v, ben, desk)
    invite(v, ben, cleo, name="cleo")
    v.wait(hours=2)
    assert TEA not in v.state(desk).strands
    strand = v.state(ben).strands[TEA]
    nobody = [each for each in strand.graph.members(strand.head) if each.account == v.own(desk)]
    assert nobody
    assert strand.final != strand.head
    v.do(ben, inputs.AddContact(card=card(v, desk), petname="anna"))
    v.wait(minutes=30)
    strand = v.state(ben).strands[TEA]
    assert strand.final == strand.head == v.state(desk).strands[TEA].head == v.state(cleo).strands[TEA].head
    there = [each for each in strand.graph.members(strand.head) if each.account == v.own(desk)]
    assert len(there) == 1
    assert there[0].incarnation != nobody[0].incarnation
    assert not v.told(desk, events.Warned)


def test_another_card_with_the_same_inbox_changes_nothing() -> None:
    v = Village()
    anna, ben = v.account("anna"), v.account("ben")
    befriend(v, anna, ben)
    v.do(ben, inputs.Open(conversation=TEA))
    lose(v, anna)
    invite(v, ben, anna)
    v.wait(minutes=5)
    before = v.state(ben).strands[TEA].head
    v.do(ben, inputs.AddContact(card=card(v, anna), petname="Anna"))
    v.wait(minutes=30)
    assert v.state(ben).strands[TEA].head == before


@pytest.mark.parametrize("now", [0, founding.LEAST_TIME - 1])
def test_a_clock_that_was_never_set_is_no_clock_to_recover_by(now: int) -> None:
    v = Village()
    with pytest.raises(Misuse) as refused:
        founding.recovered(v.world("desk"), SEED, "desk", now, v.config)
    assert refused.value.code == "clock"


def test_another_phrase_takes_up_nothing() -> None:
    v = Village()
    laptop, provider = account(v, "laptop"), v.world("desk")
    with pytest.raises(Misuse) as refused:
        founding.recovered(provider, new_seed(provider), "desk", v.now, v.config, known=edition(v, laptop))
    assert refused.value.code == "another-account"


def test_rules_that_take_several_devices_are_laid_down() -> None:
    v = Village()
    laptop = account(v, "laptop")
    homes.link(v, laptop, "phone")
    root = root_key(v.devices[laptop].provider.suite(1), SEED)[0]
    rules = Policy(delegates_revoke=False, overrulers=2)
    v.do(laptop, inputs.SetRules(intent=IntentId(b"r" * 16), root=root, rules=rules))
    v.wait(minutes=5)
    found = edition(v, recover(v, "desk", known=edition(v, laptop)))
    assert (found.devices.policy.overrulers, found.devices.policy.delegates_revoke) == (0, False)


def test_the_root_key_is_not_kept() -> None:
    v = Village()
    desk = recover(v, "desk")
    root, public = root_key(v.devices[desk].provider.suite(1), SEED)
    everything = b"".join(stored.rows(v.state(desk)).values())
    assert public in everything
    assert root.raw not in everything
    assert SEED.raw not in everything
