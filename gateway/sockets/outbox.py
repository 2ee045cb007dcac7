"""What waits to be written to one socket: bounded, in order, stock conflated.

Replies and personal pushes are all delivered, or the socket is closed as a slow consumer. Of stock
at most one frame waits: a viewer that has not taken the last one yet gets, when it has, everything
as it is then. So a slow peer misses only stale values, and costs a bounded buffer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Write = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Outbox:
    """The frames of one socket, written in order by ``run``."""

    snapshot: Callable[[], bytes]
    """Makes a stock frame with everything as it is now."""
    most_frames: int
    _frames: deque[bytes] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stock: bytes | None = None
    _behind: bool = False
    _written: asyncio.Event = field(default_factory=asyncio.Event)
    overflowed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the peer is too slow; the socket is then closed."""

    def put(self, frame: bytes) -> None:
        """Have a frame written that must not be missed."""
        if len(self._frames) >= self.most_frames:
            self.overflowed.set()
            return
        self._frames.append(frame)
        self._wake.set()

    def put_stock(self, frame: bytes) -> None:
        """Have a stock frame written, or, if one is waiting already, everything later."""
        if self._stock is None and not self._behind:
            self._stock = frame
        else:
            self._stock, self._behind = None, True
        self._wake.set()

    async def drained(self) -> None:
        """Wait until nothing is waiting to be written."""
        while self._frames or self._wake.is_set():
            await self._written.wait()
            self._written.clear()

    async def run(self, write: Write) -> None:
        """Write what comes, until cancelled or the socket is gone."""
        while True:
            await self._wake.wait()
            while (frame := self._next()) is not None:
                await write(frame.decode())
            self._wake.clear()
            self._written.set()

    def _next(self) -> bytes | None:
        if self._frames:
            return self._frames.popleft()
        if self._behind:
            self._behind = False
            return self.snapshot()
        frame, self._stock = self._stock, None
        return frame
