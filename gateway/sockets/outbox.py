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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.sockets.direct import Encoded, Write, encoded
from gateway.sockets.tally import Tally

AT_ONCE_BYTES = 16_384
"""As long as no more waits in the server, a frame is written at once."""

NOBODY = sys.maxsize
"""No version is as new: whoever is not welcomed yet, or has left, is told no stock."""


def _nothing() -> Encoded:
    raise AssertionError("to a socket that is over nothing is written")


def _nobody() -> None:
    pass


@dataclass(slots=True)
class Outbox:
    """The frames of one socket, written in order by ``run``."""

    snapshot: Callable[[], Encoded]
    """Makes a stock frame with everything as it is now."""
    most_frames: int
    overflowed: Callable[[], None]
    """Told when the peer is too slow; the socket is then closed."""
    tally: Tally
    told: int = NOBODY
    """The version of the stock that was written last."""
    at_once: Write | None = None
    """The short way while nothing waits: what comes may be written now. Whoever tells thousands
    uses it without a call in between, notes what was ``told``, and counts it for many together.
    """
    _frames: list[Encoded] = field(default_factory=list)
    _early: list[Encoded] | None = field(default_factory=list)
    """Pushes that wait for the welcome; ``None`` once it was put."""
    _short: Write | None = None
    """The short way to the socket, if there is one and it is free."""
    _gone: bool = False
    _waiting: bool = False
    """Whether the writer has something to do. There are thousands of outboxes, nearly all empty:
    whoever waits makes what it waits for.
    """
    _woken: asyncio.Future[None] | None = None
    _emptied: asyncio.Future[None] | None = None
    _stock: Encoded | None = None
    _behind: bool = False
    _stuck_since_s: float | None = None
    """When it was seen that something waits; ``None`` once any of it was written."""

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

    def tell_later(self, stock: Encoded) -> None:
        """Have a stock frame written that is newer than ``told``, though not ``at_once``.

        It waits, or, if another is waiting already, everything later does instead.
        """
        if not self._gone and stock is not self._stock:
            if self._stock is None and not self._behind:
                self._stock = stock
            else:
                self._stock, self._behind = None, True
            self._stir()

    def leave(self, version: int) -> None:
        """Tell no more stock, and count what was missed up to ``version``; again is fine."""
        if self.told != NOBODY:
            self.tally.values["dropped"] += max(0, version - self.told)
            self.told = NOBODY
            self._stock, self._behind = None, False

    @property
    def left(self) -> bool:
        """Whether the viewer was welcomed and has left."""
        return self.told == NOBODY and self._early is None

    def free(self, write: Write) -> None:
        """The socket has room: what comes may be written in this way, once nothing waits."""
        self._short = write
        if not self._waiting:
            self.at_once = write

    def full(self) -> None:
        """The socket has no room for now: what comes waits, and is written the long way."""
        self._short = self.at_once = None

    def gone(self) -> None:
        """Nobody is there to read: nothing that comes is kept."""
        self.full()
        self._gone = True

    def ends(self) -> None:
        """It is over: whoever made it is not asked again, and not kept."""
        self.gone()
        self.snapshot, self.overflowed = _nothing, _nobody

    def ticked(self, now_s: float, grace_s: float) -> None:
        """Time has passed: see whether the peer took anything of what waits within the grace."""
        if not self._waiting:
            self._stuck_since_s = None
        elif self._stuck_since_s is None:
            self._stuck_since_s = now_s
        elif now_s - self._stuck_since_s >= grace_s:
            self.overflowed()

    async def drained(self) -> None:
        """Wait until nothing is waiting to be written."""
        while self._waiting:
            if self._emptied is None:
                self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._emptied)

    async def run(self, write: Callable[[str], Awaitable[None]]) -> None:
        """Write what comes, until cancelled or the socket is gone."""
        while True:
            if not self._waiting:
                self._woken = asyncio.get_running_loop().create_future()
                await self._woken
            while (frame := self._next()) is not None:
                await write(frame.text.decode())
                self._stuck_since_s = None
                self._count(frame)
            self._waiting, self.at_once = False, self._short
            if self._emptied:
                self._emptied.set_result(None)
                self._emptied = None

    def _put(self, frame: Encoded) -> None:
        if not self._goes_at_once(frame) and self._has_room(self._frames):
            self._frames.append(frame)
            self._stir()

    def _goes_at_once(self, frame: Encoded) -> bool:
        """Whether a frame needs no waiting: it was written, or nobody is there to read it."""
        if self.at_once:
            self.at_once(frame.frame)
            self._count(frame)
            return True
        return self._gone

    def _count(self, frame: Encoded) -> None:
        """A frame was written."""
        if frame.kind != "stock":
            self.tally.written[frame.kind] += 1
        elif self.told < frame.version:
            self.tally.stock_told(1, frame.version - self.told - 1)
            self.told = frame.version

    def _stir(self) -> None:
        self._waiting, self.at_once = True, None
        if self._woken and not self._woken.done():
            self._woken.set_result(None)

    def _has_room(self, frames: list[Encoded]) -> bool:
        if len(frames) < self.most_frames:
            return True
        self.overflowed()
        return False

    def _next(self) -> Encoded | None:
        if self._frames:
            return self._frames.pop(0)
        if self._behind:
            self._behind = False
            return self.snapshot()
        frame, self._stock = self._stock, None
        return frame
