"""KeyPackages: made, announced, given out, used up, taken back."""

from __future__ import annotations

from dataclasses import replace

from mls.codec import decode_exactly
from mls.components.last_resort import is_last_resort
from mls.key_package import KeyPackage
from mls.registries import KeyPackageRef
from tests.vcd.core.homes import link
from tests.vcd.core.people import TEA, befriend, friends, intent, invite, open_talk, together
from tests.vcd.core.village import Village
from vcd.core import effects, events, inputs, node, stock
from vcd.core.accounts.admission import head_of
from vcd.core.config import Config
from vcd.core.names import EpochId, GroupId
from vcd.core.policy import DAY
from vcd.core.state import State
from vcd.core.turn import Turn
from vcd.core.wanting import Share


def alone(**config: object) -> Village:
    village = Village(config=replace(Config(packages=4, package_public=2), **config))  # type: ignore[arg-type]
    village.account("anna")
    village.wait(seconds=1)
    return village


def shares(village: Village, name: str = "anna") -> dict[bytes, Share]:
    return dict(sorted(village.state(name).stock.mine.items()))


def offers(village: Village, given: inputs.Input) -> list[effects.Effect]:
    """What a device does with KeyPackages when it is given that; the device stays as it was."""
    device = village.devices["anna"]
    outcome = node.step(device.state, given, village.now, device.provider)
    return [each for each in outcome.effects if isinstance(each, effects.OfferPackages | effects.TakeBackPackages)]


def hand_out(village: Village, many: int) -> list[bytes]:
    """Give so many of those for contacts to somebody."""
    waiting = [ref for ref, each in shares(village).items() if not each.given and not each.public and not each.last]
    for reference in waiting[:many]:
        village.do("anna", inputs.GivenOut(reference=reference, left=0))
    return waiting[:many]


def test_a_new_account_offers_some_for_contacts_a_few_for_strangers_and_one_of_last_resort() -> None:
    village = alone()
    found = list(shares(village).values())
    assert (len(found), sum(each.public for each in found), sum(each.last for each in found)) == (7, 2, 1)
    packages = [decode_exactly(each, KeyPackage.decode) for each in village.packages[village.own("anna")]]
    assert [is_last_resort(each.extensions) for each in packages] == [False] * 6 + [True]
    assert len({each.init_key for each in packages}) == 7
    assert len({each.leaf_node.signature_key for each in packages}) == 7


def test_what_is_offered_was_announced_at_home_before() -> None:
    village = alone()
    link(village, "anna", "phone")
    hand_out(village, 2)
    device = village.devices["anna"]
    outcome = node.step(device.state, inputs.Tick(), village.now + 1, device.provider)
    kinds = [type(each) for each in outcome.effects]
    assert effects.Publish in kinds[: kinds.index(effects.OfferPackages)]
    [offer] = [each for each in outcome.effects if isinstance(each, effects.OfferPackages)]
    assert len(offer.packages) == len(offer.strangers) == len(offer.last_resort) == 2
    village.wait(seconds=1)
    emulation = village.state("phone").emulation
    assert emulation is not None
    assert {*shares(village)} <= {bytes(each) for each in emulation.stock}


def test_new_ones_are_made_when_half_of_them_are_left() -> None:
    village = alone()
    hand_out(village, 1)
    village.wait(seconds=1)
    assert len(village.packages[village.own("anna")]) == 7
    hand_out(village, 1)
    village.wait(seconds=1)
    assert len(village.packages[village.own("anna")]) == 9
    left = [each for each in shares(village).values() if not each.given and not each.public and not each.last]
    assert len(left) == 4


def crash_before_the_offer(village: Village) -> effects.OfferPackages:
    """Anna makes two more, and is gone when that is stored; what she was about to offer."""
    hand_out(village, 2)
    device = village.devices["anna"]
    outcome = node.step(device.state, inputs.Tick(), village.now + 1, device.provider)
    device.state = outcome.state
    [offer] = [each for each in outcome.effects if isinstance(each, effects.OfferPackages)]
    return offer


def test_what_was_made_and_perhaps_not_offered_is_offered_again_until_somebody_has_it() -> None:
    village = alone()
    lost = crash_before_the_offer(village)
    [again] = offers(village, inputs.Started())
    assert isinstance(again, effects.OfferPackages)
    assert set(zip(again.references, again.packages, again.strangers, again.last_resort, strict=True)) == set(
        zip(lost.references, lost.packages, lost.strangers, lost.last_resort, strict=True)
    )
    village.restart("anna")
    assert len(village.packages[village.own("anna")]) == 9
    assert offers(village, inputs.Started()) == []


