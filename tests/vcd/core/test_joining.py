"""Two delegates each made the next version of the list (`vcd.core.joining`)."""

from __future__ import annotations

from tests.vcd.core.branches import bring
from tests.vcd.core.homes import delegates, device, devices_of, here, link
from tests.vcd.core.talking import TEA, say, strand
from tests.vcd.core.village import Village
from vcd.core import events, inputs, listing
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.head import Head, contradiction
from vcd.core.names import IntentId

SEEDS = range(1, 13)


def apart(seed: int, *, laptop: str = "tablet", phone: str = "tablet") -> Village:
    """A laptop and a phone, both delegates, remove a device while they do not hear each other; ben is on one side."""
    village = Village(seed)
    delegates(village, "laptop", "phone")
    village.do("laptop", inputs.Open(conversation=TEA))
    for name in dict.fromkeys(("tablet", laptop, phone)):
        link(village, "laptop", name)
    bring(village, "laptop", "ben")
    village.wait(minutes=5)
    village.part(["laptop"] if seed % 2 else ["laptop", "ben"], ["phone", "ben"] if seed % 2 else ["phone"], ["tablet"])
    for name, whom in (("laptop", laptop), ("phone", phone)):
        intent = IntentId(name.encode().ljust(16))
        village.do(name, inputs.RemoveDevice(intent=intent, device=device(village, whom)))
    village.wait(seconds=30)
    return village


def shown(village: Village, name: str) -> Head:
    """What the account's leaf in the conversation shows."""
    kept = strand(village, name).here
    assert kept is not None
    heads = [head_of(node.credential) for _, node in kept.group.members]
    [head] = [each for each in heads if each is not None and each.account == village.own("laptop")]
    return head


def test_a_conversation_that_saw_the_other_list_gets_one_that_follows_both() -> None:
    """Home and conversation choose for themselves: the seeds have both outcomes."""
    seen = set()
    for seed in SEEDS:
        village = apart(seed)
        made = {name: village.state(name).household.made for name in ("laptop", "phone")}
        first, second = made["laptop"], made["phone"]
        assert first is not None
        assert second is not None
        assert contradiction(first.head, second.head) is not None
        village.heal()
        village.wait(seconds=1)
        at_home, in_tea = listing.of_group(here(village, "laptop").group).head, shown(village, "ben")
        seen.add((at_home.digest == first.head.digest, in_tea.digest == first.head.digest))
        village.wait(minutes=10)
        lists = [listing.of_group(here(village, name).group) for name in ("laptop", "phone")]
        assert lists[0] == lists[1]
        assert shown(village, "ben") == shown(village, "phone") == lists[0].head
        for name in ("laptop", "phone"):
            assert village.state(name).rotation is None
            assert devices_of(village, name) == {device(village, each) for each in ("laptop", "phone")}
            warned = [each for each in village.told(name, events.Warned) if each.code == "second-list"]
            assert len(warned) <= 1
        texts = [f"{name} afterwards" for name in ("laptop", "phone", "ben")]
        for name, text in zip(("laptop", "phone", "ben"), texts, strict=True):
            say(village, name, text)
        village.wait(minutes=1)
        for name in ("laptop", "phone", "ben"):
            assert {text.encode() for text in texts} <= set(village.said(name))
        assert not {text.encode() for text in texts} & set(village.said("tablet"))
    assert {one == other for one, other in seen} == {True, False}


def test_a_list_that_shuts_out_somebody_who_is_here_is_joined_by_nobody_but_who_signed_it() -> None:
    """The laptop removed the box, on a branch that lost, and is off. A conversation shows that: the phone waits."""
    seen = 0
    for seed in SEEDS:
        village = apart(seed, laptop="box")
        made = village.state("laptop").household.made
        assert made is not None
        village.down("laptop")
        village.heal()
        village.wait(minutes=10)
        at_home = listing.of_group(here(village, "phone").group)
        if at_home.devices.revoked(device(village, "box")) is not None or shown(village, "ben") != made.head:
            continue
        seen += 1
        assert at_home == village.state("phone").household.made
        village.restart("laptop")
        village.wait(minutes=20)
        at_home = listing.of_group(here(village, "phone").group)
        assert shown(village, "ben") == at_home.head
        assert devices_of(village, "phone") == {device(village, each) for each in ("laptop", "phone")}
        if seen == 2:
            break
    assert seen == 2
