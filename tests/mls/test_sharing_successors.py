"""RFC 9420 §11.2 and §11.3 for devices that share a leaf: one founds a group that continues another, one follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from mls import group as front
from mls.commit import Committed, NewLeaf
from mls.credential import Credential
from mls.errors import MissingPskError
from mls.group import CommitMessage, Continuation
from mls.key_package import KeyPackageSecrets
from mls.proposals import Add, ReInit
from mls.provider import Creation, Environment, OwnPath, PathSupply
from mls.registries import MLS10, GroupId, ResumptionUsage
from mls.secrets import EpochSecret, PathSecret
from mls.state import Group
from tests.mls.clients import DEFAULT, LIFETIME, client, party, snapshot
from tests.mls.refusals import A, B, C, refused
from tests.mls.siblings import APPLICATION_ID, Founder, Sibling
from tests.validation import breaks


@dataclass
class Succession:
    """The first epoch of a group that our leaf founded in continuation of another one, on both devices."""

    env: Environment
    prior: Group
    made: Continuation
    joining: list[KeyPackageSecrets]
    second: Group
    sibling: Sibling
    supply: PathSupply

    def commit(self, *names: str, **options: Any) -> Committed:
        members = [package for package in self.joining if package.key_package.leaf_node.credential in whom(*names)]
        return front.link(
            self.made, self.env, [Add(each.key_package) for each in members], supply=self.supply, **options
        )

    def hear(self, sent: Committed, prior: Group | None, usage: ResumptionUsage | None = None) -> Group:
        founding = None if prior is None else (usage or self.made.founding[0], prior)
        event = front.receive(self.second, self.env, sent.message, own=self.sibling, founding=founding)
        assert isinstance(event, CommitMessage)
        return event.group


def whom(*names: str) -> list[Credential]:
    return [client(name).credential for name in names]


REINIT = ReInit(GroupId(b"group"), MLS10, 1, ())


def succession(branch: bool) -> Succession:
    """The new group has the old one's id, which the hook of these tests asks for; a ReInit may say that."""
    ours = party(3)
    env = ours.env
    if not branch:
        sent = front.commit(ours[A], env, proposals=[REINIT])
        ours.deliver(sent.message, by=A)
        ours.groups[A] = sent.group
    prior = ours[A]
    suite, random = prior.suite, env.provider.random
    key, path = suite.generate_key_pair(random), suite.generate_key_pair(random)
    secret, first = EpochSecret(random(suite.hash_size)), PathSecret(random(suite.hash_size))
    founder = client(A)
    made = front.continued(
        prior,
        env,
        signature_private=founder.signer,
        branch=GroupId(b"group") if branch else None,
        lifetime=LIFETIME,
        leaf_key=key,
        epoch_secret=secret,
    )
    creation = Creation(leaf_private=key[0], epoch_secret=secret, signature_private=founder.signer)
    second = front.follow_creation(env, DEFAULT, front.group_info(made.group), Founder(creation))
    assert snapshot(second) == snapshot(made.group)
    return Succession(
        env=env,
        prior=prior,
        made=made,
        joining=[client(name).package(env) for name in (B, C, "stranger")],
        second=second,
        sibling=Sibling(OwnPath(leaf_private=path[0], path_secret=first)),
        supply=PathSupply(leaf_private=path[0], leaf_public=path[1], path_secret=first),
    )


@pytest.mark.parametrize("branch", [False, True], ids=["reinit", "branch"])
def test_a_continued_group_on_both_devices(branch: bool) -> None:
    """Told of the first epoch, then of the commit that ends it; the device has the old group, and so the key."""
    ours = succession(branch)
    sent = ours.commit(B, C, authenticated_data=b"a note")
    group = ours.hear(sent, ours.prior)
    one, other = snapshot(sent.group), snapshot(group)
    for used in ("nodes", "ratchets"):
        one.pop(used)
        other.pop(used)
    assert one == other
    assert ours.sibling.asked == (ours.supply.leaf_public, False)
    refused("VAL-12.1.4-2", lambda: ours.hear(sent, None))  # nobody said that it continues anything
    usage = ResumptionUsage.REINIT if branch else ResumptionUsage.BRANCH
    refused("VAL-12.1.4-2", lambda: ours.hear(sent, ours.prior, usage))
    with pytest.raises(MissingPskError):
        ours.hear(sent, client("anna").create(ours.env, b"elsewhere"))


@pytest.mark.parametrize("branch", [False, True], ids=["reinit", "branch"])
def test_both_steps_at_once(branch: bool) -> None:
    ours = succession(branch)
    key = (ours.made.group.private[0], ours.made.group.own_leaf_node.encryption_key)
    guards: list[int] = []

    def guard(nonce: bytes, generation: int, ratchet: int) -> bytes:
        guards.append(generation)
        return bytes(4)

    sent = front.continue_group(
        ours.prior,
        ours.env,
        [Add(package.key_package) for package in ours.joining[:2]],
        signature_private=client(A).signer,
        branch=GroupId(b"group") if branch else None,
        lifetime=LIFETIME,
        leaf_key=key,
        epoch_secret=EpochSecret(bytes(32)),
        leaf=NewLeaf(extensions=(APPLICATION_ID,)),
        supply=ours.supply,
        reuse_guard=guard,
        authenticated_data=b"a note",
    )
    assert guards == [0]
    assert sent.before.own_leaf_node.encryption_key == key[1]
    assert sent.group.own_leaf_node.encryption_key == ours.supply.leaf_public
    assert sent.group.own_leaf_node.extensions == (APPLICATION_ID,)
    (package,) = ours.joining[:1]
    joined = client(B).join(ours.env, sent.welcome, [package], prior=ours.prior)
    assert joined.authenticator == sent.group.authenticator


@breaks("VAL-12.4.3.1-20")
@pytest.mark.parametrize("branch", [False, True], ids=["reinit", "branch"])
def test_a_continued_group_without_the_key_of_the_old_one(branch: bool) -> None:
    ours = succession(branch)
    without = front.commit(
        ours.made.group,
        ours.env,
        proposals=[Add(package.key_package) for package in ours.joining[:2]],
        supply=ours.supply,
    )
    refused("VAL-12.4.3.1-20", lambda: ours.hear(without, ours.prior))
    ours.hear(ours.commit(B, C), ours.prior)


@breaks("VAL-12.4.3.1-17")
def test_a_continued_group_without_a_member_of_the_old_one() -> None:
    ours = succession(branch=False)
    refused("VAL-12.4.3.1-17", lambda: ours.hear(ours.commit(B), ours.prior))
    ours.hear(ours.commit(B, C), ours.prior)


@breaks("VAL-12.4.3.1-19")
def test_a_branch_with_somebody_new() -> None:
    ours = succession(branch=True)
    refused("VAL-12.4.3.1-19", lambda: ours.hear(ours.commit(B, "stranger"), ours.prior))
    ours.hear(ours.commit(B), ours.prior)


@breaks("VAL-12.4.3.1-16")
def test_a_continued_group_that_is_not_the_one_of_the_reinit() -> None:
    ours = succession(branch=False)
    other = replace(ours.prior, ended=replace(REINIT, extensions=(APPLICATION_ID,)))
    refused("VAL-12.4.3.1-16", lambda: ours.hear(ours.commit(B, C), other))
    ours.hear(ours.commit(B, C), ours.prior)