def test_what_was_given_out_or_is_to_be_taken_back_is_not_offered_again() -> None:
    village = alone()
    lost = crash_before_the_offer(village)
    village.do("anna", inputs.GivenOut(reference=lost.references[0], left=0))
    device = village.devices["anna"]
    turn = Turn(device.state, village.now, device.provider)
    stock.revoke(turn, [KeyPackageRef(lost.references[1])])
    device.state = turn.state
    assert offers(village, inputs.Started()) == [effects.TakeBackPackages(references=(lost.references[1],))]


def test_the_last_resort_is_offered_again_after_it_was_given_out() -> None:
    """A device that gives its own out has the only copy of it."""
    village = alone()
    [(last, share)] = [(name, each) for name, each in shares(village).items() if each.last]
    device = village.devices["anna"]
    packages = village.packages[village.own("anna")]
    [package] = [each for each in packages if is_last_resort(decode_exactly(each, KeyPackage.decode).extensions)]
    held = device.state.stock
    kept = replace(held, mine=held.mine.set(last, replace(share, package=package)))
    device.state = replace(device.state, stock=kept)
    village.do("anna", inputs.GivenOut(reference=last, left=0))
    [again] = offers(village, inputs.Started())
    assert isinstance(again, effects.OfferPackages)
    assert again.references == (last,)


def test_what_is_handed_out_twice_counts_once_and_what_is_not_ours_not_at_all() -> None:
    village = alone()
    [first] = hand_out(village, 1)
    before = village.state("anna").stock
    village.do("anna", inputs.GivenOut(reference=first, left=0))
    village.do("anna", inputs.GivenOut(reference=b"whose", left=0))
    assert village.state("anna").stock == before


def test_one_of_last_resort_is_given_out_again_and_goes_once_it_was_used() -> None:
    village = friends("anna", "ben")
    shelf = village.packages[village.own("ben")]
    [last] = [ref for ref, each in village.state("ben").stock.mine.items() if each.last]
    village.do("ben", inputs.GivenOut(reference=last, left=1))
    assert not village.state("ben").stock.mine[last].given
    shelf[:] = shelf[-1:]
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.wait(seconds=1)
    assert together(village, "anna", "ben")
    taken = [each for each in village.devices["ben"].effects if isinstance(each, effects.TakeBackPackages)]
    assert taken[0].references == (last,)
    assert [each.last for each in village.state("ben").stock.mine.values()].count(True) == 1


def test_what_expired_is_let_go_and_replaced() -> None:
    village = alone(package_life=30 * DAY)
    first = set(shares(village))
    village.wait(days=25)
    assert first & set(shares(village)), "they are good still, but not counted on any more"
    assert len(shares(village)) == 14
    village.wait(days=10)
    emulation = village.state("anna").emulation
    assert emulation is not None
    assert not first & set(shares(village))
    assert not first & set(emulation.stock)


def test_revoking_takes_back_all_that_nobody_has_used_and_makes_no_use_of_them_possible() -> None:
    village = alone()
    device = village.devices["anna"]
    first = tuple(shares(village))
    turn = Turn(device.state, village.now, device.provider)
    assert stock.revoke_all(turn) == tuple(sorted(first))
    taken = [each for each in turn.effects if isinstance(each, effects.TakeBackPackages)]
    assert [each.references for each in taken] == [tuple(sorted(first))]
    emulation = turn.emulation
    assert {*first} <= {bytes(each) for each in emulation.withdrawn}
    device.state = turn.state
    assert isinstance(offers(village, inputs.Started())[0], effects.TakeBackPackages)
    village.do("anna", inputs.TakenBack(references=first))
    assert not village.state("anna").stock.going
    village.do("anna", inputs.Started())
    village.wait(seconds=1)
    assert len(shares(village)) == 7
    assert not set(first) & set(shares(village))


def test_what_a_sibling_withdrew_is_taken_back_by_whoever_gives_it_out() -> None:
    village = alone()
    device = village.devices["anna"]
    first = min(shares(village))
    emulation = device.state.emulation
    assert emulation is not None
    device.state = replace(device.state, emulation=emulation.without([first]))  # type: ignore[list-item]
    turn = Turn(device.state, village.now, device.provider)
    stock.reconcile(turn)
    stock.reconcile(turn)
    assert turn.effects == [effects.TakeBackPackages(references=(first,))]


