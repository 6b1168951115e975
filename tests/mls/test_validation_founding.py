"""RFC 9420 §11.2, §11.3 and §12.4.3.1: groups that say they continue another one, and do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.errors import CallerError
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extensions, RequiredCapabilities
from mls.proposals import Add, ReInit
from mls.provider import Environment
from mls.psk import ExternalPskId, PreSharedKeyId, ResumptionPskId, psk_secret
from mls.registries import Epoch, GroupId
from mls.state import Group
from mls.suite import Suite
from tests.mls.clients import DEFAULT, Party, Psks, client, party
from tests.mls.frankenstein import forge_leaf
from tests.mls.frankenstein_welcome import forge_info, forge_welcome
from tests.mls.refusals import A, B, C, refused, small_tree
from tests.validation import breaks

REINIT, BRANCH = 2, 3
NONCE = bytes(range(32))
RESUMED = ResumptionPskId(1, GroupId(b"group"), Epoch(2), NONCE)
EXTENSIONS: Extensions = (RequiredCapabilities().extension(),)


def ended(party_: Party, proposal: ReInit | None = None) -> Party:
    """Everybody committed to a ReInit."""
    sent = front.commit(party_[A], party_.env, proposals=[proposal or ReInit(GroupId(b"new"), 1, 1, ())])
    party_.deliver(sent.message, by=A)
    party_.groups[A] = sent.group
    return party_


def founded(
    env: Environment,
    prior: Group,
    usage: int,
    *,
    members: tuple[str, ...] = (A, C),
    suite: int = 1,
    epoch: int = 1,
    psks: list[PreSharedKeyId] | None = None,
    psk_epoch: int | None = None,
    **info: Any,
) -> tuple[KeyPackageSecrets, bytes]:
    """A Welcome of B into a group founded by A that continues `prior`; the others have leaves between the two."""
    package = client(B, suite).package(env)
    others = []
    for name in members[1:]:
        _, key = Suite(suite).generate_key_pair(env.provider.random)
        others.append(forge_leaf(client(name, suite), key))
    tree = small_tree(env, package, *others)
    if psks is None:
        at = prior.epoch if psk_epoch is None else Epoch(psk_epoch)
        psks = [ResumptionPskId(usage, prior.group_id, at, NONCE)]
    history = {epoch: psk.raw for epoch, psk in prior.resumption}
    secrets = [(psk_id, history[psk_id.epoch] if isinstance(psk_id, ResumptionPskId) else b"a key") for psk_id in psks]
    psk = psk_secret(Suite(suite), secrets)
    fields = {"group_id": b"new", "epoch": epoch, "psk": psk, **info}
    made = forge_info(env, tree, client(A, suite), **fields)
    return package, forge_welcome(env, made, package, psks=psks)


def refuses_founding(rule: str, party_: Party, usage: int, **fault: Any) -> None:
    env, prior = party_.env, party_[B]
    package, bad = founded(env, prior, usage, **fault)
    refused(rule, lambda: front.join(env, DEFAULT, bad, [package], prior=prior))
    package, good = founded(env, prior, usage)
    front.join(env, DEFAULT, good, [package], prior=prior)


@breaks("VAL-12.4.3.1-3")
@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 3), (3, 3)])
def test_two_keys_that_found_a_group(first: int, second: int) -> None:
    party_ = ended(party(3, psks=Psks({b"known": b"a key"})))
    prior = party_[B]
    both: list[PreSharedKeyId] = [
        ResumptionPskId(usage, prior.group_id, prior.epoch, NONCE[::step]) for usage, step in ((first, 1), (second, -1))
    ]
    refuses_founding("VAL-12.4.3.1-3", party_, first, psks=both)
    others = [
        ExternalPskId(b"known", NONCE),
        both[0],
        ResumptionPskId(1, prior.group_id, prior.epoch, NONCE),
    ]
    package, good = founded(party_.env, prior, first, psks=others)
    front.join(party_.env, DEFAULT, good, [package], prior=prior)


@breaks("VAL-12.1.4-1")
def test_the_nonce_of_a_founding_key() -> None:
    """It has the size of the new group's hash, or of the old one's; that of any other key only the first."""
    old = ended(party(3, 4, psks=Psks({b"known": b"a key"})), ReInit(GroupId(b"new"), 1, 1, ()))
    env, prior = old.env, old[B]

    def join(founding: int, other: int) -> None:
        psks: list[PreSharedKeyId] = [
            ResumptionPskId(REINIT, prior.group_id, prior.epoch, bytes(founding)),
            ExternalPskId(b"known", bytes(other)),
        ]
        package, welcome = founded(env, prior, REINIT, psks=psks)
        front.join(env, DEFAULT, welcome, [package], prior=prior)

    for sizes in ((31, 32), (0, 32), (48, 32), (65, 32), (32, 64), (64, 64)):
        refused("VAL-12.1.4-1", lambda: join(*sizes))  # noqa: B023 - used at once
    join(32, 32)
    join(64, 32)


@breaks("VAL-12.4.3.1-15")
@pytest.mark.parametrize("usage", [REINIT, BRANCH])
@pytest.mark.parametrize("epoch", [0, 2, 77])
def test_a_founded_group_at_another_epoch(usage: int, epoch: int) -> None:
    refuses_founding("VAL-12.4.3.1-15", ended(party(3)), usage, epoch=epoch)


@breaks("VAL-12.4.3.1-16")
@pytest.mark.parametrize(
    "fault", [{"group_id": b"other"}, {"group_extensions": EXTENSIONS}, {"suite": 3}, {"psk_epoch": 1}]
)
def test_a_group_that_is_not_the_one_of_the_reinit(fault: dict[str, Any]) -> None:
    refuses_founding("VAL-12.4.3.1-16", ended(party(3)), REINIT, **fault)


@breaks("VAL-12.4.3.1-16")
@pytest.mark.parametrize(
    "asked",
    [
        ReInit(GroupId(b"other"), 1, 1, ()),
        ReInit(GroupId(b"new"), 2, 1, ()),
        ReInit(GroupId(b"new"), 1, 3, ()),
        ReInit(GroupId(b"new"), 1, 1, EXTENSIONS),
    ],
)
def test_a_reinit_that_asked_for_another_group(asked: ReInit) -> None:
    party_ = ended(party(3), asked)
    package, bad = founded(party_.env, party_[B], REINIT)
    refused("VAL-12.4.3.1-16", lambda: front.join(party_.env, DEFAULT, bad, [package], prior=party_[B]))


@breaks("VAL-12.4.3.1-16")
def test_a_reinit_that_never_was() -> None:
    party_ = party(3)
    package, bad = founded(party_.env, party_[B], REINIT)
    refused("VAL-12.4.3.1-16", lambda: front.join(party_.env, DEFAULT, bad, [package], prior=party_[B]))


@breaks("VAL-12.4.3.1-17")
def test_a_new_group_without_a_member_of_the_old_one() -> None:
    refuses_founding("VAL-12.4.3.1-17", ended(party(3)), REINIT, members=(A,))


def test_a_new_group_with_somebody_more() -> None:
    """§11.2 asks that nobody is lost, not that nobody comes."""
    party_ = ended(party(3))
    package, welcome = founded(party_.env, party_[B], REINIT, members=(A, C, "somebody else"))
    assert len(front.join(party_.env, DEFAULT, welcome, [package], prior=party_[B])[0].members) == 4


@breaks("VAL-12.4.3.1-18")
def test_a_branch_with_another_suite() -> None:
    refuses_founding("VAL-12.4.3.1-18", party(3), BRANCH, suite=3)


@breaks("VAL-12.4.3.1-19")
def test_a_branch_with_somebody_new() -> None:
    refuses_founding("VAL-12.4.3.1-19", party(3), BRANCH, members=(A, C, "somebody else"))


@breaks("VAL-12.4.3.1-20")
@pytest.mark.parametrize("psks", [[], [ExternalPskId(b"known", NONCE)], [RESUMED]])
def test_a_new_group_without_the_key_of_the_old_one(psks: list[PreSharedKeyId]) -> None:
    """It has the name that the ReInit announced, and everybody in it; anybody could have made it."""
    party_ = ended(party(3, psks=Psks({b"known": b"a key"})))
    refuses_founding("VAL-12.4.3.1-20", party_, REINIT, psks=psks)
    refuses_founding("VAL-12.4.3.1-20", party_, BRANCH, psks=psks)


@pytest.mark.parametrize("usage", [REINIT, BRANCH])
def test_whoever_calls_has_to_bring_the_old_group(usage: int) -> None:
    """Which one it is can only be read inside the Welcome; the key may come from the store."""
    party_ = ended(party(3))
    prior = party_[B]
    env = replace(party_.env, psks=Psks(resumption={(prior.group_id, prior.epoch): prior.secrets.resumption}))
    package, welcome = founded(env, prior, usage)
    other = client(B).create(env, b"unrelated")
    for wrong in (None, other):
        with pytest.raises(CallerError):
            front.join(env, DEFAULT, welcome, [package], prior=wrong)
    front.join(env, DEFAULT, welcome, [package], prior=prior)


def test_continue_group_makes_what_these_rules_ask() -> None:
    """Our own ReInit and branch, taken by the other members."""
    party_ = party(3)
    for usage in (BRANCH, REINIT):
        if usage == REINIT:
            ended(party_)
        env = party_.env
        packages = [client(name).package(env) for name in (B, C)]
        sent = front.continue_group(
            party_[A],
            env,
            [Add(package.key_package) for package in packages],
            signature_private=client(A).signer,
            lifetime=client(A).package(env).key_package.leaf_node.lifetime or pytest.fail("no lifetime"),
            branch=GroupId(b"branch") if usage == BRANCH else None,
        )
        assert sent.welcome is not None
        for name in (B, C):
            joined, _ = front.join(env, DEFAULT, sent.welcome, packages, prior=party_[name])
            assert joined.authenticator == sent.group.authenticator
