"""The least that each operation costs: how many of which primitive, and what one of those costs here and now.

`COUNTS` is the one table of counts; `n` is members, `d` the levels above a leaf. A unit is one call of the suite that
is being measured (so the floor is that of the verifier in use), timed in the same run. What the counts leave out is
everything that is not cryptography: encoding, decoding, tree bookkeeping, checks.

"check" is the check of a public key that arrives: nothing for X25519, a parse for ML-KEM.

A changed node is counted with two hashes, its tree hash and its parent hash. "schedule" is one turn of the key
schedule with the transcript: an epoch's own secrets, the joiner, member, epoch and welcome secrets, and the
confirmation tag.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from mls.provider import Environment
from mls.suite import Suite

SCHEDULE = 18  # expands or extracts or MACs of one key schedule turn

Counts = dict[str, float]


def _path(n: int, d: int, *, flat: bool, count: int = SCHEDULE) -> Counts:
    """A path made by its committer: the ladder up, and a seal for everybody beside it."""
    seals = n - 1 if flat else d
    return {
        "expand": 2 * d + count,
        "derive": d + 1,
        "seal": seals,
        "sign": 2,
        "hash": 2 * (d + 1) + 4,
    }


def _join(n: int, d: int, *, flat: bool) -> Counts:
    """A whole tree checked: a signature a leaf, about two hashes a node, and a parent hash a node."""
    hashes = 2 * n if flat else 4 * n
    return {"verify": n + 1, "hash": hashes, "check": n if flat else 2 * n - 1}


def _sum(*parts: Counts) -> Counts:
    total: Counts = {}
    for part in parts:
        for unit, count in part.items():
            total[unit] = total.get(unit, 0) + count
    return total


COUNTS: dict[str, Callable[[int, int, bool], Counts]] = {
    "key_package": lambda n, d, flat: {"generate": 1, "derive": 2, "sign": 2},
    "create_group": lambda n, d, flat: {"generate": 1, "derive": 1, "sign": 1, "expand": 11, "hash": 2},
    # From a group of one: two signatures and a seal for each, three hashes (leaf, KeyPackage reference, tree).
    "add_n_commit": lambda n, d, flat: _sum(
        {"verify": 2 * (n - 1), "seal": n - 1, "hash": 3 * (n - 1) + 4, "sign": 2, "expand": SCHEDULE + 2},
        {"aead": 1, "check": 2 * (n - 1)},
    ),
    # The Welcome comes from a commit with a path in the full tree, without one in the flat tree.
    "join_welcome": lambda n, d, flat: _sum(
        _join(n, d, flat=flat),
        {"open": 1, "aead": 1, "expand": SCHEDULE + (0 if flat else 2 * d), "derive": 0 if flat else d},
    ),
    "commit_create": lambda n, d, flat: _path(n, d, flat=flat),
    # The sibling of the committer, who has the most to derive.
    "commit_process": lambda n, d, flat: {
        "open": 1,
        "expand": 2 * d + SCHEDULE,
        "derive": d,
        "verify": 2,
        "check": d + 1,
        "hash": 2 * (d + 1) + 4,
    },
    "external_commit_create": lambda n, d, flat: _sum(_join(n, d, flat=flat), _path(n + 1, d, flat=flat), {"seal": 1}),
    # Seen from leaf 0, who shares only the root with the newcomer at the right edge.
    "external_commit_process": lambda n, d, flat: {
        "open": 2,
        "expand": 2 + SCHEDULE,
        "derive": 2,
        "verify": 2,
        "check": d + 1,
        "hash": 2 * (d + 1) + 4,
    },
    "protect_256": lambda n, d, flat: {"expand": 5, "aead": 2, "sign": 1},
    "unprotect_256": lambda n, d, flat: {"expand": 5, "aead": 2, "verify": 1},
    # Down a tree of 2^16 leaves: two children a level, one to go on with and one to keep (mls-extensions §4.4).
    # A KDF.Expand to KDF.Nh is one HMAC, and the two labels are the same at every level.
    "safe_export": lambda n, d, flat: {"mac": 2 * 16},
}


def units(env: Environment, suite: Suite, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of one call of each primitive: the median of `rounds`, a few calls apart."""
    random = env.provider.random
    signer, signer_public = suite.scheme.generate(random)
    content = random(200)
    signature = suite.sign_with_label(signer, b"FramedContentTBS", content)
    private, public = suite.generate_key_pair(random)
    context = suite.encryption_context(b"UpdatePathNode", random(150))
    secret = random(suite.hash_size)
    enc, ciphertext = suite.seal(public, context, secret, random)
    key, nonce = random(suite.key_size), random(12)
    label = random(20)
    actions: dict[str, Callable[[], object]] = {
        "generate": lambda: suite.scheme.generate(random),
        "derive": lambda: suite.derive_key_pair(secret),
        "seal": lambda: suite.seal(public, context, secret, random),
        "open": lambda: suite.open(private, context, enc, ciphertext),
        "check": lambda: suite.hpke.check_public(public),
        "sign": lambda: suite.sign_with_label(signer, b"FramedContentTBS", content),
        "verify": lambda: suite.verify_with_label(signer_public, b"FramedContentTBS", content, signature),
        "expand": lambda: suite.expand_with_label(secret, b"secret", b"\x00\x00\x00\x01", 32),
        "mac": lambda: suite.mac(secret, label),
        "hash": lambda: suite.hash(content),
        "aead": lambda: suite.aead_seal(key, nonce, content, content),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            start = clock()
            action()
            times[name].append((clock() - start) * 1000)
    return {name: median(taken) for name, taken in times.items()}


def floor(op: str, n: int, *, flat: bool, unit: dict[str, float]) -> float:
    depth = max(n - 1, 1).bit_length()
    return sum(unit[name] * count for name, count in COUNTS[op](n, depth, flat).items())
