"""docs/protocol.md has every protocol and number that is in the code."""

from __future__ import annotations

import inspect
import re

from tests.docs.terminal import ROOT
from vcd.core import listing, payloads, policy

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
CODE = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in ("transport", "vcd")
    for path in sorted((ROOT / package).rglob("*.py"))
}
LABELS_BY_VALUE = re.compile(r"^_?[A-Z_]+(?:: Final)? = b?\"(vcd [a-z ]+(?: \d)?)\"", re.MULTILINE)


def test_every_protocol_id() -> None:
    ids = {
        each
        for text in CODE.values()
        for each in re.findall(r'"(/(?:vcd|libp2p|ipfs|meshsub)/[a-z0-9./]+)"', text)
        if re.search(r"\d", each)
    }
    assert {"/vcd/sync/1", "/vcd/pair/1", "/vcd/packages/1", "/vcd/mailbox/1"} <= ids
    table = PAGE.partition("| protocol id |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(/[a-z0-9./]+)`", table)) == ids


def test_every_payload_has_its_number() -> None:
    found = {
        each.RECORD_TAG: name
        for name, each in inspect.getmembers(payloads, inspect.isclass)
        if each.__module__ == payloads.__name__ and hasattr(each, "RECORD_TAG") and name != "Content"
    }
    assert dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)) == {
        str(number): name for number, name in found.items()
    }


def test_every_component() -> None:
    assert f"`0x{policy.COMPONENT:4X}`, a conversation's policy" in PAGE
    assert f"`0x{listing.COMPONENT:4X}`, the list of devices" in PAGE


def test_labels_are_those_of_the_code() -> None:
    everything = "\n".join(CODE.values())
    said = {each for each in re.findall(r"`(vcd [a-z -]+(?: \d)?)`", PAGE) if not each.startswith("vcd mailbox run")}
    assert [label for label in sorted(said) if f'"{label}' not in everything] == []


def test_signed_contexts_are_named() -> None:
    """Whoever signs for one thing signs for nothing else: each has its label, and the page has them."""
    used = set()
    for path, text in CODE.items():
        if path.startswith(("transport/", "vcd/core/accounts/")):
            used |= set(LABELS_BY_VALUE.findall(text)) | set(re.findall(r'b"(vcd [a-z -]+ \d)"', text))
    assert [label for label in sorted(used) if f"`{label}`" not in PAGE] == []


def test_files_and_folders_are_there() -> None:
    named = re.findall(r"`((?:vcd|transport)/[a-z_/]+(?:\.py)?)`", PAGE)
    assert [each for each in named if not (ROOT / each).exists()] == []
