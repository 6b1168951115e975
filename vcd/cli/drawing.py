"""The picture of a chat: `chat graph`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vcd.cli import names
from vcd.cli.pictures import draw
from vcd.cli.talk import Talk
from vcd.cli.text import plain, short
from vcd.cli.verbs import command


@command(
    None,
    "graph",
    example="vcd chat graph tea\n"
    "vcd chat graph tea --html --out tea.html\n"
    "vcd chat graph --own --dot | dot -Tpdf > own.pdf",
)
@click.argument("which", metavar="CHAT", required=False)
@click.option("--own", is_flag=True, help="The group of your own devices, in place of a chat.")
@click.option("--svg", "form", flag_value="svg", help="As a picture.")
@click.option("--html", "form", flag_value="html", help="As a page with that picture in it.")
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--text", "form", flag_value="text", default="text", help="As text; this is the default.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
def graph(talk: Talk, which: str | None, own: bool, form: str, out: Path | None) -> None:
    """The epochs of a chat: branches, who committed, what was said again, what is final, when keys go."""
    if own == (which is not None):
        raise click.UsageError("Give either CHAT or --own.", click.get_current_context())
    found = None if which is None else names.chat(talk, which)
    answer = talk.ask("chat.graph", chat=None if found is None else found["chat"])
    if talk.json and form == "text":
        talk.give(answer, "")
        return
    title = "your devices" if found is None else found["title"] or short(found["chat"])
    picture = draw(form, answer, title, _people(talk, answer))
    if out is not None:
        out.write_text(picture, encoding="utf-8")
        talk.give(
            {"path": str(out.absolute()), "form": form, "epochs": len(answer["steps"])}, f"wrote {plain(str(out))}"
        )
    elif talk.json:
        talk.give({"form": form, "picture": picture, "epochs": len(answer["steps"])}, "")
    else:
        sys.stdout.write(picture)


def _people(talk: Talk, answer: dict[str, Any]) -> dict[bytes, str]:
    """What to call those who are in the picture."""
    known = names.Names(talk)
    found: dict[bytes, str] = {}
    for step in answer["steps"]:
        for each in (step["author"], *step["came"], *step["went"]):
            if each is not None:
                found[each] = known.account(each)
        for each in (step["device"], *step["came_devices"], *step["went_devices"]):
            if each is not None:
                found[each] = known.device(each)
    if answer["chat"] is not None:
        for each in talk.ask("chat.get", chat=answer["chat"])["members"]:
            if each["account"] in found:
                found[each["account"]] = plain(each["name"]) or found[each["account"]]
    return found
