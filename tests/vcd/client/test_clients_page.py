"""The clients of docs/clients.md: as they stand there, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.peers import launch
from tests.repo.files import ROOT
from tests.requirements import require_or_skip
from tests.vcd.client.test_sync import Running, add, running

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        found.start(before=add(2))
        yield found


def follow(server: Running, command: Sequence[str]) -> None:
    """A client says which devices there are, then what happened, and then what happens."""
    environment = {**os.environ, "VCD_SOCKET": server.path, "PYTHONUNBUFFERED": "1", "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            said = [_line(process) for _ in range(3)]
            server.do(add(1))
            said.append(_line(process))
            assert said == [
                "devices: laptop",
                "event: 1 msg.delivered",
                "event: 2 msg.delivered",
                "event: 3 msg.delivered",
            ]
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    """The next line that is not about an error, which one of the examples shows."""
    assert process.stdout is not None
    while (line := process.stdout.readline()).startswith("E_"):
        pass
    if not line:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return line.rstrip("\n")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_python(server: Running, block: int) -> None:
    follow(server, [sys.executable, "-c", blocks("python")[block]])


CLIENTS: dict[str, tuple[str, str, Callable[[], list[str]]]] = {
    "js": ("js", "tests/peers/rpc_js/main.mjs", launch.client_js),
    "go": ("go", "tests/peers/rpc_go/main.go", launch.client_go),
    "rust": ("rust", "tests/peers/rpc_rust/src/main.rs", launch.client_rust),
}


@pytest.mark.parametrize("language", CLIENTS)
def test_the_page_has_what_is_run(language: str) -> None:
    block, path, _ = CLIENTS[language]
    assert blocks(block) == [(ROOT / path).read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("language", CLIENTS)
def test_other_languages(server: Running, language: str) -> None:
    try:
        command = CLIENTS[language][2]()
    except launch.UnavailableError as error:
        require_or_skip(language, str(error))
    follow(server, command)


@pytest.mark.slow
def test_json_lines(server: Running) -> None:
    program = "import sys\nfrom vcd.client.bridge import run\nsys.exit(run(sys.stdin.buffer, sys.stdout.buffer))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"VCD_SOCKET": server.path, "PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(blocks("json")[0])
            process.stdin.flush()
            said = [json.loads(process.stdout.readline()) for _ in range(4)]
        finally:
            process.kill()
    answers = {each["id"]: each["result"] for each in said if "id" in each}
    assert answers[1]["devices"][0]["name"] == "laptop"
    assert [each["data"]["seq"] for each in said if "event" in each] == [1, 2]
