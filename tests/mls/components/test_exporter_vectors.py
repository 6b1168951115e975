"""mls-extensions §4.4 to §4.9: our own known answers, followed as another implementation would follow them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly, u16
from mls.framing import read_wire_format
from mls.group import CommitMessage, ProposalMessage
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.parameters import Parameters
from mls.psk import decode_psk_id, psk_secret
from mls.puncture import Puncturable
from mls.schedule import EXPORTER_TREE, derive_epoch
from mls.secrets import EpochSecret, HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from tests.mls.clients import Psks, environment
from tests.providers import SeededProvider
from tests.vector_files import load
from tests.vectors.own import exporter as own

VECTORS: dict[str, Any] = load(own.PATH)  # type: ignore[assignment]  # an object, where the working group has lists


def by_suite(part: str) -> pytest.MarkDecorator:
    cases = VECTORS[part]
    return pytest.mark.parametrize("case", cases, ids=[str(case["cipher_suite"]) for case in cases])


def raw(value: str) -> bytes:
    return bytes.fromhex(value)


def check_state(tree: Puncturable, group_or_suite: Any, shown: dict[str, Any]) -> None:
    data = tree.pprf_state(group_or_suite)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (shown["length"], shown["sha256"])
    if "bytes" in shown:
        assert data.hex() == shown["bytes"]
        assert Puncturable.from_pprf_state(group_or_suite, 16, data) == tree


@by_suite("exporter")
def test_exporter(case: dict[str, Any]) -> None:
    suite = SeededProvider("any").suite(case["cipher_suite"])
    tree = derive_epoch(suite, EpochSecret(raw(case["epoch_secret"]))).trees[EXPORTER_TREE]
    assert tree == Puncturable.of(raw(case["application_export_secret"]), 16)
    for export in case["exports"]:
        secret, tree = tree.evaluate(suite, export["component_id"])
        assert secret.hex() == export["secret"]
        assert secret == own.leaf_secret(suite, raw(case["application_export_secret"]), export["component_id"])
        check_state(tree, suite, export["pprf_state"])


@by_suite("psk")
def test_psk(case: dict[str, Any]) -> None:
    suite = SeededProvider("any").suite(case["cipher_suite"])
    psks = [(decode_exactly(raw(each["id"]), decode_psk_id), raw(each["psk"])) for each in case["psks"]]
    assert [psk_id.encode().hex() for psk_id, _ in psks] == [each["id"] for each in case["psks"]]
    assert psk_secret(suite, psks).raw.hex() == case["psk_secret"]


def check_epoch(group: Group, expected: dict[str, Any], prefix: str = "") -> None:
    assert group.authenticator.hex() == expected[f"{prefix}epoch_authenticator"]
    context = group.public.context
    assert [[each.type, each.data.hex()] for each in context.extensions] == expected[f"{prefix}extensions"]
    data = [[number, value.hex()] for number, value in context.dictionary.entries]
    assert data == expected[f"{prefix}component_data"]
    for export in expected[f"{prefix}exports"]:
        group, secret = front.safe_export(group, export["component_id"])
        assert secret.raw.hex() == export["secret"]
    check_state(group.trees[EXPORTER_TREE], group.suite, expected[f"{prefix}pprf_state"])


@by_suite("groups")
def test_groups(case: dict[str, Any]) -> None:
    psks = {u16(each["component_id"]) + raw(each["psk_id"]): raw(each["psk"]) for each in case["application_psks"]}
    env = environment("listening", psks=Psks(psks))
    reader = Reader(raw(case["key_package"]))
    read_wire_format(reader)
    package = KeyPackageSecrets(
        KeyPackage.decode(reader),
        HpkePrivateKey(raw(case["init_priv"])),
        HpkePrivateKey(raw(case["encryption_priv"])),
        SignaturePrivateKey(raw(case["signature_priv"])),
    )
    parameters: Parameters = own.PARAMETERS
    group, _ = front.join(env, parameters, raw(case["welcome"]), [package])
    check_epoch(group, case, "initial_")
    kinds = set()
    for epoch in case["epochs"]:
        for message in epoch["proposals"]:
            heard = front.receive(group, env, raw(message))
            assert isinstance(heard, ProposalMessage)
            kinds.add(heard.proposal.type)
            group = heard.group
        event = front.receive(group, env, raw(epoch["commit"]))
        assert isinstance(event, CommitMessage)
        group = event.group
        check_epoch(group, epoch)
    assert kinds == {8, 9, 10}
    assert group.public.context.dictionary.find(own.ALL) == b"dbc"


def test_generating_gives_the_same() -> None:
    """For what is not signed, and a suite whose signatures are determined."""
    assert VECTORS["groups"][0] == own.life(1)
    again = own.generate_fixed()
    assert VECTORS["exporter"] == again["exporter"]
    assert VECTORS["psk"] == again["psk"]
