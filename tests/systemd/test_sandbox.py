"""What the units forbid, vcd does without: two meshes connect under the same rules, set by hand."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys

import pytest

from tests.repo.files import ROOT
from tests.requirements import require_or_skip
from tests.systemd.sandboxed import NUMBERS
from tests.systemd.test_units import setting

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not NUMBERS.exists(),
        reason="numbers of system calls are known for x86-64 only",
    ),
]


def calls(tool: str, group: str) -> set[str]:
    """Of a group by systemd's own list, groups inside it too."""
    found = set()
    done = subprocess.run([tool, "--no-pager", "syscall-filter", group], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines()[1:]:
        name = line.partition("#")[0].strip()
        if name.startswith("@"):
            found |= calls(tool, name)
        elif name:
            found.add(name)
    return found


@pytest.fixture(scope="module")
def allowed() -> list[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        require_or_skip("systemd", "systemd-analyze is not there")
    may, may_not = setting("vcd-device@.service", "SystemCallFilter")
    names = set.union(*(calls(tool, group) for group in may.split()))
    for group in may_not.removeprefix("~").split():
        names -= calls(tool, group)
    return sorted(names | {"execve", "exit_group"})


def run(*command: str, calls_: list[str]) -> subprocess.CompletedProcess[str]:
    whole = [*command, sys.executable, "-m", "tests.systemd.sandboxed", *calls_]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False, timeout=150)


def test_two_meshes_connect_with_the_system_calls_and_memory_they_may_have(allowed: list[str]) -> None:
    done = run(calls_=allowed)
    if "Invalid argument" in done.stderr:
        pytest.skip("needs Linux 6.3 for memory that is never both written and executed")
    assert done.stdout == "connected\n", done.stderr


@pytest.mark.parametrize("lost", ["epoll_wait", "socket", "clone3", "fdatasync"])
def test_a_filter_that_refuses_too_much_would_be_noticed(allowed: list[str], lost: str) -> None:
    gone = {"epoll_wait": {"epoll_wait", "epoll_pwait"}, "clone3": {"clone", "clone3"}}.get(lost, {lost})
    assert run(calls_=[name for name in allowed if name not in gone]).returncode != 0


def test_and_without_seeing_other_processes(allowed: list[str]) -> None:
    unshare = shutil.which("unshare")
    hidden = "mount -t proc -o hidepid=invisible proc /proc"
    if (
        unshare is None
        or subprocess.run([unshare, "-m", "sh", "-c", hidden], capture_output=True, check=False).returncode
    ):
        require_or_skip("netns", "no mount namespace could be made")
    done = run(unshare, "-m", "sh", "-c", f'{hidden} && exec "$@"', "sh", calls_=allowed)
    if "Invalid argument" in done.stderr:
        pytest.skip("needs Linux 6.3 for memory that is never both written and executed")
    assert done.stdout == "connected\n", done.stderr
