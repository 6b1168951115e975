"""How a device comes into an account (`vcd.core.linking`, `briefing`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.credential import BasicCredential
from mls.fork.retention import left
from tests.vcd.core.branches import TEA as CHAT, commit, heads, remove as out, talk, tea as chat
from tests.vcd.core.company import act
from tests.vcd.core.homes import (
    TEA,
    ask,
    blank,
    couple,
    device,
    devices_of,
    fates,
    handed,
    here,
    home,
    link,
    listed,
    remove,
    say,
    take_up,
    tea,
    trio,
)
from tests.vcd.core.people import friends, open_talk
from tests.vcd.core.village import Village
from vcd.core import briefing, events, founding, inputs, linking, listing, stock, summaries
from vcd.core.accounts import editions
from vcd.core.accounts.credential import MARK, DeviceCredential, Identity, read
from vcd.core.errors import Misuse
from vcd.core.household import Link
from vcd.core.names import DeviceId, GroupId, IntentId
from vcd.core.policy import Policy, Who
from vcd.core.record import decode, encode, encode_as
from vcd.core.strand import Membership
from vcd.core.turn import Turn


def test_a_new_device_has_what_the_others_have() -> None:
    village = Village()
    laptop, phone = couple(village)
    one, other = village.state(laptop), village.state(phone)
    assert home(village, phone).head == home(village, laptop).head
    assert devices_of(village, phone) == {device(village, laptop), device(village, phone)} == listed(village, phone)
    assert other.strands[TEA].head == one.strands[TEA].head
    assert other.book.edition == one.book.edition
    assert other.household.signing == one.household.signing
    assert other.household.inbox == one.household.inbox
    assert set(other.joined) >= {name for name, each in one.joined.items() if each.until is None and each.inbox}
    assert not village.state(laptop).household.links


def test_a_new_device_speaks_after_another_one_replaced_the_leaf() -> None:
    village = Village()
    laptop, phone = couple(village)
    say(village, phone, b"from the phone")
    assert village.said(laptop) == village.said(phone) == [b"from the phone"]


def test_nothing_waits_for_what_was_before_a_new_device() -> None:
    village = Village()
    _, phone = couple(village)
    tablet = link(village, "laptop", "tablet")
    assert not village.state(phone).waiting.items
    assert not village.state(tablet).waiting.items


def test_a_new_device_is_handed_nothing_before_its_add_is_certain() -> None:
    village = Village()
    laptop, phone = couple(village)
    village.part([laptop], [phone])  # so the phone does not vote
    package = blank(village, laptop, "tablet")
    village.devices["tablet"].group = 1
    ask(village, laptop, "tablet", package)
    village.wait(minutes=5)
    assert device(village, "tablet") in devices_of(village, laptop)
    assert not handed(village, laptop, "tablet")
    village.heal()
    village.wait(minutes=1)
    assert handed(village, laptop, "tablet")
    take_up(village, laptop, "tablet", package)
    village.wait(minutes=2)
    assert len(devices_of(village, phone)) == 3
    assert home(village, phone).head == home(village, laptop).head == home(village, "tablet").head


def test_the_new_device_votes_for_the_commit_that_it_came_by() -> None:
    village = Village()
    laptop, phone = couple(village)
    for name in (laptop, phone):
        strand = home(village, name)
        assert strand.final == strand.head


def test_what_is_handed_over_is_handed_over_again_until_the_device_is_heard() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    ask(village, "laptop", "phone", package)
    village.wait(minutes=1)
    before = len(handed(village, "laptop", "phone"))
    assert before
    village.restart("laptop")
    again = handed(village, "laptop", "phone")
    assert len(again) == before + 1
    assert len(set(again)) == 1
    take_up(village, "laptop", "phone", package)
    village.restart("laptop")
    assert len(handed(village, "laptop", "phone")) == before + 1


def test_what_is_handed_over_twice_is_taken_up_once() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    ask(village, "laptop", "phone", package)
    village.wait(minutes=1)
    take_up(village, "laptop", "phone", package)
    before = village.state("phone")
    village.step("phone", inputs.Linked(welcome=handed(village, "laptop", "phone")[0], packages=(package,)))
    assert village.state("phone").emulation is before.emulation


def test_two_devices_are_linked_at_once() -> None:
    village = Village()
    village.account("laptop")
    packages = {name: blank(village, "laptop", name) for name in ("phone", "tablet")}
    for name, package in packages.items():
        ask(village, "laptop", name, package)
    village.wait(minutes=5)
    for name, package in packages.items():
        if not handed(village, "laptop", name):
            village.wait(minutes=5)
        take_up(village, "laptop", name, package)
        village.wait(minutes=2)
    assert {len(devices_of(village, name)) for name in ("laptop", "phone", "tablet")} == {3}


def test_only_a_delegate_lets_in_devices() -> None:
    village = Village()
    laptop, phone = couple(village)
    package = blank(village, laptop, "tablet")
    with pytest.raises(Misuse) as refused:
        ask(village, phone, "tablet", package)
    assert refused.value.code == "not-delegate"
    with pytest.raises(Misuse):
        linking.credential_for(village.state(phone), village.devices[phone].provider, device(village, phone), b"key")


def test_a_device_with_a_credential_that_is_not_its_own_is_not_let_in() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    command = inputs.LinkDevice(
        intent=IntentId(b"i"), device=DeviceId(bytes(16)), name="phone", package=package.key_package
    )
    with pytest.raises(Misuse) as refused:
        village.do("laptop", command)
    assert refused.value.code == "bad-device"


def test_a_device_with_a_credential_that_no_delegate_signed_is_not_let_in() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    node = package.key_package.leaf_node
    identity = read(node.credential)
    assert isinstance(identity, DeviceCredential)
    forged = BasicCredential(MARK + encode_as(Identity, replace(identity, signature=_altered(identity.signature))))
    state = village.state("phone")
    again = founding.package_for(village.devices["phone"].provider, state, forged, village.now)
    with pytest.raises(Misuse) as refused:
        ask(village, "laptop", "phone", again)
    assert refused.value.code == "bad-device"
    assert not village.state("laptop").household.links


def test_a_new_device_does_not_come_in_where_it_is_not_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lets it in may be a thief, and its list one that no delegate signed."""
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    with monkeypatch.context() as dishonest:
        edition = village.state("laptop").book.edition
        assert edition is not None
        dishonest.setattr(editions, "add_device", lambda *_: editions.Made(edition=edition))
        dishonest.setattr(listing, "check", lambda *_: None)
        ask(village, "laptop", "phone", package)
        village.wait(minutes=1)
    with pytest.raises(Misuse) as refused:
        take_up(village, "laptop", "phone", package)
    assert refused.value.code == "bad-handover"
    assert village.state("phone").home is None


