"""Known answers for DiMLS (mls/distributed): its few structs, the key that an epoch gives, and whole runs.

`python -m tests.vectors.own.distributed` writes distributed.json; docs/vectors.md says what is in it. A run is what one
member, Carol, receives. `replay` plays her with nothing but the file and a plain MLS group for each send group.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mls import group as mls
from mls.codec import decode_exactly, opaque
from mls.distributed import session as front
from mls.distributed.errors import EpochName
from mls.distributed.mode import Marker, send_group_id
from mls.distributed.send_group import exported_psk, psk_id
from mls.distributed.values import Sent, Session
from mls.group import ApplicationMessage, CommitMessage
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.proposals import LeafReplacement, encode_proposal
from mls.provider import PendingUpdate
from mls.psk import ExternalPskId
from mls.registries import Epoch, GroupId
from mls.schedule import export
from mls.secrets import ExporterSecret, HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from tests.mls.clients import Psks, environment
from tests.mls.distributed.people import DGROUP, PARAMETERS, create, group_id, offer, person
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")
SUITES = (1, 7, 5)
"""One for each hash."""
NAMES = ("alice", "bob", "carol")


def generate() -> list[dict[str, Any]]:
    return [_case(suite) for suite in SUITES]


def _case(cipher_suite: int) -> dict[str, Any]:
    provider = SeededProvider(f"distributed, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    secret = provider.random(suite.hash_size)
    name = EpochName(group_id("alice", cipher_suite), Epoch(0x0102030405060708))
    signature_key = suite.scheme.public_key(person("alice", cipher_suite).signer)
    run, leaf = _run(cipher_suite)
    return {
        "cipher_suite": cipher_suite,
        "marker": {"dgroup_id": DGROUP.hex(), "data": Marker(DGROUP).encode().hex()},
        "send_group_id": {
            "dgroup_id": DGROUP.hex(),
            "signature_key": signature_key.hex(),
            "group_id": send_group_id(suite, DGROUP, signature_key).hex(),
        },
        "leaf_data": {"group_id": name.group_id.hex(), "data": opaque(name.group_id).hex()},
        "psk": {
            "exporter_secret": secret.hex(),
            "psk": export(suite, ExporterSecret(secret), b"exporter-psk", b"psk_id", suite.hash_size).hex(),
            "group_id": name.group_id.hex(),
            "epoch": name.epoch,
            "psk_id": psk_id(name).hex(),
        },
        "leaf_replacement": leaf,
        "run": run,
    }


def _run(cipher_suite: int) -> tuple[dict[str, Any], dict[str, Any]]:
    env = environment(f"distributed, run, suite {cipher_suite}")
    ids = {name: group_id(name, cipher_suite) for name in NAMES}
    packages = {name: offer(env, name, cipher_suite) for name in NAMES}
    sessions: dict[str, Session] = {}
    welcomes: dict[str, bytes] = {}
    for name in NAMES:
        others = [package for other, package in packages.items() if other != name]
        sent = create(env, name, others, cipher_suite=cipher_suite)
        assert sent.welcome is not None
        sessions[name], welcomes[name] = sent.session, sent.welcome
    for name in NAMES:
        for other in NAMES:
            if other != name:
                sessions[name] = front.join(sessions[name], env, welcomes[other], [packages[name]]).session
    carol = sessions["carol"].own
    keys = carol.epochs[1].keys
    assert keys is not None
    steps: list[dict[str, Any]] = []

    def spread(by: str, message: bytes, expected: dict[str, Any]) -> None:
        for name in NAMES:
            if name != by and sessions[name].others[ids[by]].group.ended is None:
                sessions[name] = front.receive(sessions[name], env, message).session
        own = sessions[by].own.group
        steps.append(
            {
                "group_id": own.group_id.hex(),
                "message": message.hex(),
                **expected,
                "epoch": own.epoch,
                "epoch_authenticator": own.authenticator.hex(),
            }
        )

    def commits(by: str, **options: Any) -> Sent:
        sent = front.commit(sessions[by], env, **options)
        sessions[by] = sent.session
        taken = [{"group_id": each.group_id.hex(), "epoch": each.epoch} for each in sent.taken]
        spread(by, sent.message, {"taken": taken, "removed": [each.hex() for each in sent.removed]})
        return sent

    def speaks(by: str, text: bytes) -> None:
        sessions[by], message = front.seal(sessions[by], env, text)
        spread(by, message, {"application_data": text.hex()})

    speaks("alice", b"before any commit")
    commits("bob", take=False)
    commits("alice")
    speaks("alice", b"healed with bob")
    commits("bob")
    speaks("bob", b"healed with alice")
    commits("alice", take=False)
    commits("bob")
    commits("alice", remove=[ids["bob"]])
    speaks("alice", b"without bob")
    alice = sessions["carol"].others[ids["alice"]]
    replaced = alice.group.public.tree.leaf(alice.places[ids["carol"]])
    assert replaced is not None
    proposal = LeafReplacement(alice.places[ids["carol"]], replaced)
    about = {"leaf_index": proposal.leaf, "leaf_node": replaced.encoded.hex(), "data": encode_proposal(proposal).hex()}
    own = packages["carol"]
    run = {
        "dgroup_id": DGROUP.hex(),
        "key_package": own.key_package.encoded.hex(),
        "init_private": own.init_private.raw.hex(),
        "leaf_private": own.leaf_private.raw.hex(),
        "signature_private": own.signature_private.raw.hex(),
        "own": {
            "group_id": carol.id.hex(),
            "epoch": 1,
            "leaf_node": carol.epochs[1].leaf.encoded.hex(),
            "leaf_private": keys.leaf_private.raw.hex(),
            "psk": carol.epochs[1].psk.raw.hex(),
        },
        "welcomes": [welcomes[name].hex() for name in ("alice", "bob")],
        "messages": steps,
    }
    return run, about


# Following one


def replay(case: dict[str, Any]) -> int:
    """Carol, by plain MLS: every answer of the run is found again. How many messages there were."""
    run = case["run"]
    psks = Psks()
    env = environment("replay", psks=psks)
    package = KeyPackageSecrets(
        decode_exactly(bytes.fromhex(run["key_package"]), KeyPackage.decode),
        HpkePrivateKey(bytes.fromhex(run["init_private"])),
        HpkePrivateKey(bytes.fromhex(run["leaf_private"])),
        SignaturePrivateKey(bytes.fromhex(run["signature_private"])),
    )
    own = run["own"]
    pending = PendingUpdate(HpkePrivateKey(bytes.fromhex(own["leaf_private"])), package.signature_private)
    updates = {bytes.fromhex(own["leaf_node"]): pending}
    psks.table[psk_id(EpochName(GroupId(bytes.fromhex(own["group_id"])), Epoch(own["epoch"])))] = bytes.fromhex(
        own["psk"]
    )
    groups: dict[str, Group] = {}

    def enter(group: Group) -> None:
        groups[group.group_id.hex()] = group
        psks.table[psk_id(EpochName(group.group_id, group.epoch))] = exported_psk(group).raw

    for welcome in run["welcomes"]:
        enter(mls.join(env, PARAMETERS, bytes.fromhex(welcome), [package])[0])
    for step in run["messages"]:
        event = mls.receive(replace(groups[step["group_id"]], updates=updates), env, bytes.fromhex(step["message"]))
        if "application_data" in step:
            assert isinstance(event, ApplicationMessage)
            assert event.data.hex() == step["application_data"]
            groups[step["group_id"]] = event.group
        else:
            assert isinstance(event, CommitMessage)
            assert _taken(event) == step["taken"]
            enter(event.group)
        group = groups[step["group_id"]]
        assert (group.epoch, group.authenticator.hex()) == (step["epoch"], step["epoch_authenticator"])
    return len(run["messages"])


def _taken(event: CommitMessage) -> list[dict[str, Any]]:
    names = [psk.psk_id for psk in event.plan.psks if isinstance(psk, ExternalPskId)]
    return [{"group_id": name[8:].hex(), "epoch": int.from_bytes(name[:8], "big")} for name in names]


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
