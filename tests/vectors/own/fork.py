"""Known answers for DMLS (mls/fork), both versions: the key schedule for every suite, and whole groups that fork.

`python -m tests.vectors.own.fork` writes fork.json; docs/vectors.md says what is in it. The first kind of case needs no
group at all. The second is what one member receives, from its Welcome on, in an order in which branches cross; `follow`
plays that member.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mls import group as front
from mls.errors import PuncturedError
from mls.fork.founding import with_forks
from mls.fork.message import DmlsMessage
from mls.fork.mode import BY_CHILD, BY_PARENT, VERSIONS, marker
from mls.fork.schedule import EPOCH_ID, PARENT_INIT, child_init, child_input, commit_confirmation, levels
from mls.framing import encode_message
from mls.group import ApplicationMessage, CommitMessage
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.parameters import Parameters
from mls.proposals import Add, Proposal, Remove
from mls.puncture import Puncturable
from mls.registries import CipherSuite, Epoch, GroupId, LeafIndex, WireFormat
from mls.schedule import GroupContext
from mls.secrets import HpkePrivateKey, PathSecret, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.welcome import read_message
from tests.mls.clients import Psks, environment
from tests.mls.fork.company import LEAF, MARKED_AS, forker, parent_tree
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")

WHOLE = (CipherSuite(1),)
"""Suites for which the states stand in the file and not their hashes alone."""
GROUPS = ((BY_CHILD, 1), (BY_CHILD, 7), (BY_CHILD, 5), (BY_PARENT, 1))
"""Version and suite: one suite for each hash."""
PSK_ID, PSK = b"a key that everybody has", bytes(range(32))


def generate() -> dict[str, Any]:
    return {
        "schedule": [_schedule(suite, version) for suite in CipherSuite for version in VERSIONS],
        "groups": [_group(suite, version) for version, suite in GROUPS],
    }


# The key schedule


def _schedule(cipher_suite: CipherSuite, version: int) -> dict[str, Any]:
    provider = SeededProvider(f"fork, schedule, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    size = suite.hash_size
    epoch_secret = provider.random(size)
    parent, first, second = [
        GroupContext.of(
            int(cipher_suite),
            GroupId(b"a group"),
            Epoch(epoch),
            provider.random(size),
            provider.random(size),
            MARKED_AS[version],
        ).encoded
        for epoch in (7, 8, 8)
    ]
    paths = [provider.random(size) for _ in range(2)]
    if version == BY_CHILD:
        paths[1] = paths[0]  # which two commits can have in common, and still be two
    commits = list(zip(paths, (first, second), strict=True))
    return {
        "cipher_suite": int(cipher_suite),
        "version": version,
        **answers(suite, version, epoch_secret, parent, commits),
    }


def answers(
    suite: Suite, version: int, epoch_secret: bytes, parent: bytes, commits: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    """What mls.fork makes of an epoch secret, and of last path secret and next context of two commits on that epoch."""
    root = suite.derive_secret(epoch_secret, PARENT_INIT)
    whole = Puncturable.of(root, levels(suite))
    children = []
    inputs = []
    for path, context in commits:
        confirmation = commit_confirmation(suite, PathSecret(path))
        point = child_input(suite, confirmation, parent if version == BY_PARENT else context)
        inputs.append(point)
        children.append(
            {
                "path_secret": path.hex(),
                "group_context": context.hex(),
                "commit_confirmation": confirmation.hex(),
                "input": point.hex(),
                "leaf_secret": whole.evaluate(suite, int.from_bytes(point, "big"))[0].hex(),
                "init_secret": child_init(suite, whole, point)[0].raw.hex(),
            }
        )
    first = [child_init(suite, whole, point)[1] for point in inputs]
    both = [child_init(suite, tree, point)[1] for tree, point in zip(first, reversed(inputs), strict=True)]
    return {
        "epoch_secret": epoch_secret.hex(),
        "dmls_epoch": suite.derive_secret(epoch_secret, EPOCH_ID).hex(),
        "parent_init_secret": root.hex(),
        "group_context": parent.hex(),
        "children": children,
        "state_after_first": _state(suite, first[0]),
        "state_after_second": _state(suite, first[1]),
        "state_after_first_and_second": _state(suite, both[0]),
        "state_after_second_and_first": _state(suite, both[1]),
    }


def _state(suite: Suite, tree: Puncturable) -> dict[str, Any]:
    data = tree.encode()
    shown: dict[str, Any] = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if suite.cipher_suite in WHOLE and len(tree.points) == 1:
        shown["bytes"] = data.hex()
    return shown


# Whole groups


@dataclass
class _Story:
    """Messages that the reader receives, and what each leads to."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, message: DmlsMessage, group: Group) -> None:
        self.messages.append(
            {
                "message": message.encode().hex(),
                "dmls_epoch": message.dmls_epoch.hex(),
                "begins": {
                    "dmls_epoch": group.epoch_id.hex(),
                    "epoch": group.epoch,
                    "epoch_authenticator": group.authenticator.hex(),
                    "tree_hash": group.public.tree.hash.hex(),
                },
            }
        )

    def said(self, message: DmlsMessage, data: bytes) -> None:
        self.messages.append(
            {"message": message.encode().hex(), "dmls_epoch": message.dmls_epoch.hex(), "application_data": data.hex()}
        )

    def again(self, number: int) -> None:
        """A commit that was followed already comes once more."""
        self.messages.append({**{key: self.messages[number][key] for key in ("message", "dmls_epoch")}, "again": True})


