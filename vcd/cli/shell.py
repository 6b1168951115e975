"""What makes a shell complete commands: `completion`."""

from __future__ import annotations

import click

from vcd.cli.talk import Talk
from vcd.cli.verbs import command

_WHERE = {
    "bash": "vcd completion bash > ~/.local/share/bash-completion/completions/vcd",
    "zsh": "vcd completion zsh > ~/.zfunc/_vcd    (with ~/.zfunc in fpath)",
    "fish": "vcd completion fish > ~/.config/fish/completions/vcd.fish",
}


@command(None, "completion", example="\n".join(_WHERE.values()))
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(talk: Talk, shell: str) -> None:
    """Print the script that makes a shell complete vcd's commands and options."""
    from click.shell_completion import get_completion_class

    from vcd.cli.root import vcd

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - those three have one
    # not `source()`, which for bash starts one to ask for its version
    completer = made(vcd, {}, "vcd", "_VCD_COMPLETE")
    script = completer.source_template % completer.source_vars()
    talk.give({"shell": shell, "script": script, "install": _WHERE[shell]}, script)
