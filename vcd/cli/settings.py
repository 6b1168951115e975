"""The settings: `config check`, `config show`. They are read here as the daemon reads them, without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vcd.cli.talk import Talk
from vcd.cli.text import plain, table
from vcd.cli.troubles import REFUSED, Trouble
from vcd.cli.verbs import command, noun
from vcd.paths import find

if TYPE_CHECKING:
    from vcd.config import Loaded


@noun("config")
def config() -> None:
    """Look at the settings, and what is wrong with them."""


_config_option = click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="In place of your own."
)


def _loaded(file: Path | None) -> Loaded:
    from vcd.config import ConfigError, load

    files = find().config_files
    try:
        return load(files if file is None else (*files[:-1], file), must_exist=file is not None)
    except ConfigError as error:
        problems = [{"text": str(each), "key": each.key} for each in error.problems]
        raise Trouble(str(error), error.hint, code="config", status=REFUSED, data={"problems": problems}) from None


@command(config, "check", example="vcd config check\nvcd config check --config new.toml && systemctl --user reload vcd")
@_config_option
def check(talk: Talk, file: Path | None) -> None:
    """Whether the settings can be used; names every line that is wrong."""
    loaded = _loaded(file)
    files = [str(each) for each in loaded.files]
    talk.give(
        {"ok": True, "files": files}, f"fine: {', '.join(files) or 'there is no file, everything is at its default'}"
    )


@command(config, "show", example="vcd config show --origin\nvcd config show network.listen")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--origin", is_flag=True, help="Also say where each value is from.")
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
@_config_option
def show(talk: Talk, keys: tuple[str, ...], origin: bool, changed: bool, file: Path | None) -> None:
    """Every setting and its value, as TOML."""
    rows: list[dict[str, Any]] = [
        {"key": name, "value": value, "origin": str(where), "default": str(where) == "default"}
        for name, value, where in _loaded(file).rows()
    ]
    for key in keys:
        if not any(_chosen(row["key"], key) for row in rows):
            raise _unknown(key)
    chosen = [
        row
        for row in rows
        if (not keys or any(_chosen(row["key"], key) for key in keys)) and not (changed and row["default"])
    ]
    if origin:
        text = table(["KEY", "VALUE", "FROM"], [[row["key"], row["value"], row["origin"]] for row in chosen])
    else:
        text = "\n".join(f"{row['key']} = {plain(row['value'])}" for row in chosen)
    talk.give({"settings": chosen}, text)


def _chosen(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _unknown(key: str) -> Trouble:
    from vcd.config import KEYS
    from vcd.config.kinds import nearest

    near = nearest(key, list(KEYS))
    hint = f" Did you mean {near}?" if near else ""
    return Trouble(f"There is no setting {key!r}.{hint}", "`vcd config show` lists all there are.", code="config")
