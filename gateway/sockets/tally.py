"""What has happened on the sockets of this process, counted."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from gateway.histogram import Histogram
from gateway.sockets.direct import Kind

Outcome = Literal["delivered", "conflated", "dropped"]

_FEEL_EVERY_S = 0.25
"""How often it is measured how late the event loop is."""
_TIMED = ("reserve", "checkout")
"""Commands whose answers a shopper waits for."""
_PEER_CODES = {1000: "1000", 1001: "1001", 1005: "1005", 1006: "1006"}
"""What peers say when they go; anybody may say anything, and labels must stay few."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by words of ours, never by what a client sent, so that they stay few."""

    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the command's type, and ``ok`` or the error's code, or why nothing is sold just now."""
    took: dict[str, Histogram] = field(
        default_factory=lambda: {kind: Histogram() for kind in _TIMED}
    )
    """From a command's frame to its answer, by the command's type."""
    closed: Counter[int] = field(default_factory=Counter)
    """Sockets we closed, by the close code."""
    gone: Counter[str] = field(default_factory=Counter)
    """Sockets the peer closed, by the close code."""
    written: Counter[Kind] = field(default_factory=Counter)
    """Frames written."""
    values: Counter[Outcome] = field(default_factory=Counter)
    """What became of each version of the stock for each viewer: it was written, or a later one was
    written instead, or the viewer left before. Nothing else happens to it, and each but once.
    """
    stale_urgent: Histogram = field(default_factory=Histogram)
    """From when Redis decided until it was written: *sold out* and *back in stock*."""
    stale_other: Histogram = field(default_factory=Histogram)
    """The same of all other stock."""
    loop_lag: Histogram = field(default_factory=Histogram)
    """How late the event loop is."""

    def answered(self, kind: str, outcome: str, took_s: float) -> None:
        """A command has its answer, so long after its frame came."""
        self.commands[kind, outcome] += 1
        timed = self.took.get(kind)
        if timed:
            timed.observe(took_s)

    def stock_told(self, frames: int, conflated: int) -> None:
        """Stock was written to so many viewers, in place of so many older versions."""
        self.written["stock"] += frames
        self.values["delivered"] += frames
        self.values["conflated"] += conflated

    def went(self, code: int, ours: int | None = None) -> None:
        """A socket is over: the peer closed it, or the server did with a code of its own, for
        frames that are wrong or too many, or a ping without an answer.
        """
        if ours is None:
            self.gone[_PEER_CODES.get(code, "other")] += 1
        else:
            self.closed[ours] += 1


async def feel_loop(tally: Tally) -> None:
    """Measure how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _FEEL_EVERY_S
        await asyncio.sleep(_FEEL_EVERY_S)
        tally.loop_lag.observe(max(0.0, loop.time() - due_s))
