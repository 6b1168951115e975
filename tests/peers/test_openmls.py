"""Our MLS and OpenMLS in one group: what RFC 9420 has.

No registry has OpenMLS with the working group's interop interface, so it is driven by a protocol of our own. What the
two make of the mls-extensions draft is in test_openmls_extensions.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.proposals import Add, Remove
from mls.registries import Epoch
from tests.mls.clients import Psks
from tests.peers import launch
from tests.peers.openmls_company import BOTH, OURS, PARAMETERS, THEIRS, Company, Founding, key_package_of
from tests.peers.openmls_peer import OpenMls, RefusedError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),  # one process, whatever the number of workers
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),  # whichever test comes first waits for the compiler
]

founders = pytest.mark.parametrize("founder", BOTH)
framings = pytest.mark.parametrize("public", [False, True], ids=["private", "public"])


@founders
@framings
def test_commits_and_messages_both_ways(openmls: OpenMls, founder: str, public: bool) -> None:
    company = Company.of_both(openmls, founder, public=public)
    for name in (OURS, THEIRS, THEIRS, OURS):
        company.commit(name, force_path=True)
        company.say(name, f"after the commit of {name}".encode())
    company.say(OURS, b"")
    company.say(THEIRS, bytes(5000), authenticated_data=b"seen by everybody")


@founders
@framings
def test_padding(openmls: OpenMls, founder: str, public: bool) -> None:
    company = Company.of_both(openmls, founder, public=public, padding=256)
    company.commit(THEIRS, force_path=True)
    for length in (0, 1, 255, 256, 1000):
        company.say(OURS, bytes(length))
        company.say(THEIRS, bytes(length))


def test_trees_that_come_apart_from_the_group_info(openmls: OpenMls) -> None:
    """In a Welcome and in an external commit."""
    company = Company.founded(openmls, Founding(founder=OURS))
    group = replace(company.ours[OURS], parameters=replace(PARAMETERS, ratchet_tree=False))
    member = company.their_client(THEIRS)
    proposals = [Add(key_package_of(member.key_package()))]
    sent = front.commit(group, company.env, proposals=proposals)
    with pytest.raises(RefusedError, match="MissingRatchetTree"):
        member.join(sent.welcome)

    member = company.theirs[THEIRS] = company.their_client(THEIRS)
    proposals = [Add(key_package_of(member.key_package()))]
    sent = front.commit(group, company.env, proposals=proposals)
    company.ours[OURS] = sent.group
    member.join(sent.welcome, tree=sent.group.public.tree.encode())
    company.agree()
    info = front.group_info(company.ours[OURS])
    company.join_externally("otto", OURS, info=info, tree=company.ours[OURS].public.tree.encode())
    company.say("otto", b"joined")


@founders
def test_six_members_come_and_go(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder)
    company.add(THEIRS, "bert", "otto")
    company.add("bert", "carl", "oona")
    for name in ("oona", "carl", "otto", "bert"):
        company.commit(name, force_path=True)
    company.commit("carl", Remove(company.leaf("otto")))
    assert "otto" not in company.theirs
    company.commit("oona", Remove(company.leaf("bert")))
    assert "bert" not in company.ours
    company.add("oona", "dora")
    for name in [*company.ours, *company.theirs]:
        company.say(name, name.encode())


@founders
@framings
def test_proposals_by_reference(openmls: OpenMls, founder: str, public: bool) -> None:
    company = Company.of_both(openmls, founder, public=public)
    company.add(founder, "bert", "otto")
    company.propose(OURS, Remove(company.leaf("otto")))
    company.commit(THEIRS, leave_pending=True, force_path=True)
    company.propose(THEIRS, Remove(company.leaf("otto")))
    company.commit(OURS, references=())
    company.propose(OURS, Remove(company.leaf("otto")))
    company.commit(THEIRS)
    assert "otto" not in company.theirs
    company.propose(THEIRS, Remove(company.leaf("bert")))
    company.commit(OURS)
    assert "bert" not in company.ours


@founders
@framings
def test_updates_by_reference(openmls: OpenMls, founder: str, public: bool) -> None:
    company = Company.of_both(openmls, founder, public=public)
    company.add(founder, "bert", "otto")
    for name, committer in ((OURS, "otto"), (THEIRS, "bert"), ("otto", "bert"), ("bert", THEIRS)):
        company.propose_update(name)
        company.commit(committer)
        company.say(name, b"with a new leaf")


@founders
def test_messages_out_of_order(openmls: OpenMls, founder: str) -> None:
    """Within the window of five that OpenMLS keeps."""
    company = Company.of_both(openmls, founder)
    for name in BOTH:
        messages = [company.seal(name, bytes([number])) for number in range(5)]
        for message in reversed(messages):
            company.deliver(message, by=name)
        company.say(name, b"after them all")


@founders
def test_join_by_external_commit(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder)
    company.join_externally("bert", THEIRS)
    company.join_externally("otto", OURS)
    for name in (OURS, "otto", THEIRS, "bert"):
        company.commit(name, force_path=True)
        company.say(name, name.encode())


@founders
def test_external_psk(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder, psks=Psks({b"psk": b"shared secret"}))
    company.theirs[THEIRS].store_psk(b"shared secret", kind="external", id=b"psk")
    for name in BOTH:
        company.commit(name, front.external_psk(company.ours[OURS], company.env, b"psk"))
    company.theirs[THEIRS].store_psk(b"another secret", kind="external", id=b"psk")
    with pytest.raises(RefusedError, match="ConfirmationTagMismatch"):
        company.commit(OURS, front.external_psk(company.ours[OURS], company.env, b"psk"))


@founders
def test_exporter(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder)
    secrets = set()
    for label, context, length in (("label", b"context", 32), ("", b"", 1), ("label", b"", 200)):
        ours = front.export_secret(company.ours[OURS], label.encode(), context, length)
        assert company.theirs[THEIRS].export(label, context, length) == ours
        secrets.add(ours)
    assert len(secrets) == 3


def test_a_commit_that_lost(openmls: OpenMls) -> None:
    """OpenMLS gives up its own commit and carries out ours."""
    company = Company.of_both(openmls, OURS)
    company.theirs[THEIRS].prepare(path=True)
    before = company.theirs[THEIRS].state
    assert company.theirs[THEIRS].clear() == before
    company.commit(OURS, force_path=True)


@founders
def test_resumption_psk(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder)
    for name in BOTH:
        company.commit(OURS, force_path=True)
        group = company.ours[OURS]
        company.commit(name, front.resumption_psk(group, company.env, Epoch(group.epoch - 1)))


@pytest.mark.parametrize("suite", [2, 3])
def test_other_suites(openmls: OpenMls, suite: int) -> None:
    """Hybrid and post-quantum ones are in test_openmls_hybrid.py."""
    for founder in BOTH:
        company = Company.of_both(openmls, founder, suite=suite)
        company.add(THEIRS, "bert", "otto")
        for name in (OURS, THEIRS, "otto", "bert"):
            company.commit(name, force_path=True)
            company.say(name, name.encode())
        company.join_externally("carl", THEIRS)
        company.join_externally("oona", OURS)
