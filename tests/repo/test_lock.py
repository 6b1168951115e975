"""The lock files: complete, hashed, in step with pyproject.toml and each other, silent about places."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.repo.files import PYPROJECT, ROOT

LOCKS = ("requirements-build.lock", "requirements.lock", "requirements-dev.lock")
ASKED = {
    "requirements-build.lock": PYPROJECT["dependency-groups"]["build"],
    "requirements.lock": PYPROJECT["project"]["dependencies"],
    "requirements-dev.lock": PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"],
}
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


def text_of(lock: str) -> str:
    return (ROOT / lock).read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, Version]:
    """What a lock pins; a package pinned twice for different markers would need a look first."""
    found = [match for line in text_of(lock).splitlines() if (match := PIN.match(line))]
    names = [canonicalize_name(match[1]) for match in found]
    assert len(set(names)) == len(names)
    return {name: Version(match[2]) for name, match in zip(names, found, strict=True)}


@pytest.mark.parametrize("lock", LOCKS)
def test_names_packages_not_places(lock: str) -> None:
    assert re.findall(r"://|^-|@ |file:", text_of(lock), re.MULTILINE) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    entries = re.split(r"\n(?=[A-Za-z])", text_of(lock).strip())
    assert len(entries) == len(pins(lock))
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_in_step_with_what_is_asked(lock: str) -> None:
    pinned = pins(lock)
    for requirement in map(Requirement, ASKED[lock]):
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{requirement}: run `make lock`"


def test_development_runs_what_users_run() -> None:
    development = pins("requirements-dev.lock")
    for lock in ("requirements-build.lock", "requirements.lock"):
        assert pins(lock).items() <= development.items()


def test_build_requirement_is_the_locked_one() -> None:
    assert PYPROJECT["build-system"]["requires"] == PYPROJECT["dependency-groups"]["build"]
