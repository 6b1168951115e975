"""Everything too slow for CI, and a dated report of how it went: `python -m tests.long_run [pytest args]`.

Runs pytest with VCD_LONG=1 in one process, so that durations mean something, passes its output through, and
writes docs/reports/YYYY-MM-DD-long.md: the machine, the versions, the closing line, skips, failures and what
took longest. The machine is described, never named.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import ssl
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "docs" / "reports"
PACKAGES = (
    "cryptography",
    "pyhpke",
    "PyNaCl",
    "trio",
    "libp2p",
    "msgpack",
    "grpcio",
    "hypothesis",
    "pytest",
)


def processor() -> str:
    """The CPU's model name as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def openssl_of_cryptography() -> str:
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()


def source_state() -> str:
    """The commit that was tested, and whether anything was changed on top of it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "not a git checkout"
    return f"commit {commit}{', with uncommitted changes' if git('status', '--porcelain') else ''}"


def section_of(output: str, title: str) -> list[str]:
    """The lines under one of pytest's `==== title ====` headings."""
    found = re.search(rf"^=+ {re.escape(title)}.*?=+\n(.*?)(?=^=+ |\Z)", output, re.MULTILINE | re.DOTALL)
    return [line.rstrip() for line in found[1].splitlines() if line.strip()] if found else []


def closing_line(output: str) -> str:
    lines = re.findall(r"^=+ (.+ in [0-9.]+s.*?) =+$", output, re.MULTILINE)
    return str(lines[-1]) if lines else "pytest did not get to its closing line"


def listed(lines: list[str], otherwise: str) -> str:
    return "\n".join(f"    {line}" for line in lines) if lines else otherwise


def report(output: str, *, day: str, seconds: float, exit_code: int, arguments: list[str]) -> str:
    """The report's text, from what pytest printed."""
    summary = section_of(output, "short test summary info")
    skips = [line for line in summary if line.startswith("SKIPPED")]
    failures = [line for line in summary if line.startswith(("FAILED", "ERROR"))]
    slowest = [line for line in section_of(output, "slowest") if not line.startswith("(")]
    command = " ".join(["VCD_LONG=1 pytest", *arguments])
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    required = os.environ.get("VCD_REQUIRE") or "(nothing)"
    text = f"""# Long run of {day}

**{closing_line(output)}** (exit code {exit_code}, {seconds / 60:.1f} minutes)

- what: `{command}`, VCD_REQUIRE={required}, {source_state()}
- machine: {os.cpu_count()} processors, {processor()}, {platform.system()} {platform.machine()}
- versions: Python {platform.python_version()} with {ssl.OPENSSL_VERSION}, cryptography's own
  {openssl_of_cryptography()}; {packages}

## Failed

{listed(failures, "Nothing.")}

## Skipped

{listed(skips, "Nothing.")}

## Slowest

{listed(slowest, "Nothing took longer than a second.")}
"""
    return text.replace(f"{ROOT}/", "").replace(f"{Path.home()}/", "~/")


def free_name(day: str) -> Path:
    """The report's file; a second run of a day does not overwrite the first."""
    path, number = REPORTS / f"{day}-long.md", 1
    while path.exists():
        number += 1
        path = REPORTS / f"{day}-long-{number}.md"
    return path


def main(arguments: list[str]) -> int:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    options = ["-o", "timeout=0", "-o", "faulthandler_timeout=0", "--durations=40", "--durations-min=1"]
    command = [sys.executable, "-m", "pytest", "--color=no", *options, *arguments]
    started = time.monotonic()
    environment = {**os.environ, "VCD_LONG": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    text = report(
        "".join(lines),
        day=day,
        seconds=time.monotonic() - started,
        exit_code=running.returncode,
        arguments=arguments,
    )
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = free_name(day)
    path.write_text(text, encoding="utf-8")
    print(f"report: {path.relative_to(ROOT)}")
    return running.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
