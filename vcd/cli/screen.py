"""The screen of `vcd top`. The only module that imports textual."""

from __future__ import annotations

from typing import Any

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from vcd.cli import troubles
from vcd.cli.talk import Talk
from vcd.cli.top import look, panes
from vcd.client import RpcError, Unavailable


class Screen(App[None]):
    """Panes of text, drawn again every so often. What the daemon says is text, never markup."""

    TITLE = "vcd"
    CSS = "Static { border: round $primary; padding: 0 1; height: auto; }"
    BINDINGS = [  # noqa: RUF012 - textual's own way
        ("q", "quit", "leave"),
        Binding("ctrl+c", "quit", "leave", show=False, priority=True),  # nothing is to be copied here
    ]

    def __init__(self, talk: Talk, every: float) -> None:
        super().__init__()
        self._talk = talk
        self._every = every
        self._looking = False

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            for name in ("vcd", "devices", "conversations", "events"):
                pane = Static("", id=name, markup=False)
                pane.border_title = name
                yield pane
        yield Footer()

    def on_mount(self) -> None:
        self.look_again()
        self.set_interval(self._every, self.look_again)

    def look_again(self) -> None:
        """One at a time: the client is no use to two threads at once, and a thread that waits cannot be called off."""
        if not self._looking:
            self._looking = True
            self._look()

    @work(thread=True)
    def _look(self) -> None:
        """In a thread, as the client waits for the daemon."""
        try:
            found = panes(look(self._talk))
        except (RpcError, Unavailable) as error:
            self._talk.close()
            found = [("vcd", troubles.of(error).shown())]
        finally:
            self._looking = False
        self.call_from_thread(self._show, found)

    def _show(self, found: list[tuple[str, Any]]) -> None:
        """Into the panes that there are: none any more, if somebody left while the daemon was asked."""
        for name, text in found:
            for pane in self.query(f"#{name}").results(Static):
                pane.update(text)


def show(talk: Talk, every: float) -> None:
    quiet, talk.json = talk.json, True  # no progress lines across the screen
    try:
        Screen(talk, every).run()
    finally:
        talk.json = quiet
