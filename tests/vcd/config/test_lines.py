"""The line of every key, for any file that tomllib accepts."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from vcd.config.lines import Path, lines_of


def paths(document: Any, above: Path = ()) -> list[Path]:
    """Every key of a document, those inside arrays left out."""
    found = []
    for name, value in document.items():
        found.append((*above, name))
        if isinstance(value, dict):
            found += paths(value, (*above, name))
    return found


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", {}),
        ("a = 1", {("a",): 1}),
        ("# a = 1\n\n  a = 1 # b = 2\nb=2", {("a",): 3, ("b",): 4}),
        ("[s]\na = 1\n[t]\na = 2\n", {("s",): 1, ("s", "a"): 2, ("t",): 3, ("t", "a"): 4}),
        ("s.a = 1\ns.b = 2", {("s",): 1, ("s", "a"): 1, ("s", "b"): 2}),
        ("a = [\n 1, # ]\n 2,\n]\nb = 1", {("a",): 1, ("b",): 5}),
        ("a = '''\nb = 1\n'''\nc = 1", {("a",): 1, ("c",): 4}),
        ('a = """\n\\"""\n""""\nc = 1', {("a",): 1, ("c",): 4}),
        ('a = "\\""\nb = "]"\nc = \'[\'\nd = 1', {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4}),
        ("a = { b = 1, c = [ 2 ] }\nd = 1", {("a",): 1, ("d",): 2}),
        ("[[t]]\na = 1\n[[t]]\na = 2", {("t",): 1, ("t", "a"): 2}),
        ("[ a . 'b.c' ]\n\"d\\u0065\" = 1", {("a",): 1, ("a", "b.c"): 1, ("a", "b.c", "de"): 2}),
        ("a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
    ],
)
def test_lines(text: str, lines: dict[Path, int]) -> None:
    assert isinstance(tomllib.loads(text), dict)
    assert dict(lines_of(text)) == lines


BARE = st.text("ab-_1", min_size=1, max_size=3)
QUOTED = st.text('ab.= #[]"\\\n', max_size=4).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
)
NAMES = st.one_of(BARE, BARE, QUOTED)
VALUES = st.sampled_from(
    [
        "1",
        "true",
        '"x # y"',
        "'[ = '",
        '"""\n]\n"""',
        "'''\n\"\n'''",
        "[1,\n2 # ]\n]",
        "{ z = '}' }",
        '"\\\\"',
        '"""a"b"""""',
    ]
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, VALUES),
    st.builds("{} . {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("[{}]".format, NAMES),
    st.builds("[{}.{}] # b = 1".format, NAMES, NAMES),
    st.sampled_from(["", "# [x]", "   "]),
)


@given(st.lists(STATEMENTS, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_every_key_of_an_accepted_file_is_found_where_it_stands(statements: list[str], end: str) -> None:
    text = "\n".join(statements).replace("\n", end)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = lines_of(text)
    lines = text.split("\n")
    for path in paths(document):
        if path in found:
            name = path[-1]
            line = lines[found[path] - 1]
            assert name in line or '"' in line
        else:
            assert path[:-1] in paths(document)  # inside an inline table, which is found itself
    written = [path for path in paths(document) if path[-1] != "z"]
    assert all(path in found for path in written)
