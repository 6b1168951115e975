"""The import rules are written before the rooms they rule; here is what makes sure they bite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.repo.files import PACKAGES, PYPROJECT, ROOT

CONTRACTS: dict[str, dict[str, Any]] = {rule["id"]: rule for rule in PYPROJECT["tool"]["importlinter"]["contracts"]}
RULED = {
    "vcd/core": ["core"],
    "vcd/config": ["ground"],
    "vcd/vault": ["vault"],
    "vcd/backup": ["backup"],
    "vcd/store": ["store"],
    "vcd/pairing": ["pairing"],
    "vcd/rpc": ["rpc"],
    "vcd/cli": ["front", "front-trio", "cli"],
    "vcd/client": ["front", "front-trio"],
}


@pytest.mark.parametrize(("folder", "contracts"), RULED.items(), ids=RULED)
def test_a_new_room_is_named_plainly(folder: str, contracts: list[str]) -> None:
    """`room.**` may match nothing, and never matches `room/__init__.py`: name both, once it is there."""
    room = folder.replace("/", ".")
    for contract in contracts:
        sources = CONTRACTS[contract]["source_modules"]
        assert f"{room}.**" in sources
        assert (room in sources) == (ROOT / folder).is_dir(), f"contract {contract!r} in pyproject.toml"


ROOMS = [f"mls/{each}" for each in ("tree", "components", "fork", "distributed", "virtual")]
ROOMS += [
    "vcd/core",
    "vcd/config",
    "vcd/vault",
    "vcd/backup",
    "vcd/store",
    "vcd/pairing",
    "vcd/rpc",
    "vcd/rpc/nouns",
    "vcd/daemon",
    "vcd/cli",
    "vcd/client",
]
FORBIDDEN_TO_COMPONENTS = ["mls/group.py", "mls/state.py", "mls/validation.py", "mls/schedule.py"]
TABLE = [f"vcd/rpc/{each}.py" for each in ("table", "api", "docs", "errors", "params")]
BREACHES = {
    "mls/other_breach.py": "import mls.fork",
    "mls/components/breach.py": "import mls.group",
    "mls/breach.py": "import transport",
    "mls/tree/breach.py": "import trio",
    "transport/breach.py": "def later():\n    import mls.codec",
    "vcd/core/breach.py": "import libp2p",
    "vcd/core/other_breach.py": "import vcd.paths",
    "vcd/config/breach.py": "import vcd.core.node",
    "vcd/logs.py": "import trio",
    "vcd/vault/breach.py": "import vcd.core",
    "vcd/backup/breach.py": "import vcd.core",
    "vcd/store/breach.py": "import libp2p",
    "vcd/pairing/breach.py": "import trio",
    "vcd/cli/breach.py": "import mls.codec",
    "vcd/cli/other_breach.py": "import vcd.store",
    "vcd/client/breach.py": "import trio",
    "vcd/rpc/breach.py": "import mls.codec",
    "vcd/rpc/nouns/breach.py": "import trio",
    "vcd/breach.py": "import transport",
    "vcd/other_breach.py": "import vcd.main",
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An empty house with our rules: the same rooms, nothing in them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in [*PACKAGES, *ROOMS]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    alone = ["main", "paths", "notify", "logs", "instance", "crypto", "client/trio", "core/node", "rpc/server"]
    alone += ["daemon/boxes", "daemon/deposits", "daemon/mailbox", "daemon/mesh", "daemon/net", "daemon/nearby"]
    for module in ["mls/codec.py", *FORBIDDEN_TO_COMPONENTS, *TABLE, *[f"vcd/{name}.py" for name in alone]]:
        (tmp_path / module).touch()
    return tmp_path


@pytest.mark.slow
def test_allowed(house: Path) -> None:
    (house / "mls/codec.py").write_text("import hashlib, cryptography, pyhpke")
    (house / "mls/fork/mode.py").write_text("import mls.codec, mls.components")
    (house / "mls/distributed/session.py").write_text("import mls.distributed")
    (house / "vcd/core/node.py").write_text("import mls.codec, mls.fork.mode")
    (house / "vcd/vault/sealing.py").write_text("import mls.codec, cryptography")
    (house / "vcd/store/state.py").write_text("import trio, msgpack, vcd.vault.sealing, vcd.core.node")
    (house / "vcd/client/trio.py").write_text("import trio")
    (house / "vcd/main.py").write_text("import mls, vcd.core.node, vcd.client.trio, libp2p")
    done = lint_imports(house)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("module", BREACHES)
def test_refused(house: Path, module: str) -> None:
    (house / module).write_text(BREACHES[module])
    done = lint_imports(house)
    assert done.returncode == 1
    assert module.removesuffix(".py").replace("/", ".") in done.stdout
