"""Our MLS and OpenMLS in one group of a post-quantum suite (draft-ietf-mls-pq-ciphersuites), by OpenMLS's numbers.

These numbers derive KEM key pairs as the drafts before draft-ietf-hpke-pq did; all else is what our own numbers have,
so what is agreed on here is the KEMs' secrets, keys and ciphertexts, the key schedule, and ML-DSA.
"""

from __future__ import annotations

import pytest

from mls import group as front
from mls.proposals import Remove
from mls.registries import OpenMlsSuite
from tests.peers import launch
from tests.peers.openmls_company import BOTH, OURS, THEIRS, Company
from tests.peers.openmls_peer import OpenMls

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),
]

# Of OpenMLS's libraries, only the one that is not built here has this suite.
ELSEWHERE = {OpenMlsSuite.MLKEM768X25519_CHACHA20POLY1305_SHA256_ED25519}
SUITES = [suite for suite in OpenMlsSuite if suite not in ELSEWHERE]


def test_openmls_has_these_numbers(openmls: OpenMls) -> None:
    assert set(SUITES) <= set(openmls.suites)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("founder", BOTH)
def test_a_group_of_both(openmls: OpenMls, suite: OpenMlsSuite, founder: str) -> None:
    """Welcomes, paths in both directions, an external join by each, a removal, and an exported secret."""
    company = Company.of_both(openmls, founder, suite=suite)
    company.add(THEIRS, "bert", "otto")
    for name in (OURS, THEIRS, "bert", "otto"):
        company.commit(name, force_path=True)
        company.say(name, name.encode())
    company.join_externally("carl", THEIRS)
    company.join_externally("oona", OURS)
    company.commit("oona", Remove(company.leaf("bert")))
    company.commit("carl", Remove(company.leaf("otto")))
    for name in (OURS, THEIRS, "carl", "oona"):
        company.say(name, b"still here")
    exported = front.export_secret(company.ours[OURS], b"label", b"context", 32)
    assert company.theirs[THEIRS].export("label", b"context", 32) == exported
