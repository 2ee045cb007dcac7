"""What waits to be written to one socket: bounded, in order, stock conflated.

Replies and personal pushes are all delivered, or the socket is closed as a slow consumer. Of stock
at most one frame waits: a viewer that has not taken the last one yet gets, when it has, everything
as it is then. So a slow peer misses only stale values, and costs a bounded buffer.

When nothing waits and the socket has room, a frame is written at once, by the short way if there is
one: a task is woken only for a peer that is slow.

A viewer's seat is taken before what it is welcomed with is read, so that no change falls between
the two. Pushes that come before the welcome wait, and follow it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.sockets.direct import Direct, Wrote

Write = Callable[[str], Awaitable[None]]

_AT_ONCE_BYTES = 16_384
"""As long as no more waits in the socket's own buffer, a frame is written at once."""


@dataclass(slots=True)
class Outbox:
    """The frames of one socket, written in order by ``run``."""

    snapshot: Callable[[], bytes]
    """Makes a stock frame with everything as it is now."""
    most_frames: int
    overflowed: Callable[[], None]
    """Told when the peer is too slow; the socket is then closed."""
    direct: Direct | None = None
    """The short way to the socket."""
    _frames: deque[bytes] = field(default_factory=deque)
    _early: list[bytes] | None = field(default_factory=list)
    """Pushes that wait for the welcome; ``None`` once it was put."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stock: bytes | None = None
    _behind: bool = False
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, frame: bytes) -> None:
        """Have a reply written."""
        if not self._goes_at_once(frame) and self._has_room(self._frames):
            self._frames.append(frame)
            self._stir()

    def welcome(self, frame: bytes) -> None:
        """Have the welcome written, then what was pushed meanwhile. It holds the stock of now."""
        self.put(frame)
        early, self._early = self._early or [], None
        for push in early:
            self.put(push)

    def push(self, frame: bytes) -> None:
        """Have a frame written that must not be missed, after the welcome."""
        if self._early is None:
            self.put(frame)
        elif self._has_room(self._early):
            self._early.append(frame)

    def push_stock(self, frame: bytes) -> None:
        """Have a stock frame written, or, if one is waiting already, everything later."""
        if self._early is not None or self._goes_at_once(frame):
            return
        if self._stock is None and not self._behind:
            self._stock = frame
        else:
            self._stock, self._behind = None, True
        self._stir()

    async def drained(self) -> None:
        """Wait until nothing is waiting to be written."""
        while self._wake.is_set():
            await self._idle.wait()

    async def run(self, write: Write) -> None:
        """Write what comes, until cancelled or the socket is gone."""
        while True:
            await self._wake.wait()
            while (frame := self._next()) is not None:
                await write(frame.decode())
            self._wake.clear()
            self._idle.set()

    def _goes_at_once(self, frame: bytes) -> bool:
        """Whether a frame needs no waiting: it was written, or nobody is there to read it."""
        if self.direct is None or self._wake.is_set():
            return False
        return self.direct.try_write(frame, _AT_ONCE_BYTES) is not Wrote.SLOW

    def _stir(self) -> None:
        self._wake.set()
        self._idle.clear()

    def _has_room(self, frames: deque[bytes] | list[bytes]) -> bool:
        if len(frames) < self.most_frames:
            return True
        self.overflowed()
        return False

    def _next(self) -> bytes | None:
        if self._frames:
            return self._frames.popleft()
        if self._behind:
            self._behind = False
            return self.snapshot()
        frame, self._stock = self._stock, None
        return frame
