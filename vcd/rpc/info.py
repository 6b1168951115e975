"""What state the daemon is in, as everybody on the socket is told, and who waits for another one.

starting    nothing is loaded yet
migrating   the database is brought up to date
locked      the vault is closed
ready       everything works
stopping    nothing new is begun

Once this device has an account, or another one, everything is opened anew. Who just made that account goes on to use
it, so during this `starting` calls wait, and are not refused.
"""

from __future__ import annotations

import trio

from vcd.rpc.values import State


class Info:
    """Set by the daemon, read by its server."""

    def __init__(self, *, version: str, boot_id: bytes, state: State = "starting") -> None:
        self.version = version
        self.boot_id = boot_id
        self.device: bytes | None = None
        """This device, once that is known."""
        self._state: State = state
        self._again = False
        self._changed = trio.Event()

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state != self._state:
            self._state, self._again = state, False
            self._tell()

    @property
    def again(self) -> bool:
        """Whether it starts only because everything is opened anew, and is back in a moment."""
        return self._again

    def open_anew(self) -> None:
        self.state, self._again = "starting", True

    def stuck(self) -> None:
        """What was opened anew does not come back so soon."""
        self._again = False
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def back(self) -> None:
        """Wait while everything is opened anew."""
        while self._again:
            await self._changed.wait()

    async def until(self, *states: State) -> State:
        """Wait for one of these."""
        while self._state not in states:
            await self._changed.wait()
        return self._state

    async def left(self, state: State) -> None:
        """Wait until it is another one, even if only for a moment."""
        if self._state == state:
            await self._changed.wait()
