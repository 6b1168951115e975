"""Every command and program in the guides is tried, in order, with daemons of its own; or says why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.guide import WrongGuide, blocks
from tests.docs.shown import Names
from tests.docs.terminal import ROOT, Differs, desk

GUIDES = ("tutorial", "apps", "operations")
NOT_RUN: dict[str, list[str]] = {
    "apps": [],
    "operations": [
        "it takes a login session of systemd; tests/systemd has systemd itself check these units",
        "it takes root and a machine that systemd runs; tests/systemd has systemd itself check these units",
        "it takes somebody's certification authority",
        "it takes a login session of systemd",
    ],
    "tutorial": [
        "it builds a virtual environment from the network; `make setup` is what every test here began with",
        "it takes a login session of systemd; tests/systemd has systemd itself check these units",
        "short codes need multicast DNS, which there is none of on one machine alone",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_it_does_what_it_shows(name: str) -> None:
    with desk() as there:
        for block in blocks(ROOT / "docs" / f"{name}.md"):
            there.do(block)


@pytest.mark.parametrize("name", GUIDES)
def test_what_is_not_run_is_known(name: str) -> None:
    """Whoever adds one has to add it here, too."""
    reasons = [each.reason for each in blocks(ROOT / "docs" / f"{name}.md") if each.reason]
    assert reasons == NOT_RUN[name]


class TestTheTrial:
    """It would notice."""

    @staticmethod
    def guide(path: Path, text: str) -> Path:
        (path / "guide.md").write_text(text, encoding="utf-8")
        return path / "guide.md"

    @pytest.mark.parametrize("comment", ["", "<!-- run -->\n", "<!-- not run: -->\n", "<!-- run: a@b, sometimes -->\n"])
    def test_a_block_that_says_nothing(self, tmp_path: Path, comment: str) -> None:
        with pytest.raises(WrongGuide):
            list(blocks(self.guide(tmp_path, f"{comment}```sh\ntrue\n```\n")))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "body",
        ["$ echo tea\ncoffee\n", "$ echo tea\n", "$ false\n", "$ echo tea; echo more\ntea\n", "$ true\ntea\n"],
        ids=["other", "hidden", "code", "more", "less"],
    )
    def test_other_output(self, tmp_path: Path, body: str) -> None:
        [block] = blocks(self.guide(tmp_path, f"<!-- run: a@b -->\n```console\n{body}```\n"))
        with desk() as there:
            if body == "$ echo tea\n":  # what is not shown may be anything
                there.do(block)
            else:
                with pytest.raises(Differs):
                    there.do(block)

    def test_names_are_the_same_each_time(self) -> None:
        names = Names()
        assert names.match(["laptop c880f06e", "phone f76542ad"], ["laptop 1a", "phone 2b"], whole=True) is None
        assert names.match(["laptop c880f06e"], ["laptop 11112222"], whole=True) == 1
        assert names.match(["laptop c880f06e"], ["laptop 33334444"], whole=True) is None
        assert names.real("vcd device remove c880f06e") == "vcd device remove 11112222"
        assert names.match(["phone f76542ad"], ["phone abcdefab"], whole=True) == 1  # one in 2,500 has no digit

    def test_numbers_count(self) -> None:
        names = Names()
        assert names.match(["2 devices"], ["3 devices"], whole=True) is None
        assert names.match(["in 9 min 59 s"], ["in 3 s"], whole=True) == 1
