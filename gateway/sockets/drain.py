"""The process goes away: its sockets are sent elsewhere, in order and not all at once.

All within the window T (``drain_s``), counted from the signal or the request to drain:

    0 … T/10, at most 2 s   not ready any more, upgrades refused; listeners still open, so that
                            whoever sends traffic here notices before a connection is refused
    … 0.98 T                every viewer knows; sockets close one after the other (0.88 T and more)
    … T + 0.2 s             those who waited for an answer are closed, too, and say goodbye

The port for operators, if there is one, is open until then, so that whoever asks hears that we are
not ready.

When the process is to end (``Server``), connections that are left then are cut. Now uvicorn takes
0.1 s, requests that are still open ``_HTTP_S`` (0.3; they had the window, too), and payments under
way 1 s (``checkout.desk``). That is T + 1.6 s, and by T + 2 s the interpreter has gone. No step
takes longer than there is somebody to wait for.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn

from gateway.messages import DrainFrame, encode
from gateway.sessions.machine import Busy
from gateway.sockets.direct import encoded
from gateway.sockets.door import Door, Guest
from gateway.sockets.server import SocketProtocol

_NOTICED_PART, _NOTICED_MOST_S = 0.1, 2.0
_CLOSED_PART = 0.98
_HTTP_S = 0.3
"""What open requests get at least, once the sockets are gone."""
_GOODBYE_S = 0.2
"""For the last goodbyes."""
_LOOK_EVERY_S = 0.05
"""How soon it is noticed that there is nobody left, that a payment has its answer, or a signal."""
ACCEPTED_A_TURN = 8
"""Connections taken from the system's queue in a turn of the loop. Uvloop takes one for each file
that listens, and a busy turn has tens of milliseconds: a crowd, and a health probe behind it, would
wait there for seconds."""
_AT_ONCE = 128
"""Sockets told something before others have their turn."""


class Line:
    """Who goes next: idle ones first, then those that hold something. Whoever pays can wait."""

    def __init__(self, guests: Iterable[Guest]) -> None:
        self._waiting: dict[Busy, deque[Guest]] = {busy: deque() for busy in Busy}
        for guest in guests:
            self._waiting[guest.busy].append(guest)

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def next(self, inside: Collection[Guest]) -> Guest | None:
        """Take the next out of those still inside; ``None`` when all who wait are paying."""
        for level, waiting in self._waiting.items():
            for _ in range(len(waiting)):
                guest = waiting.popleft()
                if guest not in inside:
                    continue
                busy = guest.busy  # It may have changed since it was lined up.
                if busy <= level and busy is not Busy.PAYING:
                    return guest
                self._waiting[max(busy, level)].append(guest)
        return None


@dataclass(frozen=True, slots=True)
class Begun:
    """A drain, as it was when it began."""

    within_ms: int
    sockets: int


@dataclass(slots=True)
class Drain:
    """Empties one process of its sockets, once."""

    door: Door
    window_s: float
    noticed: asyncio.Event = field(default_factory=asyncio.Event)
    """It is time to close the listeners, if the process is to end."""
    _begun: Begun | None = None
    _task: asyncio.Task[None] | None = None
    _starts_s: float = 0.0
    hurried: bool = False
    """Whether everything is to end at once."""

    def begin(self) -> Begun:
        """Begin; if it has, nothing more happens, and the answer is the same."""
        if self._begun is None:
            self.door.draining = True
            self._begun = Begun(round(self.window_s * 1000), self.door.open)
            self._starts_s = asyncio.get_running_loop().time()
            self._task = asyncio.create_task(self._run())
        return self._begun

    def hurry(self) -> bool:
        """Close everything at once; whether that changes anything. A signal's handler may call."""
        if self.hurried or (self._task and self._task.done()):
            return False
        self.hurried = True
        return True

    async def over(self) -> None:
        """Wait until the sockets are gone, or the window is over."""
        if self._task:
            await asyncio.wait({self._task})  # Were it to fail, the process must end all the same.

    async def aclose(self) -> None:
        """Give it up, if it is under way: the process ends."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        noticed_s = min(_NOTICED_PART * self.window_s, _NOTICED_MOST_S)
        await self._until(self._starts_s + noticed_s)
        self.noticed.set()
        await self._warn()
        await self._close_in_order(self._starts_s + _CLOSED_PART * self.window_s)
        await self._close_all()
        await self._until(self._starts_s + self.window_s)
        if self.door.open:
            await asyncio.sleep(_GOODBYE_S)

    async def _warn(self) -> None:
        left_s = self._starts_s + self.window_s - asyncio.get_running_loop().time()
        frame = encoded(encode(DrainFrame(within_ms=max(0, round(left_s * 1000)))), "push")
        for number, guest in enumerate(tuple(self.door.guests), 1):
            guest.warn(frame)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _close_in_order(self, until_s: float) -> None:
        """Close one after the other, evenly spread; at the end only those remain who pay."""
        line, at_s = Line(self.door.guests), asyncio.get_running_loop().time()
        while line and at_s <= until_s and not self.hurried:
            guest = line.next(self.door.guests)
            if guest:
                guest.leave()
            if line:
                # When it is late, for the loop had much to do, it catches up.
                at_s += (until_s - at_s) / len(line) if guest else _LOOK_EVERY_S
                await self._until(at_s)

    async def _close_all(self) -> None:
        for number, guest in enumerate(tuple(self.door.guests), 1):
            guest.leave()
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _until(self, at_s: float) -> None:
        """Sleep until then, unless nobody is left, or it is urgent."""
        while True:
            wait_s = min(at_s - asyncio.get_running_loop().time(), _LOOK_EVERY_S)
            if wait_s <= 0 or self.hurried or not self.door.open:
                await asyncio.sleep(0)
                return
            await asyncio.sleep(wait_s)


@dataclass(frozen=True, slots=True)
class Apart:
    """A second port, with a queue of its own for those who connect, and what is served there."""

    listener: socket.socket
    config: uvicorn.Config


class Server(uvicorn.Server):
    """Uvicorn's server, which would say goodbye to everyone at once, with a drain before its end.

    A second signal cuts the drain short; Ctrl-C after that, or after the drain, all the rest.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, apart: Apart | None = None) -> None:
        super().__init__(config)
        self.drain = drain
        self._apart = apart
        self._open_to_the_end: list[asyncio.Server] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, on the second port too."""
        await super().startup(sockets)
        for listener in [one for server in self.servers for one in server.sockets]:
            for _ in range(ACCEPTED_A_TURN - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await self._listen(again, self.config))
        if self._apart:
            self._apart.config.load()
            served = await self._listen(self._apart.listener, self._apart.config)
            self._open_to_the_end.append(served)

    async def _listen(self, listener: socket.socket, config: uvicorn.Config) -> asyncio.Server:
        made = partial(
            cast("Any", config.http_protocol_class),
            *(config, self.server_state, self.lifespan.state),
        )
        loop = asyncio.get_running_loop()
        return await loop.create_server(made, sock=listener, backlog=config.backlog)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then end what is left and the application."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self.drain.window_s
        self.drain.begin()
        await self.drain.noticed.wait()
        for server in self.servers:
            server.close()
        await self.drain.over()
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, SocketProtocol):
                connection.transport.abort()
        self.servers += self._open_to_the_end
        # uvicorn waits with asyncio.timeout(): a fraction is as good.
        open_s = _HTTP_S if self.drain.hurried else max(_HTTP_S, ends_s - loop.time())
        self.config.timeout_graceful_shutdown = open_s  # type: ignore[assignment]
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if not self.should_exit or not self.drain.hurry():
            super().handle_exit(sig, frame)
