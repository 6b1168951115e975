"""draft-ietf-mls-virtual-clients, privacy considerations: others see one ordinary member, whichever device acts.

Two clients play one script, an ordinary one and a virtual one whose five devices take turns at random; an observer in
the conversation writes down all that it and the carriers see (`traces`). First, the two must look alike field by field,
in every length and in everything that can be read. Second, classifiers that learned from half of the scripts must guess
no better than by chance on the other half, where they also have what ought to be random. What is overlooked is the
DerivationInfo and nothing else; and the same eyes find at once whoever does not hide as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from mls.commit import Committed
from mls.proposals import Proposal
from mls.secret_tree import APPLICATION
from mls.virtual.ff1 import SmallSpacePrp
from mls.virtual.settings import SignaturePolicy
from tests.mls.clients import PUBLIC
from tests.mls.virtual.household import Device
from tests.mls.virtual.privacy_scripts import play, script
from tests.mls.virtual.privacy_statistics import Trace, Verdict, distinguish
from tests.mls.virtual.privacy_subjects import Decoy, Ordinary, Subject, Virtual
from tests.mls.virtual.traces import Observer, Sighting, tokens

Maker = Callable[[object], Subject]


def derived(seed: object) -> Subject:
    return Virtual(seed, policy=SignaturePolicy.DERIVED)


def rotating(seed: object) -> Subject:
    return Ordinary(seed, rotates=True)


def watched(make: Maker, seed: object, length: int, *, overlooks: bool) -> list[Sighting]:
    subject = make(seed)
    seen = play(subject, script(seed, length), Observer(overlooks=overlooks), seed=seed)
    if isinstance(subject, Virtual):
        assert len(subject.house.devices) >= 5
    return seen


def trace(sightings: list[Sighting]) -> Trace:
    return [(each.kind, said) for each, said in zip(sightings, tokens(sightings), strict=True)]


def alike(one: list[Sighting], other: list[Sighting]) -> None:
    """What happened is the same, and nothing in it shows who did it."""
    assert [each.kind for each in one] == [each.kind for each in other]
    for mine, yours in zip(one, other, strict=True):
        assert mine.fields == yours.fields
        assert mine.noise.keys() == yours.noise.keys()


def judge(
    first: Maker, second: Maker, seeds: Iterable[object], length: int, *, overlooks: bool = True, equal: bool = False
) -> Verdict:
    """Have both play the scripts, and classifiers that saw one half of them guess at the other half."""
    pairs: list[tuple[Trace, bool]] = []
    for seed in seeds:
        one, other = (watched(make, seed, length, overlooks=overlooks) for make in (first, second))
        if equal:
            alike(one, other)
        pairs += [(trace(one), False), (trace(other), True)]
    half = len(pairs) // 2 & ~1
    return distinguish(pairs[:half], pairs[half:])


# The claim


@pytest.mark.slow
def test_nothing_tells_a_virtual_client_from_an_ordinary_one() -> None:
    verdict = judge(Ordinary, Virtual, range(70), 100, equal=True)
    print(verdict)
    assert verdict.guesses > 14_000
    assert verdict.advantage <= 0.02, str(verdict)
    assert verdict.worst < 4, str(verdict)


@pytest.mark.long
def test_nothing_tells_them_apart_in_many_conversations() -> None:
    verdict = judge(Ordinary, Virtual, [f"long {number}" for number in range(1_200)], 50, equal=True)
    print(verdict)
    assert verdict.guesses > 100_000
    assert verdict.advantage <= 0.02, str(verdict)
    assert verdict.trace_advantage <= 0.1, str(verdict)
    assert verdict.worst < 4, str(verdict)


@pytest.mark.slow
def test_nothing_is_overlooked_where_ordinary_clients_carry_the_like() -> None:
    """The draft's advice to whoever wants to hide which leaves are virtual; here not even the DerivationInfo tells."""
    verdict = judge(Decoy, Virtual, range(12), 60, overlooks=False, equal=True)
    assert verdict.worst < 4, str(verdict)


@pytest.mark.slow
def test_derived_signature_keys_look_like_a_client_that_changes_them_with_each_leaf() -> None:
    verdict = judge(rotating, derived, range(12), 60, equal=True)
    assert verdict.worst < 4, str(verdict)


@pytest.mark.slow
def test_nothing_tells_where_handshakes_are_public() -> None:
    """Then carriers read what members do."""
    verdict = judge(
        lambda seed: Ordinary(seed, parameters=PUBLIC),
        lambda seed: Virtual(seed, parameters=PUBLIC),
        range(12),
        60,
        equal=True,
    )
    assert verdict.worst < 4, str(verdict)


# That the eyes are sharp


class Striped(Virtual):
    """Each device takes generations of its own, so that none is taken twice (docs/spec-notes.md: off by default)."""

    def prepare(self, device: Device) -> None:
        group = device.groups[b"group"]
        keys, own = group.keys, device.emulation.group.own_leaf
        while True:
            after, key = keys.next_key(group.suite, group.own_leaf, APPLICATION)
            if key.generation % 8 == own % 8:
                break
            keys = after
        device.groups[b"group"] = replace(group, keys=keys)


class Forced(Virtual):
    """Every commit has a path."""

    def commit(self, *proposals: Proposal, force_path: bool = False) -> Committed:
        return super().commit(*proposals, force_path=True)


def tell(first: Maker, second: Maker, *, overlooks: bool = True) -> Verdict:
    return judge(first, second, range(16), 60, overlooks=overlooks)


@pytest.mark.slow
def test_the_derivation_info_is_seen_at_once() -> None:
    verdict = tell(Ordinary, Virtual, overlooks=False)
    assert verdict.advantage > 0.2, str(verdict)
    for kind in ("commit with path", "external commit", "welcome", "group info", "key package"):
        right, guesses = verdict.by_kind[kind]
        assert right == guesses, str(verdict)
    assert verdict.trace_advantage == 1


@pytest.mark.slow
@pytest.mark.parametrize("leaky", [Striped, Forced, derived])
def test_a_client_that_hides_less_is_found(leaky: Maker) -> None:
    verdict = tell(Ordinary, leaky)
    assert verdict.advantage > 0.02, str(verdict)
    assert verdict.worst > 5, str(verdict)


@pytest.mark.slow
def test_guards_without_their_permutation_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallSpacePrp, "encrypt", lambda _, value: value)
    monkeypatch.setattr(SmallSpacePrp, "decrypt", lambda _, value: value)
    verdict = tell(Ordinary, Virtual)
    assert verdict.advantage > 0.1, str(verdict)
    assert verdict.worst > 5, str(verdict)
