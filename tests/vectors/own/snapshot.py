"""The pinned snapshot format: what `mls.snapshot` writes for groups made with a fixed seed.

`python -m tests.vectors.own.snapshot` writes snapshot_v<version>.json. A file is only ever written anew when a new
version number is given out; the old ones stay, because old snapshots must stay readable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mls import group as front, snapshot
from mls.proposals import Add, Remove
from tests.mls.clients import PUBLIC, client, environment


def pinned(version: int) -> Path:
    return Path(__file__).with_name(f"snapshot_v{version}.json")


def generate() -> dict[str, Any]:
    return {"version": snapshot.VERSION, "cases": [_case(suite) for suite in range(1, 8)]}


def _case(cipher_suite: int) -> dict[str, Any]:
    """Bob's value in a group of five, then a commit by Alice, then a message of hers."""
    env = environment(f"snapshot v{snapshot.VERSION}, suite {cipher_suite}")
    names = ("alice", "bob", "carol", "dave", "erin")
    alice, *others = (client(name, cipher_suite, parameters=PUBLIC) for name in names)
    packages = [each.package(env) for each in others]
    sent = front.commit(alice.create(env), env, proposals=[Add(each.key_package) for each in packages])
    bobs = others[0].join(env, sent.welcome, packages[:1])
    alices, early = front.seal(sent.group, env, b"skipped")
    alices, late = front.seal(alices, env, b"read")
    bobs = front.receive(bobs, env, late).group  # holds a skipped key for `early`
    bobs, exported = front.safe_export(bobs, 0x8000)
    assert early
    assert exported.raw
    bobs, proposal, _ = front.propose_update(bobs, env)
    alices = front.receive(alices, env, proposal).group
    removal = front.commit(alices, env, proposals=[Remove(alices.members[3][0])])
    after = front.receive(bobs, env, removal.message).group
    plaintext = b"after the commit"
    _, message = front.seal(removal.group, env, plaintext)
    return {
        "cipher_suite": cipher_suite,
        "snapshot": snapshot.encode(bobs).raw.hex(),
        "epoch_authenticator": bobs.authenticator.hex(),
        "delta": snapshot.encode_delta(bobs, after).raw.hex(),
        "epoch_authenticator_after": after.authenticator.hex(),
        "message": message.hex(),
        "plaintext": plaintext.hex(),
    }


if __name__ == "__main__":
    pinned(snapshot.VERSION).write_text(json.dumps(generate(), indent=1) + "\n")
