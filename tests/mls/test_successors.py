"""RFC 9420 §11.2 and §11.3: groups that continue another one, and those that only say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.errors import (
    CallerError,
    GroupEndedError,
    MissingPskError,
    MlsError,
)
from mls.group import CommitMessage
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import (
    Extension,
)
from mls.proposals import (
    Add,
    PreSharedKey,
    ReInit,
)
from mls.psk import ResumptionPskId
from mls.registries import (
    MLS10,
    ExtensionType,
    GroupId,
    ResumptionUsage,
)
from mls.secrets import ResumptionPsk
from tests.mls.clients import (
    LIFETIME,
    Client,
    Party,
    Psks,
    client,
    default_in,
    party,
    refusal,
)
from tests.mls.suite_variants import GROUP_SUITES


def others(ours: Party, founder: str, suite: int) -> list[tuple[Client, KeyPackageSecrets]]:
    people = [client(name, suite) for name in ours.groups if name != founder]
    return [(each, each.package(ours.env)) for each in people]


def end(ours: Party, reinit: ReInit, by: str = "member00") -> None:
    sent = front.commit(ours[by], ours.env, proposals=[reinit])
    ours.deliver(sent.message, by=by)
    ours.groups[by] = sent.group


NEXT = ReInit(GroupId(b"next"), MLS10, 2, (Extension(ExtensionType.APPLICATION_ID, b"new"),))


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_reinit(suite: int) -> None:
    """Into any suite, founded by somebody other than who ended the old group."""
    ours = party(3, psks=Psks(), capabilities=default_in(suite))
    reinit = replace(NEXT, cipher_suite=suite)
    ours.propose("member02", reinit)
    sent = front.commit(ours["member00"], ours.env)
    for event in ours.deliver(sent.message, by="member00").values():
        assert isinstance(event, CommitMessage)
        assert event.plan.reinit == reinit
    ours.groups["member00"] = sent.group
    assert [ours[name].reinit for name in NAMES3] == [reinit] * 3
    assert len({ours[name].authenticator for name in NAMES3}) == 1
    for name in NAMES3:
        for call in (
            lambda name=name: front.seal(ours[name], ours.env, b"over"),
            lambda name=name: front.commit(ours[name], ours.env),
            lambda name=name: front.propose_update(ours[name], ours.env),
        ):
            with pytest.raises(GroupEndedError):
                call()
    joining = others(ours, "member01", suite)
    founder = client("member01", suite)
    founded = front.continue_group(
        ours["member01"],
        ours.env,
        [Add(package.key_package) for _, package in joining],
        signature_private=founder.signer,
        lifetime=LIFETIME,
    )
    after = Party(ours.env, {"member01": founder}, {"member01": founded.group})
    for each, package in joining:
        after.clients[each.name] = each
        after.groups[each.name] = each.join(ours.env, founded.welcome, [package], prior=ours[each.name])
    after.agree()
    group = after.any
    assert (group.group_id, group.epoch) == (b"next", 1)
    assert group.suite.cipher_suite == suite
    assert group.public.context.extensions == NEXT.extensions
    for name in after.names:
        after.say(name, b"in the new group")
    after.commit("member00")


NAMES3 = ("member00", "member01", "member02")


def found(
    prior: front.Group,
    env: Any,
    joining: list[tuple[Client, KeyPackageSecrets]],
    **options: Any,
) -> bytes:
    made = front.continue_group(
        prior,
        env,
        [Add(package.key_package) for _, package in joining],
        signature_private=options.pop("signer", None) or client("member00", 2).signer,
        lifetime=LIFETIME,
        **options,
    )
    assert made.welcome is not None
    return made.welcome


def test_a_reinit_that_does_not_match() -> None:
    ours = party(3)
    env = ours.env
    unfinished = ours["member01"]
    end(ours, NEXT)
    joining = others(ours, "member00", 2)
    anna, package = joining[0]
    prior = ours[anna.name]
    base = ours["member00"]

    def answer(ended: object, people: list[tuple[Client, KeyPackageSecrets]] = joining) -> str:
        welcome = found(replace(base, ended=ended), env, people)  # type: ignore[arg-type]
        return refusal(lambda: anna.join(env, welcome, [package], prior=prior))

    assert answer(replace(NEXT, group_id=GroupId(b"elsewhere"))) == "VAL-12.4.3.1-16"
    assert answer(replace(NEXT, extensions=())) == "VAL-12.4.3.1-16"
    assert answer(NEXT, joining[:1]) == "VAL-12.4.3.1-17"  # somebody is missing
    welcome = found(base, env, joining)
    assert anna.join(env, welcome, [package], prior=prior).epoch == 1
    with pytest.raises(MissingPskError):  # the joiner knows nothing of the old group
        anna.join(env, welcome, [package])
    knows = replace(env, psks=Psks({}, {(b"group", prior.epoch): ResumptionPsk(prior.secrets.resumption.raw)}))
    with pytest.raises(CallerError, match="prior"):
        anna.join(knows, welcome, [package])
    # A group that did not end, or another group, is not the one that is continued.
    for wrong in (unfinished, party(3, 2)["member01"]):
        with pytest.raises(MlsError):
            anna.join(knows, welcome, [package], prior=wrong)


def test_a_reinit_to_another_suite_than_said() -> None:
    ours = party(2)
    end(ours, NEXT)
    ended = ours["member00"]
    people = others(ours, "member00", 3)
    anna, package = people[0]
    welcome = found(
        replace(ended, ended=replace(NEXT, cipher_suite=3)), ours.env, people, signer=client("member00", 3).signer
    )
    assert refusal(lambda: anna.join(ours.env, welcome, [package], prior=ours["member01"])) == "VAL-12.4.3.1-16"


def test_continuing_needs_a_reinit() -> None:
    ours = party(2)
    with pytest.raises(CallerError, match="ReInit"):
        found(ours.any, ours.env, [])


def test_founding_psks_are_for_founding() -> None:
    """§12.1.4: in a group that exists, a PSK of usage reinit or branch is refused, from anybody."""
    ours = party(2)
    for usage in (ResumptionUsage.REINIT, ResumptionUsage.BRANCH):
        psk = PreSharedKey(ResumptionPskId(usage, GroupId(b"group"), ours.any.epoch, bytes(32)))
        for call in (
            lambda psk=psk: front.commit(ours.any, ours.env, proposals=[psk]),
            lambda psk=psk: front.propose(ours.any, ours.env, psk),
        ):
            assert refusal(call) == "VAL-12.1.4-2"


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_branch(suite: int) -> None:
    """A subgroup of some; the old group goes on."""
    ours = party(4, suite, shape="full")
    ann = ours.clients["member02"]
    package = ann.package(ours.env)
    welcome = found(
        ours["member01"],
        ours.env,
        [(ann, package)],
        branch=GroupId(b"branch"),
        signer=ours.clients["member01"].signer,
    )
    joined = ann.join(ours.env, welcome, [package], prior=ours["member02"])
    assert (joined.group_id, joined.epoch) == (b"branch", 1)
    assert len(joined.members) == 2
    ours.say("member02", b"still here too")


def test_a_branch_that_does_not_match() -> None:
    ours = party(3)
    env = ours.env
    ann, ben, stranger = ours.clients["member01"], ours.clients["member02"], client("stranger")
    package = ann.package(env)
    signer = ours.clients["member00"].signer

    def welcome(*more: Client, **options: Any) -> bytes:
        people = [(ann, package), *((each, each.package(env)) for each in more)]
        return found(ours["member00"], env, people, branch=GroupId(b"branch"), signer=signer, **options)

    assert ann.join(env, welcome(ben), [package], prior=ours["member01"]).epoch == 1
    foreign = welcome(stranger)
    assert refusal(lambda: ann.join(env, foreign, [package], prior=ours["member01"])) == "VAL-12.4.3.1-19"
    with pytest.raises(MissingPskError):
        ann.join(env, foreign, [package])
    # Joined from another epoch of the old group than the one that was branched from: the key is of that epoch.
    before = ours["member01"]
    ours.commit("member02")
    later = welcome()
    with pytest.raises(MissingPskError):
        ann.join(env, later, [package], prior=before)
    assert ann.join(env, later, [package], prior=ours["member01"]).epoch == 1
