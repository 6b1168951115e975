"""Our passive-client vectors, followed by ours and by ts-mls.

What our members send is judged here by somebody else's member, who only listens: it joins by our Welcome and must
come to the epoch authenticator in the vector after each of our commits. That js/passive.mjs can be believed is shown
by the working group's own vectors (in the long run), and by vectors that were changed and that it must refuse.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.mls.test_vectors import passive_client
from tests.peers import launch
from tests.requirements import require_or_skip
from tests.vector_files import load, vector_files, vector_folder
from tests.vectors.own.passive_client import generate

SUITES = range(1, 8)

# A seed's lowest bits choose how handshakes are framed and where the tree is: two seeds show both of each.
SEEDS = {suite: (0, 3) if suite % 2 else (1, 2) for suite in SUITES}
MORE_SEEDS = range(4, 24)

FOLLOW_LIMIT = 240  # seconds for one file

Case = dict[str, Any]

foreign = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("peers"),
    # Whichever test comes first waits for the installer.
    pytest.mark.timeout(launch.NPM_LIMIT + FOLLOW_LIMIT + 300),
]


@lru_cache(maxsize=32)
def generated(suite: int, seed: int) -> str:
    return json.dumps(generate(suite, seed))


def reduced_set() -> list[Case]:
    return [json.loads(generated(suite, seed)) for suite in SUITES for seed in SEEDS[suite]]


def follow_with_js(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of passive.mjs and what it said of each case of the file."""
    try:
        command = [*launch.js_command("passive.mjs"), str(path)]
    except launch.UnavailableError as error:
        require_or_skip("js", str(error))
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FOLLOW_LIMIT, check=False
    )
    print(done.stderr)  # shown if the test fails; a newer node's warnings are no failure
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def check_followed(path: Path, cases: Sequence[Case]) -> None:
    """Every case was followed to its end, and none was left out."""
    code, told = follow_with_js(path)
    assert told == [{"case": at, "suite": case["cipher_suite"], "ok": True} for at, case in enumerate(cases)]
    assert code == 0


def write(path: Path, cases: Sequence[Case]) -> Path:
    path.write_text(json.dumps(cases), encoding="utf-8")
    return path


def flipped(text: str, at: int) -> str:
    """The hexadecimal text with one bit of one byte changed."""
    changed = bytearray.fromhex(text)
    changed[at] ^= 1
    return changed.hex()


@pytest.mark.slow
def test_generation_is_deterministic() -> None:
    """Another process, which hashes strings otherwise, writes the same bytes; suite 2 has a nonce per signature."""
    program = "import json; from tests.vectors.own.passive_client import generate; print(json.dumps(generate(2, 1)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=launch.ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == json.dumps(generate(2, 1)) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_we_follow_our_own(suite: int) -> None:
    for seed in SEEDS[suite]:
        case = json.loads(generated(suite, seed))
        assert len(case["epochs"]) >= 10
        passive_client(case)


class TestJs:
    pytestmark = foreign

    def test_follows_ours(self, tmp_path: Path) -> None:
        cases = reduced_set()
        check_followed(write(tmp_path / "own.json", cases), cases)

    def test_notices_what_was_changed(self, tmp_path: Path) -> None:
        cases: list[Case] = [json.loads(generated(1, 0)) for _ in range(5)]
        last = len(cases[0]["epochs"]) - 1
        cases[1]["initial_epoch_authenticator"] = flipped(cases[1]["initial_epoch_authenticator"], 0)
        cases[2]["epochs"][last]["epoch_authenticator"] = flipped(cases[2]["epochs"][last]["epoch_authenticator"], -1)
        cases[3]["epochs"][0]["commit"] = flipped(cases[3]["epochs"][0]["commit"], -1)
        cases[4]["signature_priv"] = flipped(cases[4]["signature_priv"], 5)
        code, told = follow_with_js(write(tmp_path / "changed.json", cases))
        assert code == 1
        assert [line["ok"] for line in told] == [True, False, False, False, False]
        errors = [line["error"] for line in told[1:]]
        assert errors[0].startswith("initial_epoch_authenticator: expected ")
        assert errors[1].startswith(f"epochs[{last}]: epoch_authenticator: expected ")
        assert re.match(r"epochs\[0\]: .*(membership|confirmation tag)", errors[2])
        assert errors[3] == "signature_priv is not the public key's"

    @pytest.mark.long
    @pytest.mark.parametrize("suite", SUITES)
    def test_follows_more_of_ours(self, tmp_path: Path, suite: int) -> None:
        cases = [json.loads(generated(suite, seed)) for seed in MORE_SEEDS]
        check_followed(write(tmp_path / "own.json", cases), cases)

    @pytest.mark.long
    def test_follows_the_working_groups(self) -> None:
        files = {path: cases for path in vector_files() if "initial_epoch_authenticator" in (cases := load(path))[0]}
        if not files:
            require_or_skip("vectors", f"no passive-client vectors in {vector_folder()}; run `make vectors`")
        for path, cases in files.items():
            check_followed(path, cases)
