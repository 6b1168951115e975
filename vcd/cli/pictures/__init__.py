"""Pictures of a chat's epochs: where each stands is decided once, in `layout`, and drawn in four ways.

The same graph gives the same bytes. All text in it is escaped: names are other people's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.cli.pictures.dot import dot
from vcd.cli.pictures.layout import laid_out
from vcd.cli.pictures.page import page
from vcd.cli.pictures.svg import svg
from vcd.cli.pictures.words import words

FORMS = {"svg": svg, "html": page, "dot": dot, "text": words}


def draw(form: str, graph: Mapping[str, Any], title: str, people: Mapping[bytes, str]) -> str:
    """`graph` is the answer of chat.graph; `people` has names for accounts and devices."""
    return FORMS[form](laid_out(graph, title, people))