def test_a_device_of_another_account_is_not_let_in() -> None:
    village = Village()
    village.account("laptop")
    village.account("stranger")
    package = blank(village, "stranger", "phone")
    with pytest.raises(Misuse) as refused:
        ask(village, "laptop", "phone", package)
    assert refused.value.code == "bad-device"


def test_a_device_that_was_shut_out_does_not_come_back_as_the_same_one() -> None:
    village = Village()
    laptop, _, tablet = trio(village)
    old = village.state(tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    provider = village.devices[tablet].provider
    edition, delegate = village.state(laptop).book.edition, village.state(laptop).household.delegate
    assert edition is not None
    assert delegate is not None
    key = founding.device_key(provider, old)
    credential = linking.credential_for(village.state(laptop), provider, old.me.device, key)
    package = founding.package_for(provider, old, credential, village.now)
    command = inputs.LinkDevice(intent=IntentId(b"i"), device=old.me.device, name="tablet", package=package.key_package)
    with pytest.raises(Misuse) as refused:
        village.do(laptop, command)
    assert refused.value.code == "device-revoked"


def test_what_is_handed_over_opens_only_for_the_device_that_it_is_for() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    ask(village, "laptop", "phone", package)
    village.wait(minutes=1)
    bundle = handed(village, "laptop", "phone")[-1]
    other = blank(village, "laptop", "thief")
    for packages in ((other,), ()):
        with pytest.raises(Misuse) as refused:
            village.do("thief", inputs.Linked(welcome=bundle, packages=packages))
        assert refused.value.code == "bad-handover"
    assert village.state("thief").home is None


def _altered(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("part", ["welcome", "briefing", "nonce", "cut", "trees"])
def test_what_was_altered_on_the_way_is_not_taken_up(part: str) -> None:
    village = Village()
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=TEA))
    package = blank(village, "laptop", "phone")
    ask(village, "laptop", "phone", package)
    village.wait(minutes=1)
    data = handed(village, "laptop", "phone")[-1]
    bundle = decode(briefing.Bundle, data)
    if part == "trees":
        bundle = replace(bundle, trees=())
    elif part == "welcome":
        bundle = replace(bundle, welcome=_altered(bundle.welcome))
    elif part == "nonce":
        bundle = replace(bundle, nonce=_altered(bundle.nonce))
    elif part == "briefing":
        bundle = replace(bundle, briefing=_altered(bundle.briefing))
    altered = data[:-1] if part == "cut" else encode(bundle)
    before = village.state("phone")
    with pytest.raises(Misuse) as refused:
        village.do("phone", inputs.Linked(welcome=altered, packages=(package,)))
    assert refused.value.code == "bad-handover"
    assert village.state("phone") is before


