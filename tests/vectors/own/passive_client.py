"""Passive-client vectors of our own, in the working group's format, for every suite.

A passive client joins by a Welcome and then only listens. `generate(cipher_suite, seed)` makes one such life: adds,
removals, updates, pre-shared keys, new extensions, external joins, by value and by reference, public and private
handshakes. `python -m tests.vectors.own.passive_client FILE` writes a file of them; a foreign implementation that
follows it (tests/peers) has checked everything we send to a member.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from mls import group as front
from mls.framing import encode_message
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import RequiredCapabilities
from mls.proposals import Add, GroupContextExtensions, Proposal, Remove
from mls.registries import WireFormat
from mls.state import Group
from tests.mls.clients import Client, Psks, client, environment

PSKS = {b"psk one": b"\x01" * 32, b"psk two": b"\x02" * 48}
EPOCHS = 12


class Life:
    """A group seen from its active members, and the listener whose vector it becomes."""

    def __init__(self, cipher_suite: int, seed: int) -> None:
        self.env = environment(f"passive {cipher_suite} {seed}", psks=Psks(PSKS))
        self.random = Random(f"{cipher_suite} {seed}")
        self.cipher_suite = cipher_suite
        self.count = 0
        self.proposals: list[bytes] = []
        self.joining: list[tuple[Client, KeyPackageSecrets]] = []
        self.parameters = replace(
            client("any").parameters, encrypt_handshakes=bool(seed & 1), ratchet_tree=not seed & 2
        )
        founder = self.newcomer()
        self.groups: list[Group] = [founder.create(self.env)]

    def newcomer(self) -> Client:
        self.count += 1
        return client(f"client {self.count}", self.cipher_suite, parameters=self.parameters)

    def add(self, how_many: int) -> list[Proposal]:
        self.joining = [(each, each.package(self.env)) for each in (self.newcomer() for _ in range(how_many))]
        return [Add(package.key_package) for _, package in self.joining]

    def commit(self, values: list[Proposal]) -> bytes:
        """A commit by a random active member, with `values` in it and what was proposed before."""
        by = self.random.choice(self.able())
        sent = front.commit(self.groups[by], self.env, proposals=values, force_path=self.random.random() < 0.5)
        groups = [
            sent.group if at == by else front.receive(group, self.env, sent.message).group
            for at, group in enumerate(self.groups)
        ]
        self.groups = [group for group in groups if group.ended is None]
        tree = None if self.parameters.ratchet_tree else sent.group.public.tree.encode()
        self.sent = sent
        for each, package in self.joining:
            self.groups.append(each.join(self.env, sent.welcome, [package], tree=tree))
        self.joining = []
        return sent.message

    def able(self) -> list[int]:
        """Who may commit what is proposed: not who is to be removed."""
        pending = self.groups[0].proposals.values()
        removed = {item.proposal.removed for item in pending if isinstance(item.proposal, Remove)}
        return [at for at, group in enumerate(self.groups) if group.own_leaf not in removed]

    def propose(self, proposal: Proposal | None) -> None:
        by = self.random.randrange(len(self.groups))
        group = self.groups[by]
        if proposal is None:
            self.groups[by], message, _ = front.propose_update(group, self.env)
        else:
            self.groups[by], message, _ = front.propose(group, self.env, proposal)
        for at, other in enumerate(self.groups):
            if at != by:
                self.groups[at] = front.receive(other, self.env, message).group
        self.proposals.append(message)

    def removal(self, listener: int) -> Proposal | None:
        leaves = [leaf for leaf, _ in self.groups[0].members if leaf != listener]
        owned = {group.own_leaf for group in self.groups}
        able = [leaf for leaf in leaves if leaf in owned]
        if len(able) < 3:
            return None
        return Remove(self.random.choice(able))

    def external_join(self) -> bytes:
        info = front.group_info(self.groups[0], with_tree=True)
        joined = self.newcomer().join_externally(self.env, info)
        self.groups = [front.receive(group, self.env, joined.message).group for group in self.groups]
        self.groups.append(joined.group)
        return joined.message


def generate(cipher_suite: int, seed: int, *, others: int = 4, epochs: int = EPOCHS) -> dict[str, Any]:
    """One life: the founder and `others`, whom the listener joins with one more, and what they then do."""
    life = Life(cipher_suite, seed)
    life.commit(life.add(others))
    listener = life.newcomer()
    package = listener.package(life.env)
    adds = life.add(1)
    psks = [front.external_psk(life.groups[0], life.env, name) for name in PSKS if life.random.random() < 0.5]
    life.commit([Add(package.key_package), *adds, *psks])
    welcome = life.sent.welcome
    assert welcome is not None
    tree = life.sent.group.public.tree
    place = tree.signature_keys[package.key_package.leaf_node.signature_key]
    case: dict[str, Any] = {
        "cipher_suite": cipher_suite,
        "external_psks": [{"psk_id": name.hex(), "psk": psk.hex()} for name, psk in PSKS.items()],
        "key_package": encode_message(WireFormat.KEY_PACKAGE, package.key_package.encoded).hex(),
        "signature_priv": package.signature_private.raw.hex(),
        "encryption_priv": package.leaf_private.raw.hex(),
        "init_priv": package.init_private.raw.hex(),
        "welcome": welcome.hex(),
        "ratchet_tree": None if life.parameters.ratchet_tree else tree.encode().hex(),
        "initial_epoch_authenticator": life.groups[0].authenticator.hex(),
        "epochs": [],
    }
    for _ in range(epochs):
        case["epochs"].append(_epoch(life, place))
    return case


def _epoch(life: Life, listener: int) -> dict[str, Any]:
    life.proposals = []
    random = life.random
    values: list[Proposal] = []
    group = life.groups[0]
    if random.random() < 0.15:
        commit = life.external_join()
    else:
        if random.random() < 0.3:
            values += life.add(random.randint(1, 3))
        if random.random() < 0.3:
            values.append(front.external_psk(group, life.env, random.choice(list(PSKS))))
        if not life.joining and random.random() < 0.3:  # newcomers do not have it
            values.append(front.resumption_psk(group, life.env, group.epoch))
        if random.random() < 0.2:
            credentials = (1,) if random.random() < 0.5 else (1, 2)
            values.append(GroupContextExtensions((RequiredCapabilities(credentials=credentials).extension(),)))
        if random.random() < 0.4:
            life.propose(None)
        if random.random() < 0.3:
            removal = life.removal(listener)
            if removal is not None:
                life.propose(removal)
        commit = life.commit(values)
    return {
        "proposals": [message.hex() for message in life.proposals],
        "commit": commit.hex(),
        "epoch_authenticator": life.groups[0].authenticator.hex(),
    }


def main() -> int:
    cases = [generate(suite, seed) for suite in range(1, 8) for seed in range(4)]
    Path(sys.argv[1]).write_text(json.dumps(cases, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
