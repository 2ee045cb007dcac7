"""What waits to be written to one socket: bounded, in order, stock conflated.

Replies and personal pushes are all delivered, or the socket is closed as a slow consumer. Of stock
at most one frame waits: a viewer that has not taken the last one yet gets, when it has, everything
as it is then. So a slow peer misses only stale values, and costs a bounded buffer. One for which
something waits, and which takes nothing of it for a grace, is a slow consumer, too.

When nothing waits and the socket has room, a frame is written at once, by the short way if there is
one: a task is woken only for a peer that is slow.

A viewer's seat is taken before what it is welcomed with is read, so that no change falls between
the two. Pushes that come before the welcome wait, and follow it.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.sockets.direct import Direct, Encoded, Wrote, encoded
from gateway.sockets.tally import Tally

Write = Callable[[str], Awaitable[None]]

AT_ONCE_BYTES = 16_384
"""As long as no more waits in the server, a frame is written at once."""

NOBODY = sys.maxsize
"""No version is as new: whoever is not welcomed yet, or has left, is told no stock."""


@dataclass(slots=True)
class Outbox:
    """The frames of one socket, written in order by ``run``."""

    snapshot: Callable[[], Encoded]
    """Makes a stock frame with everything as it is now."""
    most_frames: int
    overflowed: Callable[[], None]
    """Told when the peer is too slow; the socket is then closed."""
    tally: Tally
    direct: Direct | None = None
    """The short way to the socket."""
    told: int = NOBODY
    """The version of the stock that was written last."""
    _frames: deque[Encoded] = field(default_factory=deque)
    _early: list[Encoded] | None = field(default_factory=list)
    """Pushes that wait for the welcome; ``None`` once it was put."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stock: Encoded | None = None
    _behind: bool = False
    _stuck_since_s: float | None = None
    """When it was seen that something waits; ``None`` once any of it was written."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, text: bytes) -> None:
        """Have a reply written."""
        self._put(encoded(text, "reply"))

    def welcome(self, text: bytes, version: int) -> None:
        """Have the welcome written, then what was pushed meanwhile.

        It holds the stock of now; from ``version`` on the viewer is told every change.
        """
        self.put(text)
        self.told = version
        early, self._early = self._early or [], None
        for push in early:
            self._put(push)

    def push(self, frame: Encoded) -> None:
        """Have a frame written that must not be missed, after the welcome."""
        if self._early is None:
            self._put(frame)
        elif self._has_room(self._early):
            self._early.append(frame)

    def tell_stock(self, stock: Encoded) -> Wrote:
        """Have a stock frame written that is newer than ``told``.

        ``SLOW`` when it waits, or, if one is waiting already, everything later does instead. What
        was written at once the caller counts, for many together.
        """
        if not self._wake.is_set() and self.direct is not None:
            wrote = self.direct.try_write(stock.frame)
            if wrote is Wrote.YES:
                self.told = stock.version
            if wrote is not Wrote.SLOW:
                return wrote
        if self._stock is None and not self._behind:
            self._stock = stock
        else:
            self._stock, self._behind = None, True
        self._stir()
        return Wrote.SLOW

    def leave(self, version: int) -> None:
        """Tell no more stock, and count what was missed up to ``version``; again is fine."""
        if self.told != NOBODY:
            self.tally.values["dropped"] += max(0, version - self.told)
            self.told = NOBODY

    @property
    def left(self) -> bool:
        """Whether the viewer was welcomed and has left."""
        return self.told == NOBODY and self._early is None

    def ticked(self, now_s: float, grace_s: float) -> None:
        """Time has passed: see whether the peer took anything of what waits within the grace."""
        if not self._wake.is_set():
            self._stuck_since_s = None
        elif self._stuck_since_s is None:
            self._stuck_since_s = now_s
        elif now_s - self._stuck_since_s >= grace_s:
            self.overflowed()

    async def drained(self) -> None:
        """Wait until nothing is waiting to be written."""
        while self._wake.is_set():
            await self._idle.wait()

    async def run(self, write: Write) -> None:
        """Write what comes, until cancelled or the socket is gone."""
        while True:
            await self._wake.wait()
            while (frame := self._next()) is not None:
                await write(frame.text.decode())
                self._stuck_since_s = None
                self._count(frame)
            self._wake.clear()
            self._idle.set()

    def _put(self, frame: Encoded) -> None:
        if not self._goes_at_once(frame) and self._has_room(self._frames):
            self._frames.append(frame)
            self._stir()

    def _goes_at_once(self, frame: Encoded) -> bool:
        """Whether a frame needs no waiting: it was written, or nobody is there to read it."""
        if self.direct is None or self._wake.is_set():
            return False
        wrote = self.direct.try_write(frame.frame)
        if wrote is Wrote.YES:
            self._count(frame)
        return wrote is not Wrote.SLOW

    def _count(self, frame: Encoded) -> None:
        """A frame was written."""
        if frame.kind != "stock":
            self.tally.written[frame.kind] += 1
        elif self.told < frame.version:
            self.tally.stock_told(1, frame.version - self.told - 1)
            self.told = frame.version

    def _stir(self) -> None:
        self._wake.set()
        self._idle.clear()

    def _has_room(self, frames: deque[Encoded] | list[Encoded]) -> bool:
        if len(frames) < self.most_frames:
            return True
        self.overflowed()
        return False

    def _next(self) -> Encoded | None:
        if self._frames:
            return self._frames.popleft()
        if self._behind:
            self._behind = False
            return self.snapshot()
        frame, self._stock = self._stock, None
        return frame
