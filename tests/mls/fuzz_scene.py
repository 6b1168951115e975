"""A group in which everything was done once, every way in for bytes, and what may come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from mls import group as front
from mls.errors import CallerError, PeerError, StaleError
from mls.framing import encode_message
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.parameters import Padding
from mls.proposals import (
    Add,
    Remove,
)
from mls.provider import Environment
from mls.registries import WireFormat
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import decode_group_info, decode_welcome, read_message
from tests.mls.clients import (
    DEFAULT,
    Client,
    Psks,
    client,
    environment,
    party,
    with_parameters,
)

OUTCOMES = (PeerError, StaleError)


def outcome(call: Callable[[], object]) -> str:
    """The name of what happened; whatever is not meant to happen comes through."""
    try:
        call()
    except OUTCOMES as refused:
        return getattr(refused, "check", type(refused).__name__)
    except CallerError as wrong:
        if "no ratchet tree" not in str(wrong):
            raise
        return "no tree"
    return "accepted"


class Scene:
    """A group of five in which everything was done once, and what was sent in its present epoch."""

    def __init__(self) -> None:
        able = replace(DEFAULT, padding=Padding.NONE)
        self.party = ours = party(4, shape="full", parameters=able, psks=Psks({b"psk": b"shared"}))
        ours.add("member00", "late")
        ours.propose_update("member02")
        group, env = ours["member00"], ours.env
        self.env = env
        self.reader = ours["member01"]
        self.newcomer = client("newcomer", parameters=able)
        self.package = self.newcomer.package(env)
        outsider = client("outsider", parameters=able)
        psk = front.external_psk(group, env, b"psk")
        added = front.commit(group, env, proposals=[Add(self.package.key_package), psk], encrypt=False, force_path=True)
        bare = front.commit(with_parameters(group, ratchet_tree=False), env, proposals=[Add(self.package.key_package)])
        assert added.welcome is not None
        assert bare.welcome is not None
        self.bare_welcome = bare.welcome
        quiet = front.shelve_proposals(group)
        self.messages = {
            "application": front.seal(quiet, env, b"data", authenticated_data=b"aad")[1],
            "proposal": front.propose(group, env, Remove(ours.leaf("member03")))[1],
            "public proposal": front.propose(group, env, psk, encrypt=False)[1],
            "commit": front.commit(group, env).message,
            "public commit": added.message,
            "external commit": outsider.join_externally(env, front.group_info(group)).message,
            "new member proposal": front.propose_self(env, group.group_id, group.epoch, outsider.package(env)),
            "welcome": added.welcome,
            "group info": front.group_info(group),
            "bare group info": front.group_info(group, with_tree=False),
            "key package": encode_message(WireFormat.KEY_PACKAGE, self.package.key_package.encoded),
            "tree": group.public.tree.encode(),
            "tree for a Welcome": bare.group.public.tree.encode(),
        }

    def fresh(self, name: str) -> Environment:
        """The same secrets outside the group, and randomness from the start, so that an example repeats."""
        return environment(name, psks=self.env.psks)

    def entries(self, data: bytes) -> dict[str, Callable[[], object]]:
        """Every way in for bytes, given the same bytes."""
        reader, env = self.reader, self.env
        return {
            "receive": lambda: front.receive(reader, env, data),
            "receive as a sibling": lambda: front.receive(reader, env, data, own=NOTHING),
            "join": lambda: front.join(env, DEFAULT, data, [self.package]),
            "join with a tree": lambda: front.join(env, DEFAULT, self.bare_welcome, [self.package], tree=data),
            "join externally": lambda: self.newcomer.join_externally(env, data),
            "join externally with a tree": lambda: self.newcomer.join_externally(
                env, self.messages["bare group info"], tree=data
            ),
            "decode an envelope": lambda: front.peek(data),
            "decode a Welcome": lambda: decode_welcome(data),
            "decode a GroupInfo": lambda: decode_group_info(data),
            "decode a tree": lambda: RatchetTree.decode(reader.suite, data).hash,
            "add a KeyPackage": lambda: self.add(data),
        }

    def add(self, data: bytes) -> object:
        reader = read_message(data, WireFormat.KEY_PACKAGE)
        package = KeyPackage.decode(reader)
        reader.finish()
        return front.commit(front.shelve_proposals(self.reader), self.env, proposals=[Add(package)])


class Nothing:
    """A sibling that can derive nothing."""

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> None:
        return None

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> None:
        return None


NOTHING = Nothing()


@lru_cache(maxsize=1)
def scene() -> Scene:
    return Scene()


@lru_cache(maxsize=1)
def lies() -> tuple[Client, KeyPackageSecrets, Client]:
    victim = client("victim")
    return victim, victim.package(environment("victim")), client("liar")