def test_a_bundle_shows_no_secret_of_the_account() -> None:
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    ask(village, "laptop", "phone", package)
    village.wait(minutes=1)
    data = handed(village, "laptop", "phone")[-1]
    household = village.state("laptop").household
    assert household.signing is not None
    assert household.inbox is not None
    assert household.delegate is not None
    for secret in (household.signing.raw, household.inbox.raw, household.delegate.raw):
        assert secret not in data


def test_an_ordinary_device_is_not_given_the_delegates_key() -> None:
    village = Village()
    _, phone = couple(village)
    assert village.state(phone).household.delegate is None


def test_contacts_see_the_new_list_in_the_next_leaf_and_not_before_it_is_final() -> None:
    village = Village()
    laptop, phone = couple(village)
    edition = listing.of_group(here(village, laptop).group)
    assert village.state(laptop).book.edition == edition
    assert village.state(phone).book.edition == edition
    village.part([laptop], [phone])
    package = blank(village, laptop, "tablet")
    village.devices["tablet"].group = 1
    ask(village, laptop, "tablet", package)
    village.wait(minutes=1)
    assert listing.of_group(here(village, laptop).group).version > edition.version
    assert village.state(laptop).book.edition == edition


def test_a_conversation_that_was_opened_while_a_device_was_let_in_is_known_to_it() -> None:
    """Whatever one device says before it hears of the Add reaches the new device too."""
    village = Village()
    laptop, phone = couple(village)
    village.part([laptop], [phone])
    package = blank(village, laptop, "tablet")
    village.devices["tablet"].group = 1
    ask(village, laptop, "tablet", package)
    other = GroupId(b"other" + bytes(11))
    village.do(phone, inputs.Open(conversation=other))
    village.heal()
    village.wait(minutes=1)
    take_up(village, laptop, "tablet", package)
    village.wait(minutes=3)
    for name in (laptop, phone, "tablet"):
        assert other in village.state(name).strands
        say(village, name, name.encode(), other)
    assert sorted(village.said("tablet")) == [b"laptop", b"phone", b"tablet"]
    assert tea(village, "tablet").epoch_id == tea(village, laptop).epoch_id


def test_who_links_is_told_when_it_is_certain() -> None:
    village = Village()
    laptop, phone = couple(village)
    assert [each.stands for each in village.told(laptop, events.IntentFate)] == [True]
    assert village.told(phone, events.DevicesChanged)


def test_a_blank_device_does_nothing_and_breaks_nothing() -> None:
    village = Village()
    provider = village.world("blank")
    village.move_in("blank", provider, founding.blank(provider, "blank"))
    village.wait(days=2)
    assert village.devices["blank"].effects == []
    with pytest.raises(Misuse):
        village.do("blank", inputs.Open(conversation=TEA))


def test_keypackages_that_a_new_device_cannot_take_up_are_withdrawn_and_made_anew() -> None:
    village = Village()
    laptop, phone = couple(village)
    package = blank(village, laptop, "tablet")
    known = len(village.log)
    village.lost = lambda frame, name: name == laptop and frame in village.log[known:late]
    late = 1 << 30
    act(village, phone, stock.revoke_all)
    act(village, phone, lambda turn: stock.replenish(turn, b""))
    late = len(village.log)
    batch = set(village.state(phone).emulation.stock)  # type: ignore[union-attr]
    ask(village, laptop, "tablet", package)
    village.wait(minutes=1)
    take_up(village, laptop, "tablet", package)
    village.lost = lambda _frame, _name: False
    village.wait(minutes=5)
    stocks = [set(emulation.stock) for name in village.devices if (emulation := village.state(name).emulation)]
    assert stocks[0] == stocks[1] == stocks[2]
    assert not batch & stocks[0]
    assert len(stocks[0]) >= 3 * village.config.packages
    assert not any(village.state(name).waiting.items for name in village.devices)


def test_an_add_beside_which_others_went_on_is_not_in_the_way_of_anything() -> None:
    """The laptop is the senior one, and voted for its Add: nothing else can be final, however long the other branch."""
    village = Village()
    laptop, phone = couple(village)
    village.part([laptop], [phone])
    package = blank(village, laptop, "tablet")
    village.devices["tablet"].group = 1
    ask(village, laptop, "tablet", package)
    for number in range(8):
        intent = IntentId(b"refresh" + bytes([number]))
        village.do(phone, inputs.Refresh(intent=intent, conversation=home(village, phone).group_id))
        village.wait(minutes=1)
    village.heal()
    village.wait(minutes=10)
    take_up(village, laptop, "tablet", package)
    village.wait(minutes=2)
    strands = [home(village, name) for name in (laptop, phone, "tablet")]
    assert len({strand.head for strand in strands}) == 1
    assert all(strand.head == strand.final for strand in strands)
    assert len(devices_of(village, phone)) == 3


