"""The picture of a chat: every epoch once, nothing over anything else, and text that stays text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, strategies as st

from tests.vcd.cli.pictures.graphs import PEOPLE, any_graph, graph, split, step
from vcd.cli.pictures import FORMS, draw
from vcd.cli.pictures.layout import Picture, laid_out
from vcd.cli.pictures.svg import places

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
titles = st.text(max_size=30)
people = st.dictionaries(st.sampled_from([b"\xa1" * 32, b"\xb0" * 32]), st.text(max_size=40))


def distinct(found: dict[str, Any]) -> set[bytes]:
    return {each["epoch"] for each in found["steps"]}


class TestLayout:
    @given(any_graph())
    def test_each_epoch_once_and_below_its_parent(self, found: dict[str, Any]) -> None:
        picture = laid_out(found, "x", {})
        assert len(picture.boxes) == len(distinct(found))
        assert len({box.name for box in picture.boxes}) == len(picture.boxes)
        assert len({(box.row, box.lane) for box in picture.boxes}) == len(picture.boxes)
        for box in picture.boxes:
            assert 0 <= box.row < picture.rows
            assert 0 <= box.lane < picture.lanes
            if box.parent is not None:
                assert box.row == picture.boxes[box.parent].row + 1

    @given(any_graph())
    def test_parents_that_are_there_are_drawn(self, found: dict[str, Any]) -> None:
        """But for those who would be their own ancestors."""
        once: dict[bytes, dict[str, Any]] = {}
        for each in found["steps"]:
            once.setdefault(each["epoch"], each)
        roots = sum(box.parent is None for box in laid_out(found, "x", {}).boxes)
        orphans = sum(each["parent"] not in once for each in once.values())
        circles = sum(_in_circle(each, once) for each in once.values())
        assert orphans <= roots <= orphans + circles

    @given(any_graph())
    def test_lanes_are_not_shared(self, found: dict[str, Any]) -> None:
        """Between a parent and its child in the same lane there is nobody else."""
        picture = laid_out(found, "x", {})
        for box in picture.boxes:
            heirs = [each for each in picture.boxes if each.parent is not None and picture.boxes[each.parent] is box]
            assert sum(each.lane == box.lane for each in heirs) == bool(heirs)

    def test_the_way_to_the_head_is_straight(self) -> None:
        picture = laid_out(split(), "tea", PEOPLE)
        way = [box for box in picture.boxes if box.on_way]
        assert [box.number for box in way] == [1, 2, 4, 6]
        assert {box.lane for box in way} == {0}
        assert picture.lanes == 2

    def test_a_lane_is_used_again(self) -> None:
        """Many short branches one after the other make no wide picture."""
        steps = [step(0, None)]
        for number in range(1, 60, 2):
            steps += [step(number, max(0, number - 2)), step(number + 1, max(0, number - 2))]
        assert laid_out(graph(steps), "x", {}).lanes == 2

    def test_whoever_is_its_own_ancestor_is_drawn_all_the_same(self) -> None:
        picture = laid_out(graph([step(1, 3), step(2, 1), step(3, 2), step(4, 4)]), "x", {})
        assert len(picture.boxes) == 4

    def test_long_histories(self) -> None:
        steps = [step(number, number - 1 if number else None) for number in range(3000)]
        picture = laid_out(graph(steps), "x", {})
        assert (picture.rows, picture.lanes) == (3000, 1)


def _in_circle(begin: dict[str, Any], once: dict[bytes, dict[str, Any]]) -> bool:
    each, seen = once.get(begin["parent"]), 0
    while each is not None and seen <= len(once):
        if each["epoch"] == begin["epoch"]:
            return True
        each, seen = once.get(each["parent"]), seen + 1
    return False


class TestSvg:
    @given(any_graph(), titles, people)
    def test_valid_and_nothing_overlaps(self, found: dict[str, Any], title: str, names: dict[bytes, str]) -> None:
        picture = laid_out(found, title, names)
        tree = ET.fromstring(FORMS["svg"](picture))
        groups = tree.findall(f"{SVG}g")
        assert len(groups) == len(distinct(found))
        assert len({each.get("id") for each in groups}) == len(groups)
        boxes = [
            tuple(float(rect.get(name) or 0) for name in ("x", "y", "width", "height"))
            for rect in tree.iter(f"{SVG}rect")
        ]
        wide, high = float(tree.get("width") or 0), float(tree.get("height") or 0)
        for number, (x, y, w, h) in enumerate(boxes):
            assert x >= 0
            assert y >= 0
            assert x + w <= wide
            assert y + h <= high
            for x2, y2, w2, h2 in boxes[:number]:
                assert x + w < x2 or x2 + w2 < x or y + h < y2 or y2 + h2 < y

    @given(any_graph())
    def test_lines_cross_no_box(self, found: dict[str, Any]) -> None:
        picture = laid_out(found, "x", {})
        where, _, _ = places(picture)
        for box in picture.boxes:
            if box.parent is None:
                continue
            above, below = where[box.parent], where[box.parent]
            top, bottom = above[1] + above[3], where[picture.boxes.index(box)][1]
            assert top < bottom
            for other, (x, y, w, h) in zip(picture.boxes, where, strict=True):
                beneath = x <= below[0] + 10 <= x + w and top < y + h and y < bottom
                assert not beneath or other in {picture.boxes[box.parent], box} or y >= bottom

    @given(any_graph(), titles, people)
    def test_the_same_graph_is_the_same_picture(
        self, found: dict[str, Any], title: str, names: dict[bytes, str]
    ) -> None:
        for form in FORMS:
            assert draw(form, found, title, names) == draw(form, found, title, dict(reversed(names.items())))

    def test_shows_who_what_and_when(self) -> None:
        tree = ET.fromstring(draw("svg", split(), "tea", PEOPLE))
        text = "\n".join("".join(each.itertext()) for each in tree.iter(f"{SVG}g"))
        for said in (
            "by Alice",
            "final",
            "void",
            "keys are gone",
            "keys go 2026-09-21",
            "2 of ours said again",
            "head",
        ):
            assert said in text
        assert "we stand here" in "".join(each.text or "" for each in tree.iter(f"{SVG}title"))


@pytest.mark.parametrize("form", ["svg", "html"])
def test_names_stay_text(form: str) -> None:
    drawn = draw(form, split(), "</title><script>", PEOPLE)
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
    assert "\x1b" not in drawn
    assert "\x00" not in drawn
    assert not re.search(r"\s(?:href|src|on\w+)=", drawn)


def test_the_page_is_one_file() -> None:
    page = draw("html", split(), "tea", PEOPLE)
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg ") == page.count("</svg>") == 1
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    ET.fromstring(page[page.index("<svg ") : page.index("</svg>") + 6])


@given(any_graph(), titles, people)
def test_dot_quotes(found: dict[str, Any], title: str, names: dict[bytes, str]) -> None:
    drawn = draw("dot", found, title, names)
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", drawn)
    assert '"' not in bare
    assert set(bare) <= set("digraph epochs{}\n =;[],->labeltooltipcolorgreenbluestyledashedwidth2nodeshapebox")
    assert bare.count("label=") == len(distinct(found)) + 1


class TestWords:
    def test_a_line_for_each(self) -> None:
        assert draw("text", split(), "tea", PEOPLE) == (
            "tea · demls\n"
            "*    1 00000001 [final]; keys are gone\n"
            "*    2 00000002 by Alice: + <script>alert('&\"')</sc…, 1 of ours said here; keys are kept\n"
            "|-\\\n"
            "| x  3 00000003 by Alice [void]: - c0c0c0c0; keys go 2026-09-21 14:13 UTC\n"
            "* |  4 00000004 by Alice: 2 of ours said again; keys are kept\n"
            "| *  5 00000005 by Alice; keys are kept\n"
            "@    6 00000006 by lap\\x1btop\\x00 [head]: + 02020202; keys are kept\n"
        )

    @given(any_graph(), titles, people)
    def test_always(self, found: dict[str, Any], title: str, names: dict[bytes, str]) -> None:
        lines = draw("text", found, title, names).splitlines()
        signs = [line for line in lines[1:] if re.match(r"[| ]*[*@x]", line)]
        assert len(signs) == len(distinct(found))
        assert all(each.isprintable() or set(each) & set("\u200c\u200d") for each in lines)


def test_nothing_to_draw() -> None:
    for form in FORMS:
        assert draw(form, graph([]), "x", {})
    assert laid_out(graph([]), "x", {}) == Picture(title="x", mode="demls", boxes=(), rows=0, lanes=0)
