"""How commands are made: each takes `--json` and `--timeout`, and each has an example in its help.

    @command(group, "list", example="vcd device list")
    def listed(talk: Talk) -> None: ...

The function's docstring is the help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from vcd.cli.talk import Talk


def _want_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    if value:
        context.ensure_object(Talk).json = True
    return value


def _set_timeout(context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None:
        context.ensure_object(Talk).timeout = value
    return value


def json_option() -> click.Option:
    return click.Option(
        ["--json"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_want_json,
        help="Print the result as JSON, for programs.",
    )


def timeout_option() -> click.Option:
    return click.Option(
        ["--timeout"],
        type=click.FloatRange(min=0.001, max=600),
        metavar="SECONDS",
        expose_value=False,
        callback=_set_timeout,
        help="How long the daemon may take for an answer; then exit with 5.",
    )


class Verb(click.Command):
    """A command with an example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        if not any(each.name == "json" for each in self.params):
            self.params.append(json_option())
        if not any(each.name == "timeout" for each in self.params):
            self.params.append(timeout_option())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.example:
            with formatter.section("Example"):
                formatter.write(
                    "".join(f"{'':>{formatter.current_indent}}{each}\n" for each in self.example.split("\n"))
                )
        super().format_epilog(ctx, formatter)


_ELSEWHERE: Final[Mapping[str, str]] = {
    "create": "new add",
    "delete": "remove",
    "get": "show",
    "join": "accept",
    "log": "tail",
    "ls": "list",
    "message": "send",
    "new": "add",
    "open": "new",
    "read": "tail",
    "rm": "remove",
    "say": "send",
    "start": "run",
    "unblock": "block",
    "write": "send",
}
"""What other programs call our commands, which is no matter of letters."""
_OF_A_NOUN: Final[Mapping[str, str]] = {
    "add": "contact add",
    "help": "--help",
    "invite": "chat invite",
    "join": "device join",
    "link": "contact link",
    "ls": "chat list",
    "msg": "chat send",
    "pair": "device add",
    "recover": "init --recover",
    "restore": "init --restore",
    "send": "chat send",
    "start": "run",
    "stop": "call daemon.stop",
    "tail": "chat tail",
    "version": "--version",
}


class Noun(click.Group):
    """Commands about one thing, in one module. Those that are mistyped are told what is nearest."""

    command_class = Verb

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib

            there = self.list_commands(ctx)
            near = [each for each in _ELSEWHERE.get(name, "").split() if each in there]
            near += difflib.get_close_matches(name, there, n=1)
            meant = _OF_A_NOUN.get(name, "") if isinstance(self, Root) else ""
            meant = meant or (near[0] if near else "")
            hint = f" Did you mean `{ctx.command_path} {meant}`?" if meant else ""
            ctx.fail(f"There is no `{ctx.command_path} {name}`.{hint}")


class Root(Noun):
    """The nouns and verbs of `vcd` itself: named here with a line each, imported when they are called."""

    def __init__(self, *args: Any, rooms: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rooms = rooms

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.rooms)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.rooms:
            return None
        import importlib

        module, _, name = self.rooms[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(f"vcd.cli.{module}"), name)
        assert isinstance(found, click.Command)  # noqa: S101 - for mypy
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.rooms.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Without importing all of them."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=line) for name, (_, line) in self.rooms.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def command(
    of: click.Group | None, name: str, *, example: str, **settings: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command whose function is given a `Talk` first. `of` is the noun that it belongs to."""

    def made(function: Callable[..., Any]) -> click.Command:
        verb = click.command(name, cls=Verb, example=example, **settings)(click.pass_obj(function))
        if of is not None:
            of.add_command(verb)
        return verb

    return made


def noun(name: str) -> Callable[[Callable[..., Any]], Noun]:
    def made(function: Callable[..., Any]) -> Noun:
        group = click.group(name, cls=Noun)(function)
        group.params.append(json_option())
        return group

    return made