def test_what_is_in_the_way_of_an_add_may_be_removed_after_it() -> None:
    """The lost phone votes for nothing, and the tablet for nothing before it is told: each would wait for the other."""
    village = Village()
    laptop, phone = couple(village)
    village.down(phone)
    package = blank(village, laptop, "tablet")
    ask(village, laptop, "tablet", package)
    village.wait(minutes=1)
    assert not handed(village, laptop, "tablet")
    remove(village, laptop, phone)
    village.wait(minutes=1)
    take_up(village, laptop, "tablet", package)
    village.wait(minutes=5)
    assert devices_of(village, "tablet") == {device(village, laptop), device(village, "tablet")}
    for name in (laptop, "tablet"):
        assert home(village, name).head == home(village, name).final


def test_a_conversation_whose_head_was_left_and_came_back_is_handed_over_too() -> None:
    """A branch that wins again: what only a head needs was deleted when it lost."""
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", group=TEA)

    def leave(turn: Turn) -> None:
        strand = turn.strand(TEA)
        kept = strand.kept[strand.head]
        turn.put(replace(strand, kept=strand.kept.set(strand.head, replace(kept, group=left(kept.group)))))

    act(village, "ben", leave)
    assert not tea(village, "ben").secrets.exporter.raw
    link(village, "ben", "phone")
    assert len(devices_of(village, "phone")) == 2
    say(village, "phone", b"from the phone")
    assert village.said("anna") == [b"from the phone"]


def test_what_the_others_only_heard_of_counts_no_more_on_a_new_device() -> None:
    village = talk("anna", "laptop", "ben")
    village.lost = lambda frame, name: frame.by == "ben" and name == "laptop"
    children = [commit(village, "ben") for _ in range(3)]
    headers = [chat(village, "ben").signed[each] for each in children]
    act(village, "laptop", lambda turn: summaries.learn(turn, CHAT, headers, ()))
    strand = chat(village, "laptop")
    assert children[-1] in strand.graph.steps
    assert strand.head == strand.final
    link(village, "laptop", "phone")
    assert heads(village, "phone") == heads(village, "laptop")
    assert chat(village, "phone").here is not None


def test_a_conversation_that_we_were_taken_out_of_is_handed_over_as_long_as_we_may_come_back() -> None:
    village = talk("anna", "cleo", "laptop", policy=Policy(remove=Who.EVERYBODY))
    village.part(["anna"])
    removal = out(village, "cleo", "laptop")
    assert chat(village, "laptop").membership is Membership.OUT
    link(village, "laptop", "phone")
    assert heads(village, "phone") == heads(village, "laptop") == {removal}
    assert chat(village, "phone").membership is Membership.OUT
    out(village, "anna", "cleo")  # who may: that wins
    village.heal()
    village.wait(minutes=20)
    for name in ("laptop", "phone"):
        assert chat(village, name).membership is Membership.IN, name
    assert len(heads(village, "anna", "laptop", "phone")) == 1
    said = inputs.Say(conversation=CHAT, nonce=bytes(16), data=b"still here")
    village.do("phone", said)
    village.wait(minutes=1)
    assert village.said("anna") == village.said("laptop") == [b"still here"]


def test_a_conversation_that_is_over_is_not_handed_over() -> None:
    village = talk("anna", "cleo", "laptop")
    out(village, "anna", "laptop")
    village.wait(minutes=20)
    assert chat(village, "laptop").over
    link(village, "laptop", "phone")
    assert CHAT not in village.state("phone").strands


def test_a_device_that_is_not_on_the_list_yet_can_be_given_up() -> None:
    """It waits to be added again, where the list that had it does not count any more."""
    village = Village()
    village.account("laptop")
    package = blank(village, "laptop", "phone")
    waiting = Link(
        device=device(village, "phone"),
        name="phone",
        intent=IntentId(b"add"),
        package=package.key_package.encode(),
        tries=3,
    )
    state = village.state("laptop")
    household = replace(state.household, links=state.household.links.set(waiting.device, waiting))
    village.devices["laptop"].state = replace(state, household=household)
    intent = remove(village, "laptop", "phone")
    assert fates(village, "laptop", intent) == [True]
    assert fates(village, "laptop", IntentId(b"add")) == [False]
    assert not village.state("laptop").household.links
    village.wait(minutes=10)
    assert listed(village, "laptop") == {device(village, "laptop")}
    with pytest.raises(Misuse) as refused:
        remove(village, "laptop", "phone")
    assert refused.value.code == "no-such-device"


def test_a_device_that_was_just_asked_for_can_be_given_up() -> None:
    village = Village()
    laptop, phone = couple(village)
    package = blank(village, laptop, "tablet")
    ask(village, laptop, "tablet", package)
    intent = remove(village, laptop, "tablet")
    village.wait(minutes=5)
    assert fates(village, laptop, intent) == [True]
    assert devices_of(village, phone) == {device(village, laptop), device(village, phone)}
