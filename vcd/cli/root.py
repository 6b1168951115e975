"""`vcd` itself: which commands there are, and in which module each is."""

from __future__ import annotations

import click

from vcd import __version__
from vcd.cli.verbs import Root, json_option

ROOMS = {
    "init": ("beginning:init", "Write vcd.toml, make an account or take one up again."),
    "run": ("handing:run", "Be the daemon."),
    "status": ("daemon:status", "How the daemon is, at a glance."),
    "doctor": ("doctor:doctor", "Look for what is wrong, and say what to do."),
    "wait": ("daemon:wait", "Wait until the daemon is ready."),
    "unlock": ("daemon:unlock", "Open the vault."),
    "lock": ("daemon:lock", "Close the vault."),
    "account": ("account:account", "Your account, which all your devices share."),
    "device": ("device:device", "Your devices: add, list, rename, remove."),
    "contact": ("contact:contact", "People: known by the link that they gave."),
    "chat": ("chat:chat", "Conversations, and what is said in them."),
    "events": ("events:events", "What happened, and what happens."),
    "mailbox": ("handing:mailbox", "Keep sealed messages for others who are away."),
    "backup": ("backup:backup", "Write contacts and history to a sealed file."),
    "config": ("settings:config", "Look at the settings, and what is wrong with them."),
    "call": ("calling:call", "Call any function of the daemon."),
    "rpc": ("calling:rpc", "Speak for a program, in lines of JSON."),
    "api": ("calling:api", "All functions, events and errors."),
    "top": ("top:top", "Watch the daemon at work."),
    "bugreport": ("bugreport:bugreport", "What to send to whoever looks for a bug; names nobody."),
    "completion": ("shell:completion", "Make the shell complete commands."),
}


@click.group("vcd", cls=Root, rooms=ROOMS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vcd", message="%(prog)s %(version)s")
def vcd() -> None:
    """One account on all your devices, and apps on a socket.

    New here? `vcd init` says how to begin. Every command takes --json.
    """


vcd.params.append(json_option())
