"""The table: complete, bounded, with an example for everything, and the same as its documents."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import msgpack
import msgspec
import pytest

from tests.repo.files import ROOT
from tests.vcd.rpc import levels
from vcd.client.bridge import to_json
from vcd.rpc import docs
from vcd.rpc.api import describe, meanings
from vcd.rpc.errors import CODES, MISUSE, Failure, refused
from vcd.rpc.params import read, secrets
from vcd.rpc.table import BEFORE_HELLO, BUILT_IN, EVENTS, FUNCTIONS, LEVEL, PRERELEASE
from vcd.rpc.values import MOST, Change, Params

ASKED_FOR = [
    "status.get",
    "health.list",
    "metrics.get",
    "vault.unlock",
    "vault.lock",
    "vault.rewrap",
    "account.create",
    "account.get",
    "account.rotate",
    "account.recover",
    "account.set_certificate",
    "device.list",
    "device.rename",
    "device.remove",
    "pair.start",
    "pair.join",
    "pair.confirm",
    "pair.get",
    "pair.cancel",
    "contact.link",
    "contact.add",
    "contact.list",
    "contact.verify",
    "contact.block",
    "contact.remove",
    "chat.create",
    "chat.list",
    "chat.get",
    "chat.invite",
    "chat.accept",
    "chat.decline",
    "chat.remove",
    "chat.leave",
    "chat.rotate",
    "chat.migrate",
    "chat.set_retention",
    "chat.graph",
    "msg.send",
    "msg.list",
    "msg.delete",
    "events.subscribe",
    "events.next",
    "events.ack",
    "key_packages.status",
    "raw.create",
    "raw.join",
    "raw.propose",
    "raw.commit",
    "raw.protect",
    "raw.take",
    "raw.put",
    "raw.export",
    "backup.create",
    "daemon.stop",
]
TOLD = [
    "msg.received",
    "msg.sent",
    "msg.rekeyed",
    "msg.delivered",
    "msg.failed",
    "msg.needs_attention",
    "chat.invited",
    "chat.changed",
    "chat.forked",
    "chat.healed",
    "chat.needs_attention",
    "device.added",
    "device.removed",
    "device.rotation",
    "health.changed",
]


def test_what_there_has_to_be() -> None:
    assert [each for each in ASKED_FOR if each not in FUNCTIONS] == []
    assert [each for each in TOLD if each not in EVENTS] == []
    assert set(FUNCTIONS) > BUILT_IN
    assert set(FUNCTIONS) > BEFORE_HELLO


def test_names() -> None:
    for name in [*FUNCTIONS, *EVENTS]:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", name), name
    rows = [kind for row in FUNCTIONS.values() for kind in (row.params, row.result)] + [
        row.data for row in EVENTS.values()
    ]
    names = {kind: kind.__name__ for kind in rows}
    assert len(set(names.values())) == len(names)
    assert not [name for name in describe()["$defs"] if "." in name], "two types of one name"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_example_doc_and_errors(name: str) -> None:
    row = FUNCTIONS[name]
    params, result = row.example
    assert type(params) is row.params
    assert type(result) is row.result
    plain = msgspec.to_builtins(params, builtin_types=(bytes,))
    assert read(row, msgpack.packb([plain])) == params
    assert (
        msgspec.convert(msgspec.to_builtins(result, builtin_types=(bytes,)), row.result, builtin_types=(bytes,))
        == result
    )
    assert row.doc.endswith(".")
    assert "\n" not in row.doc
    assert [code for code in row.errors if code not in CODES] == []
    assert issubclass(row.params, Change) == row.mutates
    assert row.since <= LEVEL


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_has_its_example(name: str) -> None:
    row = EVENTS[name]
    assert type(row.example) is row.data
    plain = msgspec.to_builtins(row.example, builtin_types=(bytes,))
    assert msgspec.convert(plain, row.data, builtin_types=(bytes,)) == row.example
    assert row.doc.endswith(".")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whatever_a_caller_can_fill_is_bounded(name: str) -> None:
    def look(kind: Any, place: str) -> None:
        inspect = msgspec.inspect
        match kind:
            case inspect.Metadata():
                look(kind.type, place)
            case inspect.UnionType():
                for each in kind.types:
                    look(each, place)
            case inspect.StrType() | inspect.BytesType():
                assert kind.max_length is not None, place
            case inspect.IntType():
                assert kind.ge is not None, place
                assert kind.ge >= -MOST, place
                assert kind.le is not None, place
                assert kind.le <= MOST, place
            case inspect.ListType() | inspect.VarTupleType():
                assert kind.max_length is not None, place
                look(kind.item_type, place)
            case inspect.StructType():
                assert kind.forbid_unknown_fields, place
                for field in kind.fields:
                    look(field.type, f"{place}.{field.encode_name}")
            case inspect.BoolType() | inspect.NoneType() | inspect.LiteralType():
                pass
            case _:
                pytest.fail(f"{place}: {kind}")

    look(msgspec.inspect.type_info(FUNCTIONS[name].params), name)


def test_no_floats_and_all_numbers_within_what_javascript_has() -> None:
    schemas = json.dumps(describe()["$defs"])
    assert '"type": "number"' not in schemas
    for found in re.findall(r'"(?:maximum|minimum)": (-?\d+)', schemas):
        assert abs(int(found)) <= MOST


def test_secrets() -> None:
    found = {(name, field) for name, row in FUNCTIONS.items() for field in secrets(row.params)}
    assert found == {
        ("vault.unlock", "passphrase"),
        ("vault.rewrap", "passphrase"),
        ("backup.create", "passphrase"),
        ("backup.create", "words"),
        ("account.recover", "words"),
        ("account.recover", "passphrase"),
        ("account.set_rules", "words"),
        ("device.remove", "words"),
    }


# ---------------------------------------------------------------- errors


def test_errors_have_numbers_by_kind() -> None:
    numbers = [row.num for row in CODES.values()]
    assert numbers == sorted(set(numbers))
    assert {number // 1000 for number in numbers} == {1, 2, 3, 4, 5, 6, 9}
    assert all(re.fullmatch(r"E(_[A-Z]+)+", code) for code in CODES)
    with pytest.raises(KeyError):
        Failure("E_NO_SUCH_CODE")


def test_every_misuse_of_the_node_is_an_error() -> None:
    text = (ROOT / "docs" / "node-reference.md").read_text(encoding="utf-8")
    table = text.split("\n## Misuse\n")[1].split("\n## ")[0]
    named = {
        code
        for line in table.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([a-z-]+)`", line.split("|")[1])
    }
    assert named - {"no-parent", "no-path"} == set(MISUSE)
    assert set(MISUSE.values()) <= set(CODES)
    failure = refused("no-card", "Ask for it.")
    assert (failure.code, failure.message, failure.data) == ("E_NO_CARD", "Ask for it.", {"misuse": "no-card"})


def test_what_functions_name_is_used() -> None:
    """An error that nobody gives would be a promise of nothing."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "vcd" / "rpc").rglob("*.py") if path.name != "errors.py"
    )
    for_all = {code for code, row in CODES.items() if row.num // 1000 in {5, 9}} | {"E_OFFLINE", "E_UNREACHABLE"}
    unused = [code for code in CODES if code not in source and code not in MISUSE.values() and code not in for_all]
    assert unused == []


# ---------------------------------------------------------------- documents and levels


def test_the_page_is_what_the_table_says() -> None:
    page = (ROOT / "docs" / "rpc.md").read_text(encoding="utf-8")
    assert page == docs.page(), "python -m vcd.rpc.docs > docs/rpc.md"


def test_links_within_the_page_lead_somewhere() -> None:
    page = docs.page()
    places = {re.sub(r"[^a-z0-9_-]", "", title.lower()) for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= places


def test_fields_are_explained_from_their_docstrings() -> None:
    found = meanings(FUNCTIONS["events.subscribe"].params)
    assert found["from"].startswith("The first seq that is wanted")
    assert found["timeout_ms"].startswith("After so long")


def test_the_newest_level_is_written_down() -> None:
    promised = levels.kept()
    assert sorted(promised) == list(range(1, LEVEL + 1))
    if PRERELEASE:
        assert promised[LEVEL] == levels.promise(describe()), "python -m tests.vcd.rpc.levels"


@pytest.mark.parametrize("level", range(1, LEVEL + 1))
def test_what_was_released_is_kept(level: int) -> None:
    assert levels.broken(levels.kept()[level], levels.promise(describe())) == []


def test_promises_that_are_broken_are_found() -> None:
    old = levels.promise(describe())

    def changed(how: Any) -> list[str]:
        new = copy.deepcopy(old)
        how(new)
        return levels.broken(old, new)

    assert changed(lambda new: None) == []
    assert changed(lambda new: new["functions"].pop("msg.send")) == ["msg.send is gone"]
    assert changed(lambda new: new["functions"]["msg.send"]["params"]["properties"].update(x={})) == [
        "msg.send: params changed"
    ]
    assert changed(lambda new: new["functions"]["msg.send"]["result"]["properties"].update(x={})) == []
    assert changed(lambda new: new["functions"]["msg.send"]["result"]["properties"].pop("seq")) == [
        "msg.send: seq is gone"
    ]
    assert changed(
        lambda new: new["functions"]["chat.list"]["result"]["properties"]["chats"]["items"]["properties"].pop("mode")
    ) == ["chat.list: chats.mode is gone"]
    assert changed(lambda new: new["functions"]["chat.list"].update(socket="admin")) == ["chat.list: socket changed"]
    assert changed(lambda new: new["events"]["msg.sent"]["properties"].pop("msg")) == ["msg.sent: msg is gone"]
    assert changed(lambda new: new["errors"].update(E_LOCKED=7)) == ["E_LOCKED changed"]


def test_examples_are_json_too() -> None:
    for row in FUNCTIONS.values():
        for each in row.example:
            assert json.dumps(to_json(msgspec.to_builtins(each, builtin_types=(bytes,))))
    assert issubclass(FUNCTIONS["chat.list"].params, Params)