def _group(cipher_suite: int, version: int) -> dict[str, Any]:
    """Anna, Ben and the reader; three rivals on one epoch, one of them from outside; branches that grow and cross."""
    env = environment(f"fork vectors, suite {cipher_suite}", psks=Psks({PSK_ID: PSK}))
    anna, ben, reader, carl = [forker(name, cipher_suite) for name in ("anna", "ben", "reader", "carl")]
    packages = {each.name: each.package(env, leaf_extensions=LEAF) for each in (ben, reader)}
    own = packages["reader"]
    founder = anna.create(env, GroupId(b"a group that forks"), extensions=MARKED_AS[version], leaf_extensions=LEAF)
    sent = front.commit(founder, env, proposals=[Add(each.key_package) for each in packages.values()])
    a = sent.group
    b = ben.join(env, sent.welcome, [packages["ben"]])
    assert sent.welcome is not None
    story = _Story()

    # On the first epoch: a message, then commits by Anna (with a PSK), by Ben (an Add), and by Carl from outside.
    a, early = front.seal(a, env, b"before the fork")
    late = front.seal(a, env, b"on the parent, read late")[1]
    parent = a
    by_anna = front.commit(a, env, proposals=[front.external_psk(a, env, PSK_ID)])
    dora = forker("dora", cipher_suite).package(env, leaf_extensions=LEAF)
    by_ben = front.commit(b, env, proposals=[Add(dora.key_package)], encrypt=False)
    by_carl = carl.join_externally(env, front.group_info(a), leaf_extensions=LEAF)
    # A second commit on Anna's branch and on Ben's, and a message on each branch.
    more: list[Proposal] = [Remove(LeafIndex(1))]
    anna_again = front.commit(by_anna.group, env, proposals=more)
    ben_again = front.commit(by_ben.group, env)
    said = [
        (group, data, front.seal(group, env, data)[1])
        for group, data in (
            (anna_again.group, b"on the branch without Ben"),
            (ben_again.group, b"on the branch with Dora"),
            (by_carl.group, b"on Carl's branch"),
        )
    ]
    story.said(DmlsMessage.of(parent, early), b"before the fork")
    story.commit(DmlsMessage.of(parent, by_ben.message), by_ben.group)
    story.commit(DmlsMessage.of(parent, by_anna.message), by_anna.group)
    story.commit(DmlsMessage.of(by_anna.group, anna_again.message), anna_again.group)
    story.again(1)
    story.commit(DmlsMessage(message=by_carl.message, dmls_epoch=parent.epoch_id), by_carl.group)
    story.commit(DmlsMessage.of(by_ben.group, ben_again.message), ben_again.group)
    for group, data, message in said:
        story.said(DmlsMessage.of(group, message), data)
    story.said(DmlsMessage.of(parent, late), b"on the parent, read late")
    story.again(3)

    case = {
        "cipher_suite": cipher_suite,
        "version": version,
        "components": {"app_components": 1, "dmls": 0x8D01, "marker": marker(version).hex()},
        "key_package": encode_message(WireFormat.KEY_PACKAGE, own.key_package.encoded).hex(),
        "signature_priv": own.signature_private.raw.hex(),
        "encryption_priv": own.leaf_private.raw.hex(),
        "init_priv": own.init_private.raw.hex(),
        "external_psks": [{"psk_id": PSK_ID.hex(), "psk": PSK.hex()}],
        "welcome": DmlsMessage.of(sent.group, sent.welcome).encode().hex(),
        "begins": {
            "dmls_epoch": sent.group.epoch_id.hex(),
            "epoch": sent.group.epoch,
            "epoch_authenticator": sent.group.authenticator.hex(),
            "tree_hash": sent.group.public.tree.hash.hex(),
        },
        "messages": story.messages,
    }
    return {**case, "states": states(follow(case))}


