"""What every command works with: the daemon at one end, a person or a program at the other.

A command asks the daemon with `ask`, or with `change` for what is kept: that carries a request id, so it is done once
even if the connection is lost in between. `of_owner` and `change_of_owner` go to the admin socket, which a command
takes only for what is served nowhere else: people who may only use the app socket can then use all the rest.

It ends with `give`: a result for programs, and the same in words for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from vcd.cli.reaching import sockets
from vcd.cli.waiting import waiting
from vcd.client import Client, Event, RpcError, new_request_id

VERSION = 1
"""Of what `--json` prints. It gains fields; it loses none and changes none."""


class ReaderGone(Exception):
    """Nobody reads what is printed any more, as after `vcd events | head`: there is nothing more to do."""


class Talk:
    def __init__(self) -> None:
        self.json = False
        self.timeout: float | None = None
        """Seconds for each call; None for as long as the daemon takes."""
        self._paths: tuple[str, str] | None = None
        self._clients: dict[bool, Client] = {}

    # ------------------------------------------------------------ the daemon

    def paths(self) -> tuple[str, str]:
        """The app socket and the admin socket."""
        if self._paths is None:
            self._paths = sockets()
        return self._paths

    def client(self, *, admin: bool = False) -> Client:
        if admin not in self._clients:
            from vcd import __version__

            self._clients[admin] = Client(self.paths()[admin], admin=admin, name="vcd", version=__version__)
        return self._clients[admin]

    def ask(self, method: str, /, *, wait: str = "Waiting for the daemon", **params: Any) -> Any:
        return self._call(False, method, wait, params)

    def of_owner(self, method: str, /, *, wait: str = "Waiting for the daemon", **params: Any) -> Any:
        return self._call(True, method, wait, params)

    def change(self, method: str, /, *, wait: str = "Waiting for the daemon", **params: Any) -> Any:
        return self._call(False, method, wait, {**params, "request_id": new_request_id()})

    def change_of_owner(self, method: str, /, *, wait: str = "Waiting for the daemon", **params: Any) -> Any:
        return self._call(True, method, wait, {**params, "request_id": new_request_id()})

    def _call(self, admin: bool, method: str, wait: str, params: dict[str, Any]) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        with waiting(wait, quiet=self.json):
            try:
                return self.client(admin=admin).call(method, timeout=self.timeout, **given)
            except RpcError as error:
                if error.code.startswith("E_PARAM"):
                    error.data = {"method": method, **error.data}  # for the next step (`troubles`)
                raise

    def pages(self, method: str, key: str, name: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list that comes page by page; `name` is the field of a row that the next page begins after."""
        after = None
        while True:
            page = self.ask(method, after=after, most=500, **params)
            yield from page[key]
            if not page["more"] or not page[key]:
                return
            after = page[key][-1][name]

    def events(self, from_: int | None, **filters: Any) -> Iterator[Event]:
        """Those that come, for ever; over a restart of the daemon too. It has to be ready to begin with."""
        self.ask("events.next", max=1)  # whoever waits for a locked daemon should know it
        return self.client().events(from_, wait=30.0, **filters)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    # ------------------------------------------------------------ the reader

    def give(self, result: dict[str, Any], text: str | Callable[[], str]) -> None:
        """The result: as one JSON object, or in words."""
        if self.json:
            self._write(in_json(result, indent=sys.stdout.isatty()))
        else:
            self._write(text if isinstance(text, str) else text())

    def line(self, result: dict[str, Any], text: str | Callable[[], str]) -> None:
        """One of several: JSON lines, or lines of text, at once."""
        if self.json:
            self._write(in_json(result))
        else:
            self._write(text if isinstance(text, str) else text())

    def say(self, text: str) -> None:
        """For people alone."""
        if not self.json:
            self._write(text)

    def note(self, text: str) -> None:
        """For people, beside the result: on standard error."""
        if not self.json:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGone from None


def in_json(result: dict[str, Any], *, indent: bool = False) -> str:
    from vcd.client.bridge import to_json

    return json.dumps({"v": VERSION, **to_json(result)}, ensure_ascii=False, indent=2 if indent else None)