def test_when_the_list_changes_what_shows_the_older_one_is_taken_back_and_made_anew() -> None:
    village = alone()
    given = hand_out(village, 1)
    [last] = [each for each, share in shares(village).items() if share.last]
    old = set(shares(village))
    link(village, "anna", "phone")
    assert set(shares(village)) & old == {*given}
    new = [each for each in shares(village).values() if not each.given]
    assert (len(new), sum(each.public for each in new), sum(each.last for each in new)) == (7, 2, 1)
    edition = village.state("anna").book.edition
    assert edition is not None
    left = [each for each in village.packages[village.own("anna")] if each != village.offered[given[0]]]
    shelf = [decode_exactly(each, KeyPackage.decode) for each in left]
    assert len(shelf) == 14  # the phone has a share of its own
    heads = [head_of(each.leaf_node.credential) for each in shelf]
    assert [each is not None and each.digest == edition.head.digest for each in heads] == [True] * 14
    for name in ("anna", "phone"):  # only what somebody may have can be used still
        emulation = village.state(name).emulation
        assert emulation is not None
        assert {bytes(each) for each in emulation.stock} & old == {*given, last}
    assert not village.state("anna").stock.going


def test_an_invitation_that_waits_for_its_answer_can_be_accepted_after_the_list_changed() -> None:
    """Its Welcome says that the KeyPackage was given away, if nothing else did."""
    village = friends("anna", "ben", accept_contacts=False)
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    link(village, "ben", "phone")
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=1)
    assert together(village, "anna", "ben", "phone")
    assert not village.told("ben", events.Warned)


def test_who_knows_our_newest_list_finds_a_key_package_that_shows_it() -> None:
    village = friends("anna", "ben", packages=10)
    link(village, "ben", "phone")
    befriend(village, "anna", "ben")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.wait(seconds=1)
    assert together(village, "anna", "ben")
    assert not [rule for rule, _ in village.devices["anna"].refused if rule == "package-refused"]


def test_a_key_package_stays_usable_until_its_conversation_is_final() -> None:
    """The same Welcome may be needed on another branch."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    village.part(["anna", "cleo"])  # without ben nothing is final
    invite(village, "anna", "cleo")

    def used(state: State) -> int:
        assert state.emulation is not None
        return sum(each.used for each in state.emulation.stock.values())

    village.wait(hours=2)
    assert used(village.state("cleo")) == 1
    assert len(village.state("cleo").stock.uses) == 1
    village.heal()
    village.wait(minutes=10)
    assert together(village, "anna", "ben", "cleo")
    assert used(village.state("cleo")) == 0
    assert not village.state("cleo").stock.uses


def test_a_key_package_of_a_branch_that_lost_is_kept_until_we_are_on_the_one_that_won() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    village.part(["anna", "cleo"], ["ben"])
    invite(village, "anna", "cleo")
    village.do("ben", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    village.part(["anna", "ben"], ["cleo"])
    village.deliver()
    village.wait(minutes=5)
    emulation = village.state("cleo").emulation
    assert emulation is not None
    assert sum(each.used for each in emulation.stock.values()) == 1
    village.heal()
    village.wait(minutes=10)
    assert together(village, "anna", "ben", "cleo")
    assert not village.state("cleo").stock.uses


def test_a_final_epoch_before_the_welcomes_or_without_us_lets_no_key_package_go() -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")
    village.part(["anna", "cleo"], ["ben"])
    village.do("anna", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    invite(village, "anna", "cleo")
    device = village.devices["cleo"]
    before = device.state.strands[TEA]
    between, ours = before.graph.path(before.head)
    rival = replace(before.graph.steps[between], epoch=EpochId(b"rival" * 6 + b"xx"), tag=b"rival")
    wider = replace(before, graph=before.graph.with_step(rival))
    for final, left in ((between, 1), (rival.epoch, 1), (ours, 0)):
        turn = Turn(device.state, village.now, device.provider)
        stock.moved(turn, wider, replace(wider, standing=replace(wider.standing, final=final)))
        assert len(turn.state.stock.uses) == left


def test_uses_of_one_key_package_are_bounded() -> None:
    village = alone()
    device = village.devices["anna"]
    turn = Turn(device.state, village.now, device.provider)
    for number in range(100):
        stock.used(turn, b"ref", GroupId(b"%d" % number), b"epoch")  # type: ignore[arg-type]
    assert len(turn.state.stock.uses[b"ref"]) == stock.MOST_USES