def states(values: dict[bytes, Group]) -> list[dict[str, Any]]:
    """The trees that are left of a member's epochs at the end."""
    return [
        {
            "dmls_epoch": epoch.hex(),
            "children": len(parent_tree(group).points),
            "sha256": hashlib.sha256(parent_tree(group).encode()).hexdigest(),
        }
        for epoch, group in values.items()
    ]


class Unlike(Exception):
    """A case says one thing, and following it gives another."""


def follow(case: dict[str, Any], parameters: Parameters | None = None) -> dict[bytes, Group]:
    """What the reader does with a case: the value of each epoch at the end, in the order in which they began."""
    parameters = parameters or with_forks(Parameters())
    psks = Psks({bytes.fromhex(each["psk_id"]): bytes.fromhex(each["psk"]) for each in case["external_psks"]})
    env = environment("following", psks=psks)
    package = KeyPackage.decode(read_message(bytes.fromhex(case["key_package"]), WireFormat.KEY_PACKAGE))
    own = KeyPackageSecrets(
        package,
        HpkePrivateKey(bytes.fromhex(case["init_priv"])),
        HpkePrivateKey(bytes.fromhex(case["encryption_priv"])),
        SignaturePrivateKey(bytes.fromhex(case["signature_priv"])),
    )
    welcome = DmlsMessage.decode(bytes.fromhex(case["welcome"]))
    joined, _ = front.join(env, parameters, welcome.message, [own])
    _compare(case["begins"], joined)
    if welcome.dmls_epoch != joined.epoch_id:
        raise Unlike("the Welcome's epoch")
    values = {joined.epoch_id: joined}
    for number, each in enumerate(case["messages"]):
        message = DmlsMessage.decode(bytes.fromhex(each["message"]))
        if message.dmls_epoch.hex() != each["dmls_epoch"]:
            raise Unlike(f"message {number}: the epoch")
        value = values[message.dmls_epoch]
        if each.get("again"):
            try:
                front.receive(value, env, message.message)
            except PuncturedError:
                continue
            raise Unlike(f"message {number}: followed twice")
        event = front.receive(value, env, message.message)
        if isinstance(event, CommitMessage):
            _compare(each["begins"], event.group)
            values[message.dmls_epoch] = event.before
            values[event.group.epoch_id] = event.group
        else:
            if not isinstance(event, ApplicationMessage) or event.data.hex() != each["application_data"]:
                raise Unlike(f"message {number}: the data")
            values[message.dmls_epoch] = event.group
    return values


def _compare(begins: dict[str, Any], group: Group) -> None:
    found = {
        "dmls_epoch": group.epoch_id.hex(),
        "epoch": group.epoch,
        "epoch_authenticator": group.authenticator.hex(),
        "tree_hash": group.public.tree.hash.hex(),
    }
    if found != begins:
        raise Unlike("an epoch")


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
