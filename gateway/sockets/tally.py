"""What has happened on the sockets of this process, counted."""

import asyncio
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from gateway.errors import CloseCode
from gateway.sockets.direct import Kind

Outcome = Literal["delivered", "conflated", "dropped"]

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
_FEEL_EVERY_S = 0.25
"""How often it is measured how late the event loop is."""
_PEER_CODES = {1000: "1000", 1001: "1001", 1005: "1005", 1006: "1006"}
"""What peers say when they go; anybody may say anything, and labels must stay few."""


@dataclass(slots=True)
class Histogram:
    """How often something took how long."""

    bounds_s: tuple[float, ...] = _BOUNDS_S
    counts: list[int] = field(init=False)
    """Of what took no longer than each bound, but longer than the one before; then the rest."""
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_s) + 1)

    def observe(self, took_s: float, times: int = 1) -> None:
        """It took so long, so many times."""
        self.counts[bisect_left(self.bounds_s, took_s)] += times
        self.sum_s += took_s * times


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by words of ours, never by what a client sent, so that they stay few."""

    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the command's type, and ``ok`` or the error's code."""
    closed: Counter[CloseCode] = field(default_factory=Counter)
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

    def stock_told(self, frames: int, conflated: int) -> None:
        """Stock was written to so many viewers, in place of so many older versions."""
        self.written["stock"] += frames
        self.values["delivered"] += frames
        self.values["conflated"] += conflated

    def went(self, code: int) -> None:
        """A peer closed its socket."""
        self.gone[_PEER_CODES.get(code, "other")] += 1


async def feel_loop(tally: Tally) -> None:
    """Measure how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _FEEL_EVERY_S
        await asyncio.sleep(_FEEL_EVERY_S)
        tally.loop_lag.observe(max(0.0, loop.time() - due_s))
